"""Write to Prefect within a time limit, and name at the end what it did not take.

What Prefect records of a run is a convenience of the run, never its condition: no step waits long
for a server that is away, and none fails for want of one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import httpx
from prefect.exceptions import PrefectException

from obscale.tasks.runtime.run_log import run_logger

R = TypeVar("R")

PREFECT_TROUBLE: Final = (PrefectException, httpx.HTTPError, TimeoutError, RuntimeError)
"""What Prefect's client raises where its server is away, busy, or refuses."""
PASSING: Final = (httpx.TransportError, TimeoutError)
"""Of these, what may be over a moment later."""
ANSWER_SECONDS: Final = 10.0
"""Longest one request is waited for; one that a restarting server has lost is then sent again."""
LONGEST_SECONDS: Final = 60.0
"""Longest a write is tried: a server that is started again takes less."""
PAUSE_SECONDS: Final = 1.0
LAST_SECONDS_AWAY: Final = 5.0
"""Longest wait at the end of a run for what is still being written, while Prefect is away."""


@dataclass
class Recording:
    """What is known of Prefect beside one run."""

    is_away: bool = False
    """Whether it has not answered for a while."""
    is_deleted: bool = False
    """Whether it knows the run no more."""
    unrecorded: dict[str, str] = field(default_factory=dict)
    """What it did not take, in order: a key of its own, and a name for people."""
    read: dict[tuple[str, str], Any] = field(default_factory=dict)
    """Stored connections and secrets as this run read them last, by kind and name."""


_RECORDING: ContextVar[Recording | None] = ContextVar("obscale_recording", default=None)


def recording() -> Recording | None:
    """Give what is known of Prefect beside the current run; None outside of one."""
    return _RECORDING.get()


@contextmanager
def recorded() -> Iterator[Recording]:
    """Know of Prefect inside this block; an outer block's knowledge is shared."""
    if known := _RECORDING.get():
        yield known
        return
    known = Recording()
    token = _RECORDING.set(known)
    try:
        yield known
    finally:
        _RECORDING.reset(token)


async def written(
    what: str, write: Callable[[], Awaitable[R]], *, key: str = "", seconds: float = LONGEST_SECONDS
) -> R | None:
    """Write, again where no answer came; what cannot be written is noted and None is given.

    Args:
        what: Name of it, for people.
        write: Makes the request.
        key: Tells it from others of this name, where there are several.
        seconds: Longest it is tried.
    """
    give_up = time.monotonic() + seconds
    try:
        while True:
            left = give_up - time.monotonic()
            try:
                async with asyncio.timeout(max(min(left, ANSWER_SECONDS), 0)):
                    answer = await write()
            except PREFECT_TROUBLE as error:
                is_over = time.monotonic() + PAUSE_SECONDS >= give_up
                if is_over or not isinstance(error, PASSING):
                    _lost(what, key, error)
                    return None
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                if known := recording():
                    known.unrecorded.pop(key or what, None)
                return answer
    except asyncio.CancelledError as error:
        _lost(what, key, error)
        raise


def _lost(what: str, key: str, error: BaseException) -> None:
    known = recording()
    if known is None or not (known.is_away or known.is_deleted):
        reason = str(error) or type(error).__name__
        run_logger().warning("prefect.not_recorded what=%r reason=%r", what, reason)
    if known is not None:
        known.unrecorded[key or what] = what


async def ended(writing: Collection["asyncio.Task[None]"]) -> None:
    """Wait for what is written beside the work; while Prefect is away, only for seconds."""
    began = time.monotonic()
    left = set(writing)
    while left:
        _, left = await asyncio.wait(left, timeout=PAUSE_SECONDS)
        known = recording()
        if known and known.is_away and time.monotonic() - began > LAST_SECONDS_AWAY:
            break
    for each in left:
        each.cancel()
    for outcome in await asyncio.gather(*writing, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


async def last_known(kind: str, name: str, read: Callable[[], Awaitable[R]]) -> R:
    """Read something stored; where Prefect does not answer now, as this run has read it before.

    Raises:
        Exception: Whatever `read` raises, where this run has never read it.
    """
    known = recording()
    if known is None:
        return await read()
    if (kind, name) not in known.read:
        known.read[kind, name] = await read()
        return known.read[kind, name]  # type: ignore[no-any-return]  # by kind, see above
    try:
        async with asyncio.timeout(LAST_SECONDS_AWAY):
            known.read[kind, name] = await read()
    except PASSING:
        pass
    return known.read[kind, name]  # type: ignore[no-any-return]  # by kind, see above
