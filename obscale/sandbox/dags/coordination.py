"""How the nodes of a cluster DAG drive the local DAG on the joining agent.

Source: ob/agent/executor/ob/scale_out.go (coordinate DAGs), 4.5.0.0.
"""

from typing import Final, cast

from obscale.sandbox.dags.context import Scene
from obscale.sandbox.dags.dag import Dag, StepFailed, Work
from obscale.sandbox.dags.engine import order_retry, order_rollback

ASK_TIMES: Final = 60
ASK_PAUSE_SECONDS: Final = 1.0
POST_SECONDS: Final = 1.0
"""From an operator sent to the other DAG until that is looked at again."""
GATE_LOOKS: Final = 30
GATE_PAUSE_SECONDS: Final = 1.0
POLL_TIMES: Final = 30
POLL_PAUSE_SECONDS: Final = 3.0
BLACK_HOLE_SECONDS: Final = 180.0
"""HTTP timeout between agents; each rollback step makes two calls."""
LOCAL_NAME: Final = "Local scale out"
UNDONE_TOO: Final = "try rollback coordinate dag successfully"
"""Logged as soon as the other DAG is on its way back, whoever sent it there."""


def local_dag(scene: Scene) -> Dag | None:
    """The local DAG this cluster DAG knows of; `None` before stage 2 answered."""
    return cast("Dag | None", scene.facts.get("local"))


def known_local_dag(scene: Scene) -> Dag:
    """As `local_dag`, for stages that only run once it is known.

    Raises:
        StepFailed: It is not known: the sub task dies on a nil pointer, as in obshell.
    """
    local = local_dag(scene)
    if local is None:
        raise _nil_pointer(scene)
    return local


def coordinate_undo(scene: Scene) -> Work:
    """First part of every node's rollback: bring the local DAG along.

    On ROLLBACK of the cluster DAG the local one is asked 60 times, then left behind; on RETRY the
    step insists.
    """
    local = local_dag(scene)
    if local is None:
        return
    retrying = scene.node.operator == "RETRY"
    for _ in range(ASK_TIMES):
        if scene.target.down and not retrying:
            return
        if scene.target.silent and not retrying:
            yield 2 * BLACK_HOLE_SECONDS
            return
        if _follows(local, retrying=retrying):
            if not retrying:
                scene.log(UNDONE_TOO)
            return
        if local.state == "FAILED" and not (scene.target.down or scene.target.silent):
            if retrying:
                order_retry(local)
            else:
                order_rollback(local)
        yield ASK_PAUSE_SECONDS
    if retrying:
        raise scene.failure(
            "OB.Cluster.ScaleOutRetryCoordinateDagFailed",
            f"sync coordinate dag failed: Retry coordinate DAG {local.generic_id()} failed",
        )


def open_gate(scene: Scene, gate_stage: int, timeout_text: str) -> Work:
    """Send RETRY to the local gate node until it has let the local DAG through.

    The line in the log says that RETRY was heeded; there is none where the gate was open already.
    """
    local = known_local_dag(scene)
    if scene.target.down or scene.target.silent:
        raise _nil_pointer(scene)
    gate = local.nodes[gate_stage - 1]
    is_ordered = False
    for _ in range(GATE_LOOKS):
        if is_ordered and gate.state != "FAILED":
            scene.log(f"retry stage: {gate_stage} successfully")
            is_ordered = False
        if gate.state == "SUCCEED":
            return
        if local.state == "FAILED" and local.operator == "RUN":
            order_retry(local)
            is_ordered = True
        yield GATE_PAUSE_SECONDS
        _check_answering(scene)
    raise scene.failure("OB.Cluster.AsyncOperationTimeout", timeout_text)


def follow_local_node(scene: Scene, stage: int, timeout_text: str) -> Work:
    """Poll the local DAG until one node is done; its log is copied here, good or bad."""
    local = known_local_dag(scene)
    node = local.nodes[stage - 1]
    for _ in range(POLL_TIMES):
        _check_answering(scene)
        if node.state == "SUCCEED":
            _copy_log(scene, stage)
            return
        if local.state == "FAILED" or local.operator == "ROLLBACK":
            _copy_log(scene, stage)
            if not scene.task.agent.has("copied logs"):
                raise scene.failure("Common.Unexpected", timeout_text.replace("timeout", "failed"))
            last = node.sub_task.logs[-1].text if node.sub_task.logs else ""
            raise scene.failure(
                "Common.Unexpected",
                f"Unexpected error: dag {local.generic_id()} {LOCAL_NAME} failed: "
                f"[{node.step.name}] {last}",
            )
        yield POLL_PAUSE_SECONDS
    raise scene.failure("OB.Cluster.AsyncOperationTimeout", timeout_text)


def _check_answering(scene: Scene) -> None:
    """A single poll without answer ends the node.

    Raises:
        StepFailed: The joining agent does not answer.
    """
    target = scene.target
    if target.down or target.silent:
        raise scene.failure(
            "Agent.RPC.RequestFailed",
            f"get remote dag failed: Request [GET]{target.address} to "
            f"/rpc/v1/task/dag failed: {unreachable_text(scene)}",
        )


def unreachable_text(scene: Scene) -> str:
    """Go's words for an agent that does not answer."""
    reason = "connect: connection refused" if scene.target.down else "i/o timeout"
    return f"dial tcp {scene.target.address}: {reason}"


def _follows(local: Dag, *, retrying: bool) -> bool:
    if local.state == "FAILED":
        return False
    return local.operator == ("RUN" if retrying else "ROLLBACK")


def _copy_log(scene: Scene, stage: int) -> None:
    local = known_local_dag(scene)
    if scene.task.agent.has("copied logs"):
        node = local.nodes[stage - 1]
        for row in node.sub_task.logs:
            scene.log(f"task {node.step.name}: {row.text}")


def _nil_pointer(scene: Scene) -> StepFailed:
    return scene.failure(
        "Common.Unexpected",
        f"Unexpected error: task {scene.task.number} panic: runtime error: "
        "invalid memory address or nil pointer dereference",
    )
