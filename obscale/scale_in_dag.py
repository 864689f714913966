"""What the DAGs that remove a server or a zone are: their names, nodes, and whom they are about.

obshell shows no parameters of a DAG. A removal names its server in what its nodes log, and not
before its wait has ended or a stage has failed; until then the cluster's topology tells.
Source: ob/agent/executor/ob/{scale_in,delete_zone,kill_observer}.go, 4.5.0.0.
"""

import re
from typing import Final

from obscale.agent.models import Dag, Operator, State
from obscale.maintenance_lock import SCALE_IN

DELETE_ZONE: Final = "Delete zone"
REMOVALS: Final = frozenset({SCALE_IN, DELETE_ZONE})
WAIT_DELETE: Final = "Wait delete observer success"
"""Waits until the last unit and replica has left; silent for up to an hour."""
DELETE_AGENT: Final = "Delete agent"
INFORM: Final = "Try to inform to kill observer"
"""Also the beginning of the node of `Delete zone`."""
PAST_RETURN: Final = frozenset({DELETE_AGENT})
"""Nodes from which on ROLLBACK is refused; of a zone its own `Delete zone <name>` too."""
DELETE_STAGE: Final = 1
SCALING_IN_STAGE: Final = 2
"""Of `Cluster scale in`. Up to here nothing may name the server."""
STAGES: Final = 5
STAGES_WITH_FORCE: Final = 6
_NAMED: Final = re.compile(
    r"""(?:observer[ ]'?|agent[ ])(\[[0-9a-fA-F:]+\]:\d+|\d+\.\d+\.\d+\.\d+:\d+)""",
    re.IGNORECASE,
)


def named_in(dag: Dag) -> frozenset[str]:
    """Give the addresses a removal names in its logs: `ip:rpc port`, and the agent's `ip:port`.

    Args:
        dag: Read with details.
    """
    return frozenset(match for log in logs_of(dag) for match in _NAMED.findall(log))


def logs_of(dag: Dag) -> list[str]:
    """Give all lines of all its nodes, in their order."""
    return [line for node in dag.nodes for each in node.sub_tasks for line in each.task_logs]


def zone_of(dag: Dag) -> str | None:
    """Give the zone a `Delete zone` deletes, which its own node names; None: it is none."""
    if dag.name != DELETE_ZONE:
        return None
    own = (node.name for node in dag.nodes if node.title.startswith(f"{DELETE_ZONE} "))
    return next((name.removeprefix(f"{DELETE_ZONE} ") for name in own), None)


def is_forced(dag: Dag) -> bool:
    """Whether a `Cluster scale in` kills the observer first; only its number of stages tells."""
    return dag.name == SCALE_IN and dag.max_stage == STAGES_WITH_FORCE


def may_name_later(dag: Dag) -> bool:
    """Whether a `Cluster scale in` has just begun, so that nothing names its server yet."""
    return (
        dag.name == SCALE_IN
        and not dag.is_terminal
        and dag.stage <= SCALING_IN_STAGE
        and not named_in(dag)
    )


def is_carried_out(dag: Dag) -> bool:
    """Whether a removal went to its end by its own work: neither undone nor passed over."""
    return (
        dag.state is State.SUCCEED
        and dag.operator in {Operator.RUN, Operator.RETRY}
        and not dag.skipped
    )


def is_passed(dag: Dag) -> bool:
    """Whether somebody ended it by PASS, so that nobody knows what of it was done."""
    return dag.state is State.SUCCEED and dag.operator is Operator.PASS


def is_past_return(dag: Dag) -> bool:
    """Whether a removal has come to what cannot be undone: only RETRY ends it then.

    Args:
        dag: Read with details.
    """
    node = dag.current_node
    title = node.title if node else ""
    if dag.name == DELETE_ZONE:
        own = [n.title.startswith(f"{DELETE_ZONE} ") for n in dag.nodes]
        return True in own and dag.stage > own.index(True)
    behind = dag.max_stage == STAGES and dag.stage == STAGES
    return title in PAST_RETURN or behind
