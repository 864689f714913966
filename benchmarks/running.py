"""Part c: time of a whole run beside its DAG, on a warm Prefect server."""

import statistics
from dataclasses import dataclass
from typing import Final, Self

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
    return [
        *_rows(
            Beside.of(run, tally),
            Beside.of(sdk, tally),
            [ending.known_at - ending.called_at for ending in empty.endings],
            scale,
        ),
        Row(
            part="d",
            measure="requests of a whole run; the SDK neither checks nor verifies",
            ours=short(asked[0] / scale.runs),
            theirs=short(asked[1] / scale.runs),
            ratio=asked[0] / asked[1],
        ),
    ]


@dataclass(frozen=True)
class Beside:
    """Seconds of each run beside its DAG: before its POST arrived, and after its DAG ended."""

    before: list[float]
    after: list[float]

    @classmethod
    def of(cls, outcome: Outcome, tally: Tally) -> Self:
        """Join what a contender says with what the world counted."""
        ends = outcome.endings
        return cls(
            before=[tally.posted_at[e.cluster] - e.called_at for e in ends],
            after=[e.known_at - tally.ended_at[e.cluster] for e in ends],
        )

    @property
    def both(self) -> list[float]:
        """The two together, run by run."""
        return [sum(pair) for pair in zip(self.before, self.after, strict=True)]


def _rows(run: Beside, sdk: Beside, empty: list[float], scale: Scale) -> list[Row]:
    return [
        Row(
            part="c",
            measure=f"whole run minus its DAG, s; steady_seconds {scale.steady_seconds:g}",
            ours=spread(run.both),
            theirs=spread(sdk.both),
            ideal="0",
            ratio=_over(run.both, sdk.both),
            at_most=SDK_SHARE,
        ),
        Row(
            part="c",
            measure="the same ÷ an empty Prefect flow of four tasks",
            ours=spread(run.both),
            ideal=f"{spread(empty)} (the empty flow)",
            ratio=_over(run.both, empty),
            at_most=EMPTY_TIMES,
        ),
        Row(
            part="c",
            measure="of it: before the POST arrives, s",
            ours=spread(run.before),
            theirs=spread(sdk.before),
            ratio=_over(run.before, sdk.before),
        ),
        Row(
            part="c",
            measure="of it: after the DAG has ended, s",
            ours=spread(run.after),
            theirs=spread(sdk.after),
            ratio=_over(run.after, sdk.after),
        ),
    ]


def _over(ours: list[float], others: list[float]) -> float:
    return statistics.median(ours) / statistics.median(others)
