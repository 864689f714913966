"""The answers of a cluster agent about tenants, pools and units.

Sources: ob/agent/api/{unit,pool,tenant}_handler.go and
ob/agent/repository/model/oceanbase/*.go, 4.5.0.0.
"""

from typing import Any, Final

from obscale.sandbox.capacity import GIB
from obscale.sandbox.clock import go_time
from obscale.sandbox.cluster import Cluster, Pool, Tenant
from obscale.sandbox.errors import Refusal, no_database
from obscale.sandbox.request import Call

MODES: Final = ("MYSQL", "ORACLE")
IOPS: Final = 20_000
CREATED_BEFORE_SECONDS: Final = 7 * 24 * 3600.0
"""Tenants are a week older than the world."""


def unit_configs(call: Call) -> list[dict[str, Any]]:
    """`GET /units/config`."""
    return [_unit(call, pool) for pool in own_configs(_database(call, of_list=True))]


def unit_config(call: Call) -> dict[str, Any]:
    """`GET /unit/config/{name}`."""
    for pool in own_configs(_database(call)):
        if pool.unit.name == call.names["name"]:
            return _unit(call, pool)
    raise Refusal(
        400,
        "OB.Resource.UnitConfig.NotExist",
        f"Unit config '{call.names['name']}' does not exist.",
    ).with_data(None)


def resource_pools(call: Call) -> list[dict[str, Any]]:
    """`GET /resource-pools`; three keys really are capitalised."""
    created = _created(call)
    cluster = _database(call, of_list=True, prefix="Get all resource pool failed: ")
    return [
        {
            "id": pool.id,
            "name": pool.name,
            "zone_list": ";".join(pool.zones),
            "unit_num": pool.unit_num,
            "UnitCount": 0,
            "unit_config_id": pool.unit_id,
            "tenant_id": pool.tenant_id,
            "replica_type": "FULL",
            "CreateTime": created,
            "ModifyTime": created,
        }
        for pool in cluster.pools()
    ]


def tenants_overview(call: Call) -> list[dict[str, Any]]:
    """`GET /tenants/overview`, filtered by `mode` since 4.3.0.0; see `_forwarding_database`."""
    call.own_cluster()
    mode = call.query.get("mode", "") if call.agent.has("dashboard") else ""
    if mode and mode.upper() not in MODES:
        raise Refusal(
            400, "OB.Tenant.Mode.NotSupported", f"Tenant mode '{mode}' is not supported."
        ).with_data({"contents": None})
    cluster = _forwarding_database(call)
    return [
        _overview(call, cluster, tenant)
        for tenant in cluster.tenants()
        if mode.upper() in ("", tenant.mode)
    ]


def tenant(call: Call) -> dict[str, Any]:
    """`GET /tenant/{name}`."""
    cluster = call.member_of()
    if cluster is None or not call.agent.has_database:
        failed = f"Get tenant '{call.names['name']}' failed.: "
        raise no_database(call.agent, failed).with_data(None)
    for each in cluster.tenants():
        if each.name == call.names["name"]:
            return printed_tenant(call, cluster, each)
    raise Refusal(
        400, "OB.Tenant.NotExist", f"Tenant '{call.names['name']}' does not exist."
    ).with_data(None)


def unit_config_limit(call: Call) -> dict[str, Any] | None:
    """`GET /obcluster/unit-config-limit`: memory in GiB; null without a database."""
    limit = call.own_cluster().config.min_pool_memory
    if not call.agent.has_database:
        return None
    return ({"min_memory": limit / GIB} if limit else {}) | {"min_cpu": 1}


def printed_tenant(call: Call, cluster: Cluster, tenant: Tenant) -> dict[str, Any]:
    """A tenant with its pool and unit config."""
    details: dict[str, Any] = {
        "charset": "utf8mb4",
        "collation": "utf8mb4_general_ci",
        "whitelist": "%",
        "time_zone": "+08:00",
        "lower_case_table_names": "1",
    }
    if call.agent.has("license"):
        details["dead_lock_detection_enabled"] = True
    pools = [_printed_pool(call, cluster, pool) for pool in tenant.pools]
    return _overview(call, cluster, tenant) | details | {"pools": pools}


def _printed_pool(call: Call, cluster: Cluster, pool: Pool) -> dict[str, Any]:
    printed: dict[str, Any] = {
        "pool_name": pool.name,
        "pool_id": pool.id,
        "zone_list": ";".join(pool.zones),
        "unit_num": pool.unit_num,
        "unit_config": _unit(call, pool),
    }
    if call.agent.has("license"):
        printed["observer_list"] = ",".join(
            server.address for server in cluster.servers if cluster.holds(server, pool)
        )
    return printed


def own_configs(cluster: Cluster) -> list[Pool]:
    """A pool for each unit config, in order of their ids."""
    return list({pool.unit_id: pool for pool in reversed(cluster.pools())}.values())[::-1]


def _overview(call: Call, cluster: Cluster, tenant: Tenant) -> dict[str, Any]:
    first = cluster.servers[0]
    data: dict[str, Any] = {
        "tenant_id": tenant.id,
        "tenant_name": tenant.name,
        "mode": tenant.mode,
        "status": "NORMAL",
        "locked": "NO",
        "primary_zone": "RANDOM",
        "locality": ", ".join(f"{kind}{{1}}@{zone}" for zone, kind in tenant.replicas.items()),
        "in_recyclebin": "NO",
        "created_time": _created(call),
    }
    if call.agent.has("dashboard"):
        data["read_only"] = False
        text = f"obclient -h{first.agent.ip} -P{first.observer.sql_port} -uroot@{tenant.name} -p"
        data["connection_strings"] = [
            {"type": "DIRECT", "obproxy_address": "", "obproxy_port": 0, "connection_string": text}
        ]
    if call.agent.has("topology"):
        data["comment"] = ""
    return data


def _unit(call: Call, pool: Pool) -> dict[str, Any]:
    unit, created = pool.unit, _created(call)
    data: dict[str, Any] = {
        "unit_config_id": pool.unit_id,
        "name": unit.name,
        "max_cpu": unit.max_cpu,
        "min_cpu": unit.min_cpu,
        "memory_size": unit.memory_size,
        "log_disk_size": unit.log_disk_size,
    }
    if call.agent.has("shared storage"):
        data["data_disk_size"] = 0
    return data | {
        "max_iops": IOPS,
        "min_iops": IOPS,
        "create_time": created,
        "modify_time": created,
    }


def _database(call: Call, *, of_list: bool = False, prefix: str = "") -> Cluster:
    cluster = call.own_cluster()
    if not call.agent.has_database:
        raise no_database(call.agent, prefix).with_data({"contents": None} if of_list else None)
    return cluster


def _forwarding_database(call: Call) -> Cluster:
    """As `_database`, but from 4.4.1.0 on any connected agent of the cluster answers instead."""
    cluster = call.own_cluster()
    forwards = call.agent.has("topology")
    if forwards and any(each.has_database and not each.down for each in cluster.agents):
        return cluster
    return _database(call, of_list=True)


def _created(call: Call) -> str:
    wall = call.world.wall_of(call.agent, -CREATED_BEFORE_SECONDS)
    return go_time(wall, call.world.config.utc_offset_minutes, digits=0)
