"""Tests of writing to Prefect within a time limit."""

import asyncio

import httpx
import pytest
from prefect.exceptions import ObjectNotFound

from obscale.tasks.runtime import writing
from obscale.tasks.runtime.journal import aside, written_by_its_end
from obscale.tasks.runtime.writing import last_known, recorded, written

GONE = httpx.ConnectError("gone")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """Between two tries."""
    monkeypatch.setattr(writing, "PAUSE_SECONDS", 0.01)


class Server:
    """Answers, after some tries to which it does not."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.asked = 0

    async def take(self) -> str:
        """One request."""
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        return "taken"


async def test_a_server_that_comes_back_gets_it():
    """Two tries fall into its restart."""
    server = Server(GONE, TimeoutError())

    with recorded() as known:
        answer = await written("report", server.take)

    assert answer == "taken"
    assert not known.unrecorded


async def test_a_refusal_is_final():
    """Asked once; the run goes on without it."""
    server = Server(ObjectNotFound(GONE))

    with recorded() as known:
        answer = await written("tags", server.take)

    assert answer is None
    assert server.asked == 1
    assert known.unrecorded == {"tags": "tags"}


async def test_a_server_that_stays_away_is_given_up():
    """Within the time given, and named."""
    server = Server(*[GONE] * 10_000)

    with recorded() as known:
        answer = await written("report", server.take, key="report-east-1", seconds=0.1)

    assert answer is None
    assert known.unrecorded == {"report-east-1": "report"}


async def test_what_is_written_later_is_not_missing():
    """A newer place of the same bar."""
    with recorded() as known:
        await written("progress", Server(ObjectNotFound(GONE)).take)
        await written("progress", Server().take)

    assert not known.unrecorded


async def test_the_end_of_a_run_does_not_wait_for_a_server_that_hangs(monkeypatch):
    """Known to be away; what was still to be written is named."""
    monkeypatch.setattr(writing, "LAST_SECONDS_AWAY", 0.05)

    async def write():
        await written("report", asyncio.Event().wait)

    with recorded() as known:
        async with asyncio.timeout(5), written_by_its_end():
            await aside(write())
            known.is_away = True

    assert known.unrecorded == {"report": "report"}


async def test_a_stored_secret_is_used_as_the_run_has_read_it_before():
    """Away when a later step opens its connections; read anew as soon as it can be."""
    with recorded():
        first = await last_known("secret", "root", Server().take)
        away = await last_known("secret", "root", Server(GONE).take)
        with pytest.raises(httpx.ConnectError):
            await last_known("secret", "other", Server(GONE).take)

    assert (first, away) == ("taken", "taken")
