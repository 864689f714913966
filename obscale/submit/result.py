"""What a submit results in, and what it is given: where its records are kept, what calls it off."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from obscale.agent.models import Dag
from obscale.verify.baseline import Baseline
from obscale.verify.observation import Before


class Keeping(Protocol):
    """Where the records of one node are kept; see `obscale.tasks.runtime.baselines.Records`."""

    cluster: str

    async def write(self, record: Baseline) -> Baseline:
        """Write a record down before its POST.

        Raises:
            RecordError: It cannot be written down.
        """
        ...

    async def settle(self, record: Baseline, dag_id: str) -> Baseline:
        """Write down which DAG its POST has begun."""
        ...

    async def read(self) -> Sequence[Baseline]:
        """Read all records of the node."""
        ...


CalledOff = Callable[[], Awaitable[bool]]
"""Whether nothing may begin now, although it was about to."""


class CalledOffError(Exception):
    """Right before the POST it turned out that nothing may begin now; nothing was sent."""


async def never() -> bool:
    """Call nothing off: what one run begins is nobody else's."""
    return False


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
