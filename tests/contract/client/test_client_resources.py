"""Tests of the client's reads of units, pools, tenants, licence and statistics."""

from contextlib import asynccontextmanager

import pytest

from obscale.agent.cluster import ClusterClient
from obscale.agent.models import ListedServer
from obscale.errors import (
    AgentRefusedError,
    AgentTroubleError,
    DatabaseDownError,
    IdentityMismatchError,
    NotSupportedError,
)
from obscale.sandbox import Fault

GIB = 1 << 30
QUESTIONS = {
    "units": lambda client: client.read_unit_configs(),
    "pools": lambda client: client.read_resource_pools(),
    "tenants": lambda client: client.read_tenants(),
    "tenant": lambda client: client.read_tenant("app"),
    "statistics": lambda client: client.read_statistics(),
    "license": lambda client: client.read_license(),
    "observer": lambda client: client.read_observer_info(),
}
OF_TENANTS = ["units", "pools", "tenants", "tenant"]


@pytest.fixture
def aged(door, altered, open_scene):
    """Open a client of the first member of a cluster of this obshell release, with its world."""

    @asynccontextmanager
    async def open_it(version):
        async with (
            open_scene(door, altered(obshell_version=version)) as scene,
            scene.client() as client,
        ):
            yield scene, client

    return open_it


async def test_demand_of_every_tenant_is_known_from_three_lists(scene):
    """Pools join with their unit configs and with their tenants, without a gap."""
    async with scene.client() as client:
        units = {unit.unit_config_id: unit for unit in await client.read_unit_configs()}
        pools = await client.read_resource_pools()
        tenants = {tenant.tenant_id: tenant for tenant in await client.read_tenants()}

    demand = {
        tenants[pool.tenant_id].tenant_name: (
            pool.zones,
            pool.unit_num,
            units[pool.unit_config_id].memory_size,
            units[pool.unit_config_id].log_disk_size,
            units[pool.unit_config_id].min_cpu,
        )
        for pool in pools
    }
    zones = tuple(scene.line["clusters"][0]["zones"])
    assert demand == {
        "sys": (zones, 1, 2 * GIB, 2 * GIB, 1.0),
        "app": (zones, 1, 4 * GIB, 12 * GIB, 2.0),
    }


async def test_tenant_in_detail_agrees_with_the_lists(scene):
    """Pools and unit config of one tenant are those of the lists, and its servers are members."""
    async with scene.client() as client:
        tenant = await client.read_tenant("app")
        overview = {row.tenant_name: row for row in await client.read_tenants()}
        units = {unit.unit_config_id: unit for unit in await client.read_unit_configs()}
        rows = {row.id: row for row in await client.read_resource_pools()}
        topology = (await client.read_ob_info()).obcluster_info.topology

    (pool,) = tenant.pools
    servers = [row for zone in topology.values() for row in zone]
    assert (tenant.tenant_id, tenant.locality) == (
        overview["app"].tenant_id,
        overview["app"].locality,
    )
    assert pool.unit_config == units[rows[pool.pool_id].unit_config_id]
    assert (pool.pool_name, pool.zones) == (rows[pool.pool_id].name, rows[pool.pool_id].zones)
    assert pool.observer_list.split(",") == [_rpc_address(server) for server in servers]


async def test_unknown_tenant_is_refused_by_name(scene):
    """A tenant that is not there is neither an empty one nor a fault of the agent."""
    async with scene.client() as client:
        with pytest.raises(AgentRefusedError, match="read tenant nobody") as caught:
            await client.read_tenant("nobody")

    assert (caught.value.code, caught.value.transient) == ("OB.Tenant.NotExist", False)


async def test_statistics_know_every_host_and_observer(scene):
    """Each observer finds its host by the hash; hosts that are down are silently left out."""
    async with scene.client() as client:
        all_up = await client.read_statistics()
        scene.world.play(Fault.agent_down(str(scene.members[2])))
        one_down = await client.read_statistics()

    hashes = {host.basic.host_hash for host in all_up.hosts}
    assert len(all_up.instances) == 3
    assert {observer.host_hash for observer in all_up.instances} == hashes
    assert {observer.type for observer in all_up.instances} == {"oceanbase-ce"}
    assert (len(all_up.hosts), len(one_down.hosts)) == (3, 2)


async def test_community_edition_has_no_licence(scene):
    """The refusal is an answer: None, asked once."""
    async with scene.client() as client:
        licence = await client.read_license()

    assert licence is None
    assert scene.statuses("GET", "/api/v1/obcluster/license") == [500]


async def test_panic_is_not_taken_for_no_licence(scene):
    """An agent that stumbles has not said that there is no licence."""
    scene.world.play(Fault.panic(to="license"))

    async with scene.client() as client:
        with pytest.raises(AgentTroubleError):
            await client.read_license()


async def test_own_observer_is_told_by_each_member(scene):
    """Every member tells its own server, with the directories the topology shows for it."""
    async with scene.client() as client:
        listed = {
            (server.ip, server.svr_port): (server.data_dir, server.redo_dir)
            for zone in (await client.read_topology()).zones
            for server in zone.servers
        }
    told = {}
    for address in scene.members:
        async with scene.client(address) as client:
            server = await client.read_observer_info()
            told[server.ip, server.svr_port] = (server.data_dir, server.redo_dir)

    assert told == listed
    assert len(told) == 3


