"""Tests of the levels: each holds only when its proofs hold."""

import itertools
from datetime import UTC, datetime

import pytest

from obscale.agent.models import AgentStatus, Node
from obscale.follow.reminders import Seldom
from obscale.verify.levels import (
    PROOFS,
    Look,
    needs_surroundings,
    only_has_to_hold,
    shortfall,
    still_waiting,
    waits_for,
)
from obscale.verify.objections import hold
from obscale.verify.observation import Level, ProofAnswer
from tests.unit.joined_node import (
    GIB,
    NEW,
    NOT_THERE,
    STARTED,
    STEADY,
    aftermath,
    answer,
    around,
    done_dag,
    info,
    judge,
    line,
    listed,
    parameter,
    parameters,
    server,
    stats,
    zone,
    zones,
)

YEAR_1 = "0001-01-01T00:00:00Z"
CATALOGUE = {
    "pv-dag-forward-success",
    "pv-local-dag-finished",
    "pv-lock-released",
    "pv-agent-identity",
    "pv-agent-listed",
    "pv-topology-registered",
    "pv-status-active",
    "pv-service-started",
    "pv-obshell-status",
    "pv-ob-state",
    "pv-version-equal",
    "pv-zone-active",
    "pv-params-effective",
    "pv-params-vs-peers",
    "pv-dirs",
    "pv-capacity-server",
    "pv-capacity-cluster",
    "pv-no-collateral",
    "pv-clock-after",
    "pv-rebalance-observed",
    "pv-disk-after",
    "pv-restart-safety",
}
"""Everything that shall be proved after a node has joined."""


def test_a_whole_node_conforms():
    """Everything as asked: CONFORMING, verified, and nothing left to wait for."""
    levels = judge()

    assert levels.level is Level.CONFORMING, [line for line in levels.lines if line.hinders]
    assert levels.is_verified
    assert still_waiting(levels) == ()
    quiet = {"pv-rebalance-observed"}
    assert {row.id for row in levels.lines if row.answer is ProofAnswer.INFO} == quiet


def test_every_proof_has_its_line():
    """Each id that shall be proved has a line, on the level it belongs to, and none is unknown."""
    levels = judge()

    assert {row.id.partition(":")[0] for row in levels.lines} == CATALOGUE
    assert {name.partition(":")[0] for name, _, _ in PROOFS} | {"pv-params-effective"} == CATALOGUE
    assert [row.level for row in levels.lines] == sorted(row.level for row in levels.lines)


def test_a_rolled_back_dag_never_joins():
    """SUCCEED with operator ROLLBACK fails the first proof."""
    levels = judge(dag=done_dag(operator="ROLLBACK", stage=1))

    assert levels.level is Level.NONE
    assert answer(levels, "pv-dag-forward-success") is ProofAnswer.FAIL


def test_a_dag_that_succeeded_over_undone_stages_fails_and_names_them():
    """A rollback retried half-way skips what it has undone: SUCCEED/RUN, and nothing was added."""
    done = done_dag()
    node = Node.model_validate(
        {"name": "Add server for scale_out", "state": "SUCCEED", "operator": "ROLLBACK"}
    )

    levels = judge(dag=done.model_copy(update={"nodes": (*done.nodes, node)}))

    found = next(line for line in levels.lines if line.id == "pv-dag-forward-success")
    assert found.answer is ProofAnswer.FAIL
    assert "undone before and skipped: Add server for scale_out" in found.found


