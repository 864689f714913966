"""What a submit results in: which DAG carries the order, and how things stood before it."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from obscale.agent.models import Dag
from obscale.verify.baseline import Baseline
from obscale.verify.observation import Before


class Submitted(BaseModel):
    """Which DAG carries the order; no DAG where the node is a member, and nobody tells by which."""

    model_config = ConfigDict(frozen=True)

    dag_id: str | None
    how: str
    """`posted`, `adopted`, `taken up` or `already a member`."""
    why: str
    at: datetime
    cluster: str = ""
    """`name/id` as the cluster itself says."""
    baseline: Baseline | None = Field(default=None, exclude=True, repr=False)
    """How things stood before the DAG's POST; None: that is not known. Kept in Prefect apart."""

    dag: Dag | None = Field(default=None, exclude=True, repr=False)
    """Where it was read already and has ended well."""

    @property
    def before(self) -> Before:
        """What was seen before anything was done."""
        return self.baseline.before if self.baseline else Before()
