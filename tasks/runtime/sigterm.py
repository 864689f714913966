"""Ends a run on SIGTERM, or when Prefect cancels it and no worker hears of it.

Prefect's handler raises an exception in whatever runs at that moment. Where that is no code of the
run, the run may never hear of it: asyncio takes it for a bug of one connection and goes on, and a
library struck between two of its own steps may spin for ever. So inside of `cancel_on_sigterm` the
signal waits for the event loop, which cancels the run where the run itself waits.
"""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from prefect.exceptions import Abort, TerminationSignal

from obscale.tasks.runtime.prefect_private import replace_sigterm_handler


class CancelledInPrefect(Abort):
    """Somebody has cancelled this run in Prefect, and no worker is there to end it.

    Prefect's engine writes no state for an `Abort`: whoever runs the flow says Cancelled.
    """


class _Block:
    """What a signal ends."""

    def __init__(self, run: "asyncio.Task[Any]") -> None:
        self.run, self.loop = run, run.get_loop()
        self.ending: BaseException | None = None
        self.is_over = False
        self.cancelled = 0

    def cancel(self) -> None:
        if not self.is_over:
            self.cancelled += self.run.cancel()


_BLOCKS: Final[list[_Block]] = []


def heed(number: int, _frame: FrameType | None) -> None:
    """Handle SIGTERM: end the innermost block of each run; where there is none, as Prefect does.

    Raises:
        TerminationSignal: There is none.
    """
    if not _BLOCKS:
        raise TerminationSignal(number)
    for block in {block.run: block for block in _BLOCKS}.values():
        block.ending = TerminationSignal(number)
        block.loop.call_soon_threadsafe(block.cancel)


def cancel_run(run: "asyncio.Task[Any]") -> None:
    """End the innermost block of a run as SIGTERM does, by `CancelledInPrefect`; from its loop.

    Args:
        run: The task the run's flow runs in.
    """
    if blocks := [block for block in _BLOCKS if block.run is run]:
        blocks[-1].ending = CancelledInPrefect("cancelled in Prefect")
        blocks[-1].cancel()


def handle_sigterm() -> None:
    """Let SIGTERM be handled by `heed` from now on; in a program of one's own, before any run.

    Only the main thread may hear signals; from another one, the process is not ours to end.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, heed)


replace_sigterm_handler(heed)


@contextmanager
def cancel_on_sigterm() -> Iterator[None]:
    """Let SIGTERM cancel what runs in this block, and end it by Prefect's own exception.

    Raises:
        TerminationSignal: The signal came, whatever the block has made of it.
        CancelledInPrefect: So did `cancel_run`.
    """
    run = asyncio.current_task()
    # As for `handle_sigterm`.
    if run is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    block = _Block(run)
    _BLOCKS.append(block)
    try:
        yield
    finally:
        _BLOCKS.remove(block)
        block.is_over = True
        for _ in range(block.cancelled):
            run.uncancel()
        if block.ending:
            raise block.ending
