"""The answers of a cluster agent about its cluster.

Sources: ob/agent/executor/ob/{info,cluster}.go, ob/agent/repository/model/bo/obcluster.go, 4.5.0.0.
"""

from ipaddress import ip_address
from typing import Any, Final

from obscale.sandbox.agents import CLUSTER_AGENT, SCALING_IN, SCALING_OUT, Agent
from obscale.sandbox.answers.agent import COMMIT
from obscale.sandbox.answers.observers import (
    agent_port,
    capacity_of,
    inner_status,
    observer_row,
    printed_stats,
    sum_of,
)
from obscale.sandbox.answers.tenant import printed_tenant
from obscale.sandbox.capacity import read_integer
from obscale.sandbox.cluster import Cluster, Server, Zone
from obscale.sandbox.errors import Refusal, no_database, unexpected
from obscale.sandbox.hosts import sha1_hex
from obscale.sandbox.parameters import PARAMETERS, Parameter
from obscale.sandbox.request import Call
from obscale.sandbox.units import tenant_value

UNKNOWN_INSTANCE: Final[dict[str, Any]] = {
    "type": "oceanbase",
    "version": "",
    "revision": "",
    "cpuCount": 0,
    "memoryLimit": "",
    "dataFileSize": "",
    "logDiskSize": "",
}
CLUSTER_STATUS: Final = {0: "NOT RUNNING", 1: "RUNNING", 2: "RESTRICTED", 3: "AVAILABLE"}
"""By `obState` of the answering agent."""
CHARSETS: Final = (
    ("utf8mb4", "UTF-8 Unicode", 4, ("general_ci", "bin", "unicode_ci")),
    ("gbk", "GBK charset", 2, ("chinese_ci", "bin")),
    ("gb18030", "GB18030 charset", 4, ("chinese_ci", "bin")),
    ("latin1", "cp1252 West European", 1, ("swedish_ci", "bin")),
)
EMPTY_CLUSTER: Final[dict[str, Any]] = {"id": 0, "name": "", "version": "", "topology": None}


def ob_info(call: Call) -> dict[str, Any]:
    """`GET /ob/info`: agents and topology; without a database the topology is null.

    An agent lists itself alone until it is a member. Without a database a member tells what it
    keeps itself: all agents, but the cluster's name and id only if it was there when that began.
    The database lists agents by their addresses, the agent's own copy as they came.
    """
    agent, cluster = call.agent, call.member_of()
    info = EMPTY_CLUSTER | ({"is_shared_storage": False} if agent.has("shared storage") else {})
    if cluster is None or agent.identity != CLUSTER_AGENT:
        return {"agent_info": [_agent_row(agent, agent.identity)], "obcluster_info": info}
    if agent.has_database or agent.is_founder:
        info |= {"id": cluster.id, "name": cluster.name}
    if agent.has_database:
        info |= {
            "version": agent.ob_version.partition("-")[0],
            "topology": {
                zone.name: [
                    _topology_row(cluster, server) for server in cluster.servers_in(zone.name)
                ]
                for zone in cluster.zones
            },
        }
    known = agent.remembers if agent.is_forgotten else cluster.agents
    if agent.has_database:
        known = sorted(known, key=lambda each: (ip_address(each.ip).packed, each.port))
    agents = [_agent_row(each, _row_identity(cluster, each)) for each in known]
    return {"agent_info": agents, "obcluster_info": info}


def ob_agents(call: Call) -> list[dict[str, Any]]:
    """`GET /ob/agents`: rows of `ocs.all_agent`, without a database of the agent's own copy."""
    if call.agent.identity == SCALING_OUT and not call.agent.has_database:
        raise Refusal(
            500,
            "Common.Unexpected",
            "get servers from ob.conf failed: Unexpected error: "
            "not found all_server_list in ob.conf",
        ).with_data({"contents": None})
    cluster = call.member_of()
    known = cluster.agents if cluster else [call.agent]
    return [{"ip": agent.ip, "port": agent.port} for agent in known]


