"""Tests of what is written beside the work."""

import asyncio

import pytest

from obscale.tasks.runtime.journal import aside, written_by_its_end


class Page:
    """Something that is written once it may be."""

    def __init__(self) -> None:
        self.may_be = asyncio.Event()
        self.is_written = False

    async def write(self) -> None:
        """Wait for the permission, then be written."""
        await self.may_be.wait()
        self.is_written = True


async def test_the_work_goes_on_and_the_end_waits():
    """What is written aside is not there when the work goes on, and is there after the block."""
    page = Page()

    async with asyncio.timeout(30), written_by_its_end():
        await aside(page.write())
        before = page.is_written
        page.may_be.set()

    assert not before
    assert page.is_written


async def test_it_is_there_also_where_the_work_failed():
    """A run that is blocked shows its findings."""
    page = Page()

    async def blocked():
        async with asyncio.timeout(30), written_by_its_end():
            await aside(page.write())
            page.may_be.set()
            raise ValueError("blocked")

    with pytest.raises(ValueError, match="blocked"):
        await blocked()

    assert page.is_written


async def test_without_a_block_it_is_waited_for():
    """A step that is run alone has shown everything when it ends."""
    page = Page()
    page.may_be.set()

    await aside(page.write())

    assert page.is_written
