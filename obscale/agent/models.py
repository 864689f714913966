"""The models of what an obshell agent sends about agents, observers and hosts.

Shapes: ob/agent/meta/agent.go, ob/param/*.go, obshell 4.5.0.0. DAGs stand in `dag.py`, what all
answers share in `wire.py`; both are offered from here too.
"""

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from obscale.agent.dag import Dag, Node, Operator, State, SubTask
from obscale.agent.wire import LISTED, AgentEndpoint, SnakeWire, Wire, Word, joined_address

__all__ = [
    "AgentEndpoint",
    "AgentIdentity",
    "AgentInfo",
    "AgentSecret",
    "AgentStatus",
    "ClusterInfo",
    "Cpu",
    "Dag",
    "Disk",
    "HostBasics",
    "HostInfo",
    "Identity",
    "ListedAgent",
    "ListedServer",
    "Memory",
    "Node",
    "ObCluster",
    "ObInfo",
    "Operator",
    "OsRelease",
    "Parameter",
    "PlacedPool",
    "PlacedTenant",
    "RootServer",
    "ScaleInRequest",
    "ScaleOutRequest",
    "Server",
    "ServerParameter",
    "SnakeWire",
    "State",
    "Stats",
    "SubTask",
    "Topology",
    "Ulimit",
    "UnitConfigLimit",
    "Wire",
    "Word",
    "Zone",
    "joined_address",
]


class Identity(Word):
    """Part an agent plays. Source: ob/agent/meta/agent.go."""

    SINGLE = "SINGLE"
    CLUSTER_AGENT = "CLUSTER AGENT"
    SCALING_OUT = "SCALING OUT"
    SCALING_IN = "SCALING IN"
    MASTER = "MASTER"
    FOLLOWER = "FOLLOWER"
    TAKE_OVER_MASTER = "TAKE OVER MASTER"
    TAKE_OVER_FOLLOWER = "TAKE OVER FOLLOWER"
    UNIDENTIFIED = "UNIDENTIFIED"


class AgentInfo(Wire):
    """`GET /info`: who an agent is. Empty text or None: this version does not say."""

    ip: str
    port: int
    identity: Identity
    version: str = ""
    """obshell's version, `<version>-<release>`."""
    zone: str = ""
    ob_version: str = ""
    """OceanBase's version; `""` where no observer binary exists, or below 4.2.4.0."""
    state: int = 0
    home_path: str = ""
    architecture: str = ""
    security: bool | None = None
    """Whether an agent password is set; None below 4.2.6.0, where none exists."""
    supported_auth: tuple[str, ...] | None = None
    is_obproxy_agent: bool | None = None
    start_at: int = 0
    """Start of the agent process, nanoseconds since the epoch."""

    @property
    def address(self) -> str:
        """`ip:port`, IPv6 in brackets."""
        return joined_address(self.ip, self.port)


class AgentIdentity(Wire):
    """The agent's part inside `/status`."""

    ip: str = ""
    port: int = 0
    identity: Identity = Identity.UNIDENTIFIED


class AgentStatus(Wire):
    """`GET /status`: is the agent's observer there."""

    agent: AgentIdentity
    state: int = 0
    ob_state: int = 0
    """0 no process, 1 process only, 2 restricted connection, 3 connectable."""
    sql_port: int = 0
    under_maintenance: bool = False
    """This agent's own local lock; it says nothing of the cluster's lock."""
    start_at: int = 0
    """As in `/info`."""


class AgentSecret(SnakeWire):
    """`GET /secret`: the agent's public key, Base64 of PKCS#1 DER."""

    ip: str = ""
    port: int = 0
    public_key: str


class Disk(Wire):
    """One row of `df -h` on the host: rounded sizes, the mount point only as a hash."""

    total: str = ""
    used: str = ""
    mount_hash: str = ""
    """SHA-1 hex of the mount point's path."""
    device_name: str = ""


class Memory(Wire):
    """Lines of /proc/meminfo with their unit, e.g. `65808488 kB` (KiB)."""

    total: str = ""
    free: str = ""
    available: str = ""


class Cpu(Wire):
    """Cores as /proc/cpuinfo counts them; `physical_cores` really counts sockets."""

    logical_cores: int = 0
    physical_cores: int = 0
    model_name: str = ""
    frequency: str = ""


class OsRelease(Wire):
    """`ID` and `VERSION_ID` of /etc/os-release; quotes may still stand."""

    os: str = ""
    version: str = ""


class HostBasics(Wire):
    """`host_hash` is SHA-1 of the agent's IP; `host_type` is empty on bare metal."""

    host_hash: str = ""
    host_type: str = ""


class Ulimit(Wire):
    """Limits the agent, and so its observer, runs under; a number or `unlimited`."""

    nofile_soft: str = ""
    nofile_hard: str = ""
    max_user_processes_soft: str = ""
    max_user_processes_hard: str = ""


class HostInfo(Wire):
    """`GET /agent/host-info` (4.3.0.0+): the machine below the agent."""

    os: OsRelease = OsRelease()
    cpu_info: Cpu = Cpu()
    basic: HostBasics = HostBasics()
    disks: Annotated[tuple[Disk, ...], LISTED] = ()
    memory_info: Memory = Memory()
    ulimit: Ulimit = Ulimit()


class ListedAgent(SnakeWire):
    """One row of `ocs.all_agent` as `/ob/info` shows it."""

    ip: str
    port: int
    zone: str = ""
    identity: Identity = Identity.UNIDENTIFIED
    version: str = ""

    @property
    def address(self) -> str:
        """`ip:port`, IPv6 in brackets."""
        return joined_address(self.ip, self.port)


