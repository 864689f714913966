"""Tests of targets that are members already, or on their way."""

import pytest

from obscale.agent.models import Identity, ListedAgent, ServerParameter
from obscale.preflight.difference import differences_of
from obscale.preflight.facts import AGENT_REACHABLE, TargetProgress
from obscale.preflight.registry import judge
from obscale.reading import Unread

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


def serve_with(world, **values):
    """Let the target be a member whose parameters are the sample's, but for these values."""
    there = {"memory_limit": "16G", "system_memory": "8G", "datafile_size": "24G"} | values
    rows = tuple(
        row.model_copy(
            update={
                "ob_parameters": (
                    *row.ob_parameters,
                    ServerParameter("10.0.0.4", 2882, "zone2", there[row.name]),
                )
            }
        )
        if row.name in there
        else row
        for row in world.parameters
    )
    return join(world).set(parameters=rows)


def test_a_member_that_is_as_asked_differs_in_nothing(world):
    """Capacities are compared by bytes: 16384M is 16G."""
    findings = serve_with(world.ask(memory_limit="16384M")).judge()

    assert findings.verdict == "already a member"
    assert findings.of_rule("member-as-asked")[0].answer == "pass"


def test_a_member_that_differs_says_each_value_asked_and_there(world):
    """A member alone is no answer to a request for 80G; what would set it is told."""
    facts = serve_with(
        world.ask(memory_limit="80G", system_memory="10G", mysql_port="3881")
    ).facts()

    found = {d.key: (d.asked, d.there, d.hinders) for d in differences_of(facts)}
    findings = judge(facts, "prod")

    assert found == {
        "memory_limit": ("80G", "16G", True),
        "mysql_port": ("3881", "2881", True),
        "system_memory": ("10G", "8G", True),
    }
    assert findings.verdict == "already a member, 3 values differ"
    first = findings.of_rule("member-as-asked")[0]
    assert (first.answer, first.weight) == ("warn", "warn")
    assert first.measured == "memory_limit: 80G asked, 16G there"
    assert first.remedy == (
        "ask for what is there: memory_limit: 16G, or run as root@sys: "
        "ALTER SYSTEM SET memory_limit='80G' SERVER='10.0.0.4:2882';"
    )
    assert findings.of_rule("member-as-asked")[1].remedy.endswith("it cannot be set")


def test_one_value_is_one_and_a_directory_is_for_a_person_to_see(world):
    """A path may be a link: told, counted, and refused by nobody."""
    world.ask(data_dir="/data/2", redo_dir="/data/1").change_server(2, data_dir="/data/1")
    world.change_server(2, redo_dir="/data/1/clog")
    facts = serve_with(world).facts()

    (found,) = differences_of(facts)
    findings = judge(facts, "prod")

    assert (found.key, found.asked, found.there, found.hinders) == (
        *("data_dir", "/data/2", "/data/1"),
        False,
    )
    assert findings.verdict == "already a member, 1 value differs"
    assert findings.differing[0].answer == "info"


@pytest.mark.parametrize(
    ("key", "there"),
    [("nonsense", "knows no such parameter"), ("_hidden", ""), ("undo_retention", "of tenants")],
)
def test_what_no_server_has_is_a_difference_too(world, key, there):
    """Verification refuses it; of hidden ones obshell tells nothing."""
    rows = serve_with(world.ask(**{key: "1"})).parameters
    tenants = rows[0].model_copy(update={"name": "undo_retention", "scope": "TENANT"})

    found = differences_of(world.set(parameters=(*rows, tenants)).facts())

    assert [there in difference.there for difference in found] == ([True] if there else [])


def test_what_is_no_member_differs_in_nothing(world):
    """And of what could not be read nothing is claimed."""
    assert differences_of(world.ask(memory_limit="80G").facts()) == ()
    assert differences_of(serve_with(world).set(parameters=Unread("late")).facts()) == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda w: join(w, zone="zone1"), ("zone: zone2 asked, zone1 there", "zone zone1")),
        (
            lambda w: join(w).ask(rpc_port="3882"),
            ("rpc_port: 3882 asked, 2882 there", "rpc_port 2882"),
        ),
    ],
    ids=["zone", "rpc_port"],
)
def test_a_member_at_another_place_says_what_is_asked_and_what_is_there(world, change, told):
    """It blocks, since nothing of the kind can be added; asking for what is there verifies it."""
    finding = change(world).finding("agent-already-in-cluster")

    assert finding.answer == "block"
    assert told[0] in finding.measured
    assert f"ask for what is there, {told[1]}, or choose another agent" in finding.remedy


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
        (
            lambda w: w.change("info", identity=Identity.CLUSTER_AGENT),
            "it says it is CLUSTER AGENT, but the cluster does not list it",
        ),
        (
            lambda w: w.change("info", identity=Identity.SCALING_OUT),
            "but the cluster does not list it, and no scale-out of the cluster names it",
        ),
        (lambda w: join(w, inner_status="DELETING"), "CLUSTER AGENT in zone zone2 of this cluster"),
    ],
    ids=["another zone", "not listed", "on its way elsewhere", "being deleted"],
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

    assert world.facts().progress() is TargetProgress.NEW
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
