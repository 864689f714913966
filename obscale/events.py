"""What a run tells: one class for each event, and the line each has in the log.

Tasks publish them. Report, screen, ledger and Prefect's events are made from their fields; the
words of a line are for people, and nothing decides by them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, assert_never

if TYPE_CHECKING:
    # Each room tells what it knows, so events name types of rooms that import this one.
    from datetime import datetime

    from obscale.agent.models import Dag, Zone
    from obscale.batch.ledger import Entry, Ledger
    from obscale.batch.report import BatchReport
    from obscale.follow.progress import Change
    from obscale.preflight.capacity import Capacity
    from obscale.preflight.disk_room import DiskRoom
    from obscale.preflight.finding import Findings
    from obscale.recovery.consequences import Remedy
    from obscale.recovery.diagnosis import Diagnosis
    from obscale.report.report import Decided, ScaleOutReport
    from obscale.report.use import UseReport
    from obscale.request.policies import Window
    from obscale.submit.result import Submitted
    from obscale.use.proofs import Balance
    from obscale.use.result import UseSubmitted
    from obscale.verify.baseline import Baseline
    from obscale.verify.levels import VerifiedLevels


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What all events have."""

    step: str
    """Who speaks: a task's name, or `batch`, `report`, `agents`, `prefect`."""
    severity: int = logging.INFO
    """In the log."""


@dataclass(frozen=True, kw_only=True)
class Line(_Told):
    """A line of the log that nothing else is made from."""

    words: str
    """Event first, then facts, e.g. `poll.no_answer silent_seconds=4`."""


@dataclass(frozen=True, kw_only=True)
class Judged(_Told):
    """Preflight has judged every rule."""

    step: str = "preflight"
    findings: Findings
    zones: tuple[Zone, ...]
    """Observers before anything was done."""
    versions: Mapping[str, str]
    """Of obshell and OceanBase, by name."""
    capacity: Capacity | None = None
    """Of the cluster, now and with the node."""
    disk_rooms: tuple[DiskRoom, ...] = ()
    """Disks of the node that do not fit, or may not."""


@dataclass(frozen=True, kw_only=True)
class LookedAgain(_Told):
    """What had aged since preflight was read again, right before the POST."""

    step: str = "submit"
    zones: tuple[Zone, ...]
    """Observers before anything was done."""


@dataclass(frozen=True, kw_only=True)
class HalfBegun(_Told):
    """Of a replacement one half begins: the new node joins, or the old one leaves."""

    step: str = "replace"
    half: Literal["add", "remove"]
    target: str
    """`ip:port` of the agent this half is about."""


@dataclass(frozen=True, kw_only=True)
class PersonAsked(_Told):
    """The run is paused until a person answers."""

    about: Literal["approval", "recovery"]
    choices: Sequence[str]
    seconds: float
    """For how long it waits."""


@dataclass(frozen=True, kw_only=True)
class PersonAnswered(_Told):
    """Somebody has answered."""

    decided: Decided


@dataclass(frozen=True, kw_only=True)
class WaitsForLock(_Told):
    """The submit waits for the end of somebody else's DAG."""

    step: str = "submit"
    what: str
    """Who holds the lock."""
    seconds: float
    """So far."""


@dataclass(frozen=True, kw_only=True)
class WaitsForWindow(_Told):
    """The submit waits for its window to open."""

    step: str = "submit"
    window: Window
    opens: datetime


@dataclass(frozen=True, kw_only=True)
class Posting(_Told):
    """The POST of the scale-out is sent next; from here on it may have arrived."""

    step: str = "submit"
    newest_dag: int
    """Number of the cluster's newest DAG before."""
    agent: str


@dataclass(frozen=True, kw_only=True)
class WaitsForAnswer(_Told):
    """The answer to the POST is overdue."""

    step: str = "submit"
    agent: str
    """That was sent it."""
    seconds: float
    """So far."""


@dataclass(frozen=True, kw_only=True)
class SubmitSettled(_Told):
    """It is known which DAG carries the order."""

    step: str = "submit"
    submitted: Submitted
    dag: Dag | None = None
    """As the POST was answered, or as it was confirmed; None: it was there already."""


@dataclass(frozen=True, kw_only=True)
class BaselineFound(_Told):
    """Of a DAG that was there already: how things stood before its POST, if anybody knows."""

    step: str = "submit"
    baseline: Baseline | None


@dataclass(frozen=True, kw_only=True)
class DagMoved(_Told):
    """The DAG is no longer as at the last look."""

    dag: Dag
    change: Change


@dataclass(frozen=True, kw_only=True)
class Diagnosed(_Told):
    """It is known why the DAG did not end well."""

    step: str = "poll"
    severity: int = logging.WARNING
    diagnosis: Diagnosis


@dataclass(frozen=True, kw_only=True)
class RemedyDecided(_Told):
    """It is decided what is done about a DAG that failed."""

    step: str = "recover"
    remedy: Remedy
    why: str


