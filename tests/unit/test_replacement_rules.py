"""Tests that each rule of a replacement passes, fires, and is unknown without its evidence."""

import re
from dataclasses import replace

import pytest

from obscale.agent.models import AgentStatus
from obscale.language.translations import translations_of
from obscale.preflight.facts import Facts, TargetFacts
from obscale.preflight.finding import Answer
from obscale.preflight.rule import Rule
from obscale.reading import Unread
from obscale.removal.judge import judge
from obscale.replacement.facts import ReplacementFacts
from obscale.replacement.judge import RULES, judge_replacement
from obscale.replacement.rules import LEAVING_RULES, RULES_OF_BOTH
from obscale.request.models import AgentInfoSpec, NodeSpec, OverrideSpec
from obscale.request.removal import LeavingNode
from obscale.request.replacement import ReplacedNode, Replacement
from tests.unit.removal_facts import SPEC, Case, server, stats

GAP = Unread("it did not answer")
SILENT = Unread("10.0.0.4:2886: no answer within 9 s")
ZH = translations_of("zh")
CHINESE = re.compile("[\u4e00-\u9fff]")
SIZES = {
    "memory_limit": "16G",
    "system_memory": "8G",
    "cpu_count": "16",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}


class Pair:
    """What one replacement is judged by: 10.0.0.4, dead, by 10.0.0.5, both in zone2."""

    def __init__(self):
        self.case = Case().holding().dead(4)
        self.case.drop(2)
        self.joins = {"ip": "10.0.0.5", "zone": "zone2", "configs": dict(SIZES)}
        self.live = self.force = False

    def of(self, change):
        """Change the facts about the removal."""
        change(self.case)
        return self

    def by(self, **changes):
        """Change the node that joins."""
        self.joins |= changes
        return self

    def asks(self, **changes):
        """Change the words of the request."""
        for name, value in changes.items():
            setattr(self, name, value)
        return self

    def leaving(self, **facts):
        """Replace what the agent that leaves has told."""
        return self.of(lambda c: c.set(leaving=replace(c.facts().leaving, **facts)))

    def says(self, state):
        """Have the agent that leaves tell how its observer is."""
        status = AgentStatus.model_validate({"agent": {}, "obState": state})
        return self.leaving(status=status)

    def facts(self):
        """The facts as they would be read."""
        case, joins = self.case, self.joins
        dead = case.order.node
        if self.force:
            dead = dead.model_copy(update={"force_kill": True})
        node = NodeSpec(
            agentInfo=AgentInfoSpec(ip=joins["ip"], port=2886),
            zone=joins["zone"],
            obConfigs=joins["configs"],
        )
        pair = ReplacedNode(dead=dead, by=node, live=self.live)
        order = Replacement(cluster=SPEC, pair=pair, batch=(pair,))
        case.order = order.removal
        removal = case.facts()
        addition = Facts(
            node=node,
            batch=(node,),
            cluster=replace(removal.cluster, statistics=GAP, unit_config_limit=GAP),
            target=TargetFacts(address=node.address, scheme="http"),
            expected_name="obcluster",
            expected_id=1,
            now=removal.now,
        )
        return ReplacementFacts(order, addition, removal)

    def finding(self, name, profile="prod"):
        """The gravest finding of one rule, judged alone."""
        facts = self.facts()
        (one,) = [each for each in RULES if each.id == name]
        about = facts.removal if one in LEAVING_RULES else facts
        verdicts = one.verdicts(about, about.progress())
        found = [one.weigh(verdict, about, profile) for verdict in verdicts]
        return min(found, key=lambda each: list(Answer).index(each.weight))


def alive(case):
    """The node that leaves serves."""
    return case.alter(
        4, inner_status="ACTIVE", status="RUNNING", start_time=server(4).start_time, stats=stats()
    )


def moved(case):
    """Two zones have lost the node that leaves, and one of another zone."""
    return case.dead(1)


FIRES = {
    "rp-dead": [
        (lambda p: p.of(alive), "block", "block"),
        (lambda p: p.of(alive).asks(live=True), "info", "info"),
    ],
    "rp-majority": [(lambda p: p.of(moved), "block", "block")],
    "rp-force": [
        (lambda p: p.asks(force=True).leaving(status=SILENT), "info", "info"),
        (lambda p: p.says(1), "info", "info"),
    ],
    "rp-agent-alive": [(lambda p: p.says(0), "info", "info")],
    "rp-same-zone": [
        (lambda p: p.by(zone="zone3"), "block", "block"),
        (lambda p: p.of(lambda c: c.leaves(4, zone="zone3")).by(zone="zone3"), "block", "block"),
    ],
    "rp-address": [
        (lambda p: p.by(ip="10.0.0.4"), "block", "block"),
        (lambda p: p.of(lambda c: c.leaves(9)), "block", "block"),
    ],
    "rp-size": [
        (lambda p: p.by(configs=SIZES | {"memory_limit": "13G"}), "block", "block"),
        (lambda p: p.by(configs=SIZES | {"log_disk_size": "8G"}), "block", "block"),
        (lambda p: p.by(configs=SIZES | {"memory_limit": "15G"}), "warn", "info"),
        (lambda p: p.by(configs=SIZES | {"cpu_count": "8"}), "warn", "info"),
        (lambda p: p.by(configs=SIZES | {"datafile_size": "12G"}), "warn", "info"),
    ],
}
UNKNOWN = {
    "rp-dead": lambda p: p.of(lambda c: c.of_cluster(topology=GAP)),
    "rp-majority": lambda p: p.of(lambda c: c.set(tenants=GAP)),
}
NEVER_UNKNOWN = {
    "rp-force": "a silent agent is what it is about",
    "rp-agent-alive": "a silent agent cannot be started from there",
    "rp-same-zone": "by the request where the cluster does not tell",
    "rp-address": "by the request where the cluster does not tell",
    "rp-size": "what is not known of units is told by rm-units-fit",
}


