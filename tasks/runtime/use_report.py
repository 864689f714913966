"""Makes one report of a run of use, however it ends, and announces it in Prefect's events."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from prefect.events import emit_event
from prefect.exceptions import EventTooLarge

from obscale import events
from obscale.agent.models import Dag
from obscale.errors import DagFailedError, ObscaleError, PreflightError
from obscale.events import (
    DagMoved,
    Event,
    Judged,
    Line,
    UnitsMoved,
    UseProved,
    UseReported,
    UseSettled,
)
from obscale.follow.progress import progress_of
from obscale.preflight.finding import Answer, Findings
from obscale.report.report import Moment, stage_rows
from obscale.report.use import UseReport, render_use
from obscale.request.file_name import command_name
from obscale.request.use import Use
from obscale.tasks.runtime.attempts import close_earlier_attempts
from obscale.tasks.runtime.baselines import this_run
from obscale.tasks.runtime.journal import (
    artifact_key,
    aside,
    listening,
    note_page,
    publish,
    written_by_its_end,
)
from obscale.tasks.runtime.person import asked_by
from obscale.tasks.runtime.prefect_private import ExternalSignal
from obscale.tasks.runtime.run_log import run_logger
from obscale.text import each_text, for_terminal
from obscale.use.proofs import Balance
from obscale.use.result import UNIT_NUM, UsePreflight, UseSubmitted

PREFIX: Final = "obscale.use."
USE_EVENTS: Final = {
    "planned": ("preflight has judged, and nothing blocks", "`verdict`, `warnings` (rules)"),
    "blocked": ("something forbids it", "`verdict`, `blockers`, `warnings`"),
    "submitted": (
        "it is known what brings the number",
        "`dag` (empty: stored already), `how` (`posted`, `adopted` or `already stored`)",
    ),
    "stage-changed": ("the DAG stands at another stage", "`dag`, `stage`, `of`, `node`"),
    "held": ("the DAG failed and is left to a person", "`dag`, `error_kind`, `error`, `next`"),
    "failed": ("the run ended otherwise", "`dag`, `error_kind`, `error`, `next`"),
    "verified": ("the tenant is BALANCED", "`balance`, `dag`"),
}
"""When each event is sent, and its payload in Markdown; docs/events.md is made of it."""
LONGEST_TEXT: Final = 500
"""Characters of an error; the report has it whole, and events are limited in size."""


class UseBuilder:
    """Collects what the tasks tell, and makes the report of it."""

    def __init__(self, order: Use) -> None:
        self._order = order
        self._timeline: list[Moment] = []
        self._findings: Findings | None = None
        self._submitted: UseSubmitted | None = None
        self._dag: Dag | None = None
        self._placed = ""
        self.gain = ""
        self.unit_num_before: int | None = None
        self._balance = Balance()

    def hear(self, event: Event) -> None:
        """Take one event into the builder."""
        # A rule that passes has a line in the log; the findings hold it.
        if not (isinstance(event, Line) and event.severity == logging.DEBUG):
            text = events.text_of(event)
            self._timeline.append(Moment(at=datetime.now(UTC), step=event.step, text=text))
        match event:
            case Judged(findings=findings):
                self._findings = findings
            case UseSettled(submitted=submitted):
                self._submitted, self._dag = submitted, submitted.dag
            case DagMoved(dag=dag):
                self._dag = dag
            case UnitsMoved(words=words):
                self._placed = words
            case UseProved(balance=balance):
                self._balance = balance
            case _:
                pass

    def take(self, seen: UsePreflight) -> None:
        """Take what was found before anything was sent."""
        self.gain, self.unit_num_before = seen.gain, seen.unit_num

    def report(self, error: BaseException | None = None) -> UseReport:
        """Give the report as things stand; an error makes it a failed one."""
        order, run, submitted = self._order, this_run(), self._submitted
        kind, told = _kind_and_words(error) if error else ("", "")
        outcome: Any = "verified" if self._balance.is_balanced else "failed"
        if error:
            outcome = "blocked" if isinstance(error, PreflightError) else "failed"
            outcome = "cancelled" if kind == "cancelled" else outcome
        return UseReport(
            outcome=outcome,
            cluster=order.cluster_name,
            tenant=order.tenant,
            unit_num=order.unit_num,
            unit_num_before=_before(submitted, self.unit_num_before),
            gain=self.gain,
            verdict=self._findings.verdict if self._findings else "",
            findings=tuple(self._findings.by_weight()) if self._findings else (),
            dag_id=submitted.dag_id if submitted else None,
            submitted_how=submitted.how if submitted else "",
            stages=stage_rows(self._dag),
            balance=self._balance.verdict if self._balance.lines else "",
            proofs=self._balance.lines,
            placed=self._placed,
            timeline=tuple(self._timeline),
            error_kind=kind,
            error=told,
            next=error.hint if isinstance(error, ObscaleError) else "",
            command_name=command_name(order.cluster),
            run_id=str(run.id) if run else "",
            run_name=run.name if run else "",
            attempt=run.run_count if run else 0,
            asked_by=asked_by(run) if run else "",
        )


def _before(submitted: UseSubmitted | None, seen: int | None) -> int | None:
    """Give the number of before the PATCH: of a DAG that was taken up, as its record says."""
    record = submitted.baseline if submitted else None
    said = record.judged.get(UNIT_NUM, "") if record else ""
    if said.isdecimal():
        return int(said)
    return None if submitted and submitted.how == "adopted" else seen


def _kind_and_words(error: BaseException) -> tuple[str, str]:
    match error:
        case ObscaleError():
            return error.kind, str(error)
        # Prefect's signal strikes whatever runs at that moment: this flow, or what it waits for.
        case asyncio.CancelledError() | ExternalSignal() | KeyboardInterrupt() | SystemExit():
            return "cancelled", "the run was cancelled from outside; the DAG, if any, goes on"
        case TimeoutError():
            return "timed-out", f"a time limit of the run was reached: {error or 'no more known'}"
        case _:
            return "crashed", f"the run broke: {type(error).__name__}: {error}"


@asynccontextmanager
async def use_report_at_end(order: Use) -> AsyncIterator[UseBuilder]:
    """Write the report artifact at the end of this block, also when it fails or is cancelled."""
    builder, announcer = UseBuilder(order), UseAnnouncer(order)
    async with written_by_its_end():
        with listening(builder.hear), listening(announcer.hear):
            await close_earlier_attempts()
            try:
                yield builder
            except BaseException as error:
                await show_use_report(builder.report(error), error)
                raise
            await show_use_report(builder.report())


async def show_use_report(report: UseReport, error: BaseException | None = None) -> None:
    """Write a report's artifact, and tell it."""
    await aside(
        note_page(
            artifact_key("report", report.cluster, "tenant", report.tenant),
            render_use(report),
            f"tenant {report.tenant} of {report.cluster}: {report.outcome}",
        )
    )
    # Whoever runs the flow ends by these, whatever Prefect makes of the run from now on.
    publish(UseReported(report=report, ended_by=error))


