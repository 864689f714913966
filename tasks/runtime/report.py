"""Makes one report of a run, however it ends."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, Literal

import httpx
from prefect import __version__ as prefect_version
from prefect.exceptions import PrefectException

from obscale import __version__, events
from obscale.agent.models import Zone
from obscale.errors import (
    DagFailedError,
    DagRolledBackError,
    ObscaleError,
    PreflightError,
    SpecError,
    VerifyError,
)
from obscale.events import (
    BaselineFound,
    Diagnosed,
    Event,
    Judged,
    LevelReached,
    Line,
    LookedAgain,
    PersonAnswered,
    Reported,
    SubmitSettled,
    Verified,
)
from obscale.follow.progress import Progress, progress_of
from obscale.preflight.capacity import Capacity
from obscale.preflight.disk_room import DiskRoom
from obscale.preflight.registry import Findings
from obscale.recovery.diagnosis import Diagnosis
from obscale.recovery.interrupted import (
    InterruptedState,
    LastSeen,
    describe_interrupted,
    remains_of,
)
from obscale.recovery.read_interrupted import LONGEST_SECONDS, look_at_remains
from obscale.removal.after import host_steps_of, undo_of
from obscale.removal.look import look_at_removal
from obscale.report.audit import KeptReport, end_of, render_kept
from obscale.report.page import render_markdown, told_as
from obscale.report.pictures import pictures_of
from obscale.report.report import (
    Decided,
    EarlierEnd,
    Moment,
    Posted,
    PrefectForm,
    ScaleOutReport,
    server_rows,
    stage_rows,
)
from obscale.request.file_name import command_name
from obscale.request.removal import Removal
from obscale.request.scale_out import ScaleOut
from obscale.submit.result import Submitted
from obscale.tasks.poll import progress_note
from obscale.tasks.runtime.attempts import close_earlier_attempts
from obscale.tasks.runtime.baselines import folded_page_of, this_run
from obscale.tasks.runtime.blocks import open_connections, open_removal
from obscale.tasks.runtime.earlier_reports import reports_before
from obscale.tasks.runtime.forms import form_of
from obscale.tasks.runtime.journal import (
    artifact_key,
    aside,
    listening,
    note_page,
    publish,
    publish_line,
    written_by_its_end,
)
from obscale.tasks.runtime.person import asked_by, command_again
from obscale.tasks.runtime.prefect_private import ExternalSignal
from obscale.verify.baseline import Baseline
from obscale.verify.levels import VerifiedLevels
from obscale.verify.observation import Level

TELLS_ITSELF: Final = (
    PreflightError,
    SpecError,
    DagFailedError,
    DagRolledBackError,
    VerifyError,
)
"""Errors that say what stands where; after every other end the cluster is looked at once more."""
Outcome = Literal["verified", "blocked", "failed", "cancelled", "rolled-back", "half-done"]


class ReportBuilder:
    """Collects what the tasks tell, and makes the report of it."""

    def __init__(self, order: ScaleOut | Removal) -> None:
        self._order = order
        self._timeline: list[Moment] = []
        self._findings: Findings | None = None
        self._seen = LastSeen()
        self._decisions: list[Decided] = []
        self.versions = {"obscale": __version__, "Prefect": prefect_version}
        self._diagnosis: Diagnosis | None = None
        self._levels: VerifiedLevels | None = None
        self._submitted: Submitted | None = None
        self.earlier: tuple[EarlierEnd, ...] = ()
        self.in_prefect: PrefectForm | None = None
        self.is_rolled_back = False
        """Whether the scale-out was undone, as the run was asked to do."""
        self._before: tuple[Zone, ...] = ()
        self._after: tuple[Zone, ...] = ()
        self._capacity: Capacity | None = None
        self._disk_rooms: tuple[DiskRoom, ...] = ()

    def hear(self, event: Event) -> None:
        """Take one event into the builder."""
        # A rule that passes has a line in the log; the findings hold it.
        if not (isinstance(event, Line) and event.severity == logging.DEBUG):
            self._timeline.append(
                Moment(at=datetime.now(UTC), step=event.step, text=events.text_of(event))
            )
        self._seen.hear(event)
        match event:
            case Judged(findings=findings, zones=zones, versions=versions):
                self._findings, self._before = findings, zones
                self.versions |= versions
                self._capacity, self._disk_rooms = event.capacity, event.disk_rooms
            case LookedAgain(zones=zones):
                self._before = zones
            case PersonAnswered(decided=decided):
                self._decisions.append(decided)
            case SubmitSettled(submitted=submitted):
                self._submitted = submitted
            case BaselineFound(baseline=baseline):
                self._before = baseline.zones if baseline else ()
            case Diagnosed(diagnosis=diagnosis):
                self._diagnosis = diagnosis
            case LevelReached(levels=levels, zones=zones) | Verified(levels=levels, zones=zones):
                # Where the last look could not read them, they are as the one before saw them.
                self._levels, self._after = levels, zones or self._after
            case _:
                pass

    async def look_at_remains(self, error: BaseException) -> InterruptedState | None:
        """Look what the run leaves behind; None where its error says so itself."""
        if isinstance(error, TELLS_ITSELF):
            return None
        last_seen = remains_of(
            self._order.target,
            was_sent=self._seen.was_sent,
            dag=self._seen.dag,
            dag_id=self._seen.dag_id,
            leaves=isinstance(self._order, Removal),
        )
        if not self._seen.was_sent:
            return last_seen
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                return await self._look()
        except TimeoutError:
            unread = f"no answer within {LONGEST_SECONDS:g} s"
        except (ObscaleError, PrefectException, httpx.HTTPError) as failed:
            # A connection is stored in Prefect, which may be what has gone away.
            unread = str(failed)
        return last_seen.model_copy(update={"unread": unread})

    async def _look(self) -> InterruptedState:
        order, seen = self._order, self._seen
        if isinstance(order, Removal):
            async with open_removal(order) as leaving:
                return await look_at_removal(leaving, order, seen.dag_id, seen.dag)
        async with open_connections(order) as link:
            return await look_at_remains(link, order.node, seen.dag_id, seen.dag)

    @property
    def order(self) -> ScaleOut | Removal:
        """What it reports of."""
        return self._order

    @property
    def level(self) -> Level:
        """The level that is proved so far."""
        return self._levels.level if self._levels else Level.NONE

    @property
    def progress(self) -> Progress | None:
        """Where the DAG was seen last."""
        return progress_of(self._seen.dag) if self._seen.dag else None

    def report(
        self, error: BaseException | None = None, remains: InterruptedState | None = None
    ) -> ScaleOutReport:
        """Give the report as things stand; an error makes it a failed one."""
        order = self._order
        # Nothing but the proofs count: a run that merely ended is no success.
        proved = self._levels is not None and self._levels.is_verified
        outcome: Outcome = "verified" if proved else "failed"
        if self.is_rolled_back:
            outcome = "rolled-back"
        kind, told = "", ""
        if error:
            outcome = "blocked" if isinstance(error, PreflightError) else "failed"
            kind, told = _kind_and_words(error)
            if kind == CANCELLED:
                outcome = "cancelled"
        run = this_run()
        submitted = self._submitted
        baseline = submitted.baseline if submitted else None
        return ScaleOutReport(
            outcome=outcome,
            operation="removal" if isinstance(order, Removal) else "scale-out",
            cluster=order.cluster_name,
            target=order.target,
            zone=order.zone,
            obConfigs={} if isinstance(order, Removal) else order.node.obConfigs,
            verdict=self._findings.verdict if self._findings else "",
            findings=tuple(self._findings.by_weight()) if self._findings else (),
            decisions=tuple(self._decisions),
            dag_id=self._seen.dag_id,
            submitted_how=submitted.how if submitted else "",
            stages=stage_rows(self._seen.dag, self._diagnosis),
            diagnosis=self._diagnosis,
            level=self._levels.level.name if self._levels else "NONE",
            exceptions=self._levels.exceptions if self._levels else (),
            proofs=self._levels.lines if self._levels else (),
            persist_statements=self._levels.persist_statements if self._levels else (),
            host_steps=host_steps_of(baseline, order) if isinstance(order, Removal) else (),
            undo=() if isinstance(order, Removal) or not proved else undo_of(order, self._levels),
            before=server_rows(self._before),
            after=server_rows(self._after),
            capacity=self._capacity,
            disk_rooms=self._disk_rooms,
            timeline=tuple(self._timeline),
            error_kind=kind,
            error=told,
            next=error.hint if isinstance(error, ObscaleError) else "",
            command_name=command_name(order.cluster),
            again=command_again(run),
            remains=remains,
            told_cluster=submitted.cluster if submitted else "",
            run_id=str(run.id) if run else "",
            run_name=run.name if run else "",
            attempt=run.run_count if run else 0,
            asked_by=asked_by(run) if run else "",
            posted=_posted(baseline) if baseline else None,
            before_at=baseline.at if baseline else None,
            earlier=self.earlier,
            in_prefect=self.in_prefect,
        )

    def look_at(self, order: ScaleOut | Removal) -> None:
        """Report from now on of an order of which more is known: the same node's."""
        self._order = order

    async def learn_of_earlier(self) -> None:
        """Learn how earlier attempts, and earlier runs of the same DAG, have ended."""
        self.earlier = tuple(end_of(kept) for kept in await reports_before(self.report()))

    async def learn_of_form(
        self, error: BaseException, remains: InterruptedState | None = None
    ) -> None:
        """Learn which form of Prefect's UI mends an end, and let its error name it too."""
        self.in_prefect = await form_of(self.report(error, remains), self._order)
        if form := self.in_prefect:
            error.add_note(" ".join(filter(None, ("In Prefect:", form.deployment, form.url))))


