"""The cases that a seed stands for: when a run is killed, and what comes after."""

import random
from dataclasses import dataclass, replace
from typing import Final, Literal

from tests.chaos.operations import (
    ADD,
    REMOVE,
    REMOVE_DEAD,
    REMOVE_EMPTY,
    REMOVE_ZONE,
    REPLACE,
    USE,
    Kind,
    Operation,
)

START: Final = "start"
PREFLIGHT: Final = "preflight"
BEFORE_POST: Final = "before the POST"
UNDER_WAY: Final = "POST under way"
HELD: Final = "POST carried out, answer held"
ON_THE_WAY: Final = "answer on the way"
STAGES: Final = tuple(f"stage {number}" for number in range(1, 10))
UNITS_MOVE: Final = "units move"
DAG_ENDS: Final = "DAG just ended"
VERIFY: Final = "verify"
REPORT: Final = "report"
ANY_TIME: Final = "any time"
PHASES: Final = (
    *(START, PREFLIGHT, BEFORE_POST, UNDER_WAY, HELD, ON_THE_WAY),
    *STAGES,
    *(DAG_ENDS, VERIFY, REPORT, ANY_TIME),
)
BETWEEN: Final = "between the halves"
SECOND_HALF: Final = "removal, "
"""Before a phase of a replacement's second half; what comes first is of its first one."""
FIRST_HALF: Final = frozenset({START, PREFLIGHT, BEFORE_POST, UNDER_WAY, HELD, ON_THE_WAY, *STAGES})
OF_REPLACEMENT: Final = (
    *(START, PREFLIGHT, BEFORE_POST, UNDER_WAY, HELD, ON_THE_WAY),
    *(STAGES[1], STAGES[4], STAGES[8], BETWEEN),
    *(f"{SECOND_HALF}{phase}" for phase in (UNDER_WAY, HELD, ON_THE_WAY, *STAGES[:5])),
    *(DAG_ENDS, VERIFY, REPORT, ANY_TIME),
)
WITH_UNITS: Final = (REMOVE, REMOVE_DEAD, USE)
"""Operations while which units move."""
ASKED: Final[dict[Kind, tuple[Operation, ...]]] = {
    "add": (ADD,),
    "remove": (REMOVE, REMOVE_EMPTY, REMOVE_ZONE, REMOVE_DEAD),
    "use": (USE,),
    "replace": (REPLACE,),
}
"""What is asked for in turns."""
OFTEN: Final = {ANY_TIME: 3}
"""Phases that come up more than once in a round."""
LONGEST_DELAY_SECONDS: Final = {
    START: 0.6,
    PREFLIGHT: 0.3,
    BEFORE_POST: 0.1,
    UNDER_WAY: 0.5,
    HELD: 0.5,
    ON_THE_WAY: 0.02,
    DAG_ENDS: 0.05,
    VERIFY: 0.3,
    REPORT: 0.05,
    ANY_TIME: 5.0,
    UNITS_MOVE: 1.0,
    BETWEEN: 3.0,
}
"""After the phase has come; a stage is killed within a tenth of a second."""
SECOND_PHASES: Final = (START, PREFLIGHT, BEFORE_POST, REPORT, ANY_TIME)
"""A second run may find the DAG anywhere, so only its own steps count."""
SPEEDS: Final = (6.0, 15.0, 40.0)
"""Slow worlds are met by the second run in the middle of the DAG, quick ones at its end."""
SLOWER_SPEEDS: Final = (2.0, 5.0, 15.0)
"""Of all but additions: their DAGs are shorter."""
Then = Literal["anew", "retried", "two at once"]


@dataclass(frozen=True)
class Kill:
    """When a process is killed: so many real seconds after a phase has come."""

    phase: str
    delay_seconds: float


@dataclass(frozen=True)
class Case:
    """One night.

    Args:
        seed: Of all cases.
        number: Of this one; together they decide everything else.
        kill: When the first run is killed.
        late_seconds: A POST under way arrives so much later.
        speed: Of the world, times real pace.
        then: How the request is run again.
        second: When the second run is killed too.
        server: When Prefect's server is killed and started again: before the second run, in it.
        server_delay_seconds: In it: so long after its start.
        operation: What is asked for.
    """

    seed: int
    number: int
    kill: Kill
    late_seconds: float
    speed: float
    then: Then
    second: Kill | None
    server: Literal["", "before", "during"]
    server_delay_seconds: float
    operation: Operation = ADD


def phases_of(operation: Operation) -> tuple[str, ...]:
    """All phases a run of that operation is killed in."""
    if operation is ADD:
        return PHASES
    if operation.first is not None:
        return OF_REPLACEMENT
    before = PHASES[: PHASES.index(STAGES[0])]
    after = PHASES[PHASES.index(DAG_ENDS) :]
    moving = (UNITS_MOVE,) if operation in WITH_UNITS else ()
    return (*before, *STAGES[: operation.stages], *moving, *after)


def plain(phase: str) -> str:
    """A phase without the half it is of."""
    return phase.removeprefix(SECOND_HALF)


def cases_of(seed: int, count: int, kind: Kind = "add") -> list[Case]:
    """The first cases of a seed."""
    return [case_of(seed, number, kind) for number in range(1, count + 1)]


def case_of(seed: int, number: int, kind: Kind = "add") -> Case:
    """The case of that number: phases in turn, so that they are spread, the rest by lot."""
    # What was drawn before there was anything but additions stays as it is.
    lot = random.Random(f"{seed}/{number}" if kind == "add" else f"{seed}/{number}/{kind}")
    turn, place = divmod(seed + number, len(ASKED[kind]))
    operation = ASKED[kind][place]
    turns = [phase for phase in phases_of(operation) for _ in range(OFTEN.get(phase, 1))]
    then: Then = lot.choices(("anew", "retried", "two at once"), (60, 22, 18))[0]
    killed_twice = lot.random() < 0.18 and then != "two at once"
    case = Case(
        seed=seed,
        number=number,
        kill=_kill(lot, turns[turn % len(turns)]),
        late_seconds=lot.uniform(0.5, 6.0),
        speed=lot.choice(SPEEDS if kind == "add" else SLOWER_SPEEDS),
        then=then,
        second=_kill(lot, lot.choice(SECOND_PHASES)) if killed_twice else None,
        server=lot.choices(("", "before", "during"), (85, 8, 7))[0],
        server_delay_seconds=lot.uniform(0.0, 3.0),
        operation=operation,
    )
    # One trouble at a time for the second run: its own death, or its server's.
    return replace(case, second=None) if case.server == "during" else case


def _kill(lot: random.Random, phase: str) -> Kill:
    return Kill(phase, lot.uniform(0.0, LONGEST_DELAY_SECONDS.get(plain(phase), 0.1)))
