"""Decides the remedy for a diagnosis, by the policy or by a person's decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from obscale.recovery.consequences import Remedy
from obscale.recovery.diagnosis import Diagnosis
from obscale.request.policies import OnFailure

TARGET_UNREACHABLE: Final = "target-unreachable"
"""The cause of a target that is away: what is safe is known once it answers."""
MOST_ATTEMPTS: Final = 3
"""How often one run retries, or rolls back, before it leaves the DAG to a person."""


@dataclass(frozen=True)
class Attempt:
    """A remedy this run has carried out already, and for which cause."""

    remedy: Remedy
    cause: str


@dataclass(frozen=True)
class Decision:
    """What is to be done.

    Args:
        remedy: RETRY or ROLLBACK; HAND_OVER holds: nothing is operated, a person decides.
        why: In one line.
        offered: Not empty: ask a person, who may choose among exactly these.
        look_again: What stands in the way is that the target is silent: it may answer soon.
    """

    remedy: Remedy
    why: str
    offered: tuple[Remedy, ...] = ()
    look_again: bool = False


def decide_recovery(
    diagnosis: Diagnosis, policy: OnFailure, history: Sequence[Attempt] = ()
) -> Decision:
    """Decide by a policy; anything not known to be safe is held.

    Args:
        diagnosis: Made just now.
        policy: What the run was told to do.
        history: What this run has done about the DAG so far.
    """
    match policy:
        case "hold":
            return Decision(Remedy.HAND_OVER, "the policy is to hold")
        case "retry":
            return _bounded(diagnosis, Remedy.RETRY, history)
        case "roll-back":
            return _bounded(diagnosis, Remedy.ROLLBACK, history)
        case "ask":
            offered = safe_remedies(diagnosis)
            if set(offered) <= {Remedy.HAND_OVER}:
                return Decision(Remedy.HAND_OVER, "there is nothing safe to choose from")
            return Decision(Remedy.HAND_OVER, "a person is asked", offered)


def safe_remedies(diagnosis: Diagnosis) -> tuple[Remedy, ...]:
    """Give the remedies that are safe, the recommended one first."""
    safe = [choice.operator for choice in diagnosis.choices if choice.safe]
    return tuple(sorted(safe, key=lambda remedy: remedy is not diagnosis.recommended))


def refusal_of(diagnosis: Diagnosis, remedy: Remedy, *, acknowledged: bool = False) -> str:
    """Say why a remedy is not carried out; empty where it may be.

    Args:
        diagnosis: Made just now.
        remedy: What is wanted.
        acknowledged: Whether somebody accepts that data is lost. It opens no dead end.
    """
    choice = diagnosis.choice(remedy)
    if choice is None:
        return f"{remedy} is no choice here: {diagnosis.title} [{diagnosis.cause}]"
    if choice.dead_end:
        return f"{remedy} is a dead end: {choice.dead_end}"
    if choice.needs_acknowledgement and not acknowledged:
        return (
            f"{remedy} may destroy data this scale-out did not make "
            f"[{diagnosis.cause}]: {choice.destroys}"
        )
    return ""


def _bounded(diagnosis: Diagnosis, remedy: Remedy, history: Sequence[Attempt]) -> Decision:
    if refused := refusal_of(diagnosis, remedy):
        return Decision(Remedy.HAND_OVER, refused, look_again=diagnosis.cause == TARGET_UNREACHABLE)
    done = sum(attempt.remedy is remedy for attempt in history)
    if done >= MOST_ATTEMPTS:
        return Decision(Remedy.HAND_OVER, f"{remedy} was tried {done} times, and no more")
    return Decision(remedy, f"it is safe [{diagnosis.cause}], and the policy says so")
