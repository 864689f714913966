"""Tests of runs held back because a rule could not be judged."""

from datetime import date

import pytest

from obscale.preflight.facts import AGENT_REACHABLE, HOST_FACTS_MISSING
from obscale.preflight.judge import judge_with_overrides
from obscale.preflight.result import conclude
from obscale.preflight.unjudged import held_back, newly_unknown
from obscale.reading import CLUSTER_FACTS_MISSING, Unread
from obscale.request.models import OverrideSpec

HOST = Unread("panic: nil pointer", covered_by=HOST_FACTS_MISSING)
NEVER_TOLD = Unread("no such endpoint", supported=False, covered_by=HOST_FACTS_MISSING)
OF_THE_HOST = {"mem-fits-total", "mem-available", "disk-fits", "disk-fs-type", "ulimit-nofile"}
DAY = date(2026, 12, 31)


def accepting(rule):
    return (OverrideSpec(rule=rule, reason="seen on the host", until=DAY),)


def test_a_host_that_tells_nothing_is_counted_by_the_rules_that_could_block(world):
    """One finding reports the gap; the verdict counts what it leaves open, and only that."""
    findings = world.set(host=HOST).judge()

    told = findings.of_rule(HOST_FACTS_MISSING)[0]
    assert set(findings.unknown) >= OF_THE_HOST
    assert told.unjudged == findings.unknown
    assert not {"os-match", "virt-type"} & set(findings.unknown)
    assert findings.verdict == f"ready with 1 warning, {len(findings.unknown)} unknown"


def test_each_profile_counts_by_its_own_severities(world):
    """A full machine blocks in production and not in the lab: there it is not counted."""
    world.set(host=HOST)

    prod, lab = world.judge("prod"), world.judge("lab")

    assert "mem-fits-total" in prod.unknown
    assert "mem-fits-total" not in lab.unknown
    assert "disk-fits" in lab.unknown
    assert lab.verdict.endswith(f", {len(lab.unknown)} unknown")


def test_what_a_version_never_tells_is_not_counted(world):
    """It would have to be waved through each time; the warning stays."""
    findings = world.set(host=NEVER_TOLD).judge()

    assert findings.unknown == ()
    assert findings.of_rule(HOST_FACTS_MISSING)[0].weight == "warn"


def test_a_healthy_world_leaves_nothing_open(world):
    """No unknown of any kind."""
    assert world.judge("prod").unknown == world.judge("lab").unknown == ()


def test_what_is_covered_by_a_block_is_no_question_any_more(world):
    """A silent target blocks; nobody is asked to accept the rest."""
    gap = Unread("refused", covered_by=AGENT_REACHABLE)
    world.set(info=gap, status=gap, host=gap, local_unfinished=gap, clock=gap, signed_read=gap)

    findings = world.judge()

    assert findings.verdict == "blocked"
    assert findings.unknown == ()


def test_nothing_is_unknown_of_what_is_not_submitted(world, make_dag):
    """A scale-out under way is taken up, whatever its host tells."""
    own = make_dag("create local scale out dag success, genericID:20167772164028863")
    findings = world.set(unfinished=(own,), last_dag=own, clock=Unread("late")).judge()

    assert findings.will_be_adopted
    assert findings.unknown == findings.unjudged == ()


def test_in_production_nobody_goes_on_unasked(world):
    """The finding blocks, says which rules could, and what to write instead."""
    findings = world.set(host=HOST).judge()

    held = held_back(findings, allow_unknown=False)

    (blocker,) = held.blockers
    assert blocker.rule == HOST_FACTS_MISSING
    assert "mem-fits-total" in blocker.measured
    assert "panic: nil pointer" in blocker.measured
    assert "{rule: host-facts-missing, reason: …, until: YYYY-MM-DD}" in blocker.remedy
    assert "allow_unknown: true" in blocker.remedy
    assert held.verdict == "blocked"
    assert blocker.answer == "unknown"


@pytest.mark.parametrize("profile", ["prod", "lab"])
def test_what_is_allowed_or_of_the_lab_goes_on(world, profile):
    """Told all the same."""
    findings = world.set(host=HOST).judge(profile)

    held = held_back(findings, allow_unknown=profile == "prod")

    assert held is findings
    assert held.unknown


def test_an_override_of_the_reporting_rule_acknowledges_what_it_reports(world):
    """For its reason and its time, as any other; it is counted as an override, not as unknown."""
    world.set(host=HOST)

    findings = judge_with_overrides(world.facts(), "prod", accepting(HOST_FACTS_MISSING))
    late = judge_with_overrides(
        world.facts(),
        "prod",
        (accepting(HOST_FACTS_MISSING)[0].model_copy(update={"until": date(2020, 1, 1)}),),
    )

    assert findings.unknown == ()
    assert set(findings.unjudged) >= OF_THE_HOST
    assert findings.verdict == "ready with 1 warning and 1 override"
    assert held_back(findings, allow_unknown=False) is findings
    assert held_back(late, allow_unknown=False).blockers


def test_an_override_in_the_lab_takes_it_out_of_the_count(world):
    """It weighs nothing there, and is acknowledged all the same."""
    world.set(host=HOST)

    findings = judge_with_overrides(world.facts(), "lab", accepting(HOST_FACTS_MISSING))

    assert findings.unknown == ()


def test_where_no_override_may_help_only_the_policy_is_named(world):
    """Rules of certain refusals take none, so that none is offered."""
    findings = world.set(local_unfinished=Unread("no answer")).judge()

    (blocker,) = held_back(findings, allow_unknown=False).blockers

    assert blocker.rule == "agent-not-busy"
    assert "write allow_unknown: true for whatever is unknown" in blocker.remedy
    assert "{rule:" not in blocker.remedy


def test_several_gaps_are_counted_once_each(world):
    """A rule that two findings leave open is one rule."""
    gap = Unread("no answer within 5 s", covered_by=CLUSTER_FACTS_MISSING)
    findings = world.set(host=HOST, cluster_info=gap, parameters=gap).judge()

    assert len(set(findings.unknown)) == len(findings.unknown)
    assert {"upgrade-mode", "cluster-view-degraded", "disk-fits"} <= set(findings.unknown)


def test_a_later_look_holds_back_only_what_was_known_before(world):
    """What somebody went on with needs no second yes; what went dark since does."""
    facts = world.set(host=HOST).facts()
    first = world.judge()
    earlier = conclude(facts, first).look()
    again = newly_unknown(world.judge(), earlier.unjudged)
    darker = newly_unknown(world.set(local_unfinished=Unread("late")).judge(), earlier.unjudged)

    assert not held_back(again, allow_unknown=False).blockers
    assert [f.rule for f in held_back(darker, allow_unknown=False).blockers] == ["agent-not-busy"]
