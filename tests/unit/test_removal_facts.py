"""Tests of what the rules of a removal look at: whose DAG it is, where units go, who may accept."""

import itertools
import json
import random
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest

from obscale.agent.models import Dag, ObInfo, Topology
from obscale.agent.resources import UnitConfig
from obscale.preflight.facts import TargetProgress
from obscale.preflight.judge import may_be_overridden, override_problems
from obscale.preflight.registry import RULES as OF_SCALE_OUT
from obscale.reading import Unread
from obscale.removal.facts import is_dead
from obscale.removal.judge import RULES, before_of
from obscale.removal.replicas import full_zones, zones_of
from obscale.removal.rules.hints import _names
from obscale.removal.units import ALL, Fit, PlacedUnit, Room, fit
from obscale.request.models import OverrideSpec
from tests.unit.removal_facts import NEVER, Case, failed, server, stats, stray

RECORDED = Path(__file__).resolve().parents[1] / "data" / "real-obshell" / "removal"
UNTIL = date(2026, 12, 31)
FINAL = {"rm-address", "rm-majority", "rm-force-live", "rm-force-dead-proof"}


def recorded(name):
    """What a real obshell 4.5.0.0 has shown."""
    content = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    return content.get("json", content)


def with_recorded(case, dag, *, number=4):
    """The case with a recorded DAG, whose addresses are put in the place of its own."""
    text = json.dumps(recorded(dag)).replace("10.77.0.", "10.0.0.")
    content = json.loads(text)
    return case.unfinished(Dag.model_validate(content.get("data", content)))


class TestWhoseRemoval:
    """By what a real obshell logs."""

    def test_a_refused_one_names_its_target(self):
        """The refusal of stage 1 holds no lock, and is this target's own."""
        case = with_recorded(Case(), "refused-dag")

        assert case.facts().own_dag().id == "19"
        assert case.facts().progress() is TargetProgress.NEW
        assert case.finding("rm-lock").answer == "warn"

    def test_it_is_nobody_elses(self):
        """Of another node it is somebody's, whatever that one's row says."""
        case = with_recorded(Case().leaves(2).alter(2, inner_status="DELETING"), "refused-dag")

        assert case.facts().own_dag() is None

    def test_a_waiting_one_names_nobody_and_is_known_by_the_rows(self):
        """DELETING is exactly this server, and its agent's row says SCALING IN."""
        held = with_recorded(Case(), "held-dag")
        assert held.facts().own_dag() is None

        held.alter(4, inner_status="DELETING")
        assert held.facts().own_dag() is None

        held.asks(agents={4: "SCALING IN"})
        assert held.facts().own_dag().id == "110"
        assert held.facts().progress() is TargetProgress.LEAVING

        held.alter(2, inner_status="DELETING")
        assert held.facts().own_dag() is None

    def test_a_cancelled_one_is_its_own_and_wants_a_word(self):
        """Its log names the server; it keeps the lock."""
        case = with_recorded(Case(), "held-cancelled-dag")

        assert case.facts().own_dag().id == "110"
        found = case.finding("rm-lock")
        assert (found.answer, found.overridable) == ("block", False)
        assert "obscale recover SPEC 110" in found.remedy

    def test_one_whose_row_has_gone_meanwhile_is_still_its_own(self):
        """By its IP, while its agent's row says SCALING IN: RETRY is right, nothing else is."""
        case = Case().drop(3).leaves(3, zone="zone3").asks(agents={3: "SCALING IN"})
        with_recorded(case, "gone-rolledback-dag")

        own = case.facts().own_dag()
        assert (own.name, own.operator, own.is_failed) == ("Cluster scale in", "ROLLBACK", True)
        assert case.finding("rm-target-known").answer == "warn"
        assert case.finding("rm-lock").answer == "block"
        assert case.asks(agents={3: "CLUSTER AGENT"}).facts().own_dag() is None

    def test_one_whose_row_has_just_gone_is_at_work(self):
        """Nothing is DELETING any more, and the log does not tell yet."""
        case = with_recorded(Case().drop(4).asks(agents={4: "SCALING IN"}), "held-dag")

        assert case.facts().progress() is TargetProgress.LEAVING

    @pytest.mark.parametrize(
        ("zone", "is_own"), [("zone4", True), ("zone", False), ("zone2", False)]
    )
    def test_a_zone_is_named_by_its_stages(self, zone, is_own):
        """By the whole name."""
        case = with_recorded(Case().zone_leaves(zone), "zone4-dag")

        assert (case.facts().own_dag() is not None) is is_own

    def test_rows_of_a_real_removal_are_read(self):
        """The leaving server is DELETING and alive, its agent SCALING IN."""
        info = ObInfo.model_validate(recorded("held-obinfo")["data"])
        zones = Topology.model_validate(recorded("held-topology")["data"]).zones
        case = Case().of_cluster(topology=zones, ob_info=info)
        case.order = case.order.model_copy(
            update={
                "node": case.order.node.model_copy(
                    update={
                        "agentInfo": case.order.node.agentInfo.model_copy(
                            update={"ip": "10.77.0.4"}
                        )
                    }
                )
            }
        )
        content = recorded("held-dag")
        case.unfinished(Dag.model_validate(content.get("data", content)))

        facts = case.facts()

        assert facts.server().inner_status == "DELETING"
        assert is_dead(facts.server()) is False
        assert facts.agent_row().identity.value == "SCALING IN"
        assert facts.progress() is TargetProgress.LEAVING

    def test_one_that_has_just_begun_is_nobodys(self):
        """Until its third stage; one that named somebody is somebody's."""
        young = Case().unfinished(failed("Cluster scale in", stage=2, state="RUNNING"))
        named = Case().unfinished(
            failed(
                "Cluster scale in",
                stage=2,
                state="RUNNING",
                lines=("ERROR: delete observer 10.0.0.9:2882 failed: no",),
            )
        )

        assert young.facts().young_removal().id == "17"
        assert named.facts().young_removal() is None


