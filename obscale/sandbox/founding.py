"""Builds a running cluster from its description."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from obscale.sandbox.agents import CLUSTER_AGENT, Agent, Observer
from obscale.sandbox.capacity import read_capacity
from obscale.sandbox.cluster import Cluster, Server, Zone
from obscale.sandbox.config import AgentConfig, ClusterConfig, ConfigError
from obscale.sandbox.dags.context import Scene
from obscale.sandbox.dags.dag import GLOBAL_MAINTENANCE, Dag, Node, Step, SubTask, Work
from obscale.sandbox.observer_start import effective_values, why_it_dies
from obscale.sandbox.units import place_units

if TYPE_CHECKING:
    from obscale.sandbox.world import World

ADDRESSES_PER_NETWORK: Final = 250
FOUNDED_BEFORE_SECONDS: Final = 7 * 24 * 3600.0
"""Clusters are a week older than their world."""
SYNCHRONIZE: Final = "Synchronize agent from cluster"
INITIALIZE: Final = "Initialize cluster"
HISTORY_OF_FIRST: Final = (
    ("Join self", ("Join self",)),
    ("Update observer config", ("Update observer config",)),
    ("Update cluster config", ("Update cluster config",)),
    (
        INITIALIZE,
        (
            "Integrate config",
            "Create observer workdir",
            "Start observer",
            "Cluster boostrap",
            "Migrate table",
            "Modify password",
            "Migrate data",
            "Convert follower to cluster agent",
            SYNCHRONIZE,
            "Convert master to cluster agent",
            SYNCHRONIZE,
        ),
    ),
)
"""The DAGs of the agent that founds a cluster. Recorded from 4.5.0.0."""
HISTORY_OF_OTHERS: Final = (
    ("Join to master", ("Join to master", "Be follower")),
    ("Create observer workdir", ("Create observer workdir",)),
    ("Start observer", ("Start observer",)),
    (SYNCHRONIZE, (SYNCHRONIZE,)),
    (SYNCHRONIZE, (SYNCHRONIZE,)),
)
"""Those of the others: names and numbers recorded, their first from ob/agent/executor/agent."""


def default_ip(cluster_number: int, place: int) -> str:
    """127.0.<cluster>.<n>: the whole of 127/8 belongs to the loopback interface on Linux."""
    network, last = divmod(place - 1, ADDRESSES_PER_NETWORK)
    return f"127.{network}.{cluster_number}.{last + 1}"


def found_cluster(config: ClusterConfig, agents: list[Agent]) -> Cluster:
    """An initialised cluster whose servers have been serving since before the world began."""
    cluster = Cluster(config, root_password=config.root_password)
    remaining = iter(agents)
    for zone_config in config.zones:
        cluster.zones.append(Zone(zone_config.name, zone_config.region))
        for _ in zone_config.agents:
            agent = next(remaining)
            enlist(agent, cluster, zone_config.name)
            agent.is_founder = True
    place_units(cluster)
    return cluster


def enlist(agent: Agent, cluster: Cluster, zone: str) -> None:
    """Make an agent a member whose server has been serving for long.

    Raises:
        ConfigError: Its observer could not run with these options.
    """
    observer = _running_observer(cluster.config, agent.config, agent, zone)
    agent.identity, agent.zone = CLUSTER_AGENT, zone
    agent.cluster, agent.root_password = cluster, cluster.root_password
    agent.observer, agent.connected = observer, True
    cluster.agents.append(agent)
    number = max((server.id for server in cluster.servers), default=0) + 1
    cluster.servers.append(
        Server(number, zone, agent, observer, 0.0, clock_offset_seconds=agent.clock_offset_seconds)
    )


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


def write_history(world: "World", cluster: Cluster) -> None:
    """Give the members the DAGs they were founded by; their logs are left out."""
    first = True
    for agent in cluster.agents:
        if agent.is_founder:
            _write(world, agent, HISTORY_OF_FIRST if first else HISTORY_OF_OTHERS)
            first = False


def _write(world: "World", agent: Agent, history: Iterable[tuple[str, tuple[str, ...]]]) -> None:
    for name, nodes in history:
        dag = world.create_dag(
            name,
            [Step(node, _over, _over) for node in nodes],
            executor=agent,
            owner=agent,
            maintenance_type=GLOBAL_MAINTENANCE,
        )
        dag.stage, dag.state = dag.max_stage, "SUCCEED"
        dag.additional_data = {} if name == INITIALIZE else None
        parts: list[Dag | Node | SubTask] = [dag]
        for node in dag.nodes:
            parts += [node, node.sub_task]
            node.sub_task.execute_times = 1
        for part in parts:
            part.state = "SUCCEED"
            part.start_at -= FOUNDED_BEFORE_SECONDS
            part.end_at -= FOUNDED_BEFORE_SECONDS


def _over(_scene: Scene) -> Work:
    """What is done is never done again."""
    yield from ()
