"""Tests of the priority slots of a batch, and of how many there are."""

import asyncio

import pytest

from obscale.batch.slots import (
    JUDGING_SECONDS,
    PROVING_SECONDS,
    SUBMITTING_SECONDS,
    PrioritySlots,
    Slot,
)
from tests.virtual_time import on_virtual_time, work

DEADLINE_SECONDS = 10
"""Bound of every wait here; nothing comes near it."""


async def ended(*rows):
    """Wait for rows to go in and come out."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        await asyncio.gather(*rows)


async def begun(coroutine):
    """Begin a task and let it come as far as it can."""
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)
    return task


@pytest.fixture
def gate():
    return PrioritySlots(2)


@pytest.fixture
async def full(gate):
    """Both places are taken."""
    await gate.enter("c0", 0)
    await gate.enter("c0", 0)


@pytest.fixture
def come(gate):
    """Give a function that has somebody come to the gate; who was let in stands in `come.seen`."""

    async def comes(name, head_start_seconds=PROVING_SECONDS, cluster="c1"):
        async def look():
            async with Slot(gate, cluster, head_start_seconds):
                comes.seen.append(name)

        return await begun(look())

    comes.seen = []
    return comes


async def test_nobody_waits_while_a_place_is_free(come):
    """As many as there are places go straight in, and give them back."""
    for name in "abc":
        await come(name)

    assert come.seen == ["a", "b", "c"]


@pytest.mark.usefixtures("full")
async def test_equals_go_in_as_they_came(gate, come):
    """And only once somebody has left."""
    rows = [await come(name) for name in "abc"]
    assert come.seen == []

    gate.leave()
    await ended(*rows)

    assert come.seen == ["a", "b", "c"]


@pytest.mark.usefixtures("full")
async def test_who_is_nearer_to_a_post_goes_first(gate, come):
    """Whoever came before them."""
    rows = [
        await come("proves", PROVING_SECONDS),
        await come("judges", JUDGING_SECONDS),
        await come("submits", SUBMITTING_SECONDS),
    ]

    gate.leave()
    await ended(*rows)

    assert come.seen == ["submits", "judges", "proves"]


@pytest.mark.usefixtures("full")
async def test_nobody_waits_for_ever(gate, come, monkeypatch):
    """Who has waited for longer than a head start goes before those who have one."""
    rows = [await come("proves", PROVING_SECONDS)]
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now + SUBMITTING_SECONDS + 1)
    rows.append(await come("submits", SUBMITTING_SECONDS))

    gate.leave()
    await ended(*rows)

    assert come.seen == ["proves", "submits"]


@pytest.mark.usefixtures("full")
async def test_a_cluster_that_had_to_wait_goes_first_the_next_time(gate, come, monkeypatch):
    """Of equals; it came later than the other."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    row = await come("earlier", cluster="patient")
    monkeypatch.setattr(loop, "time", lambda: now + 10)
    gate.leave()
    await ended(row)
    await gate.enter("c0", 0)
    monkeypatch.setattr(loop, "time", lambda: now + 100)
    rows = [await come("first", cluster="other")]
    monkeypatch.setattr(loop, "time", lambda: now + 109)
    rows.append(await come("second", cluster="patient"))

    gate.leave()
    await ended(*rows)

    assert come.seen == ["earlier", "second", "first"]


@pytest.mark.usefixtures("full")
async def test_who_gives_up_takes_nobodys_place(gate, come):
    """A row that is ended while it waits is passed over."""
    gone, stays = await come("gone"), await come("stays")
    gone.cancel()

    gate.leave()
    await ended(stays)

    assert come.seen == ["stays"]


@pytest.mark.usefixtures("full")
async def test_a_place_given_to_one_who_is_ended_goes_on_to_the_next(gate, come):
    """It was told at the same moment that it may go in and that it is ended."""
    gone, stays = await come("gone"), await come("stays")

    gate.leave()
    gone.cancel()
    await ended(stays)

    assert gone.cancelled()
    assert come.seen == ["stays"]


async def test_an_error_inside_gives_the_place_back(gate, come):
    """However often: afterwards as many places are free as before."""
    for _ in range(5):
        with pytest.raises(ConnectionError):
            async with Slot(gate, "c1", 0):
                raise ConnectionError
    await come("last")

    assert come.seen == ["last"]


class Inside:
    """Counts who is inside, and how many there were at most."""

    def __init__(self):
        self.now = self.most = self.done = 0

    async def look(self, gate, answers):
        """Be inside for so many answers, a second each."""
        async with Slot(gate, "c1", 0):
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                for _ in range(answers):
                    await asyncio.sleep(1)
            finally:
                self.now -= 1
            self.done += 1


@on_virtual_time
async def test_a_process_that_waits_lets_more_in_up_to_the_most():
    """Sixty looks of ten seconds each would take 300 s by two at a time."""
    inside, loop = Inside(), asyncio.get_running_loop()
    gate = PrioritySlots(2, 20)
    began = loop.time()

    await asyncio.gather(*(inside.look(gate, 10) for _ in range(60)))

    assert inside.most == 20
    assert loop.time() - began < 35


@on_virtual_time
async def test_a_process_that_is_busy_lets_no_more_in():
    """Something takes it a tenth of a second each time, so that what is due is done late."""
    inside = Inside()
    gate = PrioritySlots(2, 20)

    async def busy():
        while inside.done < 20:
            await asyncio.sleep(0.001)
            work(0.1)

    await asyncio.gather(busy(), *(inside.look(gate, 2) for _ in range(20)))

    assert inside.most == 2


@on_virtual_time
async def test_places_are_taken_back_once_the_process_is_busy():
    """Who is inside stays there; who waits comes in one at a time less."""
    inside, loop = Inside(), asyncio.get_running_loop()
    gate = PrioritySlots(2, 20)
    began, late = loop.time(), []

    async def busy():
        await asyncio.sleep(5)
        while inside.done < 50:
            await asyncio.sleep(0.001)
            work(0.1)
            if loop.time() - began > 12:
                late.append(inside.now)

    await asyncio.gather(busy(), *(inside.look(gate, 4) for _ in range(50)))

    assert inside.most == 20
    assert max(late) == 2


@on_virtual_time
async def test_slots_of_a_fixed_number_stay_as_many():
    """However much time the process has."""
    inside = Inside()
    gate = PrioritySlots(2)

    await asyncio.gather(*(inside.look(gate, 3) for _ in range(10)))

    assert inside.most == 2


@on_virtual_time
async def test_who_gives_up_leaves_nobody_looking():
    """Where all who waited are ended, the next ones come in as before."""
    inside, loop = Inside(), asyncio.get_running_loop()
    gate = PrioritySlots(1, 3)
    rows = [asyncio.create_task(inside.look(gate, 100)) for _ in range(9)]
    await asyncio.sleep(1)
    for row in rows:
        row.cancel()
    await asyncio.wait(rows)
    await asyncio.sleep(1)
    assert inside.now == 0
    began = loop.time()

    await asyncio.gather(*(inside.look(gate, 10) for _ in range(9)))

    assert inside.most == 3
    assert loop.time() - began < 35
