"""Tests of what is left when a run ends early."""

import pytest

from obscale.agent.models import Operator
from obscale.recovery.interrupted import describe_interrupted, next_step, remains_of
from tests.conftest import scale_out_dag

TARGET = "10.0.0.4:2886"
LOG = "create local scale out dag success, genericID:20167772164028867"


def left(state="RUNNING", operator="RUN", **changes):
    dag = scale_out_dag(LOG, state=state).model_copy(update={"operator": Operator(operator)})
    return remains_of(TARGET, was_sent=True, dag=dag).model_copy(update=changes)


@pytest.mark.parametrize(
    ("remains", "words", "step"),
    [
        (remains_of(TARGET, was_sent=False, dag=None), "nothing was sent", ""),
        (
            remains_of(TARGET, was_sent=True, dag=None),
            f"no scale-out of {TARGET} is known to the cluster (yet)",
            "obscale apply r.yaml looks first, and takes up what is there",
        ),
        (
            remains_of(TARGET, was_sent=True, dag=None).model_copy(update={"unread": "silence"}),
            f"whether the scale-out of {TARGET} was begun is not known: silence",
            "obscale apply r.yaml looks first",
        ),
        (
            left(identity="SCALING OUT"),
            f"(RUNNING) and goes on by itself; {TARGET} is 'SCALING OUT'",
            "obscale watch r.yaml 17 follows it; obscale apply r.yaml takes it up",
        ),
        (
            left(unread="silence"),
            "was last seen at stage 5/9",
            "obscale watch r.yaml 17 follows it",
        ),
        (
            remains_of(TARGET, was_sent=True, dag=None, dag_id="17"),
            "DAG 17 goes on by itself",
            "obscale watch r.yaml 17 follows it",
        ),
        (left("FAILED"), "keeps the cluster's lock", "obscale watch r.yaml 17 says why"),
        (left("SUCCEED"), "not verified yet", "obscale apply r.yaml verifies the node"),
        (left("SUCCEED", "ROLLBACK"), "nothing was added", "obscale watch r.yaml 17 says why"),
    ],
)
def test_each_way_to_be_left_is_said_with_its_next_step(remains, words, step):
    """Moving, failed, done, undone, unread or never begun: words and command fit."""
    assert words in describe_interrupted(remains)
    assert next_step(remains, "r.yaml", "obscale apply r.yaml").startswith(step)
    assert bool(step) is bool(next_step(remains, "r.yaml"))
