"""Turns what a run tells into Prefect events.

Events are a convenience: Prefect may drop them under load, and a run neither waits for one nor
fails for want of one. `docs/events.md` lists them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from prefect.events import emit_event
from prefect.exceptions import EventTooLarge

from obscale.agent.models import Dag
from obscale.errors import (
    DagFailedError,
    DagRolledBackError,
    HalfReplacedError,
    NotApprovedError,
    RejectedError,
)
from obscale.events import (
    DagMoved,
    Event,
    HalfBegun,
    Judged,
    LevelReached,
    PersonAsked,
    RemedyDecided,
    Reported,
    SubmitSettled,
    Verified,
)
from obscale.follow.progress import progress_of
from obscale.preflight.finding import Finding
from obscale.recovery.consequences import Remedy
from obscale.recovery.diagnosis import Diagnosis
from obscale.report.report import PrefectForm, ScaleOutReport
from obscale.request.removal import Removal
from obscale.request.replacement import Replacement
from obscale.request.scale_out import ScaleOut
from obscale.submit.result import Submitted
from obscale.tasks.runtime.forms import cluster_of
from obscale.tasks.runtime.journal import listening
from obscale.tasks.runtime.run_log import run_logger
from obscale.text import each_text, for_terminal
from obscale.verify.observation import Level

PREFIX: Final = "obscale.scale-out."
REMOVAL_PREFIX: Final = "obscale.removal."
"""Of the same names where a node, or a zone, leaves: what mends a scale-out is not for these."""
REPLACEMENT_PREFIX: Final = "obscale.replacement."
"""Of the same names where a node is replaced; each says in `half` which half it is of."""
HELD: Final = "held"
HALF_DONE: Final = "half-done"
ENDS: Final = {
    DagFailedError.kind: HELD,
    RejectedError.kind: "rejected",
    NotApprovedError.kind: "rejected",
    HalfReplacedError.kind: HALF_DONE,
}
"""What the end of a run is called by the kind of its error; every other one has `failed`."""
EVENTS: Final = {
    "planned": ("preflight has judged, and nothing blocks", "`verdict`, `warnings` (rules)"),
    "blocked": ("something forbids the submit", "`verdict`, `blockers`, `warnings`"),
    "asking": ("the run is paused until somebody answers", "`waits_for`, `choices`"),
    "rejected": (
        "asked for approval, somebody said no, or nobody answered in time",
        "`error_kind`, `error`",
    ),
    "submitted": ("one DAG carries the order", "`dag`, `how` (`posted` or `adopted`)"),
    "stage-changed": (
        "the DAG stands at another stage, or is being undone there",
        "`dag`, `stage`, `of`, `node`, `operator`",
    ),
    "recovered": (
        "a failed DAG was retried to its end, or rolled back, as decided",
        "`dag`, `remedy`",
    ),
    "held": (
        "the DAG failed and is left to a person",
        (
            "`dag`, `error_kind`, `error`, `next`, `cause`, `title`, `remedy` (recommended), "
            "`stage`, `of`, `connection` (as a parameter names the cluster); where it is deployed, "
            "`deployment` that mends it and `form`, its address"
        ),
    ),
    "failed": (
        "the run ended otherwise",
        (
            "`dag`, `error_kind`, `error`, `next`; the cause where one was found; `deployment` and "
            "`form` likewise"
        ),
    ),
    HALF_DONE: (
        "of a replacement: the new node is verified, and the old one is still there",
        "`dag` of the removal, `error_kind`, `error`, `next`",
    ),
    "joined": ("the cluster lists the node", "`level`"),
    "left": ("the cluster lists the node, or zone, that was to leave no more", "`level`"),
    "verified": ("the node is proved", "`level`, `dag`"),
}
"""When each event is sent, and its payload in Markdown; docs/events.md is made of it."""
BEGUN: Final = frozenset({"posted", "adopted"})
"""How a DAG comes to carry the order where there is one to follow."""
LONGEST_TEXT: Final = 500
"""Characters of an error or a cause; the report has it whole, and events are limited in size."""

Payload = dict[str, Any]
"""JSON."""


@dataclass(frozen=True)
class Signal:
    """One event to be sent: its name without the prefix, and what goes with it."""

    name: str
    payload: Payload


@dataclass(frozen=True)
class Heard:
    """What a run has told so far, as far as later events depend on it."""

    told: frozenset[str] = frozenset()
    """Marks of events that were sent; each is sent once."""
    remedy: Remedy | None = None
    """Decided about a DAG that failed, and not carried out yet."""


def signals_of(heard: Heard, event: Event) -> tuple[Heard, tuple[Signal, ...]]:
    """Decide as what an event is announced in Prefect; the same one again is not.

    Returns:
        What is known after it, and the events in the order they are to be sent.
    """
    told, sent = set(heard.told), []
    for mark, signal in _candidates(heard, event):
        if mark not in told:
            told.add(mark)
            sent.append(signal)
    remedy = heard.remedy
    if any(signal.name == "recovered" for signal in sent):
        remedy = None
    if isinstance(event, RemedyDecided) and event.remedy in {Remedy.RETRY, Remedy.ROLLBACK}:
        remedy = event.remedy
    return Heard(frozenset(told), remedy), tuple(sent)


def _candidates(heard: Heard, event: Event) -> Iterator[tuple[str, Signal]]:
    """Give each signal an event may be, with the mark by which it is sent once."""
    match event:
        case Judged(findings=found) if not found.blockers or found.already_member:
            yield "planned", Signal("planned", _judged(found.verdict, found))
        case Judged(findings=found):
            yield "blocked", Signal("blocked", _judged(found.verdict, found))
        case PersonAsked(about=what, choices=choices):
            said: Payload = {"waits_for": what, "choices": list(choices)}
            yield f"asking/{what}", Signal("asking", said)
        case SubmitSettled(
            submitted=Submitted(dag_id=str(dag_id), how="posted" | "adopted" as how)
        ):
            yield f"submitted/{dag_id}", Signal("submitted", {"dag": dag_id, "how": how})
        case DagMoved(dag=dag):
            yield from _moved(heard, dag)
        case LevelReached(levels=levels) | Verified(levels=levels) if levels.leaves:
            if levels.level not in {Level.NONE, Level.LEAVING}:
                yield "left", Signal("left", {"level": levels.level.name})
        case LevelReached(levels=levels) | Verified(levels=levels) if levels.level >= Level.JOINED:
            yield "joined", Signal("joined", {"level": levels.level.name})
        case Reported(report=report):
            yield from _ended(heard, report)
        case _:
            pass


def _moved(heard: Heard, dag: Dag) -> Iterator[tuple[str, Signal]]:
    progress = progress_of(dag)
    place: Payload = {
        "dag": dag.id,
        "stage": progress.stage,
        "of": progress.max_stage,
        "node": progress.node,
        "operator": progress.operator.value,
    }
    mark = f"stage/{dag.id}/{progress.stage}/{progress.operator}"
    yield mark, Signal("stage-changed", place)
    if dag.is_done and heard.remedy is Remedy.RETRY:
        yield f"recovered/{dag.id}", _recovered(Remedy.RETRY, dag.id)


def _ended(heard: Heard, report: ScaleOutReport) -> Iterator[tuple[str, Signal]]:
    kind, dag_id = report.error_kind, report.dag_id or ""
    error: Payload = {"error_kind": kind, "error": report.error[:LONGEST_TEXT], "dag": dag_id}
    error |= {"next": report.next[:LONGEST_TEXT]} if report.next else {}
    error |= _form(report.in_prefect)
    if report.outcome == "verified":
        yield "verified", Signal("verified", {"level": report.level, "dag": dag_id})
    elif report.outcome == "rolled-back":
        yield f"recovered/{dag_id}", _recovered(Remedy.ROLLBACK, dag_id)
    elif report.outcome == "blocked":
        yield "blocked", Signal("blocked", _judged("blocked", report.findings) | error)
    else:
        if kind == DagRolledBackError.kind and heard.remedy is Remedy.ROLLBACK:
            yield f"recovered/{dag_id}", _recovered(Remedy.ROLLBACK, dag_id)
        yield "end", Signal(ENDS.get(kind, "failed"), error | _cause(report.diagnosis))


def _form(form: PrefectForm | None) -> Payload:
    return {"deployment": form.deployment, "form": form.url} if form else {}


def _judged(verdict: str, findings: Sequence[Finding]) -> Payload:
    blocking = [finding.rule for finding in findings if finding.weight == "block"]
    warning = [finding.rule for finding in findings if finding.weight == "warn"]
    return {"verdict": verdict, "blockers": blocking, "warnings": warning}


def _recovered(remedy: Remedy, dag_id: str) -> Signal:
    return Signal("recovered", {"dag": dag_id, "remedy": remedy.value})


def _cause(diagnosis: Diagnosis | None) -> Payload:
    if diagnosis is None:
        return {}
    return {
        "cause": diagnosis.cause,
        "title": diagnosis.title[:LONGEST_TEXT],
        "remedy": diagnosis.recommended.value,
        "stage": diagnosis.place.stage,
        "of": diagnosis.place.max_stage,
    }


@contextmanager
def sending_events(order: ScaleOut | Removal | Replacement) -> Iterator[None]:
    """Send the events of the run inside this block."""
    with listening(Announcer(order).hear):
        yield


def _prefix_of(order: ScaleOut | Removal | Replacement) -> str:
    if isinstance(order, Replacement):
        return REPLACEMENT_PREFIX
    return REMOVAL_PREFIX if isinstance(order, Removal) else PREFIX


class Announcer:
    """Sends a run's events, each once; whatever Prefect makes of them, the run goes on."""

    def __init__(self, order: ScaleOut | Removal | Replacement) -> None:
        self._heard = Heard()
        self._prefix = _prefix_of(order)
        self._about: Payload = {"target": order.target, "zone": order.zone}
        if isinstance(order, Replacement):
            self._about["by"] = order.joining
        self._cluster = for_terminal(order.cluster_name)
        self._connection = cluster_of(order)
        self._resource = {
            "prefect.resource.id": f"obscale.cluster.{self._cluster}",
            "prefect.resource.name": self._cluster,
        }
        self._related = [
            {
                "prefect.resource.id": f"obscale.agent.{order.target}",
                "prefect.resource.role": "target",
                "prefect.resource.name": order.target,
            }
        ]
        self._complained = False

    def hear(self, event: Event) -> None:
        """Send what this event is to be announced as."""
        if isinstance(event, HalfBegun):
            # What was told of one half is told of the other anew.
            self._heard = Heard()
            self._about["half"] = event.half
        self._heard, signals = signals_of(self._heard, event)
        for signal in signals:
            self._send(signal)

    def _send(self, signal: Signal) -> None:
        why = "Prefect takes no events from this process"
        # What an automation has to hand on, so that a run can look after the DAG.
        connection = {"connection": self._connection} if signal.name == HELD else {}
        try:
            sent = emit_event(
                self._prefix + signal.name,
                resource=self._resource,
                related=self._related,
                payload=each_text(
                    {"cluster": self._cluster, **connection} | self._about | signal.payload,
                    for_terminal,
                ),
            )
        except EventTooLarge as error:
            sent, why = None, str(error)
        if sent is None and not self._complained:
            self._complained = True
            run_logger().warning("event.not_sent event=%s reason=%r", signal.name, why)
