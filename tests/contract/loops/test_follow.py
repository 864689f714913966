"""Tests of following a DAG: its end, and each limit to the second."""

import asyncio

import pytest
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.models import Operator
from obscale.agent.silence import LONG_SECONDS
from obscale.errors import DagRolledBackError, DagStalledError, NotAuthorizedError
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault, in_process
from tests.contract.loops.stage import stage
from tests.virtual_time import on_virtual_time

GONE_AT = 12.0
LIMITS = TimeLimits()
SLOWEST_LOOK = LIMITS.poll_seconds


def all_down(scene, at):
    """Every cluster agent goes away at a second."""
    return [Fault.agent_down(member, after_seconds=at - scene.now) for member in scene.members]


def all_up(scene, at):
    """Every cluster agent comes back at a second."""
    return [Fault.agent_up(member, after_seconds=at - scene.now) for member in scene.members]


@on_virtual_time
async def test_a_dag_is_followed_to_its_end():
    """SUCCEED is seen within one look of its happening, and nothing is said beside the changes."""
    async with stage() as scene:
        dag = await scene.follow(await scene.post())

        assert dag.is_done
        ended = scene.dag.end_at - scene.world.clock.wall_at(0)
        assert 0 <= scene.now - ended <= SLOWEST_LOOK
        assert scene.lines == []


@on_virtual_time
async def test_a_failed_dag_ends_the_following_at_once():
    """FAILED moves no more by itself: it is given, not waited for."""
    async with stage(Fault.fail_stage(5)) as scene:
        dag = await scene.follow(await scene.post())

        assert dag.is_failed
        assert scene.now < 60


@on_virtual_time
async def test_a_dag_that_somebody_rolls_back_is_followed_to_its_end_and_is_no_success():
    """SUCCEED with operator ROLLBACK is the end of it, and told as one at which nothing joined."""
    async with stage(Fault.fail_stage(5)) as scene:
        dag_id = (await scene.carried_out()).id
        await scene.operate(Operator.ROLLBACK)

        dag = await scene.follow(dag_id)

        assert dag.is_undone
        error = await scene.error_of(dag)
        assert isinstance(error, DagRolledBackError)
        assert "nothing was added" in str(error)
        assert len(scene.world.clusters[0].servers) == 3


@on_virtual_time
async def test_silence_is_borne_for_its_limit_and_not_a_look_longer():
    """No agent answers any more: given up at the first look beyond the silence limit."""
    async with stage() as scene:
        dag_id = await scene.post()
        scene.play(*all_down(scene, GONE_AT))

        with pytest.raises(DagStalledError) as caught:
            await scene.follow(dag_id)

        silent = scene.now - scene.looks[-1]
        assert LIMITS.silence_seconds < silent <= LIMITS.silence_seconds + SLOWEST_LOOK
        assert f"no cluster agent has shown DAG {dag_id} for" in str(caught.value)
        assert all(member in str(caught.value) for member in scene.members)
        assert 2 <= len(scene.said("poll.no_answer")) <= 10, "a long silence is one piece of news"


@on_virtual_time
async def test_a_silence_that_ends_before_the_limit_is_ridden_out():
    """All agents are back in the last seconds: the DAG, done meanwhile, is seen at its end."""
    async with stage() as scene:
        dag_id = await scene.post()
        scene.play(*all_down(scene, GONE_AT))
        scene.play(*all_up(scene, GONE_AT + LIMITS.silence_seconds - 2 * SLOWEST_LOOK))

        dag = await scene.follow(dag_id)

        assert dag.is_done
        assert scene.now > LIMITS.silence_seconds


@on_virtual_time
@pytest.mark.parametrize(
    ("first_look", "gone"), [(17.0, (16.5, 18.5)), (0.0, (16.0, 21.0))], ids=["first", "later"]
)
async def test_a_row_looked_at_seldom_bears_a_short_silence_too(first_look, gone):
    """A pause nobody asked in is no silence: a limit shorter than it still holds several looks."""
    time_limits = LIMITS.model_copy(update={"silence_seconds": 10.0})
    async with stage(time_limits=time_limits) as scene:
        dag_id = await scene.post()
        scene.play(*all_down(scene, gone[0]), *all_up(scene, gone[1]))

        dag = await scene.follow(dag_id, unended_seconds=20.0, first_look_seconds=first_look)

        assert dag.is_done


@on_virtual_time
async def test_silences_do_not_add_up():
    """Two silences, each below the limit, together above it: an answer in between counts."""
    length = LIMITS.silence_seconds * 0.7
    async with stage(Fault.slow_observer(290)) as scene:
        dag_id = await scene.post()
        scene.play(*all_down(scene, GONE_AT), *all_up(scene, GONE_AT + length))
        again = GONE_AT + length + 10 * SLOWEST_LOOK
        scene.play(*all_down(scene, again), *all_up(scene, again + length))

        dag = await scene.follow(dag_id)

        assert dag.is_terminal
        assert scene.now > again + length


