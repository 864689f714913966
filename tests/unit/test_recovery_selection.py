"""Tests of which scale-out a request means."""

import pytest

from obscale.agent.models import Dag
from obscale.recovery.consequences import Remedy
from obscale.recovery.selection import (
    LookAgain,
    Meant,
    NotMeant,
    diagnose_untouched,
    is_untouched,
    named_by_id,
    of_cluster,
    of_nodes,
    scale_outs,
)

OURS, THEIRS = "10.0.0.4:2886", "10.0.0.5:2886"
IDS = {OURS: "20167772164028861", THEIRS: "20167772165028861"}
FILE = "node.yaml"


def dag(number, target=None, state="FAILED", operator="RUN", stage=5, name="Cluster scale out"):
    """A scale-out that names a target, or none."""
    said = [f"create local scale out dag success, genericID:{IDS[target]}"] if target else []
    return Dag.model_validate(
        {
            "id": f"1{number}",
            "dag_id": number,
            "name": name,
            "stage": stage,
            "max_stage": 9,
            "state": state,
            "operator": operator,
            "nodes": [
                {"name": "Integrate server config", "sub_tasks": [{"task_logs": []}]},
                {"name": "Create local scale out dag", "sub_tasks": [{"task_logs": said}]},
            ],
        }
    )


def of_ours(*dags):
    return of_nodes(scale_outs(dags), frozenset({OURS}), FILE)


def test_the_nodes_own_scale_out_is_taken():
    """It names the node."""
    assert of_ours(dag(7, OURS)) == Meant(dag(7, OURS), OURS)


def test_an_unfinished_one_of_several_is_taken_before_a_newer_one_that_is_over():
    """What still wants something done comes first."""
    seen = scale_outs((dag(8, THEIRS, state="SUCCEED", stage=9), dag(7, OURS)))

    chosen = of_nodes(seen, frozenset({OURS, THEIRS}), FILE)

    assert isinstance(chosen, Meant)
    assert chosen.target == OURS


@pytest.mark.parametrize("operator", ["RUN", "ROLLBACK"])
def test_of_those_that_are_over_the_newest_is_taken(operator):
    """Done or undone, it may be proved, or its rollback finished."""
    over = [dag(n, OURS, state="SUCCEED", operator=operator) for n in (6, 7)]

    chosen = of_ours(*over)

    assert isinstance(chosen, Meant)
    assert chosen.dag.dag_id == 7


def test_another_nodes_scale_out_is_never_taken_and_is_named():
    """Also where it is the only one, and the newest."""
    chosen = of_ours(dag(7, THEIRS))

    assert isinstance(chosen, NotMeant)
    assert chosen.why.endswith(f"DAG 17, is of {THEIRS}, which is not in {FILE}")
    assert chosen.dag.id == "17"


def test_a_young_scale_out_is_looked_at_again():
    """Whose it is shows within seconds; another's that is over does not decide it."""
    young = dag(8, state="RUNNING", stage=1)

    assert of_ours(young, dag(7, THEIRS, state="SUCCEED")) == LookAgain(young)
    assert of_cluster((young,), unasked=True) == LookAgain(young)
    assert named_by_id(young) == LookAgain(young)


@pytest.mark.parametrize("choose", [of_ours, lambda each: of_cluster((each,), unasked=False)])
def test_one_that_failed_before_it_named_a_node_is_nobodys(choose):
    """Not even the only node of a file stands in for it; by its id it is taken, targetless."""
    nameless = dag(7, stage=1)

    chosen = choose(nameless)

    assert isinstance(chosen, NotMeant)
    assert "does not name its target" in chosen.why
    assert named_by_id(nameless) == Meant(nameless, "")


def test_a_finished_one_of_ours_does_not_hide_one_that_tells_nothing():
    """The nameless one holds the lock, and is what somebody would mean."""
    chosen = of_ours(dag(8, stage=1), dag(7, OURS, state="SUCCEED"))

    assert isinstance(chosen, NotMeant)
    assert chosen.dag.dag_id == 8


def test_without_any_scale_out_there_is_nothing_to_name():
    """A DAG of another kind is none."""
    other = scale_outs((dag(7, OURS, name="Create tenant"), None))

    assert other == ()
    for chosen in (of_nodes(other, frozenset({OURS}), FILE), of_cluster(other, unasked=False)):
        assert isinstance(chosen, NotMeant)
        assert chosen.dag is None


def test_a_cluster_alone_means_its_newest():
    """Somebody is asked, or only looks."""
    done = dag(8, THEIRS, state="SUCCEED")

    assert of_cluster(scale_outs((dag(7, OURS), done)), unasked=False) == Meant(done, THEIRS)


@pytest.mark.parametrize(
    ("seen", "taken"),
    [
        ([dag(7, OURS)], True),
        ([dag(8, THEIRS, state="SUCCEED"), dag(7, OURS)], True),
        ([dag(8, THEIRS), dag(7, OURS)], False),
        ([dag(7, OURS, state="SUCCEED")], False),
        ([dag(7, OURS, state="RUNNING")], False),
        ([dag(7, stage=1)], False),
    ],
    ids=["one failed", "one failed, one done", "two failed", "done", "at work", "nameless"],
)
def test_without_a_question_a_cluster_alone_means_only_its_one_failed_scale_out(seen, taken):
    """Anything else wants the id."""
    chosen = of_cluster(scale_outs(seen), unasked=True)

    assert isinstance(chosen, Meant if taken else NotMeant)
    if taken:
        assert chosen.target == OURS


def test_one_that_called_no_node_can_be_undone_and_no_more():
    """RETRY would go on with a node nobody knows."""
    found = diagnose_untouched(dag(7, stage=1))

    assert is_untouched(Meant(dag(7, stage=1), ""))
    assert not is_untouched(Meant(dag(7, stage=2), ""))
    assert not is_untouched(Meant(dag(7, stage=1, state="RUNNING"), ""))
    assert found.recommended is Remedy.ROLLBACK
    assert found.choice(Remedy.ROLLBACK).safe
    assert "nobody can tell" in found.choice(Remedy.RETRY).dead_end
    assert found.target == ""
