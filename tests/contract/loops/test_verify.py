"""Tests of verification: what it waits for, for how long, and what ends it."""

import asyncio

from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault, WorldConfig, default_config
from obscale.verify.levels import shortfall
from obscale.verify.observation import Level, ProofAnswer
from tests.contract.loops import stage as stages
from tests.virtual_time import on_virtual_time

LIMITS = TimeLimits(steady_seconds=12, against_seconds=20, unread_seconds=15, verify_seconds=60)
"""Shorter than in production, where they are only more looks."""
LOOK_SECONDS = 2.0
"""Longest pause between two looks: a sixth of the steady time."""


def stage(*faults, **changes):
    """Open a world whose verification is patient for these limits."""
    return stages.stage(*faults, **{"time_limits": LIMITS, **changes})


async def joined(scene):
    """Have the node joined as a run does; gives what verification begins with, and when."""
    submitted = await scene.begin()
    dag = await scene.follow(submitted.dag_id)
    return dag, submitted.before, scene.now


def proof(levels, name):
    """Give a proof by its id."""
    return next(line for line in levels.lines if line.id == name)


def loud(levels):
    """Give the proofs that neither pass nor do not apply."""
    return {line.id for line in levels.lines if line.answer not in {"pass", "n-a"}}


@on_virtual_time
async def test_a_node_rises_level_by_level_and_counts_once_it_has_held():
    """JOINED at the first look; SERVING and CONFORMING only after the steady time, and no later."""
    async with stage() as scene:
        dag, before, began = await joined(scene)

        verification = await scene.verify_node(dag, before)

        assert verification.levels.level is Level.CONFORMING
        assert loud(verification.levels) == {"pv-rebalance-observed"}
        assert "0 units" in proof(verification.levels, "pv-rebalance-observed").found
        for name in ("pv-capacity-cluster", "pv-disk-after", "pv-clock-after", "pv-no-collateral"):
            assert proof(verification.levels, name).answer is ProofAnswer.PASS, name
        assert verification.levels.persist_statements == ()
        assert scene.said("reached") == ["reached JOINED", "reached CONFORMING"]
        held = scene.now - began
        assert LIMITS.steady_seconds <= held <= LIMITS.steady_seconds + LOOK_SECONDS


@on_virtual_time
async def test_a_server_that_serves_late_is_waited_for_and_told():
    """The observer is listed but starts its service 20 s later: waited for, then held."""
    async with stage(Fault.slow_service(20)) as scene:
        dag, before, began = await joined(scene)

        verification = await scene.verify_node(dag, before)

        assert verification.levels.level is Level.CONFORMING
        assert scene.said("waits pv-service-started")
        assert scene.now - began > LIMITS.steady_seconds


@on_virtual_time
async def test_a_succeeded_dag_without_a_serving_observer_is_not_believed():
    """SUCCEED at stage 9/9, and no service ever: ended at the deadline, with what was missing."""
    config = WorldConfig.model_validate(
        default_config().model_dump() | {"service_start_delay_seconds": 1e6}
    )
    async with stage(config=config) as scene:
        dag, before, began = await joined(scene)

        verification = await scene.verify_node(dag, before)

        assert verification.levels.level is Level.JOINED
        assert "pv-service-started" in {line.id for line in verification.overdue}
        told = shortfall(verification.levels.level.name, verification.levels.lines)
        assert "reached JOINED, not CONFORMING" in told
        assert "pv-service-started: not yet" in told
        assert proof(verification.levels, "pv-dag-forward-success").answer is ProofAnswer.PASS
        assert LIMITS.verify_seconds < scene.now - began <= LIMITS.verify_seconds + LOOK_SECONDS


@on_virtual_time
async def test_a_parameter_that_is_set_back_while_it_has_to_hold_fails_the_node():
    """As asked at the first look and not at the second: told as set back, ended after its limit."""
    async with stage() as scene:
        dag, before, began = await joined(scene)
        verifying = asyncio.create_task(scene.verify_node(dag, before))
        await asyncio.sleep(LOOK_SECONDS + 1)
        scene.world.spares[0].observer.values["memory_limit"] = "12G"

        verification = await verifying

        line = proof(verification.levels, "pv-params-effective:memory_limit")
        assert (line.answer, line.expected) == (ProofAnswer.FAIL, "16G")
        assert line.found.startswith("12G")
        assert "set back" in line.found
        assert not verification.levels.is_verified
        assert scene.now - began < LIMITS.against_seconds + 4 * LOOK_SECONDS


