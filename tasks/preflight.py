"""Judges before anything is written whether the node would join."""

import logging
from typing import Final

from prefect import task
from prefect.cache_policies import NO_CACHE

from obscale.connect.connections import Link
from obscale.errors import PreflightError
from obscale.events import Judged
from obscale.preflight.facts import ClusterFacts, Facts
from obscale.preflight.finding import Answer, Finding, Findings
from obscale.preflight.judge import judge_accepting
from obscale.preflight.read import survey
from obscale.preflight.result import Preflight, conclude
from obscale.preflight.settle import settled
from obscale.preflight.unjudged import held_back
from obscale.request.scale_out import Order
from tasks.runtime.blocks import linked
from tasks.runtime.journal import artifact_key, aside, note_table, publish, publish_line
from tasks.runtime.retries import if_transient

TIME_LIMIT_SECONDS: Final = 300
"""A slow endpoint may take minutes (obcluster/info asks every agent); more is a stuck database."""
_SEVERITIES: Final = {Answer.BLOCK: logging.ERROR, Answer.WARN: logging.WARNING}


@task(
    name="preflight",
    task_run_name="preflight {order.target}",
    retries=2,
    retry_delay_seconds=[2, 5],
    retry_jitter_factor=0.5,
    retry_condition_fn=if_transient,
    timeout_seconds=TIME_LIMIT_SECONDS,
    cache_policy=NO_CACHE,
)
async def preflight(order: Order, *, will_be_asked: bool = False) -> Preflight:
    """Read cluster and target, judge every rule, show the findings. Writes nothing to either.

    Args:
        order: What is asked for.
        will_be_asked: Whether a person is shown the findings before anything is begun.

    Raises:
        PreflightError: A rule blocks, or one that could cannot be judged and nobody has
            acknowledged that; the findings are in the table artifact.
        AgentError: No entry agent could be asked.
    """
    async with linked(order) as link:
        facts = await read_facts(link, order)
    findings = judged(order, facts, will_be_asked=will_be_asked)
    await aside(
        note_table(
            artifact_key("findings", order.cluster_name, order.target),
            [row_of(finding) for finding in findings.by_weight()],
            f"Preflight of {order.target} for {order.cluster_name}: {findings.verdict}",
        )
    )
    for finding in findings.by_weight():
        severity = _SEVERITIES.get(finding.answer, logging.DEBUG)
        if finding.overridden_by or finding.unjudged:
            severity = logging.WARNING
        publish_line("preflight", f"preflight.{finding.answer} {line_of(finding)}", severity)
    return concluded(conclude(facts, findings))


def judged(order: Order, facts: Facts, *, will_be_asked: bool = False) -> Findings:
    """Judge facts as an order asks; what nobody is asked about is held back where it is unknown."""
    findings = judge_accepting(facts, order.profile, order.overrides)
    if will_be_asked:
        return findings
    return held_back(findings, allow_unknown=order.allow_unknown)


async def read_facts(link: Link, order: Order, lasting: ClusterFacts | None = None) -> Facts:
    """Read all facts of an order, once they tell whose a scale-out is that has just begun.

    Args:
        link: Open connections.
        order: What is asked for.
        lasting: As for `survey`.

    Raises:
        AgentError: No entry agent could be asked.
    """

    async def read() -> tuple[Facts, ...]:
        return (await survey(link, order, lasting=lasting),)

    def say(words: str) -> None:
        publish_line("preflight", words)

    (facts,) = await settled(read, order, say)
    return facts


def concluded(preflight: Preflight) -> Preflight:
    """Tell the verdict, and give it on.

    Raises:
        PreflightError: A rule blocks.
    """
    findings = preflight.findings
    publish(Judged(findings=findings, zones=preflight.zones, versions=preflight.versions))
    if findings.blockers and not findings.already_member:
        reasons = "; ".join(line_of(finding) for finding in findings.blockers)
        raise PreflightError(f"blocked by preflight: {reasons}", findings.blockers[0].remedy)
    return preflight


def line_of(finding: Finding) -> str:
    """Say one finding in one line, e.g. `mem-fits-total: 80G; needed ≤ 62.8G`."""
    line = f"{finding.rule}: {finding.measured}"
    if finding.needed:
        line += f"; needed {finding.needed}"
    if accepted := finding.overridden_by:
        line += f"; overridden until {accepted.until}: {accepted.reason!r}"
    return line


def row_of(finding: Finding) -> dict[str, str]:
    """Give a finding as one row of the table artifact."""
    return {
        "answer": finding.answer.value,
        "rule": finding.rule,
        "subject": finding.subject,
        "measured": finding.measured,
        "needed": finding.needed,
        "remedy": finding.remedy,
        "otherwise fails at": finding.otherwise,
        "overridden": _accepted(finding),
    }


def _accepted(finding: Finding) -> str:
    why = finding.overridden_by
    return f"until {why.until}: {why.reason}" if why else ""
