"""Tests of what is done about a removal by somebody's word: stopped, undone, or gone on with."""

import asyncio
from dataclasses import replace

import pytest

from obscale.agent.models import Operator
from obscale.errors import DagFailedError, DagStalledError
from obscale.removal.act import go_on, order_of, stop, undo, why_not_stopped
from obscale.removal.decide import is_ours
from obscale.removal.failure import cause_of
from obscale.removal.look import read_sighting
from obscale.removal.progress import STANDSTILL_SECONDS
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault
from obscale.verify.observation import Level
from tests.contract.loops.removal_stage import removal_stage
from tests.virtual_time import on_virtual_time

TARGET = "127.0.1.4:2886"
FOUNDER = "127.0.1.2:2886"
"""It holds a unit of sys and one of app; TARGET could take them."""
LIMITS = TimeLimits()
OPERATE = "/api/v1/task/dag/"


async def read(scene):
    """Read the newest DAG."""
    dag_id = scene.dag.generic_id()
    return await scene.link.cluster.ask(lambda agent: agent.read_dag(dag_id))


async def stopped(scene):
    """Stop the removal, as the command does."""
    dag = await read(scene)
    why = why_not_stopped(dag, await read_sighting(scene.link))
    assert not why
    target = scene.order.target
    return await stop(scene.link, dag, target, LIMITS, saw=saw, say=scene.said)


def standing(scene):
    """Give all a stop must leave as it was: lock, members, servers, and where units are."""
    cluster = scene.cluster
    return (
        cluster.lock_holder,
        sorted((agent.address, agent.identity) for agent in cluster.agents),
        list(cluster.leaving),
        sorted((server.address, server.deleting) for server in cluster.servers),
        sorted((unit.pool.name, unit.server.address, unit.copy) for unit in cluster.units),
    )


def operators(scene):
    """Count the requests that operate a DAG."""
    requests = scene.world.requests
    return sum(r.method == "POST" and r.target.startswith(OPERATE) for r in requests)


async def saw(_dag, _changes):
    """Let a look pass."""


def is_whole(scene):
    """Whether the server stays, nothing deletes it, and the lock is free."""
    server = scene.cluster.server_at("127.0.1.4", 2882)
    agents = {agent.address for agent in scene.cluster.agents}
    return (
        server is not None
        and not server.deleting
        and TARGET in agents
        and not scene.cluster.leaving
        and scene.cluster.lock_holder is None
    )


@on_virtual_time
async def test_a_running_removal_is_stopped_and_the_server_stays():
    """CANCEL, wait, ROLLBACK, as one act: the lock is free and nothing is left half-way."""
    async with removal_stage(Fault.unit_stuck(TARGET)) as scene:
        await scene.begin()
        await asyncio.sleep(60)
        done = await stopped(scene)

        assert done.dag.is_undone
        assert is_whole(scene)
        scene.world.sync()


@on_virtual_time
async def test_a_stop_that_was_ended_half_way_is_taken_up():
    """Killed after CANCEL: the cluster is locked, and the next stop only rolls back."""
    async with removal_stage(Fault.unit_stuck(TARGET)) as scene:
        await scene.begin()
        await asyncio.sleep(60)
        await scene.operate(Operator.CANCEL)
        await asyncio.sleep(10)
        assert scene.cluster.lock_holder is not None
        assert cause_of(await read(scene)) == "drain-cancelled"
        done = await stopped(scene)

        assert done.dag.is_undone
        assert is_whole(scene)


@pytest.mark.parametrize("seconds", [0.2, 1.0, 2.0, 3.0, 4.5, 7.0])
@pytest.mark.parametrize(
    "card", [Fault.receiver_disk_full(TARGET), Fault.slow_migration(2000)], ids=["full", "moving"]
)
@on_virtual_time
async def test_a_stop_killed_at_any_moment_is_taken_up_and_all_is_as_before(card, seconds):
    """Before its CANCEL shows, between CANCEL and ROLLBACK, or in the rollback itself."""
    async with removal_stage(target=FOUNDER) as scene:
        before = standing(scene)
        scene.at("submit.posted", lambda: scene.play(card))
        await scene.begin()
        await asyncio.sleep(60)
        killed = asyncio.create_task(stopped(scene))
        await asyncio.sleep(seconds)
        killed.cancel()
        await asyncio.wait([killed])
        assert killed.cancelled()
        await stopped(scene)
        # The leaving agent hears of it with the maintainer's next broadcast.
        await asyncio.sleep(10)
        scene.world.sync()

        assert standing(scene) == before
        assert scene.removals() == 1


BEGUN = {"stage": 2, "operation": "scale_in"}
"""Before, OceanBase would refuse DELETE SERVER; the first unit is placed elsewhere by then."""
STILL = {
    "full": (Fault.receiver_disk_full(TARGET), "rm-data-disk", "make room there"),
    "off": (Fault.rereplication_off(), "rm-rereplication", "set it to True"),
    "dead": (Fault.observer_down(TARGET, **BEGUN), "rm-others-down", "start it"),
    "stuck": (Fault.unit_stuck(FOUNDER), "drain-stuck", "DBA_OB_SERVER_JOBS"),
    "no room": (Fault.unit_no_room(TARGET, **BEGUN), "drain-stuck", "DBA_OB_UNITS"),
}


