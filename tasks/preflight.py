"""Judges before anything is written whether the node would join."""

import logging
from typing import Final

from obscale.preflight.finding import Answer, Findings, line_of
from obscale.preflight.result import Preflight, conclude
from obscale.preflight.run import concluded, judged, read_facts
from obscale.report.lists import findings_page
from obscale.request.scale_out import ScaleOut
from obscale.tasks.approval import render_question
from obscale.tasks.runtime.blocks import open_connections
from obscale.tasks.runtime.journal import (
    artifact_key,
    aside,
    note_page,
    publish,
    publish_line,
)
from obscale.tasks.runtime.retries import repeatable_task

TIME_LIMIT_SECONDS: Final = 300
"""A slow endpoint may take minutes (obcluster/info asks every agent); more is a stuck database."""
_SEVERITIES: Final = {Answer.BLOCK: logging.ERROR, Answer.WARN: logging.WARNING}


@repeatable_task(
    "preflight", run_name="preflight {order.target}", timeout_seconds=TIME_LIMIT_SECONDS
)
async def preflight(
    order: ScaleOut, *, will_be_asked: bool = False, is_plan: bool = False
) -> Preflight:
    """Read cluster and target, judge every rule, show the findings. Writes nothing to either.

    Args:
        order: What is asked for.
        will_be_asked: Whether a person is shown the findings before anything is begun.
        is_plan: Whether nothing is begun after it; then what was found is a page of its own too.

    Raises:
        PreflightError: A rule blocks, or one that could cannot be judged and nobody has
            acknowledged that; the findings are a page of their own.
        AgentError: No entry agent could be asked.
    """
    async with open_connections(order) as link:
        facts = await read_facts(link, order, publish)
    findings = judged(order, facts, will_be_asked=will_be_asked)
    await show_findings(
        artifact_key("findings", order.cluster_name, order.target),
        findings,
        f"Preflight of {order.target} for {order.cluster_name}: {findings.verdict}",
    )
    seen = conclude(facts, findings)
    if is_plan:
        key = artifact_key("plan", order.cluster_name, order.target)
        about = f"Plan of {order.target} for {order.cluster_name}: {findings.verdict}"
        await aside(note_page(key, render_question(order, seen), about))
    return concluded(seen, publish)


async def show_findings(key: str, findings: Findings, about: str) -> None:
    """Show what was found as a page, and say it line by line, what weighs most first.

    Args:
        key: Of the page.
        findings: Of the target.
        about: What the page is.
    """
    await aside(note_page(key, findings_page(findings.by_weight()), about))
    for finding in findings.by_weight():
        severity = _SEVERITIES.get(finding.answer, logging.DEBUG)
        if finding.overridden_by or finding.unjudged:
            severity = logging.WARNING
        publish_line("preflight", f"preflight.{finding.answer} {line_of(finding)}", severity)
