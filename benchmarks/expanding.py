"""Parts b and d: how soon the end of a DAG is known, and what its requests cost."""

import statistics
from dataclasses import dataclass
from typing import Final

from benchmarks.contender import Job, Kind, Outcome, compete
from benchmarks.figures import NOTHING, Row, percentile, short, spread
from benchmarks.scale import Scale, start_seconds
from benchmarks.world import Tally, crowd, played
from obscale.sandbox.config import DEFAULT_START_SECONDS

KINDS: Final[tuple[Kind, ...]] = ("obscale", "sdk", "bare")
BARE: Final = "http.client alone"
DELAY_SHARE: Final = 0.25
CPU_SHARE: Final = 0.25
REQUEST_SHARE: Final = 1.0
AT_ONCE: Final = "0 (told at once)"
MEDIAN: Final = 50
LATE: Final = 95
PERCENT: Final = 100
MILLI: Final = 1000
FEWEST_REQUESTS: Final = 2
"""The POST, and one look at the end."""


@dataclass(frozen=True)
class Wave:
    """What one contender did in one wave."""

    delays_seconds: tuple[float, ...]
    requests: int
    cpu_seconds: float

    @property
    def requests_each(self) -> float:
        """Requests per expansion."""
        return self.requests / len(self.delays_seconds)

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per request."""
        return MILLI * self.cpu_seconds / self.requests

    @property
    def cpu_ms_each(self) -> float:
        """CPU milliseconds per expansion."""
        return MILLI * self.cpu_seconds / len(self.delays_seconds)


async def measure(scale: Scale) -> list[Row]:
    """Let all expand clusters of their own in one world at the same time, at real pace."""
    waves: dict[Kind, list[Wave]] = {kind: [] for kind in KINDS}
    busy: list[float] = []
    for _ in range(scale.waves):
        # Clusters side by side start their observers equally slowly: all meet the same DAGs.
        slowness = [seconds for seconds in start_seconds(scale.dags) for _ in KINDS]
        world = crowd(len(slowness) + 1, [*slowness, DEFAULT_START_SECONDS])
        with played(world, scale.speed) as stage:
            *places, warm = stage.places
            begun = stage.tally()
            starts = tuple(scale.spacing_seconds * at for at in range(scale.dags))
            jobs = [
                Job(kind=kind, warm=warm, places=tuple(places[at :: len(KINDS)]), starts=starts)
                for at, kind in enumerate(KINDS)
            ]
            outcomes = list(compete(jobs))
            tally = stage.tally()
        for kind, outcome in zip(KINDS, outcomes, strict=True):
            waves[kind].append(wave_of(outcome, tally))
        busy.append((tally.cpu_seconds - begun.cpu_seconds) / (tally.at - begun.at))
    return _rows(waves["obscale"], waves["sdk"], waves["bare"], busy)


def wave_of(outcome: Outcome, tally: Tally) -> Wave:
    """Join what a contender says with what the world counted."""
    return Wave(
        delays_seconds=tuple(e.known_at - tally.ended_at[e.cluster] for e in outcome.endings),
        requests=sum(tally.requests[e.cluster] for e in outcome.endings),
        cpu_seconds=outcome.cpu_seconds,
    )


def _rows(ours: list[Wave], theirs: list[Wave], bare: list[Wave], busy: list[float]) -> list[Row]:
    mine, others = _delays(ours), _delays(theirs)
    return [
        Row(
            part="b",
            measure=f"DAG ended → caller knows, s; median of {len(mine)} DAGs",
            ours=spread(mine),
            theirs=spread(others),
            ideal=AT_ONCE,
            ratio=percentile(mine, MEDIAN) / percentile(others, MEDIAN),
            at_most=DELAY_SHARE,
        ),
        Row(
            part="b",
            measure="the same, 95th percentile",
            ours=short(percentile(mine, LATE)),
            theirs=short(percentile(others, LATE)),
            ideal=AT_ONCE,
            ratio=percentile(mine, LATE) / percentile(others, LATE),
        ),
        _compared(
            "requests per expansion: submit, and follow to the end",
            [wave.requests_each for wave in ours],
            [wave.requests_each for wave in theirs],
            ideal=f"{FEWEST_REQUESTS} (the POST, one look)",
            at_most=REQUEST_SHARE,
        ),
        _compared(
            "CPU per request of an expansion, ms",
            [wave.cpu_ms for wave in ours],
            [wave.cpu_ms for wave in theirs],
            ideal=f"{short(statistics.median(wave.cpu_ms for wave in bare))} ({BARE})",
            at_most=CPU_SHARE,
        ),
        _compared(
            "CPU per expansion, ms",
            [wave.cpu_ms_each for wave in ours],
            [wave.cpu_ms_each for wave in theirs],
            ideal=f"{short(statistics.median(wave.cpu_ms_each for wave in bare))} ({BARE})",
        ),
        Row(
            part="f",
            measure="the sandbox's share of one core during b and d, %",
            ours=spread([PERCENT * share for share in busy]),
        ),
    ]


def _delays(side: list[Wave]) -> list[float]:
    return [delay for wave in side for delay in wave.delays_seconds]


def _compared(
    measure: str,
    ours: list[float],
    theirs: list[float],
    *,
    ideal: str = NOTHING,
    at_most: float | None = None,
) -> Row:
    return Row(
        part="d",
        measure=measure,
        ours=spread(ours),
        theirs=spread(theirs),
        ideal=ideal,
        ratio=statistics.median(ours) / statistics.median(theirs),
        at_most=at_most,
    )