class TestDead:
    """Only OceanBase's own word counts."""

    @pytest.mark.parametrize(
        ("changes", "dead"),
        [
            ({}, False),
            ({"inner_status": "INACTIVE"}, True),
            ({"inner_status": "DELETING"}, False),
            ({"inner_status": "DELETING", "start_time": NEVER}, True),
            ({"inner_status": "DELETING", "start_time": None}, None),
            ({"inner_status": ""}, None),
            ({"status": "PROCESS_STOPPED"}, False),
        ],
    )
    def test_by_inner_status_and_start_of_service(self, changes, dead):
        """A DELETING server may be alive; `status` proves nothing."""
        assert is_dead(server(4, **changes)) is dead


class TestGone:
    """What was to leave, and is there no more."""

    def test_neither_agent_nor_server(self):
        """Nothing to submit."""
        findings = Case().leaves(9).judge()

        assert findings.already_gone
        assert findings.verdict == "already gone"

    def test_another_agent_of_the_ip_is_a_slip(self):
        """Unless the agent itself says that it was scaled in."""
        slip = Case().leaves(4, port=3886)
        assert slip.facts().progress() is TargetProgress.NEW

        slip.leaving_says(identity="SCALING IN")
        assert slip.facts().progress() is TargetProgress.GONE

    @pytest.mark.parametrize("gap", ["topology", "ob_info"])
    def test_what_is_unread_is_not_gone(self, gap):
        """Silence is no absence."""
        case = Case().leaves(9).of_cluster(**{gap: Unread("no answer")})

        assert case.facts().progress() is TargetProgress.NEW

    def test_a_topology_that_is_null_is_no_absence(self):
        """The database does not answer."""
        case = Case().leaves(9)
        info = case.facts().cluster.ob_info
        silent = info.obcluster_info.model_copy(update={"topology": None})
        case.of_cluster(ob_info=info.model_copy(update={"obcluster_info": silent}))

        assert case.facts().progress() is TargetProgress.NEW


class TestOlderVersions:
    """What tells the agent beside a server."""

    def test_below_4_4_1_the_list_of_members_tells_the_port(self):
        """`/obcluster/info` does not."""
        case = Case().alter(4, obshell_port=0)
        facts = case.facts()
        rows = facts.cluster.ob_info.obcluster_info.topology
        rows = {
            zone: tuple(row.model_copy(update={"agent_port": 2886}) for row in servers)
            for zone, servers in rows.items()
        }
        told = facts.cluster.ob_info.obcluster_info.model_copy(update={"topology": rows})
        case.of_cluster(ob_info=facts.cluster.ob_info.model_copy(update={"obcluster_info": told}))

        assert case.facts().server().ip == "10.0.0.4"

    def test_where_nothing_tells_the_only_server_of_the_ip_counts(self):
        """If the cluster lists the agent."""
        case = Case()
        for number in (1, 2, 3, 4):
            case.alter(number, obshell_port=0)

        assert case.facts().server().ip == "10.0.0.4"
        assert case.asks(agents={4: None}).facts().server() is None


