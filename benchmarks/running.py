"""Part c: what does a whole run take beside its DAG, on a warm Prefect server?"""

import statistics
from typing import Final

from benchmarks.contender import Job, Kind, Outcome, compete
from benchmarks.figures import Row, short, spread
from benchmarks.prefect_server import prefect_server
from benchmarks.scale import Scale, start_seconds
from benchmarks.world import Tally, crowd, played

SDK_SHARE: Final = 1.0
EMPTY_TIMES: Final = 1.5
KINDS: Final[tuple[Kind, ...]] = ("run", "sdk", "empty")
OFFSETS: Final = (0.0, 1.3, 2.7)
"""Seconds by which the contenders' starts are apart, so that they do not push each other."""


async def measure(scale: Scale) -> list[Row]:
    """Let whole runs, the SDK and empty flows take turns in one world, each in its own process."""
    pairs = [seconds for seconds in start_seconds(scale.runs) for _ in range(2)]
    # How long an observer takes to serve is the cluster's time, as the DAG is: here none.
    world = crowd(2 * scale.runs + 1, pairs).model_copy(update={"service_start_delay_seconds": 0.0})
    with prefect_server() as environment, played(world, scale.speed) as stage:
        *places, warm = stage.places
        mine, theirs = tuple(places[::2]), tuple(places[1::2])
        jobs = [
            Job(
                kind=kind,
                warm=warm,
                places=own,
                starts=tuple(scale.run_spacing_seconds * at + offset for at in range(scale.runs)),
                steady_seconds=scale.steady_seconds,
            )
            for kind, own, offset in zip(KINDS, (mine, theirs, theirs), OFFSETS, strict=True)
        ]
        run, sdk, empty = compete(jobs, environment)
        tally = stage.tally()
    asked = [sum(tally.requests[place.cluster] for place in own) for own in (mine, theirs)]
    return _rows(
        over_its_dag(run, tally),
        over_its_dag(sdk, tally),
        [ending.known_at - ending.called_at for ending in empty.endings],
        [count / scale.runs for count in asked],
        scale,
    )


def over_its_dag(outcome: Outcome, tally: Tally) -> list[float]:
    """Give the seconds of each run before its POST arrived and after its DAG ended."""
    return [
        e.known_at - e.called_at - (tally.ended_at[e.cluster] - tally.posted_at[e.cluster])
        for e in outcome.endings
    ]


def _rows(
    run: list[float], sdk: list[float], empty: list[float], requests: list[float], scale: Scale
) -> list[Row]:
    middle, theirs, floor = (statistics.median(values) for values in (run, sdk, empty))
    return [
        Row(
            part="c",
            measure=f"whole run minus its DAG, s; steady_seconds {scale.steady_seconds:g}",
            ours=spread(run),
            theirs=spread(sdk),
            ideal="0",
            ratio=middle / theirs,
            at_most=SDK_SHARE,
        ),
        Row(
            part="c",
            measure="the same ÷ an empty Prefect flow of four tasks",
            ours=spread(run),
            ideal=f"{spread(empty)} (the empty flow)",
            ratio=middle / floor,
            at_most=EMPTY_TIMES,
        ),
        Row(
            part="d",
            measure="requests of a whole run; the SDK neither checks nor verifies",
            ours=short(requests[0]),
            theirs=short(requests[1]),
            ratio=requests[0] / requests[1],
        ),
    ]
