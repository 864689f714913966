"""The facts about one removal that its rules judge."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from obscale.agent.models import AgentInfo, AgentStatus, Dag, ObInfo, Parameter, Server, Zone
from obscale.agent.resources import Tenant
from obscale.preflight.facts import ClusterFacts
from obscale.reading import NOT_ASKED, Unread
from obscale.request.removal import Removal


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
        members: `GET /ob/info` of every entry agent, by `ip:port`.
        tenants: `GET /tenant/{name}` of each tenant, with pools and where their units are.
        sys_parameters: Parameters of the sys tenant that rules ask for, by name.
        dead_looks: Where force_kill is asked for: several looks at whether the server is dead.
        expected_name: Name the cluster must have; None: not said.
        expected_id: Id the cluster must have; None: not said.
        now: This machine's clock when all was read, aware.
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

    def zone(self) -> Zone | None:
        """Give the zone the node leaves, or that leaves; None: there is none, or it is unread."""
        return self.cluster.zone(self.order.zone)
