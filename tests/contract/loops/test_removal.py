"""Tests that a removal is asked for once, followed by what moves, and proved from the cluster."""

import asyncio

import pytest

from obscale.agent.models import AgentEndpoint, Operator, ScaleInRequest
from obscale.errors import (
    DagFailedError,
    DagRolledBackError,
    DagStalledError,
    ForeignDagError,
    IdentityMismatchError,
    PreflightError,
)
from obscale.removal.run import look_before
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault
from obscale.sandbox.units import forget_server
from obscale.verify.observation import Level, ProofAnswer
from tests.contract.loops.removal_stage import grow, removal_stage
from tests.virtual_time import on_virtual_time

TARGET = "127.0.1.4:2886"
FOUNDER = "127.0.1.2:2886"
"""It holds a unit of sys and one of app."""
RECEIVER = "127.0.1.4:2886"
"""Has joined its zone."""
ZONE = "/api/v1/zone/"
HOUR = 3600.0


def answer_of(proved, name):
    """Give the answer of one proof."""
    return next(line.answer for line in proved.levels.lines if line.id == name)


async def ask_by_hand(scene):
    """Ask for the removal as anybody would."""
    ip, _, port = TARGET.rpartition(":")
    body = ScaleInRequest(agent_info=AgentEndpoint(ip=ip, port=int(port)))
    await scene.link.cluster.current.submit_scale_in(body)


@on_virtual_time
async def test_a_grown_node_leaves_and_is_proved_gone():
    """The undo of a scale-out: one request, one DAG, a record from before it, all proofs."""
    async with removal_stage() as scene:
        submitted, proved = await scene.whole()

        assert (submitted.how, scene.posts(), scene.removals()) == ("posted", 1, 1)
        assert submitted.baseline.dag_id == submitted.dag_id
        assert submitted.baseline.leaving.servers[0].data_dir
        assert proved.levels.level is Level.CONFORMING, proved.levels.lines
        assert proved.levels.exceptions == ()
        assert {line.answer for line in proved.levels.lines} <= {
            ProofAnswer.PASS,
            ProofAnswer.INFO,
        }


@on_virtual_time
async def test_units_and_data_tell_how_far_it_is():
    """The DAG waits in silence; the bar and a line a unit come from topology and pools."""
    async with removal_stage(target=FOUNDER) as scene:
        _, proved = await scene.whole()

        assert proved.levels.level is Level.CONFORMING, proved.levels.lines
        moved = scene.said("poll.unit_moved")
        assert {line.split()[1] for line in moved} == {"tenant=sys", "tenant=app"}
        shares = [percent for percent, words in scene.shown if "units left" in words]
        assert shares == sorted(shares)
        assert any("GiB left" in words for _, words in scene.shown)
        units = {unit.server.agent.address for unit in scene.cluster.units}
        assert FOUNDER not in units


@on_virtual_time
async def test_what_a_killed_run_has_begun_is_taken_up():
    """Killed between request and record: the DAG is ours by its server, not posted again."""
    async with removal_stage() as scene:
        await ask_by_hand(scene)
        await asyncio.sleep(4)
        submitted, proved = await scene.whole()

        assert (submitted.how, scene.posts(), scene.removals()) == ("adopted", 1, 1)
        assert proved.levels.level is Level.CONFORMING, proved.levels.lines


@on_virtual_time
async def test_a_removal_that_names_nobody_yet_is_waited_for():
    """In its first seconds nothing tells whose it is: looked at again, never posted beside."""
    async with removal_stage() as scene:
        await ask_by_hand(scene)
        submitted = await scene.begin()

        assert (submitted.how, scene.posts(), scene.removals()) == ("adopted", 1, 1)
        assert scene.said("preflight.undecided")