class TestLocality:
    """OceanBase's own texts."""

    @pytest.mark.parametrize(
        ("text", "zones"),
        [
            ("FULL{1}@zone1, FULL{1}@zone2", {"zone1": {"FULL"}, "zone2": {"FULL"}}),
            ("FULL{1}@z1, READONLY{1}@z2", {"z1": {"FULL"}, "z2": {"READONLY"}}),
            ("FULL{1},READONLY{2}@z1", {"z1": {"FULL", "READONLY"}}),
            ("FULL@z1", {"z1": {"FULL"}}),
            ("FULL{1}@zone-1", {"zone-1": {"FULL"}}),
            ("FULL{1}@", None),
            ("FULL{1}", None),
            ("", None),
            ("anything else", None),
        ],
    )
    def test_kinds_of_replicas_by_zone(self, text, zones):
        """What cannot be read is not known, never none."""
        assert zones_of(text) == (None if zones is None else zones)

    def test_a_tenant_of_read_only_replicas_has_no_known_majority(self):
        """Nothing can be counted."""
        assert full_zones(SimpleNamespace(locality="READONLY{1}@z1")) is None


def config(cores, memory, log=0):
    return UnitConfig(
        unit_config_id=1,
        name="u",
        min_cpu=cores,
        max_cpu=cores,
        memory_size=memory,
        log_disk_size=log,
    )


def units(*sizes):
    """Units of tenants of their own, by cores and memory."""
    return [PlacedUnit(n, f"t{n}", config(*size)) for n, size in enumerate(sizes)]


def rooms(*sizes, tenants=()):
    return [
        Room(f"s{n}", (cores, cores, memory, log), frozenset(tenants[n] if tenants else ()))
        for n, (cores, memory, log) in enumerate(sizes)
    ]


class TestFit:
    """The search for room."""

    def test_nothing_always_fits(self):
        """Also nowhere."""
        assert fit([], [], ALL) == Fit(possible=True, always=True)

    def test_something_fits_nowhere_without_servers(self):
        """No server, no room."""
        assert fit(units((1, 1)), [], ALL).possible is False

    def test_two_units_of_one_tenant_part(self):
        """However much room there is."""
        twins = [PlacedUnit(1, "t", config(1, 1)), PlacedUnit(1, "t", config(1, 1))]

        assert fit(twins, rooms((9, 9, 9)), ALL).possible is False
        assert fit(twins, rooms((9, 9, 9), (9, 9, 9)), ALL).possible is True

    def test_a_tenant_that_is_there_takes_no_second(self):
        """Counted before anything moves."""
        assert fit(units((1, 1)), rooms((9, 9, 9), tenants=[{0}]), ALL).possible is False

    def test_an_unknown_left_is_neither_room_nor_none(self):
        """Unless it does not matter."""
        unknown = [Room("s", (9, 9, None, 9), frozenset())]

        assert fit(units((1, 1)), unknown, ALL) == Fit(possible=None, always=None)
        assert fit(units((10, 1)), unknown, ALL).possible is False
        assert fit(units((1, 1)), unknown, (0, 1)).possible is True

    def test_much_room_is_known_at_once(self):
        """Fifty units and ten servers are no search."""
        many = units(*[(1, 1)] * 50)

        assert fit(many, rooms(*[(100, 100, 0)] * 10), ALL) == Fit(possible=True, always=True)
        assert fit(many, rooms(*[(30, 30, 0)] * 10), ALL) == Fit(possible=True, always=True)

    def test_a_search_that_is_too_long_is_not_known(self):
        """Never taken for room, nor for none."""
        odd = rooms(*[(8 + n / 10, 8, 0) for n in range(12)])

        assert fit(units(*[(3 + n / 100, 3) for n in range(25)]), odd, ALL) == Fit(None, None)
        assert fit(units(*[(3 + n / 100, 3) for n in range(24)]), odd, ALL) == Fit(True, None)

    def test_more_units_than_any_server_has_are_no_crash(self):
        """A hostile list is judged, or not known."""
        assert fit(units(*[(1, 1)] * 3000), rooms(*[(100, 100, 0)] * 50), ALL).possible is True
        assert fit(units(*[(3, 1)] * 400), rooms(*[(8, 800, 0)] * 199), ALL).possible is None

    @pytest.mark.parametrize("seed", range(60))
    def test_as_trying_everything(self, seed):
        """Against all ways to place few units, and all orders to do so."""
        chance = random.Random(seed)
        wanted = units(*[(chance.randint(1, 4), chance.randint(1, 4)) for _ in range(4)])
        places = rooms(*[(chance.randint(2, 8), chance.randint(2, 8), 0) for _ in range(2)])

        assert fit(wanted, places, ALL) == everything_tried(wanted, places)


