"""Tests that a forecast holds: the simulated cluster takes exactly that many, and refuses the next.

Forecast and simulator share no code, so they can only agree on the wire.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.agent.silence import remembering_silence
from obscale.preflight.capacity import capacity_now
from obscale.preflight.facts import ClusterFacts
from obscale.preflight.read import survey_cluster
from obscale.preflight.unit_room import DIMENSIONS, free_by_zone
from obscale.sandbox import ManualClock, World, WorldConfig, in_process
from obscale.sandbox.config import (
    AgentConfig,
    ClusterConfig,
    TenantConfig,
    UnitConfig,
    ZoneConfig,
)
from tests.contract.conftest import Asker

GIB = 1 << 30
MOST = 8
"""Tenants of a world, so units that can be asked for."""
SAID = {"cpu": "CPU", "memory": "MEMORY_SIZE", "log disk": "LOG_DISK_SIZE"}
SIZES = st.fixed_dictionaries(
    {
        "cores": st.integers(3, 24),
        "memory": st.integers(10, 40),
        "log": st.integers(4, 80),
        "min_cpu": st.integers(1, 4),
        "more_cpu": st.integers(0, 3),
        "unit_memory": st.integers(2, 9),
        "unit_log": st.integers(2, 16),
    }
)


def world_of(sizes) -> World:
    """Zone1 that has room for everybody, zone2 with one server of these sizes."""
    unit = UnitConfig(
        name="u_asked",
        min_cpu=sizes["min_cpu"],
        max_cpu=sizes["min_cpu"] + sizes["more_cpu"],
        memory_size=sizes["unit_memory"] * GIB,
        log_disk_size=sizes["unit_log"] * GIB,
    )
    small = {"max_cpu": 1, "min_cpu": 1, "memory_size": GIB, "log_disk_size": 2 * GIB}
    tenants = [TenantConfig(name="t0", unit=unit, zones=("zone1",))] + [
        TenantConfig(name=f"t{n}", unit=UnitConfig(name=f"u{n}", **small), zones=("zone1",))
        for n in range(1, MOST)
    ]
    large = {"memory_limit": "40G", "cpu_count": "60", "log_disk_size": "80G"}
    asked = {
        "memory_limit": f"{sizes['memory']}G",
        "system_memory": "2G",
        "cpu_count": str(sizes["cores"]),
        "log_disk_size": f"{sizes['log']}G",
    }
    zones = (
        ZoneConfig(name="zone1", agents=(AgentConfig(ob_configs=large),)),
        ZoneConfig(name="zone2", agents=(AgentConfig(ob_configs=asked),)),
    )
    cluster = ClusterConfig(zones=zones, tenants=tuple(tenants))
    return World(WorldConfig(clusters=(cluster,), spares=()), clock=ManualClock())


async def facts_of(world: World) -> ClusterFacts:
    """What a plan reads of the cluster."""
    cluster = world.clusters[0]
    with remembering_silence():
        agent = AgentClient(
            AgentAddress.parse(cluster.agents[0].address),
            root_password=SecretStr(cluster.root_password),
            transport=in_process(world),
        )
        async with ClusterClient([agent]) as client:
            return await survey_cluster(client)


def room_of(facts: ClusterFacts):
    """The forecast for the unit that is asked for, in zone2."""
    capacity = capacity_now(facts)
    (room,) = (each for each in capacity.units if each.config == "u_asked")
    (zone,) = (each for each in room.zones if each.zone == "zone2")
    return room, zone.now


def short_dimensions(facts: ClusterFacts):
    """What the server of zone2 has too little of for one more."""
    unit = next(each for each in facts.unit_configs if each.name == "u_asked")
    (free,) = free_by_zone(facts, facts.pools, facts.unit_configs)["zone2"]
    needs = (unit.min_cpu, unit.max_cpu, unit.memory_size, unit.log_disk_size)
    return {
        name
        for name, left, needed in zip(DIMENSIONS, free.left, needs, strict=True)
        if left < needed
    }


async def take_all(sizes) -> tuple[int, int, str, set[str], str]:
    """Ask for one unit in zone2 for each tenant in turn.

    Returns:
        How many were foreseen, how many were taken, how the next was refused, what was short by the
        forecast, and what it says ends first.
    """
    world = world_of(sizes)
    ask = Asker(world)
    _room, foreseen = room_of(await facts_of(world))
    taken, refused = 0, ""
    for number in range(MOST):
        wanted = {"name": "zone2", "unit_config_name": "u_asked", "unit_num": 1}
        target = f"/api/v1/tenant/t{number}/replicas"
        answer = await ask("POST", target, {"zone_list": [wanted]})
        if answer.status_code != 200:
            error = answer.json()["error"]
            assert error["errCode"] == "OB.Tenant.ResourceNotEnough"
            refused = error["message"]
            break
        world.advance(60)
        assert world.clusters[0].dags[-1].state == "SUCCEED"
        taken += 1
    await ask.http.aclose()
    after = await facts_of(world)
    room, _left = room_of(after)
    return foreseen, taken, refused, short_dimensions(after), room.ends_first


def check(foreseen, taken, refused, short, ends_first):
    """Hold what was taken to what was foreseen."""
    assert taken == min(foreseen, MOST)
    if taken == MOST:
        return
    (said,) = (name for name, word in SAID.items() if f" {word} resource not enough" in refused)
    assert said in short
    if len(short) == 1:
        # By the forecast: the same dimension, on the same server.
        assert ends_first.startswith(f"{said} in zone2: ")
        server = refused.removeprefix("Server ").partition(" ")[0]
        assert f" free on {server}, " in ends_first


TABLE = [
    # cores, memory, log, min_cpu, more_cpu, unit_memory, unit_log: how many, and what ends first
    ((16, 16, 24, 2, 0, 4, 2), 3, "memory"),
    ((16, 40, 24, 2, 0, 4, 12), 1, "log disk"),
    ((6, 40, 80, 2, 0, 2, 2), 2, "cpu"),
    ((8, 40, 80, 1, 2, 2, 2), 2, "cpu"),
    ((3, 40, 80, 3, 0, 2, 2), 0, "cpu"),
    ((24, 10, 80, 1, 0, 9, 2), 0, "memory"),
    ((24, 40, 4, 1, 0, 2, 4), 0, "log disk"),
    ((24, 40, 80, 1, 0, 2, 2), 8, ""),
]
KEYS = ("cores", "memory", "log", "min_cpu", "more_cpu", "unit_memory", "unit_log")


@pytest.mark.parametrize(("sizes", "many", "ends"), TABLE)
async def test_exactly_as_many_units_fit_as_was_foreseen(sizes, many, ends):
    """And the next is refused for want of what the forecast says ends first, on that server."""
    found = await take_all(dict(zip(KEYS, sizes, strict=True)))
    check(*found)

    assert found[1] == many
    if ends:
        assert found[3] == {ends}


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sizes=SIZES)
async def test_whatever_the_sizes_are(sizes):
    """Drawn, so that no table has to think of them."""
    check(*await take_all(sizes))


@pytest.mark.parametrize(
    ("servers", "memory", "could"),
    [((1, 1, 1), "16G", 1), ((2, 2, 2), "16G", 2), ((3, 2, 4), "16G", 2), ((4, 3, 4), "16G", 3)],
)
async def test_a_tenant_takes_exactly_the_units_that_were_foreseen(servers, memory, could):
    """PATCH of that number succeeds, one more does not: obshell refuses it, or its DAG fails."""
    config = {"memory_limit": memory, "system_memory": "8G", "log_disk_size": "24G"}
    zones = tuple(
        ZoneConfig(
            name=f"zone{at}", agents=tuple(AgentConfig(ob_configs=config) for _ in range(count))
        )
        for at, count in enumerate(servers, start=1)
    )
    app = TenantConfig(name="app", unit=UnitConfig(name="u_app"))
    cluster = ClusterConfig(zones=zones, tenants=(app,))
    world = World(WorldConfig(clusters=(cluster,), spares=()), clock=ManualClock())

    assert await _foreseen_and_taken(world) == (could, could)


async def test_a_tenant_ends_where_a_server_has_no_room():
    """Three servers a zone, and in zone2 two of them are too small: OceanBase itself says no."""
    small = {"memory_limit": "13G", "system_memory": "8G"}
    large = {"memory_limit": "16G", "system_memory": "8G"}

    def zone(name, *sizes):
        return ZoneConfig(name=name, agents=tuple(AgentConfig(ob_configs=each) for each in sizes))

    zones = (zone("zone1", *[large] * 3), zone("zone2", large, large, small))
    app = TenantConfig(name="app", unit=UnitConfig(name="u_app", memory_size=6 * GIB))
    cluster = ClusterConfig(zones=zones, tenants=(app,))
    world = World(WorldConfig(clusters=(cluster,), spares=()), clock=ManualClock())

    (room,) = capacity_now(await facts_of(world)).tenants
    assert room.ends_first == "memory in zone2: 5G free on 127.0.1.6:2882, 6G a unit"
    assert await _foreseen_and_taken(world) == (2, 2)


async def _foreseen_and_taken(world: World) -> tuple[int | None, int]:
    """Raise a tenant's number one by one until the cluster does not take it."""
    ask = Asker(world)
    (room,) = capacity_now(await facts_of(world)).tenants
    names = [zone.name for zone in world.clusters[0].zones]
    taken = room.unit_num
    while True:
        zones = [{"zone_name": name, "unit_num": taken + 1} for name in names]
        answer = await ask("PATCH", "/api/v1/tenant/app/replicas", {"zone_list": zones})
        if answer.status_code == 200:
            world.advance(60)
        if answer.status_code != 200 or world.clusters[0].dags[-1].state != "SUCCEED":
            await ask.http.aclose()
            return room.grown, taken
        taken += 1
