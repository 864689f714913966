"""What is known of a node once its DAG has ended, and the form of one proof."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, model_validator

from obscale.agent.clock import ClockReading
from obscale.agent.models import (
    AgentInfo,
    AgentStatus,
    ClusterInfo,
    Dag,
    HostInfo,
    ListedAgent,
    Parameter,
    Server,
    Stats,
    Zone,
    joined_address,
)
from obscale.preflight.facts import DEFAULT_PORTS, asked_port, server_address
from obscale.reading import Unread
from obscale.request.models import NodeSpec
from obscale.request.renamed import with_new_names

NO_MOMENT: Final = datetime(1990, 1, 1, tzinfo=UTC)
"""A time before this is the year 1 or the epoch: obshell's way to say none."""


class Level(IntEnum):
    """How far a node has proved itself; whoever conforms is verified.

    Below zero those of a node that leaves: it conforms when the cluster is whole without it.
    """

    LEAVING = -3
    LEFT = -2
    RELEASED = -1
    NONE = 0
    JOINED = 1
    SERVING = 2
    CONFORMING = 3
    BALANCED = 4
    """Units of tenants have arrived; told, never waited for."""


class ProofAnswer(StrEnum):
    """Answer of one proof; `waiting` may still turn, `fail` may not without somebody acting.

    `against` stands against the request now, say a dead peer, and may turn too: it fails once it
    has held for `TimeLimits.against_seconds`.
    """

    PASS = "pass"  # noqa: S105 - an answer, no password
    WAITING = "waiting"
    AGAINST = "against"
    FAIL = "fail"
    UNKNOWN = "unknown"
    INFO = "info"
    NOT_APPLICABLE = "n-a"


HINDERING: Final = frozenset(
    {ProofAnswer.FAIL, ProofAnswer.AGAINST, ProofAnswer.WAITING, ProofAnswer.UNKNOWN}
)


class ProofLine(BaseModel):
    """One proof: what was expected, what was found."""

    model_config = ConfigDict(frozen=True)

    id: str
    level: Level
    answer: ProofAnswer
    expected: str
    found: str

    @model_validator(mode="before")
    @classmethod
    def _as_stored_before(cls, data: Any) -> Any:
        return with_new_names(data, cls.model_fields)

    @property
    def hinders(self) -> bool:
        """Whether this line holds its level back."""
        return self.answer in HINDERING


@dataclass(frozen=True)
class Before:
    """What was seen before anything was done; the defaults stand where nothing was.

    Args:
        zones: The topology; empty: not known.
        totals: What the cluster offered.
        host: The target's machine.
        at: When it was looked, aware.
        judged: How preflight judged what a proof asks again, in words by the id of its rule.
        leaving: `ip:port` of an agent whose server leaves, however it is: of a replacement; else
            empty.
    """

    zones: tuple[Zone, ...] = ()
    totals: Stats | None = None
    host: HostInfo | None = None
    at: datetime | None = None
    judged: Mapping[str, str] = field(default_factory=dict)
    leaving: str = ""


@dataclass(frozen=True)
class Observation:
    """What is seen after the DAG; None stands for what could not be read.

    Args:
        target: `ip:port` of the agent.
        target_info: Its `/info`.
        target_status: Its `/status`.
        target_unfinished: Its own unfinished DAGs.
        members: The cluster's agents.
        zones: The topology.
        parameters: The cluster's parameters; None below 4.3.0.0.
        unfinished: The cluster's unfinished DAGs.
        ob_version: OceanBase's version as the cluster says; empty where it does not.
        parameters_supported: False where this version has no parameters endpoint.
        is_detailed: False below 4.3.0.0, where only `/ob/info` lists servers.
        cluster: `GET /obcluster/info`, where the zones were read from it; else None.
    """

    target: str
    target_info: AgentInfo | None
    target_status: AgentStatus | None
    target_unfinished: tuple[Dag, ...] | None
    members: tuple[ListedAgent, ...] | None
    zones: tuple[Zone, ...] | None
    parameters: tuple[Parameter, ...] | None
    unfinished: tuple[Dag, ...] | None
    ob_version: str = ""
    parameters_supported: bool = True
    is_detailed: bool = True
    cluster: ClusterInfo | None = None


@dataclass(frozen=True)
class Surroundings:
    """What is read once all else holds, because it costs many questions.

    Args:
        cluster: `GET /obcluster/info`: totals, and where the units of tenants are.
        host: The target's machine.
        clock: The target's clock against ours.
        clocks: Those of other members, by `ip:port`.
    """

    cluster: ClusterInfo | Unread
    host: HostInfo | Unread
    clock: ClockReading | Unread
    clocks: Mapping[str, ClockReading | Unread]


