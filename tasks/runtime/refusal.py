"""Writes the report of a run that was refused before anything of it began.

Such a run has no order yet, so nothing but its refusal can be told: parameters that contradict
each other or are of the wrong type, a worker that is older than its deployment.
"""

from typing import Any, Final
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ParameterTypeError

from obscale.errors import ObscaleError, PreflightError, SpecError
from obscale.language import for_page
from obscale.report.page import render_refusal
from obscale.tasks.runtime.baselines import AWAY, bounded, create, told
from obscale.tasks.runtime.journal import artifact_key, note_page
from obscale.tasks.runtime.run_log import run_logger
from obscale.text import for_markdown, markdown, paragraphs

_ITEM: Final = "\n - "
"""What Prefect begins each wrong parameter with."""


async def report_refusal(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Leave a report of a failed run that has left none. For `on_failure`.

    Prefect calls it by keywords, so its parameters must have these names. What was given as a
    parameter is not repeated.
    """
    problems, hint = problems_of(await state.aresult(raise_on_failure=False))
    if not problems:
        return
    about = f"{flow_run.name}: refused"
    page = render_refusal(flow_run.name, problems, hint)
    wanted = ArtifactCreate(
        key=artifact_key("report", "refused", flow.name),
        type="markdown",
        description=for_markdown(for_page(about)),
        data=page,
        flow_run_id=flow_run.id,
    )

    async def write() -> None:
        if not await _has_report(flow_run.id):
            await create(wanted)

    try:
        await bounded(write)
    except AWAY as error:
        run_logger().warning("artifact.not_written reason=%r", told(error))


async def report_undone(dag_id: str, words: str) -> None:
    """Leave a report of a scale-out that was undone before it named a node.

    Args:
        dag_id: Of its DAG.
        words: What was done, in one line.
    """
    page = paragraphs([markdown("# DAG {}: rolled-back", dag_id), markdown("**{}.**", words)])
    await note_page(artifact_key("report", "dag", dag_id), page, words)


def problems_of(ending: object) -> tuple[tuple[str, ...], str]:
    """Give all that is wrong with a run that could not begin, and the next step; else nothing.

    Args:
        ending: What the run ended by.
    """
    match ending:
        case SpecError():
            return ending.problems, ending.hint
        # Of a plan that blocks, the findings are the report.
        case ObscaleError() if not isinstance(ending, PreflightError):
            return (ending.message,), ending.hint
        case ParameterTypeError():
            return tuple(str(ending).split(_ITEM)[1:]), ""
        case _:
            return (), ""


async def _has_report(run_id: UUID) -> bool:
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(like_="report-")),
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])),
            limit=1,
        )
    return bool(found)
