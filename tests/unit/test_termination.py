"""Tests of SIGTERM: it ends a run where the run itself waits."""

import asyncio
import os
import signal
import threading
from contextlib import suppress

import pytest
from prefect.exceptions import TerminationSignal
from prefect.utilities import engine

from obscale.tasks.runtime.sigterm import cancel_on_sigterm, heed


@pytest.fixture(autouse=True)
def handled():
    """SIGTERM is handled as in a run."""
    before = signal.signal(signal.SIGTERM, heed)
    yield
    signal.signal(signal.SIGTERM, before)


def terminate():
    """Send the signal; Python handles it before the next line."""
    os.kill(os.getpid(), signal.SIGTERM)


async def wait():
    """Wait for what never comes."""
    await asyncio.Event().wait()


async def heeded(block):
    """Do something in a block of its own."""
    with cancel_on_sigterm():
        await block


async def is_left_alone():
    """Whether this task may wait again, and no cancelling is left of the signal."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return asyncio.current_task().cancelling() == 0


async def test_what_is_struck_ends_what_it_does_and_the_run_ends_where_it_waits():
    """A callback is neither cut short nor taken for broken."""
    done = []

    def callback():
        terminate()
        done.append("callback")

    asyncio.get_running_loop().call_soon(callback)
    with pytest.raises(TerminationSignal):
        await heeded(wait())

    assert done == ["callback"]
    assert await is_left_alone()


@pytest.mark.parametrize("ending", ["swallowed", "replaced", "none"])
async def test_whatever_the_block_makes_of_it_it_ends_by_the_signal(ending):
    """Somebody suppresses the cancelling, makes an error of it, or has nothing to wait for."""

    async def block():
        terminate()
        if ending == "swallowed":
            with suppress(asyncio.CancelledError):
                await wait()
        elif ending == "replaced":
            try:
                await wait()
            finally:
                raise OSError("no connection")

    with pytest.raises(TerminationSignal):
        await heeded(block())

    assert await is_left_alone()


async def test_of_nested_blocks_the_inner_one_tidies_up_first():
    """A flow inside of the command line; both end by the signal."""
    seen = []

    async def flow():
        try:
            await heeded(wait())
        except TerminationSignal:
            seen.append("flow")
            raise

    asyncio.get_running_loop().call_soon(terminate)
    with pytest.raises(TerminationSignal):
        await heeded(flow())

    assert seen == ["flow"]
    assert await is_left_alone()


async def test_all_runs_of_the_process_end():
    """Two runs side by side are two blocks."""
    runs = [asyncio.create_task(heeded(wait())) for _ in range(2)]
    await asyncio.sleep(0)

    terminate()

    endings = await asyncio.gather(*runs, return_exceptions=True)
    assert [type(ending) for ending in endings] == [TerminationSignal] * 2


async def test_a_second_signal_ends_what_the_first_one_left():
    """Tidying up that takes too long is cut short."""
    tidying = asyncio.Event()

    async def block():
        try:
            await wait()
        finally:
            tidying.set()
            await wait()

    run = asyncio.create_task(heeded(block()))
    await asyncio.sleep(0)
    terminate()
    await tidying.wait()
    terminate()

    with pytest.raises(TerminationSignal):
        await run


async def test_other_endings_stay_what_they_are():
    """An error of the block, and being cancelled by whoever runs it."""

    async def fails():
        raise OSError("no connection")

    with pytest.raises(OSError, match="no connection"):
        await heeded(fails())
    run = asyncio.create_task(heeded(wait()))
    await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


def test_a_block_of_another_thread_hears_nothing():
    """Signals are for the main thread; there they end what runs, as Prefect's handler does."""
    entered, over, ended = threading.Event(), threading.Event(), []

    async def block():
        entered.set()
        await asyncio.to_thread(over.wait, 30)
        ended.append("by itself")

    thread = threading.Thread(target=asyncio.run, args=(heeded(block()),))
    thread.start()
    assert entered.wait(30)
    with pytest.raises(TerminationSignal):
        terminate()
    over.set()
    thread.join(30)

    assert ended == ["by itself"]


def test_prefect_takes_the_handler_for_its_own():
    """So that a run cancelled in the UI ends as Cancelled, and no automation runs it again."""
    with engine.capture_sigterm():
        installed = signal.getsignal(signal.SIGTERM)
        may_cancel = engine.can_ack_control_intent()

    assert installed is heed
    assert may_cancel
