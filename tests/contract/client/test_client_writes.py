"""Tests of the client's writes: sent once, and a lost answer is no refusal."""

from datetime import UTC, datetime

import httpx
import pytest

from obscale.agent.models import Operator, State
from obscale.errors import (
    AgentRefusedError,
    AgentTroubleError,
    AlreadyMemberError,
    IdentityMismatchError,
    OutcomeUnknownError,
    UnderMaintenanceError,
)
from obscale.sandbox import Fault

SCALE_OUT = "/api/v1/ob/scale_out"


async def test_scale_out_is_submitted_and_ends_in_the_topology(scene):
    """One POST makes one DAG, which ends with the new server in the topology."""
    async with scene.client() as client:
        submitted = await client.submit_scale_out(scene.request())
        running = await client.read_dag(submitted.id)
        unfinished = await client.read_unfinished_cluster_dags(show_details=False)
        scene.world.advance(120)
        done = await client.read_dag(submitted.id)
        last = await client.read_last_cluster_dag()
        topology = await client.read_topology()

    agents = {
        (server.ip, server.obshell_port) for zone in topology.zones for server in zone.servers
    }
    assert submitted.state is State.READY
    assert submitted.nodes == ()
    assert len(running.nodes) == running.max_stage == 9
    assert [dag.id for dag in unfinished] == [submitted.id]
    assert done.is_done
    assert last.id == submitted.id
    assert (scene.spares[0].ip, scene.spares[0].port) in agents
    assert scene.statuses("POST", SCALE_OUT) == [200]


async def test_second_scale_out_finds_the_lock(scene):
    """While a DAG runs another target is refused, and nothing is made of it."""
    async with scene.client() as client:
        await client.submit_scale_out(scene.request(0))
        with pytest.raises(UnderMaintenanceError):
            await client.submit_scale_out(scene.request(1))

    assert scene.world.count_dags("Cluster scale out") == 1


async def test_member_is_refused_as_a_member(scene):
    """A target that has joined is no longer SINGLE."""
    async with scene.client() as client:
        await client.submit_scale_out(scene.request())
        scene.world.advance(120)
        with pytest.raises((IdentityMismatchError, AlreadyMemberError)):
            await client.submit_scale_out(scene.request())

    assert scene.world.count_dags("Cluster scale out") == 1


async def test_failed_dag_is_rolled_back_on_request(scene):
    """A failed stage keeps the DAG; ROLLBACK is accepted once and ends undone."""
    scene.world.play(Fault.fail_stage(5))

    async with scene.client() as client:
        dag = await client.submit_scale_out(scene.request())
        scene.world.advance(120)
        failed = await client.read_dag(dag.id)
        await client.operate_dag(dag.id, Operator.ROLLBACK)
        scene.world.advance(120)
        undone = await client.read_dag(dag.id)

    assert failed.is_failed
    assert failed.current_node.sub_tasks[0].task_logs[-1].startswith("ERROR:")
    assert undone.is_undone


async def test_operating_a_running_dag_is_refused(scene):
    """A DAG that has not failed can neither be retried nor rolled back; it keeps running."""
    async with scene.client() as client:
        dag = await client.submit_scale_out(scene.request())
        for operator in (Operator.RETRY, Operator.ROLLBACK, Operator.CANCEL):
            with pytest.raises(AgentRefusedError, match=r"Task\.Dag\.Operator"):
                await client.operate_dag(dag.id, operator)
        scene.world.advance(120)
        done = await client.read_dag(dag.id)

    assert done.is_done


@pytest.mark.parametrize("card", ["drop_answer", "garble_answer"])
async def test_lost_answer_to_a_submit_is_an_unknown_outcome(scene, card):
    """The DAG was made, its answer is lost: one POST, and a date until which to look."""
    scene.world.play(getattr(Fault, card)(to="scale_out"))
    before = datetime.now(UTC)

    async with scene.client() as client:
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.submit_scale_out(scene.request())
        found = await client.read_last_cluster_dag()

    assert 10 <= (caught.value.header_expires_at - before).total_seconds() <= 30
    assert found.name == "Cluster scale out"
    assert scene.world.count_dags("Cluster scale out") == 1
    assert len(scene.statuses("POST", SCALE_OUT)) == 1


class LosingTransport(httpx.AsyncBaseTransport):
    """Delivers everything, and loses the answers to POST on the way back."""

    def __init__(self, inner):
        self.inner = inner

    async def handle_async_request(self, request):
        """Deliver, wait for the answer, lose it."""
        response = await self.inner.handle_async_request(request)
        if request.method == "POST":
            await response.aread()
            raise httpx.ReadError("lost on the way back")
        return response


async def test_answer_lost_between_agent_and_client_is_posted_once(scene):
    """Also when the agent believes that all went well, the client does not post again."""
    inner = scene.transport or httpx.AsyncHTTPTransport()

    async with inner, scene.client(transport=LosingTransport(inner)) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.submit_scale_out(scene.request())

    assert scene.statuses("POST", SCALE_OUT) == [200]
    assert scene.world.count_dags("Cluster scale out") == 1


async def test_panic_leaves_a_write_unknown_and_a_read_transient(scene):
    """The page of a dead handler does not say what it had done before it died."""
    scene.world.play(Fault.panic(to="scale_out"))
    scene.world.play(Fault.panic(to="info"))

    async with scene.client() as client:
        await client.read_time()
        with pytest.raises(AgentTroubleError) as caught:
            await client.read_info()
        with pytest.raises(OutcomeUnknownError):
            await client.submit_scale_out(scene.request())

    assert caught.value.transient


REPLICAS = "/api/v1/tenant/app/replicas"
ZONES = ("zone1", "zone2", "zone3")


async def test_a_number_of_units_that_is_there_already_changes_nothing(scene):
    """No content, so no DAG."""
    async with scene.client() as client:
        assert await client.modify_unit_num("app", ZONES, 1) is None

    assert scene.statuses("PATCH", REPLICAS) == [204]


@pytest.mark.parametrize(
    ("tenant", "zones", "number", "code"),
    [
        ("nope", ZONES, 2, "OB.Tenant.NotExist"),
        ("app", ZONES, 2, "OB.Tenant.UnitNum.ExceedsLimit"),
        ("app", ("zone4",), 1, "OB.Tenant.ZoneWithoutReplica"),
    ],
)
async def test_a_number_that_is_refused_is_told_by_its_code(scene, tenant, zones, number, code):
    """And nothing is made of it."""
    async with scene.client() as client:
        with pytest.raises(AgentRefusedError) as caught:
            await client.modify_unit_num(tenant, zones, number)

    assert caught.value.code == code
    assert scene.world.count_dags("Modify tenant replicas") == 0


@pytest.mark.parametrize("card", ["drop_answer", "garble_answer", "panic"])
async def test_a_lost_answer_to_a_patch_is_an_unknown_outcome(scene, card):
    """It is sent once, whatever becomes of its answer."""
    scene.world.play(getattr(Fault, card)(to="replicas"))

    async with scene.client() as client:
        with pytest.raises(OutcomeUnknownError):
            await client.modify_unit_num("app", ZONES, 1)

    assert len(scene.statuses("PATCH", REPLICAS)) == 1
