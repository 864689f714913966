"""Tests of carrying out RETRY and ROLLBACK: once, to the real end, or to a limit."""

import pytest

from obscale.errors import DagFailedError, DagStalledError
from obscale.recovery.read import diagnose_now
from obscale.recovery.run import LOOK_AGAIN_SECONDS, MOST_ATTEMPTS, retry, roll_back
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault, default_config
from tests.contract.loops.stage import stage
from tests.virtual_time import on_virtual_time

LIMITS = TimeLimits()
HEADER_SECONDS = 15.0
OPERATIONS = "/api/v1/task/dag/"
SENDING = "recover.operate"
"""Is said right before an operation is sent."""


def with_spare(**changes):
    """The default world, its first spare changed."""
    config = default_config()
    spare = config.spares[0].model_copy(update=changes)
    return config.model_copy(update={"spares": (spare, *config.spares[1:])})


async def failed(scene):
    """Have the scale-out fail as its fault says; gives the diagnosis."""
    dag = await scene.carried_out()
    assert dag.is_failed
    return await diagnose_now(scene.link, dag.id)


async def undo(scene, diagnosis):
    """Roll back, as a run does."""
    time_limits = scene.order.time_limits
    return await roll_back(scene.link, diagnosis, time_limits, saw=scene.saw, say=scene.say)


def is_free(scene):
    """Target SINGLE and unlocked, lock free, three servers."""
    cluster, target = scene.world.clusters[0], scene.world.agent(scene.target)
    return (
        (target.identity, target.under_maintenance) == ("SINGLE", False)
        and not any(dag.is_unfinished for dag in cluster.dags)
        and len(cluster.servers) == 3
    )


@on_virtual_time
async def test_a_retried_dag_goes_on_to_its_end():
    """A stage fails once: one RETRY, and the same DAG is done."""
    async with stage(Fault.fail_stage(7)) as scene:
        diagnosis = await failed(scene)

        await retry(scene.link, diagnosis, scene.say)
        dag = await scene.follow(diagnosis.dag_id)

        assert dag.is_done
        assert len(scene.posts(OPERATIONS)) == 1
        assert scene.world.count_dags("Cluster scale out") == 1


@on_virtual_time
async def test_a_retry_whose_answer_was_lost_is_not_sent_again():
    """It was carried out: the DAG moves, which the look after the lost answer shows."""
    async with stage(Fault.fail_stage(7)) as scene:
        diagnosis = await failed(scene)
        scene.at(SENDING, lambda: scene.play(Fault.drop_answer(to=diagnosis.dag_id)))

        await retry(scene.link, diagnosis, scene.say)
        dag = await scene.follow(diagnosis.dag_id)

        assert dag.is_done
        assert scene.said("recover.answer_lost")
        assert len(scene.posts(OPERATIONS)) == 1


@on_virtual_time
async def test_a_retry_that_arrives_late_is_awaited_and_not_sent_again():
    """Lost on its way and delivered 10 s later: looked for while its header holds."""
    async with stage(Fault.fail_stage(7)) as scene:
        diagnosis = await failed(scene)
        began = scene.now
        scene.at(SENDING, lambda: scene.play(Fault.late_request(10, to=diagnosis.dag_id)))

        await retry(scene.link, diagnosis, scene.say)

        assert scene.said("recover.answer_lost")
        assert 10 <= scene.now - began <= 10 + 2 * LOOK_AGAIN_SECONDS
        assert len(scene.posts(OPERATIONS)) == 1


@on_virtual_time
async def test_a_retry_that_never_arrives_is_sent_again_once_it_is_void():
    """Nothing moves until its header has expired: then, and not before, once more."""
    async with stage(Fault.fail_stage(7)) as scene:
        diagnosis = await failed(scene)
        began = scene.now
        scene.at(SENDING, lambda: scene.play(Fault.late_request(1000, to=diagnosis.dag_id)))

        await retry(scene.link, diagnosis, scene.say)

        first, second = (at for at, line in scene.lines if line.startswith(SENDING))
        assert first == began
        assert HEADER_SECONDS <= second - first <= HEADER_SECONDS + 2 * LOOK_AGAIN_SECONDS
        assert (await scene.follow(diagnosis.dag_id)).is_done


