"""Tests that the rules are those specified, with their severity.

The table is typed by hand: a rule that is added, lost, renamed or weighed otherwise fails here.
"""

import pytest

from obscale.preflight.judge import may_be_overridden
from obscale.preflight.registry import RULES
from tests.unit.test_preflight_rules import FIRES as FIRST
from tests.unit.test_preflight_rules import NEVER_FIRES
from tests.unit.test_preflight_surroundings import FIRES as FURTHER

BLOCK = ("block", "block")
IN_PROD = ("block", "warn")
WARN = ("warn", "info")
LOUD = ("warn", "warn")
INFO = ("info", "info")
AT_THE_READER = "cfg-values-are-strings"
NEVER, YES, WARNINGS = "never", "yes", "its warnings"

# rule: (severities in production and in the lab of what it looks at, may it be overridden)
CATALOGUE = {
    # What the request says
    "cfg-values-are-strings": ({BLOCK}, NEVER),
    "cfg-key-known": ({BLOCK, WARN, INFO}, YES),
    "cfg-key-charset": ({BLOCK}, NEVER),
    "cfg-key-reserved": ({BLOCK, WARN, INFO}, WARNINGS),
    "cfg-value-delimiters": ({BLOCK, WARN}, NEVER),
    "cfg-capacity-syntax": ({BLOCK}, NEVER),
    "cfg-int-range": ({BLOCK}, NEVER),
    "cfg-mutual-precedence": ({WARN}, YES),
    "cfg-port-range": ({BLOCK}, NEVER),
    "cfg-port-distinct": ({BLOCK}, NEVER),
    "cfg-paths-absolute": ({BLOCK}, NEVER),
    "cfg-dirs-nesting": ({BLOCK}, NEVER),
    "cfg-dir-not-mount-root": ({WARN}, YES),
    "cfg-dir-not-system": ({IN_PROD}, YES),
    "cfg-no-cross-contamination": ({BLOCK}, NEVER),
    "zone-name-syntax": ({IN_PROD, BLOCK}, YES),
    "zone-case-near-miss": ({IN_PROD, WARN}, YES),
    # The target agent
    "agent-reachable": ({BLOCK}, NEVER),
    "agent-reachable-from-cluster": ({INFO}, YES),
    "agent-tls-scheme": ({BLOCK, WARN}, WARNINGS),
    "agent-identity-single": ({BLOCK}, NEVER),
    "agent-address-matches": ({BLOCK}, NEVER),
    "agent-not-obproxy": ({BLOCK}, NEVER),
    "agent-running": ({IN_PROD}, YES),
    "host-facts-missing": ({WARN}, YES),
    "agent-auth": ({BLOCK, INFO}, NEVER),
    "agent-not-busy": ({BLOCK}, NEVER),
    "target-observer-not-running": ({BLOCK}, NEVER),
    "target-home-clean": ({BLOCK, INFO}, NEVER),
    "agent-already-in-cluster": ({BLOCK}, NEVER),
    "server-already-registered": ({BLOCK}, NEVER),
    "member-as-asked": ({LOUD}, YES),
    "same-ip-port-reuse": ({BLOCK}, NEVER),
    "duplicate-host": ({IN_PROD, WARN}, YES),
    "ip-family": ({BLOCK}, NEVER),
    "ip-literal": ({BLOCK}, NEVER),
    # Versions and platform
    "ob-version-equal": ({BLOCK}, NEVER),
    "ob-version-cluster-uniform": ({IN_PROD}, YES),
    "ob-edition": ({INFO}, YES),
    "agent-version-order": ({BLOCK}, NEVER),
    "agent-version-equal": ({WARN}, YES),
    "agent-binary-arch": ({IN_PROD}, YES),
    "arch-match": ({WARN}, YES),
    "os-match": ({INFO}, YES),
    "virt-type": ({INFO}, YES),
    "cpu-instructions": ({INFO}, YES),
    # The cluster
    "cluster-agent-identity": ({BLOCK}, NEVER),
    "cluster-identity-pinned": ({IN_PROD, WARN}, NEVER),
    "cluster-maintenance": ({BLOCK, LOUD}, WARNINGS),
    "cluster-unfinished-dag": ({BLOCK, WARN}, WARNINGS),
    "tenant-dag-running": ({BLOCK}, NEVER),
    "cluster-view-degraded": ({IN_PROD}, YES),
    "cluster-facts-missing": ({WARN}, YES),
    "cluster-members-healthy": ({LOUD, IN_PROD}, YES),
    "cluster-rootservice-present": ({BLOCK}, NEVER),
    "upgrade-mode": ({IN_PROD}, YES),
    "startup-mode-match": ({BLOCK, WARN}, YES),
    "license-valid": ({IN_PROD}, YES),
    "zone-exists-active": ({BLOCK}, NEVER),
    "new-zone-intent": ({IN_PROD, INFO}, YES),
    "new-zone-region": ({WARN}, YES),
    "new-zone-unused": ({INFO}, YES),
    "new-zone-rollback-risk": ({INFO}, YES),
    "zone-balance": ({WARN, INFO}, YES),
    "even-zone-count": ({INFO}, YES),
    "server-count-limits": ({WARN}, YES),
    "rebalance-impact": ({INFO}, YES),
    "duty-window": ({WARN}, YES),
    "standby-note": ({INFO}, YES),
    "arbitration-note": ({INFO}, YES),
    # Memory and CPU
    "mem-floor": ({BLOCK}, NEVER),
    "mem-tenant-headroom": ({BLOCK}, NEVER),
    "mem-system-vs-hidden": ({BLOCK}, NEVER),
    "mem-system-ratio": ({BLOCK, WARN, INFO}, WARNINGS),
    "mem-production-floor": ({WARN}, YES),
    "mem-fits-total": ({IN_PROD, WARN}, YES),
    "mem-available": ({IN_PROD, LOUD, INFO}, YES),
    "mem-start-minimum": ({IN_PROD}, YES),
    "mem-percentage-range": ({BLOCK}, NEVER),
    "mem-container": ({WARN, INFO}, YES),
    "cpu-floor": ({("block", "info"), INFO}, YES),
    "cpu-count-overcommit": ({WARN}, YES),
    "spec-drift": ({WARN, INFO}, YES),
    "units-fit": ({WARN, INFO}, YES),
    "param-override-drift": ({WARN, INFO}, YES),
    "param-omitted-vs-peers": ({INFO}, YES),
    # Disks
    "disk-path-resolvable": ({WARN}, YES),
    "disk-fits": ({BLOCK, WARN}, WARNINGS),
    "disk-growth-fits": ({WARN}, YES),
    "disk-default-percent-trap": ({WARN, INFO}, YES),
    "disk-percent-sum": ({BLOCK, WARN}, WARNINGS),
    "disk-same-mount": ({WARN}, YES),
    "disk-home-shared": ({WARN}, YES),
    "disk-fs-type": ({IN_PROD}, YES),
    "log-disk-min": ({IN_PROD, WARN}, YES),
    "log-disk-ratio": ({WARN, INFO}, YES),
    "datafile-min": ({IN_PROD}, YES),
    "datafile-ratio": ({INFO}, YES),
    "datafile-autoextend-consistent": ({WARN, INFO}, YES),
    "disk-drift": ({INFO}, YES),
    "disk-recent-usage": ({WARN}, YES),
    # Limits, clocks, network
    "ulimit-nofile": ({IN_PROD, WARN}, YES),
    "ulimit-nproc": ({IN_PROD, WARN}, YES),
    "clock-skew": ({BLOCK, IN_PROD, WARN, INFO}, YES),
    "clock-precision": ({WARN}, YES),
    "signer-clock": ({INFO}, YES),
    "port-free-probe": ({BLOCK, INFO}, NEVER),
    "port-open-probe": ({INFO}, YES),
    "tz-match": ({WARN}, YES),
    # Several nodes at once
    "batch-serial-per-cluster": ({INFO}, YES),
    "batch-zone-order": ({WARN}, YES),
    "batch-preflight-all-first": ({BLOCK}, YES),
    "batch-capacity-final": ({INFO}, YES),
    "batch-stop-on": ({INFO}, YES),
    "preflight-freshness": ({WARN}, YES),
}

