"""Tests of readings side by side: one error, never a group."""

import asyncio

import pytest

from obscale.errors import AgentProtocolError
from obscale.reading import side_by_side


async def fail(error, after=0):
    """Raise an error some steps later; be cancelled before, if somebody else was quicker."""
    for _ in range(after):
        await asyncio.sleep(0)
    raise error


async def test_everything_done_is_there_afterwards():
    """Nothing failed: the results stand in the tasks."""
    async with side_by_side() as reads:
        done = [reads.create_task(asyncio.sleep(0, number)) for number in range(3)]

    assert [each.result() for each in done] == [0, 1, 2]


async def test_the_first_error_is_raised_as_itself_and_ends_the_others():
    """No ExceptionGroup, and nothing goes on behind."""
    long = []

    async def work():
        async with side_by_side() as reads:
            long.append(reads.create_task(asyncio.sleep(60)))
            reads.create_task(fail(AgentProtocolError("odd", "10.0.0.1:2886")))

    with pytest.raises(AgentProtocolError, match="odd"):
        await work()

    assert long[0].cancelled()


async def test_an_error_nobody_foresaw_is_raised_as_itself_too():
    """A defect keeps its class and its place."""

    async def work():
        async with side_by_side() as reads:
            reads.create_task(fail(ValueError("nobody foresaw")))

    with pytest.raises(ValueError, match="nobody foresaw"):
        await work()


async def test_of_several_the_one_a_person_can_act_on_counts():
    """Also out of groups within groups."""

    async def both():
        async with asyncio.TaskGroup() as reads:
            reads.create_task(fail(AgentProtocolError("odd", "10.0.0.1:2886")))

    async def work():
        async with side_by_side() as reads:
            reads.create_task(fail(ValueError("nobody foresaw"), after=2))
            reads.create_task(both())

    with pytest.raises(AgentProtocolError):
        await work()


async def test_an_end_from_outside_stays_one():
    """Cancelled, it is cancelled: neither swallowed nor turned into an error."""

    async def work():
        async with side_by_side() as reads:
            reads.create_task(asyncio.sleep(60))

    working = asyncio.ensure_future(work())
    await asyncio.sleep(0.01)
    working.cancel()

    with pytest.raises(asyncio.CancelledError):
        await working
