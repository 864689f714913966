"""Builds a running cluster from its description."""

from typing import Final

from obscale.sandbox.agents import CLUSTER_AGENT, Agent, Observer
from obscale.sandbox.capacity import read_capacity
from obscale.sandbox.cluster import Cluster, Server, Zone
from obscale.sandbox.config import AgentConfig, ClusterConfig, ConfigError
from obscale.sandbox.observer_start import effective_values, why_it_dies

ADDRESSES_PER_NETWORK: Final = 250


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
            enlist(next(remaining), cluster, zone_config.name)
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
    cluster.servers.append(Server(number, zone, agent, observer, serves_from=0.0))


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
