"""Tests of the flow `remove`: the undo of a growth, its report, and what it refuses."""

import pytest

from obscale.flows.remove import remove
from obscale.tasks.runtime.journal import listening

pytestmark = pytest.mark.asyncio(loop_scope="session")
SCALE_IN = "/api/v1/ob/scale_in"


def removal_of(scene, **changes):
    """Give the parameters that take back the documented scale-out."""
    grown = scene.asked()
    agent = grown["agentInfo"]
    kept = {name: grown[name] for name in ("cluster", "zone", "agentInfo", "time_limits")}
    return kept | {"confirm": agent.ip, "profile": "lab"} | changes


def state_of(world):
    """Give what of a cluster a growth and its undo must leave as it was."""
    cluster = world.clusters[0]
    servers = sorted(
        (server.zone, server.agent.address, server.observer.alive, str(server.observer.values))
        for server in cluster.servers
    )
    units = sorted((unit.pool.name, unit.server.agent.address) for unit in cluster.units)
    agents = sorted((agent.address, agent.identity) for agent in cluster.agents)
    return servers, units, agents, [zone.name for zone in cluster.zones], cluster.lock_holder


async def test_a_growth_is_taken_back_and_the_cluster_is_as_before(stage):
    """Grown, CONFORMING, removed by the command the report names: topology, units, parameters."""
    scene = await stage()
    before = state_of(scene.world)
    grown = await scene.scale_out()
    assert grown.outcome == "verified"
    command = f"{grown.target} --zone {grown.zone}"
    assert any(each.endswith(command) for each in grown.undo), grown.undo

    with listening(scene._hear):
        report = await remove(**removal_of(scene))

    assert (report.outcome, report.level, report.operation) == (
        "verified",
        "CONFORMING",
        "removal",
    )
    assert scene.posts(SCALE_IN) == 1
    assert state_of(scene.world) == before
    assert any("admin stop" in step for step in report.host_steps), report.host_steps
    assert {proof.id for proof in report.proofs} >= {"pl-server-gone", "pl-units", "pl-lock"}
