"""Judges the facts about a change of a tenant's units, and says in words what it would do."""

from datetime import UTC, datetime

from obscale.errors import SpecError
from obscale.preflight.finding import Findings
from obscale.preflight.judge import accepted, override_problems
from obscale.preflight.registry import judge_by
from obscale.preflight.unjudged import held_back
from obscale.request.use import Use
from obscale.sizes import render_bytes
from obscale.use.facts import UseFacts
from obscale.use.rules import RULES


def judge_use(facts: UseFacts, *, will_be_asked: bool = False) -> Findings:
    """Judge facts as the order asks; what nobody is asked about is held back where it is unknown.

    Args:
        facts: As read.
        will_be_asked: Whether a person is shown the findings before anything is begun.
    """
    order = facts.order
    found = judge_by(RULES, facts, order.profile)
    findings = accepted(found, order.overrides, (facts.now or datetime.now(UTC)).date())
    if will_be_asked:
        return findings
    return held_back(findings, allow_unknown=order.allow_unknown)


def checked_use(order: Use) -> Use:
    """Give an order on, if each of its overrides can be used.

    Raises:
        SpecError: One cannot; all faults are told.
    """
    problems = override_problems(order.overrides, datetime.now(UTC).date(), RULES)
    if problems:
        told = tuple(f"overrides[{at}]: {problem}" for at, problem in problems)
        raise SpecError(told[0], "obscale explain lists all rules", told)
    return order


def gain_of(facts: UseFacts) -> str:
    """Say in words what the change would do: units, cores and memory, and what moves."""
    before, wanted = facts.unit_num, facts.order.unit_num
    name = facts.order.tenant
    if before is None or not facts.pools:
        return f"tenant {name}: unit_num is not known"
    if wanted == before:
        return f"tenant {name} has unit_num {wanted} already: nothing is changed"
    unit, zones = facts.pools[0].unit_config, len(facts.zones)
    units = abs(wanted - before) * zones
    cores, memory = units * unit.max_cpu, render_bytes(units * unit.memory_size)
    change = f"tenant {name}: unit_num {before} → {wanted} in {', '.join(facts.zones)}"
    if wanted < before:
        return (
            f"{change}: {units} unit{'s' if units > 1 else ''} less ({cores:g} cores, {memory}); "
            "OceanBase chooses which, and moves their data to those that stay"
        )
    return (
        f"{change}: {units} unit{'s' if units > 1 else ''} more of {unit.name} ({cores:g} cores, "
        f"{memory}); OceanBase places them at once and then moves data to them"
    )
