"""Tests of the decision before the POST."""

from dataclasses import replace

import pytest

from obscale.agent.models import AgentInfo, Dag, ListedAgent, ObInfo
from obscale.request.models import AgentInfoSpec, NodeSpec
from obscale.scale_out_dag import decode_generic_id, is_scale_out_of
from obscale.submit.decide import (
    Adopt,
    AlreadyMember,
    Candidates,
    KeepLooking,
    Post,
    PostAgain,
    Refuse,
    WaitForLock,
    decide_after_lost_answer,
    decide_submission,
)

TARGET = "10.0.0.4:2886"
NODE = NodeSpec(agentInfo=AgentInfoSpec(ip="10.0.0.4"), zone="zone2")
LOCAL_ID_OF_TARGET = "20167772164028863"
CALL_FAILED = (
    "ERROR: [Agent.RPC.RequestError]: send scale out rpc to target agent failed: "
    "Request [POST]/rpc/v1/ob/scale_out to 10.0.0.4:2886 error: Unauthorized: …"
)


def dag(
    number=7, *, state="RUNNING", operator="RUN", log="", name="Cluster scale out", kind=2, stage=3
):
    """A cluster DAG whose second node said `log`."""
    return Dag.model_validate(
        {
            "id": f"1{number}",
            "dag_id": number,
            "name": name,
            "stage": stage,
            "max_stage": 9,
            "maintenance_type": kind,
            "state": state,
            "operator": operator,
            "nodes": [
                {"name": "Integrate server config"},
                {
                    "name": "Create local scale out dag",
                    "sub_tasks": [{"task_logs": [log] if log else None}],
                },
            ],
        }
    )


OURS = f"create local scale out dag success, genericID:{LOCAL_ID_OF_TARGET}"
THEIRS = "create local scale out dag success, genericID:20167772165028863"


def seen(*unfinished, identity="SINGLE", last=None, local=None, members=(), answers=True):
    info = {"ip": "10.0.0.4", "port": 2886, "identity": identity}
    return Candidates(
        target=AgentInfo.model_validate(info) if answers else "no route to host",
        target_dag=local,
        last_dag=last,
        unfinished=tuple(unfinished),
        members=ObInfo(agent_info=tuple(members)),
    )


def member(zone):
    return ListedAgent.model_validate({"ip": "10.0.0.4", "port": 2886, "zone": zone})


def local_dag(main, state="FAILED"):
    return Dag.model_validate(
        {
            "id": LOCAL_ID_OF_TARGET,
            "dag_id": 3,
            "name": "Local scale out",
            "state": state,
            "additional_data": {"main_dag_id": main},
        }
    )


def test_a_free_target_is_posted_with_the_newest_dag_as_baseline():
    """Nothing under way and SINGLE: post, remembering what was newest before."""
    assert decide_submission(seen(last=dag(41, state="SUCCEED")), NODE) == Post(41)
    assert decide_submission(seen(), NODE) == Post(0)


@pytest.mark.parametrize("state", ["READY", "RUNNING", "FAILED"])
def test_an_unfinished_scale_out_of_this_target_is_adopted(state):
    """Ours by the log of node 2: never a second POST, also when it stands FAILED."""
    decision = decide_submission(seen(dag(7, state=state, log=OURS)), NODE)

    assert isinstance(decision, Adopt)
    assert decision.dag_id == "17"


def test_a_dag_is_ours_by_the_targets_own_word():
    """Before node 2 has logged, the joining agent's local DAG names its main DAG."""
    decision = decide_submission(seen(dag(7), local=local_dag("17")), NODE)

    assert isinstance(decision, Adopt)


def test_a_dag_that_failed_to_call_the_target_is_ours_by_the_failed_call():
    """A wrong agent password leaves no local DAG; the failed call's address tells the target."""
    failed = dag(7, state="FAILED", log=CALL_FAILED)

    assert is_scale_out_of(failed, TARGET, None)
    assert not is_scale_out_of(failed, "10.0.0.4:28860", None)
    assert isinstance(decide_submission(seen(failed), NODE), Adopt)


def test_somebody_elses_scale_out_is_waited_for_and_named():
    """The same name with another target is not ours."""
    decision = decide_submission(seen(dag(7, log=THEIRS)), NODE)

    assert isinstance(decision, WaitForLock)
    assert decision.owner == "Cluster scale out of 10.0.0.5:2886"
    assert not decision.undecided


def test_a_young_scale_out_without_a_target_is_undecided():
    """It may be our own of a run that died after its POST: neither adopt nor post, but wait."""
    decision = decide_submission(seen(dag(7, state="READY", stage=1)), NODE)

    assert decision == WaitForLock("Cluster scale out", "17", undecided=True)


def test_a_scale_out_that_failed_before_it_named_its_target_stays_somebody_elses():
    """Nothing will ever name its target, so it is a lock with an owner, not ours."""
    decision = decide_submission(seen(dag(7, state="FAILED", stage=1)), NODE)

    assert decision == WaitForLock("Cluster scale out", "17", undecided=False)


def test_two_clusters_may_use_the_same_number():
    """What a DAG logs about its target outweighs the number the target gives its main DAG."""
    decision = decide_submission(seen(dag(7, log=THEIRS), local=local_dag("17")), NODE)

    assert isinstance(decision, WaitForLock)


def test_a_target_that_still_cleans_up_is_waited_for():
    """After a rollback the local DAG may outlive the cluster's by seconds."""
    for identity in ("SINGLE", "SCALING OUT"):
        busy = seen(identity=identity, local=local_dag("13", state="RUNNING"))

        decision = decide_submission(busy, NODE)

        assert decision == WaitForLock(
            "Local scale out on 10.0.0.4:2886", LOCAL_ID_OF_TARGET, undecided=True
        )


