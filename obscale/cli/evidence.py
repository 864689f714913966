"""`obscale evidence RUN`: exports one run as Markdown or JSON from what Prefect stores."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

import httpx
import typer

from obscale.cli.exits import end_with
from obscale.cli.local_prefect import out_of_reach, require_prefect, settle
from obscale.cli.options import AsJson
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import say_page
from obscale.errors import ObscaleError, SpecError
from obscale.report.audit import Evidence, KeptReport, RunFacts, earlier_of, render_evidence
from obscale.text import Markdown, json_document

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

Run = Annotated[
    str, typer.Argument(help="Id or name of a run, or a target ip:port; of several, the newest.")
]
Out = Annotated[Path | None, typer.Option(help="Write into this file instead.")]
KEY_PREFIX: Final = "evidence-"


def evidence(run: Run, as_json: AsJson = False, out: Out = None) -> None:
    """Export a run: who asked, findings, decisions, timeline, logs, before and after, versions.

    All its attempts, and earlier runs of the same DAG, stand in it too.

    Reads Prefect only; no agent is asked. Holds no secret.

    Exit: 0 exported, 2 no such run, or it has kept no report, 3 Prefect does not answer.
    """
    try:
        settle()
        require_prefect()
        try:
            found = PROGRAM.run(_collect(run))
        except httpx.HTTPError as error:
            raise out_of_reach(error) from error
        document = f"{json_document(found.model_dump(mode='json'), indent=2)}\n"
        page = Markdown(document) if as_json else render_evidence(found)
        if out is None:
            say_page(page)
            return
        try:
            out.write_text(page, encoding="utf-8")
        except OSError as error:
            raise SpecError(f"{out}: cannot be written: {error.strerror}") from error
    except ObscaleError as error:
        end_with(error, as_json=as_json)


async def _collect(run: str) -> Evidence:
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - reads settings
    from prefect.client.schemas.filters import (  # noqa: PLC0415
        ArtifactFilter,
        ArtifactFilterKey,
        FlowRunFilter,
        FlowRunFilterId,
    )
    from prefect.client.schemas.sorting import ArtifactSort  # noqa: PLC0415

    from obscale.tasks.runtime.baselines import read_page  # noqa: PLC0415
    from obscale.tasks.runtime.earlier_reports import reports_kept  # noqa: PLC0415

    async with get_client() as client:
        found = await _run_of(client, run)
        artifacts = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(like_=KEY_PREFIX)),
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[found.id])),
            sort=ArtifactSort.CREATED_DESC,
            limit=1,
        )
        kept = read_page(KeptReport, artifacts[0].data) if artifacts else None
        all_kept = await reports_kept(client, kept.report.target) if kept else []
    name = f"run {found.name!r} ({found.id})"
    if not artifacts:
        raise SpecError(
            f"{name}: has kept no report; it is {found.state_name or 'not begun'}",
            "wait for its end; a run that was killed keeps none until it is run again",
        )
    if kept is None:
        raise SpecError(
            f"{name}: its report was kept by another version of obscale",
            "use the obscale that made the run; `pip show obscale` on its worker tells which",
        )
    report = kept.report
    earlier = earlier_of(
        # What has come after the run is no earlier attempt of it.
        all_kept[: all_kept.index(kept)] if kept in all_kept else [],
        run_id=str(found.id),
        target=report.target,
        cluster=report.told_cluster,
        dag_id=report.dag_id,
    )
    return Evidence(
        run=_facts_of(found), report=report, versions=kept.versions, earlier=tuple(earlier)
    )


async def _run_of(client: "PrefectClient", run: str) -> "FlowRun":
    """Find a run by id, by name, or by the tag of its target.

    Raises:
        SpecError: There is none.
    """
    from prefect.client.schemas.filters import (  # noqa: PLC0415 - reads settings
        FlowRunFilter,
        FlowRunFilterId,
        FlowRunFilterName,
        FlowRunFilterTags,
    )
    from prefect.client.schemas.sorting import FlowRunSort  # noqa: PLC0415

    try:
        ways = [FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run)]))]
    except ValueError:
        ways = [
            FlowRunFilter(name=FlowRunFilterName(any_=[run])),
            FlowRunFilter(tags=FlowRunFilterTags(all_=[f"target:{run}"])),
        ]
    for wanted in ways:
        found = await client.read_flow_runs(
            flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1
        )
        if found:
            return found[0]
    raise SpecError(
        f"no run of this Prefect server has the id, name or target {run!r}",
        "see `prefect flow-run ls`, and which server PREFECT_API_URL names",
    )


def _facts_of(run: "FlowRun") -> RunFacts:
    from obscale.tasks.runtime.person import asked_by  # noqa: PLC0415 - reads settings

    return RunFacts(
        id=str(run.id),
        name=run.name,
        state=run.state_name or "",
        state_type=run.state_type.value if run.state_type else "",
        message=(run.state.message if run.state else "") or "",
        asked_by=asked_by(run),
        asked_at=run.created,
        started_at=run.start_time,
        ended_at=run.end_time,
        attempts=run.run_count,
        tags=tuple(sorted(run.tags)),
        parameters=run.parameters,
    )