@pytest.mark.parametrize(
    "fault",
    [
        Fault.drop_answer(to="scale_in"),
        Fault.garble_answer(to="scale_in"),
        Fault.late_request(10, to="scale_in"),
        Fault.delay_answer(60, to="scale_in"),
    ],
    ids=["dropped", "garbled", "late", "delayed"],
)
@on_virtual_time
async def test_a_lost_answer_leads_to_one_dag(fault):
    """Carried out and never answered, or delivered after looks in vain: one request, one DAG."""
    async with removal_stage(fault) as scene:
        submitted, proved = await scene.whole()

        assert submitted.dag_id == scene.dag.generic_id()
        assert (scene.posts(), scene.removals()) == (1, 1)
        assert submitted.baseline is not None, "how things stood was written down before"
        assert proved.levels.level is Level.CONFORMING, proved.levels.lines


@on_virtual_time
async def test_a_request_that_never_arrived_is_sent_again_once_it_no_longer_can():
    """The agent died with it: nothing is found until its header and obshell's own wait are over."""
    async with removal_stage(Fault.panic(to="scale_in")) as scene:
        began = scene.now
        submitted = await scene.begin()

        assert submitted.how == "posted"
        assert (scene.posts(), scene.removals()) == (2, 1)
        assert scene.now - began >= TimeLimits().lost_answer_seconds


@on_virtual_time
async def test_gone_between_look_and_request_is_judged_by_the_topology():
    """204 is no success by itself; agent and server are gone, so there is nothing to do."""
    async with removal_stage() as scene:

        def vanish():
            forget_agent(scene)
            forget_server(scene.cluster, scene.cluster.server_at("127.0.1.4", 2882))

        scene.at("submit.posting", vanish)
        submitted = await scene.begin()

        assert submitted.how == "already gone"
        assert scene.said("submit.no_row status=204")
        assert (scene.posts(), scene.removals()) == (1, 0)


@on_virtual_time
async def test_a_204_for_a_server_that_is_still_there_is_no_success():
    """Its agent has lost its row: obshell cannot remove it, and the statement that can is told."""
    async with removal_stage() as scene:
        scene.at("submit.posting", lambda: forget_agent(scene))
        with pytest.raises(IdentityMismatchError) as caught:
            await scene.begin()

        assert "DELETE SERVER '127.0.1.4:2882'" in caught.value.hint
        assert scene.removals() == 0


def forget_agent(scene):
    """Take the row of the leaving agent away."""
    cluster = scene.cluster
    cluster.agents = [agent for agent in cluster.agents if agent.address != TARGET]


@on_virtual_time
async def test_gone_already_is_proved_and_nothing_is_sent():
    """Run again after the end: exit 0, by the record of the first run."""
    async with removal_stage() as scene:
        await scene.whole()
        submitted, proved = await scene.whole()

        assert (submitted.how, scene.posts()) == ("already gone", 1)
        assert submitted.baseline is not None
        assert proved.levels.level is Level.CONFORMING, proved.levels.lines


@on_virtual_time
async def test_somebody_elses_dag_is_not_disturbed():
    """A scale-out of another node holds the lock: not waited for, unless a request says so."""
    async with removal_stage() as scene:
        seen = await scene.preflight()
        await grow(scene.world, scene.link, 1)
        with pytest.raises(ForeignDagError):
            await scene.begin(seen)

        assert scene.posts() == 0


@on_virtual_time
async def test_a_lock_is_waited_for_as_long_as_is_asked():
    """And all rules are judged again after the wait."""
    limits = TimeLimits(lock_wait_seconds=600)
    async with removal_stage(time_limits=limits) as scene:
        seen = await scene.preflight()
        await grow(scene.world, scene.link, 1)
        submitted = await scene.begin(seen)

        assert (submitted.how, scene.posts()) == ("posted", 1)
        assert scene.said("submit.waiting")


@on_virtual_time
async def test_what_has_aged_is_judged_again_and_may_block():
    """Meanwhile the server has got units and no other one is there for them."""
    async with removal_stage() as scene:
        seen = await scene.preflight()
        await asyncio.sleep(120)
        scene.play(Fault.agent_down("127.0.1.3:2886"), Fault.observer_down("127.0.1.3:2886"))
        with pytest.raises(PreflightError):
            await scene.begin(seen)

        assert scene.posts() == 0


