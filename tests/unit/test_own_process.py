"""Tests of a run's ending in this process, whatever Prefect makes of it."""

import asyncio
import logging
import os
import subprocess
import sys

import httpx
import pytest
from prefect.exceptions import Abort, ObjectNotFound

from obscale.errors import PrefectUnreachableError, VerifyError
from obscale.events import PrefectNotice
from obscale.tasks.runtime import own_process
from obscale.tasks.runtime.journal import listening
from obscale.tasks.runtime.own_process import Told, run_here
from obscale.tasks.runtime.sigterm import CancelledInPrefect, cancel_run
from obscale.tasks.runtime.writing import recorded, recording

NOT_PROVED = VerifyError("10.0.0.4:2886 stands on SERVING", "look at the proofs")


@pytest.fixture(autouse=True)
def own_switch(monkeypatch):
    """What a run does to its process is not for the next test."""
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)


@pytest.fixture
def said():
    """What the run says of Prefect."""
    lines = []

    def hear(event):
        if isinstance(event, PrefectNotice):
            lines.append(event.words)

    with listening(hear):
        yield lines


async def flow(told, *, ended_by=None, prefect=None):
    """Tell the report, then have Prefect's engine end."""
    told.end(ended_by)
    if prefect:
        raise prefect
    if ended_by:
        raise ended_by


@pytest.mark.parametrize(
    "prefect", [httpx.ConnectError("gone"), Abort("settled already"), TimeoutError()], ids=repr
)
async def test_a_proved_node_stays_proved_where_prefect_cannot_say_so(said, prefect):
    """The engine fails to write Completed: the run ends well, and says what is missing."""
    told = Told()

    await run_here(flow(told, prefect=prefect), told)

    assert said == ["not recorded in Prefect: the run's end"]


async def test_a_deleted_run_is_said_to_be_deleted(said):
    """Found out only by the engine, at the end."""
    told = Told()

    await run_here(flow(told, prefect=ObjectNotFound(httpx.ReadError("404"))), told)

    assert len(said) == 1
    assert "deleted in Prefect" in said[0]


async def test_what_the_run_failed_by_is_what_it_ends_by(said):
    """Not by Prefect's failing to record it."""
    told = Told()

    with pytest.raises(VerifyError):
        await run_here(flow(told, ended_by=NOT_PROVED, prefect=httpx.ReadTimeout("")), told)

    assert said


async def test_an_error_of_the_run_that_looks_like_prefects_is_its_own(said):
    """A bug is raised on, and nothing is said to be missing."""
    told, bug = Told(), RuntimeError("wires crossed")

    with pytest.raises(RuntimeError, match="wires crossed"):
        await run_here(flow(told, ended_by=bug), told)

    assert not said


async def test_a_run_prefect_does_not_let_begin_has_sent_nothing(said):
    """Before the flow's own code; it says so, and how on."""

    async def begin():
        raise RuntimeError("Failed to reach API at http://127.0.0.1:4200/api/")

    words = r"not begun, nothing was sent: .* \(Failed to reach"
    with pytest.raises(PrefectUnreachableError, match=words):
        await run_here(begin(), Told())

    assert not said


async def test_an_engine_that_waits_for_an_absent_prefect_is_ended(said, monkeypatch):
    """It would write another state for being ended, and wait again: it comes to neither."""
    monkeypatch.setattr(own_process, "LONGEST_END_AWAY_SECONDS", 0.0)
    told, wrote = Told(), []

    async def engine():
        recording().is_away = True
        told.end(None)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()
            wrote.append("Crashed")

    async with asyncio.timeout(60):
        await run_here(engine(), told)

    assert not wrote
    assert said == ["not recorded in Prefect: the run's end"]
    assert asyncio.current_task().cancelling() == 0


async def test_whoever_ends_the_run_from_outside_ends_it(said):
    """Ctrl-C while the engine writes the state."""
    told = Told()

    async def engine():
        told.end(None)
        await asyncio.Event().wait()

    run = asyncio.create_task(run_here(engine(), told))
    await told.is_out.wait()
    run.cancel()

    with pytest.raises(asyncio.CancelledError):
        await run
    assert not said


async def test_a_run_cancelled_in_prefect_ends_where_it_waits():
    """As by SIGTERM, but by an exception for which Prefect's engine writes no state."""
    began = asyncio.Event()

    async def engine():
        began.set()
        await asyncio.Event().wait()

    run = asyncio.create_task(run_here(engine(), Told()))
    await began.wait()
    cancel_run(run)

    with pytest.raises(CancelledInPrefect):
        await run


async def test_rows_and_flow_share_what_is_known_of_prefect():
    """An inner block knows what the outer one does."""
    with recorded() as outer, recorded() as inner:
        outer.is_away = True

        assert inner.is_away


ENDS_AWAY = """
import asyncio, sys
from prefect.events import emit_event
from prefect.events.clients import AssertingEventsClient
from prefect.events.worker import EventsWorker
from obscale.cli.exits import leave
from obscale.tasks.runtime import own_process

async def emit(_self, event):
    await asyncio.sleep(float(sys.argv[1]))
    print(event.event, flush=True)

AssertingEventsClient._emit = emit
EventsWorker.set_client_override(AssertingEventsClient)
own_process._LEFT.is_away = True
own_process.LAST_EVENTS_SECONDS = float(sys.argv[2])
for name in ("stage-changed", "held"):
    emit_event(name, resource={"prefect.resource.id": "obscale.cluster.east"})
leave(SystemExit(3))
"""


@pytest.mark.parametrize(
    ("each_seconds", "longest_seconds", "sent"),
    [("0.2", "60", ["stage-changed", "held"]), ("3600", "0.1", [])],
    ids=["it is only slow", "it takes none"],
)
def test_the_last_events_are_sent_though_prefect_counts_as_away(
    tmp_path, each_seconds, longest_seconds, sent
):
    """Somebody may wait to be called by the last one; nobody waits for a server that is gone."""
    ended = subprocess.run(
        [sys.executable, "-c", ENDS_AWAY, each_seconds, longest_seconds],
        env=os.environ
        | {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert (ended.returncode, ended.stdout.splitlines()) == (3, sent), ended.stderr
