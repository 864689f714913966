"""Tests of findings that age within a minute."""

from datetime import UTC, datetime, timedelta

import pytest

from obscale.preflight.ageing import AGEING, FRESH_SECONDS, is_stale, judge_ageing
from obscale.preflight.facts import PreviousReading
from obscale.preflight.registry import RULES
from obscale.request.models import OverrideSpec

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(("age", "stale"), [(0, False), (FRESH_SECONDS, False), (61, True)])
def test_a_preflight_is_believed_for_a_minute(age, stale):
    """Beyond, a lock was waited for or a person thought about it."""
    assert is_stale(NOW - timedelta(seconds=age), NOW) is stale


def test_every_ageing_rule_is_a_rule():
    """A renamed rule would silently not be judged again."""
    assert set(AGEING) <= {rule.id for rule in RULES}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda w, d: w.disks(d("/", total="55G", used="52G")), "disk-fits"),
        (lambda w, d: w.memory("65808488 kB", "9000000 kB"), "mem-available"),
        (lambda w, d: w.change("status", ob_state=3), "target-observer-not-running"),
        (lambda w, d: w.set(zone="zone9"), "new-zone-intent"),
    ],
)
def test_what_changed_meanwhile_blocks(world, make_disk, change, rule):
    """A disk filled up, memory taken, an observer started, a zone dropped."""
    assert not judge_ageing(world.facts(), "prod").blockers

    findings = judge_ageing(change(world, make_disk).facts(), "prod")

    assert rule in {finding.rule for finding in findings.blockers}


@pytest.mark.parametrize("rule", ["disk-recent-usage", "preflight-freshness"])
def test_what_only_two_looks_can_tell_is_told(world, make_disk, rule):
    """Somebody filled half of the free space, and a quarter of an hour went by."""
    before = PreviousReading(world.now - timedelta(minutes=20), world.host)
    first = {finding.rule: finding.answer for finding in judge_ageing(world.facts(), "prod")}
    world.disks(make_disk("/", used="200G")).set(host_before=before.host, judged_before=before.at)

    findings = judge_ageing(world.facts(), "prod")

    assert first[rule] == "n-a"
    assert findings.of_rule(rule)[0].answer == "warn"
    assert not findings.blockers


def test_what_was_accepted_stays_accepted(world):
    """The override of the request counts here too."""
    world.memory("65808488 kB", "9000000 kB")
    until = datetime.now(UTC).date()

    findings = judge_ageing(
        world.facts(), "prod", (OverrideSpec(rule="mem-available", reason="known", until=until),)
    )

    assert "mem-available" not in {finding.rule for finding in findings.blockers}
