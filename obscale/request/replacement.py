"""The order of a replacement: which node joins, and which one leaves the same zone afterwards."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from obscale.agent.address import AgentAddress
from obscale.request.models import (
    Accepted,
    ClusterSpec,
    NamedCluster,
    NodeSpec,
    OverrideSpec,
    OwnLimits,
    Profile,
    RequestModel,
    Unknowns,
    Weighing,
)
from obscale.request.policies import Window
from obscale.request.removal import LeavingNode, Removal
from obscale.request.scale_out import ScaleOut
from obscale.request.time_limits import DEFAULT_TIME_LIMITS, TimeLimits


class ReplacedNode(RequestModel):
    """One node that is dead, and the one that takes its place."""

    model_config = ConfigDict(title="Node that is replaced")

    dead: LeavingNode = Field(
        title="The dead node", description="Taken out once the new one is proved."
    )
    by: NodeSpec = Field(title="Node that joins", description="In the same zone, and added first.")
    live: bool = Field(
        default=False,
        title="It is alive",
        description="Move off a healthy node; without this word only a dead one is replaced.",
    )


class Replacement(BaseModel):
    """One replacement as the tasks get it. Safe to store and to show: secrets are only named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cluster: str | ClusterSpec
    pair: ReplacedNode
    batch: tuple[ReplacedNode, ...] = ()
    """All replacements of the same request, this one included."""
    profile: Profile = "prod"
    allow_unknown: bool = False
    """Whether it may begin where rules that could block it could not be judged."""
    overrides: tuple[OverrideSpec, ...] = ()
    window: Window | None = None
    """Hours in which each half may be begun; None: at any time."""
    time_limits: TimeLimits = TimeLimits()
    on_failure: Literal["hold", "retry"] = "hold"
    """retry: what each half may retry by itself."""

    @property
    def addition(self) -> ScaleOut:
        """The first half: the new node joins."""
        return ScaleOut(
            cluster=self.cluster,
            node=self.pair.by,
            batch=tuple(each.by for each in self.batch) or (self.pair.by,),
            profile=self.profile,
            allow_unknown=self.allow_unknown,
            overrides=self.overrides,
            window=self.window,
            time_limits=self.time_limits,
            on_failure=self.on_failure,
            not_asked=self.leaving,
        )

    @property
    def removal(self) -> Removal:
        """The second half: the dead node leaves."""
        return Removal(
            cluster=self.cluster,
            zone=self.pair.dead.zone,
            node=self.pair.dead,
            batch=(self.pair.dead,),
            profile=self.profile,
            allow_unknown=self.allow_unknown,
            overrides=self.overrides,
            window=self.window,
            time_limits=self.time_limits,
            on_failure=self.on_failure,
            replaced_by=self.joining,
            live=self.pair.live,
            replaced_beside=tuple(
                each.dead for each in self.batch if each.dead.address != self.target
            ),
        )

    @property
    def leaving(self) -> tuple[str, ...]:
        """`ip:port` of all agents that leave by the same request; they soon know it no more."""
        named = (self.target, *(each.dead.address for each in self.batch))
        return tuple(dict.fromkeys(named))

    @property
    def zone(self) -> str:
        """Zone of the node that is replaced."""
        return self.pair.dead.zone

    @property
    def target(self) -> str:
        """`ip:port` of the agent that leaves."""
        return self.pair.dead.address

    @property
    def joining(self) -> str:
        """`ip:port` of the agent that joins."""
        where = self.pair.by.agentInfo
        return str(AgentAddress(where.ip, where.port))

    @property
    def cluster_name(self) -> str:
        """The cluster's name where one was given, else its first endpoint."""
        return self.addition.cluster_name


class ReplacementSpec(RequestModel):
    """One cluster, and nodes of it that are replaced, one pair after the other."""

    model_config = ConfigDict(title="Cluster with nodes that are replaced")

    cluster: NamedCluster
    replace: tuple[ReplacedNode, ...] = Field(
        title="Nodes that are replaced",
        description="Each with the node that takes its place.",
        min_length=1,
    )
    profile: Weighing = "prod"
    allow_unknown: Unknowns = False
    overrides: Accepted = ()
    on_failure: Literal["hold", "retry"] = Field(
        default="hold",
        title="When a DAG fails",
        description="hold: leave it to a person. retry: what each half may retry by itself.",
    )
    time_limits: OwnLimits = None

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for named in (
            [pair.dead.address for pair in self.replace],
            [pair.by.address for pair in self.replace],
        ):
            if again := next((each for each in named if named.count(each) > 1), None):
                raise ValueError(f"replace: {again} is named twice; name each node once")
        return self


def replacements_of(
    spec: ReplacementSpec, *, profile: Profile | None = None
) -> tuple[Replacement, ...]:
    """Give one order for each pair of a request, in its order.

    Args:
        spec: The request.
        profile: Instead of the request's.
    """
    return tuple(
        Replacement(
            cluster=spec.cluster,
            pair=pair,
            batch=spec.replace,
            profile=profile or spec.profile,
            allow_unknown=spec.allow_unknown,
            overrides=spec.overrides,
            on_failure=spec.on_failure,
            time_limits=DEFAULT_TIME_LIMITS.with_own(spec.time_limits),
        )
        for pair in spec.replace
    )
