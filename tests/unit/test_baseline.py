"""Tests of the record before the POST: which one counts for a DAG."""

from datetime import UTC, datetime, timedelta

import pytest

from obscale.agent.models import AgentInfo, Dag, ObInfo
from obscale.preflight.result import conclude
from obscale.scale_out_dag import LOCAL_SCALE_OUT, SCALE_OUT
from obscale.submit.decide import Candidates
from obscale.verify.baseline import (
    Baseline,
    baseline_of,
    compact,
    dag_of_member,
    goes_on,
    identity_of,
)
from tests.unit.joined_node import BEFORE, NODE, server, zones

BEGAN = datetime(2026, 5, 1, 22, 0, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def dag(number=11, start=BEGAN, state="SUCCEED", operator="RUN", target="10.0.0.4", **changes):
    """A scale-out that names its target as the error of its second node does."""
    second = {"sub_tasks": [{"task_logs": [f"agent {target}:2886 said"]}]}
    row = {
        "id": f"1{number}",
        "dag_id": number,
        "name": SCALE_OUT,
        "state": state,
        "operator": operator,
        "stage": 9,
        "max_stage": 9,
        "start_time": start,
        "nodes": [{}, second],
    }
    return Dag.model_validate(row | changes)


def record(newest=10, minutes=-1, **changes):
    """A look some minutes before the DAG began."""
    told = {"cluster": "obcluster/1", "target": "10.0.0.4:2886", "zone": "zone2"}
    at = BEGAN + timedelta(minutes=minutes)
    return Baseline(**(told | {"newest_dag": newest, "at": at} | changes))


def sighting(identity="CLUSTER AGENT", last=None, local=None, unfinished=()):
    """What stands in the cluster, and who the target is."""
    target = {"ip": "10.0.0.4", "port": 2886, "identity": identity, "zone": "zone2"}
    return Candidates(AgentInfo.model_validate(target), local, last, unfinished, ObInfo())


def chosen(*records, of=None):
    """Give the record that counts."""
    return baseline_of(records, cluster="obcluster/1", node=NODE, dag=of or dag())


def test_the_newest_look_older_than_the_dag_counts():
    """By the numbers of DAGs: a look that saw the DAG itself is none from before it."""
    old, newest, after = record(7, -90), record(10, -1), record(11, 5)

    assert chosen(after, old, newest) == newest
    assert chosen(after) is None
    assert chosen() is None


def test_the_look_whose_post_began_the_dag_counts_before_every_other():
    """Of two runs at once the one whose POST was taken has the look, and knows the DAG."""
    posted, refused = record(10, -2, dag_id="111"), record(10, -1)

    assert chosen(refused, posted) == posted
    # Retried a week later, the DAG tells that time; founded anew, a cluster has its numbers again.
    long_ago = record(10, -60 * 24 * 7, dag_id="111")
    assert chosen(long_ago) == long_ago
    assert chosen(long_ago, refused) == refused


@pytest.mark.parametrize(
    "changes",
    [{"cluster": "obcluster/2"}, {"target": "10.0.0.5:2886"}, {"zone": "zone1"}],
    ids=["another cluster", "another target", "another zone"],
)
def test_a_look_at_something_else_never_counts(changes):
    """Keys of artifacts may meet; what stands inside decides."""
    assert chosen(record(10, -1, **changes)) is None


def test_a_look_of_an_earlier_scale_out_of_the_same_node_does_not_count():
    """It was scaled in since, and added again by somebody else: what was before is unknown."""
    assert chosen(record(3, -60 * 24 * 90, dag_id="14")) is None
    assert chosen(record(3, -60 * 24 * 90)) is None
    # Its number says that another POST came after this look: the DAG is not of this one either.
    assert chosen(record(3, -1), record(5, -1, dag_id="16")) is None


@pytest.mark.parametrize("start", [None, EPOCH, datetime(1, 1, 1, tzinfo=UTC)])
def test_times_that_tell_nothing_rule_nothing_out(start):
    """After a RETRY obshell shows the epoch, after a POST the year 1: numbers alone decide."""
    assert chosen(record(10, -600), of=dag(start=start)) == record(10, -600)
    assert chosen(record(10, -600)) is None
    assert chosen(record(10, 30)) == record(10, 30), "clocks may be apart"


def test_a_look_is_the_same_once_it_was_stored():
    """Written as text and read again it compares as before; what nothing compares is left out."""
    kept = record(10, -1, zones=compact(BEFORE.zones), totals=BEFORE.totals, host=BEFORE.host)

    again = Baseline.model_validate_json(kept.model_dump_json(exclude_defaults=True))

    assert again == kept
    assert again.before.zones[0].servers[0].stats == BEFORE.zones[0].servers[0].stats
    assert again.before.zones[0].servers[0].data_dir == ""
    assert compact(zones(server("10.0.0.4")))[1].servers[1].start_time is not None


def test_how_preflight_judged_the_clocks_is_kept_for_the_verification(world):
    """In the words of the finding, through the database and back; an older record has none."""
    told = conclude(world.facts(), world.judge()).judged
    stored = record(judged=told).model_dump_json(exclude_defaults=True)

    assert told == {"clock-skew": "pass, within 100 ms"}
    assert Baseline.model_validate_json(stored).before.judged == told
    assert Baseline.model_validate_json(record().model_dump_json()).before.judged == {}


@pytest.mark.parametrize(
    ("last", "local", "records", "wanted"),
    [
        (dag(11), None, (), "111"),
        (dag(12, target="10.0.0.9"), "111", (), "111"),
        (dag(12, target="10.0.0.9"), None, (record(10, dag_id="111"),), "111"),
        (dag(11, operator="ROLLBACK"), None, (), None),
        (None, None, (), None),
    ],
    ids=["the newest DAG", "the target's own", "a record", "undone", "nobody tells"],
)
def test_the_dag_of_a_member_is_told_by_whoever_knows_it(last, local, records, wanted):
    """The DAG in sight, the target's newest local one, or a record; an undone one made none."""
    data = {"name": LOCAL_SCALE_OUT, "additional_data": {"main_dag_id": local}}
    own = dag(1, **data) if local else None

    assert dag_of_member(sighting(last=last, local=own), NODE, records) == wanted


@pytest.mark.parametrize(
    ("begun", "seen", "wanted"),
    [
        (dag(state="RUNNING"), sighting("SCALING OUT"), True),
        (dag(state="FAILED"), sighting("SCALING OUT"), True),
        (dag(), sighting("CLUSTER AGENT"), True),
        (dag(operator="ROLLBACK"), sighting("SINGLE"), False),
        (dag(), sighting("SINGLE"), False),
        (dag(target="10.0.0.9"), sighting("CLUSTER AGENT"), False),
        (dag(name="Modify tenant"), sighting("CLUSTER AGENT"), False),
        (dag(), sighting("CLUSTER AGENT", last=dag(15)), False),
    ],
    ids=["moves", "failed", "done", "undone", "scaled in", "foreign", "no scale-out", "newer one"],
)
def test_a_retry_goes_on_with_its_own_dag_only(begun, seen, wanted):
    """Otherwise it begins anew: preflight, the look, and a POST if there is nothing."""
    assert goes_on(begun, seen, NODE) is wanted


def test_a_cluster_is_known_by_what_it_says_itself():
    """Whatever a request calls it."""
    told = ObInfo.model_validate({"obcluster_info": {"name": "obcluster", "id": 7}})

    assert identity_of(told) == "obcluster/7"
