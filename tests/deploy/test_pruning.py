"""Tests that Prefect's own pruning, as operations.md sets it, takes ended runs and no others."""

import asyncio
import re
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, LogCreate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Failed, Paused, Running

from obscale.flows.scale_out import scale_out
from tests.deploy.conftest import ROOT
from tests.prefect_server import LONGEST_SECONDS, prefect_server

LONG_AGO = timedelta(days=200)
SET = re.compile(r"^export (PREFECT_SERVER_SERVICES_DB_VACUUM_\w+)=(\S+)$", re.MULTILINE)
KINDS = ("baseline", "dag", "report", "evidence")


def documented():
    """The settings operations.md gives, and a look each second instead of each hour."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    found = dict(SET.findall(page))
    assert {each.rpartition("VACUUM_")[2] for each in found} == {"ENABLED", "RETENTION_PERIOD"}
    return found | {"PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "1"}


async def run_with_pages(client, state):
    """Record a run as one of scale-out is: artifacts and a line of log."""
    run = await client.create_flow_run(scale_out, parameters={})
    await client.set_flow_run_state(run.id, Running(), force=True)
    for kind in KINDS:
        page = ArtifactCreate(key=f"{kind}-{run.id}", type="markdown", data="x", flow_run_id=run.id)
        await client.create_artifact(page)
    line = LogCreate(
        name="test", level=20, message="said", timestamp=datetime.now(UTC), flow_run_id=run.id
    )
    await client.create_logs([line])
    await client.set_flow_run_state(run.id, state, force=True)
    return run.id


def make_old(home, *runs):
    """Let runs have begun, and those that have ended have ended, long ago."""
    long_ago = (datetime.now(UTC) - LONG_AGO).strftime("%Y-%m-%d %H:%M:%S.%f")
    with sqlite3.connect(home / "prefect.db", timeout=LONGEST_SECONDS) as database:
        for run in runs:
            for column in ("created", "start_time", "end_time"):
                database.execute(
                    f"update flow_run set {column} = ? where id = ? and {column} is not null",
                    (long_ago, str(run)),
                )
    database.close()


async def left_of(client, run):
    """Whether a run is there, its pages, and its lines of log."""
    own = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
    pages = await client.read_artifacts(artifact_filter=ArtifactFilter(), flow_run_filter=own)
    lines = await client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])))
    try:
        await client.read_flow_run(run)
    except ObjectNotFound:
        return False, len(pages), len(lines)
    return True, len(pages), len(lines)


async def gone(client, *runs):
    """Wait until runs are gone with all that was theirs."""
    for _ in range(LONGEST_SECONDS):
        if all([await left_of(client, run) == (False, 0, 0) for run in runs]):
            return
        await asyncio.sleep(1)
    raise AssertionError([await left_of(client, run) for run in runs])


@pytest.mark.e2e
@pytest.mark.asyncio
async def test_what_has_ended_long_ago_goes_and_what_is_unfinished_stays(new_home):
    """However old: a run that waits for an answer needs its record before it sends anything."""
    home = new_home()
    with prefect_server(home, **documented()) as url, temporary_settings({PREFECT_API_URL: url}):
        async with get_client() as client:
            verified = await run_with_pages(client, Completed())
            held = await run_with_pages(client, Failed(name="Held"))
            waits = await run_with_pages(client, Paused())
            runs_on = await run_with_pages(client, Running())
            recent = await run_with_pages(client, Completed())
            assert await left_of(client, verified) == (True, len(KINDS), 1)

            make_old(home, verified, held, waits, runs_on)
            await gone(client, verified, held)

            whole = (True, len(KINDS), 1)
            assert await left_of(client, waits) == whole
            assert await left_of(client, runs_on) == whole
            assert await left_of(client, recent) == whole
