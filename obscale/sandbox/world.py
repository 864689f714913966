"""Which clusters, agents and faults exist, and what has been asked of them?

The world holds state and rules and knows no HTTP; `api.py` speaks for its agents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from obscale.sandbox.agents import CLUSTER_AGENT, Agent, Observer, split_address
from obscale.sandbox.capacity import read_capacity
from obscale.sandbox.clock import Clock, ManualClock
from obscale.sandbox.cluster import Cluster, Server, Zone
from obscale.sandbox.config import AgentConfig, ClusterConfig, ConfigError, WorldConfig
from obscale.sandbox.dag import TENANT_MAINTENANCE, Dag, Node, Step, SubTask, Work
from obscale.sandbox.engine import Engine
from obscale.sandbox.faults import STATE_CARDS, Fault, FaultCard
from obscale.sandbox.hosts import Host
from obscale.sandbox.observer_start import effective_values, why_it_dies
from obscale.sandbox.scene import Scene

ADDRESSES_PER_NETWORK: Final = 250
PROVISIONAL_PORTS_FROM: Final = 40_001
"""Names of port-0 agents until a door has bound their sockets."""


@dataclass(frozen=True)
class RequestRecord:
    """One request that reached an agent: `at` virtual seconds, `target` as in the request line."""

    at: float
    agent: str
    method: str
    target: str
    status: int
    trace_id: str


@dataclass
class PlayedFault:
    """A card in the hand and how often it was drawn."""

    fault: Fault
    drawn: int = 0

    @property
    def left(self) -> bool:
        """Whether it may be drawn again."""
        return self.fault.times == 0 or self.drawn < self.fault.times


class World:
    """A simulated world.

    Args:
        config: Its description.
        clock: A `ManualClock` for tests, a `ScaledClock` to let it run.

    Raises:
        ConfigError: A fixed key cannot be read, a member could not run with its `ob_configs`,
            or a fault names an unknown agent or cluster.
    """

    def __init__(self, config: WorldConfig, clock: Clock | None = None) -> None:
        self.config = config
        self.clock: Clock = clock or ManualClock()
        self.clusters: list[Cluster] = []
        self.agents: list[Agent] = []
        self.spares: list[Agent] = []
        self.requests: list[RequestRecord] = []
        self.hand: list[PlayedFault] = []
        self.watchers: list[Callable[[Agent], None]] = []
        """Called when an agent goes down or comes back: doors close and open their sockets."""
        self._numbers: dict[tuple[int, str], int] = {}
        self.engine = Engine(self)
        self._build()
        for fault in config.faults:
            self._check_names(fault)
            self.play(fault)

    def sync(self) -> None:
        """Let everything happen that is due by now; every request calls this first."""
        self.engine.advance_to(self.clock.now())

    def advance(self, seconds: float) -> None:
        """Move a manual clock and let everything in between happen in its order.

        Raises:
            TypeError: The world runs on a clock that moves by itself.
        """
        if not isinstance(self.clock, ManualClock):
            raise TypeError("only a world on a ManualClock can be advanced")
        self.clock.advance(seconds)
        self.sync()

    def wall_of(self, agent: Agent, virtual_seconds: float) -> float:
        """What an agent's wall clock shows at a virtual instant, Unix seconds."""
        return self.clock.wall_at(virtual_seconds) + agent.clock_offset_seconds

    def agent(self, address: str) -> Agent:
        """The agent at `ip:port`; `KeyError` when there is none."""
        found = self.find(*split_address(address))
        if found is None:
            raise KeyError(address)
        return found

    def find(self, ip: str, port: int) -> Agent | None:
        """The agent at that address, if any."""
        return next((agent for agent in self.agents if (agent.ip, agent.port) == (ip, port)), None)

    def cluster(self, name: str | None = None) -> Cluster:
        """The cluster of that name, or the first; `KeyError` when there is none."""
        for cluster in self.clusters:
            if name in (None, cluster.name):
                return cluster
        raise KeyError(name)

    def count_dags(self, name: str, cluster: str | None = None) -> int:
        """How many DAGs of that name exist in one cluster or in all."""
        return sum(
            dag.name == name
            for each in self.clusters
            if cluster in (None, each.name)
            for dag in each.dags
        )

    def ready_line(self) -> dict[str, Any]:
        """What a script needs to drive this world: addresses and passwords."""
        return {
            "clusters": [
                {
                    "name": cluster.name,
                    "id": cluster.id,
                    "zones": [zone.name for zone in cluster.zones],
                    "agents": [
                        {"ip": agent.ip, "port": agent.port, "zone": agent.zone}
                        for agent in cluster.agents
                    ],
                    "root_password": cluster.root_password,
                }
                for cluster in self.clusters
            ],
            "spares": [
                {"ip": spare.ip, "port": spare.port, "agent_password": spare.agent_password}
                for spare in self.spares
            ],
        }

    def create_dag(
        self,
        name: str,
        steps: Sequence[Step],
        *,
        executor: Agent,
        maintenance_type: int,
        owner: Agent | None = None,
        cluster: Cluster | None = None,
    ) -> Dag:
        """Write a DAG into the store of its owner, or of a cluster, with its lock."""
        store: object = owner if owner is not None else cluster
        wall = self.wall_of(executor, self.engine.now)
        nodes = []
        for step in steps:
            task = SubTask(
                self._next(store, "sub task"), step.name, executor, start_at=wall, end_at=wall
            )
            number = self._next(store, "node")
            nodes.append(Node(number, step, task, start_at=wall, end_at=wall))
        dag = Dag(
            self._next(store, "dag"),
            name,
            nodes,
            owner,
            maintenance_type,
            start_at=wall,
            end_at=wall,
        )
        if owner is not None:
            owner.dags.append(dag)
        if cluster is not None:
            cluster.dags.append(dag)
        return dag

    def play(self, fault: Fault) -> None:
        """Put a card into the world's hand; state cards act at once or when their time comes."""
        played = PlayedFault(fault)
        self.hand.append(played)
        if fault.card not in STATE_CARDS:
            return
        self.sync()

        def act() -> None:
            played.drawn += 1
            self._change_state(fault)

        if fault.after_seconds:
            self.engine.after(fault.after_seconds, act)
        else:
            act()

    def undrawn(self) -> list[Fault]:
        """Cards nobody has drawn yet: a test that plays one should see it gone."""
        return [played.fault for played in self.hand if not played.drawn]

    def draw(
        self,
        card: FaultCard,
        *,
        target: str,
        cluster: str | None = None,
        stage: int | None = None,
        to: str | None = None,
    ) -> Fault | None:
        """Take the first matching card, if the hand holds one."""
        for played in self.hand:
            fault = played.fault
            if (
                fault.card == card
                and played.left
                and fault.target in (None, target)
                and fault.cluster in (None, cluster)
                and fault.stage in (None, stage)
                and fault.to in (None, to)
            ):
                played.drawn += 1
                return fault
        return None

    def stop_agent(self, agent: Agent) -> None:
        """End an obshell process."""
        agent.down = True
        agent.sessions.clear()
        self._tell(agent)

    def start_agent(self, agent: Agent) -> None:
        """Start an obshell process; it works on what it left unfinished."""
        agent.down = agent.silent = False
        agent.started_at_virtual = self.engine.now
        self.engine.restart_agent(agent)
        self._tell(agent)

    def _check_names(self, fault: Fault) -> None:
        if fault.target is not None and fault.target not in [a.address for a in self.agents]:
            raise ConfigError(f"faults: no agent '{fault.target}' in this world")
        if fault.cluster is not None and fault.cluster not in [c.name for c in self.clusters]:
            raise ConfigError(f"faults: no cluster '{fault.cluster}' in this world")

    def _tell(self, agent: Agent) -> None:
        for watcher in self.watchers:
            watcher(agent)

    def _change_state(self, fault: Fault) -> None:
        if fault.card == "change_root_password":
            self.cluster(fault.cluster).root_password = fault.text or ""
            return
        if fault.card == "tenant_task":
            self._hold_lock(self.cluster(fault.cluster), fault.seconds or 0.0)
            return
        agent = self.agent(fault.target or "")
        match fault.card:
            case "agent_down":
                self.stop_agent(agent)
            case "agent_up":
                self.start_agent(agent)
            case "agent_restart":
                self.stop_agent(agent)
                self.start_agent(agent)
            case "black_hole":
                agent.silent = True
                self._tell(agent)
            case "database_down" | "database_up":
                agent.database_down = fault.card == "database_down"
            case "rotate_key":
                agent.rotate_key()
            case "shift_clock":
                agent.clock_offset_seconds += fault.seconds or 0.0

    def _hold_lock(self, cluster: Cluster, seconds: float) -> None:
        def work(scene: Scene) -> Work:
            scene.log("modify tenant")
            yield seconds

        dag = self.create_dag(
            "Modify tenant",
            [Step("Modify tenant", work, work)],
            executor=cluster.agents[0],
            maintenance_type=TENANT_MAINTENANCE,
            cluster=cluster,
        )
        dag.facts["maintenance_key"] = "app"

    def _next(self, store: object, what: str) -> int:
        key = (id(store), what)
        self._numbers[key] = self._numbers.get(key, 0) + 1
        return self._numbers[key]

    def _build(self) -> None:
        hosts: dict[str, Host] = {}
        provisional = PROVISIONAL_PORTS_FROM
        for number, cluster_config in enumerate(self.config.clusters, start=1):
            members = [agent for zone in cluster_config.zones for agent in zone.agents]
            waiting = self.config.spares if number == 1 else ()
            built = []
            for place, agent_config in enumerate([*members, *waiting], start=1):
                ip = agent_config.ip or default_ip(number, place)
                port = self.config.port if agent_config.port is None else agent_config.port
                if port == 0:
                    port, provisional = provisional, provisional + 1
                host = hosts.get(ip) if agent_config.host is None else None
                host = host or Host(agent_config.host or self.config.host)
                hosts.setdefault(ip, host)
                built.append(Agent(agent_config, self.config, host, ip, port))
            self.clusters.append(_found_cluster(cluster_config, built[: len(members)]))
            self.spares.extend(built[len(members) :])
            self.agents.extend(built[: len(members)])
        self.agents.extend(self.spares)


