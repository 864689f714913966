"""Tests of `obscale evidence`: it exports a run whole."""

import asyncio
import getpass
import json
import socket

import pytest
from prefect import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.sorting import FlowRunSort
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry
from typer.testing import CliRunner

from obscale.cli.commands import app
from obscale.errors import SpecError
from obscale.flows.scale_out import scale_out
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault
from obscale.tasks.runtime.journal import listening
from obscale.tasks.runtime.person import asking

pytestmark = pytest.mark.asyncio(loop_scope="session")

TIME_LIMITS = TimeLimits(
    steady_seconds=0.2, poll_seconds=0.1, verify_seconds=60, approval_seconds=120
)


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
    running = asyncio.create_task(scene.scale_out(approval="ask", time_limits=TIME_LIMITS))
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


SOON = TIME_LIMITS.model_copy(update={"against_seconds": 1.0})


def member(scene, number=2):
    """Give `ip:port` of a member's agent."""
    agent = scene.ready["clusters"][0]["agents"][number]
    return f"{agent['ip']}:{agent['port']}"


async def try_again(run):
    """Retry a flow run as Prefect's UI does, in this process; give the new state."""
    async with get_client() as client:
        await client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
        again = await client.read_flow_run(run.id)
    return await run_flow(scale_out, flow_run=again, return_type="state")


async def forget_page(run):
    """Take away the page that names the run's DAG: an attempt killed early has not written it."""
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(like_="dag-")),
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
        )
        for artifact in found:
            await client.delete_artifact(artifact.id)
    assert found


async def test_a_red_attempt_stays_in_the_evidence_of_the_green_one(stage, refused):
    """The same run is tried again and is green: what the first attempt sent and found stays."""
    scene = await stage()
    scene.world.play(Fault.observer_down(member(scene), stage=9))
    await refused(scene.scale_out(time_limits=SOON))
    red, run = scene.report, await newest()
    scene.world.play(Fault.observer_up(member(scene)))
    await forget_page(run)

    with listening(scene.events.append):
        state = await try_again(run)
    told = await evidence(run.id, "--json")
    page = await evidence(run.id)

    exported = json.loads(told.stdout)
    green = exported["report"]
    assert state.is_completed()
    assert any("submit.confirmed dag=11" in moment["text"] for moment in green["timeline"])
    assert green["findings"] == [], "what was sent is not judged anew"
    assert (green["outcome"], green["attempt"], exported["run"]["attempts"]) == ("verified", 2, 2)
    assert (green["posted"]["attempt"], green["posted"]["run_id"]) == (1, str(run.id))
    [end] = green["earlier"]
    assert (end["outcome"], end["attempt"], end["dag_id"]) == ("failed", 1, "11")
    assert end["error"] == red.error
    [earlier] = exported["earlier"]
    texts = [moment["text"] for moment in earlier["report"]["timeline"]]
    assert any(text.startswith("submit.posted dag=11") for text in texts)
    assert earlier["report"]["proofs"] == json.loads(red.model_dump_json())["proofs"]
    assert f"Follows a failed attempt: {end['at'][:10]}" in page.stdout
    assert f"## Earlier: attempt 1 of run {run.name}" in page.stdout
    assert "POST sent " in page.stdout


async def test_earlier_runs_of_the_same_dag_stay_in_the_evidence(stage, refused):
    """Another run proves what an earlier one found red; those of other DAGs are no part of it."""
    scene = await stage()
    scene.world.play(Fault.observer_down(member(scene), stage=9))
    await refused(scene.scale_out(time_limits=SOON))
    first = await newest()
    scene.world.play(Fault.observer_up(member(scene)))

    report = await scene.scale_out(time_limits=SOON)
    told = json.loads((await evidence(report.target, "--json")).stdout)
    before = json.loads((await evidence(first.id, "--json")).stdout)

    assert (report.outcome, report.attempt) == ("verified", 1)
    assert f"run {first.name}, attempt 1: failed" in report.follows
    assert report.posted.run_id == str(first.id)
    assert [each["report"]["run_id"] for each in told["earlier"]] == [str(first.id)]
    assert before["earlier"] == [], "what came later is no earlier attempt"


async def test_whoever_asks_at_a_command_line_stands_in_report_and_evidence(stage):
    """As user@host, kept with the run, so that a later attempt tells it too."""
    scene = await stage()
    person = f"{getpass.getuser()}@{socket.gethostname()}"

    with asking():
        report = await scene.scale_out()
    told = json.loads((await evidence(report.target, "--json")).stdout)

    assert report.asked_by == person
    assert report.posted.asked_by == person
    assert told["run"]["asked_by"] == person
    assert f"asked-by:{person}" in told["run"]["tags"]
