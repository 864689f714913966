"""The virtual clock of a world, and the wall clocks of its agents.

Two times run side by side. *Virtual* seconds drive the DAG engine: they start at zero and may run
faster than real time. *Wall* time is what agents print and compare (`ts`, `/time`, envelopes).
"""

import time
from bisect import bisect_right
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

DEFAULT_EPOCH_SECONDS: Final = 1_778_205_600.0
"""Wall instant of virtual second 0 under a manual clock: 2026-05-08T10:00:00+08:00."""
GO_ZERO_TIME: Final = "0001-01-01T00:00:00Z"
"""How Go prints a time that was never set. Source: Go time package, RFC3339Nano."""
NANOSECONDS: Final = 1_000_000_000
MICROSECOND_DIGITS: Final = 6


class Clock(Protocol):
    """Answers both times; `World` asks it before every request."""

    def now(self) -> float:
        """Virtual seconds since the world began."""
        ...

    def wall_at(self, virtual_seconds: float) -> float:
        """Unix seconds of the wall instant that belongs to a virtual one."""
        ...


class ManualClock:
    """Stands still until told to move: for tests that assert on exact ticks.

    Args:
        epoch_seconds: Unix seconds shown at virtual second 0.
    """

    def __init__(self, epoch_seconds: float = DEFAULT_EPOCH_SECONDS) -> None:
        self._epoch = epoch_seconds
        self._now = 0.0

    def now(self) -> float:
        """Virtual seconds since the world began."""
        return self._now

    def wall_at(self, virtual_seconds: float) -> float:
        """Epoch plus virtual seconds: one virtual second is one second on the wall."""
        return self._epoch + virtual_seconds

    def advance(self, seconds: float) -> None:
        """Move forward; negative steps are refused with `ValueError`."""
        if seconds < 0:
            raise ValueError(f"time does not run backwards: {seconds}")
        self._now += seconds


class ScaledClock:
    """Runs by itself, `speed` virtual seconds in every real one.

    Args:
        speed: 1.0 is real pace, 30.0 lets a 30 s scale-out pass in one second.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self._paces = [_Pace(0.0, time.time(), time.monotonic(), _checked(speed))]

    @property
    def speed(self) -> float:
        """Virtual seconds in every real one, from the last change on."""
        return self._paces[-1].speed

    def change_speed(self, speed: float) -> None:
        """Go on at another pace from now on; what has passed keeps its instants.

        Raises:
            ValueError: `speed` is not positive.
        """
        self._paces.append(_Pace(self.now(), time.time(), time.monotonic(), _checked(speed)))

    def skip(self, seconds: float) -> None:
        """Let virtual seconds pass at once; negative ones are refused with `ValueError`."""
        if seconds < 0:
            raise ValueError(f"time does not run backwards: {seconds}")
        self._paces.append(
            _Pace(self.now() + seconds, time.time(), time.monotonic(), self._paces[-1].speed)
        )

    def now(self) -> float:
        """Virtual seconds since the world began."""
        pace = self._paces[-1]
        return pace.virtual + (time.monotonic() - pace.monotonic) * pace.speed

    def wall_at(self, virtual_seconds: float) -> float:
        """The real instant at which that virtual second passed, or will pass."""
        at = bisect_right(self._paces, virtual_seconds, key=lambda pace: pace.virtual)
        pace = self._paces[max(at - 1, 0)]
        wall = pace.wall + (virtual_seconds - pace.virtual) / pace.speed
        return min([wall, *(later.wall for later in self._paces[at : at + 1])])


class _Pace(NamedTuple):
    """From when on a scaled clock runs how fast: both times, Python's clock, virtual per real."""

    virtual: float
    wall: float
    monotonic: float
    speed: float


def _checked(speed: float) -> float:
    if speed <= 0:
        raise ValueError(f"speed must be positive, not {speed}")
    return speed


@lru_cache(maxsize=1024)
def go_time(unix_seconds: float, offset_minutes: int, digits: int = 9) -> str:
    """RFC 3339 as Go prints it: trailing zeros cut, `Z` for UTC.

    Args:
        unix_seconds: The instant.
        offset_minutes: The server's zone, minutes east of Greenwich.
        digits: Precision kept, 9 for Go's own times, 6 for OceanBase rows, 0 for whole seconds.
    """
    whole, nanos = divmod(round(unix_seconds * NANOSECONDS), NANOSECONDS)
    moment = datetime.fromtimestamp(whole, tz=UTC).astimezone(
        timezone(timedelta(minutes=offset_minutes))
    )
    fraction = f"{nanos:09d}"[:digits].rstrip("0")
    zone = "Z" if offset_minutes == 0 else moment.isoformat()[-6:]
    return f"{moment:%Y-%m-%dT%H:%M:%S}{'.' + fraction if fraction else ''}{zone}"
