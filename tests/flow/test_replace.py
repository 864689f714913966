"""Tests of the flow `replace`: both halves, what stands between them, and what it refuses."""

import pytest

from obscale.agent.address import AgentAddress
from obscale.flows.replace import replace
from obscale.request.models import AgentInfoSpec
from obscale.sandbox import Fault
from obscale.tasks.runtime.journal import listening

pytestmark = pytest.mark.asyncio(loop_scope="session")
SCALE_IN = "/api/v1/ob/scale_in"


def dead_of(scene, number=1):
    """Give the agent of a founder: the second is that of zone2."""
    agent = scene.ready["clusters"][0]["agents"][number]
    return AgentInfoSpec(ip=agent["ip"], port=agent["port"])


def replacement_of(scene, **changes):
    """Give the parameters that replace the founder of zone2 by the first spare."""
    dead = dead_of(scene)
    asked = scene.asked() | {
        "dead": dead,
        "confirm": dead.ip,
        "approval": "none",
        "profile": "lab",
    }
    return asked | changes


def state_of(world):
    """Give what of a cluster a replacement must leave as it was, whoever is in a place."""
    cluster = world.clusters[0]
    servers = sorted(server.zone for server in cluster.servers)
    places = {server: server.zone for server in cluster.servers}
    units = sorted((unit.pool.name, places[unit.server]) for unit in cluster.units)
    agents = sorted(str(agent.identity) for agent in cluster.agents)
    return servers, units, agents, [zone.name for zone in cluster.zones], cluster.lock_holder


async def run(scene, **changes):
    """Run the flow, and keep what it tells."""
    with listening(scene._hear):
        return await replace(**replacement_of(scene, **changes))


@pytest.mark.parametrize(
    ("cards", "changes"),
    [
        (("observer_down",), {}),
        (("observer_down", "agent_down"), {}),
        (("agent_down",), {"live": True}),
    ],
    ids=["observer", "host", "agent"],
)
async def test_the_cluster_is_as_before_the_failure(stage, cards, changes):
    """One server a zone, each tenant's units, the lock free: by another node."""
    scene = await stage()
    before = state_of(scene.world)
    dead = dead_of(scene)
    address = str(AgentAddress(dead.ip, dead.port))
    for card in cards:
        scene.world.play(getattr(Fault, card)(address))

    report = await run(scene, **changes)

    assert (report.outcome, report.operation) == ("verified", "replacement")
    assert (report.target, report.by) == (address, report.halves[0].target)
    assert [half.operation for half in report.halves] == ["scale-out", "removal"]
    assert state_of(scene.world) == before
    assert (scene.posts(), scene.posts(SCALE_IN)) == (1, 1)
    proofs = {proof.id: proof.answer for proof in report.halves[1].proofs}
    assert (proofs["pr-same-count"], proofs["pr-units-on-new"]) == ("pass", "pass")
