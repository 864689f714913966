"""A cluster, a spare and a request, as facts for the rules to judge."""

import hashlib
import os
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from obscale.agent.clock import ClockReading
from obscale.agent.models import (
    AgentInfo,
    AgentStatus,
    ClusterInfo,
    Dag,
    Disk,
    HostBasics,
    HostInfo,
    ObInfo,
    Parameter,
    UnitConfigLimit,
    Zone,
)
from obscale.agent.resources import (
    ObserverStatistics,
    ResourcePool,
    Statistics,
    TenantOverview,
    UnitConfig,
)
from obscale.preflight.facts import ClusterFacts, Facts, TargetFacts
from obscale.preflight.finding import Finding, Findings
from obscale.preflight.registry import judge
from obscale.reading import Unread
from obscale.request.models import AgentInfoSpec, NodeSpec
from obscale.sandbox.keys import make_key
from obscale.sandbox.tls import write_certificates
from tests.prefect_server import make_home, prefect_server

GIB = 1 << 30
KEYS = 40
"""Of each size, see `keys_used_again`."""
BUILD = "102000092025042111"
OBSHELL = "4.5.0.0-12026050815"
STARTED = datetime(2026, 5, 1, 10, tzinfo=UTC)
NEVER = datetime(1, 1, 1, tzinfo=UTC)
SAMPLE = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
"""The sample request of the documentation of scale_out."""
PARAMETERS = {
    "memory_limit": ("CLUSTER", "CAPACITY", "16G"),
    "system_memory": ("CLUSTER", "CAPACITY", "8G"),
    "log_disk_size": ("CLUSTER", "CAPACITY", "24G"),
    "datafile_size": ("CLUSTER", "CAPACITY", "24G"),
    "datafile_maxsize": ("CLUSTER", "CAPACITY", "0M"),
    "datafile_next": ("CLUSTER", "CAPACITY", "0M"),
    "datafile_disk_percentage": ("CLUSTER", "INT", "0"),
    "log_disk_percentage": ("CLUSTER", "INT", "0"),
    "memory_limit_percentage": ("CLUSTER", "INT", "80"),
    "cpu_count": ("CLUSTER", "INT", "0"),
    "net_thread_count": ("CLUSTER", "INT", "0"),
    "rootservice_memory_limit": ("CLUSTER", "CAPACITY", "2G"),
    "enable_rebalance": ("CLUSTER", "BOOL", "True"),
    "leak_mod_to_check": ("CLUSTER", "STRING", "NONE"),
    "syslog_level": ("CLUSTER", "STRING", "WDIAG"),
    "max_syslog_file_count": ("CLUSTER", "INT", "0"),
    "freeze_trigger_percentage": ("TENANT", "INT", "20"),
    "enable_upgrade_mode": ("CLUSTER", "BOOL", "False"),
    "major_freeze_duty_time": ("TENANT", "MOMENT", "02:00"),
    "mysql_port": ("CLUSTER", "INT", "2881"),
    "high_priority_net_thread_count": ("CLUSTER", "INT", "0"),
}
DEPLOYED = {"memory_limit", "system_memory", "log_disk_size", "datafile_size"}
"""Started with other values than the default, which is `0M`."""
STATIC = {"net_thread_count", "high_priority_net_thread_count"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run take the words from the lines of all flows."""
    parser.addoption(
        "--wordless",
        action="store_true",
        help="tests/flow: replace the words of each line by the name of its event",
    )


def hash_of(path: str) -> str:
    return hashlib.sha1(path.encode(), usedforsecurity=False).hexdigest()


def disk(mount: str, device: str = "/dev/vda1", total: str = "458G", used: str = "13G") -> Disk:
    return Disk(total=total, used=used, mount_hash=hash_of(mount), device_name=device)


def server(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "ip": f"10.0.0.{number}",
        "svr_port": 2882,
        "sql_port": 2881,
        "version": f"4.3.5.2_{BUILD}-abc123(Apr 21 2025 11:11:11)",
        "with_rootserver": number == 1,
        "status": "RUNNING",
        "ob_status": 3,
        "inner_status": "ACTIVE",
        "start_time": STARTED,
        "stop_time": NEVER,
        "architecture": "x86_64",
        "data_dir": "/home/admin/oceanbase/store",
        "redo_dir": "/home/admin/oceanbase/store/clog",
        "obshell_port": 2886,
    } | changes


def zone(name: str, number: int, **changes: Any) -> Zone:
    leads = {"ip": "10.0.0.1", "role": "LEADER", "zone": name, "svr_port": 2882}
    return Zone.model_validate(
        {
            "name": name,
            "region_name": "sys_region",
            "status": "RUNNING",
            "inner_status": "ACTIVE",
            "root_server": leads if number == 1 else {"role": "FOLLOWER"},
            "servers": [server(number)],
        }
        | changes
    )


SPARE = AgentInfo(
    ip="10.0.0.4",
    port=2886,
    identity="SINGLE",
    version=OBSHELL,
    ob_version=f"4.3.5.2-{BUILD}",
    state=2,
    home_path="/home/admin/oceanbase",
    architecture="x86_64",
    security=False,
    is_obproxy_agent=False,
    start_at=1_700_000_000_000_000_000,
)
SPARE_STATUS = AgentStatus.model_validate({"agent": {"ip": "10.0.0.4"}, "state": 2})
SPARE_HOST = HostInfo.model_validate(
    {
        "os": {"os": '"centos"', "version": '"7"'},
        "cpuInfo": {"logicalCores": 16, "modelName": "Xeon Platinum 8269CY"},
        "basic": {"hostType": "kvm"},
        "disks": [disk("/").model_dump(by_alias=True)],
        "memoryInfo": {
            "total": "65808488 kB",
            "free": "60000000 kB",
            "available": "62914560 kB",
        },
        "ulimit": {"nofileSoft": "655350", "maxUserProcessesSoft": "655350"},
    }
)
SPARE_CLOCK = ClockReading(0.004, 0.001)
EAST_OF_UTC = 8 * 3600.0
NOON = datetime.now(UTC).replace(hour=4, minute=0, second=0, microsecond=0)
"""Twelve o'clock in the cluster's time zone: far from its daily merge."""
ENTRY = AgentInfo(
    ip="10.0.0.1",
    port=2886,
    identity="CLUSTER AGENT",
    version=OBSHELL,
    zone="zone1",
    ob_version="4.3.5.2",
    architecture="x86_64",
)
MEMBERS = ObInfo.model_validate(
    {
        "agent_info": [
            {
                "ip": f"10.0.0.{n}",
                "port": 2886,
                "zone": f"zone{n}",
                "identity": "CLUSTER AGENT",
                "version": OBSHELL,
            }
            for n in (1, 2, 3)
        ],
        "obcluster_info": {"id": 1, "name": "obcluster", "version": "4.3.5.2", "topology": {}},
    }
)
CLUSTER = ClusterInfo.model_validate(
    {
        "cluster_name": "obcluster",
        "cluster_id": 1,
        "ob_version": "4.3.5.2",
        "stats": {"cpu_core_total": 48, "memory_in_bytes_total": 24 * GIB},
    }
)
UNIT_LIMIT = UnitConfigLimit(min_memory=2, min_cpu=1)
UNITS = tuple(
    UnitConfig(
        unit_config_id=number,
        name=name,
        min_cpu=cpu,
        max_cpu=cpu,
        memory_size=memory * GIB,
        log_disk_size=log * GIB,
    )
    for number, name, cpu, memory, log in ((1, "sys_unit", 1, 2, 2), (1001, "u_app", 2, 4, 12))
)
POOLS = tuple(
    ResourcePool(
        id=number,
        name=name,
        zone_list="zone1;zone2;zone3",
        unit_num=1,
        unit_config_id=number,
        tenant_id=tenant,
    )
    for number, name, tenant in ((1, "sys_pool", 1), (1001, "p_app", 1002))
)
TENANTS = tuple(
    TenantOverview(
        tenant_id=number,
        tenant_name=name,
        locality=", ".join(f"FULL{{1}}@zone{n}" for n in (1, 2, 3)),
    )
    for number, name in ((1, "sys"), (1002, "app"))
)
STATISTICS = Statistics(
    hosts=tuple(
        SPARE_HOST.model_copy(update={"basic": HostBasics(host_hash=hash_of(f"10.0.0.{n}"))})
        for n in (1, 2, 3)
    ),
    instances=tuple(ObserverStatistics(type="oceanbase-ce") for _ in (1, 2, 3)),
)


@dataclass
class PreflightWorld:
    """Cluster obcluster/1 with zone1 to zone3, one server each, and a spare of 64 GiB.

    Every part may be changed before `facts` are made of it; `Unread` may stand for any.
    """

    configs: dict[str, str] = field(default_factory=lambda: dict(SAMPLE))
    ip: str = "10.0.0.4"
    port: int = 2886
    zone: str = "zone2"
    allow_new_zone: bool = False
    before: list[NodeSpec] = field(default_factory=list)
    """Nodes of the same request that stand before this one."""
    others: list[NodeSpec] = field(default_factory=list)
    """Those that stand behind it."""
    password: bool = False
    schemes: tuple[str, str] = ("https", "https")
    expected: tuple[str | None, int | None] = ("obcluster", 1)
    zones: Any = field(default_factory=lambda: tuple(zone(f"zone{n}", n) for n in (1, 2, 3)))
    info: Any = SPARE
    status: Any = SPARE_STATUS
    host: Any = SPARE_HOST
    local_unfinished: Any = ()
    local_dag: Any = None
    clock: Any = SPARE_CLOCK
    signed_read: Any = "ok"
    entry: Any = ENTRY
    ob_info: Any = MEMBERS
    cluster_info: Any = CLUSTER
    parameters: Any = tuple(
        Parameter.model_validate(
            {
                "name": name,
                "scope": scope,
                "data_type": kind,
                "edit_level": "STATIC_EFFECTIVE" if name in STATIC else "DYNAMIC_EFFECTIVE",
                "default_value": "0M" if name in DEPLOYED else value,
                "ob_parameters": [
                    {"svr_ip": f"10.0.0.{n}", "svr_port": 2882, "value": value} for n in (1, 2, 3)
                ],
            }
        )
        for name, (scope, kind, value) in PARAMETERS.items()
    )
    limit: Any = UNIT_LIMIT
    unfinished: Any = ()
    last_dag: Any = None
    clocks: Any = field(
        default_factory=lambda: {
            f"10.0.0.{n}:2886": ClockReading(0.001 * n, 0.001) for n in (1, 2, 3)
        }
    )
    units: Any = UNITS
    pools: Any = POOLS
    tenants: Any = TENANTS
    license: Any = None
    statistics: Any = STATISTICS
    utc_offset: Any = EAST_OF_UTC
    utc_offsets: Any = field(
        default_factory=lambda: {f"10.0.0.{n}:2886": EAST_OF_UTC for n in (1, 2, 3)}
    )
    listed: Any = None
    """None: the target lists itself alone."""
    host_before: Any = None
    ports: Any = field(default_factory=dict)
    now: Any = NOON
    judged_before: Any = None

    def ask(self, **configs: str) -> Self:
        """Add or change start options."""
        self.configs |= configs
        return self

    def drop(self, *keys: str) -> Self:
        """Leave start options out."""
        for key in keys:
            del self.configs[key]
        return self

    def set(self, **parts: Any) -> Self:
        """Replace parts."""
        for name, value in parts.items():
            assert hasattr(self, name), name
            setattr(self, name, value)
        return self

    def change(self, part: str, **fields: Any) -> Self:
        """Change fields of one answer."""
        return self.set(**{part: getattr(self, part).model_copy(update=fields)})

    def disks(self, *disks: Disk) -> Self:
        """Replace the disks of the spare."""
        return self.change("host", disks=disks)

    def memory(self, total: str, available: str) -> Self:
        """Replace the memory of the spare, both in kB as /proc/meminfo has them."""
        told = self.host.memory_info.model_copy(update={"total": total, "available": available})
        return self.change("host", memory_info=told)

    def change_server(self, number: int, **fields: Any) -> Self:
        """Change fields of the server of one zone."""
        self.zones = tuple(
            z.model_copy(
                update={"servers": tuple(s.model_copy(update=fields) for s in z.servers)}
                if z.servers and z.servers[0].id == number
                else {}
            )
            for z in self.zones
        )
        return self

    def rename_zones(self, *names: str) -> Self:
        """Give the zones other names."""
        pairs = zip(self.zones, names, strict=True)
        self.zones = tuple(z.model_copy(update={"name": name}) for z, name in pairs)
        return self

    def parameter(self, name: str, value: str) -> Self:
        """Change the value of a parameter on all servers."""
        self.parameters = tuple(
            row.model_copy(
                update={"ob_parameters": tuple(replace(v, value=value) for v in row.ob_parameters)}
            )
            if row.name == name
            else row
            for row in self.parameters
        )
        return self

    def node(self) -> NodeSpec:
        """Give the node asked for."""
        where = AgentInfoSpec(ip=self.ip, port=self.port)
        return NodeSpec(agentInfo=where, zone=self.zone, obConfigs=self.configs)

    def facts(self) -> Facts:
        """Give the facts of this world."""
        node = self.node()
        return Facts(
            node=node,
            batch=(*self.before, node, *self.others),
            cluster=ClusterFacts(
                entry="10.0.0.1:2886",
                scheme=self.schemes[0],
                info=self.entry,
                ob_info=self.ob_info,
                cluster_info=self.cluster_info
                if isinstance(self.cluster_info, Unread)
                else self.cluster_info.model_copy(
                    update={"zones": () if isinstance(self.zones, Unread) else self.zones}
                ),
                topology=self.zones,
                parameters=self.parameters,
                unit_config_limit=self.limit,
                unfinished=self.unfinished,
                last_dag=self.last_dag,
                clocks=self.clocks,
                utc_offsets_seconds=self.utc_offsets,
                unit_configs=self.units,
                pools=self.pools,
                tenants=self.tenants,
                license=self.license,
                statistics=self.statistics,
            ),
            target=TargetFacts(
                address=node.address,
                scheme=self.schemes[1],
                info=self.info,
                status=self.status,
                host=self.host,
                unfinished=self.local_unfinished,
                last_dag=self.local_dag,
                clock=self.clock,
                signed_read=self.signed_read,
                ob_info=self.listed or alone(self.ip, self.port),
                utc_offset_seconds=self.utc_offset,
                host_before=self.host_before,
                ports=self.ports,
            ),
            expected_name=self.expected[0],
            expected_id=self.expected[1],
            allow_new_zone=self.allow_new_zone,
            has_target_password=self.password,
            now=self.now,
            judged_before=self.judged_before,
        )

    def judge(self, profile: str = "prod") -> Findings:
        """Judge the facts by all rules."""
        return judge(self.facts(), profile)  # type: ignore[arg-type]

    def finding(self, rule: str, profile: str = "prod") -> Finding:
        """Give the gravest finding of one rule."""
        return next(f for f in self.judge(profile).by_weight() if f.rule == rule)


def alone(ip: str, port: int) -> ObInfo:
    """What an agent of no cluster lists: itself."""
    row = {"ip": ip, "port": port, "identity": "SINGLE"}
    return ObInfo.model_validate({"agent_info": [row], "obcluster_info": {}})


def scale_out_dag(target_log: str, *, number: int = 7, state: str = "FAILED") -> Dag:
    """A cluster's scale-out whose second node said `target_log`."""
    return Dag.model_validate(
        {
            "id": f"1{number}",
            "dag_id": number,
            "name": "Cluster scale out",
            "stage": 5,
            "max_stage": 9,
            "maintenance_type": 2,
            "state": state,
            "nodes": [
                {"name": "Integrate server config"},
                {
                    "name": "Create local scale out dag",
                    "sub_tasks": [{"task_logs": [target_log]}],
                },
            ],
        }
    )


@pytest.fixture
def world() -> PreflightWorld:
    """A world in which the sample request is ready."""
    return PreflightWorld()


@pytest.fixture
def make_disk() -> Callable[..., Disk]:
    """Builder of one row of `df -h`."""
    return disk


@pytest.fixture
def make_zone() -> Callable[..., Zone]:
    """Builder of a zone with one server."""
    return zone


@pytest.fixture
def make_dag() -> Callable[..., Dag]:
    """Builder of an unfinished scale-out."""
    return scale_out_dag


@pytest.fixture(autouse=True)
def no_heartbeat(monkeypatch) -> None:
    """Have commands tried in this process tell nothing in between, as only a slow machine would."""
    monkeypatch.setattr("obscale.cli.busy.FIRST_SECONDS", 3600.0)


def end_what_is_shown() -> None:
    """Have a command tried in this process be over, as its program's end would."""
    if own_server := sys.modules.get("obscale.cli.own_server"):
        own_server._stops.clear()
        own_server._shown_at_end.close()


@pytest.fixture(autouse=True)
def nothing_shown_afterwards() -> Iterator[None]:
    """Have no command of one test draw into the terminal of the next."""
    yield
    end_what_is_shown()


@pytest.fixture(scope="session", autouse=True)
def keys_used_again() -> Iterator[None]:
    """Give the agents of all worlds of this process the same few keys, each in turn.

    Making one costs 30 ms. No world here has as many agents, so no two agents share a key.
    """
    made: dict[int, deque[RSAPrivateKey]] = defaultdict(deque)

    def next_key(bits: int) -> RSAPrivateKey:
        keys = made[bits]
        if len(keys) < KEYS:
            keys.append(make_key(bits))
        else:
            keys.rotate(-1)
        return keys[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("obscale.sandbox.agents.make_key", next_key)
        yield


@pytest.fixture(scope="session")
def new_home(tmp_path_factory) -> Callable[[], Path]:
    """Give a function that makes a home for one Prefect, its database made."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def make() -> Path:
        return make_home(shared, tmp_path_factory.mktemp("prefect") / "home")

    return make


@pytest.fixture(scope="session")
def one_authority(tmp_path_factory) -> str:
    """Give a file with one certificate, for Prefect's clients in this process.

    Each reads all authorities of the machine when it is made, and asks a server on loopback then.
    """
    return str(write_certificates(tmp_path_factory.mktemp("authority"), ["127.0.0.1"]).ca)


@pytest.fixture(scope="session")
def server_home(new_home) -> Path:
    """The home of the team's server."""
    return new_home()


@pytest.fixture(scope="session")
def server_url(server_home) -> Iterator[str]:
    """Where the Prefect server answers that all tests of this process share.

    Processes that run tests beside each other have one each: many tests look for the newest run,
    and on one SQLite file they would wait for each other.
    """
    with prefect_server(server_home) as url:
        yield url
