"""Applies a request's overrides to blocks and warnings, where they are allowed.

An override names a rule, a reason and a last day. It never hides a finding: the answer stays what
the rule said, only its weight becomes `info`, and the reason goes wherever the finding goes.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from difflib import get_close_matches
from typing import Any, Final

from obscale.preflight.facts import Facts
from obscale.preflight.finding import (
    Answer,
    Finding,
    Findings,
    Overridden,
    otherwise,
)
from obscale.preflight.registry import RULES, judge
from obscale.preflight.rule import F, Rule
from obscale.request.models import OverrideSpec, Profile

_WEIGHTY: Final = {Answer.BLOCK, Answer.WARN}
_CLOSE: Final = 0.5
"""Ids share their first word, so half alike is still a slip and not another rule."""


def may_be_overridden(rule: Rule[F]) -> bool:
    """Whether any finding of this rule may be accepted; ground A is refused by obshell anyway."""
    return rule.ground != "A" or rule.softens


def _override_problem(override: OverrideSpec, today: date, known: Iterable[Rule[F]]) -> str | None:
    """Say in one line why an override cannot be used, or None where it can.

    Args:
        override: As written.
        today: In UTC.
        known: The rules there are.
    """
    rules = {rule.id: rule for rule in known}
    rule = rules.get(override.rule)
    if rule is None:
        guess = get_close_matches(override.rule, rules, n=1, cutoff=_CLOSE)
        advice = f"did you mean {guess[0]!r}?" if guess else "obscale explain lists all rules"
        return f"no rule is called {override.rule!r}; {advice}"
    if not may_be_overridden(rule):
        where = otherwise(rule.otherwise)
        told = f": {where}" if where else ""
        return f"{rule.id} may not be overridden{told}; mend what it finds"
    if override.until < today:
        return (
            f"the override of {rule.id} ended on {override.until}; mend what it finds, or accept "
            "it anew with a later day"
        )
    return None


def override_problems(
    overrides: Sequence[OverrideSpec], today: date, rules: Iterable[Rule[Any]] = RULES
) -> list[tuple[int, str]]:
    """Give the number and the fault of each override that cannot be used.

    Args:
        overrides: As written.
        today: In UTC.
        rules: Those there are for what is asked for.
    """
    found: list[tuple[int, str]] = []
    first: dict[str, int] = {}
    for at, override in enumerate(overrides):
        if problem := _override_problem(override, today, rules):
            found.append((at, problem))
        elif override.rule in first:
            found.append((at, f"{override.rule} is overridden twice; keep one"))
        first.setdefault(override.rule, at)
    return found


def judge_with_overrides(
    facts: Facts, profile: Profile, overrides: Sequence[OverrideSpec] = ()
) -> Findings:
    """Judge facts by all rules, and mark what the request accepts on the day of the facts."""
    return accepted(judge(facts, profile), overrides, (facts.now or datetime.now(UTC)).date())


def accepted(findings: Findings, overrides: Sequence[OverrideSpec], today: date) -> Findings:
    """Mark the blocks and warnings that are accepted.

    An override that has ended, or of a finding that may not be overridden, changes nothing: the
    finding keeps its weight.

    Args:
        findings: As judged.
        overrides: What the request accepts.
        today: In UTC.
    """
    by_rule = {override.rule: override for override in overrides if override.until >= today}
    items = tuple(_marked(finding, by_rule.get(finding.rule)) for finding in findings.items)
    return Findings(items, findings.profile, findings.progress)


def unneeded(findings: Sequence[Finding], overrides: Sequence[OverrideSpec]) -> tuple[str, ...]:
    """Name the rules whose override nothing needs: they should be taken out of the request."""
    used = {f.rule for f in findings if f.overridden_by is not None or f.weight in _WEIGHTY}
    return tuple(override.rule for override in overrides if override.rule not in used)


def _marked(finding: Finding, override: OverrideSpec | None) -> Finding:
    if override is None or not (finding.weight in _WEIGHTY or finding.unjudged):
        return finding
    if not finding.overridable:
        remedy = f"{finding.remedy}; its override does not help, the refusal is certain"
        return finding.model_copy(update={"remedy": remedy.removeprefix("; ")})
    why = Overridden(reason=override.reason, until=override.until)
    return finding.model_copy(update={"weight": Answer.INFO, "overridden_by": why})