@pytest.mark.parametrize("why", STILL)
@on_virtual_time
async def test_a_removal_that_cannot_finish_is_told_within_ten_minutes(why):
    """Cause, holder of the lock and the way to stop; nothing stops it by itself, the word does."""
    card, rule, does = STILL[why]
    async with removal_stage(target=FOUNDER) as scene:
        members = standing(scene)[1]
        submitted = await scene.begin()
        scene.play(card)
        began = scene.now
        with pytest.raises(DagStalledError) as caught:
            await scene.follow(submitted)

        error = caught.value
        assert f"[{rule}]" in error.message
        assert f"DAG {submitted.dag_id} waits at stage 3/5" in error.message
        assert "the DAG goes on and holds the cluster's lock" in error.message
        assert does in error.hint
        assert error.hint.endswith(f"{submitted.dag_id} --stop")
        assert STANDSTILL_SECONDS < scene.now - began < STANDSTILL_SECONDS + 60
        assert (scene.dag.state, scene.dag.operator, operators(scene)) == ("RUNNING", "RUN", 0)

        await stopped(scene)
        await asyncio.sleep(10)
        scene.world.sync()
        assert scene.cluster.lock_holder is None
        assert standing(scene)[1] == members
        held = {unit.server.agent.address for unit in scene.cluster.units}
        assert FOUNDER in held


@on_virtual_time
async def test_a_stop_is_refused_once_the_server_is_gone():
    """CANCEL would undo nothing then, and lock the cluster."""
    async with removal_stage() as scene:
        submitted = await scene.begin()
        refused = []
        while not (dag := await read(scene)).is_terminal:
            sighting = await read_sighting(scene.link)
            gone = scene.cluster.server_at("127.0.1.4", 2882) is None
            if gone:
                refused.append(why_not_stopped(dag, sighting))
            await asyncio.sleep(0.5)

        assert submitted.how == "posted"
        assert refused
        assert all(refused)


@on_virtual_time
async def test_a_removal_that_failed_goes_on_by_a_retry():
    """Past the point of return it is the only way, and it ends proved."""
    async with removal_stage(Fault.delete_agent_fails()) as scene:
        submitted = await scene.begin()
        with pytest.raises(DagFailedError):
            await scene.follow(submitted)
        failed = await read(scene)
        assert why_not_stopped(failed, await read_sighting(scene.link))
        await go_on(scene.link.cluster, failed, scene.said)
        proved = await scene.prove(submitted, await scene.follow(submitted))

        assert proved.levels.level is Level.CONFORMING, proved.levels.lines


@on_virtual_time
async def test_a_removal_that_failed_is_undone():
    """Obshell's hour was over: the server stays after all."""
    faults = (Fault.unit_stuck(TARGET), Fault.wait_times_out(seconds=200))
    async with removal_stage(*faults) as scene:
        submitted = await scene.begin()
        with pytest.raises(DagFailedError):
            await scene.follow(submitted)
        await undo(scene.link.cluster, await read(scene), TARGET, LIMITS, saw=saw, say=scene.said)

        assert is_whole(scene)


@on_virtual_time
async def test_a_rollback_that_came_too_late_is_told_as_that():
    """The row vanished before it: only RETRY is right then."""
    faults = (Fault.unit_stuck(TARGET), Fault.wait_times_out(seconds=200))
    async with removal_stage(*faults) as scene:
        submitted = await scene.begin()
        with pytest.raises(DagFailedError):
            await scene.follow(submitted)
        scene.play(Fault.gone_before_rollback(TARGET))
        await scene.operate(Operator.ROLLBACK)
        await asyncio.sleep(30)

        assert cause_of(await read(scene)) == "rollback-too-late"
        with pytest.raises(DagFailedError, match=r"\[rollback-too-late\]") as caught:
            await scene.follow(submitted)
        assert caught.value.hint.endswith("--retry")


@on_virtual_time
async def test_what_was_read_at_different_moments_decides_nothing():
    """On a slow cluster a sighting takes seconds: nobody else's is what only looks like that."""
    async with removal_stage(Fault.unit_stuck(TARGET, seconds=20)) as scene:
        await scene.begin()
        before = await read_sighting(scene.link)
        await asyncio.sleep(10)
        waits = await read_sighting(scene.link)
        await asyncio.sleep(60)
        after = await read_sighting(scene.link)
    running = waits.unfinished[0]
    assert (running.stage, is_ours(running, waits, scene.order)) == (3, True)

    assert is_ours(running, replace(waits, members=before.members), scene.order) is None
    assert is_ours(running, replace(waits, zones=after.zones), scene.order) is True
    assert is_ours(running, replace(after, unfinished=(running,)), scene.order) is None


@pytest.mark.parametrize("seconds", [0.0, 3.0, 30.0])
@on_virtual_time
async def test_whom_a_removal_is_about_is_told_by_the_topology(seconds):
    """Before its nodes name anybody, too, as soon as its server is DELETING."""
    async with removal_stage(Fault.unit_stuck(TARGET)) as scene:
        await scene.begin()
        await asyncio.sleep(2 + seconds)
        found = order_of(await read(scene), await read_sighting(scene.link), "prod-east")

        assert (found.target, found.zone) == (TARGET, "zone2")
