"""The offset of an agent's clock from ours, with its uncertainty.

Pure arithmetic on seconds. The agent rejects expired headers by its own clock
(ob/agent/secure/auth.go, 4.5.0.0), so expiries are built on that clock.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

MOST_READINGS: Final = 5
"""Questions for one clock reading; the quickest counts."""
GOOD_ENOUGH_SECONDS: Final = 0.005
"""Two clocks read so surely are compared to 10 ms, the smallest offset that is ever told: another
question could change no answer."""
WARN_SECONDS: Final = 0.1
"""Two clocks may be so far apart before any rule warns of it."""
NEAR_SECONDS: Final = 0.045
"""Two clocks that are surely this near ours are at most 90 ms apart, which nobody warns of. A
process that looks at many clusters at once hears each answer late, but seldom as late as that.
Beside a clock that is farther off it may be too little: see `is_too_coarse`."""

SAMPLING_SECONDS: Final = 2.0
"""For all further questions, once the agent has told the time: where its answers are late, others
as late make nothing surer, and whoever waits for them waits in vain."""
ENOUGH_ALIKE: Final = 2
"""Questions after which answers that take as long as each other show how long the way is."""
ALIKE_TIMES: Final = 1.25
"""The longer of two such answers takes at most so many times the quicker one."""
RECENT_SECONDS: Final = 120.0
"""For so long a reading says something about a clock; somebody may set it."""
DRIFT: Final = 1e-4
"""Two clocks drift apart by so much of the time that passes, at most. A quartz has a tenth to half
of that; 500 ppm is what NTP takes for broken."""


@dataclass(frozen=True)
class ClockReading:
    """How far an agent's clock is from ours.

    Args:
        offset_seconds: Agent's clock minus ours; positive where the agent is ahead.
        error_seconds: The true offset is at most this far from it.
        utc_offset_seconds: Of its time zone.
    """

    offset_seconds: float
    error_seconds: float
    utc_offset_seconds: float = 0.0

    @property
    def answer_seconds(self) -> float:
        """How long the answer took that it was read from."""
        return 2 * self.error_seconds

    @property
    def is_near(self) -> bool:
        """Whether the agent's clock is surely near ours."""
        return abs(self.offset_seconds) + self.error_seconds <= NEAR_SECONDS

    @property
    def is_sure(self) -> bool:
        """Whether a surer reading could change no answer, whatever it is compared with."""
        return self.error_seconds <= GOOD_ENOUGH_SECONDS

    def contradicts(self, other: "ClockReading") -> bool:
        """Whether both cannot be true: in between, a clock was set."""
        apart = abs(self.offset_seconds - other.offset_seconds)
        return apart > self.error_seconds + other.error_seconds

    def after(self, seconds: float) -> "ClockReading":
        """Give what it says so many seconds later, when the clocks have drifted."""
        return replace(self, error_seconds=self.error_seconds + seconds * DRIFT)


def compare_clocks(sent_seconds: float, received_seconds: float, moment: datetime) -> ClockReading:
    """Read the offset from one question and its answer.

    Args:
        sent_seconds: Our clock when the question left, Unix seconds.
        received_seconds: Our clock when the answer was here.
        moment: The agent's clock in the answer, aware.

    Returns:
        Agent minus the midpoint, half the round trip as error.
    """
    half = (received_seconds - sent_seconds) / 2
    zone = moment.utcoffset() or timedelta(0)
    return ClockReading(moment.timestamp() - (sent_seconds + half), half, zone.total_seconds())


def is_too_coarse(reading: ClockReading, others: Iterable[ClockReading]) -> bool:
    """Whether to read a clock anew, surely: it was near enough, but not beside one of the others.

    Only of clocks that are near: any other was asked as often as is of use already.
    """
    if reading.is_sure or not reading.is_near:
        return False
    return any(farthest_apart(reading, other) > WARN_SECONDS for other in others)


def farthest_apart(one: ClockReading, other: ClockReading) -> float:
    """Give how many seconds two clocks are apart at most."""
    apart = abs(one.offset_seconds - other.offset_seconds)
    return apart + one.error_seconds + other.error_seconds


def asks_again(
    readings: Sequence[ClockReading], asked: int, spent_seconds: float, *, surely: bool = False
) -> bool:
    """Whether to ask an agent for the time, or once more.

    The first answer is asked for whatever it takes; a further one only where it could make the
    reading surer, and as far as an answer as quick as the quickest would be here in time. Where the
    two quickest took as long as each other, so would others: that is the way, and no chance.

    Args:
        readings: All so far, also of other answers of the last minutes.
        asked: How often it was asked already.
        spent_seconds: Since there has been a reading.
        surely: Whether a clock that is near ours, or whose answers are alike, is asked as often as
            any other.
    """
    if not readings:
        return asked < MOST_READINGS
    best = best_reading(readings)
    if asked >= MOST_READINGS or best.is_sure or (best.is_near and not surely):
        return False
    if not surely and asked >= ENOUGH_ALIKE and _is_the_way(readings):
        return False
    return spent_seconds + best.answer_seconds <= SAMPLING_SECONDS


def _is_the_way(readings: Iterable[ClockReading]) -> bool:
    """Whether the two quickest answers took as long as each other."""
    quickest, *slower = sorted(reading.error_seconds for reading in readings)
    return bool(slower) and slower[0] <= ALIKE_TIMES * quickest


def best_reading(readings: Iterable[ClockReading]) -> ClockReading:
    """Choose the reading with the smallest error; the first of equals.

    Raises:
        ValueError: There is none.
    """
    return min(readings, key=lambda reading: reading.error_seconds)