@on_virtual_time
async def test_what_a_person_was_shown_as_unknown_is_not_held_against_the_run_later():
    """Whoever confirms it accepts what could not be judged, however long that takes."""
    hidden = Fault.panic(to="parameters", times=0)
    async with removal_stage(hidden) as scene:
        with pytest.raises(PreflightError):
            await scene.preflight()
        shown = await look_before(scene.link, scene.order, scene.publish, will_be_asked=True)
        assert shown.findings.unknown
        await asyncio.sleep(120)
        submitted = await scene.begin(shown)

        assert (submitted.how, scene.posts()) == ("posted", 1)
        assert scene.said("submit.judged_again")


@on_virtual_time
async def test_a_standstill_is_handed_over_and_nothing_is_stopped():
    """Ten minutes without a number that changes: cause, holder of the lock, and the way to stop."""
    async with removal_stage(Fault.unit_stuck(FOUNDER), target=FOUNDER) as scene:
        submitted = await scene.begin()
        with pytest.raises(DagStalledError) as caught:
            await scene.follow(submitted)

        told = str(caught.value)
        assert "[drain-stuck]" in told
        assert "holds the cluster's lock" in told
        assert "obscale recover" in caught.value.hint
        assert caught.value.hint.endswith(f"{submitted.dag_id} --stop")
        assert 600 < scene.now - 120 < 700
        assert scene.dag.state == "RUNNING", "it goes on"


@on_virtual_time
async def test_a_full_receiver_is_named():
    """The disk of the one server that could take the units is at its limit."""
    async with removal_stage(target=FOUNDER) as scene:
        scene.at("submit.posted", lambda: scene.play(Fault.receiver_disk_full(RECEIVER)))
        submitted = await scene.begin()
        with pytest.raises(DagStalledError, match=r"\[rm-data-disk\]"):
            await scene.follow(submitted)


@on_virtual_time
async def test_replicas_that_may_not_follow_are_named():
    """The parameter that lets replicas follow their units is off."""
    async with removal_stage(target=FOUNDER) as scene:
        scene.at("submit.posted", lambda: scene.play(Fault.rereplication_off()))
        submitted = await scene.begin()
        with pytest.raises(DagStalledError, match=r"\[rm-rereplication\]"):
            await scene.follow(submitted)


@on_virtual_time
async def test_an_hour_that_is_over_is_repeated_while_units_move():
    """With the policy retry; the wait of obshell ends long before the data has moved."""
    faults = (Fault.slow_migration(300), Fault.wait_times_out(seconds=200, times=2))
    async with removal_stage(*faults, target=FOUNDER, on_failure="retry") as scene:
        _, proved = await scene.whole()

        assert proved.levels.level is Level.CONFORMING, proved.levels.lines
        assert len(scene.said("recover.decided")) == 2
        assert (scene.posts(), scene.removals()) == (1, 1)


@on_virtual_time
async def test_an_hour_that_is_over_is_held_where_nobody_says_otherwise():
    """The policy of a run that names none."""
    async with removal_stage(
        Fault.slow_migration(900), Fault.wait_times_out(seconds=200), target=FOUNDER
    ) as scene:
        submitted = await scene.begin()
        with pytest.raises(DagFailedError, match=r"\[drain-slow\]") as caught:
            await scene.follow(submitted)

        assert "--retry" in caught.value.hint or "recover" in caught.value.hint
        assert scene.cluster.lock_holder is not None


@on_virtual_time
async def test_a_silent_host_is_excepted_and_named():
    """Nobody tells it anything: the cluster is whole, and the host must be cleaned first."""
    async with removal_stage(Fault.agent_down(TARGET)) as scene:
        _, proved = await scene.whole()

        assert proved.levels.level is Level.CONFORMING, proved.levels.lines
        assert "clean it before it returns" in proved.levels.exceptions[0]
        assert answer_of(proved, "pl-identity") is ProofAnswer.INFO