def everything_tried(wanted, places):
    """Whether some way works, and whether none can go wrong."""
    possible = any(
        whole(wanted, places, way) for way in itertools.product(range(len(places)), repeat=4)
    )
    return Fit(possible, possible and not gets_stuck(wanted, places, []))


def whole(wanted, places, way):
    return all(
        sum(unit.config.min_cpu for unit, at in zip(wanted, way, strict=True) if at == n)
        <= place.left[0]
        and sum(unit.config.memory_size for unit, at in zip(wanted, way, strict=True) if at == n)
        <= place.left[2]
        for n, place in enumerate(places)
    )


def gets_stuck(wanted, places, done):
    """Try every order and every server; `done` holds unit and server by number."""
    for number in set(range(len(wanted))) - {unit for unit, _ in done}:
        fitting = [
            at
            for at, place in enumerate(places)
            if left(wanted, place.left[0], done, at, "min_cpu") >= wanted[number].config.min_cpu
            and left(wanted, place.left[2], done, at, "memory_size")
            >= wanted[number].config.memory_size
        ]
        if not fitting or any(gets_stuck(wanted, places, [*done, (number, at)]) for at in fitting):
            return True
    return False


def left(wanted, whole_size, done, at, what):
    return whole_size - sum(getattr(wanted[u].config, what) for u, s in done if s == at)


class TestAccepting:
    """What an override can do."""

    def test_no_override_ends_what_is_final(self):
        """Ground A and what would cost data."""
        closed = {rule.id for rule in RULES if not may_be_overridden(rule)}

        assert closed >= FINAL
        assert {rule.id for rule in RULES if rule.ground == "A" and not rule.softens} <= closed

    @pytest.mark.parametrize("rule", sorted(FINAL))
    def test_an_override_of_it_is_refused_and_does_nothing(self, rule):
        """At the reader, and where it slipped through."""
        override = OverrideSpec(rule=rule, reason="we know", until=UNTIL)
        case = Case().leaves(4, zone="zone3", force=True).holding().dead(4).dead(3)

        assert override_problems([override], UNTIL, RULES)
        plain, accepted = case.judge(), case.judge(overrides=(override,))
        assert {f.rule for f in plain.blockers} == {f.rule for f in accepted.blockers}

    def test_another_rule_may_be_accepted(self):
        """With its reason, until its day."""
        override = OverrideSpec(rule="rm-others-down", reason="tomorrow", until=UNTIL)

        findings = Case().dead(3).judge(overrides=(override,))

        assert not findings.blockers
        assert [f.rule for f in findings.overridden] == ["rm-others-down"]

    def test_a_rule_of_a_scale_out_is_none_of_a_removal(self):
        """Who overrides the wrong one learns it."""
        override = OverrideSpec(rule="mem-floor", reason="x", until=UNTIL)

        assert "no rule is called" in override_problems([override], UNTIL, RULES)[0][1]

    def test_ids_of_both_kinds_differ(self):
        """But for the one rule they share."""
        shared = {rule.id for rule in RULES} & {rule.id for rule in OF_SCALE_OUT}

        assert shared == {"cluster-facts-missing"}


