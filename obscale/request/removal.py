"""The order of a removal: which node leaves which zone of which cluster, and how."""

from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from obscale.agent.address import AgentAddress
from obscale.request import patterns
from obscale.request.models import (
    Accepted,
    AgentInfoSpec,
    ClusterSpec,
    NamedCluster,
    OverrideSpec,
    OwnLimits,
    Profile,
    RequestModel,
    Unknowns,
    Weighing,
)
from obscale.request.policies import Window
from obscale.request.time_limits import DEFAULT_TIME_LIMITS, TimeLimits

WHOLE_ZONE: Final = "the whole zone"
"""Instead of an agent's address, where a zone goes with all its servers."""


class LeavingNode(RequestModel):
    """One node that is to leave, in the words of `POST /ob/scale_in`."""

    model_config = ConfigDict(title="Node that leaves")

    agentInfo: AgentInfoSpec = Field(  # noqa: N815 - spelled as the API spells it
        title="Agent that leaves", description="The obshell agent of the node, not its RPC port."
    )
    zone: str = Field(
        title="Zone",
        description="It is in now; another one than the cluster says blocks.",
        examples=["zone2"],
        json_schema_extra=patterns.like(patterns.ZONE),
    )
    force_kill: bool = Field(
        default=False,
        title="Kill its observer first",
        description="Only for an observer that runs and yet is dead; it takes one source of data.",
    )

    @property
    def address(self) -> str:
        """`ip:port` of the agent, IPv6 in brackets."""
        return str(AgentAddress(self.agentInfo.ip, self.agentInfo.port))


class Removal(BaseModel):
    """One removal as the tasks get it. Safe to store and to show: secrets are only named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cluster: str | ClusterSpec
    zone: str
    node: LeavingNode | None
    """None: the whole zone leaves."""
    batch: tuple[LeavingNode, ...] = ()
    """All nodes of the same request, this one included: some rules judge the final topology."""
    profile: Profile = "prod"
    allow_unknown: bool = False
    """Whether it may begin where rules that could block it could not be judged."""
    overrides: tuple[OverrideSpec, ...] = ()
    window: Window | None = None
    """Hours in which it may be begun; None: at any time."""
    time_limits: TimeLimits = TimeLimits()
    on_failure: Literal["hold", "retry"] = "hold"
    """retry: where obshell's hour is over while units or data still move, have it go on."""
    replaced_by: str = ""
    """Of a replacement `ip:port` of the agent that takes its place; empty: nobody does."""
    live: bool = False
    """Of a replacement, whether it may leave although it is alive."""
    replaced_beside: tuple[LeavingNode, ...] = ()
    """Of a replacement, others that the same request replaces: nobody counts their being dead."""

    @model_validator(mode="after")
    def _names_one_zone(self) -> Self:
        if self.node is not None and self.node.zone != self.zone:
            raise ValueError(f"zone is {self.zone}, that of the node {self.node.zone}; name one")
        return self

    @property
    def target(self) -> str:
        """`ip:port` of the agent that leaves; of a whole zone its name."""
        return self.node.address if self.node else self.zone

    @property
    def cluster_name(self) -> str:
        """The cluster's name where one was given, else its first endpoint."""
        if isinstance(self.cluster, str):
            return self.cluster
        return self.cluster.name or self.cluster.endpoints[0]


class RemovalSpec(RequestModel):
    """One cluster, and the nodes that are to leave it, one after the other."""

    model_config = ConfigDict(title="Cluster with nodes that leave")

    cluster: NamedCluster
    remove: tuple[LeavingNode, ...] = Field(
        title="Nodes that leave",
        description="Taken out in an order that keeps zones even.",
        min_length=1,
    )
    profile: Weighing = "prod"
    allow_unknown: Unknowns = False
    overrides: Accepted = ()
    on_failure: Literal["hold", "retry"] = Field(
        default="hold",
        title="When a DAG fails",
        description="hold: leave it to a person. retry: have it go on while units or data move.",
    )
    time_limits: OwnLimits = None

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        named = [node.address for node in self.remove]
        if again := next((each for each in named if named.count(each) > 1), None):
            raise ValueError(f"remove: {again} is named twice; name each node once")
        return self


def removals_of(
    spec: RemovalSpec,
    *,
    profile: Profile | None = None,
    time_limits: TimeLimits = DEFAULT_TIME_LIMITS,
) -> tuple[Removal, ...]:
    """Give one order for each node of a request, in its order.

    Args:
        spec: The request.
        profile: Instead of the request's.
        time_limits: Limits the request does not name itself.
    """
    return tuple(
        Removal(
            cluster=spec.cluster,
            zone=node.zone,
            node=node,
            batch=spec.remove,
            profile=profile or spec.profile,
            allow_unknown=spec.allow_unknown,
            overrides=spec.overrides,
            on_failure=spec.on_failure,
            time_limits=time_limits.with_own(spec.time_limits),
        )
        for node in spec.remove
    )
