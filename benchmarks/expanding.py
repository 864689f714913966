"""Parts b and d: how soon is the end of a DAG known, and what do its requests cost?"""

import statistics
from dataclasses import dataclass
from typing import Final

from benchmarks.contender import Job, Outcome, compete
from benchmarks.figures import NOTHING, Row, percentile, short, spread
from benchmarks.scale import Scale, start_seconds
from benchmarks.world import Tally, crowd, played

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
    """Let both expand clusters of their own in one world at the same time, at real pace."""
    ours: list[Wave] = []
    theirs: list[Wave] = []
    busy: list[float] = []
    for _ in range(scale.waves):
        # Every other cluster starts its observer equally slowly, so both meet the same DAGs.
        pairs = [seconds for seconds in start_seconds(scale.dags) for _ in range(2)]
        world = crowd(2 * scale.dags + 1, [pairs[0], *pairs])
        with played(world, scale.speed) as stage:
            warm, *places = stage.places
            begun = stage.tally()
            starts = tuple(scale.spacing_seconds * at for at in range(scale.dags))
            mine, other = compete(
                (
                    Job(kind="obscale", warm=warm, places=tuple(places[::2]), starts=starts),
                    Job(kind="sdk", warm=warm, places=tuple(places[1::2]), starts=starts),
                )
            )
            tally = stage.tally()
        ours.append(wave_of(mine, tally))
        theirs.append(wave_of(other, tally))
        busy.append((tally.cpu_seconds - begun.cpu_seconds) / (tally.at - begun.at))
    return _rows(ours, theirs, busy)


def wave_of(outcome: Outcome, tally: Tally) -> Wave:
    """Join what a contender says with what the world counted."""
    return Wave(
        delays_seconds=tuple(e.known_at - tally.ended_at[e.cluster] for e in outcome.endings),
        requests=sum(tally.requests[e.cluster] for e in outcome.endings),
        cpu_seconds=outcome.cpu_seconds,
    )


def _rows(ours: list[Wave], theirs: list[Wave], busy: list[float]) -> list[Row]:
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
            at_most=CPU_SHARE,
        ),
        _compared(
            "CPU per expansion, ms",
            [wave.cpu_ms_each for wave in ours],
            [wave.cpu_ms_each for wave in theirs],
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