def cluster_info(call: Call) -> dict[str, Any]:
    """`GET /obcluster/info`; degraded when no agent of the cluster reaches its database."""
    cluster, agent = call.own_cluster(), call.agent
    connected = any(each.has_database and not each.down for each in cluster.agents)
    data: dict[str, Any] = {
        "cluster_name": cluster.name if connected or agent.is_founder else "",
        "cluster_id": cluster.id if connected or agent.is_founder else 0,
        "status": CLUSTER_STATUS[3 if connected else agent.ob_state],
        "is_community_edition": connected,
        "ob_version": agent.ob_version.partition("-")[0] if connected else "",
    }
    if agent.has("license"):
        data |= {"is_standalone": False, "dead_lock_detection_enabled": connected}
    if agent.has("shared storage"):
        data |= {"startup_mode": "NORMAL" if connected else "", "is_shared_storage": False}
    reported = [capacity_of(call, server) for server in cluster.servers] if connected else []
    data |= {
        "stats": printed_stats(sum_of([each for each in reported if each is not None])),
        "zones": [_zone(call, zone, connected=connected) for zone in cluster.zones],
    }
    if not connected:
        return data | {"tenants": None, "tenant_stats": None}
    return data | {
        "tenants": [printed_tenant(call, cluster, tenant) for tenant in cluster.tenants()],
        "tenant_stats": [
            {
                "tenant_id": tenant.id,
                "tenant_name": tenant.name,
                "cpu_used_percent": 1.5,
                "memory_used_percent": 40,
                "data_disk_usage": tenant.data_bytes,
                "cpu_core_total": tenant.unit.max_cpu,
                "memory_in_bytes_total": tenant.unit.memory_size,
            }
            for tenant in cluster.tenants()
        ],
    }


def topology(call: Call) -> dict[str, Any]:
    """`GET /obcluster/topology/info`: the zones of `cluster_info`, alone."""
    cluster = call.own_cluster()
    connected = any(each.has_database and not each.down for each in cluster.agents)
    return {"zones": [_zone(call, zone, connected=connected) for zone in cluster.zones]}


def parameters(call: Call) -> list[dict[str, Any]]:
    """`GET /obcluster/parameters`: every listed parameter with its value on each server."""
    cluster = call.own_cluster()
    if not call.agent.has_database:
        raise no_database(call.agent).with_data({"contents": None})
    return [_parameter(cluster, row) for row in PARAMETERS]


def statistics(call: Call) -> dict[str, Any]:
    """`GET /obcluster/statistics`: the telemetry snapshot; of an agent's own database only."""
    agent, cluster = call.agent, call.member_of()
    known = cluster if cluster and agent.has_database else None
    number, _, release = agent.version.partition("-")
    return {
        "telemetryEnabled": True,
        "clusterId": str(known.id if known else 0),
        "reporter": "obshell-dashboard",
        "obshellVersion": f"obshell {number} (for OceanBase_CE)",
        "obshellRevision": f"{release}-{COMMIT}",
        "reportTime": int(call.wall_seconds),
        "telemetryVersion": 1,
        "hosts": [
            each.host.printed(each.ip)
            for each in (known.agents if known else [])
            if not (each.down or each.silent)
        ],
        "instances": _instances(agent, cluster),
    }


def _instances(agent: Agent, cluster: Cluster | None) -> list[dict[str, Any]]:
    """The observers of the cluster; those it keeps itself, and hardly more, without a database."""
    if cluster is None:
        return []
    if not agent.has_database:
        known = cluster.agents if agent.identity == CLUSTER_AGENT else [agent]
        return [UNKNOWN_INSTANCE | {"hostHash": sha1_hex(each.ip)} for each in by_zone(known)]
    version, _, revision = agent.ob_version.partition("-")
    return [
        {
            "type": "oceanbase-ce",
            "version": version,
            "revision": revision,
            "cpuCount": read_integer(server.observer.values["cpu_count"]),
            "memoryLimit": server.observer.values["memory_limit"],
            "dataFileSize": server.observer.values["datafile_size"],
            "logDiskSize": server.observer.values["log_disk_size"],
            "hostHash": sha1_hex(server.agent.ip),
        }
        for zone in cluster.zones
        for server in cluster.servers
        if server.zone == zone.name and server.observer.works
    ]


def by_zone(agents: list[Agent]) -> list[Agent]:
    """Agents, zone by zone in the order in which the zones come first."""
    zones = list(dict.fromkeys(agent.zone for agent in agents))
    return sorted(agents, key=lambda agent: zones.index(agent.zone))