@pytest.mark.parametrize(
    ("version", "absent"),
    [
        ("4.2.3.0-1", set(QUESTIONS)),
        ("4.2.4.0-1", {"statistics", "license", "observer"}),
        ("4.2.6.0-1", {"statistics", "license", "observer"}),
        ("4.3.0.0-1", {"license", "observer"}),
        ("4.3.3.0-1", {"license", "observer"}),
        ("4.4.0.0-1", {"observer"}),
        ("4.4.1.0-1", set()),
        ("4.4.2.0-1", set()),
    ],
)
async def test_what_an_older_agent_lacks_is_an_absent_fact(aged, version, absent):
    """Every release is asked everything: what it has is read, the rest is not supported."""
    missing = set()

    async with aged(version) as (_, client):
        for name, question in QUESTIONS.items():
            try:
                await question(client)
            except NotSupportedError:
                missing.add(name)

    assert missing == absent


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("4.2.6.0-1", {"read_only": False, "observers": False, "data disk": False}),
        ("4.3.0.0-1", {"read_only": True, "observers": False, "data disk": False}),
        ("4.4.0.0-1", {"read_only": True, "observers": True, "data disk": False}),
        ("4.4.2.0-1", {"read_only": True, "observers": True, "data disk": True}),
    ],
)
async def test_fields_appear_with_the_release_that_brought_them(aged, version, told):
    """Before that they are None, never a value."""
    async with aged(version) as (_, client):
        tenant = await client.read_tenant("app")

    (pool,) = tenant.pools
    assert {
        "read_only": tenant.read_only is not None,
        "observers": pool.observer_list is not None,
        "data disk": pool.unit_config.data_disk_size is not None,
    } == told


async def test_cluster_without_user_tenants_still_has_sys(door, altered, open_scene):
    """The lists are never empty on a healthy cluster: `sys` has its own unit and pool."""
    async with (
        open_scene(door, altered(cluster={"tenants": ()})) as scene,
        scene.client() as client,
    ):
        tenants = await client.read_tenants()
        pools = await client.read_resource_pools()

    assert [tenant.tenant_name for tenant in tenants] == ["sys"]
    assert [pool.tenant_id for pool in pools] == [tenants[0].tenant_id]


async def test_spare_refuses_what_only_a_cluster_agent_knows(scene):
    """The three lists want another identity; a tenant wants a database, which a spare lacks."""
    async with scene.client(scene.spares[0]) as client:
        for name in ("units", "pools", "tenants"):
            with pytest.raises(IdentityMismatchError):
                await QUESTIONS[name](client)
        with pytest.raises(DatabaseDownError):
            await client.read_tenant("app")
        observer = await client.read_observer_info()

    assert (observer.id, observer.svr_port) == (0, 0)


@pytest.mark.parametrize("name", OF_TENANTS)
async def test_lost_database_is_named_and_another_agent_asked(scene, name):
    """With no database anywhere the error is transient; with one left, the cluster answers."""
    for address in scene.members[:2]:
        scene.world.play(Fault.database_down(str(address)))

    clients = [scene.client(address) for address in scene.members]
    async with ClusterClient(clients) as cluster:
        answer = await cluster.ask(QUESTIONS[name])
        scene.world.play(Fault.database_down(str(scene.members[2])))
        with pytest.raises(DatabaseDownError):
            await cluster.ask(QUESTIONS[name])

    assert answer


async def test_lost_database_leaves_the_agents_own_observer(scene):
    """What needs no database is read all the same, and says so with an id of 0."""
    scene.world.play(Fault.database_down(str(scene.members[0])))

    async with scene.client() as client:
        observer = await client.read_observer_info()
        limit = await client.read_unit_config_limit()

    assert (observer.id, observer.ob_status, observer.svr_port) == (0, 1, 2882)
    assert limit.min_memory is None


@pytest.mark.parametrize(
    ("version", "error"),
    [
        ("4.2.6.0-1", AgentTroubleError),
        ("4.3.0.0-1", AgentTroubleError),
        ("4.3.1.0-1", DatabaseDownError),
        ("4.4.0.0-1", DatabaseDownError),
    ],
)
async def test_only_newer_agents_ask_on_for_the_tenants(aged, version, error):
    """Below 4.4.1.0 the overview is not forwarded: the agent without database refuses it."""
    async with aged(version) as (scene, client):
        scene.world.play(Fault.database_down(str(scene.members[0])))
        with pytest.raises(error) as caught:
            await client.read_tenants()

    assert caught.value.transient


async def test_newer_agents_pass_the_question_for_tenants_on(aged):
    """From 4.4.1.0 on an agent without database has another one answer."""
    async with aged("4.4.1.0-1") as (scene, client):
        scene.world.play(Fault.database_down(str(scene.members[0])))
        tenants = await client.read_tenants()
        with pytest.raises(DatabaseDownError):
            await client.read_unit_configs()

    assert [tenant.tenant_name for tenant in tenants] == ["sys", "app"]


def _rpc_address(server: ListedServer) -> str:
    return f"{server.svr_ip}:{server.svr_port}"