WAITS = [
    ({"members": (listed(1),)}, "pv-agent-listed", Level.NONE),
    (
        {"members": (listed(1), listed(4, identity="SCALING OUT"))},
        "pv-agent-listed",
        Level.NONE,
    ),
    ({"target_info": info(identity="SCALING OUT")}, "pv-agent-identity", Level.NONE),
    ({"zones": zones()}, "pv-topology-registered", Level.NONE),
    ({"target_unfinished": (done_dag(state="RUNNING"),)}, "pv-local-dag-finished", Level.NONE),
    ({"unfinished": (done_dag(state="RUNNING"),)}, "pv-lock-released", Level.NONE),
    (
        {"zones": zones(server(NEW, start_time="0001-01-01T00:00:00Z"))},
        "pv-service-started",
        Level.JOINED,
    ),
    ({"zones": zones(server(NEW, status="STARTING"))}, "pv-obshell-status", Level.JOINED),
    ({"zones": zones(server(NEW, ob_status=2))}, "pv-obshell-status", Level.JOINED),
    ({"zones": zones(server(NEW, stats={}))}, "pv-capacity-server", Level.SERVING),
    (
        {"zones": zones(server(NEW, stats=stats(disk_in_bytes_total=0)))},
        "pv-capacity-server",
        Level.SERVING,
    ),
    (
        {"parameters": parameters(parameter("memory_limit", None, "16G"))},
        "pv-params-effective:memory_limit",
        Level.SERVING,
    ),
]


@pytest.mark.parametrize(
    ("changes", "proof", "level"),
    [pytest.param(*case, id=f"{case[1]}-{number}") for number, case in enumerate(WAITS)],
)
def test_what_is_not_there_yet_waits_on_its_level(changes, proof, level):
    """A missing proof holds its level back, and may still turn."""
    levels = judge(aftermath(**changes))

    assert answer(levels, proof) is ProofAnswer.WAITING
    assert levels.level is level
    assert proof in {line.id for line in still_waiting(levels)}


AGAINST = [
    ({"members": (listed(1), listed(4), listed(4))}, "pv-agent-listed", Level.NONE),
    ({"target_info": info(version="4.4.1.0-1")}, "pv-agent-identity", Level.NONE),
    ({"zones": zones(server(NEW, inner_status="INACTIVE"))}, "pv-status-active", Level.JOINED),
    (
        {"zones": (zones()[0], zone("zone2", server(NEW), inner_status="INACTIVE"))},
        "pv-zone-active",
        Level.JOINED,
    ),
    (
        {"zones": zones(server(NEW), first=server("10.0.0.1", status="UNAVAILABLE"))},
        "pv-no-collateral",
        Level.SERVING,
    ),
    (
        {"zones": zones(server(NEW), first=server("10.0.0.1", stop_time=STARTED))},
        "pv-no-collateral",
        Level.SERVING,
    ),
    (
        {"zones": zones(server(NEW), first=server("10.0.0.1", with_rootserver=False))},
        "pv-no-collateral",
        Level.SERVING,
    ),
    ({"zones": zones(server(NEW))[1:]}, "pv-no-collateral", Level.SERVING),
    ({"target_info": info(zone="zone1")}, "pv-agent-identity", Level.NONE),
    ({"target_info": info(identity="SINGLE")}, "pv-agent-identity", Level.NONE),
    ({"members": (listed(1), listed(4, zone="zone1"))}, "pv-agent-listed", Level.NONE),
    (
        {"zones": (zone("zone1", server("10.0.0.1"), server(NEW)), zones()[1])},
        "pv-topology-registered",
        Level.NONE,
    ),
    (
        {"target_status": AgentStatus.model_validate({"agent": {}, "obState": 0})},
        "pv-ob-state",
        Level.JOINED,
    ),
    (
        {"zones": zones(server(NEW), first=server("10.0.0.1", start_time=YEAR_1))},
        "pv-no-collateral",
        Level.SERVING,
    ),
]
"""What stands against the request: a dead peer, a wrong zone, a wrong version of the agent."""


