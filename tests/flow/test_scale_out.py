"""Tests of the flow: states, report, artifacts, and what reached the cluster."""

import asyncio
import logging
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowRunFilter
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort

from obscale.errors import (
    AgentUnreachableError,
    DagFailedError,
    ForeignDagError,
    PreflightError,
)
from obscale.events import Judged
from obscale.sandbox import Fault
from obscale.tasks.runtime.journal import listening

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def last_run(task_runs):
    """Give the newest flow run with its task runs, in the order they started.

    Prefect records task runs a moment after they end, so this waits until all of them have.
    """
    async with get_client() as client:
        runs = await client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
        wanted = FlowRunFilter(id={"any_": [runs[0].id]})
        for _ in range(200):
            tasks = await client.read_task_runs(
                flow_run_filter=wanted, sort=TaskRunSort.EXPECTED_START_TIME_ASC
            )
            if len(tasks) >= task_runs and all(t.state and t.state.is_final() for t in tasks):
                break
            await asyncio.sleep(0.1)
        return runs[0], sorted(tasks, key=lambda run: run.expected_start_time)


async def until(is_so):
    """Wait for a condition, bounded."""
    for _ in range(600):
        if is_so():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came to be")


async def artifacts_of(flow_run_id: UUID):
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(exists_=True)),
            flow_run_filter=FlowRunFilter(id={"any_": [flow_run_id]}),
        )
    return {artifact.key.split("-")[0]: artifact for artifact in found}


async def test_the_documented_sample_joins_and_conforms(stage):
    """The sample request ends verified up to CONFORMING with exactly one POST."""
    scene = await stage()

    report = await scene.scale_out()

    assert report.outcome == "verified"
    assert report.level == "CONFORMING"
    assert [row.state for row in report.stages] == ["SUCCEED"] * 9
    assert scene.posts() == 1
    assert scene.world.count_dags("Cluster scale out") == 1
    assert len(report.after) == len(report.before) + 1


async def test_a_run_is_four_named_task_runs_with_artifacts(stage):
    """Prefect shows four tasks, the findings, a progress bar at 100 % and the report."""
    scene = await stage()

    report = await scene.scale_out()

    run, tasks = await last_run(4)
    assert [task.name.split()[0] for task in tasks] == ["preflight", "submit", "poll", "verify"]
    assert run.name == f"scale-out {report.target.split(':')[0]} to zone2 of obcluster"
    shown = await artifacts_of(run.id)
    kinds = ("findings", "baseline", "dag", "progress", "verification", "report", "evidence")
    assert set(shown) == {*kinds}
    assert shown["progress"].data == 100
    assert report.dag_id in shown["dag"].data
    assert "CONFORMING" in shown["report"].data
    assert "pass mem-fits-total: " in shown["findings"].data
    assert "pass agent-tls-scheme: " in shown["findings"].data, "plain http on loopback"


async def test_the_log_of_a_run_that_goes_well_is_a_story_of_some_twenty_lines(stage, caplog):
    """Each stage is said once; what Prefect itself says is not counted. The report has more."""
    scene = await stage(speed=8)  # slow enough to see a stage while it runs

    report = await scene.scale_out()

    said = [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.INFO
        and record.getMessage() in {m.text for m in report.timeline}
    ]
    assert len(said) <= 24, said
    assert sum(line.startswith("dag.node_ended") for line in said) == len(report.stages)
    assert any(moment.text.startswith("dag.node_started") for moment in report.timeline)


@pytest.mark.parametrize(
    ("changed", "rule", "measured", "needed"),
    [
        ({"memory_limit": "80G"}, "mem-fits-total", "80", "62.8"),
        ({"datafile_size": "500G"}, "disk-fits", "524", "446"),
    ],
    ids=["memory_limit above the host", "datafile_size above the disk"],
)
async def test_a_blocker_ends_the_run_before_anything_is_touched(
    stage, refused, changed, rule, measured, needed
):
    """A blocked run names measured and needed, and no POST reached any agent."""
    scene = await stage()

    error = await refused(scene.scale_out(obConfigs={**scene.sample, **changed}))

    assert isinstance(error, PreflightError)
    assert rule in str(error)
    assert measured in str(error)
    assert needed in str(error)
    assert scene.report.outcome == "blocked"
    assert not [record for record in scene.world.requests if record.method == "POST"]


