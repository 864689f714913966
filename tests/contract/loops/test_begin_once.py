"""Tests that a scale-out is begun exactly once, whatever becomes of its POST, and no sooner."""

import asyncio

import pytest

from obscale.agent.models import Operator
from obscale.errors import (
    DagRolledBackError,
    ForeignDagError,
    IdentityMismatchError,
    OutcomeUnknownError,
)
from obscale.request.policies import Window
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault
from tests.contract.loops.stage import CalledOffError, stage
from tests.virtual_time import on_virtual_time

HOUR = 3600.0
HEADER_SECONDS = 15.0
"""For so long the header of a write holds."""
LOOK_SECONDS = 2.0
LIMITS = TimeLimits()
OPENS_IN_AN_HOUR = Window(start="03:00", end="04:00")
"""The world begins at 02:00 UTC."""


def scale_outs(scene):
    """How many scale-outs the cluster has had."""
    return scene.world.count_dags("Cluster scale out")


@on_virtual_time
async def test_a_free_cluster_gets_one_post_and_its_record():
    """The record of before stands before the POST, and has its DAG afterwards."""
    async with stage() as scene:
        submitted = await scene.begin()

        assert (submitted.how, submitted.dag_id) == ("posted", scene.dag.generic_id())
        assert submitted.baseline.dag_id == submitted.dag_id
        assert submitted.baseline.newest_dag == 0
        assert len(scene.posts()) == 1


@on_virtual_time
async def test_a_lost_answer_leads_to_one_dag():
    """A POST that was carried out but never answered is found by its target, not sent again."""
    async with stage(Fault.drop_answer(to="scale_out")) as scene:
        submitted = await scene.begin()

        assert submitted.how == "adopted"
        assert submitted.baseline is not None, "how things stood was written down before"
        assert (len(scene.posts()), scale_outs(scene)) == (1, 1)
        assert scene.world.undrawn() == []


@on_virtual_time
async def test_a_post_that_arrives_late_is_awaited_while_its_header_holds():
    """Held on its way and delivered after looks in vain: adopted, never sent again."""
    async with stage(Fault.late_request(HEADER_SECONDS - 2, to="scale_out")) as scene:
        submitted = await scene.begin()

        assert submitted.how == "adopted"
        assert (len(scene.posts()), scale_outs(scene)) == (1, 1)


@on_virtual_time
async def test_a_lost_post_is_sent_again_only_when_it_can_no_longer_be_at_work():
    """Its header has expired, and obshell has had its 200 s: then, and not before, once more."""
    async with stage(Fault.late_request(HEADER_SECONDS + 2, to="scale_out")) as scene:
        submitted = await scene.begin()

        assert submitted.how == "posted"
        late, again = scene.posts()
        assert late == pytest.approx(HEADER_SECONDS + 2)
        earliest = HEADER_SECONDS + LIMITS.lost_answer_seconds
        assert earliest - 1 < again <= earliest + 2 * LOOK_SECONDS
        assert scale_outs(scene) == 1
        assert scene.world.undrawn() == []


@on_virtual_time
async def test_a_lost_post_that_was_undone_and_followed_by_others_is_not_sent_again():
    """It arrives, fails and is rolled back, and another DAG follows, all while nobody answers."""
    async with stage(
        Fault.late_request(3, to="scale_out"),
        Fault.fail_stage(3),
        Fault.operate_dag("ROLLBACK"),
        Fault.tenant_task(1, phase="rollback", after_seconds=20),
    ) as scene:
        scene.play(*(Fault.black_hole(member, after_seconds=4) for member in scene.members))
        scene.play(*(Fault.agent_up(member, after_seconds=120) for member in scene.members))

        submitted = await scene.begin()

        assert [dag.name for dag in scene.world.clusters[0].dags] == [
            "Cluster scale out",
            "Modify tenant",
        ]
        assert (submitted.how, submitted.dag_id) == (
            "adopted",
            scene.world.clusters[0].dags[0].generic_id(),
        )
        error = await scene.error_of(await scene.follow(submitted.dag_id))
        assert isinstance(error, DagRolledBackError)
        assert len(scene.posts()) == 1
        assert scene.world.undrawn() == []


@on_virtual_time
async def test_a_lost_answer_nobody_can_settle_is_told_once_the_limit_is_over():
    """Every agent goes away with the answer: not known, never sent again; the next one finds it."""
    async with stage(Fault.drop_answer(to="scale_out")) as scene:
        beginning = asyncio.create_task(scene.begin())
        await scene.until(lambda: scale_outs(scene) > 0, "a DAG")
        scene.play(*map(Fault.agent_down, scene.members))

        with pytest.raises(OutcomeUnknownError):
            await beginning

        limit = HEADER_SECONDS + LIMITS.lost_answer_seconds
        assert limit - 1 <= scene.now <= limit + 2 * LOOK_SECONDS
        scene.play(*map(Fault.agent_up, scene.members))
        assert (await scene.begin()).how == "adopted"
        assert len(scene.posts()) == 1


@on_virtual_time
async def test_two_at_once_for_one_target_make_one_dag():
    """Both look, both find the cluster free: one posts, the other takes its DAG up."""
    async with stage() as scene:
        first, second = await asyncio.gather(scene.begin(), scene.begin())

        assert first.dag_id == second.dag_id
        assert {first.how, second.how} == {"posted", "adopted"}
        assert scale_outs(scene) == 1