@pytest.mark.parametrize(
    ("changes", "proof", "level"),
    [pytest.param(*case, id=f"{case[1]}-{number}") for number, case in enumerate(AGAINST)],
)
def test_what_stands_against_the_request_fails_once_it_has_held(changes, proof, level):
    """It may still turn; held for the limit it ends the waiting, and says for how long it held."""
    levels = judge(aftermath(**changes))

    assert answer(levels, proof) is ProofAnswer.AGAINST
    assert levels.level is level
    assert proof in {line.id for line in still_waiting(levels)}
    first = hold(levels, {}, 5.0, 60)
    young = hold(levels, first.since, 64.9, 60)
    old = hold(levels, young.since, 65.0, 60)
    assert [answer(each.levels, proof) for each in (first, young)] == [ProofAnswer.AGAINST] * 2
    assert answer(old.levels, proof) is ProofAnswer.FAIL
    assert line(old.levels, proof).found.endswith(", for 60 s")
    assert still_waiting(old.levels) == ()
    assert f"{proof}: " in shortfall(levels.level.name, levels.lines)


def test_what_stands_no_more_is_told_and_begins_anew():
    """A peer that is back within the limit is told; the next one has its own minute."""
    first_down = judge(aftermath(zones=zones(server(NEW), first=down(1))))
    both = zone("zone1", down(1)), zone("zone2", down(2), server(NEW))
    second_down = judge(aftermath(zones=(zones()[0], both[1])))

    one = hold(first_down, {}, 0.0, 60)
    two = hold(judge(aftermath(zones=both)), one.since, 40.0, 60)
    three = hold(second_down, two.since, 61.0, 60)
    well = hold(judge(), three.since, 70.0, 60)

    (risen,) = one.risen
    assert risen == ("pv-no-collateral", "10.0.0.1:2882 INACTIVE UNAVAILABLE")
    assert three.passed == {risen: 61.0}
    assert answer(three.levels, "pv-no-collateral") is ProofAnswer.AGAINST
    assert [*well.passed.values()] == [30.0]
    assert well.levels.is_verified


def down(number):
    """A member whose observer is dead; the first still leads the root service."""
    words = {"inner_status": "INACTIVE", "status": "UNAVAILABLE"}
    return server(f"10.0.0.{number}", with_rootserver=True, **words)


def test_a_wait_is_told_by_what_it_is_for():
    """A counter that moves is no news; another proof, or another dead peer, is."""
    young = [Look(0.0, 3, None, True)]
    older = [*young, Look(1.0, 3, None, True)]
    one, two = (waits_for(judge(looks=looks, seen_around=None)) for looks in (young, older))
    dead = waits_for(judge(aftermath(zones=zones(server(NEW), first=down(1))), looks=older))

    assert one[0] == two[0] != dead[0]
    assert "pv-ob-state: obState 3 for 0 s so far (wants obState 3 for 30 s)" in one[1]
    assert "pv-clock-after" not in one[1]
    assert "10.0.0.1:2882 INACTIVE UNAVAILABLE" in dead[1]
    assert waits_for(judge()) == ((), "")


def test_a_wait_is_said_on_change_and_then_seldom():
    """At once, after ten seconds, and then each time after twice as long."""
    seldom = Seldom()
    said = [at for at in range(100) if seldom.waited("a dead peer", float(at)) is not None]

    assert said == [0, 10, 20, 40, 80]
    assert seldom.waited("another one", 100.0) == 0.0
    assert seldom.waited("another one", 101.0) is None


@pytest.mark.parametrize(
    "changes",
    [{"members": (listed(1),)}, {"zones": zones()}, {"target_info": info(identity="SINGLE")}],
    ids=["not listed", "no server", "SINGLE"],
)
def test_what_nobody_is_at_work_on_is_not_waited_for(changes):
    """Without any DAG, at the cluster or at the target, a missing row does not come by itself."""
    idle = judge(aftermath(**changes), alone=True)
    busy = judge(aftermath(**changes, unfinished=(done_dag(state="RUNNING"),)), alone=True)

    assert (idle.level, still_waiting(idle)) == (Level.NONE, ())
    assert still_waiting(busy)


