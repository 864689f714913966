"""The order that a task receives: node, cluster and policies, without secrets."""

from pydantic import BaseModel, ConfigDict

from obscale.agent.address import AgentAddress
from obscale.request.models import ClusterSpec, NodeSpec, OverrideSpec, Profile, ScaleOutSpec
from obscale.request.policies import OnFailure, Window
from obscale.request.time_limits import DEFAULT_TIME_LIMITS, TimeLimits


class ScaleOut(BaseModel):
    """One scale-out as the tasks get it. Safe to store and to show: secrets are only named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cluster: str | ClusterSpec
    node: NodeSpec
    batch: tuple[NodeSpec, ...] = ()
    """All rows of the same request, this one included: some rules judge the final topology."""
    profile: Profile = "prod"
    allow_new_zone: bool = False
    allow_unknown: bool = False
    """Whether it may begin where rules that could block it could not be judged."""
    overrides: tuple[OverrideSpec, ...] = ()
    """Blocks and warnings that are accepted."""
    window: Window | None = None
    """Hours in which the scale-out may be begun; None: at any time."""
    time_limits: TimeLimits = TimeLimits()
    on_failure: OnFailure = "hold"
    """What the run does by itself about a DAG that failed."""
    not_asked: tuple[str, ...] = ()
    """Entry agents that are asked nothing, `ip:port`: of a replacement the one that leaves."""

    @property
    def target(self) -> str:
        """`ip:port` of the agent that is to join."""
        return str(AgentAddress(self.node.agentInfo.ip, self.node.agentInfo.port))

    @property
    def zone(self) -> str:
        """Zone the node joins."""
        return self.node.zone

    @property
    def cluster_name(self) -> str:
        """The cluster's name where one was given, else its first endpoint."""
        if isinstance(self.cluster, str):
            return self.cluster
        return self.cluster.name or self.cluster.endpoints[0]


def scale_outs_of(
    spec: ScaleOutSpec,
    *,
    profile: Profile | None = None,
    time_limits: TimeLimits = DEFAULT_TIME_LIMITS,
) -> tuple[ScaleOut, ...]:
    """Give one order per node of a spec, in its order.

    Args:
        spec: The request.
        profile: Instead of the spec's.
        time_limits: Limits the spec does not name itself.
    """
    return tuple(
        ScaleOut(
            cluster=spec.cluster,
            node=node,
            batch=spec.nodes,
            profile=profile or spec.profile,
            allow_new_zone=spec.allow_new_zone,
            allow_unknown=spec.allow_unknown,
            overrides=spec.overrides,
            time_limits=time_limits.with_own(spec.time_limits),
        )
        for node in spec.nodes
    )
