"""The facts about one request, its cluster and its target that rules judge.

A fact that could not be read is an `Unread`, never an empty value: rules must not take silence for
a good answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from functools import cached_property
from ipaddress import ip_address
from typing import Final, Protocol, TypeVar

from obscale.agent.clock import ClockReading
from obscale.agent.models import (
    AgentInfo,
    AgentStatus,
    ClusterInfo,
    Dag,
    HostInfo,
    Identity,
    ObInfo,
    Parameter,
    Server,
    UnitConfigLimit,
    Zone,
    joined_address,
)
from obscale.agent.resources import (
    License,
    ResourcePool,
    Statistics,
    TenantOverview,
    UnitConfig,
)
from obscale.reading import NOT_ASKED, Unread
from obscale.request.models import NodeSpec
from obscale.scale_out_dag import is_scale_out_of

T = TypeVar("T")

AGENT_AUTH: Final = "agent-auth"
AGENT_REACHABLE: Final = "agent-reachable"
HOST_FACTS_MISSING: Final = "host-facts-missing"


class PortState(Enum):
    """What a TCP connection to a port met."""

    TAKEN = "somebody listens"
    FREE = "refused"
    SILENT = "no answer"


class TargetProgress(Enum):
    """How far the target is on its way into the cluster, or out of it."""

    NEW = "new"
    UNDER_WAY = "under way"
    MEMBER = "member"
    LEAVING = "leaving"
    """Of a removal: its DAG is at work."""
    GONE = "gone"
    """Of a removal: the cluster lists it no more."""
    STORED = "stored"
    """Of a tenant's units: the number is stored already."""


AT_WORK: Final = frozenset({TargetProgress.UNDER_WAY, TargetProgress.LEAVING})
"""Its DAG is there, to be taken up."""
ALREADY_SO: Final = frozenset({TargetProgress.MEMBER, TargetProgress.GONE, TargetProgress.STORED})
"""Nothing is to be sent, only to be looked at."""


@dataclass(frozen=True)
class PreviousReading:
    """An earlier look at the same request, which somebody has judged and gone on with.

    Args:
        at: When its facts were complete, aware.
        host: The target's machine as it was then; None: it was not read, or not kept.
        unjudged: Ids of the rules that could not be judged then, and were gone on with.
    """

    at: datetime
    host: HostInfo | None = None
    unjudged: frozenset[str] = frozenset()


@dataclass(frozen=True)
class TargetFacts:
    """The agent that is to join, as it answered.

    Args:
        address: `ip:port` it was asked at.
        scheme: `http` or `https`, the one that worked.
        info: `GET /info`; Unread: it did not answer at all.
        status: `GET /status`.
        host: `GET /agent/host-info`.
        unfinished: `GET /task/dag/agent/unfinish`.
        last_dag: `GET /task/dag/maintain/agent`.
        clock: Its clock against ours.
        signed_read: `ok`, or `refused: …` with its words, when asked with our credentials;
            `withheld: …` where it calls itself SINGLE and yet wants the password of root@sys;
            `unusable: …` where its key, or its answer, is none that can be worked with.
        ob_info: `GET /ob/info`: which cluster it believes to be in.
        utc_offset_seconds: Of its clock's time zone.
        host_before: `GET /agent/host-info` of an earlier look, for what changes; None: none.
        ports: Who answers on each of the new observer's ports, seen from here; empty: not tried.
    """

    address: str
    scheme: str
    info: AgentInfo | Unread = NOT_ASKED
    status: AgentStatus | Unread = NOT_ASKED
    host: HostInfo | Unread = NOT_ASKED
    unfinished: tuple[Dag, ...] | Unread = NOT_ASKED
    last_dag: Dag | Unread | None = NOT_ASKED
    clock: ClockReading | Unread = NOT_ASKED
    signed_read: str | Unread = NOT_ASKED
    ob_info: ObInfo | Unread = NOT_ASKED
    utc_offset_seconds: float | Unread = NOT_ASKED
    host_before: HostInfo | None = None
    ports: Mapping[int, PortState] = field(default_factory=dict)