@on_virtual_time
async def test_two_targets_at_once_take_turns():
    """Both find the cluster free: one waits for the lock and posts when the other's DAG is done."""
    waits = LIMITS.model_copy(update={"lock_wait_seconds": 300.0})
    async with (
        stage(time_limits=waits) as scene,
        stage(time_limits=waits, world=scene.world, number=1, zone="zone1") as other,
    ):
        first, second = await asyncio.gather(scene.begin(), other.begin())

        assert (first.how, second.how) == ("posted", "posted")
        assert scale_outs(scene) == 2
        began, ended = (dag.start_at for dag in scene.world.clusters[0].dags)
        assert ended - began > 20, "the second began when the first was done"


@on_virtual_time
async def test_a_lock_that_is_held_already_blocks_in_preflight_and_disturbs_nobody():
    """While another's scale-out is at work preflight says so; once it is done both have joined."""
    async with stage() as scene, stage(world=scene.world, number=1, zone="zone1") as other:
        first = await other.begin()
        await asyncio.sleep(10)

        blocked = (await scene.preflight()).findings
        assert "cluster-maintenance" in {finding.rule for finding in blocked.blockers}
        assert (await other.follow(first.dag_id)).is_done
        second = await scene.begin()

        assert second.how == "posted"
        assert (await scene.follow(second.dag_id)).is_done
        assert len(scene.posts()) == 2


@on_virtual_time
async def test_a_dag_that_failed_and_is_tried_again_by_somebody_is_taken_up():
    """Stage 5 gave up on a slow start, by name; after RETRY the next run follows it to the end."""
    async with stage(Fault.slow_observer(150)) as scene:
        first = await scene.begin()
        error = await scene.error_of(await scene.follow(first.dag_id))
        await scene.operate(Operator.RETRY)

        second = await scene.begin()

        assert "stage 5/9" in str(error)
        assert "timeout" in str(error)
        assert (second.how, second.dag_id) == ("adopted", first.dag_id)
        assert (await scene.follow(second.dag_id)).is_done
        assert len(scene.posts()) == 1


@on_virtual_time
async def test_a_lock_is_waited_for_and_the_post_follows_its_release():
    """Another DAG holds it for 40 s of the 60 that are allowed: then posted, at once."""
    waits = LIMITS.model_copy(update={"lock_wait_seconds": 60.0})
    async with stage(time_limits=waits) as scene:
        seen = await scene.preflight()
        scene.play(Fault.tenant_task(40))

        submitted = await scene.begin(seen)

        assert submitted.how == "posted"
        (posted,) = scene.posts()
        assert 40 <= posted <= 40 + 2 * LOOK_SECONDS


@pytest.mark.parametrize("allowed", [0.0, 30.0])
@on_virtual_time
async def test_a_lock_that_is_held_for_longer_is_named_and_nothing_is_posted(allowed):
    """The DAG that holds it is told, after just as long as was allowed."""
    waits = LIMITS.model_copy(update={"lock_wait_seconds": allowed})
    async with stage(time_limits=waits) as scene:
        seen = await scene.preflight()
        scene.play(Fault.tenant_task(4000))

        with pytest.raises(ForeignDagError, match=r"not submitted: DAG \d+ '[^']+' holds") as told:
            await scene.begin(seen)

        assert "have its owner retry or roll it back" in str(told.value)
        assert allowed <= scene.now <= allowed + LOOK_SECONDS
        assert scene.posts() == []


@on_virtual_time
async def test_a_window_that_is_not_open_yet_is_waited_for_to_the_second():
    """The look before was made anew, as it had grown old; the POST comes as the window opens."""
    async with stage(window=OPENS_IN_AN_HOUR) as scene:
        submitted = await scene.begin()

        assert submitted.how == "posted"
        (posted,) = scene.posts()
        assert HOUR <= posted < HOUR + LOOK_SECONDS
        again = [r.at for r in scene.world.requests if r.target.endswith("/host-info")]
        assert again[-1] == pytest.approx(HOUR), "what ages was judged again"


@on_virtual_time
async def test_a_target_that_changed_while_the_window_was_waited_for_is_not_posted():
    """Somebody scales it in meanwhile: the look before the POST meets it, nothing is sent."""
    async with stage(window=OPENS_IN_AN_HOUR) as scene:
        beginning = asyncio.create_task(scene.begin())
        await asyncio.sleep(HOUR / 2)
        scene.play(Fault.scaling_in(scene.target))

        with pytest.raises(IdentityMismatchError, match="SCALING IN"):
            await beginning

        assert scene.posts() == []


@on_virtual_time
async def test_what_is_called_off_right_before_its_post_is_not_sent():
    """Asked once the look has found the cluster free, and never again."""
    asked = []

    async def called_off():
        asked.append(len(scene.posts()))
        return True

    async with stage() as scene:
        with pytest.raises(CalledOffError):
            await scene.begin(called_off=called_off)

        assert asked == [0]
        assert scene.posts() == []


@on_virtual_time
async def test_a_node_that_joined_meanwhile_is_taken_up_without_a_post():
    """Somebody else's request has made it a member of this zone: nothing is to be sent."""
    async with stage() as scene:
        seen = await scene.preflight()
        dag = await scene.carried_out()

        submitted = await scene.begin(seen)

        assert (submitted.how, submitted.dag_id) == ("already a member", dag.id)
        assert len(scene.posts()) == 1