def test_a_finished_scale_out_is_adopted_while_the_target_still_turns():
    """An upgraded agent restarts at the end: the DAG is done, the identity follows."""
    done = dag(7, state="SUCCEED", log=OURS)

    decision = decide_submission(seen(last=done, identity="SCALING OUT"), NODE)

    assert decision == Adopt("17", "the scale-out of this target, just finished")


@pytest.mark.parametrize("identity", ["SCALING IN", "MASTER", "FOLLOWER", "SOMETHING NEW"])
def test_any_other_identity_is_refused_with_the_next_step(identity):
    """Whatever is neither free nor ours is not posted, and the reader learns what to do."""
    decision = decide_submission(seen(identity=identity), NODE)

    assert isinstance(decision, Refuse)
    assert identity in decision.reason
    assert decision.hint


@pytest.mark.parametrize(("kind", "waits"), [(3, True), (None, True), (1, False)])
def test_only_locking_dags_stand_in_the_way(kind, waits):
    """Global, tenant and untold kinds lock; a DAG without a lock does not."""
    other = dag(7, name="Create tenant", kind=kind)

    decision = decide_submission(seen(other), NODE)

    assert isinstance(decision, WaitForLock if waits else Post)


def test_a_member_of_the_zone_is_done_and_of_another_zone_refused():
    """Same cluster and zone: verify. Another zone: refused, nothing sent."""
    here = decide_submission(seen(identity="CLUSTER AGENT", members=[member("zone2")]), NODE)
    there = decide_submission(seen(identity="CLUSTER AGENT", members=[member("zone1")]), NODE)
    foreign = decide_submission(seen(identity="CLUSTER AGENT"), NODE)

    assert isinstance(here, AlreadyMember)
    assert isinstance(there, Refuse)
    assert "zone1" in there.reason
    assert isinstance(foreign, Refuse)
    assert "another cluster" in foreign.reason


def test_a_target_left_scaling_out_without_a_cluster_dag_is_refused():
    """An orphaned local DAG is named, and nothing is posted."""
    decision = decide_submission(seen(identity="SCALING OUT", local=local_dag("13")), NODE)

    assert isinstance(decision, Refuse)
    assert "13" in decision.reason


def test_a_silent_target_is_refused():
    """Without the target's identity nothing is posted."""
    assert isinstance(decide_submission(seen(answers=False), NODE), Refuse)


def test_an_undone_scale_out_is_history():
    """SUCCEED with operator ROLLBACK leaves the target free to be added again."""
    undone = dag(7, state="SUCCEED", operator="ROLLBACK", log=OURS)

    assert decide_submission(seen(last=undone), NODE) == Post(7)


def test_after_a_lost_answer_only_a_newer_dag_of_this_target_counts():
    """Newer and ours: adopt. Newer and theirs, or older: keep looking until expiry."""
    ours = seen(dag(8, log=OURS))
    theirs = seen(dag(8, log=THEIRS))
    older = seen(last=dag(7, state="SUCCEED", log=OURS))

    def decide(sighting, *, expired):
        return decide_after_lost_answer(sighting, NODE, baseline=7, expired=expired)

    assert isinstance(decide(ours, expired=False), Adopt)
    assert isinstance(decide(theirs, expired=False), KeepLooking)
    assert isinstance(decide(older, expired=False), KeepLooking)
    assert isinstance(decide(older, expired=True), PostAgain)


def test_a_lost_request_whose_dag_is_over_and_followed_by_another_is_found():
    """Rolled back, and no longer the newest: still ours, and no reason for a second POST."""
    undone = dag(8, state="SUCCEED", operator="ROLLBACK", log=OURS)
    after_it = seen(last=dag(9, state="SUCCEED", name="Modify tenant", kind=3))
    told = replace(after_it, passed=(undone,))

    unaware = decide_after_lost_answer(after_it, NODE, baseline=7, expired=True)
    decision = decide_after_lost_answer(told, NODE, baseline=7, expired=True)

    assert isinstance(unaware, PostAgain)
    assert isinstance(decision, Adopt)
    assert decision.dag_id == "18"


def test_after_a_lost_answer_a_young_dag_is_never_posted_over():
    """Even after expiry, a scale-out that has not named its target forbids a second POST."""
    young = seen(dag(8, state="READY", stage=2))

    decision = decide_after_lost_answer(young, NODE, baseline=7, expired=True)

    assert isinstance(decision, KeepLooking)


def test_a_lost_request_that_was_carried_out_is_found_at_its_end():
    """A DAG that ended before the first look, or the membership itself, counts as found."""
    ended = seen(last=dag(8, state="SUCCEED", log=OURS))
    joined = seen(identity="CLUSTER AGENT", members=[member("zone2")])

    for sighting, kind in ((ended, Adopt), (joined, AlreadyMember)):
        decision = decide_after_lost_answer(sighting, NODE, baseline=7, expired=True)
        assert isinstance(decision, kind)


def test_generic_ids_of_the_published_vectors_decode(vectors):
    """Every id of the vectors gives its agent and number; ids without a layout are refused."""
    for row in vectors["generic_id_vectors"]:
        decoded = decode_generic_id(row["generic_id"])
        assert (decoded.kind, decoded.number) == (row["kind"], row["numeric_id"])
        assert (decoded.ip, decoded.port) == (row["ip"], row["port"])
    for row in vectors["invalid_generic_ids"]:
        with pytest.raises(ValueError, match=r"."):
            decode_generic_id(row["id"])
    for text in ("", "-", "2" + "0" * 40, "１7"):
        with pytest.raises(ValueError, match=r"."):
            decode_generic_id(text)