@on_virtual_time
async def test_a_host_that_restarts_is_waited_for_before_it_is_excepted():
    """It was away when it was to kill its observer, and comes back with it: no success."""
    async with removal_stage(Fault.agent_down(TARGET)) as scene:
        submitted = await scene.begin()
        dag = await scene.follow(submitted)
        scene.play(Fault.agent_up(TARGET, after_seconds=20))
        proved = await scene.prove(submitted, dag)

        assert proved.levels.level is Level.LEFT
        assert answer_of(proved, "pl-identity") is ProofAnswer.FAIL


@on_virtual_time
async def test_a_host_that_comes_back_is_a_zombie():
    """It says CLUSTER AGENT, its observer runs, and the cluster lists neither."""
    async with removal_stage(Fault.agent_down(TARGET)) as scene:
        scene.at("dag.ended", lambda: scene.play(Fault.agent_up(TARGET)))
        _, proved = await scene.whole()

        assert proved.levels.level is Level.LEFT
        assert answer_of(proved, "pl-identity") is ProofAnswer.FAIL


@on_virtual_time
async def test_an_observer_that_lives_on_is_no_success():
    """The leaving agent could not kill it; the DAG says SUCCEED."""
    async with removal_stage(Fault.kill_fails()) as scene:
        _, proved = await scene.whole()

        assert proved.levels.level is Level.LEFT
        assert answer_of(proved, "pl-observer-dead") is ProofAnswer.FAIL


@on_virtual_time
async def test_a_refused_delete_is_told_with_its_reason():
    """Nothing was changed and the lock is free."""
    async with removal_stage(Fault.delete_refused(text="Error 1235: not allowed")) as scene:
        submitted = await scene.begin()
        with pytest.raises(DagFailedError, match=r"Error 1235: not allowed.*\[delete-refused\]"):
            await scene.follow(submitted)

        assert scene.cluster.lock_holder is None


@pytest.mark.parametrize("stage", [1, 2])
@on_virtual_time
async def test_a_stage_whose_executor_is_lost_is_no_refusal(stage):
    """Given up after obshell's hour: RETRY gives it to the agent in charge now."""
    fault = Fault.lose_executor(stage, seconds=300, operation="scale_in")
    async with removal_stage(fault) as scene:
        submitted = await scene.begin()
        with pytest.raises(DagFailedError, match=r"\[executor-lost\]") as caught:
            await scene.follow(submitted)

        assert caught.value.hint.startswith("RETRY: ")


@on_virtual_time
async def test_where_only_the_dag_stands_still_nobody_is_told_to_stop_it():
    """Its server has gone: a CANCEL would undo nothing, and lock the cluster."""
    fault = Fault.lose_executor(3, seconds=2000, operation="scale_in")
    async with removal_stage(fault, target=FOUNDER) as scene:
        submitted = await scene.begin()
        with pytest.raises(DagStalledError, match=r"\[executor-lost\]") as caught:
            await scene.follow(submitted)

        assert scene.cluster.server_at("127.0.1.2", 2882) is None
        assert "--stop" not in caught.value.hint
        assert f"{submitted.dag_id} --retry" in caught.value.hint


@on_virtual_time
async def test_an_order_to_kill_that_was_not_taken_is_told_as_that():
    """The leaving agent runs and yet its server is dead; a RETRY tells it again."""
    faults = (Fault.observer_hangs(FOUNDER), Fault.inform_refused())
    async with removal_stage(*faults, target=FOUNDER, force_kill=True, allow_unknown=True) as scene:
        submitted = await scene.begin()
        with pytest.raises(DagFailedError, match=r"\[kill-refused\]") as caught:
            await scene.follow(submitted)

        assert caught.value.hint.startswith("RETRY: ")


