"""Tests that a tenant's units are changed exactly once, followed, and proved, on virtual time."""

import asyncio

import httpx
import pytest

from obscale.errors import (
    DagFailedError,
    ForeignDagError,
    OutcomeUnknownError,
    PreflightError,
    SpecError,
)
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault
from obscale.sandbox.config import UnitConfig
from tests.contract.loops.use_stage import grown_config, use_stage
from tests.virtual_time import on_virtual_time

GIB = 1 << 30
SLOW_SECONDS = 5000.0
"""Longer than the 3600 s that obshell waits for OceanBase's job."""


class Breaking(httpx.AsyncBaseTransport):
    """Lets one PATCH through, or not, and breaks its connection."""

    def __init__(self, inner, point, sent):
        self.inner, self.point, self.sent = inner, point, sent

    async def handle_async_request(self, request):
        """Pass on; the first PATCH breaks before it is sent, before its answer, or in its body."""
        if request.method != "PATCH":
            return await self.inner.handle_async_request(request)
        self.sent.append(self.point)
        if len(self.sent) > 1:
            return await self.inner.handle_async_request(request)
        match self.point:
            case "connect":
                raise httpx.ConnectError("refused")
            case "sending":
                raise httpx.WriteError("broken while it was sent")
            case "waiting":
                await self.inner.handle_async_request(request)
                raise httpx.ReadError("broken before the answer")
            case "body":
                answer = await self.inner.handle_async_request(request)
                await answer.aread()
                return httpx.Response(answer.status_code, content=answer.content[:40])
            case "silent":
                await self.inner.handle_async_request(request)
                await asyncio.sleep(3600)
        raise AssertionError(self.point)


@on_virtual_time
async def test_one_patch_brings_the_number_and_its_first_run_proves_it():
    """Six units, one PATCH, BALANCED by the end of OceanBase's own job."""
    async with use_stage() as scene:
        seen = await scene.look()
        begun = await scene.begin(seen)
        dag = await scene.follow(begun.dag_id)
        balance = await scene.prove(dag)

    assert (seen.findings.verdict, seen.unit_num) == ("ready", 1)
    assert "3 units more of u_app (6 cores, 12G)" in seen.gain
    assert (begun.how, begun.baseline.dag_id) == ("posted", begun.dag_id)
    assert scene.patches == [200]
    assert scene.units() == 6
    assert balance.verdict == "BALANCED"
    assert scene.said("poll.placed")[-1].startswith(
        "poll.placed 'units placed: zone1 2/2, zone2 2/2, zone3 2/2"
    )


@pytest.mark.parametrize("point", ["connect", "sending", "waiting", "body", "silent"])
def test_a_connection_that_breaks_anywhere_leaves_one_dag(point):
    """What may have arrived is looked for; only what certainly has not is sent again."""
    sent = []

    def way(inner):
        return Breaking(inner, point, sent)

    @on_virtual_time
    async def play():
        async with use_stage(transport=way) as scene:
            begun = await scene.begin()
            await scene.follow(begun.dag_id)

            assert scene.units() == 6
            assert scene.dags == ["SUCCEED/RUN"]
            # As it reached the agents: never two.
            assert scene.patches == [200]
            # Sent again only where it certainly has not arrived, or can arrive no more.
            assert len(sent) == {"connect": 2, "sending": 2}.get(point, 1)

    play()


@on_virtual_time
async def test_a_lost_answer_is_taken_up_and_its_record_kept():
    """The DAG is there, and is ours by tenant and number."""
    async with use_stage(Fault.drop_answer(to="replicas")) as scene:
        scene.world.play(Fault.tenant_job_slow(60))
        begun = await scene.begin()
        (kept,) = scene.kept.values()

    assert begun.how == "adopted"
    assert len(scene.patches) == 1
    assert kept.records[-1].dag_id == begun.dag_id
    assert begun.baseline.judged == {"unit_num": "1"}


