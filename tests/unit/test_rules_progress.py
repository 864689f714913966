"""Tests of a DAG's progress: each change is told once."""

from hypothesis import given
from hypothesis import strategies as st

from obscale.agent.models import Dag
from obscale.follow.progress import (
    QUICKEST_SECONDS,
    describe_progress,
    failure_of,
    next_poll_seconds,
    progress_of,
    soonest_end_seconds,
)

NAMES = ["Integrate server config", "Create local scale out dag", "Wait scale out ready"]


def dag(*nodes, stage=1, state="RUNNING", operator="RUN"):
    """A DAG of three nodes; each given as (state, operator, logs)."""
    rows = [
        {
            "name": name,
            "state": node[0],
            "operator": node[1],
            "sub_tasks": [
                {
                    "state": node[0],
                    "execute_agent": {"ip": "10.0.0.1", "port": 2886},
                    "task_logs": list(node[2]),
                }
            ],
        }
        for name, node in zip(NAMES, nodes, strict=False)
    ]
    return Dag.model_validate(
        {
            "id": "17",
            "dag_id": 7,
            "name": "Cluster scale out",
            "stage": stage,
            "max_stage": 3,
            "state": state,
            "operator": operator,
            "nodes": rows,
        }
    )


DONE, RUNS, WAITS = ("SUCCEED", "RUN", ()), ("RUNNING", "RUN", ()), ("PENDING", "RUN", ())


def test_the_same_dag_twice_says_nothing():
    """Unchanged polls are silent."""
    same = dag(DONE, RUNS, WAITS, stage=2)

    assert describe_progress(same, same) == ()


def test_each_step_is_said_once():
    """From stage 1 to 2: one end, one start, in this order."""
    before, after = dag(RUNS, WAITS, WAITS), dag(DONE, RUNS, WAITS, stage=2)

    kinds = [change.kind for change in describe_progress(before, after)]

    assert kinds == ["dag.node_ended", "dag.node_started"]


def test_the_first_look_says_where_the_dag_stands():
    """A run that joins late says what is done already, and what runs."""
    kinds = [c.kind for c in describe_progress(None, dag(DONE, RUNS, WAITS, stage=2))]

    assert kinds == ["dag.seen", "dag.node_ended", "dag.node_started"]


def test_new_log_lines_count_as_change():
    """A slow stage that still speaks is not still."""
    before = dag(DONE, ("RUNNING", "RUN", ("one",)), WAITS, stage=2)
    after = dag(DONE, ("RUNNING", "RUN", ("one", "two")), WAITS, stage=2)

    changes = describe_progress(before, after)

    assert [c.kind for c in changes] == ["dag.node_spoke"]
    assert "'two'" in changes[0].text


def test_a_failure_names_stage_node_agent_and_last_log():
    """What a person at night needs stands in the failure."""
    failed = dag(
        DONE, ("FAILED", "RUN", ("begun", "ERROR: [X]: no")), WAITS, stage=2, state="FAILED"
    )

    failure = failure_of(failed)

    assert (failure.stage, failure.max_stage) == (2, 3)
    assert failure.node == "Create local scale out dag"
    assert failure.agent == "10.0.0.1:2886"
    assert failure.last_log == "ERROR: [X]: no"


def test_a_failure_without_logs_or_agent_is_still_named():
    """An agent that says nothing more does not break the report."""
    bare = Dag.model_validate({"id": "17", "dag_id": 7, "state": "FAILED", "stage": 2})

    assert failure_of(bare).last_log == "it left no log line"
    assert failure_of(bare).agent == "an unnamed agent"


def test_percent_reaches_100_only_when_done_forwards():
    """A complete DAG shows 100; a rolled-back one falls to 0."""
    undone = ("SUCCEED", "ROLLBACK", ())

    assert progress_of(dag(DONE, DONE, DONE, stage=3, state="SUCCEED")).percent == 100
    assert progress_of(dag(DONE, DONE, RUNS, stage=3)).percent == 66.7
    rolled_back = dag(undone, undone, undone, state="SUCCEED", operator="ROLLBACK")
    assert progress_of(rolled_back).percent == 0


@given(st.floats(0, 10_000), st.floats(0.01, 60))
def test_the_pause_stays_within_its_bounds(unchanged, longest):
    """However long a stage is still, the pause is never longer than asked nor a busy loop."""
    pause = next_poll_seconds(dag(DONE, RUNS, WAITS, stage=2), unchanged, longest)

    assert min(QUICKEST_SECONDS, longest) <= pause <= longest


def test_looks_are_rare_where_the_end_is_far_and_frequent_where_it_may_come():
    """Two nodes wait: no look before they can be done. The last one runs: several a second."""
    first = dag(RUNS, WAITS, WAITS, stage=1)
    last = dag(DONE, DONE, RUNS, stage=3)

    assert next_poll_seconds(first, 0, 60) == 4
    assert next_poll_seconds(first, 0, 3) == 3
    assert next_poll_seconds(last, 0, 60) == QUICKEST_SECONDS


def test_a_rollback_ends_at_its_first_stage():
    """An undoing DAG at stage 1 may end at any moment; at stage 3 it cannot."""
    undoing = ("RUNNING", "ROLLBACK", ())

    first = dag(undoing, DONE, DONE, stage=1, operator="ROLLBACK")
    third = dag(DONE, DONE, undoing, stage=3, operator="ROLLBACK")

    assert soonest_end_seconds(first) == 0
    assert soonest_end_seconds(third) == 4


def test_a_last_node_that_stands_long_is_looked_at_less_often():
    """Half a minute of silence: every three seconds is enough."""
    assert next_poll_seconds(dag(DONE, DONE, RUNS, stage=3), 30, 60) == 3


def test_a_slower_rhythm_counts_only_while_the_dag_cannot_have_ended():
    """Two nodes wait for 4 s at least. The last one, and an answer that did not come, wait less."""
    first = dag(RUNS, WAITS, WAITS, stage=1)
    last = dag(DONE, DONE, RUNS, stage=3)

    assert next_poll_seconds(first, 0, 3, 20) == 4
    assert next_poll_seconds(first, 0, 3, 3.5) == 3.5
    assert next_poll_seconds(last, 0, 5, 20) == QUICKEST_SECONDS
    assert next_poll_seconds(last, 300, 5, 20) == 5
    assert next_poll_seconds(None, 0, 5, 20) == 5