@dataclass(frozen=True, kw_only=True)
class LevelReached(_Told):
    """The node stands on another level of the verification than at the last look."""

    step: str = "verify"
    levels: VerifiedLevels
    zones: tuple[Zone, ...]
    """Observers now."""


@dataclass(frozen=True, kw_only=True)
class WaitsForProofs(_Told):
    """The verification waits for what is still missing."""

    step: str = "verify"
    what: str
    seconds: float
    """So far."""


@dataclass(frozen=True, kw_only=True)
class ProofsHold(_Told):
    """All is as it should be, and has to stay so for a while."""

    step: str = "verify"
    seconds: float
    """So far."""
    wanted: float
    """Seconds in all."""


@dataclass(frozen=True, kw_only=True)
class ProofNotice(_Told):
    """Something stands against the request, or no longer does, or cannot be read."""

    step: str = "verify"
    severity: int = logging.WARNING
    line: str


@dataclass(frozen=True, kw_only=True)
class Verified(_Told):
    """The verification has ended, well or not."""

    step: str = "verify"
    levels: VerifiedLevels
    zones: tuple[Zone, ...]
    """Observers after the scale-out."""


@dataclass(frozen=True, kw_only=True)
class Reported(_Told):
    """The report is out; the run ends next, by this error if there is one."""

    step: str = "report"
    report: ScaleOutReport
    ended_by: BaseException | None


@dataclass(frozen=True, kw_only=True)
class UseSettled(_Told):
    """It is known which DAG brings a tenant its number of units."""

    step: str = "submit"
    submitted: UseSubmitted


@dataclass(frozen=True, kw_only=True)
class UnitsMoved(_Told):
    """More units of a tenant are placed, or data has moved, since the last look."""

    words: str
    percent: float
    """Of the units that are wanted, those placed."""


@dataclass(frozen=True, kw_only=True)
class UseProved(_Told):
    """The proofs of a tenant's units are over, well or not."""

    step: str = "verify"
    balance: Balance


@dataclass(frozen=True, kw_only=True)
class UseReported(_Told):
    """The report of a use is out; the run ends next, by this error if there is one."""

    step: str = "report"
    report: UseReport
    ended_by: BaseException | None


@dataclass(frozen=True, kw_only=True)
class AgentNotice(_Told):
    """An agent has become silent, or answers again."""

    step: str = "agents"
    severity: int = logging.WARNING
    line: str


@dataclass(frozen=True, kw_only=True)
class PrefectNotice(_Told):
    """Prefect is away, or back, or knows the run no more."""

    step: str = "prefect"
    severity: int = logging.WARNING
    line: str
    words: str
    """The same for whoever looks at a terminal."""


@dataclass(frozen=True, kw_only=True)
class BatchBegun(_Told):
    """A batch begins."""

    step: str = "batch"
    ledger: Ledger


@dataclass(frozen=True, kw_only=True)
class BatchWaits(_Told):
    """Nothing may start before the window opens."""

    step: str = "batch"
    ledger: Ledger
    until: datetime


@dataclass(frozen=True, kw_only=True)
class RowChanged(_Told):
    """A row was started, or has come to another state."""

    step: str = "batch"
    ledger: Ledger
    row: Entry
    what: str
    """`started`, or the state it has come to."""


@dataclass(frozen=True, kw_only=True)
class BatchEnded(_Told):
    """A batch has ended, and its report is out; its run ends next, by this error if there is one.

    A batch whose rows did not all go well ends by an error of its own.
    """

    step: str = "batch"
    ledger: Ledger
    report: BatchReport
    ended_by: BaseException | None


Event = (
    Line
    | Judged
    | LookedAgain
    | HalfBegun
    | PersonAsked
    | PersonAnswered
    | WaitsForLock
    | WaitsForWindow
    | Posting
    | WaitsForAnswer
    | SubmitSettled
    | BaselineFound
    | DagMoved
    | Diagnosed
    | RemedyDecided
    | LevelReached
    | WaitsForProofs
    | ProofsHold
    | ProofNotice
    | Verified
    | Reported
    | UseSettled
    | UnitsMoved
    | UseProved
    | UseReported
    | AgentNotice
    | PrefectNotice
    | BatchBegun
    | BatchWaits
    | RowChanged
    | BatchEnded
)
Publish = Callable[[Event], None]
"""Takes an event to the log and to whoever listens."""


