"""What an operator may order of a DAG, and how it is carried out.

Source: ob/agent/service/task/{dag,node}.go, 4.5.0.0.
"""

from typing import Final

from obscale.sandbox.dags.dag import EPOCH_SECONDS, Dag
from obscale.sandbox.dags.engine import order_cancel, order_retry, order_rollback, pass_dag

OPERATORS: Final = frozenset({"RETRY", "ROLLBACK", "CANCEL", "PASS"})
NOT_FAILED: Final = {
    "ROLLBACK": ("RollbackNotFailedDag", "Failed to set DAG rollback: DAG state is not failed"),
    "RETRY": ("RetryNotFailedDag", "Failed to set DAG retry: DAG state is not failed"),
    "PASS": ("PassNotFailedDag", "Failed to pass DAG: DAG is not failed"),
}
"""Code and message where the DAG has not failed."""
PREFIX: Final = "Task.Dag.Operator."
NO_ROW: Final = "failed to cancel dag: failed to update dag operator: no row affected"


class OperatorRefused(Exception):  # noqa: N818 - an answer of the simulated agent
    """An operator is refused, with the HTTP status, code and message of that."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def check_operator(dag: Dag, word: str) -> None:
    """See whether a DAG may be ordered to do that now.

    Raises:
        OperatorRefused: It may not.
    """
    if word == "CANCEL":
        _check_cancel(dag)
        return
    if dag.state != "FAILED":
        code, message = NOT_FAILED[word]
        raise OperatorRefused(400, f"{PREFIX}{code}", message)
    if word == "ROLLBACK":
        for node in dag.nodes[: dag.stage]:
            if not node.step.can_rollback:
                raise OperatorRefused(
                    400,
                    f"{PREFIX}RollbackNotAllowed",
                    f"Failed to set DAG rollback: node {node.step.name} cannot rollback",
                )
    if word == "PASS":
        for node in dag.nodes:
            if node.state != "SUCCEED" and not node.step.can_pass:
                raise OperatorRefused(
                    400,
                    f"{PREFIX}PassNotAllowed",
                    f"Failed to pass DAG: node {node.step.name} cannot pass",
                )


def _check_cancel(dag: Dag) -> None:
    if not dag.is_active:
        raise OperatorRefused(
            400, f"{PREFIX}CancelFinishedDag", "Failed to cancel DAG: DAG is finished"
        )
    for node in dag.nodes[: dag.stage]:
        if not node.step.can_cancel:
            raise OperatorRefused(
                400,
                f"{PREFIX}CancelNotAllowed",
                f"Failed to cancel DAG: node {node.step.name} cannot cancel",
            )
    if dag.operator == "CANCEL" and dag.start_at == EPOCH_SECONDS:
        # It is marked for CANCEL already: the statement changes nothing.
        raise OperatorRefused(500, "Gorm.NoRowAffected", NO_ROW)


def carry_out(dag: Dag, word: str, wall: float) -> None:
    """Order what was checked; the next look of a scheduler does the rest."""
    match word:
        case "CANCEL":
            order_cancel(dag)
        case "ROLLBACK":
            order_rollback(dag)
        case "RETRY":
            order_retry(dag)
        case _:
            pass_dag(dag, wall)
