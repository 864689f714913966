"""Why obshell's DAG that changes a tenant's units has failed, and what leads on.

A table, the first match counts. A RETRY undoes nothing: where the number is stored it only says
`skip`, and where it is not, it asks OceanBase again. So it destroys nothing, but it is sent only
where it may help. Sources: ob/agent/executor/tenant/modify_replicas.go, 4.5.0.0; recorded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from obscale.agent.models import Dag
from obscale.follow.progress import failure_of
from obscale.use.tenant_dag import JOB_FAILED, JOB_RUNS, LOST, NO_ROOM, TIMED_OUT

JOBS: Final = "SELECT * FROM oceanbase.DBA_OB_TENANT_JOBS ORDER BY JOB_ID DESC LIMIT 5;"
"""Shows what OceanBase itself says of its jobs for tenants, to be run as root@sys."""


@dataclass(frozen=True)
class Cause:
    """One row of the table.

    Args:
        id: Stable id.
        title: What happened, as a sentence without its full stop.
        signs: One of these stands in the DAG's last line; none: whatever it says.
        by_hand: What leads on.
        is_retried: Whether a policy may retry it.
        goes_on: Whether OceanBase goes on by itself once the number is stored.
        is_before: Whether it is told only while the number is not stored.
    """

    id: str
    title: str
    signs: Sequence[str]
    by_hand: str
    is_retried: bool = False
    goes_on: bool = False
    is_before: bool = False


CAUSES: Final = (
    Cause(
        "tenant-job-running",
        "OceanBase is at work on a job of this kind for this tenant, and obshell misreads that",
        (JOB_RUNS,),
        f"wait until that job has ended, then ask again; as root@sys: {JOBS}",
        is_retried=True,
        goes_on=True,
    ),
    Cause(
        "tenant-no-room",
        "a server that would take a new unit has no room for it",
        (NO_ROOM,),
        "add a server, or free what is short, then ask again; obscale use … --plan says where",
    ),
    Cause(
        "executor-lost",
        "its stage ran into its time limit: the agent that executed it was lost",
        LOST,
        "see what became of that agent, then ask again with the same number",
        is_retried=True,
        is_before=True,
    ),
    Cause(
        "tenant-job-slow",
        "OceanBase's job takes longer than obshell waits for it, and goes on",
        TIMED_OUT,
        "ask again with the same number: it is judged by where units and data are",
        goes_on=True,
    ),
    Cause(
        "tenant-job-failed",
        "OceanBase's job for this tenant failed",
        (JOB_FAILED,),
        f"see why, then ask again with the same number, or with the old one; as root@sys: {JOBS}",
    ),
    Cause(
        "tenant-refused",
        "the database refused the change",
        ("[MySQL.Error]",),
        "read its words, and ask again once that is mended",
        is_retried=True,
    ),
    Cause("tenant-dag-failed", "the DAG failed", (), "read its last line, and ask again"),
)


@dataclass(frozen=True)
class UseDiagnosis:
    """Why a DAG failed, and what follows.

    Args:
        cause: Of the table.
        reason: The line that says so.
        is_stored: Whether the number is stored all the same.
    """

    cause: Cause
    reason: str
    is_stored: bool

    @property
    def goes_on(self) -> bool:
        """Whether nothing has to be sent: it ends by itself, judged by where units are."""
        return self.is_stored and self.cause.goes_on

    @property
    def is_retried(self) -> bool:
        """Whether a policy may retry it; where the number is stored that would only say `skip`."""
        return self.cause.is_retried and not self.is_stored


def diagnose_use(dag: Dag, *, is_stored: bool) -> UseDiagnosis:
    """Name why a DAG failed.

    Args:
        dag: FAILED, with details.
        is_stored: Whether the tenant has the number all the same.
    """
    reason = failure_of(dag).reason
    cause = next(
        cause
        for cause in CAUSES
        if not cause.signs or any(sign in reason for sign in cause.signs)
        if not (cause.is_before and is_stored)
    )
    return UseDiagnosis(cause, reason, is_stored)
