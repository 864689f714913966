"""Judges the facts about a removal by all its rules, and keeps how the cluster stood before."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from obscale.errors import SpecError
from obscale.preflight.finding import Findings
from obscale.preflight.judge import accepted, override_problems
from obscale.preflight.registry import judge_by
from obscale.preflight.rule import Rule
from obscale.reading import Unread
from obscale.removal.facts import RemovalFacts
from obscale.removal.result import BeforeRemoval
from obscale.removal.rules import hints, leaver, majority, room, whole_zone, work
from obscale.removal.units import observers_of
from obscale.replacement.rules import COVERED, LEAVING_RULES
from obscale.request.models import OverrideSpec, Profile
from obscale.request.removal import Removal

RULES: Final[tuple[Rule[RemovalFacts], ...]] = (
    *leaver.RULES,
    *work.RULES,
    *majority.RULES,
    *room.RULES,
    *whole_zone.RULES,
    *hints.RULES,
)
"""Every rule of a removal, the cheapest and most decisive first."""


def rules_of(order: Removal) -> tuple[Rule[RemovalFacts], ...]:
    """Give the rules of an order; one that is replaced has some more."""
    if not order.replaced_by:
        return RULES
    return (*LEAVING_RULES, *(each for each in RULES if each.id not in COVERED))


def judge(
    facts: RemovalFacts, profile: Profile, overrides: Sequence[OverrideSpec] = ()
) -> Findings:
    """Judge facts by all rules, and mark what the request accepts on the day of the facts."""
    findings = judge_by(rules_of(facts.order), facts, profile)
    return accepted(findings, overrides, (facts.now or datetime.now(UTC)).date())


def checked_removal(order: Removal) -> Removal:
    """Give an order on, if each of its overrides can be used.

    Raises:
        SpecError: One cannot; all faults are told.
    """
    problems = override_problems(order.overrides, datetime.now(UTC).date(), RULES)
    if problems:
        told = tuple(f"overrides[{at}]: {problem}" for at, problem in problems)
        raise SpecError(told[0], "obscale explain lists all rules", told)
    return order


def before_of(facts: RemovalFacts) -> BeforeRemoval:
    """Keep what can be read no more, or means nothing, once the node has left."""
    info = facts.cluster.cluster_info
    leaving = facts.leaving
    homes = {}
    if leaving is not None and not isinstance(leaving.info, Unread) and leaving.info.home_path:
        homes = {leaving.address: leaving.info.home_path}
    return BeforeRemoval(
        zones=facts.cluster.zones(),
        totals=None if isinstance(info, Unread) else info.stats,
        servers=facts.leaving_servers(),
        home_paths=homes,
        observers=_observers(facts),
    )


def _observers(facts: RemovalFacts) -> dict[str, tuple[str, ...]] | None:
    """Of each tenant the servers with a unit; None where one of its pools does not tell."""
    if isinstance(facts.tenants, Unread):
        return None
    found: dict[str, tuple[str, ...]] = {}
    for tenant in facts.tenants:
        told = [observers_of(pool) for pool in tenant.pools]
        if any(names is None for names in told):
            return None
        found[tenant.tenant_name] = tuple(sorted(name for names in told for name in names or ()))
    return found
