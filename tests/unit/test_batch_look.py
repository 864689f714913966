"""Tests of what a batch's preflight leaves for its rows, and for how long."""

from datetime import UTC, datetime, timedelta

import pytest

from obscale.batch.ledger import FirstRowPreflight, ledger_of
from obscale.batch.preflight import ClusterLook, RowLook, judge_all
from obscale.preflight.ageing import FRESH_SECONDS
from obscale.preflight.facts import TargetProgress
from obscale.preflight.finding import Findings
from obscale.preflight.result import Preflight
from obscale.request.models import AgentInfoSpec, NodeSpec, ScaleOutSpec
from obscale.request.policies import BatchPolicies
from obscale.spec.batch import BatchSpec

OLD = timedelta(seconds=FRESH_SECONDS + 1)
NAMES = ("c1", "c2", "c3", "c4", "c5")


def ledger_for(at_once):
    """Open the ledger of five clusters that get a node each."""
    spec = BatchSpec(
        clusters=tuple(
            ScaleOutSpec(
                cluster=name,
                nodes=(NodeSpec(agentInfo=AgentInfoSpec(ip=f"10.0.{at}.1"), zone="zone1"),),
            )
            for at, name in enumerate(NAMES)
        ),
        policies=BatchPolicies(max_clusters_at_once=at_once),
    )
    return ledger_of(spec)


def looking(ages, members=None):
    """Look at clusters whose facts are so old by then; nothing is wrong with any row."""

    async def look(name, entries):
        at = datetime.now(UTC) - ages.get(name, timedelta(0))
        preflight = Preflight(Findings((), "prod"), (), at)
        rows = tuple(RowLook(TargetProgress.NEW, "ready") for _ in entries)
        found = ClusterLook(rows, (members or {}).get(name, ()))
        return found, FirstRowPreflight(0, preflight, None)

    return look


@pytest.mark.parametrize("at_once", [1, 3, 200])
async def test_only_clusters_that_may_begin_at_once_are_remembered(at_once):
    """The first of them; a large batch does not hold what it has seen of a thousand clusters."""
    ledger = ledger_for(at_once)

    await judge_all(ledger, looking({}))

    assert list(ledger.looks) == list(NAMES[:at_once])


async def test_what_was_seen_too_long_ago_makes_room():
    """Facts of an hour ago are nothing to submit on."""
    ledger = ledger_for(2)

    await judge_all(ledger, looking({"c1": OLD, "c2": OLD}))

    assert list(ledger.looks) == ["c3", "c4"]


async def test_a_row_takes_its_own_look_once():
    """Whoever begins in a cluster, what was seen there is old from then on."""
    ledger = ledger_for(2)
    await judge_all(ledger, looking({}))
    first, other = ledger.entries[0], ledger.entries[3]

    assert ledger.take_look(first) is not None
    assert ledger.take_look(first) is None
    assert ledger.take_look(other) is None


async def test_two_names_of_one_cluster_are_judged_at_their_turn():
    """Each has a row that would be first, and one of them is not."""
    ledger = ledger_for(5)
    same = dict.fromkeys(("c1", "c4"), ("10.9.9.9:2886",))

    await judge_all(ledger, looking({}, same))

    assert list(ledger.looks) == ["c2", "c3", "c5"]
