"""A node that has joined, as the proofs see it; tests change what they are about."""

import dataclasses

from obscale.agent.clock import ClockReading
from obscale.agent.models import (
    AgentInfo,
    AgentStatus,
    ClusterInfo,
    Dag,
    HostInfo,
    ListedAgent,
    Parameter,
    Stats,
    Zone,
)
from obscale.preflight.rules.layout import mount_hash
from obscale.reading import Unread
from obscale.request.models import AgentInfoSpec, NodeSpec
from obscale.verify.levels import (
    Look,
    judge_levels,
)
from obscale.verify.observation import Before, Observation, Surroundings

GIB = 1 << 30
VERSION = "4.3.5.2_102000092025042111"
OBSHELL = "4.5.0.0-12026050815"
ASKED = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "datafile_size": "24G",
    "log_disk_size": "24G",
    "data_dir": "/data/1",
}
NODE = NodeSpec(agentInfo=AgentInfoSpec(ip="10.0.0.4", port=2886), zone="zone2", obConfigs=ASKED)
NEW = "10.0.0.4"
STARTED = "2026-05-01T10:00:00+08:00"
STEADY = tuple(Look(at, 3, None, True) for at in (0.0, 15.0, 31.0))


def server(ip, **changes):
    row = {
        "ip": ip,
        "svr_port": 2882,
        "sql_port": 2881,
        "version": VERSION,
        "status": "RUNNING",
        "ob_status": 3,
        "inner_status": "ACTIVE",
        "with_rootserver": ip == "10.0.0.1",
        "start_time": STARTED,
        "stop_time": "0001-01-01T00:00:00Z",
        "stats": stats(),
        "data_dir": "/data/1",
        "redo_dir": "/data/1/clog",
        "log_dir": "/home/admin/oceanbase/log",
    }
    return row | changes


def stats(servers=1, **changes):
    row = {
        "memory_in_bytes_total": servers * 8 * GIB,
        "cpu_core_total": servers * 16,
        "disk_in_bytes_total": servers * 24 * GIB,
    }
    return row | changes


def zone(name, *servers, **changes):
    row = {"name": name, "inner_status": "ACTIVE", "region_name": "sys_region", "servers": servers}
    return Zone.model_validate(row | changes)


def zones(new=None, first=None):
    second = [server("10.0.0.2")] + ([new] if new else [])
    return zone("zone1", first or server("10.0.0.1")), zone("zone2", *second)


def parameter(name, value, others=None, **changes):
    values = {"10.0.0.4": value} | dict.fromkeys(("10.0.0.1", "10.0.0.2"), others or value)
    rows = [{"svr_ip": ip, "svr_port": 2882, "value": told} for ip, told in values.items() if told]
    basis = {"name": name, "scope": "CLUSTER", "edit_level": "DYNAMIC_EFFECTIVE"}
    return Parameter.model_validate(basis | {"ob_parameters": rows} | changes)


def parameters(*changed):
    names = {row.name for row in changed}
    plain = [parameter(k, v) for k, v in ASKED.items() if k.endswith(("_size", "memory", "limit"))]
    return (*changed, *(row for row in plain if row.name not in names))


def listed(number, **changes):
    row = {
        "ip": f"10.0.0.{number}",
        "port": 2886,
        "zone": "zone2" if number == 4 else f"zone{number}",
        "identity": "CLUSTER AGENT",
        "version": OBSHELL,
    }
    return ListedAgent.model_validate(row | changes)


def info(**changes):
    row = {
        "ip": "10.0.0.4",
        "port": 2886,
        "identity": "CLUSTER AGENT",
        "zone": "zone2",
        "version": OBSHELL,
        "home_path": "/home/admin/oceanbase",
    }
    return AgentInfo.model_validate(row | changes)


def host(used="13G", data="0"):
    """A machine with its home on `/` and one disk for data and log."""
    return HostInfo.model_validate(
        {
            "cpuInfo": {"logicalCores": 16},
            "memoryInfo": {"total": "65808488 kB"},
            "disks": [
                {"total": "458G", "used": used, "mountHash": mount_hash("/"), "deviceName": "/a"},
                {
                    "total": "500G",
                    "used": data,
                    "mountHash": mount_hash("/data/1"),
                    "deviceName": "/b",
                },
            ],
        }
    )


def cluster(*, total=3, new=None, tenants=()):
    return ClusterInfo.model_validate(
        {
            "stats": stats(total),
            "zones": [z.model_dump() for z in zones(new or server("10.0.0.4"))],
            "tenants": [{"tenant_name": "app", "pools": list(tenants)}] if tenants else None,
        }
    )


BEFORE = Before(zones(), Stats.model_validate(stats(2)), host())
AROUND = Surroundings(
    cluster=cluster(),
    host=host(data="49G"),
    clock=ClockReading(0.004, 0.001),
    clocks={"10.0.0.1:2886": ClockReading(0.001, 0.001)},
)


def aftermath(**changes):
    """A node that joined, serves and conforms, changed where a test says so."""
    whole = Observation(
        target="10.0.0.4:2886",
        target_info=info(),
        target_status=AgentStatus.model_validate({"agent": {}, "obState": 3}),
        target_unfinished=(),
        members=tuple(listed(number) for number in (1, 2, 4)),
        zones=zones(server("10.0.0.4")),
        parameters=parameters(),
        unfinished=(),
        ob_version="4.3.5.2",
    )
    return dataclasses.replace(whole, **changes)


def around(**changes):
    return dataclasses.replace(AROUND, **changes)


def done_dag(**changes):
    row = {"id": "17", "dag_id": 7, "state": "SUCCEED", "stage": 9, "max_stage": 9}
    return Dag.model_validate(row | changes)


def judge(
    after=None,
    *,
    node=NODE,
    dag=None,
    looks=STEADY,
    before=BEFORE,
    seen_around=AROUND,
    steady=30,
    alone=False,
):
    return judge_levels(
        node,
        dag=None if alone else dag or done_dag(),
        before=before,
        after=after or aftermath(),
        around=seen_around,
        looks=looks,
        steady_seconds=steady,
    )


def line(levels, name):
    return next(line for line in levels.lines if line.id == name)


def answer(levels, name):
    return line(levels, name).answer


def asked(**configs):
    return NODE.model_copy(update={"obConfigs": ASKED | configs})


NOT_THERE = Unread("older than 4.3.0.0", supported=False)
