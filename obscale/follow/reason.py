"""Finds the reason why a node failed, also where its own log has lost it.

The last line of a failed sub task is the reason, unless obshell was restarted on the executing
agent meanwhile: its lines are lost then, and turn up later in another sub task of the same DAG.
Sources: ob/agent/engine/executor/executor.go, 4.5.0.0; seen on a real server of that version.
"""

import re
from typing import Final

from obscale.agent.models import Dag, Node, Operator, State, SubTask

LOST: Final = "its log, and the reason with it, was lost with the agent that executed it"
"""Told where nobody knows the reason; whoever tells it names the agent beside it."""
CANCELLED: Final = "it was cancelled"
_ERROR: Final = re.compile(r"(?:task [^:]+: )?ERROR:|sub task timeout$")
"""How a reason begins; up to 4.3.0.0 without a bracketed code. Everything else is no reason."""
_REPEATS_THE_CLUSTER: Final = "watch dag failed"
"""The target's own DAG has failed because the cluster's did."""


def reason_of(dag: Dag, node: Node, own: Dag | None = None) -> str:
    """Give why a FAILED node failed; empty where nobody tells.

    Args:
        dag: The DAG, read with details.
        node: Its node that failed.
        own: The target's own DAG of this scale-out, where it could be read.

    Returns:
        A log line, with where it was found unless that is the node's own log.
    """
    if line := _error_at_the_end(speaking_sub_task(node)):
        return line
    if node.operator is Operator.CANCEL:
        # Somebody ended it: its last line says so, and is no error.
        sub_task = speaking_sub_task(node)
        return sub_task.task_logs[-1] if sub_task and sub_task.task_logs else CANCELLED
    if dag.operator is Operator.ROLLBACK:
        # What else is found is from the way forwards.
        return ""
    return _from_own(own) or _from_elsewhere(dag, node)


def speaking_sub_task(node: Node | None) -> SubTask | None:
    """Give the sub task whose log tells of a node: the first that failed, else the first."""
    if node is None or not node.sub_tasks:
        return None
    return next((s for s in node.sub_tasks if s.state is State.FAILED), node.sub_tasks[0])


def _error_at_the_end(sub_task: SubTask | None) -> str:
    last = sub_task.task_logs[-1] if sub_task and sub_task.task_logs else ""
    return last if _ERROR.match(last) else ""


def _from_own(own: Dag | None) -> str:
    if own is None or not own.is_failed or own.operator is Operator.ROLLBACK:
        return ""
    node = own.current_node
    line = _error_at_the_end(speaking_sub_task(node))
    if node is None or not line or _REPEATS_THE_CLUSTER in line:
        return ""
    return f"the target's own DAG: [{node.title}] {line}"


def _from_elsewhere(dag: Dag, failed: Node) -> str:
    """A sub task that succeeded at once cannot end in an error: that line is the lost one.

    In a DAG that was retried it may be the one of an earlier attempt.
    """
    if any(node.operator is not Operator.RUN for node in dag.nodes):
        return ""
    for node in dag.nodes:
        if node is not failed and node.state is State.SUCCEED:
            for sub_task in node.sub_tasks:
                if line := _error_at_the_end(sub_task):
                    return f"{line} (found in the log of {node.title!r})"
    return ""
