"""Tests of the client with agents in trouble: it asks the next and names the cause."""

import pytest

from obscale.agent.cluster import ClusterClient
from obscale.errors import (
    AgentProtocolError,
    AgentUnreachableError,
    DatabaseDownError,
    NotAuthorizedError,
    NotSupportedError,
)
from obscale.sandbox import Fault


async def test_cluster_reads_pass_on_from_agents_in_trouble(scene):
    """One agent is down, one has no database: the third answers and is remembered."""
    scene.world.play(Fault.agent_down(str(scene.members[0])))
    scene.world.play(Fault.database_down(str(scene.members[1])))

    async with ClusterClient([scene.client(address) for address in scene.members]) as cluster:
        topology = await cluster.ask(lambda agent: agent.read_last_cluster_dag())
        current = cluster.current.address

    assert topology is None
    assert current == scene.members[2]


async def test_cluster_without_any_answer_names_all(scene):
    """When all agents are down the error is transient and names each."""
    for address in scene.members:
        scene.world.play(Fault.agent_down(str(address)))

    async with ClusterClient([scene.client(scene.members[0])]) as cluster:
        for address in scene.members[1:]:
            cluster.add(address)
        with pytest.raises(AgentUnreachableError) as caught:
            await cluster.ask(lambda agent: agent.read_ob_info())

    assert all(str(address) in str(caught.value) for address in scene.members)


async def test_database_down_is_told_from_an_absent_dag(scene):
    """An agent without database does not know whether there is a DAG, and says so."""
    async with scene.client() as client:
        dag = await client.submit_scale_out(scene.request())
        scene.world.play(Fault.database_down(str(scene.members[0])))
        scene.world.play(Fault.database_down(str(scene.members[1])))
        scene.world.play(Fault.database_down(str(scene.members[2])))
        with pytest.raises(DatabaseDownError):
            await client.read_dag(dag.id)


async def test_garbled_answers_are_never_taken_for_obshells(scene):
    """HTML instead of an answer is an absent fact where it may be, else a wrong answer."""
    scene.world.play(Fault.garble_answer(to="host-info"))
    scene.world.play(Fault.garble_answer(to="unfinish"))

    async with scene.client() as client:
        with pytest.raises((NotSupportedError, AgentProtocolError)):
            await client.read_host_info()
        with pytest.raises(AgentProtocolError):
            await client.read_unfinished_dags()


async def test_changed_root_password_is_followed_by_new_clients(scene):
    """The old password stays good where it is cached; the new one works everywhere."""
    scene.world.play(Fault.change_root_password("New#Pass1"))

    async with scene.client() as old, scene.client(root="New#Pass1") as new:
        await old.read_ob_info()
        await new.read_ob_info()
        with pytest.raises(NotAuthorizedError):
            await old.read_ob_info()