@on_virtual_time
async def test_what_somebody_cancels_is_told_as_that():
    """The cluster stays locked, so the way out is named."""
    async with removal_stage(Fault.unit_stuck(TARGET)) as scene:
        submitted = await scene.begin()
        stopping = asyncio.create_task(later(30, scene.operate(Operator.CANCEL)))
        with pytest.raises(DagFailedError, match=r"\[drain-cancelled\]") as caught:
            await scene.follow(submitted)
        await stopping

        assert "ROLLBACK" in caught.value.hint


@on_virtual_time
async def test_what_somebody_rolls_back_is_undone():
    """SUCCEED with ROLLBACK: the server stays a member."""
    async with removal_stage(Fault.unit_stuck(TARGET)) as scene:
        submitted = await scene.begin()
        await asyncio.sleep(30)
        await scene.operate(Operator.CANCEL)
        await asyncio.sleep(10)
        await scene.operate(Operator.ROLLBACK)
        await asyncio.sleep(20)
        with pytest.raises(DagRolledBackError):
            await scene.follow(submitted)

        assert TARGET in {agent.address for agent in scene.cluster.agents}


@on_virtual_time
async def test_what_somebody_passes_proves_nothing():
    """SUCCEED with PASS: the topology decides, and asking again finishes it."""
    limits = TimeLimits(verify_seconds=30)
    async with removal_stage(Fault.unit_stuck(TARGET, seconds=60), time_limits=limits) as scene:
        submitted = await scene.begin()
        await asyncio.sleep(30)
        await scene.operate(Operator.CANCEL)
        await asyncio.sleep(10)
        await scene.operate(Operator.PASS)
        await asyncio.sleep(10)
        dag = await scene.follow(submitted)
        proved = await scene.prove(submitted, dag)

        assert proved.levels.level is not Level.CONFORMING
        assert answer_of(proved, "pl-server-gone") is ProofAnswer.FAIL
        again, proved = await scene.whole()
        assert again.how == "posted"
        assert proved.levels.level is Level.CONFORMING, proved.levels.lines


@on_virtual_time
async def test_past_the_point_of_return_only_going_on_is_offered():
    """The server is gone, the row of its agent is not."""
    async with removal_stage(Fault.delete_agent_fails()) as scene:
        submitted = await scene.begin()
        with pytest.raises(DagFailedError, match=r"\[past-return\]") as caught:
            await scene.follow(submitted)

        assert caught.value.hint.endswith("--retry")


@on_virtual_time
async def test_a_whole_zone_leaves_by_one_delete():
    """Servers, agents and the zone itself; the request is a DELETE, and arrives once."""
    async with removal_stage(target=None, zone="zone4") as scene:
        submitted, proved = await scene.whole()

        assert (submitted.how, scene.posts(ZONE), scene.removals()) == ("posted", 1, 1)
        assert proved.levels.level is Level.CONFORMING, proved.levels.lines
        assert answer_of(proved, "pl-zone-gone") is ProofAnswer.PASS
        assert "zone4" not in {zone.name for zone in scene.cluster.zones}


@pytest.mark.parametrize("card", ["drop_answer", "garble_answer"])
@on_virtual_time
async def test_a_lost_answer_to_a_delete_leads_to_one_dag(card):
    """A library would repeat it."""
    fault = getattr(Fault, card)(to="zone4")
    async with removal_stage(fault, target=None, zone="zone4") as scene:
        submitted, proved = await scene.whole()

        assert (submitted.how, scene.posts(ZONE), scene.removals()) == ("adopted", 1, 1)
        assert proved.levels.level is Level.CONFORMING, proved.levels.lines


@on_virtual_time
async def test_a_zone_with_units_is_not_asked_for():
    """Preflight names the tenants; nothing is sent."""
    async with removal_stage(target=None, zone="zone2", grown=()) as scene:
        with pytest.raises(PreflightError, match="rm-zone-empty"):
            await scene.preflight()

        assert scene.posts(ZONE) == 0


async def later(seconds, act):
    """Do something after a while."""
    await asyncio.sleep(seconds)
    await act
