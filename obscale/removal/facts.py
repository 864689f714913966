"""The facts about one removal that its rules judge."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from obscale.agent.models import (
    AgentInfo,
    AgentStatus,
    Dag,
    Identity,
    ListedAgent,
    ObInfo,
    Parameter,
    Server,
    Zone,
    joined_address,
)
from obscale.agent.resources import Tenant
from obscale.maintenance_lock import SCALE_IN
from obscale.preflight.facts import ClusterFacts, TargetProgress, server_address
from obscale.preflight.rules.cluster import EPOCH_YEAR
from obscale.reading import NOT_ASKED, Unread
from obscale.request.removal import LeavingNode, Removal

DELETE_ZONE: Final = "Delete zone"
"""Name of the DAG that takes a whole zone. Source: ob/agent/executor/ob/delete_zone.go, 4.5.0.0."""
DELETING: Final = "DELETING"
INACTIVE: Final = "INACTIVE"
STAGES_WITHOUT_NAME: Final = 2
"""Until the end of the second nothing tells whom a `Cluster scale in` takes; recorded."""


@dataclass(frozen=True)
class LeavingFacts:
    """The agent that is to leave, as it answered.

    Args:
        address: `ip:port` it was asked at.
        info: `GET /info`; Unread: it did not answer.
        status: `GET /status`.
        last_dag: `GET /task/dag/maintain/agent`.
    """

    address: str
    info: AgentInfo | Unread = NOT_ASKED
    status: AgentStatus | Unread = NOT_ASKED
    last_dag: Dag | Unread | None = NOT_ASKED


@dataclass(frozen=True)
class DeadLook:
    """One look at whether the leaving server is dead, told by one entry agent.

    Args:
        entry: `ip:port` of the entry agent.
        at: When, aware.
        server: The server's row there; None: no row; Unread: not told.
        ob_state: Of the leaving agent's `/status` at that moment; Unread: it did not answer.
    """

    entry: str
    at: datetime
    server: Server | Unread | None
    ob_state: int | Unread


@dataclass(frozen=True)
class RemovalFacts:
    """Everything the rules of a removal judge.

    Args:
        order: What is asked for.
        cluster: As one entry agent answered.
        leaving: The leaving agent; None: a whole zone leaves.
        members: `GET /ob/info` of every entry agent that stays, by `ip:port`.
        tenants: `GET /tenant/{name}` of each tenant, with pools and where their units are.
        sys_parameters: Parameters of the sys tenant that rules ask for, by name.
        dead_looks: Where force_kill is asked for: several looks at whether the server is dead.
        expected_name: Name the cluster must have; None: not said.
        expected_id: Id the cluster must have; None: not said.
        now: This machine's clock when all was read, aware.
        dropped: Entry agents that leave themselves, `ip:port`; they were asked nothing.
    """

    order: Removal
    cluster: ClusterFacts
    leaving: LeavingFacts | None = None
    members: Mapping[str, ObInfo | Unread] = field(default_factory=dict)
    tenants: tuple[Tenant, ...] | Unread = NOT_ASKED
    sys_parameters: Mapping[str, Parameter] | Unread = NOT_ASKED
    dead_looks: tuple[DeadLook, ...] = ()
    expected_name: str | None = None
    expected_id: int | None = None
    now: datetime | None = None
    dropped: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """`ip:port` of the agent that leaves; of a whole zone its name."""
        return self.order.target

    @property
    def is_zone(self) -> bool:
        """Whether a whole zone leaves."""
        return self.order.node is None

    @property
    def nodes(self) -> tuple[LeavingNode, ...]:
        """All nodes of the request; none where a whole zone leaves."""
        node = self.order.node
        return () if node is None else (self.order.batch or (node,))

    def zone(self) -> Zone | None:
        """Give the zone the node leaves, or that leaves; None: there is none, or it is unread."""
        return self.cluster.zone(self.order.zone)

    def servers_at(self, node: LeavingNode) -> tuple[tuple[Zone, Server], ...]:
        """Give the servers beside one agent, with their zones; usually one.

        Older versions tell the agent's port in `/ob/info` alone; where nothing tells it the server
        of that IP counts if there is no other.
        """
        ip, port = node.agentInfo.ip, node.agentInfo.port
        here = [(zone, server) for zone, server in self.cluster.servers() if server.ip == ip]
        if exact := [pair for pair in here if pair[1].obshell_port == port]:
            return tuple(exact)
        rows = [row for row in self._listed_servers() if row[0] == ip]
        ports = {svr_port for _, svr_port, agent_port in rows if agent_port == port}
        if named := [pair for pair in here if pair[1].svr_port in ports]:
            return tuple(named)
        is_told = any(server.obshell_port for _, server in self.cluster.servers()) or any(
            agent_port for *_, agent_port in self._listed_servers()
        )
        is_only_one = len(here) == 1 and self.agent_row(node) is not None
        return tuple(here) if is_only_one and not is_told else ()

    def server(self) -> Server | None:
        """Give the server that leaves; None: there is no row of it, or a whole zone leaves."""
        node = self.order.node
        found = self.servers_at(node) if node else ()
        return found[0][1] if found else None

    def replaced_servers(self) -> tuple[Server, ...]:
        """Give the rows of the server that leaves, and of those the same request replaces."""
        beside = self.order.replaced_beside
        return (
            *self.leaving_servers(),
            *(server for node in beside for _, server in self.servers_at(node)),
        )

    def leaving_servers(self) -> tuple[Server, ...]:
        """Give the rows of all that leave by this order: one, or those of the whole zone."""
        if self.is_zone:
            zone = self.zone()
            return zone.servers if zone else ()
        server = self.server()
        return (server,) if server else ()

    def going(self) -> tuple[Server, ...]:
        """Give the rows of all that leave by the whole request, this order's among them."""
        if self.is_zone:
            return self.leaving_servers()
        found = {server_address(s): s for node in self.nodes for _, s in self.servers_at(node)}
        return tuple(found.values())

    def staying(self) -> tuple[tuple[Zone, Server], ...]:
        """Give all servers that stay when the whole request is carried out, with their zones."""
        going = {server_address(server) for server in self.going()}
        return tuple(
            (zone, server)
            for zone, server in self.cluster.servers()
            if server_address(server) not in going
        )

    def agent_row(self, node: LeavingNode | None = None) -> ListedAgent | None:
        """Give the cluster's row of a leaving agent, of the order's own by default."""
        node = node or self.order.node
        members = self.cluster.ob_info
        if node is None or isinstance(members, Unread):
            return None
        return next((row for row in members.agent_info if row.address == node.address), None)

    def agents_of_zone(self) -> tuple[ListedAgent, ...]:
        """Give the cluster's rows of the agents in the zone."""
        members = self.cluster.ob_info
        if isinstance(members, Unread):
            return ()
        return tuple(row for row in members.agent_info if row.zone == self.order.zone)

    def own_dag(self) -> Dag | None:
        """Give the unfinished removal of this very target; the newest of several.

        A `Cluster scale in` names its target in a log line; before that it is the one under way
        while exactly this server is DELETING and its agent's row says SCALING IN.
        """
        dags = self.cluster.unfinished
        if isinstance(dags, Unread):
            return None
        owns = self._takes_the_zone if self.is_zone else self._takes_the_node
        return max(filter(owns, dags), key=lambda dag: dag.dag_id, default=None)

    def young_removal(self) -> Dag | None:
        """Give a removal that has just begun and of which nobody can tell yet whom it takes.

        It may be ours, of a run that died: whoever is to decide looks again before.
        """
        dags = self.cluster.unfinished
        if isinstance(dags, Unread) or self.is_zone or self.own_dag() is not None:
            return None
        return next(
            (
                dag
                for dag in dags
                if dag.name == SCALE_IN
                and not dag.is_failed
                and dag.stage <= STAGES_WITHOUT_NAME
                and not any(_names_somebody(line) for line in _lines(dag))
            ),
            None,
        )

    def progress(self) -> TargetProgress:
        """Say how far the removal is: not begun, at work, or done already."""
        own = self.own_dag()
        if own is not None and not own.is_failed:
            return TargetProgress.LEAVING
        return TargetProgress.GONE if self.is_gone() else TargetProgress.NEW

    def is_gone(self) -> bool:
        """Whether the cluster lists neither agent nor server, and none that could be meant.

        Where it lists another of the same IP, the address may be a slip: then only an agent that
        says itself that it was scaled in is gone.
        """
        if isinstance(self.cluster.topology, Unread) or isinstance(self.cluster.ob_info, Unread):
            return False
        if self.cluster.ob_info.obcluster_info.topology is None:
            return False
        node = self.order.node
        if node is None:
            return self.zone() is None
        if self.servers_at(node) or self.agent_row(node):
            return False
        if not self.neighbours():
            return True
        info = self.leaving.info if self.leaving else NOT_ASKED
        return not isinstance(info, Unread) and info.identity is Identity.SCALING_IN

    def neighbours(self) -> tuple[str, ...]:
        """Name what the cluster lists at the leaving agent's IP and is not it."""
        node, members = self.order.node, self.cluster.ob_info
        if node is None:
            return ()
        listed = () if isinstance(members, Unread) else members.agent_info
        agents = [f"agent {row.address}" for row in listed if row.ip == node.agentInfo.ip]
        servers = [
            f"server {server_address(server)} in {zone.name}"
            for zone, server in self.cluster.servers()
            if server.ip == node.agentInfo.ip
        ]
        return (*agents, *servers)

    def _listed_servers(self) -> list[tuple[str, int, int]]:
        """IP, RPC port and agent's port of each server of `/ob/info`."""
        members = self.cluster.ob_info
        topology = None if isinstance(members, Unread) else members.obcluster_info.topology
        return [
            (row.svr_ip, row.svr_port, row.agent_port)
            for rows in (topology or {}).values()
            for row in rows
        ]

    def _takes_the_zone(self, dag: Dag) -> bool:
        names = {f"Stop zone {self.order.zone}", f"Delete zone {self.order.zone}"}
        return dag.name == DELETE_ZONE and any(node.title in names for node in dag.nodes)

    def _takes_the_node(self, dag: Dag) -> bool:
        if dag.name != SCALE_IN or self.order.node is None:
            return False
        server, row = self.server(), self.agent_row()
        is_leaving = row is not None and row.identity is Identity.SCALING_IN
        names = {f"agent {self.order.node.address} ob state"}
        if server is not None:
            names |= {f"observer '{server_address(server)}'"}
            names |= {f"delete observer {server_address(server)} "}
        elif is_leaving:
            # Its row has gone already, and its RPC port with it.
            at = joined_address(self.order.node.agentInfo.ip, 0).removesuffix("0")
            names |= {f"observer '{at}", f"delete observer {at}"}
        lines = tuple(_lines(dag))
        if any(_names_somebody(line) for line in lines):
            return any(name in line for name in names for line in lines)
        deleting = [s for _, s in self.cluster.servers() if s.inner_status == DELETING]
        return is_leaving and deleting == ([] if server is None else [server])


def _lines(dag: Dag) -> Iterator[str]:
    """What the nodes of a DAG have logged that was read with details."""
    lines = (line for node in dag.nodes for task in node.sub_tasks for line in task.task_logs)
    return (line.replace("Observer '", "observer '") for line in lines)


def _names_somebody(line: str) -> bool:
    """Whether a line of a `Cluster scale in` names its target; recorded."""
    return any(mark in line for mark in ("observer '", "delete observer ", " ob state: "))


def is_dead(server: Server) -> bool | None:
    """Say whether OceanBase counts a server as dead; None: what is read does not tell.

    INACTIVE, or DELETING without a start of service. `status` proves nothing: a stopped service or
    a silent obshell looks dead there. Source: ob_server_table_operator.cpp.
    """
    if server.inner_status == INACTIVE:
        return True
    if server.inner_status == DELETING:
        return None if server.start_time is None else server.start_time.year < EPOCH_YEAR
    return False if server.inner_status else None
