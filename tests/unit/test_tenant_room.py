"""Tests of what tenants could gain: worked examples, lines of plans, and the report's words."""

import pytest

from obscale.agent.models import ClusterInfo, ServerParameter
from obscale.agent.resources import TenantOverview
from obscale.preflight.capacity import Capacity
from obscale.preflight.tenant_room import TenantRoom, tenant_rooms_of
from obscale.reading import Unread
from obscale.report.page import NOTHING_BY_ITSELF, render_markdown
from obscale.report.report import ScaleOutReport
from obscale.sizes import GIB
from tests.conftest import CLUSTER, server, zone

STATS = {
    "cpu_core_total": 16,
    "cpu_core_assigned": 3,
    "memory_in_bytes_total": 8 * GIB,
    "memory_in_bytes_assigned": 6 * GIB,
}
EMPTY = STATS | {"cpu_core_assigned": 0, "memory_in_bytes_assigned": 0}


@pytest.fixture
def cluster(world):
    """Give zones of one server each, with a unit of each pool on it, and 2G of memory left."""
    world.zones = tuple(zone(f"zone{n}", n, servers=[server(n, stats=STATS)]) for n in (1, 2, 3))
    world.parameter("log_disk_size", "24G")
    places(world, *(f"10.0.0.{n}:2882" for n in (1, 2, 3)))
    overview = [TenantOverview(tenant_id=1, tenant_name="sys")]
    overview += [
        TenantOverview(tenant_id=pool.tenant_id, tenant_name="app")
        for pool in world.facts().cluster.pools
        if pool.tenant_id != 1
    ]
    return world.set(tenants=tuple(overview))


def places(world, *servers):
    """Have the pools' units on these servers."""
    told = [{"pool_id": each, "observer_list": ",".join(servers)} for each in (1, 1001)]
    tenants = [{"tenant_name": "t", "pools": told}]
    info = ClusterInfo.model_validate(CLUSTER.model_dump() | {"tenants": tenants})
    world.set(cluster_info=info)


def with_logs(world, *ips):
    """Have further servers tell a log disk of 24G."""
    more = tuple(ServerParameter(svr_ip=ip, svr_port=2882, value="24G") for ip in ips)
    world.parameters = tuple(
        row.model_copy(update={"ob_parameters": (*row.ob_parameters, *more)})
        if row.name == "log_disk_size"
        else row
        for row in world.parameters
    )


def rooms(world):
    """Give what each tenant could have."""
    facts = world.facts()
    return tenant_rooms_of(facts.cluster, [facts])


def test_one_server_more_in_one_zone_gains_nothing(cluster):
    """The example of the design: k is 0, 1, 0; the zone without a further server ends first."""
    (app,) = rooms(cluster)

    assert (app.tenant, app.unit_num, app.now, app.grown) == ("app", 1, 1, 1)
    assert app.told == "tenant app: unit_num 1, cannot be more; servers in zone1 ends first"
    assert not app.gains


def test_the_server_that_completes_the_zones_gains_one(cluster):
    """Zone1 and zone3 have a second one already; zone2 gets it now."""
    cluster.zones = (
        zone("zone1", 1, servers=[server(1, stats=STATS), server(5, stats=EMPTY)]),
        zone("zone2", 2, servers=[server(2, stats=STATS)]),
        zone("zone3", 3, servers=[server(3, stats=STATS), server(6, stats=EMPTY)]),
    )
    with_logs(cluster, "10.0.0.5", "10.0.0.6")
    (app,) = rooms(cluster)

    assert (app.now, app.grown) == (1, 2)
    assert app.told.startswith("tenant app: unit_num 1, could be 2; ")


def test_a_server_without_room_is_named_with_what_is_short(cluster):
    """It is there, and a unit does not fit."""
    small = EMPTY | {"memory_in_bytes_total": 3 * GIB}
    cluster.zones = (
        zone("zone1", 1, servers=[server(1, stats=STATS), server(5, stats=small)]),
        zone("zone2", 2, servers=[server(2, stats=STATS)]),
        zone("zone3", 3, servers=[server(3, stats=STATS), server(6, stats=EMPTY)]),
    )
    with_logs(cluster, "10.0.0.5", "10.0.0.6")
    (app,) = rooms(cluster)

    assert app.ends_first == "memory in zone1: 3G free on 10.0.0.5:2882, 4G a unit"
    assert app.short_of == "memory in zone1"


@pytest.mark.parametrize("gap", ["pools", "units", "tenants", "zones"])
def test_nothing_is_told_where_something_is_unread(cluster, gap):
    """No number is better than a wrong one."""
    cluster.set(**{gap: Unread("nobody tells")})

    assert rooms(cluster) == ()


def test_where_units_are_not_told_no_number_is(cluster):
    """Below 4.4.0.0."""
    cluster.set(cluster_info=Unread("nobody tells"))
    (app,) = rooms(cluster)

    assert (app.now, app.grown) == (None, None)
    assert "whether it could be more is not known" in app.told


def report(*tenants):
    """A verified scale-out."""
    return ScaleOutReport(
        outcome="verified",
        cluster="prod-east",
        command_name="prod-east",
        target="10.0.0.4:2886",
        zone="zone2",
        obConfigs={},
        level="CONFORMING",
        capacity=Capacity(tenants=tenants),
    )


def room(name, number, could):
    """A tenant with so many units, that could have so many."""
    return TenantRoom(tenant=name, unit_num=number, now=number, grown=could, ends_first="")


def test_the_report_says_that_nothing_moves_by_itself_and_names_the_command():
    """For each tenant that could gain; those that could not are not asked for."""
    page = render_markdown(report(room("app", 1, 2), room("big one", 1, 3), room("full", 2, 2)))

    assert NOTHING_BY_ITSELF in page.replace("\\", "")
    assert "obscale use prod-east --tenant app --unit-num 2" in page
    assert "obscale use prod-east --tenant 'big one' --unit-num 3" in page
    assert "--tenant full" not in page
    assert "nothing is left to do" not in page


def test_where_no_tenant_could_gain_the_report_says_why():
    """And names no command."""
    page = render_markdown(report(room("full", 2, 2)))

    assert "tenant full: unit" in page
    assert "obscale use" not in page


def test_a_run_that_is_not_verified_names_no_command():
    """First things first."""
    failed = report(room("app", 1, 2)).model_copy(update={"outcome": "failed", "error": "x"})

    assert "obscale use" not in render_markdown(failed)