def text_of(event: Event) -> str:  # noqa: C901, PLR0911, PLR0912 - one line for each event
    """Give the line an event has in the log and in the timeline of the report."""
    match event:
        case Line(words=words):
            return words
        case AgentNotice(line=line) | ProofNotice(line=line) | PrefectNotice(line=line):
            return line
        case Judged(findings=findings):
            return f"preflight.judged verdict={findings.verdict!r}"
        case LookedAgain():
            return "submit.looked_again"
        case HalfBegun(half=half, target=target):
            return f"replace.half_begun half={half} target={target}"
        case PersonAsked(about="approval", seconds=seconds):
            where = "on the page of this run, in the newer UI in its menu"
            return f"approval.asking seconds={seconds} next='press Resume {where}'"
        case PersonAsked(choices=choices):
            return f"recover.asking choices={'|'.join(choices)}"
        case PersonAnswered(decided=decided):
            return _answer(decided)
        case WaitsForLock(what=what, seconds=seconds):
            return f"submit.waiting why={what!r} seconds={seconds:.0f}"
        case WaitsForWindow(window=window, opens=opens):
            return f"submit.waiting_for_window until={opens:%Y-%m-%dT%H:%M}Z window='{window}'"
        case Posting(newest_dag=newest, agent=agent):
            return f"submit.posting baseline={newest} agent={agent}"
        case WaitsForAnswer(agent=agent, seconds=seconds):
            return f"submit.waiting_for_answer agent={agent} seconds={seconds:.0f}"
        case SubmitSettled():
            return _settled(event)
        case BaselineFound(baseline=baseline):
            return _before(baseline)
        case DagMoved(change=change):
            return change.text
        case Diagnosed(diagnosis=found):
            return f"diagnosis.made cause={found.cause} title={found.title!r}"
        case RemedyDecided(remedy=remedy, why=why):
            return f"recover.decided remedy={remedy} why={why!r}"
        case LevelReached(levels=levels):
            return f"verify.level level={levels.level.name}"
        case WaitsForProofs(what=what, seconds=seconds):
            return f"verify.waiting seconds={seconds:.0f} for={what!r}"
        case ProofsHold(seconds=seconds, wanted=wanted):
            return f"verify.holding seconds={seconds:.0f} of={wanted:.0f}"
        case Verified(levels=levels):
            return f"verify.ended level={levels.level.name}"
        case Reported(report=report):
            return f"report.written outcome={report.outcome}"
        case UseSettled(submitted=submitted):
            named = f" dag={submitted.dag_id}" if submitted.dag_id else ""
            return f"submit.{submitted.how.replace(' ', '_')}{named} why={submitted.why!r}"
        case UnitsMoved(step=step, words=words):
            return f"{step}.placed {words!r}"
        case UseProved(balance=balance):
            return f"verify.ended balance={balance.verdict!r}"
        case UseReported(report=report):
            return f"report.written outcome={report.outcome}"
        case BatchBegun(ledger=ledger):
            return f"batch.begun key={ledger.key} nodes={len(ledger.entries)}"
        case BatchWaits(until=until):
            return f"batch.waiting until={until:%Y-%m-%dT%H:%M}Z why='window'"
        case RowChanged(row=row, what=what):
            why = f" why={row.note!r}" if row.note else ""
            return f"row.{what} node={row.target} zone={row.zone} cluster={row.cluster}{why}"
        case BatchEnded(report=report):
            return f"batch.ended {report.summary}"
        case _:
            assert_never(event)


def _answer(decided: Decided) -> str:
    said = f"by={decided.who!r} reason={decided.why!r}"
    if decided.about == "recovery":
        return f"recover.answered choice={decided.choice} {said}"
    return f"approval.{'rejected' if decided.choice == 'reject' else 'given'} {said}"


def _settled(event: SubmitSettled) -> str:
    submitted, dag = event.submitted, event.dag
    if dag and submitted.how == "posted":
        return f"submit.posted dag={dag.id} stages={dag.max_stage}"
    if dag:
        stands = f"state={dag.state}/{dag.operator}"
        return f"submit.confirmed dag={dag.id} {stands} why={submitted.why!r}"
    what = "adopted" if submitted.how == "adopted" else "already_member"
    named = f" dag={submitted.dag_id}" if submitted.dag_id else ""
    return f"submit.{what}{named} why={submitted.why!r}"


def _before(baseline: Baseline | None) -> str:
    if baseline is None:
        return "submit.before_unknown why='nobody has kept a look from before its POST'"
    at, by = f"{baseline.at:%Y-%m-%dT%H:%M:%SZ}", baseline.run_name or "a run"
    return f"submit.before_known at={at} newest_dag={baseline.newest_dag} by={by!r}"


def lines_to(publish: Publish, step: str) -> Callable[[str], None]:
    """Give what publishes lines of a step, for whoever tells in words only."""
    return lambda words: publish_line(publish, step, words)


def publish_line(publish: Publish, step: str, words: str, severity: int = logging.INFO) -> None:
    """Publish a line that nothing else is made from.

    Args:
        publish: Takes it.
        step: Who speaks.
        words: Event first, then facts, e.g. `poll.skipped why='already a member'`.
        severity: In the log.
    """
    publish(Line(step=step, words=words, severity=severity))