@dataclass(frozen=True)
class Steadiness:
    """For how long the node has been as it should be, without a break, in seconds.

    Args:
        serving: obState 3 in one and the same service; below 0: it is not now.
        fitting: The requested parameters in force; below 0: they are not now.
        wanted: How long both have to hold.
        was_fitting: Whether the parameters were as asked at some look before.
    """

    serving: float
    fitting: float
    wanted: float
    was_fitting: bool = False


@dataclass(frozen=True)
class ProofInput:
    """Everything the proofs may look at."""

    node: NodeSpec
    dag: Dag | None
    before: Before
    after: Observation
    around: Surroundings | None
    """None: not looked at yet."""
    steady: Steadiness

    @property
    def rpc_port(self) -> int:
        """RPC port asked for, or obshell's default."""
        return asked_port(self.node, "rpc_port") or DEFAULT_PORTS["rpc_port"]

    @property
    def sql_port(self) -> int:
        """SQL port asked for, or obshell's default."""
        return asked_port(self.node, "mysql_port") or DEFAULT_PORTS["mysql_port"]

    @property
    def zone(self) -> Zone | None:
        """The zone asked for, as it is now."""
        zones = self.after.zones or ()
        return next((zone for zone in zones if zone.name == self.node.zone), None)

    @property
    def server(self) -> Server | None:
        """The new server's row in the zone asked for."""
        return next((s for s in (self.zone.servers if self.zone else ()) if self.is_new(s)), None)

    @property
    def peers(self) -> tuple[Server, ...]:
        """All other servers of the cluster."""
        zones = self.after.zones or ()
        return tuple(s for zone in zones for s in zone.servers if not self.is_new(s))

    @property
    def was_there(self) -> bool:
        """Whether the cluster had the server before anything was done."""
        return any(self.is_new(server) for zone in self.before.zones for server in zone.servers)

    @property
    def not_yet(self) -> ProofAnswer:
        """What is missing may still come, unless nobody is at work on it."""
        idle = self.dag is None and self.after.unfinished == ()
        idle = idle and self.after.target_unfinished == ()
        return ProofAnswer.FAIL if idle else ProofAnswer.WAITING

    @property
    def contrary(self) -> ProofAnswer:
        """What stands against the request may still turn, unless nobody is at work on it."""
        idle = self.not_yet is ProofAnswer.FAIL
        return ProofAnswer.FAIL if idle else ProofAnswer.AGAINST

    def is_new(self, server: Server) -> bool:
        """Whether this row is that of the node asked for."""
        return (server.ip, server.svr_port) == (self.node.agentInfo.ip, self.rpc_port)

    def leaves(self, server: Server) -> bool:
        """Whether this row is that of the node which is replaced, so that it may be gone."""
        told = joined_address(server.ip, server.obshell_port)
        nameless = joined_address(server.ip, 0)
        mine = self.before.leaving.rpartition(":")[0]
        return bool(mine) and (
            told == self.before.leaving
            or (not server.obshell_port and nameless.rpartition(":")[0] == mine)
        )

    def untold(self) -> ProofAnswer:
        """What a version never tells does not hold its level back; what it should tell does."""
        return ProofAnswer.UNKNOWN if self.after.is_detailed else ProofAnswer.INFO


Verdict = tuple[ProofAnswer, str, str]
"""Answer, expected, found."""
Proof = Callable[[ProofInput], Verdict]
Row = tuple[str, Level, Proof]
"""Id of a proof, the level it belongs to, and how it is judged."""

UNREAD_TOPOLOGY: Final = "the topology could not be read"
NO_SERVER: Final = "no server row"
NO_BEFORE: Final = "no view of before to compare with"
LOOKED_AT_LAST: Final = "looked at once all else holds"


def pass_if(good: bool, otherwise: ProofAnswer) -> ProofAnswer:
    """Give PASS, or what stands where it is not good."""
    return ProofAnswer.PASS if good else otherwise


def gap(unread: Unread) -> ProofAnswer:
    """Give the answer where a fact is missing: this version has none, or it was not read."""
    return ProofAnswer.UNKNOWN if unread.supported else ProofAnswer.INFO


def stop_of(server: Server) -> datetime | None:
    """Give when a server was stopped; None: it is not."""
    stopped = server.stop_time
    return stopped if stopped is not None and stopped > NO_MOMENT else None


def named(servers: tuple[Server, ...]) -> dict[str, Server]:
    """Give servers by `ip:rpc_port`."""
    return {server_address(server): server for server in servers}
