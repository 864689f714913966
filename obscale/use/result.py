"""What the steps of a use hand on: what was found before, which DAG brings it, what is proved."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from obscale.agent.models import Dag, Zone
from obscale.preflight.finding import Findings
from obscale.verify.baseline import Baseline

UNIT_NUM: Final = "unit_num"
"""Where a record keeps how many units there were before, among what was judged."""


@dataclass(frozen=True)
class UsePreflight:
    """What was found, and how cluster and tenant stood before."""

    findings: Findings
    gain: str
    """What the change would do, in words."""
    unit_num: int | None
    """As stored before; None: not known."""
    zones: tuple[Zone, ...]
    at: datetime
    """When the facts were complete; some of them age within a minute."""
    versions: dict[str, str]
    """obshell's and OceanBase's, by the agent's `ip:port`."""


class UseSubmitted(BaseModel):
    """Which DAG brings the number; no DAG where it is stored already and nobody tells by which."""

    model_config = ConfigDict(frozen=True)

    dag_id: str | None
    how: str
    """`posted`, `adopted`, or `already stored`."""
    why: str
    at: datetime
    cluster: str = ""
    """`name/id` as the cluster itself says."""
    baseline: Baseline | None = Field(default=None, exclude=True, repr=False)
    """How things stood before its PATCH; None: not known. Kept in Prefect apart."""
    dag: Dag | None = Field(default=None, exclude=True, repr=False)
    """Where it was read already and has ended."""
