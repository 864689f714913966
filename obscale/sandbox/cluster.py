"""The tables of one simulated OceanBase cluster."""

from dataclasses import dataclass, field
from typing import Final

from obscale.sandbox.agents import Agent, Observer
from obscale.sandbox.config import ClusterConfig, TenantConfig, UnitConfig
from obscale.sandbox.dags.dag import TENANT_MAINTENANCE, Dag

LEASE_SECONDS: Final = 5.0
"""How long a lost maintainer stays maintainer. Source: ob/agent/engine/coordinator, 4.5.0.0."""
SYS_UNIT: Final = UnitConfig(
    name="sys_unit_config", max_cpu=1, min_cpu=1, memory_size=2 << 30, log_disk_size=2 << 30
)
FIRST_USER_TENANT_ID: Final = 1002
FIRST_OBJECT_ID: Final = 1001
SYS_ID: Final = 1
FULL: Final = "FULL"


@dataclass
class Zone:
    """One row of DBA_OB_ZONES."""

    name: str
    region: str
    active: bool = True


@dataclass(eq=False)
class Server:
    """One row of DBA_OB_SERVERS.

    Attributes:
        agent: The agent of its host: address and observer come from there.
        observer: The process behind the row.
        serves_from: Virtual second from which `start_time` is set; `None` for never.
        clock_offset_seconds: By how much its host's clock was wrong when it began to serve; what
            was written down then stays, whatever becomes of the clock.
        deleting: DELETE SERVER was issued.
        orders: How often it was told to go or to stay: what an older order began, is void.
        holds_its_units: Nothing of it is moved, whatever was ordered, and its row stays.
        takes_no_unit: No unit fits any more.
        disk_is_full: Its data file is filled beyond the share at which units are refused.
    """

    id: int
    zone: str
    agent: Agent
    observer: Observer
    serves_from: float | None
    clock_offset_seconds: float = 0.0
    deleting: bool = False
    orders: int = 0
    holds_its_units: bool = False
    takes_no_unit: bool = False
    disk_is_full: bool = False

    @property
    def address(self) -> str:
        """`ip:port` as OceanBase writes it: the RPC port."""
        return f"{self.agent.ip}:{self.observer.rpc_port}"


@dataclass(eq=False)
class Pool:
    """A resource pool with its unit config and owner, as three answers print them."""

    id: int
    name: str
    unit_id: int
    unit: UnitConfig
    unit_num: int
    zones: tuple[str, ...]
    tenant_id: int


@dataclass(eq=False)
class Tenant:
    """A tenant, its pools, and which kind of replica each of its zones has."""

    id: int
    name: str
    mode: str
    pools: list[Pool]
    replicas: dict[str, str]
    data_bytes: int
    parameters: dict[str, str] = field(default_factory=dict)
    """What was set for this tenant alone."""

    @property
    def unit_num(self) -> int:
        """How many units it has in each of its zones."""
        return self.pools[0].unit_num

    @property
    def unit(self) -> UnitConfig:
        """The config of its units, of its first pool."""
        return self.pools[0].unit

    def pool_in(self, zone: str) -> Pool | None:
        """Its pool in that zone."""
        return next((pool for pool in self.pools if zone in pool.zones), None)


@dataclass
class Copy:
    """Data on its way to a server: `source` gives it up, or keeps it (`None`).

    `ends` is the virtual second in which all is there; infinite where nothing follows.
    """

    source: Server | None
    begun: float
    ends: float

    def share(self, now: float) -> float:
        """What has arrived, of 1."""
        passed = self.ends - self.begun
        return min((now - self.begun) / passed, 1.0) if passed > 0 else 1.0


@dataclass(eq=False)
class Unit:
    """One row of DBA_OB_UNITS; `server` is where it is, or moves to."""

    pool: Pool
    server: Server
    data_bytes: int
    copy: Copy | None = None


