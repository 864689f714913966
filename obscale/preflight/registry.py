"""The list of all rules, and the judgement of facts by them."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from obscale.preflight.facts import Facts, TargetProgress
from obscale.preflight.finding import Answer, Finding, Findings, Verdict
from obscale.preflight.rule import F, Rule
from obscale.preflight.rules import (
    batch,
    clocks,
    cluster,
    cluster_mode,
    disk,
    drift,
    file_sizes,
    hints,
    host,
    layout,
    members,
    memory,
    new_zone,
    ports,
    start_options,
    target,
    ulimits,
    units,
    values,
    versions,
    zones,
)
from obscale.request.models import Profile

__all__ = ["RULES", "Findings", "judge", "judge_request"]

_SUBJECTS: Final = (
    start_options,
    values,
    layout,
    target,
    cluster,
    hints,
    members,
    ports,
    versions,
    cluster_mode,
    zones,
    new_zone,
    batch,
    memory,
    disk,
    file_sizes,
    host,
    drift,
    units,
    ulimits,
    clocks,
)
RULES: Final[tuple[Rule[Facts], ...]] = tuple(
    rule for subject in _SUBJECTS for rule in subject.RULES
)
"""Every rule, in the order of the catalogue: the cheapest and most decisive first."""


def judge(facts: Facts, profile: Profile, *, rules: Iterable[Rule[Facts]] = RULES) -> Findings:
    """Judge facts by all rules.

    A rule whose evidence is missing is left out where another rule reports the gap once; that one
    then names it.

    Args:
        facts: As read.
        profile: How strictly to weigh.
        rules: Fewer than all, e.g. those that need nothing but the request.
    """
    return judge_by(rules, facts, profile, facts.progress(), facts.node.address)


def judge_by(
    rules: Iterable[Rule[F]],
    facts: F,
    profile: Profile,
    progress: TargetProgress,
    subject: str,
) -> Findings:
    """As `judge`, of whatever facts the rules are about.

    Args:
        rules: To judge by.
        facts: As read.
        profile: How strictly to weigh.
        progress: How far what is asked for has come already.
        subject: What a finding is about where its verdict does not say.
    """
    judged = [(rule, verdict) for rule in rules for verdict in rule.verdicts(facts, progress)]
    reporting = {rule.id for rule, verdict in judged if verdict.kind in {"fires", "unknown"}}
    silent: dict[str, list[str]] = {}
    unjudged: dict[str, list[str]] = {}
    told: list[tuple[Rule[F], Verdict]] = []
    for rule, verdict in judged:
        cover = verdict.gap.covered_by if verdict.gap else ""
        is_covered = bool(cover) and cover != rule.id and cover in reporting
        if is_covered:
            silent.setdefault(cover, []).append(rule.id)
        else:
            told.append((rule, verdict))
        if rule.leaves_open(verdict, profile):
            unjudged.setdefault(cover if is_covered else rule.id, []).append(rule.id)
    findings = tuple(_finding(rule, verdict, subject, profile, silent) for rule, verdict in told)
    return Findings(_marked(findings, unjudged), profile, progress)


def judge_request(facts: Facts) -> Findings:
    """Judge a request alone, by the rules that need nothing else and with the laboratory's weights.

    What blocks here blocks in every profile.
    """
    return judge(facts, "lab", rules=[rule for rule in RULES if rule.is_static])


def _marked(findings: tuple[Finding, ...], unjudged: dict[str, list[str]]) -> tuple[Finding, ...]:
    """Say of each finding which rules it leaves open; of several findings of one rule, the first.

    What blocks anyway leaves nothing open.
    """
    left = {rule: tuple(dict.fromkeys(rules)) for rule, rules in unjudged.items()}
    return tuple(
        finding.model_copy(update={"unjudged": left.pop(finding.rule)})
        if finding.weight is not Answer.BLOCK and finding.rule in left
        else finding
        for finding in findings
    )


def _finding(
    rule: Rule[F], verdict: Verdict, subject: str, profile: Profile, silent: dict[str, list[str]]
) -> Finding:
    covered = list(dict.fromkeys(silent.get(rule.id, ())))
    if covered and verdict.kind in {"fires", "unknown"}:
        verdict = replace(verdict, measured=f"{verdict.measured}; not judged: {', '.join(covered)}")
    return rule.weigh(verdict, subject, profile)
