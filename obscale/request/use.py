"""The order of a use: how many units a tenant is to have in each of its zones."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from obscale.request.models import ClusterSpec, OverrideSpec, Profile
from obscale.request.policies import Window
from obscale.request.time_limits import TimeLimits

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
    def cluster_name(self) -> str:
        """The cluster's name where one was given, else its first endpoint."""
        if isinstance(self.cluster, str):
            return self.cluster
        return self.cluster.name or self.cluster.endpoints[0]