@on_virtual_time
async def test_a_peer_harmed_meanwhile_ends_it_once_it_has_stood_for_its_limit():
    """Another server is down for good: named, and the verification ends after its limit."""
    async with stage() as scene:
        dag, before, _ = await joined(scene)
        verifying = asyncio.create_task(scene.verify_node(dag, before))
        await asyncio.sleep(LOOK_SECONDS)
        harmed, harmed_at = scene.world.cluster().servers[2], scene.now
        harmed.observer.alive = False

        verification = await verifying

        found = proof(verification.levels, "pv-no-collateral").found
        assert f"{harmed.agent.ip}:2882 INACTIVE PROCESS_STOPPED" in found
        assert verification.levels.level is Level.SERVING
        stood = scene.now - harmed_at
        assert LIMITS.against_seconds <= stood <= LIMITS.against_seconds + 2 * LOOK_SECONDS
        assert len(scene.said("verify.against proof=pv-no-collateral")) == 1


@on_virtual_time
async def test_a_peer_that_is_back_before_the_limit_stands_against_nothing():
    """It restarts within the limit: told when it goes and when it is back, and verified."""
    async with stage() as scene:
        dag, before, _ = await joined(scene)
        verifying = asyncio.create_task(scene.verify_node(dag, before))
        await asyncio.sleep(LOOK_SECONDS)
        harmed = scene.world.cluster().servers[2]
        harmed.observer.alive = False
        await asyncio.sleep(LIMITS.against_seconds - 4 * LOOK_SECONDS)
        harmed.observer.alive = True

        verification = await verifying

        assert verification.levels.level is Level.CONFORMING
        assert len(scene.said("verify.against proof=pv-no-collateral")) == 1
        assert len(scene.said("verify.passed proof=pv-no-collateral")) == 1


@on_virtual_time
async def test_what_can_never_be_read_is_told_after_its_limit_and_holds_nobody_back():
    """The target tells nothing of its machine any more: told once, and verified without it."""
    async with stage() as scene:
        dag, before, began = await joined(scene)
        scene.play(Fault.panic(to="host-info", times=0))

        verification = await scene.verify_node(dag, before)

        assert verification.levels.level is Level.CONFORMING
        line = proof(verification.levels, "pv-disk-after")
        assert (line.answer, line.found.startswith("not read for ")) == (ProofAnswer.INFO, True)
        (told,) = scene.said("verify.unread")
        assert told.startswith("verify.unread proof=pv-disk-after found='not read for ")
        assert "read agent/host-info" in told
        assert scene.now - began > LIMITS.unread_seconds


@on_virtual_time
async def test_clocks_that_were_set_meanwhile_fail_their_proof():
    """Headers go by each agent's time, so all is read; then the proof of clocks fails by name."""
    async with stage() as scene:
        submitted = await scene.begin()
        await asyncio.sleep(10)
        scene.play(*(Fault.shift_clock(member, seconds=300) for member in scene.members))
        dag = await scene.follow(submitted.dag_id)

        verification = await scene.verify_node(dag, submitted.before)

        assert dag.is_done
        assert not verification.levels.is_verified
        assert "pv-clock-after" in {
            line.id for line in verification.levels.lines if line.answer is ProofAnswer.FAIL
        }


@on_virtual_time
async def test_answers_half_a_second_late_change_nothing_but_the_time():
    """Every answer of every agent: proved as at once, without a word more."""
    async with stage(Fault.delay_answer(0.5, times=0)) as scene:
        dag, before, _ = await joined(scene)

        verification = await scene.verify_node(dag, before)

        assert verification.levels.level is Level.CONFORMING
        assert proof(verification.levels, "pv-clock-after").answer is ProofAnswer.PASS
        assert "unknown" not in {line.answer for line in verification.levels.lines}
        assert scene.said("verify.unread") == []


@on_virtual_time
async def test_a_new_zone_is_proved_and_its_region_told():
    """The zone is ACTIVE, which verifies; that it is in another region is told with the cure."""
    async with stage(zone="zone4", allow_new_zone=True) as scene:
        dag, before, _ = await joined(scene)

        levels = (await scene.verify_node(dag, before)).levels

        assert levels.is_verified
        assert proof(levels, "pv-zone-active").answer is ProofAnswer.PASS
        region = proof(levels, "pv-zone-active:region")
        assert (region.answer, region.expected) == (ProofAnswer.INFO, "sys_region")
        assert region.found.startswith("default_region")
        assert "ALTER SYSTEM ALTER ZONE zone4 SET REGION 'sys_region';" in region.found
        assert "no tenant has units in zone4" in proof(levels, "pv-rebalance-observed").found


@on_virtual_time
async def test_units_that_arrive_lift_the_node_to_balanced():
    """A pool with two units a zone places one on the new server: BALANCED."""
    config = default_config().model_dump()
    config["clusters"][0]["tenants"][0]["unit_num"] = 2
    async with stage(config=WorldConfig.model_validate(config)) as scene:
        dag, before, _ = await joined(scene)

        levels = (await scene.verify_node(dag, before)).levels

        assert levels.level is Level.BALANCED
        assert proof(levels, "pv-rebalance-observed").found.startswith("1 unit:")
