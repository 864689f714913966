"""Tests of how many more units fit: the worked example, servers that take none, unread facts."""

import pytest

from obscale.agent.models import ClusterInfo
from obscale.preflight.unit_room import unit_rooms_of
from obscale.reading import Unread
from obscale.sizes import GIB
from tests.conftest import CLUSTER, UNITS, server, zone

STATS = {
    "cpu_core_total": 16,
    "cpu_core_assigned": 3,
    "memory_in_bytes_total": 8 * GIB,
    "memory_in_bytes_assigned": 6 * GIB,
}


def placed(*pools):
    """Give the pools of the tenants with their servers: id and `ip:port` of each."""
    told = [{"pool_id": pool, "observer_list": ",".join(servers)} for pool, *servers in pools]
    tenants = [{"tenant_name": "t", "pools": told}]
    return ClusterInfo.model_validate(CLUSTER.model_dump() | {"tenants": tenants})


@pytest.fixture
def full(world):
    """Give a cluster of three servers that have a unit of each pool, and 2G of memory left."""
    world.zones = tuple(zone(f"zone{n}", n, servers=[server(n, stats=STATS)]) for n in (1, 2, 3))
    world.parameter("log_disk_size", "24G")
    everywhere = [f"10.0.0.{n}:2882" for n in (1, 2, 3)]
    return world.set(cluster_info=placed((1, *everywhere), (1001, *everywhere)))


def room(world):
    """Give the room for units of the tenant."""
    facts = world.facts()
    (found,) = unit_rooms_of(facts.cluster, [facts])
    return found


def test_the_worked_example(full):
    """One server more in zone2: two units there, none in the cluster, for zone1 ends at memory."""
    found = room(full)

    assert (found.config, found.now, found.grown) == ("u_app", 0, 0)
    assert [(each.zone, each.now, each.grown) for each in found.zones] == [
        ("zone1", 0, 0),
        ("zone2", 0, 2),
        ("zone3", 0, 0),
    ]
    assert found.ends_first == "memory in zone1: 2G free on 10.0.0.1:2882, 4G a unit"


def test_a_cluster_takes_what_its_fullest_zone_takes(full):
    """Log disk ends before memory where it is shorter."""
    full.zones = tuple(
        zone(f"zone{n}", n, servers=[server(n, stats=STATS | {"memory_in_bytes_total": 32 * GIB})])
        for n in (1, 2, 3)
    )
    full.parameter("log_disk_size", "40G")

    found = room(full)

    # 40G less 14G leave room for two logs of 12G; 26G of memory would for six.
    assert (found.now, [each.now for each in found.zones]) == (2, [2, 2, 2])
    assert found.grown == 2
    assert found.ends_first == "log disk in zone1: 26G free on 10.0.0.1:2882, 12G a unit"


def test_promised_cores_are_counted_by_the_most_a_unit_may_use(full):
    """`resource_hard_limit` sells more of them than there are, for the most alone."""
    full.units = (UNITS[0], UNITS[1].model_copy(update={"max_cpu": 15.0, "memory_size": GIB}))
    full.parameter("log_disk_size", "400G")

    assert room(full).zones[0].now == 0
    assert room(full).ends_first.startswith("cpu in zone1: 0 cores free")


def test_a_pool_without_tenant_counts_on_every_server_of_its_zones(full):
    """Nobody tells where its units are."""
    (sys_pool, app_pool) = full.pools
    orphan = app_pool.model_copy(update={"id": 7, "name": "left", "tenant_id": 0})
    full.zones = tuple(
        zone(f"zone{n}", n, servers=[server(n, stats=STATS | {"memory_in_bytes_total": 32 * GIB})])
        for n in (1, 2, 3)
    )
    full.parameter("log_disk_size", "40G")
    before = room(full).now

    full.set(pools=(sys_pool, app_pool, orphan))

    assert (before, room(full).now) == (2, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"inner_status": "INACTIVE"},
        {"inner_status": "DELETING"},
        {"status": "UNAVAILABLE"},
        {"stop_time": "2026-01-01T00:00:00Z"},
    ],
)
def test_a_server_that_takes_no_units_has_no_room(full, change):
    """Whatever it reports."""
    roomy = STATS | {"memory_in_bytes_total": 64 * GIB, "memory_in_bytes_assigned": 0}
    full.zones = (
        zone("zone1", 1, servers=[server(1, stats=roomy, **change)]),
        *full.zones[1:],
    )

    found = room(full)

    assert [each.now for each in found.zones] == [0, 0, 0]
    assert (found.now, found.ends_first) == (0, "no server of zone1 takes units")


def test_what_is_not_told_is_not_known(full):
    """A log disk left to a percentage; but none is none, whatever else is not known."""
    roomy = STATS | {"memory_in_bytes_total": 64 * GIB}
    full.zones = (zone("zone1", 1, servers=[server(1, stats=roomy)]), *full.zones[1:])
    full.parameter("log_disk_size", "0M")

    found = room(full)

    assert [each.now for each in found.zones] == [None, 0, 0]
    assert found.now == 0


def test_what_a_unit_does_not_need_ends_nothing(full):
    """Without a log disk of its own it fits by the rest, although the servers tell none."""
    full.units = (UNITS[0], UNITS[1].model_copy(update={"log_disk_size": 0, "memory_size": GIB}))
    full.parameter("log_disk_size", "0M")

    found = room(full)

    assert (found.now, found.short_of) == (2, "memory")


def test_an_agent_that_does_not_tell_where_units_are(full):
    """Before 4.4.0.0: one server a zone has them all; of two nobody knows which."""
    full.set(cluster_info=CLUSTER)
    alone = room(full).zones[0].now
    two = [server(n, stats=STATS | {"memory_in_bytes_total": 64 * GIB}) for n in (1, 9)]
    full.zones = (zone("zone1", 1, servers=two), *full.zones[1:])

    assert (alone, room(full).zones[0].now) == (0, None)


@pytest.mark.parametrize("part", ["pools", "units", "zones"])
def test_nothing_is_said_where_nothing_was_read(full, part):
    """Silence is no room."""
    full.set(**{part: Unread("does not answer")})

    facts = full.facts()

    assert unit_rooms_of(facts.cluster, [facts]) == ()