@on_virtual_time
async def test_a_rollback_is_followed_to_its_real_end():
    """Not to the answer, nor to the DAG's end: the target is SINGLE again, and the lock free."""
    async with stage(Fault.observer_dies()) as scene:
        diagnosis = await failed(scene)

        undone = await undo(scene, diagnosis)

        assert undone.dag.is_undone
        assert (undone.target, undone.orphan) == (scene.target, "")
        assert is_free(scene)
        assert len(scene.posts(OPERATIONS)) == 1


@on_virtual_time
async def test_a_rollback_goes_on_where_a_new_zone_could_not_be_deleted_yet():
    """Its server is still DELETING: resumed after each pause, to the end."""
    config = default_config().model_copy(update={"delete_server_seconds": 25.0})
    async with stage(
        Fault.fail_stage(10), config=config, zone="zone9", allow_new_zone=True
    ) as scene:
        diagnosis = await failed(scene)

        await undo(scene, diagnosis)

        first, second, *_ = scene.posts(OPERATIONS)
        assert second - first > LIMITS.retry_pause_seconds
        assert is_free(scene)
        assert scene.world.clusters[0].zone("zone9") is None


@on_virtual_time
async def test_a_stage_that_cannot_be_undone_is_tried_three_times_and_named():
    """Each attempt comes a pause after the one before; then it is somebody's to look at."""
    async with stage(Fault.fail_stage(7)) as scene:
        diagnosis = await failed(scene)
        scene.play(Fault.fail_rollback(3).model_copy(update={"times": 0}))

        with pytest.raises(DagFailedError, match=r"stopped at stage 3/9"):
            await undo(scene, diagnosis)

        assert len(scene.posts(OPERATIONS)) == MOST_ATTEMPTS
        assert not is_free(scene)


@on_virtual_time
async def test_a_target_that_does_not_come_free_is_given_up_at_its_limit():
    """It goes away in the middle of the rollback: waited for just as long as is allowed."""
    time_limits = LIMITS.model_copy(update={"undo_seconds": 60.0})
    async with stage(Fault.fail_stage(7), time_limits=time_limits) as scene:
        diagnosis = await failed(scene)
        scene.at(SENDING, lambda: scene.play(Fault.agent_down(scene.target, after_seconds=1)))

        with pytest.raises(DagStalledError, match=r"is rolled back, but after 60 s") as told:
            await undo(scene, diagnosis)

        waited = scene.now - scene.looks[-1]
        assert (
            time_limits.undo_seconds < waited <= time_limits.undo_seconds + 2 * LOOK_AGAIN_SECONDS
        )
        assert diagnosis.dag_id in str(told.value)


@on_virtual_time
async def test_an_orphaned_local_dag_is_rolled_back_after_the_clusters():
    """Cluster first, then the target's own DAG on the target: the only order that works."""
    config = with_spare(agent_password="spare-pw")
    async with stage(Fault.orphan_local_dag(), config=config) as scene:
        diagnosis = await failed(scene)

        undone = await undo(scene, diagnosis)

        first, second = [
            (record.agent, record.target.rsplit("/", 1)[1])
            for record in scene.world.requests
            if record.method == "POST" and record.target.startswith(OPERATIONS)
        ]
        assert diagnosis.cause == "orphaned-local-dag"
        assert first[0] != scene.target
        assert first[1] == diagnosis.dag_id
        assert second == (scene.target, undone.orphan)
        assert is_free(scene)


@on_virtual_time
async def test_an_orphan_that_is_out_of_reach_is_told_at_once_with_what_to_do_on_its_host():
    """Without an own password the target wants root's, which it does not get: not waited for."""
    async with stage(Fault.orphan_local_dag()) as scene:
        diagnosis = await failed(scene)

        with pytest.raises(DagFailedError, match="is rolled back, but") as told:
            await undo(scene, diagnosis)

        assert "run/obshell.sock" in str(told.value)
        assert scene.now - scene.looks[-1] < LIMITS.undo_seconds / 10
        assert len(scene.posts(OPERATIONS)) == 1
        assert scene.world.agent(scene.target).identity == "SCALING OUT"