@on_virtual_time
async def test_a_run_killed_between_patch_and_record_is_taken_up():
    """The next attempt finds the record without a DAG, and the DAG that fits it."""

    class Killed(BaseException):
        """Somebody ends the process."""

    async with use_stage(Fault.tenant_job_slow(60)) as scene:
        records = scene.records("obcluster/1", "tenant app")

        async def killed(_record, _dag_id):
            raise Killed

        settle, records.settle = records.settle, killed
        with pytest.raises(Killed):
            await scene.begin()
        records.settle = settle
        again = await scene.begin()
        dag = await scene.follow(again.dag_id)
        balance = await scene.prove(dag)

    assert scene.patches == [200]
    assert again.how == "adopted"
    assert again.baseline.judged == {"unit_num": "1"}
    assert balance.verdict == "BALANCED"


@on_virtual_time
async def test_an_ended_dag_is_proof_for_a_later_run():
    """Asked again, nothing is sent, and the DAG that brought the number is found by its log."""
    async with use_stage() as scene:
        first = await scene.begin()
        await scene.follow(first.dag_id)
        again = await scene.begin()
        balance = await scene.prove(again.dag)

    assert scene.patches == [200]
    assert (again.how, again.dag_id) == ("adopted", first.dag_id)
    assert balance.verdict == "BALANCED"


@on_virtual_time
async def test_a_number_that_was_there_before_is_steady_and_not_proved():
    """Nobody knows by which DAG: 60 seconds without change are all there is to say."""
    async with use_stage(unit_num=1) as scene:
        begun = await scene.begin()
        balance = await scene.prove(begun.dag)

    assert scene.patches == []
    assert (begun.how, begun.dag_id) == ("already stored", None)
    assert balance.verdict == "BALANCED (steady, not proved)"
    assert scene.world.clock.now() >= 60


@on_virtual_time
async def test_a_slow_job_is_waited_for_and_judged_by_where_units_are():
    """After an hour obshell gives up; the number is stored, so nothing is sent again."""
    limits = TimeLimits(deadline_seconds=20_000, poll_seconds=30)
    async with use_stage(Fault.tenant_job_slow(SLOW_SECONDS), time_limits=limits) as scene:
        begun = await scene.begin()
        dag = await scene.follow(begun.dag_id)
        balance = await scene.prove(dag)

    assert dag.is_failed
    assert scene.said("diagnosis.made cause=tenant-job-slow")
    assert balance.verdict == "BALANCED (steady, not proved)"
    assert scene.patches == [200]


@on_virtual_time
async def test_a_lost_executor_is_not_taken_for_a_slow_job():
    """The stage's hour is over, and OceanBase was given nothing: a retry does, where asked for."""
    limits = TimeLimits(deadline_seconds=20_000, poll_seconds=30)
    lost = Fault.lose_executor(1, operation="tenant")
    async with use_stage(lost, time_limits=limits, on_failure="hold") as scene:
        begun = await scene.begin()
        with pytest.raises(DagFailedError, match=r"\[executor-lost\].*nothing was changed"):
            await scene.follow(begun.dag_id)
    async with use_stage(lost, time_limits=limits, on_failure="retry") as scene:
        begun = await scene.begin()
        dag = await scene.follow(begun.dag_id)
        balance = await scene.prove(dag)

    assert dag.is_done
    assert balance.verdict.startswith("BALANCED")


@on_virtual_time
async def test_data_that_still_moves_is_waited_for():
    """Units are placed at once; used bytes change until the copy has arrived."""
    config = grown_config(data_bytes=8 * GIB).model_copy(update={"migration_mib_per_second": 20.0})
    async with use_stage(config=config) as scene:
        begun = await scene.begin()
        # As if nobody knew the DAG.
        balance = await scene.prove(None)
        late = scene.world.clock.now()
        dag = await scene.follow(begun.dag_id)

    assert balance.verdict == "BALANCED (steady, not proved)"
    assert late > 8 * 1024 / 20
    assert dag.is_done


@on_virtual_time
async def test_a_failed_job_is_held_and_told():
    """OceanBase has said no; the number is stored, and a person looks."""
    async with use_stage(Fault.tenant_job_fails()) as scene:
        begun = await scene.begin()
        with pytest.raises(DagFailedError, match="tenant-job-failed") as caught:
            await scene.follow(begun.dag_id)

    assert "it holds no lock" in caught.value.message
    assert "DBA_OB_TENANT_JOBS" in caught.value.hint


