"""Diagnoses a failed scale-out: cause, place, evidence and possible remedies."""

from collections.abc import Iterator
from typing import Final

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import Dag
from obscale.cleaning import CLEAN_BY_HAND, NOT_WHILE_LISTED, clean_by_hand
from obscale.maintenance_lock import Lock, lock_held_by
from obscale.recovery.case import Case
from obscale.recovery.causes import CAUSES, Cause
from obscale.recovery.consequences import Choice, Remedy, weigh_retry, weigh_rollback
from obscale.scale_out_dag import ADD_SERVER

_LOCK: Final = {
    Lock.HOLDS: " and holds the lock",
    Lock.UNKNOWN: " and may hold the lock",
    Lock.FREE: "",
}


class Place(BaseModel):
    """Where it happened: stage and node of the cluster's DAG, and the agent that executed it."""

    model_config = ConfigDict(frozen=True)

    stage: int
    max_stage: int
    node: str
    agent: str


class Diagnosis(BaseModel):
    """What a person on call, or a policy, needs to know. Holds no secret.

    `recommended` is always a choice that is safe; HAND_OVER is always safe and always there.
    """

    model_config = ConfigDict(frozen=True)

    cause: str
    """Stable id."""
    title: str
    dag_id: str
    target: str
    place: Place
    reason: str = ""
    """Why the DAG failed, or that nobody knows any more; empty where it is not FAILED."""
    evidence: tuple[str, ...]
    choices: tuple[Choice, ...]
    recommended: Remedy

    def choice(self, remedy: Remedy) -> Choice | None:
        """Give what is known of a remedy; None where it is none here."""
        return next((choice for choice in self.choices if choice.operator is remedy), None)

    @property
    def advice(self) -> str:
        """What to do, in one line."""
        chosen = self.choice(self.recommended)
        return f"{self.recommended}: {chosen.does}" if chosen else str(self.recommended)


def diagnose(case: Case) -> Diagnosis:
    """Name the cause, the place, the evidence, and every choice with its consequences.

    A dead end is named and never recommended, nor is what may destroy somebody else's data.
    """
    cause = next(cause for cause in CAUSES if cause.matches(case))
    choices = tuple(_choices(case, cause))
    safe = {choice.operator for choice in choices if choice.safe}
    failure = case.failure
    return Diagnosis(
        cause=cause.id,
        title=cause.title,
        dag_id=case.dag.id,
        target=case.target,
        place=Place(
            stage=failure.stage,
            max_stage=failure.max_stage,
            node=failure.node,
            agent=failure.agent,
        ),
        reason=failure.reason if case.dag.is_failed else "",
        evidence=tuple(_evidence(case)),
        choices=choices,
        recommended=cause.cure if cause.cure in safe else Remedy.HAND_OVER,
    )


def _choices(case: Case, cause: Cause) -> Iterator[Choice]:
    if case.dag.is_failed:
        retry = weigh_retry(case)
        futile = cause.futile(case)
        if futile and not retry.dead_end:
            retry = retry.model_copy(update={"safe": False, "dead_end": futile})
        yield retry
        yield weigh_rollback(case)
    elif case.dag.is_undone and case.own is not None and not case.own.is_undone:
        yield weigh_rollback(case)
    does = _by_hand(case, cause)
    cleans = clean_by_hand(case.home) in does
    destroys = "nothing by itself" if cleans else "nothing"
    yield Choice(operator=Remedy.HAND_OVER, safe=True, does=does, destroys=destroys)


def _by_hand(case: Case, cause: Cause) -> str:
    """What a person does; a node the cluster lists is never to be cleaned."""
    if case.is_listed and CLEAN_BY_HAND in cause.by_hand:
        return NOT_WHILE_LISTED
    filled = cause.by_hand.replace("<home>", case.home)
    return filled.replace("<said>", case.loader_says) if case.loader_says else filled


def _evidence(case: Case) -> Iterator[str]:
    yield f"cluster: {_stands(case.dag)}, executed by {case.failure.agent}"
    yield _last_words(case)
    if isinstance(case.info, str):
        yield f"target {case.target or 'unknown'} does not answer: {case.info}"
    else:
        state = f", obState {case.status.ob_state}" if case.status else ""
        locked = ", under maintenance" if case.status and case.status.under_maintenance else ""
        yield f"target {case.target} is {case.info.identity.value}{state}{locked}"
    if isinstance(case.local, Dag):
        of_this = "" if case.own else ", not of this scale-out"
        words = f" It {case.phase.value}." if case.own else ""
        yield f"target's own {_stands(case.local)}{of_this}.{words}"
    else:
        yield f"target's own DAG: {case.local or 'there is none'}"
    if case.host:
        memory = case.host.memory_info.available or "unknown"
        disks = ", ".join(f"{d.device_name} {d.used} of {d.total}" for d in case.host.disks)
        yield f"target's host: {memory} memory available; disks used: {disks or 'unknown'}"
    if case.failed_node == ADD_SERVER and case.server:
        listed = "is" if case.server_is_listed else "is not"
        known = case.zones is not None
        yield (
            f"server {case.server[0]}:{case.server[1]} {listed} listed"
            if known
            else ("the cluster's servers could not be read")
        )
    for dag in case.unfinished or ():
        if dag.id != case.dag.id:
            yield f"unfinished besides: {_stands(dag)}{_LOCK[lock_held_by(dag)]}"


def _last_words(case: Case) -> str:
    failure = case.failure
    if not case.dag.is_failed or failure.reason == failure.last_log:
        return f"its last line: {failure.reason}"
    return f"why it failed: {failure.reason}; its own last line is {failure.last_log!r}"


def _stands(dag: Dag) -> str:
    node = dag.current_node
    title = f" '{node.title}'" if node else ""
    return (
        f"DAG {dag.id} {dag.name!r} {dag.state.value}/{dag.operator.value} "
        f"at stage {dag.stage}/{dag.max_stage}{title}"
    )
