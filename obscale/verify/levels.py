"""The level a node has reached: each level holds when its proofs, and those below, hold.

The levels are reached in order: JOINED (agent and server rows) → SERVING (service started,
connectable and steady) → CONFORMING (version, parameters, directories, capacity) → BALANCED (units
of tenants have arrived). A node that conforms is verified; BALANCED is only told. A proof whose
evidence could not be read is unknown and holds its level back, except where this version never
shows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import Dag
from obscale.request.models import NodeSpec
from obscale.verify.observation import (
    Before,
    Level,
    Observation,
    ProofAnswer,
    ProofInput,
    ProofLine,
    Row,
    Steadiness,
    Surroundings,
)
from obscale.verify.proofs import (
    balanced,
    capacity,
    conforming,
    joined,
    members,
    parameters,
    serving,
)
from obscale.verify.proofs.members import dead_before
from obscale.verify.proofs.parameters import fits, parameter_lines, persist_statements_of
from obscale.verify.proofs.serving import CONNECTABLE
from obscale.verify.unread import Unreadable

LEAST_LOOKS: Final = 3
"""So many in a row must find the observer connectable: one lucky look proves nothing."""
PROOFS: Final[tuple[Row, ...]] = (
    *joined.PROOFS,
    *serving.PROOFS,
    *conforming.PROOFS,
    *members.PROOFS,
    *capacity.PROOFS,
    *parameters.PROOFS,
    *balanced.PROOFS,
)
RESTING_ON_SURROUNDINGS: Final = frozenset(
    {"pv-clock-after", "pv-capacity-cluster", "pv-disk-after"}
)
"""Proofs that rest on the surroundings."""
HELD_FOR_A_TIME: Final = ("pv-ob-state", "pv-params-effective:")
"""How the ids of the proofs begin that must hold for the steady time."""


class VerifiedLevels(BaseModel):
    """All proofs and the highest level below which nothing hinders."""

    model_config = ConfigDict(frozen=True)

    level: Level
    lines: tuple[ProofLine, ...]
    persist_statements: tuple[str, ...] = ()
    """Statements that would keep for this server what a restart may take back."""
    exceptions: tuple[str, ...] = ()
    """Members that do not serve, and did not before the scale-out began either."""
    unread: tuple[str, ...] = ()
    """Ids of the proofs that could not be read at this look, however they count."""
    given_up: tuple[str, ...] = ()
    """Those among them that hinder, and that nobody waits for any longer."""

    @property
    def verdict(self) -> str:
        """The level in words, with what is excepted from it."""
        return verdict_of(self.level.name, self.exceptions)

    @property
    def leaves(self) -> bool:
        """Whether these are of a node that leaves."""
        return any(line.level < Level.NONE for line in self.lines)

    @property
    def is_verified(self) -> bool:
        """Whether the node is what was asked for."""
        return self.level >= Level.CONFORMING


@dataclass(frozen=True)
class Look:
    """What of one look has to hold over several.

    Args:
        at: When, in seconds of any clock that only moves forward.
        ob_state: Of the target; None: no answer.
        started: Start of service of its observer; None: not told.
        fitting: Whether the requested parameters are in force; None: not known.
    """

    at: float
    ob_state: int | None
    started: datetime | None = None
    fitting: bool | None = None


def look_of(node: NodeSpec, after: Observation, at: float) -> Look:
    """Take from one look what has to hold over several."""
    evidence = ProofInput(node, None, Before(), after, None, Steadiness(-1, -1, 0))
    status, server = after.target_status, evidence.server
    return Look(
        at=at,
        ob_state=status.ob_state if status else None,
        started=server.start_time if server else None,
        fitting=fits(node, after),
    )


def judge_levels(
    node: NodeSpec,
    *,
    dag: Dag | None,
    before: Before,
    after: Observation,
    around: Surroundings | None,
    looks: Sequence[Look],
    steady_seconds: float,
    unreadable: Unreadable = Unreadable(),  # noqa: B008 - frozen
) -> VerifiedLevels:
    """Judge every proof.

    Args:
        node: What was asked.
        dag: The DAG as it ended, with details; None when nothing was submitted.
        before: What was seen before anything was done.
        after: What is seen now.
        around: What is read once all else holds; None: not yet.
        looks: All so far, oldest first, the present one last.
        steady_seconds: How long obState and the requested parameters have to hold.
        unreadable: Proofs that could not be read for a while.
    """
    evidence = ProofInput(node, dag, before, after, around, _steadiness(looks, steady_seconds))
    lines = [_line(row, evidence) for row in PROOFS]
    lines += parameter_lines(evidence)
    lines.sort(key=lambda line: line.level)  # stable: the order of PROOFS stays within a level
    unread = tuple(line.id for line in lines if line.answer is ProofAnswer.UNKNOWN)
    lines = [unreadable.settle(line, before) for line in lines]
    level = _level(lines)
    return VerifiedLevels(
        level=level,
        lines=tuple(lines),
        persist_statements=persist_statements_of(evidence),
        exceptions=dead_before(evidence) if level >= Level.CONFORMING else (),
        unread=unread,
        given_up=tuple(unreadable.given_up(lines)),
    )


def verdict_of(level: str, exceptions: Sequence[str]) -> str:
    """Say a level with what is excepted from it.

    >>> verdict_of("CONFORMING", ("10.0.0.3:2882 INACTIVE (dead before already)",))
    'CONFORMING, except 10.0.0.3:2882 INACTIVE (dead before already)'
    """
    return f"{level}, except {', '.join(exceptions)}" if exceptions else level


def _line(row: Row, evidence: ProofInput) -> ProofLine:
    name, level, proof = row
    answer, expected, found = proof(evidence)
    return ProofLine(id=name, level=level, answer=answer, expected=expected, found=found)


def _level(lines: Sequence[ProofLine]) -> Level:
    reached = Level.NONE
    for step in (Level.JOINED, Level.SERVING, Level.CONFORMING):
        if any(line.hinders for line in lines if line.level is step):
            return reached
        reached = step
    balanced_lines = [line for line in lines if line.level is Level.BALANCED]
    arrived = all(line.answer is ProofAnswer.PASS for line in balanced_lines)
    return Level.BALANCED if arrived else reached


def shortfall(level: str, lines: Sequence[ProofLine]) -> str:
    """Say which proofs keep a node from CONFORMING; what failed, or else what is still missing.

    Of the lowest level only: what is missing further up mostly follows from it.

    Args:
        level: The one it reached.
        lines: All its proofs.
    """
    failed = [line for line in lines if line.answer in {ProofAnswer.FAIL, ProofAnswer.AGAINST}]
    guilty = failed or [line for line in lines if line.hinders]
    lowest = min((line.level for line in guilty), default=Level.NONE)
    reasons = "; ".join(
        f"{line.id}: {line.found}, expected {line.expected}"
        for line in guilty
        if line.level is lowest
    )
    return f"reached {level}, not {Level.CONFORMING.name}: {reasons}"


def still_waiting(levels: VerifiedLevels) -> tuple[ProofLine, ...]:
    """Give the lines that may still turn by waiting; a failed one ends the waiting at once."""
    if any(line.answer is ProofAnswer.FAIL for line in levels.lines):
        return ()
    return tuple(line for line in levels.lines if line.hinders and line.id not in levels.given_up)


def waits_for(levels: VerifiedLevels) -> tuple[tuple[str, ...], str]:
    """Say what a wait is for.

    Returns:
        What tells one wait from another, and the words; both empty where nothing is waited for.
    """
    lines = still_waiting(levels)
    # Looked at once all else holds, and so no news before.
    lines = tuple(line for line in lines if line.id not in RESTING_ON_SURROUNDINGS) or lines
    against = {line.id: line.found for line in lines if line.answer is ProofAnswer.AGAINST}
    marks = tuple(line.id + against.get(line.id, "") for line in lines)
    return marks, "; ".join(f"{line.id}: {line.found} (wants {line.expected})" for line in lines)


def needs_surroundings(levels: VerifiedLevels) -> bool:
    """Whether nothing is left to wait for but what rests on the surroundings."""
    return all(line.id in RESTING_ON_SURROUNDINGS for line in still_waiting(levels))


def only_has_to_hold(levels: VerifiedLevels, looks: Sequence[Look]) -> bool:
    """Whether all is as it should be, and only has to stay so for a while."""
    now = _steadiness(looks, 0)
    return now.serving >= 0 <= now.fitting and all(
        line.answer is ProofAnswer.WAITING
        and (line.id in RESTING_ON_SURROUNDINGS or line.id.startswith(HELD_FOR_A_TIME))
        for line in still_waiting(levels)
    )


def held_for(looks: Sequence[Look], wanted: float) -> float:
    """Say for how many seconds serving and fitting have both lasted, up to the last look."""
    now = _steadiness(looks, wanted)
    return max(0.0, min(now.serving, now.fitting))


def _steadiness(looks: Sequence[Look], wanted: float) -> Steadiness:
    """Say for how long serving and fitting have lasted, up to the last look."""
    since: float | None = None
    serving, count = -1.0, 0
    started: datetime | None = None
    fits_since: float | None = None
    fitting, was_fitting = -1.0, False
    for look in looks:
        # Another start of service means that it broke in between, unseen.
        is_another = None not in {started, look.started} and started != look.started
        started = look.started or started
        if look.ob_state != CONNECTABLE:
            since, serving, count = None, -1.0, 0
        else:
            since, count = (look.at, 1) if since is None or is_another else (since, count + 1)
            serving = look.at - since
        if look.fitting is False:
            fits_since, fitting = None, -1.0
        elif look.fitting:
            fits_since = look.at if fits_since is None else fits_since
            fitting, was_fitting = look.at - fits_since, True
    if wanted and count < LEAST_LOOKS:
        serving = min(serving, 0.0)
    return Steadiness(serving, fitting, wanted, was_fitting)
