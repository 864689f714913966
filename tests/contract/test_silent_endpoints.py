"""Whether an endpoint that takes connections and answers nothing costs a run only seconds."""

import asyncio
import time
from collections import Counter

import pytest

from obscale.agent.silence import LONG_SECONDS, remembering_silence
from obscale.agent.transport import Transport
from obscale.connect.connections import EnvironmentSecrets, connected
from obscale.preflight.read import survey
from obscale.preflight.registry import judge
from obscale.reading import Unread
from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, SecretName
from obscale.request.scale_out import ScaleOut
from obscale.sandbox import Fault, ScaledClock, World, default_config, serve
from obscale.submit.read import read_candidates
from obscale.verify.read import read_observation, read_surroundings

ROOT = "OBSCALE_SILENT_ROOT"
READ_SECONDS = 23.0
"""The time limit of a read, connecting included."""
MOST_NIGHTS = 5
"""So often it is played until no agent but the silent ones was late."""


class Asked(Counter):
    """How many requests were put to each agent, by `ip:port`; and who has answered late."""

    late: set[str]


@pytest.fixture
def asked(monkeypatch):
    """Count the requests that are put to each agent, and note who needs long for an answer."""
    count = Asked()
    count.late = set()
    send = Transport.send

    async def counted(self, request, *rest):
        count[str(self.address)] += 1
        began = time.monotonic()
        try:
            return await send(self, request, *rest)
        finally:
            if time.monotonic() - began > LONG_SECONDS:
                count.late.add(str(self.address))

    monkeypatch.setattr(Transport, "send", counted)
    return count


@pytest.fixture
async def world(monkeypatch):
    """Serve the default cluster of three; gives the world, the agents and an order."""
    config = default_config().model_copy(update={"port": 0})
    world = World(config, clock=ScaledClock(speed=30))
    async with serve(world) as door:
        cluster, spare = door.ready["clusters"][0], door.ready["spares"][0]
        monkeypatch.setenv(ROOT, cluster["root_password"])
        agents = [f"{a['ip']}:{a['port']}" for a in cluster["agents"]]
        node = NodeSpec(
            agentInfo=AgentInfoSpec(ip=spare["ip"], port=spare["port"]), zone="zone2", obConfigs={}
        )
        spec = ClusterSpec(endpoints=tuple(agents), password=SecretName(env=ROOT))
        yield world, agents, ScaleOut(cluster=spec, node=node, batch=(node,))


@pytest.mark.parametrize("silent", [(0,), (1,), (2,), (0, 1), (1, 2)], ids=str)
async def test_all_looks_of_a_run_together_wait_for_a_silent_endpoint_once(world, asked, silent):
    """Preflight, the look before the POST, and verification: all is read, each silent one named."""
    world, agents, order = world
    for number in silent:
        world.play(Fault.black_hole(agents[number]))
    for _ in range(MOST_NIGHTS):
        said = []
        asked.clear()
        asked.late.clear()
        began = time.monotonic()
        with remembering_silence(said.append):
            async with connected(order, EnvironmentSecrets()) as link:
                facts = await survey(link, order)
            first = {agents[number]: asked[agents[number]] for number in silent}
            async with connected(order, EnvironmentSecrets()) as link:
                sighting = await read_candidates(link)
                after = await read_observation(link)
                around = await read_surroundings(link, after.members)
        # Where a busy machine makes the others late too, the silent ones are rightly asked again.
        if asked.late <= set(first):
            break

    assert time.monotonic() - began < READ_SECONDS
    assert {agent: asked[agent] for agent in first} == first, "asked again by a later step"
    assert all(1 <= count <= len(agents) for count in first.values()), first
    named = [line.split()[1].removeprefix("agent=") for line in said]
    assert sorted(named) == sorted(first)
    told = facts.cluster
    read = [told.info, told.status, told.cluster_info, told.parameters, told.statistics]
    read += [told.unfinished, told.last_dag, told.license, told.tenants, around.cluster]
    assert not [fact for fact in read if isinstance(fact, Unread)]
    for clocks in (told.clocks, around.clocks):
        unread = {agent for agent, clock in clocks.items() if isinstance(clock, Unread)}
        assert unread == set(first)
    found = judge(facts, "prod").of_rule("port-open-probe")[0].measured
    assert all(agent in found for agent in first)
    assert sighting.last_dag is None
    assert after.zones


async def test_an_endpoint_that_falls_silent_in_the_middle_of_a_look_costs_that_look_seconds(
    world, asked
):
    """All questions side by side go on to the next agent; who sends next begins there."""
    world, agents, order = world
    async with connected(order, EnvironmentSecrets()) as link:
        await read_candidates(link)
        assert str(link.cluster.current.address) == agents[0]
        world.play(Fault.black_hole(agents[0]))
        began = time.monotonic()

        sighting = await read_candidates(link)

        assert time.monotonic() - began < READ_SECONDS / 2
        assert sighting.members.agent_info
        assert str(link.cluster.current.address) == agents[1]
        assert link.cluster.silence_of(link.cluster.clients[0].address)


async def test_endpoints_that_are_all_one_second_late_are_not_called_silent(world, asked):
    """They are asked as often as quick ones, but for the first question, and nobody is named."""
    world, agents, order = world
    said = []
    for agent in agents:
        world.play(Fault.delay_answer(1.0, target=agent, times=0))

    with remembering_silence(said.append):
        async with connected(order, EnvironmentSecrets()) as link:
            for _ in range(3):
                await read_candidates(link)

    assert said == []
    # Who it is, its key, and one for the first question, whose usual time nobody knew.
    assert asked[agents[1]] + asked[agents[2]] <= 2 * 3 * 3


async def test_a_silent_endpoint_is_passed_over_by_orders_side_by_side(world, asked):
    """Rows of one run share what one has learned, each with connections of its own."""
    world, agents, order = world
    world.play(Fault.black_hole(agents[0]))

    async def row():
        async with connected(order, EnvironmentSecrets()) as link:
            return await link.read_members()

    with remembering_silence():
        await row()
        learned = asked[agents[0]]
        # Who asks nothing of it cannot wait for it.
        await asyncio.gather(*(row() for _ in range(10)))

    assert asked[agents[0]] == learned == 1
