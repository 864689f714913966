"""Tests of the shapes in which a simulated DAG is found while a scheduler writes its rows."""

import pytest

from obscale.sandbox import World, default_config
from obscale.sandbox.dags.dag import Dag, Node, Step, SubTask
from obscale.sandbox.dags.engine import order_retry
from obscale.sandbox.dags.snapshots import WRITING_SECONDS, as_found

LOOKS = [WRITING_SECONDS * part / 20 for part in range(20, 0, -1)]


def nothing(_scene):
    """A step's work that is never done here."""
    yield 0.0


@pytest.fixture(scope="module")
def agent():
    """Whoever executes."""
    return World(default_config()).agents[0]


def dag_of(agent, *, state="RUNNING", node="PENDING", task="PENDING", operator="RUN", times=0):
    """A DAG of one node."""
    sub_task = SubTask(
        1, "step", agent, state=task, operator=operator, execute_times=times, logs=[]
    )
    return Dag(
        1,
        "job",
        [Node(1, Step("step", nothing, nothing), sub_task, state=node)],
        None,
        2,
        state=state,
    )


def found(dag):
    """States of node and sub task, its operator and count, in the order they come."""
    shapes = []
    for left in LOOKS:
        node = as_found(dag, left).current
        task = node.sub_task
        shape = f"{node.state} {task.state}/{task.operator} x{task.execute_times}"
        if shape not in shapes:
            shapes.append(shape)
    return shapes


def test_between_two_looks_a_dag_is_what_it_is(agent):
    """Nobody writes."""
    dag = dag_of(agent)

    assert as_found(dag, WRITING_SECONDS + 0.01) is dag


def test_a_node_that_is_begun(agent):
    """As recorded: the node before its sub task, or a node that was read too early."""
    assert found(dag_of(agent, state="READY")) == [
        "PENDING READY/RUN x1",
        "PENDING RUNNING/RUN x1",
        "RUNNING PENDING/RUN x0",
        "RUNNING READY/RUN x1",
        "RUNNING RUNNING/RUN x1",
    ]


def test_a_node_that_is_begun_again(agent):
    """RETRY rolls back first."""
    dag = dag_of(agent, state="FAILED", node="FAILED", task="FAILED", times=1)
    order_retry(dag)

    assert found(dag) == [
        "PENDING READY/ROLLBACK x2",
        "PENDING RUNNING/ROLLBACK x2",
        "RUNNING FAILED/RUN x1",
        "RUNNING READY/ROLLBACK x2",
        "RUNNING RUNNING/ROLLBACK x2",
    ]


def test_a_node_that_runs_after_its_rollback(agent):
    """The second half of a RETRY."""
    dag = dag_of(agent, node="RUNNING", task="SUCCEED", operator="ROLLBACK", times=2)
    dag.current.operator = "RETRY"

    assert found(dag) == [
        "RUNNING SUCCEED/ROLLBACK x2",
        "RUNNING READY/RUN x3",
        "RUNNING RUNNING/RUN x3",
    ]


@pytest.mark.parametrize("state", ["SUCCEED", "FAILED"])
def test_a_node_that_ends(agent, state):
    """Before its DAG moves on, or fails."""
    dag = dag_of(agent, node="RUNNING", task=state, times=1)

    assert found(dag) == [f"RUNNING {state}/RUN x1", f"{state} {state}/RUN x1"]
    assert {as_found(dag, left).state for left in LOOKS} == {"RUNNING"}


@pytest.mark.parametrize(
    "changes",
    [
        {"node": "RUNNING", "task": "RUNNING", "times": 1},
        {"state": "FAILED", "node": "FAILED", "task": "FAILED", "times": 1},
        {"state": "SUCCEED", "node": "SUCCEED", "task": "SUCCEED", "times": 1},
    ],
)
def test_a_look_that_changes_nothing_is_not_seen(agent, changes):
    """A sub task at work, and a DAG that is over."""
    dag = dag_of(agent, **changes)

    assert all(as_found(dag, left) is dag for left in LOOKS)
