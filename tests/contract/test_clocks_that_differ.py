"""Tests that an offset of two clocks is proved although first answers are late, on virtual time.

Each agent's first answers to `GET /time` and all else take 60 ms, later ones to `GET /time` none,
as in a process that is busy by turns. So a clock that is near ours is read to 30 ms at first, which
is enough as long as nobody's is farther off.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from obscale.agent import transport
from obscale.agent.clock import GOOD_ENOUGH_SECONDS, ClockReading
from obscale.connect.connections import Connections, EnvironmentSecrets, connected
from obscale.plan import survey_all
from obscale.preflight.facts import Facts
from obscale.preflight.read import survey
from obscale.preflight.registry import judge
from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, SecretName
from obscale.request.scale_out import ScaleOut
from obscale.sandbox import World, WorldConfig, in_process
from obscale.sandbox.config import AgentConfig, ClusterConfig, ZoneConfig
from obscale.verify.read import read_surroundings
from tests.conftest import SAMPLE
from tests.virtual_time import on_virtual_time, virtual_clock

PASSWORD = "OBSCALE_TEST_CLOCKS_PASSWORD"
LATE_SECONDS = 0.03
"""There, and as long back."""
ZONES = 3


class LateAtFirst(httpx.AsyncBaseTransport):
    """A way to agents that is late, but for the time an agent is asked for once more."""

    def __init__(self, way: httpx.AsyncBaseTransport) -> None:
        self._way = way
        self.asked: Counter[str] = Counter()
        self.tells_once = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Ask and answer."""
        agent = f"{request.url.host}:{request.url.port}"
        is_time = request.url.path.endswith("/time")
        self.asked[agent] += is_time
        is_again = is_time and self.asked[agent] > 1
        if is_again and self.tells_once:
            raise httpx.ConnectError("gone")
        late = 0.0 if is_again else LATE_SECONDS
        await asyncio.sleep(late)
        response = await self._way.handle_async_request(request)
        await asyncio.sleep(late)
        return response


@pytest.fixture
def open_world(monkeypatch):
    """Give a function that connects to a cluster whose spares' clocks are so far off."""

    @asynccontextmanager
    async def opened(
        *spares_off: float, member_off: float = 0.0
    ) -> AsyncIterator[tuple[LateAtFirst, tuple[ScaleOut, ...], Connections]]:
        zones = tuple(ZoneConfig(name=f"zone{number + 1}") for number in range(ZONES))
        config = WorldConfig(
            clusters=(ClusterConfig(name="c1", id=1, zones=zones),),
            spares=tuple(AgentConfig(clock_offset_seconds=off) for off in spares_off),
        )
        world = World(config, clock=virtual_clock())
        (cluster,) = world.clusters
        cluster.agents[-1].clock_offset_seconds = member_off
        way = LateAtFirst(in_process(world))
        monkeypatch.setattr(
            transport, "_open_transports", lambda *_: [transport._Borrowed(way)] * 2
        )
        monkeypatch.setenv(PASSWORD, cluster.root_password)
        nodes = tuple(
            NodeSpec(
                agentInfo=AgentInfoSpec(ip=spare.ip, port=spare.port),
                zone="zone1",
                obConfigs=dict(SAMPLE),
            )
            for spare in world.spares
        )
        spec = ClusterSpec(
            endpoints=tuple(agent.address for agent in cluster.agents),
            password=SecretName(env=PASSWORD),
            name=cluster.name,
            id=cluster.id,
        )
        orders = tuple(ScaleOut(cluster=spec, node=node, batch=nodes) for node in nodes)
        async with connected(orders[0], EnvironmentSecrets()) as link:
            yield way, orders, link

    return opened


def skew_of(facts: Facts) -> str:
    """Give what is said of the clocks."""
    (finding,) = judge(facts, "prod").of_rule("clock-skew")
    return f"{finding.answer}: {finding.measured}"


def far_off(facts: Facts) -> str:
    """Give the member whose clock is farthest from ours."""
    clocks = facts.cluster.clocks
    return max(clocks, key=lambda agent: abs(clocks[agent].offset_seconds))


@on_virtual_time
async def test_the_offset_of_a_target_is_proved_though_the_members_are_near(open_world):
    """Of its 130 ms all but some are proved, where the first answers would leave 70 to 100."""
    async with open_world(0.13) as (way, orders, link):
        facts = await survey(link, orders[0], probing=False)

    assert skew_of(facts).startswith("warn: target 130 ms ahead of")
    assert all(told.error_seconds <= GOOD_ENOUGH_SECONDS for told in facts.cluster.clocks.values())
    assert max(way.asked.values()) == 2


@on_virtual_time
async def test_the_offset_of_a_member_is_proved_though_the_target_is_near(open_world):
    """The target is asked anew; the other members, who are near as well, are not."""
    async with open_world(0.0, member_off=-0.13) as (way, orders, link):
        facts = await survey(link, orders[0], probing=False)

    assert skew_of(facts).startswith("warn: target 130 ms ahead of")
    near = [agent for agent in facts.cluster.clocks if agent != far_off(facts)]
    assert max(way.asked[agent] for agent in near) <= 1


@on_virtual_time
async def test_clocks_that_are_all_near_are_asked_once(open_world):
    """Nothing could be proved that is worth a word."""
    async with open_world(0.01) as (way, orders, link):
        facts = await survey(link, orders[0], probing=False)

    assert skew_of(facts) == "pass: within 100 ms"
    assert max(way.asked.values()) <= 1


@on_virtual_time
async def test_each_row_of_a_plan_is_compared_surely(open_world, monkeypatch):
    """Also one that is judged by what the first has read of the cluster."""
    monkeypatch.setattr("obscale.preflight.read.probe_ports", lambda *_, **__: asyncio.sleep(0, {}))
    async with open_world(0.0, 0.13) as (_, orders, _):
        first, second = await survey_all(orders, EnvironmentSecrets())

    assert skew_of(first) == "pass: within 100 ms"
    assert skew_of(second).startswith("warn: target 130 ms ahead of")


@on_virtual_time
async def test_the_verification_compares_surely(open_world):
    """What it looks at last is read as preflight reads it."""
    async with open_world(0.13) as (way, _, link):
        members = await link.read_members()
        around = await read_surroundings(link, members.agent_info)

    told = [around.clock, *around.clocks.values()]
    assert [clock for clock in told if not isinstance(clock, ClockReading)] == []
    assert max(clock.error_seconds for clock in told) <= GOOD_ENOUGH_SECONDS
    assert max(way.asked.values()) == 2


@on_virtual_time
async def test_a_clock_that_cannot_be_read_anew_stays_as_it_was_read(open_world):
    """Who falls silent in between is no gap: all have told the time already, and it is said."""
    async with open_world(0.13) as (way, orders, link):
        way.tells_once = True
        facts = await survey(link, orders[0], probing=False)

    assert skew_of(facts).startswith("info: target 70 ms ahead of")
    assert len(facts.cluster.clocks) == ZONES
    assert max(way.asked.values()) == 2
