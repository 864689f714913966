"""What obshell's DAG that changes a tenant's units is: its name, its tenant, its number.

The DAG names its tenant from 4.3.1.0 on, and its number only in its log. Sources:
ob/agent/executor/tenant/modify_replicas.go, obshell 4.5.0.0; recorded (`real-obshell/removal`).
"""

import re
from typing import Final

from obscale.agent.models import Dag, Operator, State
from obscale.maintenance_lock import TENANT_MAINTENANCE

MODIFY: Final = "Modify tenant replicas"
UNIT_NUM: Final = "Alter resource pool unit num"
"""Title of the node that waits for OceanBase's job."""
_NUMBER = re.compile(r"(?:unit num to (\d+)$|unit num is already (\d+), skip)")
_SKIPPED = re.compile(r"unit num is already \d+, skip")
JOB_RUNS: Final = "the target locality of alter locality job is unexpect"
"""How a look for a running job ends in 4.5.0.0 as soon as one runs: it reads its id alone, and then
parses what it has not read."""
NO_ROOM: Final = "machine resource is not enough"
LOST: Final = ("sub task timeout", "task timeout")
"""An hour is over. Whoever executed it is lost, or still waits for OceanBase's job."""
TIMED_OUT: Final = ("wait timeout", *LOST)
JOB_FAILED: Final = "job status is FAILED"


def is_of_tenant(dag: Dag, tenant: str) -> bool:
    """Whether a DAG is of this tenant's, whatever it does with it; below 4.3.1.0 never told."""
    return dag.maintenance_type == TENANT_MAINTENANCE and dag.maintenance_key == tenant


def modifies(dag: Dag, tenant: str) -> bool:
    """Whether a DAG changes this tenant's units or replicas."""
    return dag.name == MODIFY and is_of_tenant(dag, tenant)


def number_of(dag: Dag) -> int | None:
    """Give the number of units a DAG brings, as its log says; None: it has not said so yet."""
    for line in reversed(log_of(dag)):
        if found := _NUMBER.search(line):
            return int(found[1] or found[2])
    return None


def log_of(dag: Dag) -> list[str]:
    """Give all lines of a DAG's logs."""
    return [line for node in dag.nodes for sub in node.sub_tasks for line in sub.task_logs]


def is_first_run(dag: Dag) -> bool:
    """Whether a DAG, read with details, has gone through forwards and at the first try.

    Its end then is that of OceanBase's job, which includes the balancing of the tenant's data. A
    retry skips the wait, and `skip` means that it was not this DAG's job. Source: OceanBase
    src/rootserver/ob_root_utils.cpp.
    """
    return (
        dag.state is State.SUCCEED
        and dag.operator is Operator.RUN
        and bool(dag.nodes)
        and all(node.operator is Operator.RUN and node.state is State.SUCCEED for node in dag.nodes)
        and not any(_SKIPPED.search(line) for line in log_of(dag))
    )
