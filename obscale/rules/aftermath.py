"""What is seen of a node once its DAG has ended, and how is one proof written down?"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import (
    AgentInfo,
    AgentStatus,
    Dag,
    ListedAgent,
    Parameter,
    Server,
    Zone,
)
from obscale.rules.asked import NodeSpec


class Rung(IntEnum):
    """How far the node has proved itself."""

    NONE = 0
    JOINED = 1
    SERVING = 2
    CONFORMING = 3


class ProofAnswer(StrEnum):
    """Answer of one proof; `waiting` may still turn, `fail` may not without somebody acting."""

    PASS = "pass"  # noqa: S105 - an answer, no password
    WAITING = "waiting"
    FAIL = "fail"
    UNKNOWN = "unknown"
    INFO = "info"
    NOT_APPLICABLE = "n-a"


class ProofLine(BaseModel):
    """One proof: what was expected, what was found."""

    model_config = ConfigDict(frozen=True)

    id: str
    rung: Rung
    answer: ProofAnswer
    expected: str
    found: str

    @property
    def hinders(self) -> bool:
        """Whether this line holds its rung back."""
        return self.answer in {ProofAnswer.FAIL, ProofAnswer.WAITING, ProofAnswer.UNKNOWN}


@dataclass(frozen=True)
class Aftermath:
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
        parameters_supported: False where this version has no parameters endpoint.
        is_detailed: False below 4.3.0.0, where only `/ob/info` lists servers.
    """

    target: str
    target_info: AgentInfo | None
    target_status: AgentStatus | None
    target_unfinished: tuple[Dag, ...] | None
    members: tuple[ListedAgent, ...] | None
    zones: tuple[Zone, ...] | None
    parameters: tuple[Parameter, ...] | None
    unfinished: tuple[Dag, ...] | None
    parameters_supported: bool = True
    is_detailed: bool = True


@dataclass(frozen=True)
class Evidence:
    """Everything the proofs may look at."""

    node: NodeSpec
    dag: Dag | None
    before: tuple[Zone, ...]
    after: Aftermath
    steady: tuple[float, float]
    """Seconds obState has been 3 without a break, and how long it has to be."""

    @property
    def rpc_port(self) -> int:
        """RPC port asked for, or obshell's default."""
        return int(self.node.obConfigs.get("rpc_port") or 2882)

    @property
    def zone(self) -> Zone | None:
        """The zone asked for, as it is now."""
        zones = self.after.zones or ()
        return next((zone for zone in zones if zone.name == self.node.zone), None)

    @property
    def server(self) -> Server | None:
        """The new server's row in the zone asked for."""
        return find_server(self.zone, self.node.agentInfo.ip, self.rpc_port)


Verdict = tuple[ProofAnswer, str, str]
"""Answer, expected, found."""
Proof = Callable[[Evidence], Verdict]


def find_server(zone: Zone | None, ip: str, rpc_port: int) -> Server | None:
    """Give the server of this address in a zone."""
    servers = zone.servers if zone else ()
    return next((s for s in servers if (s.ip, s.svr_port) == (ip, rpc_port)), None)
