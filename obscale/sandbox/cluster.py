"""The tables of one simulated OceanBase cluster."""

from dataclasses import dataclass, field
from typing import Final

from obscale.sandbox.agents import Agent, Observer
from obscale.sandbox.config import ClusterConfig, TenantConfig, UnitConfig
from obscale.sandbox.dags.dag import Dag

LEASE_SECONDS: Final = 5.0
"""How long a lost maintainer stays maintainer. Source: ob/agent/engine/coordinator, 4.5.0.0."""
SYS_UNIT: Final = UnitConfig(
    name="sys_unit_config", max_cpu=1, min_cpu=1, memory_size=2 << 30, log_disk_size=2 << 30
)
FIRST_USER_TENANT_ID: Final = 1002
FIRST_OBJECT_ID: Final = 1001
SYS_ID: Final = 1


@dataclass
class Zone:
    """One row of DBA_OB_ZONES."""

    name: str
    region: str
    active: bool = True


@dataclass
class Server:
    """One row of DBA_OB_SERVERS.

    Attributes:
        agent: The agent of its host: address and observer come from there.
        observer: The process behind the row.
        serves_from: Virtual second from which `start_time` is set; `None` for never.
        deleting: DELETE SERVER was issued.
    """

    id: int
    zone: str
    agent: Agent
    observer: Observer
    serves_from: float | None
    deleting: bool = False


@dataclass(frozen=True)
class Pool:
    """A resource pool with its unit config and owner, as three answers print them."""

    id: int
    name: str
    unit_id: int
    unit: UnitConfig
    unit_num: int
    zones: tuple[str, ...]
    tenant_id: int


@dataclass(frozen=True)
class Tenant:
    """A tenant and its one pool."""

    id: int
    name: str
    mode: str
    pool: Pool


@dataclass
class Cluster:
    """One cluster: tables, lock, and the agents that serve it."""

    config: ClusterConfig
    zones: list[Zone] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    agents: list[Agent] = field(default_factory=list)
    """Rows of `ocs.all_agent`, in order of their insertion."""
    dags: list[Dag] = field(default_factory=list)
    root_password: str = ""
    was_asked: bool = False
    """Whether a POST scale_out has arrived, carried out or not."""
    last_maintainer: Agent | None = None
    maintainer_seen_at: float = 0.0

    @property
    def name(self) -> str:
        """Cluster name."""
        return self.config.name

    @property
    def id(self) -> int:
        """Cluster id."""
        return self.config.id

    @property
    def lock_holder(self) -> Dag | None:
        """The DAG that owns the cluster-wide maintenance lock."""
        return next((dag for dag in reversed(self.dags) if dag.holds_lock), None)

    def zone(self, name: str) -> Zone | None:
        """The zone of that exact name."""
        return next((zone for zone in self.zones if zone.name == name), None)

    def server_at(self, ip: str, rpc_port: int) -> Server | None:
        """The server registered under that address."""
        for server in self.servers:
            if (server.agent.ip, server.observer.rpc_port) == (ip, rpc_port):
                return server
        return None

    def maintainer(self, now: float) -> Agent | None:
        """The agent that schedules cluster DAGs; a lost one is replaced after its lease.

        The DAGs lie in the database: an agent that cannot reach it is lost, too.

        Returns:
            `None` while nobody schedules.
        """
        holder = self.last_maintainer
        if holder is not None and _can_schedule(holder) and holder in self.agents:
            self.maintainer_seen_at = now
            return holder
        if holder is not None and now < self.maintainer_seen_at + LEASE_SECONDS:
            return None
        self.last_maintainer = next(filter(_can_schedule, self.agents), None)
        self.maintainer_seen_at = now
        return self.last_maintainer

    @property
    def is_scheduled(self) -> bool:
        """Whether its DAGs are looked at: not while a lost maintainer's lease runs."""
        holder = self.last_maintainer
        return any(map(_can_schedule, self.agents if holder is None else [holder]))

    def tenants(self) -> list[Tenant]:
        """`sys` first, then the user tenants in the order of the description."""
        everywhere = tuple(zone.name for zone in self.config.zones)
        sys_config = TenantConfig(name="sys", unit=SYS_UNIT)
        tenants = [_tenant(sys_config, SYS_ID, SYS_ID, everywhere)]
        for number, config in enumerate(self.config.tenants):
            tenant_id = FIRST_USER_TENANT_ID + 2 * number
            tenants.append(_tenant(config, tenant_id, FIRST_OBJECT_ID + number, everywhere))
        return tenants

    def units_on(self, server: Server) -> list[UnitConfig]:
        """Units on a server: the first `unit_num` servers of each zone of the pool hold them."""
        peers = [other for other in self.servers if other.zone == server.zone]
        place = peers.index(server)
        return [
            tenant.pool.unit
            for tenant in self.tenants()
            if server.zone in tenant.pool.zones and place < tenant.pool.unit_num
        ]


def _can_schedule(agent: Agent) -> bool:
    return not agent.down and agent.has_database


def _tenant(
    config: TenantConfig, tenant_id: int, object_id: int, everywhere: tuple[str, ...]
) -> Tenant:
    is_sys = tenant_id == SYS_ID
    pool = Pool(
        id=object_id,
        name="sys_pool" if is_sys else f"p_{config.name}",
        unit_id=object_id,
        unit=config.unit,
        unit_num=config.unit_num,
        zones=config.zones or everywhere,
        tenant_id=tenant_id,
    )
    return Tenant(tenant_id, config.name, config.mode, pool)
