"""The shapes a DAG has for a reader who comes while a scheduler writes its rows.

A look writes DAG, node and sub task one after another, and a reader fetches them one after
another: one may be old and the next new. Recorded from 4.5.0.0.
"""

from dataclasses import replace
from typing import Final

from obscale.sandbox.dags.dag import Dag, Operator, State, SubTask

WRITING_SECONDS: Final = 0.1
"""How long a look writes. It ends in the instant the engine counts as the look's."""


def as_found(dag: Dag, seconds_to_look: float) -> Dag:
    """The DAG as a reader finds it that many virtual seconds before a scheduler's next look.

    Outside of the time in which that look writes, this is the DAG itself.
    """
    if seconds_to_look > WRITING_SECONDS or not dag.is_active:
        return dag
    shapes = _half_written(dag)
    if not shapes:
        return dag
    passed = 1 - seconds_to_look / WRITING_SECONDS
    state, task = shapes[min(int(len(shapes) * passed), len(shapes) - 1)]
    nodes = list(dag.nodes)
    nodes[dag.stage - 1] = replace(dag.current, state=state, sub_task=task)
    return replace(dag, state="RUNNING", nodes=nodes)


def _half_written(dag: Dag) -> list[tuple[State, SubTask]]:
    """States of the current node, each with its sub task, that the next look passes through.

    One after another a reader finds at most one of them: the first two are of one who had read
    the node before.
    """
    node = dag.current
    task = node.sub_task
    if dag.operator == "CANCEL":
        # One look declares the node failed, and writes its rows in one go.
        return []
    if node.state == "PENDING":
        backwards = dag.operator == "ROLLBACK" or node.operator == "RETRY"
        ready, running = _begun(task, "ROLLBACK" if backwards else "RUN")
        # Recorded of a ROLLBACK alone: the DAG has begun, its node has not.
        undoing = dag.state == "READY" and dag.operator == "ROLLBACK"
        first: list[tuple[State, SubTask]] = [("PENDING", task)] if undoing else []
        return [
            *first,
            ("PENDING", ready),
            ("PENDING", running),
            ("RUNNING", task),
            ("RUNNING", ready),
            ("RUNNING", running),
        ]
    if node.state != "RUNNING" or task.state not in ("SUCCEED", "FAILED"):
        return []
    if task.state == "SUCCEED" and node.operator == "RETRY" and task.operator == "ROLLBACK":
        return [("RUNNING", each) for each in (task, *_begun(task, "RUN"))]
    return [("RUNNING", task), (task.state, task)]


def _begun(task: SubTask, operator: Operator) -> tuple[SubTask, SubTask]:
    """The sub task handed to its agent, and at work there."""
    ready = replace(task, state="READY", operator=operator, execute_times=task.execute_times + 1)
    return ready, replace(ready, state="RUNNING")
