"""Tests of the models of units, pools, tenants, licence and statistics."""

import httpx
import pytest

from obscale.agent.resources import License, ResourcePool, Statistics, Tenant, UnitConfig
from obscale.errors import (
    AgentProtocolError,
    AgentRefusedError,
    AgentTroubleError,
    DatabaseDownError,
    NotSupportedError,
)

CREATED = "2026-05-01T10:00:00.123456789+08:00"
UNIT = {
    "unit_config_id": 1002,
    "name": "u_app",
    "max_cpu": 4,
    "min_cpu": 2.5,
    "memory_size": 8589934592,
    "log_disk_size": 25769803776,
    "max_iops": 9223372036854775807,
    "min_iops": 20000,
    "create_time": CREATED,
    "modify_time": CREATED,
}
POOL = {
    "id": 1001,
    "name": "p_app",
    "zone_list": "zone1;zone2;zone3",
    "unit_num": 1,
    "UnitCount": 0,
    "unit_config_id": 1002,
    "tenant_id": 1002,
    "replica_type": "FULL",
    "CreateTime": CREATED,
    "ModifyTime": CREATED,
}
OVERVIEW = {
    "tenant_id": 1002,
    "tenant_name": "app",
    "mode": "MYSQL",
    "status": "NORMAL",
    "locked": "NO",
    "primary_zone": "RANDOM",
    "locality": "FULL{1}@zone1, FULL{1}@zone2, FULL{1}@zone3",
    "in_recyclebin": "NO",
    "created_time": CREATED,
}
TENANT_POOL = {
    "pool_name": "p_app",
    "pool_id": 1001,
    "zone_list": "zone1;zone2;zone3",
    "unit_num": 1,
    "unit_config": UNIT,
}
TENANT = OVERVIEW | {
    "charset": "utf8mb4",
    "collation": "utf8mb4_general_ci",
    "whitelist": "%",
    "time_zone": "+08:00",
    "lower_case_table_names": "1",
    "pools": [TENANT_POOL],
}
LICENSE = {
    "end_user": "ACME",
    "license_id": "L-1",
    "license_code": "canary-code",
    "license_type": "Trial",
    "product_type": "Standalone",
    "issuance_date": CREATED,
    "activation_time": CREATED,
    "expired_time": "0001-01-01T00:00:00Z",
    "options": "MYSQL",
    "node_num": 3,
    "cluster_ulid": "01J",
}
STATISTICS = {
    "telemetryEnabled": False,
    "clusterId": "1",
    "reporter": "obshell-dashboard",
    "obshellVersion": "obshell 4.5.0.0 (for OceanBase_CE)",
    "obshellRevision": "12026050815-61ee147",
    "reportTime": 1777600000,
    "telemetryVersion": 1,
    "hosts": [{"basic": {"hostHash": "ab12", "hostType": "kvm"}, "disks": None}],
    "instances": [
        {
            "type": "oceanbase-ce",
            "version": "4.3.5.2",
            "revision": "102000092025042111",
            "cpuCount": 16,
            "memoryLimit": "16G",
            "dataFileSize": "24G",
            "logDiskSize": "24G",
            "hostHash": "ab12",
        }
    ],
}
SERVER = {"id": 1, "ip": "10.0.0.1", "svr_port": 2882, "sql_port": 2881, "data_dir": "/data/1"}
ANSWERS = {
    "units/config": {"contents": [UNIT]},
    "resource-pools": {"contents": [POOL]},
    "tenants/overview": {"contents": [OVERVIEW]},
    "tenant/app": TENANT,
    "obcluster/license": LICENSE,
    "obcluster/statistics": STATISTICS,
    "observer/info": SERVER,
}
QUESTIONS = {
    "units/config": lambda client: client.read_unit_configs(),
    "resource-pools": lambda client: client.read_resource_pools(),
    "tenants/overview": lambda client: client.read_tenants(),
    "tenant/app": lambda client: client.read_tenant("app"),
    "obcluster/license": lambda client: client.read_license(),
    "obcluster/statistics": lambda client: client.read_statistics(),
    "observer/info": lambda client: client.read_observer_info(),
}
LISTS = ["units/config", "resource-pools", "tenants/overview"]
EVERY = pytest.mark.parametrize("path", list(QUESTIONS))


@pytest.fixture
def agent(make_agent):
    """A cluster agent that answers every question of this file."""
    return make_agent(data=dict(ANSWERS))


# --- what is read ---


