"""Tests of the clock handed to loops, and of the virtual time on which other tests run."""

import asyncio
import itertools
import time
from datetime import UTC, datetime, timedelta

import pytest

from obscale.clock import going_by, monotonic, utc_now
from tests.virtual_time import EndlessWaitError, EverybodyWaitsError, on_virtual_time, virtual_clock

HOUR = 3600.0


class Stopped:
    """A clock that stands."""

    def utc_now(self):
        """Always the same instant."""
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self):
        """Always the same second."""
        return 7.0


def test_without_any_other_it_is_the_systems():
    """Both times lie between two readings of the machine's own."""
    before = time.monotonic(), datetime.now(UTC)

    told = monotonic(), utc_now()

    assert before[0] <= told[0] <= time.monotonic()
    assert before[1] <= told[1] <= datetime.now(UTC)


async def test_a_clock_holds_for_its_block_and_the_tasks_begun_in_it():
    """A task keeps the clock it was begun with; outside the block the system's is back."""

    async def ask():
        await asyncio.sleep(0)
        return monotonic()

    with going_by(Stopped()):
        begun = asyncio.create_task(ask())
        assert utc_now() == datetime(2026, 1, 1, tzinfo=UTC)

    assert await begun == 7.0
    assert utc_now() > datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=1)


@on_virtual_time
async def test_virtual_time_passes_by_what_is_waited_for_and_by_nothing_else():
    """Sleepers wake in the order of their times, and loop, product and world agree on the time."""
    woken = []

    async def sleeper(seconds):
        await asyncio.sleep(seconds)
        woken.append(seconds)

    began, wall = monotonic(), utc_now()
    await asyncio.gather(*map(sleeper, (3 * HOUR, HOUR, 2 * HOUR)))

    assert woken == [HOUR, 2 * HOUR, 3 * HOUR]
    assert monotonic() - began == pytest.approx(3 * HOUR)
    assert (utc_now() - wall).total_seconds() == pytest.approx(3 * HOUR)
    assert virtual_clock().now() == pytest.approx(3 * HOUR)


@on_virtual_time
async def test_a_time_limit_is_kept_on_virtual_time():
    """What waits for longer than its limit is ended at the limit."""
    began = monotonic()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(HOUR):
            await asyncio.sleep(2 * HOUR)

    assert monotonic() - began == pytest.approx(HOUR)


def test_a_wait_that_nobody_can_end_fails_at_once():
    """Instead of hanging: nothing is ready, and no timer runs."""

    @on_virtual_time
    async def waits():
        await asyncio.Event().wait()

    with pytest.raises(EverybodyWaitsError):
        waits()


def test_a_wait_without_an_end_fails():
    """A loop that looks for ever, as one would whose limit never strikes, is ended."""

    @on_virtual_time
    async def looks():
        for _ in itertools.count():
            await asyncio.sleep(HOUR)

    with pytest.raises(EndlessWaitError):
        looks()