@dataclass(frozen=True)
class ClusterFacts:
    """The cluster, as its entry agent answered.

    Args:
        entry: `ip:port` of the agent that answered.
        scheme: `http` or `https`.
        info: `GET /info` of the entry agent.
        status: `GET /status` of the entry agent; None where a node joins: no rule needs it then.
        ob_info: `GET /ob/info`.
        cluster_info: `GET /obcluster/info`.
        topology: Zones with servers, from the richest endpoint that answered.
        parameters: `GET /obcluster/parameters`.
        unit_config_limit: `GET /obcluster/unit-config-limit`.
        unfinished: `GET /task/dag/ob/unfinish`.
        last_dag: `GET /task/dag/maintain/ob`; None: there never was one.
        clocks: Clock of each member agent asked, by `ip:port`.
        utc_offsets_seconds: Of the time zone of each member agent that answered, by `ip:port`.
        unit_configs: `GET /units/config`.
        pools: `GET /resource-pools`.
        tenants: `GET /tenants/overview`.
        license: `GET /obcluster/license`; None: the edition needs none.
        statistics: `GET /obcluster/statistics`: the machines of its members, where told.
    """

    entry: str
    scheme: str
    info: AgentInfo | Unread = NOT_ASKED
    status: AgentStatus | Unread | None = NOT_ASKED
    ob_info: ObInfo | Unread = NOT_ASKED
    cluster_info: ClusterInfo | Unread = NOT_ASKED
    topology: tuple[Zone, ...] | Unread = NOT_ASKED
    parameters: tuple[Parameter, ...] | Unread = NOT_ASKED
    unit_config_limit: UnitConfigLimit | Unread = NOT_ASKED
    unfinished: tuple[Dag, ...] | Unread = NOT_ASKED
    last_dag: Dag | Unread | None = NOT_ASKED
    clocks: Mapping[str, ClockReading | Unread] = field(default_factory=dict)
    utc_offsets_seconds: Mapping[str, float] = field(default_factory=dict)
    unit_configs: tuple[UnitConfig, ...] | Unread = NOT_ASKED
    pools: tuple[ResourcePool, ...] | Unread = NOT_ASKED
    tenants: tuple[TenantOverview, ...] | Unread = NOT_ASKED
    license: License | Unread | None = NOT_ASKED
    statistics: Statistics | Unread = NOT_ASKED

    def lasting(self) -> "ClusterFacts | None":
        """Give what changes by the hour at most, for a look some minutes later.

        Settings, tenants and what they take, licence, the members' machines and clocks, and who
        the entry agent is. Who the members are, how they are and their DAGs are not among it. None
        where a part of it could not be read, so that it is tried again.
        """
        lasts = {name: getattr(self, name) for name in LASTING}
        told = (*lasts.values(), *self.clocks.values())
        if any(isinstance(fact, Unread) and fact.supported for fact in told):
            return None
        return ClusterFacts(self.entry, self.scheme, **lasts)

    def zones(self) -> tuple[Zone, ...]:
        """Give the zones; none where they could not be read. Rules look at `topology` itself."""
        return () if isinstance(self.topology, Unread) else self.topology

    def servers(self) -> tuple[tuple[Zone, Server], ...]:
        """Give every known server with its zone."""
        return tuple((zone, server) for zone in self.zones() for server in zone.servers)

    def zone(self, name: str) -> Zone | None:
        """Give the zone of this name."""
        return next((zone for zone in self.zones() if zone.name == name), None)

    def parameter(self, name: str) -> Parameter | None:
        """Give the parameter of this name; None where unknown or unread."""
        if isinstance(self.parameters, Unread):
            return None
        return next((row for row in self.parameters if row.name == name), None)

    def identity(self) -> tuple[str, int] | None:
        """Give the cluster's name and id as it says itself; None where it does not."""
        if not isinstance(self.cluster_info, Unread) and self.cluster_info.cluster_name:
            return self.cluster_info.cluster_name, self.cluster_info.cluster_id
        if not isinstance(self.ob_info, Unread) and self.ob_info.obcluster_info.name:
            return self.ob_info.obcluster_info.name, self.ob_info.obcluster_info.id
        return None

    def member_ips(self) -> frozenset[str]:
        """Give the IPs of all known servers and cluster agents."""
        listed = () if isinstance(self.ob_info, Unread) else self.ob_info.agent_info
        return frozenset(server.ip for _, server in self.servers()) | {row.ip for row in listed}

    def is_on_loopback(self) -> bool:
        """Whether the whole cluster lives on one host, as a simulated one does."""
        ips = self.member_ips()
        return bool(ips) and all(_is_loopback(ip) for ip in ips)


