"""Does `obscale evidence` export a run whole, and say clearly where there is nothing to export?"""

import asyncio
import json

import pytest
from prefect import get_client
from prefect.client.schemas.sorting import FlowRunSort
from typer.testing import CliRunner

from obscale.cli import app
from obscale.errors import SpecError
from obscale.sandbox import Fault
from obscale.settings import Patience

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENCE = Patience(steady_seconds=0.2, poll_seconds=0.1, verify_seconds=60, approval_seconds=120)


async def newest():
    async with get_client() as client:
        [run] = await client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
        return run


async def evidence(*words):
    """Run the command in a thread; it has its own event loop."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["evidence", *map(str, words)])


async def test_an_approved_run_is_exported_with_decision_logs_and_versions(stage, asked):
    """JSON by id: who approved and why, logs, before and after, versions; no secret."""
    scene = await stage()
    running = asyncio.create_task(scene.scale_out(approval="ask", patience=PATIENCE))
    paused, _, _ = await asked(running)
    async with get_client() as client:
        await client.resume_flow_run(
            paused.id, run_input={"decision": "approve", "name": "Ana", "reason": "CHG-4711"}
        )
    report = await running

    told = await evidence(paused.id, "--json")

    assert told.exit_code == 0, told.output
    exported = json.loads(told.stdout)
    assert exported["run"]["name"] == paused.name
    assert exported["run"]["parameters"]["zone"] == "zone2"
    assert exported["report"]["outcome"] == "verified"
    [decided] = exported["report"]["decisions"]
    assert (decided["choice"], decided["who"], decided["why"]) == ("approve", "Ana", "CHG-4711")
    logged = [row for row in exported["report"]["stages"] if row["last_log"]]
    assert logged
    assert all(row["logs"][-1].endswith(row["last_log"]) for row in logged)
    assert len(exported["report"]["after"]) == len(exported["report"]["before"]) + 1
    assert {"obscale", "Prefect", report.target} <= set(exported["versions"])
    assert scene.ready["clusters"][0]["root_password"] not in told.stdout


async def test_a_held_run_is_exported_as_a_page_into_a_file(stage, refused, tmp_path):
    """Markdown by target: the newest run of it, its state, cause and timeline."""
    scene = await stage()
    scene.world.play(Fault.observer_dies())
    await refused(scene.scale_out())
    out = tmp_path / "evidence.md"

    told = await evidence(scene.report.target, "--out", out)

    assert (told.exit_code, told.stdout) == (0, "")
    page = out.read_text()
    run = await newest()
    for words in (f"run: {run.id}", "state: Held (FAILED)", "[observer-died]", "## Timeline"):
        assert words in page


@pytest.mark.parametrize(
    "run", ["no-such-run", "00000000-0000-4000-8000-000000000000", "10.9.9.9:2886"]
)
async def test_an_unknown_run_is_said_in_one_line(run):
    """Neither a traceback nor an empty page: exit 2, and where to look."""
    told = await evidence(run)

    assert told.exit_code == 2
    [line] = told.stderr.splitlines()
    assert run in line
    assert "prefect flow-run ls" in line


async def test_a_file_that_cannot_be_written_is_named(stage, tmp_path):
    """The run is there, its place is not."""
    scene = await stage()
    report = await scene.scale_out()

    told = await evidence(report.target, "--out", tmp_path / "no" / "where.md")

    assert told.exit_code == 2
    assert "where.md" in told.stderr
    assert not isinstance(told.exception, SpecError)