def cases(table):
    """Each case of a table with an id of its own."""
    return [
        pytest.param(rule, *case, id=f"{rule}-{number}")
        for rule, changes in table.items()
        for number, case in enumerate(changes)
    ]


@pytest.mark.parametrize(("rule", "change", "prod", "lab"), cases(FIRES))
def test_a_rule_fires_on_what_it_is_for(rule, change, prod, lab):
    """In both profiles, and what blocks or warns says what to do."""
    found = [change(Pair()).finding(rule, profile) for profile in ("prod", "lab")]

    assert [finding.answer.value for finding in found] == [prod, lab]
    assert found[0].measured
    assert found[0].remedy or prod == "info"


@pytest.mark.parametrize("rule", [rule.id for rule in RULES])
def test_a_rule_passes_where_it_is_kept(rule):
    """A dead node, and another of the same size for it."""
    assert Pair().finding(rule).answer.value in {"pass", "n-a"}


@pytest.mark.parametrize("rule", UNKNOWN)
def test_a_rule_without_its_evidence_is_never_fine(rule):
    """It weighs as a warning in production at least."""
    found = UNKNOWN[rule](Pair()).finding(rule)

    assert found.answer.value in {"unknown", "block"}
    assert found.weight.value in {"warn", "block"}


def test_every_rule_has_its_three_tests():
    """Or it stands here why not."""
    ids = {rule.id for rule in RULES}

    assert set(FIRES) == ids
    assert ids - set(UNKNOWN) == set(NEVER_UNKNOWN)
    assert len(ids) == len(RULES) == len(LEAVING_RULES) + len(RULES_OF_BOTH)
    assert all(isinstance(rule, Rule) for rule in RULES)


def test_the_dead_one_is_named_and_not_counted_against_the_cluster():
    """Neither as a sick member, nor as one more in its zone; another one is."""
    named = {each.rule: each for each in judge_replacement(Pair().facts()).findings}
    more = judge_replacement(Pair().of(lambda c: c.dead(3)).facts()).findings

    assert named["cluster-members-healthy"].answer is Answer.PASS
    assert named["zone-balance"].answer is Answer.PASS
    assert more.of_rule("cluster-members-healthy")[0].answer is not Answer.PASS


def test_a_host_that_carried_several_is_replaced_by_one_request():
    """Those of the same request are named too, in both halves; the majority counts them all."""
    pair = Pair().of(lambda c: c.dead(3))
    facts = pair.facts()
    other = LeavingNode(agentInfo=AgentInfoSpec(ip="10.0.0.3", port=2886), zone="zone3")
    second = ReplacedNode(dead=other, by=facts.order.pair.by)
    order = facts.order.model_copy(update={"batch": (facts.order.pair, second)})
    named = replace(facts, order=order, removal=replace(facts.removal, order=order.removal))

    alone, both = judge_replacement(facts).findings, judge_replacement(named).findings

    assert alone.of_rule("rm-others-down")[0].answer is Answer.BLOCK
    assert both.of_rule("rm-others-down")[0].answer is Answer.PASS
    assert both.of_rule("cluster-members-healthy")[0].answer is Answer.PASS
    for rule in ("rm-leaders", "rp-majority"):
        assert both.of_rule(rule) == alone.of_rule(rule)


def test_the_new_node_is_among_those_that_take_units():
    """As the removal is judged before anything is begun; without it there is no receiver."""
    facts = Pair().facts()

    before, between = (judge(each, "prod") for each in (facts.removal, facts.between()))

    assert before.of_rule("rm-receivers")[0].answer is Answer.BLOCK
    assert between.of_rule("rm-receivers")[0].answer is Answer.PASS
    assert between.of_rule("rm-units-fit")[0].needed.endswith("free on 10.0.0.5:2882")


def test_nobody_accepts_that_a_living_node_is_taken_out():
    """There is a word for it; an override is none."""
    pair = Pair().of(alive)
    facts = pair.facts()
    override = OverrideSpec(rule="rp-dead", reason="the owner agreed", until="2099-12-31")
    order = facts.order.model_copy(update={"overrides": (override,)})

    plan = judge_replacement(replace(facts, order=order))

    assert "rp-dead" in {each.rule for each in plan.hindrances()}


def test_a_leaving_node_needs_its_zone_once():
    """Of a pair both zones are told, so that a slip shows."""
    leaves = LeavingNode(agentInfo=AgentInfoSpec(ip="10.0.0.4", port=2886), zone="zone1")

    found = Pair().of(lambda c: c.leaves(4, zone="zone1")).finding("rp-same-zone")

    assert found.answer is Answer.PASS, leaves
    assert found.measured == "zone2"


@pytest.mark.parametrize(("rule", "change"), [case.values[:2] for case in cases(FIRES)])
def test_what_is_told_is_told_in_chinese(rule, change):
    """Whatever the rule has found; a command or a statement stays what it is."""
    finding = change(Pair()).finding(rule)

    told = (finding.title, finding.measured, finding.needed, finding.remedy)
    left = [text for text in told if re.search("[a-z]{2} [a-z]{2,}", text)]
    assert [text for text in left if not CHINESE.search(ZH.text(text, is_ours=True))] == []