ONLY_UNKNOWN = set(NEVER_FIRES) - {AT_THE_READER}


def weights(rule: str) -> set[tuple[str, str]]:
    """How the cases of a rule are weighed, with those in which its evidence is missing."""
    told = {(prod, lab) for _, prod, lab in (*FIRST.get(rule, ()), *FURTHER.get(rule, ()))}
    # An unknown weighs so in every profile; the tests beside these tables hold that.
    return told | {WARN} if rule in ONLY_UNKNOWN else told


def test_the_rules_are_exactly_those_specified():
    """None is missing and none is too many."""
    ids = [rule.id for rule in RULES]

    assert sorted(ids) == sorted(CATALOGUE)
    assert len(ids) == 115


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_is_as_severe_as_specified(rule):
    """What is printed of it is one of its severities, and so is each case that makes it fire."""
    severities, _ = CATALOGUE[rule.id]

    assert (rule.prod.value, rule.lab.value) in severities
    assert weights(rule.id) <= severities


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if rule.id != AT_THE_READER], ids=lambda rule: rule.id
)
def test_each_specified_severity_of_a_rule_has_a_case(rule):
    """A rule that looks at several things is tried with each."""
    severities, _ = CATALOGUE[rule.id]

    assert severities <= weights(rule.id)


def test_the_one_rule_without_a_case_is_held_by_the_reader_of_requests():
    """A number where text is needed never becomes a start option, so it cannot reach the rule."""
    assert [rule.id for rule in RULES if not weights(rule.id)] == [AT_THE_READER]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_says_itself_whether_it_could_block(rule):
    """Else what it cannot judge would be waved through, or would hold back for nothing."""
    severities = CATALOGUE[rule.id][0]

    assert rule.could_block("prod") is any(prod == "block" for prod, _ in severities)
    assert rule.could_block("lab") is any(lab == "block" for _, lab in severities)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_may_be_overridden_as_specified(rule):
    """Never what obshell or the observer is sure to refuse: identity, version, syntax, lock."""
    _, openness = CATALOGUE[rule.id]

    assert may_be_overridden(rule) == (openness != NEVER)
    assert rule.softens == (openness == WARNINGS)