@on_virtual_time
async def test_what_the_database_refused_is_retried_where_that_is_asked_for():
    """Nothing was changed, so a RETRY asks again; its end proves nothing by itself."""
    refused = Fault.tenant_job_fails(text="Error 1146 (42S02): no such table")
    async with use_stage(refused, on_failure="retry") as scene:
        begun = await scene.begin()
        dag = await scene.follow(begun.dag_id)
        balance = await scene.prove(dag)

    assert dag.is_done
    assert scene.said("recover.operate")
    assert balance.verdict == "BALANCED (steady, not proved)"
    assert scene.units() == 6


@on_virtual_time
async def test_what_the_database_refused_is_held_otherwise():
    """By default nothing is operated."""
    refused = Fault.tenant_job_fails(text="Error 1146 (42S02): no such table")
    async with use_stage(refused) as scene:
        begun = await scene.begin()
        with pytest.raises(DagFailedError, match="tenant-refused"):
            await scene.follow(begun.dag_id)

    assert not scene.said("recover.operate")
    assert scene.units() == 3


@on_virtual_time
async def test_rebalance_off_blocks_before_anything_is_sent():
    """As obshell would refuse it too."""
    async with use_stage(Fault.tenant_rebalance_off("app")) as scene:
        seen = await scene.look()

    assert [finding.rule for finding in seen.findings.blockers] == ["un-rebalance"]
    assert scene.patches == []


@on_virtual_time
async def test_what_changed_after_a_minute_is_judged_again():
    """Somebody turns enable_rebalance off while the run waits."""
    async with use_stage() as scene:
        seen = await scene.look()
        await asyncio.sleep(90)
        scene.world.play(Fault.tenant_rebalance_off("app"))
        with pytest.raises(PreflightError, match="un-rebalance"):
            await scene.begin(seen)

    assert scene.patches == []


@on_virtual_time
async def test_no_room_blocks_and_names_dimension_and_server():
    """PATCH looks for no room, so the rule does."""
    unit = UnitConfig(name="u_app", memory_size=7 * GIB)
    async with use_stage(config=grown_config(unit=unit), unit_num=2) as scene:
        world = scene.world.clusters[0]
        world.servers[1].observer.values["memory_limit"] = "12G"
        seen = await scene.look()

    (finding,) = seen.findings.blockers
    assert finding.rule == "un-room"
    assert f"memory in zone1: 4G free on {world.servers[1].address}, 7G a unit" in finding.measured


@on_virtual_time
async def test_another_number_at_work_is_waited_for_and_not_taken_up():
    """It brings 1, not 2: of the same tenant, so the lock is its own."""
    async with use_stage() as scene:
        first = await scene.begin()
        await scene.follow(first.dag_id)
        scene.world.play(Fault.tenant_job_slow(30))
        async with use_stage(world=scene.world, unit_num=1) as other:
            await other.begin()
        seen = await scene.look()
        with pytest.raises(ForeignDagError, match="of this tenant is at work"):
            await scene.begin(seen)

    assert [finding.rule for finding in seen.findings.blockers] == ["un-job"]
    assert scene.patches == [200, 200]


@on_virtual_time
async def test_lowering_is_proved_too():
    """The last group goes; the DAG's first run says so."""
    async with use_stage() as scene:
        begun = await scene.begin()
        await scene.follow(begun.dag_id)
        async with use_stage(world=scene.world, unit_num=1) as lower:
            seen = await lower.look()
            begun = await lower.begin(seen)
            dag = await lower.follow(begun.dag_id)
            balance = await lower.prove(dag)

    assert [finding.rule for finding in seen.findings.warnings] == ["un-down"]
    assert balance.verdict == "BALANCED"
    assert lower.units() == 3


@on_virtual_time
async def test_a_tenant_that_is_not_there_is_named():
    """With those that are."""
    async with use_stage(tenant="nope") as scene:
        with pytest.raises(SpecError, match="'nope'") as caught:
            await scene.look()

    assert caught.value.hint == "it has sys, app"


@on_virtual_time
async def test_an_answer_that_no_look_can_settle_is_told_as_such():
    """All agents fall silent right after the PATCH."""
    async with use_stage(Fault.drop_answer(to="replicas")) as scene:
        seen = await scene.look()

        def silence():
            for agent in scene.world.clusters[0].agents:
                scene.world.play(Fault.agent_down(agent.address))

        scene.at("submit.answer_lost", silence)
        with pytest.raises(OutcomeUnknownError):
            await scene.begin(seen)

    assert len(scene.patches) == 1
