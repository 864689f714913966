"""What time is it at the agent, and how sure are we?

Pure arithmetic on seconds. The agent rejects expired headers by its own clock
(ob/agent/secure/auth.go, 4.5.0.0), so expiries are built on that clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MOST_READINGS: Final = 5
"""Questions for one clock reading; the quickest counts."""
GOOD_ENOUGH_SECONDS: Final = 0.005
"""Two clocks read so surely are compared to 10 ms, the smallest offset that is ever told: another
question could change no answer."""
NEAR_SECONDS: Final = 0.02
"""Two clocks that are surely this near ours are at most 40 ms apart; 100 ms is the least that is
warned of. A process that looks at many clusters at once hears each answer late, but seldom as late
as that."""


@dataclass(frozen=True)
class ClockReading:
    """How far an agent's clock is from ours.

    Args:
        offset_seconds: Agent's clock minus ours; positive where the agent is ahead.
        error_seconds: The true offset is at most this far from it.
    """

    offset_seconds: float
    error_seconds: float

    @property
    def is_good_enough(self) -> bool:
        """Whether asking once more is of no use."""
        is_near = abs(self.offset_seconds) + self.error_seconds <= NEAR_SECONDS
        return is_near or self.error_seconds <= GOOD_ENOUGH_SECONDS


def compare_clocks(
    sent_seconds: float, received_seconds: float, agent_seconds: float
) -> ClockReading:
    """Read the offset from one question and its answer.

    Args:
        sent_seconds: Our clock when the question left, Unix seconds.
        received_seconds: Our clock when the answer was here.
        agent_seconds: The agent's clock in the answer.

    Returns:
        Agent minus the midpoint, half the round trip as error.
    """
    half = (received_seconds - sent_seconds) / 2
    return ClockReading(agent_seconds - (sent_seconds + half), half)


def best_reading(readings: Iterable[ClockReading]) -> ClockReading:
    """Choose the reading with the smallest error; the first of equals.

    Raises:
        ValueError: There is none.
    """
    return min(readings, key=lambda reading: reading.error_seconds)
