"""Is a target that is a member, or on its way, judged as what it is?"""

import pytest

from obscale.agent.models import Identity, ListedAgent
from obscale.rules.preflight.facts import AGENT_REACHABLE, Standing, Unread

OURS = "create local scale out dag success, genericID:20167772164028863"
THEIRS = "create local scale out dag success, genericID:20167772165028863"


def join(world, *, zone="zone2", inner_status="ACTIVE"):
    """Make the target what a successful scale-out makes of it."""
    row = ListedAgent(ip="10.0.0.4", port=2886, zone=zone, identity=Identity.CLUSTER_AGENT)
    world.change("ob_info", agent_info=(*world.ob_info.agent_info, row))
    world.change("info", identity=Identity.CLUSTER_AGENT, zone=zone)
    world.change("status", ob_state=3)
    grown = []
    for known in world.zones:
        server = known.servers[0].model_copy(
            update={"ip": "10.0.0.4", "id": 4, "inner_status": inner_status}
        )
        more = (*known.servers, server) if known.name == zone else known.servers
        grown.append(known.model_copy(update={"servers": more}))
    return world.set(zones=tuple(grown))


def test_a_member_of_the_zone_is_told_as_such_and_nothing_forbids(world):
    """Same cluster, same zone, ACTIVE: a job already done, not a fault."""
    findings = join(world).judge()

    assert findings.already_member
    assert not findings.blockers
    for rule in ("agent-identity-single", "agent-already-in-cluster", "server-already-registered"):
        finding = findings.of_rule(rule)[0]
        assert finding.answer == "info"
        assert finding.measured.startswith("already a member")


def test_what_asks_whether_it_could_begin_is_moot_for_a_member(world):
    """Its own observer, ports and disk space are no obstacles to itself."""
    findings = join(world).judge()

    for rule in ("target-observer-not-running", "same-ip-port-reuse", "disk-fits", "zone-balance"):
        assert findings.of_rule(rule)[0].answer == "n-a"


@pytest.mark.parametrize(
    ("change", "measured"),
    [
        (lambda w: join(w, zone="zone1"), "CLUSTER AGENT in zone zone1 of this cluster"),
        (lambda w: w.change("info", identity=Identity.CLUSTER_AGENT), "of another cluster"),
        (lambda w: join(w, inner_status="DELETING"), "CLUSTER AGENT in zone zone2 of this cluster"),
    ],
    ids=["another zone", "another cluster", "being deleted"],
)
def test_any_other_membership_forbids(world, change, measured):
    """The reader learns which cluster and zone it is in."""
    findings = change(world).judge()

    finding = findings.of_rule("agent-identity-single")[0]
    assert not findings.already_member
    assert finding.answer == "block"
    assert measured in finding.measured


@pytest.mark.parametrize("state", ["RUNNING", "FAILED"])
def test_an_unfinished_scale_out_of_this_target_will_be_adopted(world, make_dag, state):
    """Its lock, its local DAG and its half-started observer are its own."""
    own = make_dag(OURS, state=state)
    world.set(unfinished=(own,), last_dag=own, local_unfinished=(own,))
    world.change("info", identity=Identity.SCALING_OUT, zone="zone2")
    world.change("status", ob_state=1, under_maintenance=True)

    findings = world.judge()

    assert findings.will_be_adopted
    assert not findings.blockers
    for rule in ("cluster-maintenance", "cluster-unfinished-dag", "agent-identity-single",
                 "agent-not-busy"):  # fmt: skip
        assert findings.of_rule(rule)[0].answer == "info"
    assert "adopted" in findings.of_rule("cluster-maintenance")[0].remedy


def test_a_target_that_fell_silent_half_way_does_not_forbid_taking_its_dag_up(world, make_dag):
    """The DAG is recognised by its own log; the silence is a warning."""
    own = make_dag(OURS)
    gap = Unread("connection refused", covered_by=AGENT_REACHABLE)
    world.set(unfinished=(own,), info=gap, status=gap, host=gap, local_unfinished=gap, clock=gap)
    world.set(signed_read=gap, local_dag=gap)

    findings = world.judge()

    assert findings.will_be_adopted
    assert not findings.blockers
    assert findings.of_rule(AGENT_REACHABLE)[0].answer == "warn"


def test_somebody_elses_dag_is_named_with_its_target_and_forbids(world, make_dag):
    """The same name is not enough; the owner is told."""
    world.set(unfinished=(make_dag(THEIRS),))

    finding = world.finding("cluster-maintenance")

    assert world.facts().standing() is Standing.NEW
    assert finding.answer == "block"
    assert "Cluster scale out of 10.0.0.5:2886 (17) FAILED at stage 5/9" in finding.measured
    assert "17" in finding.remedy


def test_a_foreign_dag_beside_our_own_still_forbids(world, make_dag):
    """Only our own is taken up."""
    world.set(unfinished=(make_dag(OURS), make_dag(THEIRS, number=8)))

    assert world.finding("cluster-unfinished-dag").answer == "block"


def test_a_target_on_its_way_by_a_dag_the_cluster_does_not_show_is_told_apart(world, make_dag):
    """Seen a moment after its cluster, or left behind: who asks looks once more before judging."""
    world.change("info", identity=Identity.SCALING_OUT, zone="zone2")

    assert world.facts().is_torn()
    assert not world.set(unfinished=(make_dag(OURS),)).facts().is_torn()


def test_a_target_that_has_joined_since_its_cluster_was_read_is_told_apart(world):
    """It names this cluster, which did not list it yet; one of another cluster is what it says."""
    world.change("info", identity=Identity.CLUSTER_AGENT, zone="zone2")

    joined = world.set(listed=world.ob_info).facts()

    assert joined.is_torn()
    assert not join(world).facts().is_torn()


def test_a_target_that_is_single_or_silent_is_not_on_its_way(world):
    """Nothing to look again for."""
    assert not world.facts().is_torn()

    world.set(info=Unread("connection refused", covered_by=AGENT_REACHABLE))

    assert not world.facts().is_torn()
