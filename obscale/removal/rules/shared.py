"""What several rules of a removal share: a rule of preflight asked in their place, and values."""

from obscale.preflight.facts import OfCluster, TargetProgress
from obscale.preflight.finding import Verdict
from obscale.preflight.rule import Rule
from obscale.removal.facts import RemovalFacts


def verdict_of(rule: Rule[OfCluster], facts: RemovalFacts) -> Verdict:
    """Give the one verdict of a rule that looks at the cluster alone."""
    (verdict,) = rule.verdicts(facts, TargetProgress.NEW)
    return verdict


def verdict_of_removal(rule: Rule[RemovalFacts], facts: RemovalFacts) -> Verdict:
    """Give the one verdict of another rule of a removal."""
    (verdict,) = rule.verdicts(facts, TargetProgress.NEW)
    return verdict


def values_of(facts: RemovalFacts, name: str) -> frozenset[str]:
    """Give the values a parameter has on the servers, in small letters; none where not listed."""
    row = facts.cluster.parameter(name)
    return (
        frozenset(value.value.strip().lower() for value in row.ob_parameters)
        if row
        else frozenset()
    )


def is_on(values: frozenset[str]) -> bool:
    """Whether a switch is on everywhere, as OceanBase writes it."""
    return bool(values) and values <= {"true", "1"}
