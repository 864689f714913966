"""How many repetitions and how many of each thing the benchmark measures."""

from dataclasses import dataclass
from typing import Final

from obscale.sandbox.config import DEFAULT_START_SECONDS

SLOWEST_START_SECONDS: Final = 7.5
"""Two of stage 5's own looks, three seconds apart, beyond the quickest."""


@dataclass(frozen=True)
class Dispatched:
    """A batch on workers.

    Args:
        nodes: How many join.
        clusters: They are dealt out to.
        workers: Processes of `prefect worker start`.
        at_once: Clusters that grow side by side; each is a process of some 150 MiB.
        is_killed: Whether a worker is killed, with all it runs, once half of the nodes are
            submitted.
    """

    nodes: int
    clusters: int
    workers: int
    at_once: int
    is_killed: bool = False


@dataclass(frozen=True)
class Scale:
    """Sizes of one run.

    Args:
        speed: Of the simulated worlds; 1 is real pace.
        rounds: Slices of part a, in which the contenders take turns.
        headers: Sealed in each slice by each contender.
        requests: Sent in each slice by each contender.
        waves: Rounds of part b and d; each gives every contender fresh clusters.
        dags: Per wave and contender.
        runs: Whole runs of part c, per contender.
        spacing_seconds: Between two starts of part b; no multiple of it is a whole second.
        run_spacing_seconds: Between two starts of part c.
        steady_seconds: Of part c: how long the new observer must stay connectable.
        agents: Held by the sandbox of part f.
        batches: Of part e: how many nodes each batch has.
        clusters: Of part e: how many the nodes are dealt out to.
        most_on_sqlite: Of part e: the largest batch that is run on SQLite as well.
        hostile: Of part g: how many of the ways to be hostile are met; None meets all.
        troubles: Of part h: how many kinds of trouble are met; None meets all.
        silent_batch: Of part h: nodes of its batch.
        starts: Of part i: how often each program is started.
        plans: Of part k: rows and clusters of each batch that is planned.
        dispatched: Of part l: the batches.
    """

    speed: float = 1.0
    rounds: int = 5
    headers: int = 400
    requests: int = 100
    waves: int = 3
    dags: int = 16
    runs: int = 10
    spacing_seconds: float = 0.37
    run_spacing_seconds: float = 4.1
    steady_seconds: float = 0.0
    agents: int = 800
    batches: tuple[int, ...] = (10, 100, 1000)
    clusters: int = 200
    most_on_sqlite: int = 100
    late_batch: int = 100
    late_seconds: tuple[float, ...] = (0.05, 0.2)
    hostile: int | None = None
    troubles: int | None = None
    silent_batch: int = 20
    starts: int = 7
    plans: tuple[tuple[int, int], ...] = ((1000, 200), (10_000, 2000))
    dispatched: tuple[Dispatched, ...] = (
        Dispatched(1000, 200, workers=4, at_once=100),
        Dispatched(200, 40, workers=4, at_once=40, is_killed=True),
    )


SMALLEST: Final = Scale(
    speed=40.0,
    rounds=2,
    headers=5,
    requests=3,
    waves=1,
    dags=1,
    runs=1,
    run_spacing_seconds=0.5,
    agents=16,
    batches=(1, 2),
    clusters=2,
    most_on_sqlite=1,
    late_batch=2,
    late_seconds=(0.01,),
    hostile=2,
    troubles=2,
    silent_batch=2,
    starts=1,
    plans=((2, 1), (4, 2)),
    dispatched=(Dispatched(2, 2, workers=2, at_once=2),),
)
"""As little as there is: proves that everything runs, its figures mean nothing."""


def start_seconds(count: int) -> list[float]:
    """Give how long each observer takes to start, spread evenly so that no rhythm is favoured."""
    step = (SLOWEST_START_SECONDS - DEFAULT_START_SECONDS) / max(count, 1)
    return [DEFAULT_START_SECONDS + step * place for place in range(count)]