def default_ip(cluster_number: int, place: int) -> str:
    """127.0.<cluster>.<n>: the whole of 127/8 belongs to the loopback interface on Linux."""
    network, last = divmod(place - 1, ADDRESSES_PER_NETWORK)
    return f"127.{network}.{cluster_number}.{last + 1}"


def _found_cluster(config: ClusterConfig, agents: list[Agent]) -> Cluster:
    """An initialised cluster whose servers have been serving since before the world began."""
    cluster = Cluster(config, root_password=config.root_password)
    remaining = iter(agents)
    for zone_config in config.zones:
        cluster.zones.append(Zone(zone_config.name, zone_config.region))
        for agent_config in zone_config.agents:
            agent = next(remaining)
            observer = _running_observer(config, agent_config, agent, zone_config.name)
            agent.identity, agent.zone = CLUSTER_AGENT, zone_config.name
            agent.cluster, agent.root_password = cluster, config.root_password
            agent.observer, agent.connected = observer, True
            cluster.agents.append(agent)
            number = len(cluster.servers) + 1
            cluster.servers.append(
                Server(number, zone_config.name, agent, observer, added_at=0.0, serves_from=0.0)
            )
    return cluster


def _running_observer(
    config: ClusterConfig, agent_config: AgentConfig, agent: Agent, zone: str
) -> Observer:
    configs = {"mysql_port": "2881", "rpc_port": "2882"}
    configs |= config.ob_configs | config.parameters | agent_config.ob_configs
    configs["data_dir"] = configs.get("data_dir", f"{agent.home}/store")
    configs["redo_dir"] = configs.get("redo_dir", configs["data_dir"])
    configs["clog_dir"] = configs.get("clog_dir", f"{configs['redo_dir']}/clog")
    configs |= {"zone": zone, "cluster": config.name, "cluster_id": str(config.id)}
    values = effective_values(configs, agent)
    if reason := why_it_dies(configs, values, agent, first_start=True):
        raise ConfigError(f"ob_configs: {agent.address} of '{config.name}' cannot run: {reason}")
    for path, size in (("data_dir", "datafile_size"), ("clog_dir", "log_disk_size")):
        agent.host.allocate(f"{configs[path]}/{size}", read_capacity(values[size]))
    return Observer(
        sql_port=int(configs["mysql_port"]),
        rpc_port=int(configs["rpc_port"]),
        data_dir=configs["data_dir"],
        redo_dir=configs["clog_dir"],
        values=values,
        reported_ports=True,
    )