async def test_a_dag_failing_at_stage_5_names_stage_agent_and_last_log(stage, refused):
    """A failed DAG ends the run with the stage, the agent that executed it, and its last words."""
    scene = await stage()
    scene.world.play(Fault.fail_stage(5))

    error = await refused(scene.scale_out())

    assert isinstance(error, DagFailedError)
    assert "stage 5/9 'Wait remote start finish'" in str(error)
    assert "ERROR:" in str(error)
    assert any(f"{a['ip']}:{a['port']}" in str(error) for a in scene.ready["clusters"][0]["agents"])
    assert scene.report.outcome == "failed"
    assert scene.report.stages[4].state == "FAILED"
    _, tasks = await last_run(3)
    assert [task.state_name for task in tasks] == ["Completed", "Completed", "Failed"]


async def test_a_second_run_for_a_member_posts_nothing_and_verifies(stage):
    """Running it again after success proves the node once more and posts nothing."""
    scene = await stage()
    await scene.scale_out()

    report = await scene.scale_out()

    assert report.outcome == "verified"
    assert report.submitted_how == "already a member"
    assert scene.posts() == 1


async def test_a_failed_dag_of_this_target_is_adopted_not_posted_again(stage, refused):
    """A second run after a failure takes up the failed DAG and reports it; no second POST."""
    scene = await stage()
    scene.world.play(Fault.fail_stage(5))
    first = await refused(scene.scale_out())

    second = await refused(scene.scale_out())

    assert isinstance(second, DagFailedError)
    assert str(second) == str(first)
    assert scene.report.submitted_how == "adopted"
    assert scene.posts() == 1


async def test_somebody_elses_lock_is_reported_with_its_owner(stage, refused):
    """A FAILED scale-out of another target blocks in preflight and names the DAG."""
    scene = await stage()
    scene.world.play(Fault.fail_stage(5))
    await refused(scene.scale_out())
    other = scene.ready["spares"][1]

    error = await refused(scene.scale_out(agentInfo={"ip": other["ip"], "port": other["port"]}))

    assert isinstance(error, PreflightError | ForeignDagError)
    assert "Cluster scale out" in str(error)
    assert scene.posts() == 1


@pytest.mark.parametrize("card", ["tenant_task_fails", "scale_in_fails"])
async def test_beside_a_failed_dag_without_the_lock_a_node_is_added(stage, card):
    """It is listed as unfinished for good; preflight, submit and verify all go on beside it."""
    scene = await stage()
    scene.world.play(Fault(card=card))
    await until(lambda: scene.world.clusters[0].dags[-1].state == "FAILED")

    report = await scene.scale_out()

    (left, _) = scene.world.clusters[0].dags
    proofs = {proof.id: proof for proof in report.proofs}
    assert (report.outcome, report.level) == ("verified", "CONFORMING")
    assert scene.posts() == 1
    assert proofs["pv-lock-released"].answer == "pass"
    assert (left.state, left.is_unfinished, left.holds_lock) == ("FAILED", True, False)


async def test_what_could_block_and_is_unknown_holds_a_run_nobody_watches(stage, refused):
    """Blocked before anything is touched; the error names the rules and what to write instead."""
    scene = await stage()
    scene.world.play(Fault.panic(to="host-info", times=0))

    error = await refused(scene.scale_out())

    assert isinstance(error, PreflightError)
    for words in ("host-facts-missing", "mem-fits-total", "disk-fits", "allow_unknown: true"):
        assert words in str(error)
    assert scene.report.outcome == "blocked"
    assert scene.posts() == 0


async def test_what_is_unknown_and_allowed_is_told_and_goes_on(stage):
    """The policy accepts it; the verdict still counts it. Verification reads the host anew."""
    scene = await stage()
    scene.world.play(Fault.panic(to="host-info"))

    report = await scene.scale_out(allow_unknown=True)

    judged = next(m.text for m in report.timeline if m.text.startswith("preflight.judged"))
    assert report.outcome == "verified"
    assert " unknown'" in judged


async def test_what_goes_dark_while_a_run_waits_holds_it_back(stage, refused, monkeypatch):
    """Known at preflight, unknown when it is judged again right before the POST."""
    monkeypatch.setattr("obscale.submit.run.is_stale", lambda *_: True)
    scene = await stage()

    def hear(event):
        if isinstance(event, Judged):
            scene.world.play(Fault.panic(to="host-info", times=0))

    with listening(hear):
        error = await refused(scene.scale_out())

    assert isinstance(error, PreflightError)
    assert "no longer as at preflight" in str(error)
    assert "unknown, and disk-fits could block" in str(error)
    assert scene.posts() == 0


async def test_an_unreachable_cluster_is_said_after_retries(stage, refused):
    """When no entry agent answers, the error names them and nothing was posted."""
    scene = await stage()
    for agent in scene.ready["clusters"][0]["agents"]:
        scene.world.play(Fault.agent_down(f"{agent['ip']}:{agent['port']}"))

    error = await refused(scene.scale_out())

    assert isinstance(error, AgentUnreachableError)
    assert scene.posts() == 0