async def test_unit_configs_are_read_in_bytes_and_cores(agent):
    """Sizes are whole bytes, and cores may be fractions."""
    async with agent.client() as client:
        (unit,) = await client.read_unit_configs()

    assert (unit.unit_config_id, unit.name) == (1002, "u_app")
    assert (unit.min_cpu, unit.max_cpu) == (2.5, 4.0)
    assert (unit.memory_size, unit.log_disk_size) == (8 << 30, 24 << 30)
    assert unit.data_disk_size is None


async def test_pools_are_read_with_their_zones(agent):
    """The zones are told apart; keys with capitals, as only pools have them, are no trouble."""
    async with agent.client() as client:
        (pool,) = await client.read_resource_pools()

    assert (pool.id, pool.unit_config_id, pool.tenant_id, pool.unit_num) == (1001, 1002, 1002, 1)
    assert pool.zones == ("zone1", "zone2", "zone3")


async def test_tenants_are_read_without_pools(agent):
    """The overview names each tenant and where its replicas are."""
    async with agent.client() as client:
        (tenant,) = await client.read_tenants()

    assert (tenant.tenant_id, tenant.tenant_name, tenant.status) == (1002, "app", "NORMAL")
    assert tenant.locality.endswith("FULL{1}@zone3")
    assert not hasattr(tenant, "pools")


async def test_tenant_is_read_with_pools_and_units(agent):
    """One tenant carries everything that its demand is made of."""
    async with agent.client() as client:
        tenant = await client.read_tenant("app")

    (pool,) = tenant.pools
    assert (tenant.tenant_name, tenant.mode) == ("app", "MYSQL")
    assert (pool.pool_name, pool.zones, pool.unit_num) == ("p_app", ("zone1", "zone2", "zone3"), 1)
    assert pool.unit_config == UnitConfig.model_validate(UNIT)


async def test_tenant_name_cannot_leave_its_place_in_the_path(agent):
    """Odd characters are escaped alike in target and seal, and the error names the tenant."""
    agent.script = lambda agent, seen: (
        agent.refusal(400, "OB.Tenant.NotExist", "Tenant 'a/b?' does not exist", seen)
        if "/tenant/" in seen.path
        else None
    )

    async with agent.client() as client:
        with pytest.raises(AgentRefusedError, match=r"read tenant a/b\?") as caught:
            await client.read_tenant("a/b?")

    assert agent.seen[-1].target == agent.seen[-1].header["uri"] == "/api/v1/tenant/a%2Fb%3F"
    assert (caught.value.code, caught.value.transient) == ("OB.Tenant.NotExist", False)


async def test_statistics_hold_hosts_and_observers(agent):
    """Hosts carry no address: the hash of it joins them with the observers."""
    async with agent.client() as client:
        statistics = await client.read_statistics()

    (host,), (observer,) = statistics.hosts, statistics.instances
    assert host.basic.host_hash == observer.host_hash == "ab12"
    assert host.disks == ()
    assert observer.type == "oceanbase-ce"


async def test_own_observer_is_read_without_its_database(agent):
    """Id 0 and empty texts: the directories are known all the same."""
    agent.data["observer/info"] = SERVER | {"id": 0, "inner_status": "", "ob_status": 1}

    async with agent.client() as client:
        server = await client.read_observer_info()

    assert (server.id, server.ob_status, server.data_dir) == (0, 1, "/data/1")


# --- the licence ---


async def test_licence_of_a_standalone_cluster_is_read(agent):
    """How many servers it allows, and until when; its code is not kept."""
    async with agent.client() as client:
        licence = await client.read_license()

    assert (licence.node_num, licence.expired_time.year) == (3, 1)
    assert "canary" not in f"{licence!r} {licence.model_dump_json()}"


async def test_standalone_cluster_without_licence_has_none(agent):
    """A null licence is none, not a broken answer."""
    agent.data["obcluster/license"] = None

    async with agent.client() as client:
        assert await client.read_license() is None


async def test_other_editions_have_no_licence(agent):
    """The refusal whose words say so is an answer: there is none."""
    agent.script = _refuse_protected(500, "Common.Unexpected", "Not a standalone cluster")

    async with agent.client() as client:
        assert await client.read_license() is None


@pytest.mark.parametrize(
    ("code", "message", "error"),
    [
        ("Common.Unexpected", "Unexpected error: Internal Server Error", AgentTroubleError),
        ("Agent.OceanBase.NotHold", "The agent does not hold a connection", DatabaseDownError),
    ],
)
async def test_no_other_trouble_is_taken_for_no_licence(agent, code, message, error):
    """Where the agent could not look, the licence is unknown."""
    agent.script = _refuse_protected(500, code, message)

    async with agent.client() as client:
        with pytest.raises(error):
            await client.read_license()


# --- old, new and broken answers ---


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("data", [None, {"contents": None}, {"contents": []}])
async def test_null_and_empty_lists_are_empty(agent, path, data):
    """Go writes an empty list in three ways."""
    agent.data[path] = data

    async with agent.client() as client:
        assert await QUESTIONS[path](client) == ()


