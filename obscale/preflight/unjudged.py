"""Holds back a run nobody watches where a rule that could block was not judged."""

from dataclasses import replace
from typing import Final

from obscale.preflight.finding import Answer, Finding, Findings

ALLOW: Final = "allow_unknown: true"
"""What a request says that accepts whatever is unknown."""


def held_back(findings: Findings, *, allow_unknown: bool) -> Findings:
    """Let findings that leave open what could forbid the submit forbid it, in production.

    For a run whose findings no person is shown before it begins: there the request has to say that
    somebody knows, with an override of the rule or with `allow_unknown`. In the lab they are told.

    Args:
        findings: As judged, with what the request overrides.
        allow_unknown: Whether the request accepts whatever is unknown.

    Returns:
        The same object where nothing is held back.
    """
    if findings.profile != "prod" or allow_unknown or not findings.unknown:
        return findings
    return replace(findings, items=tuple(map(_held, findings.items)))


def newly_unknown(findings: Findings, known: frozenset[str]) -> Findings:
    """Leave open only what an earlier look, which was gone on with, did not leave open.

    Args:
        findings: Of a later look.
        known: Ids of the rules the earlier one could not judge.
    """
    items = tuple(
        finding.model_copy(
            update={"unjudged": tuple(rule for rule in finding.unjudged if rule not in known)}
        )
        for finding in findings.items
    )
    return replace(findings, items=items)


def acknowledgement(finding: Finding) -> str:
    """Say what to write into the request, so that a run goes on although this is unknown."""
    anything = f"{ALLOW} for whatever is unknown"
    if not finding.overridable:
        return f"write {anything}"
    override = f"{{rule: {finding.rule}, reason: …, until: YYYY-MM-DD}}"
    return f"write {override} below overrides, or {anything}"


def _held(finding: Finding) -> Finding:
    if not finding.unjudged or finding.overridden_by is not None:
        return finding
    accept = f"if somebody knows that it is right, {acknowledgement(finding)}"
    return finding.model_copy(
        update={
            "weight": Answer.BLOCK,
            "measured": f"unknown, and {', '.join(finding.unjudged)} could block: "
            f"{finding.measured}",
            "remedy": f"{finding.remedy}; {accept}" if finding.remedy else accept,
        }
    )