class TestSeveralNodes:
    """All leave, so nobody of them takes the units of another."""

    def test_units_are_placed_where_nobody_leaves(self):
        """2 and 4 leave: their units go to 5, and there is no unit_num that they hinder."""
        case = Case()
        case.servers["zone2"].append(server(5))
        case.leaves(4, 2)

        found = case.finding("rm-units-fit")

        assert found.answer == "pass"
        assert found.needed.endswith("free on 10.0.0.5:2882")

    def test_two_units_of_a_tenant_need_two_servers(self):
        """One of each is on 2 and on 4."""
        case = Case().place(2, 4, tenant="app")
        case.servers["zone2"].append(server(5))
        case.leaves(4, 2)

        assert case.finding("rm-units-fit").answer == "block"

    def test_all_rules_are_told_of_each(self):
        """The order is the machine's business, and it is said."""
        assert Case().leaves(4, 2).finding("rm-order").measured.startswith("2 nodes leave")


class TestWhatIsTold:
    """Remedies can be typed."""

    def test_a_tenant_with_blanks_is_one_word(self):
        """Its name is the cluster's word."""
        case = Case().asks(units={"a; rm -rf /": (1002, {**_unit(), "name": "u"}, 2)}).place(2, 4)

        assert "--tenant 'a; rm -rf /' --unit-num 1" in case.finding("rm-unit-num").remedy

    def test_a_zone_in_sql_is_a_literal(self):
        """Also one with a quote in it."""
        case = Case().asks(servers=Case().servers | {"z'4": [server(5)]}).zone_leaves("z'4")

        assert "DELETE ZONE 'z''4';" in case.finding("rm-zone-name").remedy

    def test_names_of_pools_and_tenants_are_no_second_statement(self):
        """Whoever copies the remedy runs one thing."""
        pool = stray().model_copy(update={"name": "p`; DROP TENANT app"})
        case = Case().zone_leaves().asks(pools=[pool], units={"a/../b": Case().units["app"]})

        remedy = case.finding("rm-zone-empty").remedy

        assert "DROP RESOURCE POOL `p``; DROP TENANT app`;" in remedy
        assert "/api/v1/tenant/a%2F..%2Fb/replicas" in remedy

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("obclient -h10.0.0.4 -P2881", True),
            ("obclient -h 10.0.0.4 -P2881", True),
            ("jdbc:oceanbase://10.0.0.4:2881/x", True),
            ("obclient -h10.0.0.44 -P2881", False),
            ("obclient -h110.0.0.4 -P2881", False),
            ("obclient -h10.0.0.4.example -P2881", False),
        ],
    )
    def test_an_ip_in_a_connection_string(self, text, named):
        """The whole address and no longer one."""
        assert _names(text, "10.0.0.4") is named

    def test_paths_of_an_agent_are_quoted(self):
        """What would be a second command is a name."""
        found = Case().alter(4, data_dir="/data/x; reboot").finding("rm-host-data")

        assert "'/data/x; reboot'" in found.remedy

    def test_what_is_kept_without_units_says_so(self):
        """None, and not an empty list."""
        before = before_of(Case().asks(tells_units=False).facts())

        assert before.observers is None
        assert before.servers[0].redo_dir == "/redo/ob"
        assert before_of(Case().set(tenants=Unread("no")).facts()).observers is None
        assert before_of(Case().leaves(9).facts()).servers == ()


def _unit():
    return {
        "unit_config_id": 1,
        "min_cpu": 1,
        "max_cpu": 1,
        "memory_size": 1 << 30,
        "log_disk_size": 1 << 30,
    }


def test_units_that_are_unknown_are_told_once():
    """The rules that need them stand in that finding, and it counts as open."""
    findings = Case().set(tenants=Unread("tenants are silent")).judge()

    told = {f.rule for f in findings if f.answer == "unknown"}
    assert told == {"rm-units-fit", "rm-leaders", "rm-clients"}
    (fit_finding,) = findings.of_rule("rm-units-fit")
    assert {"rm-unit-num", "rm-data-disk", "rm-log-disk-fit"} <= set(fit_finding.unjudged)
    assert findings.unknown


def test_a_size_of_the_largest_cluster_is_judged_at_once():
    """Hundreds of servers and tenants are no wait."""
    case = Case()
    case.servers["zone2"] += [
        server(n, ip=f"10.0.0.{n}", stats=stats(64, 64)) for n in range(5, 200)
    ]

    assert case.holding().finding("rm-units-fit").answer == "pass"
