"""Tests that a healthy cluster is read whole when all its answers are late.

Answers are 0.4 s late, and a silent member may cost one second: as two seconds to five.
"""

from contextlib import AsyncExitStack

import pytest

from obscale.agent.clock import ClockReading
from obscale.connect.connections import EnvironmentSecrets, connected
from obscale.connect.endpoints import EndpointAnswer, find_foreign_endpoint
from obscale.errors import SpecError
from obscale.preflight.read import survey
from obscale.preflight.registry import judge
from obscale.reading import Unread
from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, SecretName
from obscale.request.scale_out import ScaleOut
from obscale.sandbox import Fault, ScaledClock, World, default_config, serve
from obscale.verify.read import read_surroundings

LATE_SECONDS = 0.4
ONE_SILENT_SECONDS = 1.0
ROOT = "OBSCALE_LATE_ROOT"
SAMPLE = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}


@pytest.fixture
async def late_link(monkeypatch):
    """Give a function that opens a link to a world every answer of which is late."""
    async with AsyncExitStack() as stack:

        async def opened(clusters=1):
            plain = default_config()
            twins = tuple(
                plain.clusters[0].model_copy(
                    update={"name": f"obcluster{n or ''}", "id": n + 1, "root_password": "one"}
                )
                for n in range(clusters)
            )
            world = World(
                plain.model_copy(update={"clusters": twins, "port": 0}), clock=ScaledClock(speed=40)
            )
            ready = (await stack.enter_async_context(serve(world))).ready
            cluster, spare = ready["clusters"][0], ready["spares"][0]
            monkeypatch.setenv(ROOT, cluster["root_password"])
            node = NodeSpec(
                agentInfo=AgentInfoSpec(ip=spare["ip"], port=spare["port"]),
                zone="zone2",
                obConfigs=SAMPLE,
            )
            agents = [c["agents"][0] for c in ready["clusters"][1:]] or cluster["agents"][1:]
            spec = ClusterSpec(
                endpoints=tuple(
                    f"{agent['ip']}:{agent['port']}" for agent in (cluster["agents"][0], *agents)
                ),
                password=SecretName(env=ROOT),
                name=cluster["name"],
                id=cluster["id"],
            )
            order = ScaleOut(cluster=spec, node=node, batch=(node,))
            world.play(Fault.delay_answer(LATE_SECONDS, times=0))
            return order, await stack.enter_async_context(connected(order, EnvironmentSecrets()))

        yield opened


async def test_nothing_is_unread_and_nothing_more_is_warned_of(late_link):
    """Statistics wait their turn behind ten questions; clocks are read from late answers."""
    order, link = await late_link()

    facts = await survey(link, order, peer_seconds=ONE_SILENT_SECONDS)

    told = [facts.cluster.statistics, *facts.cluster.clocks.values(), facts.target.clock]
    assert [fact for fact in told if isinstance(fact, Unread)] == []
    assert len(facts.cluster.clocks) == 3
    errors = [clock.error_seconds for clock in told if isinstance(clock, ClockReading)]
    assert min(errors) >= LATE_SECONDS / 2, "half the way of the quickest answer"
    findings = judge(facts, "prod")
    assert {f.rule for f in findings.warnings} == {"disk-same-mount", "zone-balance"}
    assert [f.rule for f in findings if f.answer == "unknown"] == []
    assert findings.of_rule("clock-precision")[0].answer == "info"


async def test_late_entry_agents_are_compared_all_the_same(late_link):
    """One of another cluster is met, although its three answers together are late."""
    _, link = await late_link(clusters=2)
    mine, other = link.cluster.clients
    first = EndpointAnswer(str(mine.address), await mine.read_info(), await mine.read_ob_info())
    silent: list[str] = []

    odd = await find_foreign_endpoint(
        first, [other], ONE_SILENT_SECONDS, lambda *heard: silent.append(heard[2])
    )

    assert isinstance(odd, SpecError)
    assert "not all of one cluster" in odd.message
    assert silent == []


async def test_the_verification_reads_late_clocks(late_link, monkeypatch):
    """What it looks at last is read as preflight reads it."""
    monkeypatch.setattr("obscale.verify.read.PEER_SECONDS", ONE_SILENT_SECONDS)
    _, link = await late_link()
    members = await link.read_members()

    around = await read_surroundings(link, members.agent_info)

    assert len(around.clocks) == 3
    assert all(isinstance(clock, ClockReading) for clock in around.clocks.values())
