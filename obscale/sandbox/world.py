"""A simulated world: its clusters, agents, faults, and the requests it has had.

The world holds state and rules and knows no HTTP; `api.py` speaks for its agents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from obscale.sandbox.agents import Agent, split_address
from obscale.sandbox.clock import Clock, ManualClock
from obscale.sandbox.cluster import Cluster
from obscale.sandbox.config import WorldConfig
from obscale.sandbox.dags.dag import Dag, Node, Step, SubTask
from obscale.sandbox.dags.engine import Engine
from obscale.sandbox.faults.deck import Hand
from obscale.sandbox.faults.fault import Fault
from obscale.sandbox.founding import default_ip, found_cluster, write_history
from obscale.sandbox.hosts import Host

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
        self.hand = Hand(self)
        self.watchers: list[Callable[[Agent], None]] = []
        """Called when an agent goes down or comes back: doors close and open their sockets."""
        self._numbers: dict[tuple[int, str], int] = {}
        self._at: dict[tuple[str, int], Agent] = {}
        """Agents by the address they were found at."""
        self.engine = Engine(self)
        self._build()
        for fault in config.faults:
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
        wanted = (ip, port)
        known = self._at.get(wanted)
        # A door may have moved it since.
        if known is None or (known.ip, known.port) != wanted:
            known = next((a for a in self.agents if (a.ip, a.port) == wanted), None)
            if known is not None:
                self._at[wanted] = known
        return known

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
        if len(nodes) == 1:
            # What its nodes remember is put together of at least two.
            dag.additional_data = None
        if owner is not None:
            owner.dags.append(dag)
        if cluster is not None:
            cluster.dags.append(dag)
        return dag

    def play(self, fault: Fault) -> None:
        """Put a card into the world's hand; state cards act at once or when their time comes.

        Raises:
            ConfigError: It names an agent or a cluster this world does not have.
        """
        self.hand.play(fault)

    def undrawn(self) -> list[Fault]:
        """Cards nobody has drawn yet: a test that plays one should see it gone."""
        return self.hand.undrawn()

    def stop_agent(self, agent: Agent) -> None:
        """End an obshell process."""
        agent.down = True
        agent.sessions.clear()
        self.tell(agent)

    def start_agent(self, agent: Agent) -> None:
        """Start an obshell process; it works on what it left unfinished."""
        agent.down = agent.silent = False
        agent.started_at_virtual = self.engine.now
        agent.starts += 1
        if agent.is_forgotten:
            # A cluster agent starts its observer; no cluster lets that one in any more.
            agent.connected = False
            if agent.observer is not None:
                agent.observer.start()
        if agent.observer is not None and agent.observer.alive:
            # It finds the ports in the observer's own files.
            agent.observer.reported_ports = True
        self.engine.restart_agent(agent)
        self.tell(agent)

    def wipe(self, agent: Agent) -> None:
        """Stop an obshell, empty its home, and start it again: it belongs to no cluster."""
        self.stop_agent(agent)
        if agent.observer is not None:
            agent.observer.alive = False
            for path in (agent.observer.data_dir, agent.observer.redo_dir):
                agent.host.release(agent.files.clear(path))
        agent.host.release(agent.files.clear(agent.home))
        agent.leave()
        self.start_agent(agent)

    def tell(self, agent: Agent) -> None:
        """Call the watchers: the agent went down, fell silent, or came back."""
        for watcher in self.watchers:
            watcher(agent)

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
            self.clusters.append(found_cluster(cluster_config, built[: len(members)]))
            self.spares.extend(built[len(members) :])
            self.agents.extend(built[: len(members)])
        self.agents.extend(self.spares)
        for cluster in self.clusters:
            write_history(self, cluster)
