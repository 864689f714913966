"""Tests that entry agents that do not belong together are told apart before anything is sent."""

import pytest
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.errors import IdentityMismatchError, NotAuthorizedError, SpecError
from obscale.preflight.read import survey
from obscale.sandbox import Fault, default_config, in_process
from tests.contract.loops.stage import stage
from tests.virtual_time import on_virtual_time


def two_clusters(**of_the_second):
    """Two clusters of one agent a zone, with one password; named apart unless a test says so."""
    plain = default_config()
    second = plain.clusters[0].model_copy(update={"name": "other", "id": 2} | of_the_second)
    return plain.model_copy(update={"clusters": (plain.clusters[0], second)})


@pytest.mark.parametrize(
    ("of_the_second", "told"),
    [
        ({}, "of other/2"),
        ({"name": "obcluster"}, "of obcluster/2"),
        ({"name": "obcluster", "id": 1}, "of another obcluster/1: they do not list each other"),
    ],
    ids=["named apart", "a namesake with another id", "a namesake with the same id"],
)
@on_virtual_time
async def test_entry_agents_of_two_clusters_are_refused_by_name(of_the_second, told):
    """Both agents are named, with the cluster of each; nothing is posted to either."""
    async with stage(config=two_clusters(**of_the_second), endpoints=((0, 0), (1, 0))) as scene:
        with pytest.raises(SpecError) as caught:
            await scene.preflight()

        mine, other = (cluster.agents[0].address for cluster in scene.world.clusters)
        assert f"the entry agents are not all of one cluster: {mine} of obcluster/1" in str(
            caught.value
        )
        assert f"{other} {told}" in str(caught.value)
        assert scene.posts() == []


@pytest.mark.parametrize(
    "of_the_second", [{}, {"name": "obcluster", "id": 1}], ids=["other", "same"]
)
@on_virtual_time
async def test_where_a_list_is_enough_an_agent_that_is_not_on_it_is_told_all_the_same(
    of_the_second,
):
    """A batch spares those questions that the list has answered, and no others."""
    async with stage(config=two_clusters(**of_the_second), endpoints=((0, 0), (1, 0))) as scene:
        with pytest.raises(SpecError, match="not all of one cluster"):
            await survey(scene.link, scene.order, probing=False, is_list_enough=True)


@pytest.mark.parametrize("is_list_enough", [False, True])
@on_virtual_time
async def test_where_a_list_is_enough_who_is_on_it_is_not_asked_for_its_own(is_list_enough):
    """It says who it is; its key and its list are left."""
    async with stage(endpoints=((0, 0), (0, 1))) as scene:
        other = scene.members[1]

        await survey(scene.link, scene.order, probing=False, is_list_enough=is_list_enough)

        asked = {
            record.target.removeprefix("/api/v1/")
            for record in scene.world.requests
            if record.agent == other
        }
        assert asked - {"time"} == ({"info"} if is_list_enough else {"info", "secret", "ob/info"})


@pytest.mark.parametrize("endpoints", [((0, 0), (0, 1)), ((0, 0), (0, 1), (0, 2))], ids=len)
@on_virtual_time
async def test_entry_agents_of_one_cluster_are_not(endpoints):
    """They list each other."""
    async with stage(config=two_clusters(name="obcluster", id=1), endpoints=endpoints) as scene:
        seen = await scene.preflight()

        assert seen.findings.verdict != "blocked"


@pytest.mark.parametrize("of_the_second", [{}, {"name": "obcluster"}], ids=["other", "namesake"])
@on_virtual_time
async def test_an_agent_of_another_cluster_that_answers_late_is_not_posted_to(of_the_second):
    """Silent during preflight, it answers for the others afterwards: refused, nothing is posted."""
    async with stage(config=two_clusters(**of_the_second), endpoints=((0, 0), (1, 0))) as scene:
        mine, other = (cluster.agents[0].address for cluster in scene.world.clusters)
        scene.play(Fault.agent_down(other))
        seen = await scene.preflight()
        scene.play(Fault.agent_down(mine), Fault.agent_up(other))

        with pytest.raises(IdentityMismatchError, match="/2, not of obcluster/1"):
            await scene.begin(seen)

        assert scene.posts() == []


@on_virtual_time
async def test_a_spare_among_the_entry_agents_is_told_from_a_member():
    """It has joined nothing: refused by name."""
    async with stage() as scene:
        spare = scene.world.spares[2].address
        cluster = scene.order.cluster
        mixed = cluster.model_copy(update={"endpoints": (*cluster.endpoints[:1], spare)})
        async with stage(world=scene.world, spec=mixed) as asked:
            with pytest.raises(SpecError, match=f"{spare} of none: it is SINGLE"):
                await asked.preflight()


@pytest.mark.parametrize("shown_to", [0, 1], ids=["the first refuses", "the second refuses"])
@on_virtual_time
async def test_a_password_one_agent_accepts_and_another_refuses_names_both(shown_to):
    """root@sys has a new password that one agent knows: both agents and the reason are told."""
    async with stage(endpoints=((0, 0), (0, 1))) as scene:
        scene.play(Fault.change_root_password("changed#1"))
        async with AgentClient(
            AgentAddress.parse(scene.members[shown_to]),
            root_password=SecretStr("changed#1"),
            transport=in_process(scene.world),
        ) as knowing:
            await knowing.read_ob_info()

        with pytest.raises(NotAuthorizedError) as caught:
            await scene.preflight()

        assert caught.value.agent == scene.members[shown_to]
        assert f"{scene.members[1 - shown_to]} accepts the same password" in str(caught.value)
        assert "name the password root@sys has now" in str(caught.value)
        assert scene.posts() == []
