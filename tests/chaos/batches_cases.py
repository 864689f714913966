"""The cases of a batch that a seed stands for: policies, faults and ends."""

import random
from dataclasses import dataclass
from typing import Final, Literal

from tests.chaos.kills_backstage import Program
from tests.chaos.kills_cases import Kill

CLUSTERS: Final = 3
ZONES: Final = (
    ("zone1", "zone2", "zone3"),
    ("zone1", "zone1", "zone2"),
    ("zone3", "zone2", "zone3"),
)
"""Of the rows of each cluster; each has one server a zone before."""
TURNS: Final = ((0, 1, 2), (0, 2, 1), (1, 0, 2))
"""Which row of each cluster is first, second and third, so that its zones stay even."""
ROWS: Final = 3
"""A cluster."""

START: Final = "start"
PREFLIGHT: Final = "preflight"
JUDGED: Final = "rows judged"
FIRST_POST: Final = "first POST"
BETWEEN: Final = "between rows"
IN_DAG: Final = "in a DAG"
FAILURE: Final = "a DAG failed"
NEAR_END: Final = "near the end"
ANY_TIME: Final = "any time"
PHASES: Final = (
    *(START, PREFLIGHT, JUDGED, FIRST_POST, BETWEEN, IN_DAG, FAILURE, NEAR_END, ANY_TIME),
)
OFTEN: Final = {IN_DAG: 4, BETWEEN: 3, FIRST_POST: 2, JUDGED: 2}
"""Phases that come up more than once in a round: those in which the clusters are at work."""
LONGEST_DELAY_SECONDS: Final = {
    START: 0.6,
    PREFLIGHT: 0.6,
    JUDGED: 0.4,
    FIRST_POST: 0.05,
    BETWEEN: 1.0,
    IN_DAG: 0.3,
    FAILURE: 0.5,
    NEAR_END: 1.5,
    ANY_TIME: 12.0,
}
"""After the phase has come."""
Story = Literal[
    "plain",
    "canary node",
    "canary node fails",
    "canary cluster",
    "a row fails",
    "all stops at one",
    "a row is blocked",
    "a DAG is retried",
    "window opens",
    "window closes",
]
STORIES: Final[tuple[Story, ...]] = (
    *("plain", "all stops at one", "canary node", "window closes", "a row fails"),
    *("canary node fails", "a DAG is retried", "canary cluster", "window opens"),
    *("a row is blocked", "all stops at one"),
)
"""In turn; the one that is most easily got wrong comes twice."""
FAILING: Final = frozenset({"canary node fails", "a row fails", "all stops at one"})
"""A DAG of these fails for good."""
SPEEDS: Final = (8.0, 16.0, 30.0)


@dataclass(frozen=True)
class BatchCase:
    """One night.

    Args:
        seed: Of all cases.
        number: Of this one; together they decide everything else.
        story: What the policies say and what goes wrong.
        program: How the batch is run.
        kills: When one run after the other is killed; the next one comes to its own end.
        counts: For each kill, how many DAGs there are when its phase has come.
        cluster: Of the row that goes wrong, from 0.
        turn: Of the row that goes wrong, from 0: how many of its cluster go before it.
        at_once: Clusters side by side.
        speed: Of the world, times real pace.
    """

    seed: int
    number: int
    story: Story
    program: Program
    kills: tuple[Kill, ...]
    counts: tuple[int, ...]
    cluster: int
    turn: int
    at_once: int
    speed: float


def cases_of(seed: int, count: int) -> list[BatchCase]:
    """The first cases of a seed."""
    return [case_of(seed, number) for number in range(1, count + 1)]


def case_of(seed: int, number: int) -> BatchCase:
    """The case of that number: stories and phases in turn, so that they are spread."""
    lot = random.Random(f"batch {seed}/{number}")
    story = STORIES[(seed + number) % len(STORIES)]
    turns = [phase for phase in PHASES for _ in range(OFTEN.get(phase, 1))]
    phase = turns[(5 * number + seed) % len(turns)]
    if story in FAILING and phase in {JUDGED, IN_DAG}:
        phase = FAILURE
    elif story not in FAILING and phase == FAILURE:
        phase = BETWEEN
    more = lot.choices((0, 1, 2), (65, 25, 10))[0]
    phases = (phase, *(lot.choice(turns) for _ in range(more)))
    kills = tuple(Kill(p, lot.uniform(0.0, LONGEST_DELAY_SECONDS[p])) for p in phases)
    stops_all = story in {"canary node fails", "all stops at one"}
    turns_left = 1 if story == "canary node fails" else ROWS - stops_all
    # Where a failure stops all, something is left that it stops: later rows, or a whole cluster.
    clusters = CLUSTERS - 1 if story == "canary node fails" else CLUSTERS
    return BatchCase(
        seed=seed,
        number=number,
        story=story,
        program=lot.choices(("batch", "apply"), (75, 25))[0],
        kills=kills,
        counts=tuple(lot.randint(1, CLUSTERS * ROWS - 2) for _ in kills),
        cluster=lot.randrange(clusters),
        turn=lot.randrange(turns_left),
        at_once=2 if story == "canary node fails" else lot.choice((8, 8, 2)),
        speed=lot.choice(SPEEDS),
    )