@on_virtual_time
async def test_a_dag_that_never_moves_ends_at_the_stall_limit():
    """Its executor is lost at stage 5: told after so long without a change, and left alone."""
    time_limits = LIMITS.model_copy(update={"stall_seconds": 120.0})
    async with stage(Fault.lose_executor(5), time_limits=time_limits) as scene:
        dag_id = await scene.post()

        with pytest.raises(DagStalledError, match="at stage 5/9 without any change for 120 s"):
            await scene.follow(dag_id)

        stood = scene.now - scene.changed
        assert time_limits.stall_seconds < stood <= time_limits.stall_seconds + 2 * SLOWEST_LOOK
        assert scene.dag.is_unfinished
        assert scene.posts("/api/v1/task/dag") == []


@on_virtual_time
async def test_a_dag_that_never_ends_ends_at_the_deadline():
    """However it moves or stands, the deadline of the whole ends it, to the look."""
    time_limits = LIMITS.model_copy(update={"deadline_seconds": 150.0})
    async with stage(Fault.lose_executor(5), time_limits=time_limits) as scene:
        dag_id = await scene.post()

        with pytest.raises(DagStalledError, match="is still at stage 5/9 after 150 s"):
            await scene.follow(dag_id)

        assert time_limits.deadline_seconds < scene.now
        assert scene.now <= time_limits.deadline_seconds + SLOWEST_LOOK
        assert scene.dag.is_unfinished


@on_virtual_time
async def test_an_agent_that_answers_late_is_passed_over():
    """Another agent is asked after two seconds; from then on that one, and the end is not late."""
    async with stage() as scene:
        dag_id = await scene.post()
        late = scene.members[0]
        scene.play(Fault.delay_answer(60.0, target=late, times=0))

        dag = await scene.follow(dag_id)

        assert dag.is_done
        asked = [r.agent for r in scene.world.requests if r.target.startswith("/api/v1/task/dag/")]
        assert asked.count(late) == 1
        assert scene.looks[0] == pytest.approx(LONG_SECONDS), "another one was asked as well"


@on_virtual_time
async def test_all_agents_late_is_no_silence():
    """Every answer takes 20 s: each is waited for, and the DAG is followed to its end."""
    async with stage() as scene:
        dag_id = await scene.post()
        scene.play(Fault.delay_answer(20.0, times=0))

        dag = await scene.follow(dag_id)

        assert dag.is_done
        assert scene.said("poll.no_answer") == []


@on_virtual_time
async def test_an_agent_that_goes_away_and_bad_answers_do_not_end_it():
    """The polled agent restarts, others answer garbage, a panic page and nothing, once each."""
    async with stage() as scene:
        dag_id = await scene.post()
        scene.play(
            Fault.agent_restart(scene.members[0]),
            Fault.garble_answer(to=dag_id, text="<html>proxy</html>"),
            Fault.panic(to=dag_id),
            Fault.drop_answer(to=dag_id),
        )

        dag = await scene.follow(dag_id)

        assert dag.is_done
        asked = [r.agent for r in scene.world.requests if r.target.startswith("/api/v1/task/dag/")]
        assert len(set(asked)) > 1
        assert scene.world.undrawn() == []


@on_virtual_time
async def test_keys_that_rotate_do_not_disturb_it():
    """Every agent has a new key while the DAG runs: it is followed on, without a word."""
    async with stage() as scene:
        dag_id = await scene.post()
        await asyncio.sleep(GONE_AT)
        scene.play(*map(Fault.rotate_key, scene.members))

        dag = await scene.follow(dag_id)

        assert dag.is_done
        assert scene.lines == []


@on_virtual_time
async def test_a_password_changed_meanwhile_is_refused_for_the_silence_limit():
    """An agent's database may be away, so refusals are borne; then the refusal is the answer."""
    async with stage() as scene:
        dag_id = await scene.post()
        following = asyncio.create_task(scene.follow(dag_id))
        await asyncio.sleep(GONE_AT)
        scene.play(Fault.change_root_password("changed#1"))
        for member in scene.members:
            async with AgentClient(
                AgentAddress.parse(member),
                root_password=SecretStr("changed#1"),
                transport=in_process(scene.world),
            ) as knowing:
                await knowing.read_ob_info()

        with pytest.raises(NotAuthorizedError, match="OceanBase password is incorrect") as told:
            await following

        assert "check the root@sys password" in str(told.value)
        silent = scene.now - scene.looks[-1]
        assert LIMITS.silence_seconds < silent <= LIMITS.silence_seconds + 2 * SLOWEST_LOOK
        assert scene.said("poll.no_answer")
