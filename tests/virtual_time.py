"""Runs a test on virtual time: as soon as everybody sleeps, it is the moment the first one wakes.

The event loop, the product's clock and the simulated clusters go by the same seconds, so a wait of
an hour costs nothing, takes exactly an hour, and no time limit depends on how busy the machine is.
All must be in one process: a socket, a thread or a process knows no virtual time.
"""

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from obscale.clock import going_by
from obscale.sandbox.clock import DEFAULT_EPOCH_SECONDS

MOST_WAITS = 1000
"""Whoever waits more often waits for what never comes."""
BEGINNING_SECONDS = 1000.0
"""What a monotonic clock shows at first is no promise, so it is not zero."""


class EverybodyWaitsError(Exception):
    """Nothing is ready and nothing ever will be: all wait for each other."""


class EndlessWaitError(Exception):
    """Somebody waits again and again, and nothing puts an end to it."""


class _Jump(selectors.DefaultSelector):
    """Waits by moving the time of its loop forward."""

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGINNING_SECONDS
        self._waits = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Give what is ready; else pass the time until the next timer at once."""
        ready = super().select(0)
        if not ready and timeout is None:
            raise EverybodyWaitsError
        if not ready and timeout > 0:
            self.now += timeout
            self._waits += 1
            if self._waits > MOST_WAITS:
                raise EndlessWaitError
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while everybody waits."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Seconds; they stand still while anything is at work."""
        return self._jump.now

    def work(self, seconds: float) -> None:
        """Let time pass as if whoever calls this had been at work for so long."""
        self._jump.now += seconds

    @property
    def passed_seconds(self) -> float:
        """Since the loop was made."""
        return self._jump.now - BEGINNING_SECONDS


class VirtualClock:
    """The time of a loop, as the product and as a simulated world ask for it.

    Args:
        loop: Whose time it is.
    """

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop

    def utc_now(self) -> datetime:
        """The instant on the product's wall."""
        return datetime.fromtimestamp(DEFAULT_EPOCH_SECONDS, UTC) + timedelta(seconds=self.now())

    def monotonic(self) -> float:
        """Seconds, as the loop counts them."""
        return self._loop.time()

    def now(self) -> float:
        """Virtual seconds since the world began."""
        return self._loop.passed_seconds

    def wall_at(self, virtual_seconds: float) -> float:
        """Unix seconds on the world's wall."""
        return DEFAULT_EPOCH_SECONDS + virtual_seconds


def virtual_clock() -> VirtualClock:
    """The clock of the loop a test runs on; for its world."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop), "the test wants @on_virtual_time"
    return VirtualClock(loop)


def work(seconds: float) -> None:
    """Be at work for so long, in virtual seconds: nobody else gets a turn meanwhile."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop), "the test wants @on_virtual_time"
    loop.work(seconds)


def on_virtual_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Let a test that waits be called without waiting."""

    @functools.wraps(test)
    def played(*args: Any, **fixtures: Any) -> None:
        async def play() -> None:
            with going_by(virtual_clock()):
                await test(*args, **fixtures)

        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(play())

    return played