def charsets(call: Call) -> list[dict[str, Any]]:
    """`GET /obcluster/charsets`: what a MySQL tenant can be made with; the usual ones of 4.3."""
    call.own_cluster()
    if not call.agent.has_database:
        raise no_database(call.agent).with_data({"contents": None})
    return [
        {
            "name": name,
            "description": description,
            "collations": [
                {"is_default": place == 0, "name": f"{name}_{ending}"}
                for place, ending in enumerate(endings)
            ],
            "maxlen": longest,
        }
        for name, description, longest, endings in CHARSETS
    ]


def license_info(call: Call) -> dict[str, Any]:
    """`GET /obcluster/license`: only the standalone edition has one."""
    call.own_cluster()
    if not call.agent.has_database:
        raise no_database(call.agent).with_data(None)
    raise unexpected("Not a standalone cluster").with_data(None)


def _row_identity(cluster: Cluster, agent: Agent) -> str:
    """As its row of `ocs.all_agent` says: that of a member, or of one that leaves."""
    return SCALING_IN if agent in cluster.leaving else CLUSTER_AGENT


def _agent_row(agent: Agent, identity: str) -> dict[str, Any]:
    return {
        "ip": agent.ip,
        "port": agent.port,
        "zone": agent.zone,
        "identity": identity,
        "version": agent.version,
    }


def _topology_row(cluster: Cluster, server: Server) -> dict[str, Any]:
    return {
        "svr_ip": server.agent.ip,
        "svr_port": server.observer.rpc_port,
        "sql_port": server.observer.sql_port,
        "agent_port": agent_port(server),
        "with_rootserver": "YES" if server is cluster.root_server else "NO",
        "status": inner_status(server),
        "build_version": server.agent.ob_version.replace("-", "_"),
    }


def _zone(call: Call, zone: Zone, *, connected: bool) -> dict[str, Any]:
    cluster = call.own_cluster()
    servers = [server for server in cluster.servers if server.zone == zone.name]
    holders = {name for tenant in cluster.tenants() for name in tenant.replicas}
    root: dict[str, Any] = {"ip": "", "role": "", "zone": "", "svr_port": 0}
    first = cluster.sys_server_in(zone.name)
    if connected and first is not None and zone.name in holders:
        role = "LEADER" if first is cluster.root_server else "FOLLOWER"
        root = {
            "ip": first.agent.ip,
            "role": role,
            "zone": zone.name,
            "svr_port": first.observer.rpc_port,
        }
    running = "RUNNING" if zone.active else "STOPPED"
    return {
        "name": zone.name,
        "idc_name": "",
        "region_name": zone.region if connected else "",
        "status": running if connected else "UNKNOWN",
        "inner_status": ("ACTIVE" if zone.active else "INACTIVE") if connected else "",
        "root_server": root,
        "servers": [observer_row(call, server, connected=connected) for server in servers] or None,
    }


def _parameter(cluster: Cluster, row: Parameter) -> dict[str, Any]:
    live = [server for server in cluster.servers if server.observer.works]
    entries = []
    for server in live:
        base = {
            "svr_ip": server.agent.ip,
            "svr_port": server.observer.rpc_port,
            "zone": server.zone,
        }
        if row.scope == "CLUSTER":
            entries.append(base | {"value": server.observer.values[row.name]})
            continue
        entries += [base | entry for entry in _tenant_values(cluster, row)]
    values = sorted({str(entry["value"]) for entry in entries})
    printed: dict[str, Any] = {
        "name": row.name,
        "scope": row.scope,
        "edit_level": row.edit_level,
        "default_value": row.default,
        "section": row.section,
        "data_type": row.data_type,
        "info": row.info,
        "ob_parameters": entries,
        "values": values,
        "is_single_value": len(values) == 1,
    }
    if row.scope == "TENANT":
        printed["tenant_value"] = _tenant_values(cluster, row)
    return printed


def _tenant_values(cluster: Cluster, row: Parameter) -> list[dict[str, Any]]:
    return [
        {
            "tenant_id": tenant.id,
            "tenant_name": tenant.name,
            "value": tenant_value(cluster, tenant, row.name, row.default),
        }
        for tenant in cluster.tenants()
    ]