class UseAnnouncer:
    """Sends a run's events, each once; whatever Prefect makes of them, the run goes on."""

    def __init__(self, order: Use) -> None:
        cluster = for_terminal(order.cluster_name)
        self._payload = {"cluster": cluster, "tenant": order.tenant, "unit_num": order.unit_num}
        self._resource = {
            "prefect.resource.id": f"obscale.cluster.{cluster}",
            "prefect.resource.name": cluster,
        }
        self._told: set[object] = set()
        self._complained = False

    def hear(self, event: Event) -> None:
        """Send what this event is to be announced as."""
        for mark, name, payload in _signals(event):
            if mark not in self._told:
                self._told.add(mark)
                self._send(name, payload)

    def _send(self, name: str, payload: dict[str, Any]) -> None:
        why = "Prefect takes no events from this process"
        try:
            sent = emit_event(
                PREFIX + name,
                resource=self._resource,
                payload=each_text(self._payload | payload, for_terminal),
            )
        except EventTooLarge as error:
            sent, why = None, str(error)
        if sent is None and not self._complained:
            self._complained = True
            run_logger().warning("event.not_sent event=%s reason=%r", name, why)


def _signals(event: Event) -> list[tuple[object, str, dict[str, Any]]]:
    """Give what an event is announced as: a mark by which it is sent once, name and payload."""
    match event:
        case Judged(findings=found):
            name = "blocked" if found.blockers else "planned"
            return [(name, name, _judged(found))]
        case UseSettled(submitted=submitted):
            said = {"dag": submitted.dag_id or "", "how": submitted.how}
            return [(f"submitted/{submitted.dag_id}", "submitted", said)]
        case DagMoved(dag=dag):
            at = progress_of(dag)
            place = {"dag": dag.id, "stage": at.stage, "of": at.max_stage, "node": at.node}
            return [(f"stage/{dag.id}/{at.stage}", "stage-changed", place)]
        case UseReported(report=report):
            return _ended(report)
        case _:
            return []


def _judged(found: Findings) -> dict[str, Any]:
    blocking = [finding.rule for finding in found if finding.weight is Answer.BLOCK]
    warning = [finding.rule for finding in found if finding.weight is Answer.WARN]
    return {"verdict": found.verdict, "blockers": blocking, "warnings": warning}


def _ended(report: UseReport) -> list[tuple[object, str, dict[str, Any]]]:
    if report.outcome == "verified":
        said = {"balance": report.balance, "dag": report.dag_id or ""}
        return [("end", "verified", said)]
    error = {
        "dag": report.dag_id or "",
        "error_kind": report.error_kind,
        "error": report.error[:LONGEST_TEXT],
        "next": report.next[:LONGEST_TEXT],
    }
    name = "held" if report.error_kind == DagFailedError.kind else "failed"
    if report.outcome == "blocked":
        return [("blocked", "blocked", error)]
    return [("end", name, error)]
