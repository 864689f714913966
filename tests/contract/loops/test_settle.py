"""Tests of waiting, before preflight judges, until a young scale-out names its target."""

from obscale.preflight.judge import judge_with_overrides
from obscale.preflight.result import conclude
from obscale.preflight.settle import NAMING_SECONDS, settled
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault
from tests.contract.loops.stage import stage
from tests.virtual_time import on_virtual_time

LOOK_SECONDS = 2.0
NAMES_AFTER_SECONDS = 5.0
"""The second stage begins 4 s after the first, and logs the target."""


async def settle(scene):
    """Read as preflight does; gives what was read last and how long it took."""
    began = scene.now

    async def read():
        return (await scene.survey(),)

    (facts,) = await settled(read, scene.order, scene.say)
    return facts, scene.now - began


@on_virtual_time
async def test_a_free_cluster_is_read_once():
    """Nobody scales out: judged as it was read, without a pause."""
    async with stage() as scene:
        _, took = await settle(scene)

        assert took == 0
        assert scene.lines == []


@on_virtual_time
async def test_a_young_scale_out_of_our_own_is_waited_for_until_it_names_us():
    """At stage 1 nobody can tell whose it is; at stage 2 it turns out to be this target's."""
    async with stage() as scene:
        await scene.post()
        assert scene.dag.stage == 1

        facts, took = await settle(scene)

        assert facts.own_dag().id == scene.dag.generic_id()
        assert 0 < took <= NAMES_AFTER_SECONDS + LOOK_SECONDS
        assert scene.said("preflight.waiting why='DAG ")
        begun = await scene.begin(conclude(facts, judge_with_overrides(facts, "prod")))
        assert begun.how == "adopted"
        assert len(scene.posts()) == 1


@on_virtual_time
async def test_a_young_scale_out_of_another_node_is_waited_for_too():
    """It names another target: then it is a lock like any other, and waited for no longer."""
    async with stage() as scene, stage(world=scene.world, number=1, zone="zone1") as other:
        await other.post()

        facts, took = await settle(scene)

        assert facts.own_dag() is None
        assert 0 < took <= NAMES_AFTER_SECONDS + LOOK_SECONDS


@on_virtual_time
async def test_one_that_never_names_its_target_is_given_up_after_a_minute():
    """Its executor is lost at stage 1: judged as it stands, once the minute is over."""
    async with stage(Fault.lose_executor(1)) as scene:
        await scene.post()

        _, took = await settle(scene)

        assert NAMING_SECONDS <= took <= NAMING_SECONDS + LOOK_SECONDS


@on_virtual_time
async def test_a_shorter_patience_shortens_the_wait():
    """Whoever bears a lost answer for 10 s waits no longer for a name."""
    short = TimeLimits(lost_answer_seconds=10)
    async with stage(Fault.lose_executor(1), time_limits=short) as scene:
        await scene.post()

        _, took = await settle(scene)

        assert 10 <= took <= 10 + LOOK_SECONDS