@dataclass
class Cluster:
    """One cluster: tables, lock, and the agents that serve it."""

    config: ClusterConfig
    zones: list[Zone] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    agents: list[Agent] = field(default_factory=list)
    """Rows of `ocs.all_agent`, in order of their insertion."""
    leaving: list[Agent] = field(default_factory=list)
    """Those whose row says SCALING IN; the agents themselves hear of it later."""
    units: list[Unit] = field(default_factory=list)
    loose_pools: list[Pool] = field(default_factory=list)
    """Pools of no tenant."""
    jobs: dict[tuple[int, str], int] = field(default_factory=dict)
    """How many jobs of a tenant are in progress, by its id and their kind."""
    dags: list[Dag] = field(default_factory=list)
    root_password: str = ""
    asked: set[str] = field(default_factory=set)
    """Which operations were asked for, carried out or not."""
    unit_seconds: float | None = None
    """How long a unit takes to move, where its size does not matter."""
    last_maintainer: Agent | None = None
    maintainer_seen_at: float = 0.0

    def __post_init__(self) -> None:
        """Make the tenants of the description: `sys` first."""
        everywhere = tuple(zone.name for zone in self.config.zones)
        sys_config = TenantConfig(name="sys", unit=SYS_UNIT)
        self._tenants = [_tenant(sys_config, SYS_ID, SYS_ID, everywhere)]
        for number, config in enumerate(self.config.tenants):
            tenant_id = FIRST_USER_TENANT_ID + 2 * number
            self._tenants.append(_tenant(config, tenant_id, FIRST_OBJECT_ID + number, everywhere))

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
        """The DAG that owns the cluster-wide maintenance lock, or keeps others from it."""
        return next((dag for dag in reversed(self.dags) if dag.holds_lock), None)

    def tenant_lock_holder(self, key: str) -> Dag | None:
        """The DAG that owns the lock of that tenant."""
        for dag in reversed(self.dags):
            is_tenants = dag.maintenance_type == TENANT_MAINTENANCE
            if dag.holds_lock and is_tenants and dag.facts.get("maintenance_key") == key:
                return dag
        return None

    @property
    def root_server(self) -> Server | None:
        """The server that leads the log stream of `sys`: it goes elsewhere before that one goes."""
        pools = self._tenants[0].pools
        holders = [each for each in self.servers if any(self.holds(each, p) for p in pools)]
        staying = [each for each in holders if not each.deleting]
        return next(iter(staying or holders), None)

    def sys_server_in(self, zone: str) -> Server | None:
        """The server of a zone with a unit of `sys`; the first where there is none."""
        there = self.servers_in(zone)
        pools = self._tenants[0].pools
        holders = [each for each in there if any(self.holds(each, p) for p in pools)]
        return next(iter([*holders, *there]), None)

    def zone(self, name: str) -> Zone | None:
        """The zone of that exact name."""
        return next((zone for zone in self.zones if zone.name == name), None)

    def servers_in(self, zone: str) -> list[Server]:
        """The servers of a zone, of any status."""
        return [server for server in self.servers if server.zone == zone]

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
        self.last_maintainer = self._next_maintainer()
        self.maintainer_seen_at = now
        return self.last_maintainer

    def hand_over(self, now: float) -> None:
        """Let another agent schedule from now on: the maintainer leaves, and knows it."""
        self.last_maintainer = self._next_maintainer()
        self.maintainer_seen_at = now

    def _next_maintainer(self) -> Agent | None:
        staying = (agent for agent in self.agents if agent not in self.leaving)
        return next(filter(_can_schedule, staying), None)

    @property
    def is_scheduled(self) -> bool:
        """Whether its DAGs are looked at: not while a lost maintainer's lease runs."""
        holder = self.last_maintainer
        if holder is None:
            return self._next_maintainer() is not None
        return _can_schedule(holder)

    def tenants(self) -> list[Tenant]:
        """`sys` first, then the user tenants in the order of the description."""
        return self._tenants

    def tenant(self, name: str) -> Tenant | None:
        """The tenant of that name."""
        return next((tenant for tenant in self._tenants if tenant.name == name), None)

    def pools(self) -> list[Pool]:
        """All pools, those of no tenant last."""
        return [pool for tenant in self._tenants for pool in tenant.pools] + self.loose_pools

    def units_on(self, server: Server) -> list[UnitConfig]:
        """What the units on a server take; one on its way counts there and where it comes from."""
        return [
            unit.pool.unit
            for unit in self.units
            if unit.server is server or (unit.copy is not None and unit.copy.source is server)
        ]

    def holds(self, server: Server, pool: Pool) -> bool:
        """Whether a unit of that pool is on a server, or moves to it."""
        return any(unit.server is server and unit.pool is pool for unit in self.units)


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
    replicas = dict.fromkeys(pool.zones, FULL)
    return Tenant(tenant_id, config.name, config.mode, [pool], replicas, config.data_bytes)
