"""The rows of observers in the answers of agents, and what they say of capacity.

Sources: ob/agent/executor/ob/cluster.go, ob/agent/repository/model/bo/obcluster.go, 4.5.0.0.
"""

import math
from typing import Any, Final

from obscale.sandbox.agents import Agent
from obscale.sandbox.capacity import human_size, read_capacity, read_integer
from obscale.sandbox.clock import GO_ZERO_TIME, go_time
from obscale.sandbox.cluster import Server
from obscale.sandbox.request import Call
from obscale.sandbox.units import bytes_on, disk_of

BUILD_HASH: Final = "0123456789abcdef0123456789abcdef01234567(Apr 21 2025 11:46:38)"
HUMAN_STATS: Final = ("memory_total", "memory_assigned", "disk_total", "disk_assigned")
CONNECTED: Final = 3
"""`obState` of an agent whose statements OceanBase answers."""
SERVER_ONLY: Final = ("disk_used", "disk_free")


def observer_row(call: Call, server: Server, *, connected: bool) -> dict[str, Any]:
    """One observer as the topology lists it."""
    agent, observer = server.agent, server.observer
    row = row_of_server(call, server)
    if not connected:
        row |= {"inner_status": "", "start_time": GO_ZERO_TIME}
    data: dict[str, Any] = row | {
        "ip": agent.ip,
        "svr_port": observer.rpc_port,
        "sql_port": observer.sql_port,
        "status": _status(call, server),
        "architecture": agent.host.config.architecture,
        "stats": stats_of_server(capacity_of(call, server) if connected else None, server),
    }
    # Its own agent is asked for them.
    is_told = not (agent.down or agent.silent)
    if call.agent.has("topology"):
        data |= {
            "ob_status": agent.ob_state,
            "data_dir": agent.files.real(observer.data_dir) if is_told else "",
            "redo_dir": agent.files.real(observer.redo_dir) if is_told else "",
            "obshell_port": agent_port(server),
        }
    if call.agent.has("shared storage"):
        data["log_dir"] = f"{agent.home}/log" if is_told else ""
    return data


def row_of_server(call: Call, server: Server) -> dict[str, Any]:
    """What its row of DBA_OB_SERVERS says of an observer."""
    agent, cluster = server.agent, call.agent.cluster
    start_time = GO_ZERO_TIME
    if _serves(call, server):
        wall = call.world.clock.wall_at(server.serves_from or 0.0) + server.clock_offset_seconds
        start_time = go_time(wall, call.world.config.utc_offset_minutes, digits=6)
    return {
        "id": server.id,
        "version": f"{agent.ob_version.replace('-', '_')}-{BUILD_HASH}",
        "with_rootserver": cluster is not None and server is cluster.root_server,
        "inner_status": inner_status(server),
        "start_time": start_time,
        "stop_time": GO_ZERO_TIME,
    }


def own_server(agent: Agent) -> Server | None:
    """The row of the observer beside an agent, where its cluster lists it."""
    if agent.cluster is None or agent.observer is None:
        return None
    return agent.cluster.server_at(agent.ip, agent.observer.rpc_port)


def stats_of_server(raw: dict[str, float] | None, server: Server | None) -> dict[str, Any]:
    """The `stats` of a server; without a row of GV$OB_SERVERS all is zero or empty."""
    if raw is None or server is None:
        return printed_stats(sum_of([]), of_server=True) | {"ip": "", "port": 0, "zone": ""}
    own = {"ip": server.agent.ip, "port": server.observer.rpc_port, "zone": server.zone}
    return printed_stats(raw, of_server=True) | own


def capacity_of(call: Call, server: Server) -> dict[str, float] | None:
    """One row of GV$OB_SERVERS; None while the server does not report."""
    cluster, values = call.own_cluster(), server.observer.values
    if not server.observer.works or not _serves(call, server):
        return None
    units = cluster.units_on(server)
    disk, used = disk_of(server), bytes_on(cluster, server, call.world.engine.now)
    return {
        "cpu_core_total": read_integer(values["cpu_count"]),
        "cpu_core_assigned": sum(unit.min_cpu for unit in units),
        "memory_in_bytes_total": read_capacity(values["memory_limit"])
        - read_capacity(values["system_memory"]),
        "memory_in_bytes_assigned": sum(unit.memory_size for unit in units),
        "disk_in_bytes_total": disk,
        "disk_in_bytes_assigned": used,
    }


def sum_of(rows: list[dict[str, float]]) -> dict[str, float]:
    """The rows added up; all zero for none."""
    names = [f"cpu_core_{part}" for part in ("total", "assigned")] + [
        f"{what}_in_bytes_{part}" for what in ("memory", "disk") for part in ("total", "assigned")
    ]
    return {name: sum(row[name] for row in rows) for name in names}


def printed_stats(raw: dict[str, float], *, of_server: bool = False) -> dict[str, Any]:
    """Numbers beside their human texts; who does not report has empty texts.

    A share of nothing is no number, and makes obshell's answer an empty one.
    """
    silent = not any(raw.values())
    printed: dict[str, Any] = dict(raw)
    for what in ("cpu_core", "memory_in_bytes", "disk_in_bytes"):
        total, share = raw[f"{what}_total"], 0.0
        if not silent:
            share = raw[f"{what}_assigned"] / total * 100 if total else math.nan
        printed[f"{what.removesuffix('_in_bytes')}_assigned_percent"] = share
    if of_server:
        printed["disk_in_bytes_used"] = raw["disk_in_bytes_assigned"]
        printed["disk_in_bytes_free"] = raw["disk_in_bytes_total"] - raw["disk_in_bytes_assigned"]
        printed["disk_used_percent"] = printed["disk_assigned_percent"]
    for name in (*HUMAN_STATS, *(SERVER_ONLY if of_server else ())):
        what, _, part = name.partition("_")
        printed[name] = "" if silent else human_size(int(printed[f"{what}_in_bytes_{part}"]))
    return printed


def agent_port(server: Server) -> int:
    """The port of the agent beside it, 0 where none is a member."""
    cluster = server.agent.cluster
    return server.agent.port if cluster and server.agent in cluster.agents else 0


def inner_status(server: Server) -> str:
    """What OceanBase itself says of it."""
    if server.deleting:
        return "DELETING"
    return "ACTIVE" if server.observer.works else "INACTIVE"


def _status(call: Call, server: Server) -> str:
    if server.deleting:
        return "DELETING"
    agent = server.agent
    if call.agent.has("observer states"):
        if not server.observer.alive:
            return "PROCESS_STOPPED"
        return "RUNNING" if agent.ob_state == CONNECTED or agent.down else "UNAVAILABLE"
    if not server.observer.alive:
        return "UNAVAILABLE"
    return "RUNNING" if _serves(call, server) else "STARTING"


def _serves(call: Call, server: Server) -> bool:
    begun = server.serves_from is not None and server.serves_from <= call.world.engine.now
    return begun and server.observer.works