def _posted(baseline: Baseline) -> Posted:
    """Say who sent the POST of the DAG."""
    return Posted(
        at=baseline.at,
        run_id=baseline.run_id,
        run_name=baseline.run_name,
        attempt=baseline.attempt,
        asked_by=baseline.asked_by,
        newest_dag=baseline.newest_dag,
        was_answered=baseline.dag_id is not None,
    )


CANCELLED: Final = "cancelled"
TIMED_OUT: Final = "timed-out"
CRASHED: Final = "crashed"


def _kind_and_words(error: BaseException) -> tuple[str, str]:
    """Name an end for machines and say it for people; also those that are no error of ours."""
    match error:
        case ObscaleError():
            return error.kind, str(error)
        # Prefect's signal strikes whatever runs at that moment: this flow, or what it waits for.
        case asyncio.CancelledError() | ExternalSignal() | KeyboardInterrupt() | SystemExit():
            return CANCELLED, "the run was cancelled from outside; nobody told the cluster"
        case TimeoutError():
            return TIMED_OUT, f"a time limit of the run was reached: {error or 'no more is known'}"
        case _:
            return CRASHED, f"the run broke: {type(error).__name__}: {error}"


@asynccontextmanager
async def report_at_end(order: ScaleOut | Removal) -> AsyncIterator[ReportBuilder]:
    """Write the report artifact at the end of this block, also when it fails or is cancelled.

    Where the run ends before its DAG, the report says what stands where; the look takes seconds.
    """
    builder = ReportBuilder(order)
    async with written_by_its_end():
        with listening(builder.hear):
            await close_earlier_attempts()
            try:
                yield builder
            except BaseException as error:
                remains = await builder.look_at_remains(error)
                if remains and remains.was_sent:
                    publish_line("report", f"report.remains {describe_interrupted(remains)}")
                    await leave_progress(order, builder.progress, describe_interrupted(remains))
                await builder.learn_of_earlier()
                await builder.learn_of_form(error, remains)
                await _show(builder.report(error, remains), builder.versions, error)
                raise
            await builder.learn_of_earlier()
            await _show(builder.report(), builder.versions)


async def leave_progress(order: ScaleOut | Removal, seen: Progress | None, words: str) -> None:
    """Leave no bar that seems to move."""
    if seen:
        await progress_note(order).show(seen.percent, f"not followed any more: {words}")


async def _show(
    report: ScaleOutReport, versions: dict[str, str], error: BaseException | None = None
) -> None:
    await keep_report(report, versions)
    # Whoever runs the flow ends by these, whatever Prefect makes of the run from now on.
    publish(Reported(report=report, ended_by=error))
    if report.follows:
        publish_line("report", f"report.follows {report.follows}", logging.WARNING)


async def keep_report(report: ScaleOutReport, versions: dict[str, str]) -> None:
    """Keep a report in Prefect, as a page for people and for `obscale evidence`."""
    kept = KeptReport(report=report, versions=versions)
    await aside(
        note_page(
            artifact_key("report", report.cluster, report.target),
            render_markdown(report, pictures=pictures_of(report)),
            f"{told_as(report)}: {report.outcome}",
        )
    )
    await aside(
        note_page(
            artifact_key("evidence", report.cluster, report.target),
            folded_page_of(kept, render_kept(kept)),
            f"Evidence of {told_as(report)}",
        )
    )
