"""Tests of who holds the cluster's lock."""

import pytest

from obscale.agent.models import AgentInfo, Dag, ObInfo
from obscale.maintenance_lock import SCALE_IN, Lock, holds_lock, lock_held_by, lock_of
from obscale.recovery.interrupted import describe_interrupted, remains_of
from obscale.request.models import AgentInfoSpec, NodeSpec
from obscale.scale_out_dag import SCALE_OUT
from obscale.submit.decide import Candidates, Post, WaitForLock, decide_submission

NODE = NodeSpec(agentInfo=AgentInfoSpec(ip="10.0.0.4"), zone="zone2")
HOLDS, FREE, UNKNOWN = Lock.HOLDS, Lock.FREE, Lock.UNKNOWN
TENANT = "Scale in tenant replicas"
UNTOLD = None


def dag(name=TENANT, kind=3, state="FAILED", stage=1, operator="RUN", number=1):
    """A DAG of a cluster as `/task/dag/ob/unfinish?show_details=false` lists it."""
    listed = {
        "id": f"1{number}",
        "dag_id": number,
        "name": name,
        "stage": stage,
        "max_stage": 5,
        "maintenance_type": kind,
        "state": state,
        "operator": operator,
        "additional_data": None,
        "nodes": None,
    }
    if kind is UNTOLD:
        del listed["maintenance_type"]
    return Dag.model_validate(listed)


TABLE = [
    # Recorded from a real 4.5.0.0: beside the first two a POST went through, beside the next not.
    (TENANT, 3, "FAILED", 1, "RUN", FREE),
    (SCALE_IN, 2, "FAILED", 1, "RUN", FREE),
    (SCALE_IN, 2, "FAILED", 3, "CANCEL", HOLDS),
    (SCALE_IN, 2, "FAILED", 3, "ROLLBACK", HOLDS),
    (SCALE_OUT, 2, "FAILED", 1, "RUN", HOLDS),
    ("Scale out tenant replicas", 3, "FAILED", 1, "RUN", FREE),
    ("Modify tenant replicas", 3, "FAILED", 2, "RUN", FREE),
    # Read in the source.
    (TENANT, 3, "RUNNING", 1, "RUN", HOLDS),
    (TENANT, 3, "READY", 1, "ROLLBACK", HOLDS),
    (TENANT, 3, "PENDING", 1, "RUN", HOLDS),
    (SCALE_IN, 2, "RUNNING", 1, "RUN", HOLDS),
    (SCALE_IN, 2, "FAILED", 2, "RUN", HOLDS),
    (SCALE_OUT, 2, "FAILED", 9, "ROLLBACK", HOLDS),
    (SCALE_OUT, 2, "SUCCEED", 9, "RUN", FREE),
    (SCALE_OUT, 2, "SUCCEED", 1, "ROLLBACK", FREE),
    ("Delete zone", 2, "FAILED", 3, "RUN", HOLDS),
    ("Upgrade ob", 2, "FAILED", 4, "RUN", HOLDS),
    ("Set obcluster backup config of app", 3, "FAILED", 1, "RUN", HOLDS),
    ("Cancel restore task of app", 3, "FAILED", 1, "RUN", HOLDS),
    ("Anything", 1, "RUNNING", 1, "RUN", FREE),
    ("Anything", 1, "FAILED", 1, "RUN", FREE),
    ("Anything", 4, "RUNNING", 1, "RUN", FREE),
    # What nobody has told.
    ("Restore tenant app", 2, "FAILED", 2, "RUN", UNKNOWN),
    (TENANT, 3, "FAILED", 1, "ROLLBACK", UNKNOWN),
    (TENANT, 3, "FAILED", 1, "CANCEL", UNKNOWN),
    (SCALE_IN, 2, "FAILED", 1, "CANCEL", UNKNOWN),
    # Below 4.3.1.0.
    (SCALE_OUT, UNTOLD, "FAILED", 5, "RUN", HOLDS),
    ("Delete zone", UNTOLD, "FAILED", 2, "RUN", HOLDS),
    (SCALE_IN, UNTOLD, "FAILED", 3, "RUN", HOLDS),
    (SCALE_IN, UNTOLD, "FAILED", 1, "RUN", UNKNOWN),
    (TENANT, UNTOLD, "RUNNING", 1, "RUN", HOLDS),
    (TENANT, UNTOLD, "FAILED", 1, "RUN", UNKNOWN),
    (TENANT, UNTOLD, "SUCCEED", 3, "RUN", FREE),
]


@pytest.mark.parametrize(
    ("name", "kind", "state", "stage", "operator", "lock"),
    TABLE,
    ids=[f"{c[0]} {c[1]} {c[2]}-{c[4]} at {c[3]}" for c in TABLE],
)
def test_the_lock_is_told_by_kind_stage_and_state(name, kind, state, stage, operator, lock):
    """Each row of the table in the module, with what a real server did where it was tried."""
    seen = dag(name, kind, state, stage, operator)

    assert lock_held_by(seen) is lock
    assert holds_lock(seen) is (lock is HOLDS)


def test_the_newest_holder_is_named_not_the_newest_that_is_listed():
    """A tenant's DAG that failed is listed for good; the scale-in behind it holds the lock."""
    free, holder = dag(number=9), dag(SCALE_IN, 2, "FAILED", 3, number=8)

    assert lock_of((free, holder)) is holder
    assert lock_of((free,)) is None


@pytest.mark.parametrize(
    ("other", "waits"),
    [
        (dag(number=7), False),
        (dag(SCALE_IN, 2, "FAILED", 1, number=7), False),
        (dag("Restore tenant app", 2, "FAILED", 2, number=7), False),
        (dag(state="RUNNING", number=7), True),
        (dag(SCALE_IN, 2, "FAILED", 2, number=7), True),
    ],
    ids=["tenant free", "scale-in free", "nobody can tell", "tenant at work", "scale-in holds"],
)
def test_a_submit_waits_for_a_known_holder_alone(other, waits):
    """Beside a DAG without the lock it posts; where nobody can tell, obshell's answer decides."""
    sighting = Candidates(
        target=_single(), target_dag=None, last_dag=other, unfinished=(other,), members=_alone()
    )

    decision = decide_submission(sighting, NODE)

    assert decision == (WaitForLock(other.name, "17") if waits else Post(7))


def test_what_is_left_behind_says_of_the_lock_what_is_so():
    """A FAILED scale-out keeps the lock, and the last words of a run say it."""
    left = remains_of("10.0.0.4:2886", was_sent=True, dag=dag(SCALE_OUT, 2, "FAILED", 5))

    assert "keeps the cluster's lock" in describe_interrupted(left)


def _single():
    return AgentInfo.model_validate({"ip": "10.0.0.4", "port": 2886, "identity": "SINGLE"})


def _alone():
    return ObInfo.model_validate({"agent_info": [], "obcluster_info": {}})