class ListedServer(SnakeWire):
    """One server in the topology of `/ob/info`; `svr_port` is the RPC port."""

    svr_ip: str
    svr_port: int
    sql_port: int = 0
    agent_port: int = 0
    with_rootserver: str = ""
    status: str = ""
    build_version: str = ""


class ObCluster(SnakeWire):
    """The cluster inside `/ob/info`; `topology` None means the database did not answer."""

    id: int = 0
    name: str = ""
    version: str = ""
    topology: dict[str, Annotated[tuple[ListedServer, ...], LISTED]] | None = None


class ObInfo(SnakeWire):
    """`GET /ob/info`: members by agent and by server."""

    agent_info: Annotated[tuple[ListedAgent, ...], LISTED] = ()
    obcluster_info: ObCluster = ObCluster()


class Stats(SnakeWire):
    """What a server, or the cluster, offers; all zero while a server has not reported."""

    cpu_core_total: float = 0
    cpu_core_assigned: float = 0
    memory_in_bytes_total: int = 0
    memory_in_bytes_assigned: int = 0
    disk_in_bytes_total: int = 0
    disk_in_bytes_assigned: int = 0


class Server(SnakeWire):
    """One observer of `/obcluster/info` or `/obcluster/topology/info`; `svr_port` is for RPC."""

    id: int = 0
    ip: str
    svr_port: int
    sql_port: int = 0
    version: str = ""
    with_rootserver: bool = False
    status: str = ""
    ob_status: int | None = None
    """As `obState` of `/status`; None below 4.4.1.0."""
    inner_status: str = ""
    start_time: datetime | None = None
    """Start of service; year 1 or the epoch while it has none."""
    stop_time: datetime | None = None
    stats: Stats = Stats()
    architecture: str = ""
    data_dir: str = ""
    redo_dir: str = ""
    log_dir: str = ""
    obshell_port: int = 0


class RootServer(SnakeWire):
    """Which server of a zone holds the root service; empty texts for none."""

    ip: str = ""
    role: str = ""
    zone: str = ""
    svr_port: int = 0


class Zone(SnakeWire):
    """One zone with its servers."""

    name: str
    idc_name: str = ""
    region_name: str = ""
    status: str = ""
    inner_status: str = ""
    root_server: RootServer = RootServer()
    servers: Annotated[tuple[Server, ...], LISTED] = ()


class Topology(SnakeWire):
    """`GET /obcluster/topology/info` (4.4.1.0+)."""

    zones: Annotated[tuple[Zone, ...], LISTED] = ()


class PlacedPool(SnakeWire):
    """Where the units of one pool are."""

    pool_id: int = 0
    """As `id` of `/resource-pools`."""
    zone_list: str = ""
    """OceanBase's own text, `zone1;zone2`."""
    observer_list: str | None = None
    """Servers with a unit, `ip:rpc port` with commas between; None below 4.4.0.0."""


class PlacedTenant(SnakeWire):
    """A tenant of `/obcluster/info`, as far as its place goes."""

    tenant_name: str = ""
    pools: Annotated[tuple[PlacedPool, ...], LISTED] = ()


class ClusterInfo(Topology):
    """`GET /obcluster/info` (4.3.0.0+): the cluster as its database sees it."""

    cluster_name: str = ""
    cluster_id: int = 0
    status: str = ""
    ob_version: str = ""
    is_community_edition: bool | None = None
    is_standalone: bool | None = None
    startup_mode: str | None = None
    is_shared_storage: bool | None = None
    stats: Stats = Stats()
    """Sums over the servers; all zero where no database answered."""
    tenants: Annotated[tuple[PlacedTenant, ...], LISTED] = ()


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="ignore"))
class ServerParameter:
    """Value of one parameter on one server.

    No `SnakeWire`: a cluster has thousands of them, and a model takes five times the memory.
    """

    svr_ip: str = ""
    svr_port: int = 0
    zone: str = ""
    value: str = ""
    tenant_id: int | None = None


class Parameter(SnakeWire):
    """One row of `GET /obcluster/parameters` (4.3.0.0+); names starting with `_` are not listed."""

    name: str
    scope: str = ""
    edit_level: str = ""
    default_value: str = ""
    data_type: str = ""
    section: str = ""
    info: str = ""
    ob_parameters: Annotated[tuple[ServerParameter, ...], LISTED] = ()


class UnitConfigLimit(SnakeWire):
    """`GET /obcluster/unit-config-limit`: `min_memory` in GiB."""

    min_memory: float | None = None
    min_cpu: float | None = None


class ScaleOutRequest(Wire):
    """Body of `POST /ob/scale_out`, spelled as the API spells it. Source: ob/param/ob.go."""

    model_config = ConfigDict(extra="forbid")

    agent_info: AgentEndpoint
    zone: str
    ob_configs: dict[str, str]
    target_agent_password: str | None = Field(default=None, repr=False)
    """Plain text; it travels only inside the encrypted body. Never logged."""


class ScaleInRequest(SnakeWire):
    """Body of `POST /ob/scale_in`, in snake case unlike that of a scale-out.

    Source: ob/param/ob.go, ob/agent/api/obcluster_handler.go, 4.5.0.0.
    """

    model_config = ConfigDict(extra="forbid")

    agent_info: AgentEndpoint
    """Of the agent, not of its RPC port: an address without a row is answered with 204."""
    force_kill: bool = False
