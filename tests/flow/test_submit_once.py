"""Tests that there is exactly one DAG, whatever happens to POST and process."""

import asyncio

import pytest
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.models import Operator
from obscale.errors import DagRolledBackError, ForeignDagError, PreflightError, VerifyError
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault
from tests.flow.conftest import QUICK, is_adopted

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_lost_answer_leads_to_one_dag(stage):
    """A POST that was carried out but never answered is found by its target, not sent again."""
    scene = await stage()
    scene.world.play(Fault.drop_answer(to="scale_out"))

    report = await scene.scale_out()

    assert report.outcome == "verified"
    assert report.submitted_how == "adopted"
    assert scene.posts() == 1
    assert scene.world.count_dags("Cluster scale out") == 1
    assert scene.world.undrawn() == []


async def test_two_runs_at_once_for_one_target_make_one_dag(stage):
    """Started in the same moment, one posts, the other takes its DAG up; both end verified."""
    scene = await stage()

    reports = await asyncio.gather(scene.scale_out(), scene.scale_out())

    assert [report.outcome for report in reports] == ["verified", "verified"]
    assert scene.world.count_dags("Cluster scale out") == 1


async def test_two_targets_at_once_never_share_the_lock(stage):
    """For two targets one joins; the other waits for the lock, then joins too: two DAGs in all."""
    scene = await stage(speed=6)
    other = scene.ready["spares"][1]
    waits = TimeLimits(
        lock_wait_seconds=60, poll_seconds=0.1, steady_seconds=0.2, lost_answer_seconds=5
    )
    first = asyncio.create_task(scene.scale_out(time_limits=waits))
    await scene.dag_created()
    scene.crawl()

    # Preflight blocks while the lock is held; the run that came first is not disturbed by it.
    with pytest.raises((PreflightError, ForeignDagError)):
        await scene.scale_out(
            agentInfo={"ip": other["ip"], "port": other["port"]}, time_limits=waits
        )
    scene.hurry()
    report = await first
    second = await scene.scale_out(
        agentInfo={"ip": other["ip"], "port": other["port"]}, time_limits=waits
    )

    assert (report.outcome, second.outcome) == ("verified", "verified")
    assert scene.world.count_dags("Cluster scale out") == 2
    assert scene.posts() == 2


async def test_two_targets_in_the_same_second_take_turns(stage):
    """Both find the cluster free and submit: one waits for the lock; two DAGs in all, both join."""
    scene = await stage(speed=15)
    other = scene.ready["spares"][1]
    waits = QUICK.model_copy(update={"lock_wait_seconds": 60})
    elsewhere = {"agentInfo": {"ip": other["ip"], "port": other["port"]}}

    ended = await asyncio.gather(
        scene.scale_out(time_limits=waits),
        scene.scale_out(time_limits=waits, **elsewhere),
        return_exceptions=True,
    )
    # On a slow machine one may look after the other has posted: it is told so, and runs again.
    told = [str(late) for late in ended if isinstance(late, PreflightError)]
    assert all("cluster-maintenance" in text for text in told)
    first, second = [
        await scene.scale_out(time_limits=waits, **changes)
        if isinstance(report, PreflightError)
        else report
        for report, changes in zip(ended, ({}, elsewhere), strict=True)
    ]

    assert (first.outcome, second.outcome) == ("verified", "verified")
    assert (first.submitted_how, second.submitted_how) == ("posted", "posted")
    assert scene.world.count_dags("Cluster scale out") == 2


@pytest.mark.parametrize(
    ("seconds", "how", "posts"),
    [(3, "adopted", 1), (17, "posted", 2)],
    ids=["while its header holds", "when it has expired"],
)
async def test_a_post_that_arrives_late_makes_one_dag(stage, seconds, how, posts):
    """Held on its way and delivered after a look in vain: awaited, and refused once expired."""
    scene = await stage()
    scene.world.play(Fault.late_request(seconds, to="scale_out"))

    report = await scene.scale_out()

    assert report.outcome == "verified"
    assert report.submitted_how == how
    assert scene.posts() == posts
    assert scene.world.count_dags("Cluster scale out") == 1
    assert scene.world.undrawn() == []


async def test_a_lost_post_that_was_undone_and_followed_by_others_is_not_sent_again(stage, refused):
    """It arrives late, fails and is rolled back, and another DAG follows, all between two looks."""
    scene = await stage(speed=100)
    scene.world.play(Fault.late_request(3, to="scale_out"))
    scene.world.play(Fault.fail_stage(3))
    scene.world.play(Fault.operate_dag("ROLLBACK"))
    scene.world.play(Fault.tenant_task(1, phase="rollback", after_seconds=20))

    error = await refused(scene.scale_out())

    assert isinstance(error, DagRolledBackError)
    assert [dag.name for dag in scene.world.clusters[0].dags] == [
        "Cluster scale out",
        "Modify tenant",
    ]
    assert scene.posts() == 1
    assert scene.world.undrawn() == []