FAILS = [
    ({"zones": zones(server(NEW, sql_port=3881))}, "pv-topology-registered", Level.NONE),
    ({"zones": zones(server(NEW, stop_time=STARTED))}, "pv-service-started", Level.JOINED),
    ({"zones": zones(server(NEW, version="4.3.5.1_1"))}, "pv-version-equal", Level.SERVING),
    ({"ob_version": "4.3.5.3"}, "pv-version-equal", Level.SERVING),
    (
        {"zones": zones(server(NEW, stats=stats(memory_in_bytes_total=GIB)))},
        "pv-capacity-server",
        Level.SERVING,
    ),
    (
        {"zones": zones(server(NEW, stats=stats(disk_in_bytes_total=GIB)))},
        "pv-capacity-server",
        Level.SERVING,
    ),
    (
        {"parameters": parameters(parameter("memory_limit", "12G"))},
        "pv-params-effective:memory_limit",
        Level.SERVING,
    ),
    (
        {"parameters": parameters()[1:]},
        "pv-params-effective:memory_limit",
        Level.SERVING,
    ),
    (
        {"parameters": parameters(parameter("memory_limit", "16G", scope="TENANT"))},
        "pv-params-effective:memory_limit",
        Level.SERVING,
    ),
]


@pytest.mark.parametrize(
    ("changes", "proof", "level"),
    [pytest.param(*case, id=f"{case[1]}-{number}") for number, case in enumerate(FAILS)],
)
def test_what_is_wrong_for_good_fails_and_ends_the_waiting(changes, proof, level):
    """A contradiction fails its level at once; the levels below stand."""
    levels = judge(aftermath(**changes))

    assert answer(levels, proof) is ProofAnswer.FAIL
    assert levels.level is level
    assert not levels.is_verified
    assert still_waiting(levels) == ()


@pytest.mark.parametrize(
    "field",
    [
        *("target_info", "target_status", "target_unfinished", "members", "zones"),
        *("unfinished", "parameters"),
    ],
)
def test_evidence_that_cannot_be_read_is_never_a_pass(field):
    """Without its evidence no level at or above it is reached."""
    levels = judge(aftermath(**{field: None}))

    assert levels.level < Level.CONFORMING
    assert any(line.answer is ProofAnswer.UNKNOWN for line in levels.lines)
    assert still_waiting(levels)


def test_the_surroundings_are_looked_at_last():
    """While anything else is missing they are not asked for; then they are all that is missing."""
    missing = judge(aftermath(members=(listed(1),)), seen_around=None)
    else_whole = judge(seen_around=None)

    assert not needs_surroundings(missing)
    assert needs_surroundings(else_whole)
    assert else_whole.level is Level.SERVING


@pytest.mark.parametrize(
    "looks",
    [
        [Look(0.0, 3, None, True)],
        [Look(0.0, 3), Look(31.0, 3)],
        [Look(0.0, 3), Look(31.0, 1), Look(32.0, 3), Look(33.0, 3)],
        [Look(0.0, 3), Look(1.0, 3), Look(31.0, None)],
        [
            Look(0.0, 3, datetime(2026, 5, 1, 10, tzinfo=UTC)),
            Look(29.0, 3, datetime(2026, 5, 1, 10, tzinfo=UTC)),
            Look(31.0, 3, datetime(2026, 5, 1, 11, tzinfo=UTC)),
        ],
    ],
    ids=["one lucky look", "two", "a crash in between", "no answer at last", "a restart unseen"],
)
def test_serving_wants_a_steady_observer(looks):
    """A connectable observer has to hold, over several looks and one service, up to now."""
    levels = judge(looks=looks)

    assert answer(levels, "pv-ob-state") is ProofAnswer.WAITING
    assert levels.level is Level.JOINED


