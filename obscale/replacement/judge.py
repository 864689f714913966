"""Judges both halves of a replacement in one plan, before anything is begun."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from obscale.errors import PreflightError, SpecError
from obscale.preflight.facts import TargetProgress
from obscale.preflight.finding import Findings, line_of
from obscale.preflight.judge import accepted, override_problems
from obscale.preflight.registry import RULES as OF_ADDITION
from obscale.preflight.registry import judge, judge_by
from obscale.preflight.result import Preflight, conclude
from obscale.preflight.rule import Rule
from obscale.preflight.unjudged import held_back
from obscale.removal.judge import RULES as OF_REMOVAL
from obscale.removal.judge import before_of
from obscale.removal.judge import judge as judge_removal
from obscale.removal.result import BeforeRemoval
from obscale.replacement.facts import ReplacementFacts
from obscale.replacement.rules import LEAVING_RULES, RULES_OF_BOTH
from obscale.request.replacement import Replacement
from obscale.spec import checked

RULES: Final = (*LEAVING_RULES, *RULES_OF_BOTH)
"""Every rule that only a replacement has."""
NAMES_THE_DEAD: Final = frozenset({"cluster-members-healthy", "zone-balance"})
"""Rules of the addition that would count the node that leaves against the cluster."""
LOCK: Final = "rm-lock"
"""Who holds the lock now is judged by the rules of the addition, which begins first."""


@dataclass(frozen=True)
class ReplacementPlan:
    """What was found about both halves before anything was begun.

    Args:
        addition: Of the first half; its findings are those of both.
        leaving: How the node that leaves stood.
        is_gone: Whether it has left already.
    """

    addition: Preflight
    leaving: BeforeRemoval
    is_gone: bool = False

    @property
    def findings(self) -> Findings:
        """Of both halves, and of the two together."""
        return self.addition.findings

    @property
    def verdict(self) -> str:
        """Of both halves; of a node that is a member what is left may still be forbidden."""
        return "blocked" if self.is_blocked else self.findings.verdict

    @property
    def is_blocked(self) -> bool:
        """Whether something forbids to begin, or to go on."""
        return bool(self.hindrances())

    def hindrances(self) -> Findings:
        """Give what forbids it; of a node that is a member already its own rules forbid nothing."""
        found = self.findings
        own = {rule.id for rule in OF_ADDITION} if found.already_member else set()
        blockers = tuple(each for each in found.blockers if each.rule not in own)
        return Findings(blockers, found.profile)


def judge_replacement(
    facts: ReplacementFacts, *, will_be_asked: bool = False, is_plan: bool = False
) -> ReplacementPlan:
    """Judge the node that joins, the two together, and the removal as it will be between them.

    Where the new node is a member, the removal is judged by its own preflight, which comes next; it
    knows to wait for one that has just begun.

    Args:
        facts: As read.
        will_be_asked: Whether a person is shown the findings before anything is begun.
        is_plan: Whether nothing comes next, so that both halves are always judged.
    """
    order = facts.order
    today = (facts.addition.now or datetime.now(UTC)).date()
    adding = accepted(_addition(facts), order.overrides, today)
    both = accepted(judge_by(RULES_OF_BOTH, facts, order.profile), order.overrides, today)
    items = (*both.items, *adding.items)
    if is_plan or adding.progress is not TargetProgress.MEMBER:
        leaving = judge_removal(facts.between(), order.profile, order.overrides)
        items += tuple(each for each in leaving.items if each.rule != LOCK)
    findings = replace(adding, items=items)
    if not will_be_asked:
        findings = held_back(findings, allow_unknown=order.allow_unknown)
    seen = conclude(facts.addition, findings)
    is_gone = facts.removal.progress() is TargetProgress.GONE
    return ReplacementPlan(seen, before_of(facts.removal), is_gone)


def _addition(facts: ReplacementFacts) -> Findings:
    """Judge the node that joins; what is even or well is judged without the one that leaves."""
    profile = facts.order.profile
    found = judge(facts.addition, profile)
    of_after = [each for each in OF_ADDITION if each.id in NAMES_THE_DEAD]
    after = {each.rule: each for each in judge(facts.after(), profile, rules=of_after)}
    return replace(found, items=tuple(after.get(each.rule, each) for each in found.items))


def refuse_blocked(plan: ReplacementPlan) -> None:
    """See that nothing forbids it.

    Raises:
        PreflightError: A rule blocks.
    """
    if found := plan.hindrances():
        reasons = "; ".join(map(line_of, found))
        raise PreflightError(f"blocked by preflight: {reasons}", found.remedies)


def checked_replacement(order: Replacement) -> Replacement:
    """Give an order on, if the node that joins and each override can be used.

    Raises:
        SpecError: One cannot; all faults are told.
    """
    by = checked(order.pair.by)
    rules: tuple[Rule[Any], ...] = (*OF_ADDITION, *OF_REMOVAL, *RULES)
    problems = override_problems(order.overrides, datetime.now(UTC).date(), rules)
    if problems:
        told = tuple(f"overrides[{at}]: {problem}" for at, problem in problems)
        raise SpecError(told[0], "obscale explain lists all rules", told)
    return order.model_copy(update={"pair": order.pair.model_copy(update={"by": by})})
