"""The order of a use: how many units a tenant is to have in each of its zones."""

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from obscale.request.models import (
    Accepted,
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

MOST_UNITS: Final = 10_000
"""Of one tenant in one zone; each needs a server of its own."""
UnitNum = Annotated[int, Field(ge=1, le=MOST_UNITS, strict=True, examples=[2])]
"""Units a tenant has in each of its zones."""
TenantName = Annotated[str, Field(min_length=1, max_length=128, examples=["app"])]
OnFailedJob = Literal["hold", "retry"]
"""What a run does by itself about a DAG that failed: leave it, or retry it where that is safe."""


class Use(BaseModel):
    """One change of a tenant's units as the tasks get it. Safe to store and to show."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cluster: str | ClusterSpec
    tenant: TenantName
    unit_num: UnitNum
    profile: Profile = "prod"
    allow_unknown: bool = False
    """Whether it may begin where rules that could block it could not be judged."""
    overrides: tuple[OverrideSpec, ...] = ()
    window: Window | None = None
    """Hours in which it may be begun; None: at any time."""
    time_limits: TimeLimits = TimeLimits()
    on_failure: OnFailedJob = "hold"

    @property
    def target(self) -> str:
        """What is changed, in words: `tenant app`."""
        return f"tenant {self.tenant}"

    @property
    def zone(self) -> str:
        """Empty: all zones of the tenant are meant."""
        return ""

    @property
    def cluster_name(self) -> str:
        """The cluster's name where one was given, else its first endpoint."""
        if isinstance(self.cluster, str):
            return self.cluster
        return self.cluster.name or self.cluster.endpoints[0]


class TenantUnits(RequestModel):
    """One tenant, and how many units it is to have in each of its zones."""

    model_config = ConfigDict(title="Tenant and its units")

    tenant: TenantName = Field(title="Tenant", description="Its name; sys keeps one unit a zone.")
    unit_num: UnitNum = Field(
        title="Units in each zone", description="Each takes a server of its own."
    )


class UseSpec(RequestModel):
    """One cluster, and tenants of it that get other numbers of units, one after the other."""

    model_config = ConfigDict(title="Cluster with tenants and their units")

    cluster: NamedCluster
    use: tuple[TenantUnits, ...] = Field(
        title="Tenants", description="Each with its new number of units.", min_length=1
    )
    profile: Weighing = "prod"
    allow_unknown: Unknowns = False
    overrides: Accepted = ()
    on_failure: OnFailedJob = Field(
        default="hold",
        title="When a DAG fails",
        description="hold: leave it to a person. retry: where nothing was changed and the "
        "diagnosis calls it safe.",
    )
    time_limits: OwnLimits = None

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        named = [each.tenant for each in self.use]
        if again := next((each for each in named if named.count(each) > 1), None):
            raise ValueError(f"use: tenant {again} is named twice; name each tenant once")
        return self


def uses_of(spec: UseSpec) -> tuple[Use, ...]:
    """Give one order for each tenant of a request, in its order."""
    return tuple(
        Use(
            cluster=spec.cluster,
            tenant=each.tenant,
            unit_num=each.unit_num,
            profile=spec.profile,
            allow_unknown=spec.allow_unknown,
            overrides=spec.overrides,
            on_failure=spec.on_failure,
            time_limits=DEFAULT_TIME_LIMITS.with_own(spec.time_limits),
        )
        for each in spec.use
    )