def test_a_look_that_missed_the_topology_does_not_break_the_steadiness():
    """Only another start of service does."""
    started = datetime(2026, 5, 1, 10, tzinfo=UTC)
    seen = (started, None, started)
    looks = [Look(at, 3, when, True) for at, when in zip((0.0, 15.0, 31.0), seen, strict=True)]

    assert answer(judge(looks=looks), "pv-ob-state") is ProofAnswer.PASS


def test_requested_parameters_have_to_hold_as_long():
    """A value counts once it was as asked at looks the steady time apart; unread ones between."""
    key = "pv-params-effective:memory_limit"
    young = [Look(0.0, 3), Look(15.0, 3, None, True), Look(31.0, 3, None, True)]
    old = [Look(0.0, 3, None, True), Look(15.0, 3, None, None), Look(31.0, 3, None, True)]

    assert answer(judge(looks=young), key) is ProofAnswer.WAITING
    assert answer(judge(looks=old), key) is ProofAnswer.PASS
    assert answer(judge(looks=young, steady=0), key) is ProofAnswer.PASS


def test_looks_are_spread_only_while_all_is_well():
    """Fewer questions while nothing is missing; more where the observer is not there."""
    holding, broken = STEADY[:2], [Look(0.0, 3, None, True), Look(15.0, 1, None, True)]

    assert only_has_to_hold(judge(looks=holding, seen_around=None), holding)
    assert not only_has_to_hold(judge(looks=broken, seen_around=None), broken)
    missing = judge(aftermath(members=(listed(1),)), looks=holding, seen_around=None)
    assert not only_has_to_hold(missing, holding)


def test_an_older_version_that_shows_no_parameters_can_still_conform():
    """What a version never shows is said, and does not hold the level back."""
    levels = judge(aftermath(parameters=None, parameters_supported=False))

    for name in ("pv-params-effective:memory_limit", "pv-params-vs-peers", "pv-restart-safety"):
        assert answer(levels, name) is ProofAnswer.INFO
    assert levels.level is Level.CONFORMING


def test_a_version_that_only_lists_servers_can_still_conform():
    """Below 4.3.0.0 start of service, zone state and capacity are never told: said, not held."""
    bare = server("10.0.0.4", start_time=None, stats={}, ob_status=None, status="")
    plain = tuple(zone.model_copy(update={"inner_status": ""}) for zone in zones(bare))

    blind = around(cluster=NOT_THERE, host=NOT_THERE)
    untold = judge(aftermath(zones=plain, is_detailed=False), seen_around=blind)
    should_tell = judge(aftermath(zones=plain), seen_around=blind)

    assert answer(untold, "pv-service-started") is ProofAnswer.INFO
    assert untold.level is Level.CONFORMING
    assert answer(should_tell, "pv-service-started") is ProofAnswer.UNKNOWN
    assert should_tell.level is Level.JOINED


def test_another_dag_after_ours_is_no_fault_of_the_node():
    """Somebody else's lock after our end is said, not held against the node."""
    other = done_dag(id="18", dag_id=8, state="RUNNING", name="Create tenant", maintenance_type=3)

    levels = judge(aftermath(unfinished=(other,)))

    assert answer(levels, "pv-lock-released") is ProofAnswer.INFO
    assert levels.level is Level.CONFORMING


def test_the_reasons_told_are_those_of_the_lowest_level():
    """What fails further up mostly follows from it, and only having to hold is no reason."""
    levels = judge(aftermath(zones=zones()), looks=STEADY[:1])

    said = shortfall(levels.level.name, levels.lines)

    assert said == (
        "reached NONE, not CONFORMING: pv-topology-registered: no such server in the zone, "
        "expected 10.0.0.4:2882 in zone2"
    )


def test_no_single_gap_makes_a_node_verified():
    """Of everything seen at once, two gaps at a time: never verified by accident."""
    fields = ("target_info", "target_status", "members", "zones", "parameters", "unfinished")
    for pair in itertools.combinations(fields, 2):
        assert not judge(aftermath(**dict.fromkeys(pair))).is_verified, pair