async def test_a_run_cut_off_after_its_post_is_taken_up_by_the_next(stage):
    """Cancelled in the middle of the poll; the next run adopts the DAG and ends verified."""
    scene = await stage(speed=15)
    run = asyncio.create_task(scene.scale_out())
    await scene.dag_created()
    scene.reach(4)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    scene.at(is_adopted, scene.hurry)

    report = await scene.scale_out()

    assert report.outcome == "verified"
    assert report.submitted_how == "adopted"
    assert scene.posts() == 1


async def test_a_rolled_back_dag_is_a_failure(stage, refused):
    """Followed through somebody else's rollback, SUCCEED with operator ROLLBACK is no success."""
    # At real pace the rollback takes longer than the next run needs to find it.
    scene = await stage(speed=1)
    scene.world.play(Fault.fail_stage(5))
    await refused(scene.scale_out())
    cluster = scene.world.clusters[0]
    await _operate(scene, "ROLLBACK")

    error = await refused(scene.scale_out())

    assert isinstance(error, DagRolledBackError)
    assert "nothing was added" in str(error)
    assert scene.report.outcome == "failed"
    assert scene.posts() == 1
    assert len(cluster.servers) == 3


async def test_a_slow_observer_fails_by_name_and_a_retried_dag_is_followed_to_its_end(
    stage, refused
):
    """Stage 5 gives up on a slow start; after RETRY the next run follows the DAG to verified."""
    scene = await stage(speed=60)
    scene.world.play(Fault.slow_observer(seconds=150))
    error = await refused(scene.scale_out())
    await _operate(scene, "RETRY")

    report = await scene.scale_out()

    assert "stage 5/9" in str(error)
    assert "timeout" in str(error)
    assert report.outcome == "verified"
    assert scene.posts() == 1


async def test_poll_moves_to_another_agent_and_rides_through_bad_answers(stage):
    """The polled agent goes away, others answer garbage and panic pages once: still verified."""
    scene = await stage(speed=15)
    run = asyncio.create_task(scene.scale_out())
    await scene.dag_created()
    first = scene.ready["clusters"][0]["agents"][0]
    dag_id = "11"
    scene.world.play(Fault.agent_restart(f"{first['ip']}:{first['port']}"))
    scene.world.play(Fault.garble_answer(to=dag_id, text="<html>proxy</html>"))
    scene.world.play(Fault.panic(to=dag_id))
    scene.world.play(Fault.drop_answer(to=dag_id))

    report = await run

    assert report.outcome == "verified"
    asked = {r.agent for r in scene.world.requests if r.target.startswith("/api/v1/task/dag/11")}
    assert len(asked) > 1
    assert scene.posts() == 1
    assert scene.world.undrawn() == []


async def test_keys_that_rotate_in_the_middle_of_a_run_do_not_disturb_it(stage):
    """Every cluster agent has a new key while the DAG runs: it is followed on, to verified."""
    scene = await stage(speed=15)
    run = asyncio.create_task(scene.scale_out())
    await scene.dag_created()
    for address in _members(scene):
        scene.world.play(Fault.rotate_key(address))

    report = await run

    assert report.outcome == "verified"
    assert scene.posts() == 1


async def test_clocks_that_jump_in_the_middle_of_a_run_fail_by_name_once_the_dag_is_done(
    stage, refused
):
    """Headers go by each agent's time, so the DAG is followed; then the proof of clocks fails."""
    scene = await stage(speed=15)
    run = asyncio.create_task(refused(scene.scale_out()))
    await scene.dag_created()
    for address in _members(scene):
        scene.world.play(Fault.shift_clock(address, seconds=300))

    error = await run

    assert isinstance(error, VerifyError)
    assert "pv-clock-after" in str(error)
    assert {stage.state for stage in scene.report.stages} == {"SUCCEED"}
    assert scene.posts() == 1


def _members(scene) -> list[str]:
    """Addresses of the cluster's agents."""
    return [f"{a['ip']}:{a['port']}" for a in scene.ready["clusters"][0]["agents"]]


async def _operate(scene, operator):
    """Have somebody else operate the newest DAG."""
    cluster = scene.ready["clusters"][0]
    entry = cluster["agents"][1]
    async with AgentClient(
        AgentAddress(entry["ip"], entry["port"]),
        root_password=SecretStr(cluster["root_password"]),
    ) as agent:
        dag = await agent.read_last_cluster_dag()
        await agent.operate_dag(dag.id, Operator(operator))