LASTING: Final = (
    "info",
    "parameters",
    "unit_config_limit",
    "unit_configs",
    "pools",
    "tenants",
    "license",
    "statistics",
    "clocks",
    "utc_offsets_seconds",
)
"""Facts of a cluster that change by the hour at most."""


class OfCluster(Protocol):
    """What rules need that look at the cluster alone, whoever joins or leaves it."""

    @property
    def cluster(self) -> ClusterFacts:
        """As read."""
        ...

    @property
    def expected_name(self) -> str | None:
        """Name the cluster must have; None: not said."""
        ...

    @property
    def expected_id(self) -> int | None:
        """Id the cluster must have; None: not said."""
        ...

    @property
    def now(self) -> datetime | None:
        """This machine's clock when all was read, aware."""
        ...

    @property
    def subject(self) -> str:
        """What a finding is about where its rule names nothing smaller."""
        ...

    def progress(self) -> TargetProgress:
        """How far what is asked for has come."""
        ...


@dataclass(frozen=True)
class Facts:
    """Everything the rules judge.

    Args:
        node: What is asked for, defaults merged.
        batch: All nodes of the same request, `node` among them.
        cluster: As read.
        target: As read.
        expected_name: Name the cluster must have; None: not said.
        expected_id: Id the cluster must have; None: not said.
        allow_new_zone: Whether the zone may be created.
        has_target_password: Whether a password for the target agent was given.
        now: This machine's clock when all was read, aware.
        judged_before: When the facts of an earlier look at this request were complete, on which
            somebody has decided: the flow's preflight, or a kept plan; None: this is the first.
    """

    node: NodeSpec
    batch: tuple[NodeSpec, ...]
    cluster: ClusterFacts
    target: TargetFacts
    expected_name: str | None = None
    expected_id: int | None = None
    allow_new_zone: bool = False
    has_target_password: bool = False
    now: datetime | None = None
    judged_before: datetime | None = None

    @property
    def subject(self) -> str:
        """`ip:port` of the agent that is to join."""
        return self._subject

    @cached_property
    def _subject(self) -> str:
        # Every finding names it.
        return self.node.address

    @property
    def configs(self) -> Mapping[str, str]:
        """The obConfigs asked for."""
        return self.node.obConfigs

    @property
    def rpc_port(self) -> int | None:
        """RPC port of the new observer; None where the one asked for is no number."""
        return asked_port(self.node, "rpc_port")

    @property
    def mysql_port(self) -> int | None:
        """SQL port of the new observer; None where the one asked for is no number."""
        return asked_port(self.node, "mysql_port")

    def joining(self) -> tuple[NodeSpec, ...]:
        """Give the nodes of the request the cluster does not have yet, this one included."""
        return self._joining

    @cached_property
    def _joining(self) -> tuple[NodeSpec, ...]:
        # Sixteen rules ask, for each of the request's nodes.
        there = {(server.ip, server.svr_port) for _, server in self.cluster.servers()}
        return tuple(
            node
            for node in self.batch or (self.node,)
            if (node.agentInfo.ip, asked_port(node, "rpc_port")) not in there
        )

    def look(self) -> PreviousReading:
        """Give this look, for a later one to compare with."""
        host = self.target.host
        return PreviousReading(
            self.now or datetime.now(UTC), None if isinstance(host, Unread) else host
        )

    def own_dag(self) -> Dag | None:
        """Give the unfinished scale-out of this very target."""
        if isinstance(self.cluster.unfinished, Unread):
            return None
        local = None if isinstance(self.target.last_dag, Unread) else self.target.last_dag
        return next(
            (
                dag
                for dag in self.cluster.unfinished
                if is_scale_out_of(dag, self.node.address, local)
            ),
            None,
        )

    def is_torn(self) -> bool:
        """Whether the target says it is, or is becoming, a member and the cluster does not show it.

        Either it was left behind, or it was asked a moment later than the cluster.
        """
        info = self.target.info
        if isinstance(info, Unread) or self.own_dag() is not None:
            return False
        if info.identity is Identity.CLUSTER_AGENT:
            return self._may_be_of_this_cluster() and not self.is_member()
        return info.identity is Identity.SCALING_OUT

    def _may_be_of_this_cluster(self) -> bool:
        told = self.target.ob_info
        if isinstance(told, Unread):
            # One that is not listed is not asked.
            return not self.is_listed()
        return (told.obcluster_info.name, told.obcluster_info.id) == self.cluster.identity()

    def progress(self) -> TargetProgress:
        """Say how far the target is: a member, being added by a DAG, or new."""
        if self.own_dag() is not None:
            return TargetProgress.UNDER_WAY
        return TargetProgress.MEMBER if self.is_member() else TargetProgress.NEW

    def serves_a_cluster(self) -> bool:
        """Whether the target says that it is a member of a cluster, or this one says so."""
        info, members = self.target.info, self.cluster.ob_info
        if not isinstance(info, Unread) and info.identity is Identity.CLUSTER_AGENT:
            return True
        return not isinstance(members, Unread) and any(
            row.address == self.node.address and row.identity is Identity.CLUSTER_AGENT
            for row in members.agent_info
        )

    def is_listed(self) -> bool:
        """Whether the cluster lists the target among its agents, as whatever."""
        members = self.cluster.ob_info
        return not isinstance(members, Unread) and any(
            row.address == self.node.address for row in members.agent_info
        )

    def is_member(self) -> bool:
        """Whether the target is in this very cluster and zone already, and ACTIVE there."""
        info = self.target.info
        if isinstance(info, Unread) or info.identity is not Identity.CLUSTER_AGENT:
            return False
        zone = self.cluster.zone(self.node.zone)
        return (
            self.is_listed()
            and zone is not None
            and any(
                server.ip == self.node.agentInfo.ip
                and server.svr_port == self.rpc_port
                and server.inner_status == "ACTIVE"
                for server in zone.servers
            )
        )


DEFAULT_PORTS: Final = {"mysql_port": 2881, "rpc_port": 2882}
"""Source: ob/agent/executor/ob/config.go, 4.5.0.0."""
OLD_NAMES: Final = {"mysql_port": "mysqlPort", "rpc_port": "rpcPort"}
"""Older spellings the agent still accepts; the same file."""


def asked_port(node: NodeSpec, name: str) -> int | None:
    """Give the port of a node with its default applied; None where it is no number.

    Args:
        node: The node.
        name: `mysql_port` or `rpc_port`.
    """
    text = node.obConfigs.get(name) or node.obConfigs.get(OLD_NAMES[name])
    if not text:
        return DEFAULT_PORTS[name]
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None  # noqa: PLR2004


def _is_loopback(text: str) -> bool:
    try:
        return ip_address(text).is_loopback
    except ValueError:
        return False


def server_address(server: Server) -> str:
    """Write `ip:rpc_port` of a server, IPv6 in brackets."""
    return joined_address(server.ip, server.svr_port)
