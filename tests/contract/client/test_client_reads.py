"""Tests of the client's reads, with sockets and without."""

import pytest

from obscale.agent.models import Identity
from obscale.errors import (
    DagNotFoundError,
    IdentityMismatchError,
    NotAuthorizedError,
)


async def test_every_question_is_understood_by_a_cluster_agent(scene):
    """All reads of the client give typed answers of one consistent cluster."""
    async with scene.client() as client:
        info = await client.read_info()
        status = await client.read_status()
        secret = await client.read_secret()
        host = await client.read_host_info()
        ob_info = await client.read_ob_info()
        cluster = await client.read_cluster_info()
        topology = await client.read_topology()
        parameters = await client.read_parameters()
        limit = await client.read_unit_config_limit()
        unfinished = await client.read_unfinished_dags()
        of_cluster = await client.read_unfinished_cluster_dags()
        of_agent = await client.read_unfinished_agent_dags()
        last = await client.read_last_cluster_dag()
        ever = await client.read_cluster_dags()

    members = {str(address) for address in scene.members}
    assert info.address == str(scene.members[0])
    assert info.identity is Identity.CLUSTER_AGENT
    assert status.ob_state == 3
    assert secret.public_key
    assert host.cpu_info.logical_cores > 0
    assert {agent.address for agent in ob_info.agent_info} == members
    assert cluster.cluster_name == scene.line["clusters"][0]["name"]
    assert [zone.name for zone in topology.zones] == scene.line["clusters"][0]["zones"]
    assert "memory_limit" in {parameter.name for parameter in parameters}
    assert limit.min_memory
    assert (unfinished, of_cluster, of_agent, last, ever) == ((), (), (), None, ())


async def test_spare_says_who_it_is_and_refuses_what_a_cluster_does(scene):
    """A SINGLE agent tells its host and its own DAGs; the cluster's affairs are not its own."""
    async with scene.client(scene.spares[0]) as client:
        info = await client.read_info()
        host = await client.read_host_info()
        last = await client.read_last_agent_dag()
        with pytest.raises(IdentityMismatchError):
            await client.read_cluster_info()

    assert info.identity is Identity.SINGLE
    assert host.disks
    assert last is None


async def test_unknown_dags_are_not_found(scene):
    """An id that no agent gave out, and one that is no id, are named so."""
    async with scene.client() as client:
        for dag_id in ("1999", "nonsense"):
            with pytest.raises(DagNotFoundError, match=f"read DAG {dag_id}"):
                await client.read_dag(dag_id)


async def test_trace_id_leads_to_the_agents_log(scene):
    """A refusal carries the trace id that the agent wrote down."""
    async with scene.client(root="wrong") as client:
        with pytest.raises(NotAuthorizedError) as caught:
            await client.read_ob_info()

    traces = [record.trace_id for record in scene.world.requests if record.status == 401]
    assert traces == [caught.value.trace_id]
