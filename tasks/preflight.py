"""Would this node join, and what would go wrong: facts turned into findings."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from prefect import task
from prefect.cache_policies import NO_CACHE

from obscale.agent.models import HostInfo, Stats, Zone
from obscale.errors import PreflightError
from obscale.link import Link
from obscale.order import Order
from obscale.rules.preflight.facts import Earlier, Facts, Unread
from obscale.rules.preflight.finding import Answer, Finding
from obscale.rules.preflight.overrides import judge_accepting
from obscale.rules.preflight.registry import Findings
from obscale.settled import settled
from obscale.survey import survey
from tasks.connection import linked
from tasks.notes import artifact_key, aside, note_table, tell
from tasks.retrying import if_transient

TIME_LIMIT_SECONDS: Final = 300
"""A slow endpoint may take minutes (obcluster/info asks every agent); more is a stuck database."""
_LEVELS: Final = {Answer.BLOCK: logging.ERROR, Answer.WARN: logging.WARNING}


@dataclass(frozen=True)
class Preflight:
    """What was found, and how the cluster looked before anything was touched."""

    findings: Findings
    zones: tuple[Zone, ...]
    at: datetime
    """When the facts were complete; some of them age within a minute."""
    totals: Stats | None = None
    """What the cluster offered; None where this version does not tell, or it could not be read."""
    host: HostInfo | None = None
    """The target's machine; None likewise."""

    def look(self) -> Earlier:
        """Give what a later look is compared with."""
        return Earlier(self.at, self.host)


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
async def preflight(order: Order) -> Preflight:
    """Read cluster and target, judge every rule, show the findings. Writes nothing to either.

    Raises:
        PreflightError: A rule blocks; its findings are in the table artifact.
        AgentError: No entry agent could be asked.
    """
    async with linked(order) as link:
        facts = await read_facts(link, order)
    findings = judge_accepting(facts, order.profile, order.overrides)
    await aside(
        note_table(
            artifact_key("findings", order.cluster_name, order.target),
            [row_of(finding) for finding in findings.by_weight()],
            f"Preflight of {order.target} for {order.cluster_name}: {findings.verdict}",
        )
    )
    for finding in findings.by_weight():
        level = _LEVELS.get(finding.answer, logging.DEBUG)
        if finding.overridden_by:
            level = logging.WARNING
        tell("preflight", f"preflight.{finding.answer} {line_of(finding)}", level=level)
    return concluded(facts, findings)


async def read_facts(link: Link, order: Order) -> Facts:
    """Read all facts of an order, once they tell whose a scale-out is that has just begun.

    Raises:
        AgentError: No entry agent could be asked.
    """

    async def read() -> tuple[Facts, ...]:
        return (await survey(link, order),)

    def say(words: str) -> None:
        tell("preflight", words)

    (facts,) = await settled(read, order, say)
    return facts


def concluded(facts: Facts, findings: Findings) -> Preflight:
    """Tell the verdict, and give what later steps need of it.

    Raises:
        PreflightError: A rule blocks.
    """
    tell(
        "preflight",
        f"preflight.judged verdict={findings.verdict!r}",
        findings=findings,
        before=facts.cluster.zones(),
        versions=_versions(facts),
    )
    if findings.blockers and not findings.already_member:
        reasons = "; ".join(line_of(finding) for finding in findings.blockers)
        raise PreflightError(f"blocked by preflight: {reasons}", findings.blockers[0].remedy)
    cluster, host = facts.cluster.cluster_info, facts.target.host
    return Preflight(
        findings,
        facts.cluster.zones(),
        facts.now or datetime.now(UTC),
        totals=None if isinstance(cluster, Unread) else cluster.stats,
        host=None if isinstance(host, Unread) else host,
    )


def _versions(facts: Facts) -> dict[str, str]:
    """Give obshell's and OceanBase's version of the agents that were asked who they are."""
    told = {facts.cluster.entry: facts.cluster.info, facts.target.address: facts.target.info}
    return {
        agent: f"obshell {info.version}, OceanBase {info.ob_version or 'not told'}"
        for agent, info in told.items()
        if not isinstance(info, Unread)
    }


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
