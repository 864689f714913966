"""Tests of writing the record of before: a busy Prefect server is given more time at each try."""

import asyncio
from uuid import uuid4

import pytest

import obscale.tasks.runtime.baselines
from obscale.errors import RecordError
from obscale.tasks.runtime.baselines import TRIES, Records
from obscale.verify.baseline import Baseline

RECORD = Baseline.model_construct()


def slow_server(monkeypatch, tries):
    """Have Prefect take two tenths of a second to keep anything; gives what it has kept."""
    kept = []

    async def create(wanted):
        await asyncio.sleep(0.2)
        kept.append(wanted)
        return uuid4()

    monkeypatch.setattr(obscale.tasks.runtime.baselines, "create", create)
    monkeypatch.setattr(obscale.tasks.runtime.baselines, "page_of", lambda _kept: "page")
    monkeypatch.setattr(obscale.tasks.runtime.baselines, "TRIES", tries)
    return kept


async def test_a_server_too_slow_for_the_first_try_keeps_the_record_at_the_next(monkeypatch):
    """The time of the second try is its own."""
    kept = slow_server(monkeypatch, ((0.01, 0.0), (60.0, 0.0)))

    await Records("obcluster/1", "10.0.0.4:2886").write(RECORD)

    assert len(kept) == 1


async def test_a_server_too_slow_for_every_try_is_told(monkeypatch):
    """Nothing is posted then; the error says so."""
    kept = slow_server(monkeypatch, ((0.01, 0.0),) * 3)

    with pytest.raises(RecordError, match="nothing was sent"):
        await Records("obcluster/1", "10.0.0.4:2886").write(RECORD)

    assert kept == []


async def test_which_dag_a_post_began_is_written_when_its_turn_has_come(monkeypatch):
    """Rows that wait for their POST go first; the record stands already."""
    kept = slow_server(monkeypatch, ((60.0, 0.0),))
    updated = []

    class Client:
        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            return None

        async def update_artifact(self, artifact, _update):
            updated.append(artifact)

    monkeypatch.setattr(obscale.tasks.runtime.baselines, "get_client", Client)
    turn = asyncio.Lock()
    records = Records("obcluster/1", "10.0.0.4:2886", settling=turn)
    async with turn:
        await records.write(RECORD)
        settling = asyncio.create_task(records.settle(RECORD, "dag"))
        await asyncio.sleep(0.05)
        assert (len(kept), updated) == (1, [])

    await settling
    assert len(updated) == 1


async def test_a_row_does_not_wait_for_long_until_its_dag_may_be_written(monkeypatch):
    """Whoever is before it may wait for a server that is away; the DAG is followed all the same."""
    slow_server(monkeypatch, ((60.0, 0.0),))
    monkeypatch.setattr(obscale.tasks.runtime.baselines, "TURN_SECONDS", 0.01)
    turn = asyncio.Lock()
    records = Records("obcluster/1", "10.0.0.4:2886", settling=turn)
    async with turn:
        record = await records.write(RECORD)
        async with asyncio.timeout(10):
            settled = await records.settle(record, "dag")

    assert settled.dag_id == "dag"


def test_each_try_is_given_no_less_time_than_the_one_before():
    """A request that is cut off has waited for the database in vain."""
    seconds = [each for each, _ in TRIES]

    assert seconds == sorted(seconds)
    assert seconds[-1] > seconds[0]
