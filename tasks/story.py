"""How does a run end in one report, however it ends?"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Literal

from obscale.agent.models import Dag, Zone
from obscale.errors import ObscaleError, PreflightError
from obscale.order import Order
from obscale.report import (
    Moment,
    ScaleOutReport,
    render_markdown,
    server_rows,
    stage_rows,
)
from obscale.rules.diagnosis import Diagnosis
from obscale.rules.ladder import Ladder
from obscale.rules.preflight.registry import Findings
from tasks.notes import Happening, artifact_key, listening, note_page, tell


class Story:
    """Collects what the tasks tell, and makes the report of it."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._timeline: list[Moment] = []
        self._findings: Findings | None = None
        self._dag_id: str | None = None
        self._how = ""
        self._dag: Dag | None = None
        self._diagnosis: Diagnosis | None = None
        self._ladder: Ladder | None = None
        self._before: tuple[Zone, ...] = ()
        self._after: tuple[Zone, ...] = ()

    def hear(self, happening: Happening) -> None:
        """Take one happening into the story."""
        self._timeline.append(
            Moment(at=datetime.now(UTC), step=happening.step, text=happening.text)
        )
        facts = happening.facts
        self._findings = facts.get("findings", self._findings)
        self._dag_id = facts.get("dag_id", self._dag_id)
        self._how = facts.get("how", self._how)
        self._dag = facts.get("dag", self._dag)
        self._diagnosis = facts.get("diagnosis", self._diagnosis)
        self._ladder = facts.get("ladder", self._ladder)
        self._before = facts.get("before", self._before)
        self._after = facts.get("after", self._after)

    def report(self, error: BaseException | None = None) -> ScaleOutReport:
        """Give the report as things stand; an error makes it a failed one."""
        node = self._order.node
        # Nothing but the proofs count: a run that merely ended is no success.
        proved = self._ladder is not None and self._ladder.is_verified
        outcome: Literal["verified", "blocked", "failed"] = "verified" if proved else "failed"
        if error:
            outcome = "blocked" if isinstance(error, PreflightError) else "failed"
        return ScaleOutReport(
            outcome=outcome,
            cluster=self._order.cluster_name,
            target=self._order.target,
            zone=node.zone,
            obConfigs=node.obConfigs,
            verdict=self._findings.verdict if self._findings else "",
            findings=tuple(self._findings.by_weight()) if self._findings else (),
            dag_id=self._dag_id,
            submitted_how=self._how,
            stages=stage_rows(self._dag),
            diagnosis=self._diagnosis,
            rung=self._ladder.rung.name if self._ladder else "NONE",
            proofs=self._ladder.lines if self._ladder else (),
            pins=self._ladder.pins if self._ladder else (),
            before=server_rows(self._before),
            after=server_rows(self._after),
            timeline=tuple(self._timeline),
            error_kind=error.kind if isinstance(error, ObscaleError) else "",
            error=str(error) if error else "",
        )


@asynccontextmanager
async def reported(order: Order) -> AsyncIterator[Story]:
    """Write the report artifact at the end of this block, also when it fails or is cancelled."""
    story = Story(order)
    with listening(story.hear):
        try:
            yield story
        except BaseException as error:
            await _show(story.report(error))
            raise
        await _show(story.report())


async def _show(report: ScaleOutReport) -> None:
    await note_page(
        artifact_key("report", report.cluster, report.target),
        render_markdown(report),
        f"{report.target} into {report.zone} of {report.cluster}: {report.outcome}",
    )
    tell("report", f"report.written outcome={report.outcome}", report=report)
