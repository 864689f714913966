"""Tests that few runs of a batch start on workers at once, however many clusters may grow."""

import asyncio
from types import SimpleNamespace
from uuid import uuid4

import pytest

from obscale.batch.dispatch import RunState, WorkerRun
from obscale.batch.ledger import ledger_of
from obscale.batch.schedule import RowState
from obscale.spec.batch import parse_batch
from obscale.tasks.dispatch import dispatcher
from obscale.tasks.dispatch.dispatcher import STARTS_SECONDS, Dispatch

DEADLINE_SECONDS = 10
"""Bound of every wait here; nothing comes near it."""
AT_ONCE = 2
CLUSTERS = 5
BATCH = "defaults: {obConfigs: {memory_limit: 16G, log_disk_size: 24G, datafile_size: 24G}}\n"
BATCH += "policies: {dispatch: deployment}\nclusters:\n"
BATCH += "".join(
    f"  - {{cluster: c{n}, nodes: [{{agentInfo: {{ip: 10.0.0.{n}}}, zone: zone1}}]}}\n"
    for n in range(1, CLUSTERS + 1)
)


class Seen:
    """Tells of runs what the test says, whenever it is asked to tell."""

    untaken_seconds = 0.0

    def __init__(self):
        self.runs = {}
        self._looked = asyncio.Condition()

    def follow(self, run_id, state):
        """Look at a run from now on."""
        self.runs[run_id] = WorkerRun(state)

    def forget(self, run_id):
        """Look at it no more."""
        del self.runs[run_id]

    async def next(self, run_id):
        """Wait until the test tells something."""
        async with self._looked:
            await self._looked.wait()
        return self.runs[run_id]

    async def tell(self, silent_seconds=0.0, **states):
        """Have each run be in its state, and be looked at."""
        for run_id in self.runs:
            state = states.get(run_id.name, self.runs[run_id].state)
            self.runs[run_id] = WorkerRun(state, silent_seconds=silent_seconds)
        async with self._looked:
            self._looked.notify_all()
        await settle()


class RunId:
    """Names a run by its cluster."""

    def __init__(self, name):
        self.name = name
        self.hex = uuid4().hex


async def settle():
    """Let all tasks come as far as they can."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def stage(monkeypatch, tmp_path):
    """Give a dispatch, and a function that begins all rows; they end with the test."""
    monkeypatch.setattr(dispatcher, "STARTING_AT_ONCE", AT_ONCE)
    monkeypatch.setattr(dispatcher, "publish_line", lambda *_: None)
    started = []

    async def start_run(_client, _deployment, part, _turn):
        (name,) = part.names
        started.append(name)
        state = SimpleNamespace(type=SimpleNamespace(value="SCHEDULED"))
        return SimpleNamespace(id=RunId(name), name=name, state=state)

    monkeypatch.setattr(dispatcher, "start_run", start_run)
    ledger = ledger_of(parse_batch(BATCH, "batch.yaml", tmp_path))
    for entry in ledger.entries:
        entry.lane = entry.cluster
    watch = Seen()
    dispatch = Dispatch(None, ledger, None, watch)
    dispatch._parts = dispatch._assigned()
    held = SimpleNamespace(off=False)

    async def called_off():
        return held.off

    rows = {}
    for entry in ledger.entries:
        entry.begin()
        rows[entry.cluster] = asyncio.create_task(dispatch.add(entry, called_off))
    await settle()
    yield SimpleNamespace(started=started, watch=watch, ledger=ledger, held=held, rows=rows)
    for row in rows.values():
        row.cancel()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await asyncio.gather(*rows.values(), return_exceptions=True)


async def test_the_next_run_is_made_when_one_has_started(stage):
    """While it is scheduled, and while its process starts, it has its place."""
    assert stage.started == ["c1", "c2"]
    await stage.watch.tell(c1=RunState.PENDING)
    assert stage.started == ["c1", "c2"]

    await stage.watch.tell(c1=RunState.RUNNING)
    assert stage.started == ["c1", "c2", "c3"]
    await stage.watch.tell()
    assert stage.started == ["c1", "c2", "c3"], "who has started gives its place once"


async def test_a_run_that_is_lost_before_it_starts_gives_its_place_too(stage):
    """Its row gets another run, in its turn."""
    await stage.watch.tell(c2=RunState.CRASHED)

    assert stage.started == ["c1", "c2", "c3"]
    await stage.watch.tell(c1=RunState.RUNNING, c3=RunState.RUNNING)
    assert stage.started == ["c1", "c2", "c3", "c4", "c5"]
    await stage.watch.tell(c4=RunState.RUNNING)
    assert stage.started == ["c1", "c2", "c3", "c4", "c5", "c2"]


async def test_a_run_whose_worker_died_as_it_started_keeps_nobody_waiting_for_long(stage):
    """Not for as long as it may take to begin; who still waits for a worker keeps its place."""
    await stage.watch.tell(STARTS_SECONDS, c1=RunState.PENDING)
    assert stage.started == ["c1", "c2"]

    await stage.watch.tell(STARTS_SECONDS + 1)
    assert stage.started == ["c1", "c2", "c3"]
    await stage.watch.tell(STARTS_SECONDS + 2)
    assert stage.started == ["c1", "c2", "c3"]


async def test_no_run_is_made_for_a_row_that_may_not_begin_any_more(stage):
    """It waited for its turn while the batch was stopped: it is put back, without a process."""
    stage.held.off = True
    await stage.watch.tell(c1=RunState.RUNNING)

    assert stage.started == ["c1", "c2"]
    states = {entry.cluster: entry.state for entry in stage.ledger.entries}
    assert [states[name] for name in ("c3", "c4", "c5")] == [RowState.WAITING] * 3
    assert all(stage.rows[name].done() for name in ("c3", "c4", "c5"))
