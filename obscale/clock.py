"""The time by which loops wait and measure: the system's, or that of a clock handed to them.

Pauses and time limits are the event loop's (`asyncio.sleep`, `asyncio.timeout`). A clock of one's
own belongs to an event loop of the same time, as in `tests/virtual_time.py`.

What waits for a cluster asks here. What waits for processes and for Prefect's server, which know no
other time than the system's, does not.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, Protocol


class Clock(Protocol):
    """Tells both times."""

    def utc_now(self) -> datetime:
        """The instant on the wall, in UTC; somebody may set it."""
        ...

    def monotonic(self) -> float:
        """Seconds since some instant; they only grow."""
        ...


class SystemClock:
    """The machine's own."""

    def utc_now(self) -> datetime:
        """The instant on the wall, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some instant, as `time.monotonic`."""
        return time.monotonic()


_SYSTEM: Final = SystemClock()
_CLOCK: Final[ContextVar[Clock]] = ContextVar("obscale_clock", default=_SYSTEM)


def utc_now() -> datetime:
    """The instant on the wall, in UTC, by the clock in use."""
    return _CLOCK.get().utc_now()


def monotonic() -> float:
    """Seconds since some instant, by the clock in use."""
    return _CLOCK.get().monotonic()


@contextmanager
def going_by(clock: Clock) -> Iterator[None]:
    """Have all that is called inside this block, and every task begun in it, go by this clock."""
    token = _CLOCK.set(clock)
    try:
        yield
    finally:
        _CLOCK.reset(token)