def test_null_lists_inside_are_empty():
    """Pools, hosts and instances may be null."""
    tenant = Tenant.model_validate(TENANT | {"pools": None})
    statistics = Statistics.model_validate({"hosts": None, "instances": None})

    assert tenant.pools == ()
    assert (statistics.hosts, statistics.instances) == ((), ())


def test_what_a_version_does_not_say_is_not_made_up():
    """Fields of 4.4.0.0 and later are None for older agents, and read from newer ones."""
    newer = TENANT | {
        "pools": [
            TENANT_POOL
            | {"observer_list": "10.0.0.1:2882", "unit_config": UNIT | {"data_disk_size": 0}}
        ],
    }

    old, new = Tenant.model_validate(TENANT), Tenant.model_validate(newer)

    assert old.pools[0].observer_list is None
    assert new.pools[0].observer_list == "10.0.0.1:2882"
    assert new.pools[0].unit_config.data_disk_size == 0
    assert old.pools[0].unit_config.data_disk_size is None


@EVERY
async def test_fields_nobody_knows_are_ignored(agent, path):
    """A newer agent adds fields; the answer is read as before."""

    def grown(value):
        if isinstance(value, dict):
            return {name: grown(part) for name, part in value.items()} | {"somethingNew": {"a": 1}}
        return [grown(part) for part in value] if isinstance(value, list) else value

    async with agent.client() as client:
        plain = await QUESTIONS[path](client)
        agent.data[path] = grown(ANSWERS[path])
        assert await QUESTIONS[path](client) == plain


@pytest.mark.parametrize(
    ("model", "answer", "field"),
    [
        *[(UnitConfig, UNIT, size) for size in ("memory_size", "log_disk_size")],
        *[(UnitConfig, UNIT, cores) for cores in ("min_cpu", "max_cpu")],
        *[(ResourcePool, POOL, field) for field in ("unit_num", "zone_list", "tenant_id")],
        (Tenant, TENANT | {"pools": [{**TENANT_POOL, "unit_config": None}]}, ""),
        (License, LICENSE, "node_num"),
    ],
)
def test_capacity_that_is_not_said_is_never_zero(model, answer, field):
    """What a decision rests on must be there."""
    lacking = {name: value for name, value in answer.items() if name != field}

    with pytest.raises(ValueError, match=field or "unit_config"):
        model.model_validate(lacking)


async def test_answer_without_a_size_is_named(agent):
    """The error says which field of which answer is missing."""
    agent.data["units/config"] = {"contents": [{**UNIT, "memory_size": None}]}

    async with agent.client() as client:
        with pytest.raises(AgentProtocolError, match=r"units/config.*memory_size"):
            await client.read_unit_configs()


@pytest.mark.parametrize(
    ("zone_list", "zones"), [("", ()), ("zone1", ("zone1",)), ("z1; z2;", ("z1", "z2"))]
)
def test_zone_lists_are_cut_at_semicolons(zone_list, zones):
    """Blanks and a last semicolon make no zone."""
    assert ResourcePool.model_validate(POOL | {"zone_list": zone_list}).zones == zones


@EVERY
async def test_missing_endpoint_is_not_supported(agent, path):
    """The dashboard's page, and either refusal of an unknown path, are an absent fact."""
    absences = [
        lambda _seen: httpx.Response(200, html="<html>"),
        lambda seen: agent.refusal(404, "Common.NotFound", "Element not found: 404", seen),
        lambda seen: agent.refusal(404, 1003, "Element not found: 404", seen),
    ]

    async with agent.client() as client:
        for absence in absences:
            agent.script = lambda _agent, seen, answer=absence: (
                answer(seen) if seen.header_name else None
            )
            with pytest.raises(NotSupportedError):
                await QUESTIONS[path](client)


@pytest.mark.parametrize("path", [*LISTS, "tenant/app"])
async def test_lost_database_is_no_empty_cluster(agent, path):
    """The refusal counts, not the null list or null tenant that comes beside it."""
    beside = {"contents": None} if path in LISTS else None
    error = {"errCode": "Agent.OceanBase.NotHold", "message": "no connection"}
    agent.script = lambda agent, seen: (
        agent.envelope(500, seen, data=beside, error=error) if seen.header_name else None
    )

    async with agent.client() as client:
        with pytest.raises(DatabaseDownError) as caught:
            await QUESTIONS[path](client)

    assert caught.value.transient


def _refuse_protected(status, code, message):
    return lambda agent, seen: (
        agent.refusal(status, code, message, seen) if seen.header_name else None
    )
