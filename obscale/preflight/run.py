"""Reads and judges what a scale-out needs, tells the verdict, and raises where a rule blocks."""

from obscale.connect.connections import Connections
from obscale.errors import PreflightError
from obscale.events import Judged, Publish, lines_to
from obscale.preflight.facts import ClusterFacts, Facts
from obscale.preflight.finding import Findings, line_of
from obscale.preflight.judge import judge_with_overrides
from obscale.preflight.read import survey
from obscale.preflight.result import Preflight
from obscale.preflight.settle import settled
from obscale.preflight.unjudged import held_back
from obscale.request.scale_out import ScaleOut


async def read_facts(
    link: Connections,
    order: ScaleOut,
    publish: Publish,
    lasting: ClusterFacts | None = None,
    seen: ClusterFacts | None = None,
) -> Facts:
    """Read all facts of an order, once they tell whose a scale-out is that has just begun.

    Args:
        link: Open connections.
        order: What is asked for.
        publish: Gets each event.
        lasting: As for `survey`.
        seen: As for `survey`; where all is asked once more, the cluster is too.

    Raises:
        AgentError: No entry agent could be asked.
    """
    first = [seen]

    async def read() -> tuple[Facts, ...]:
        return (await survey(link, order, lasting=lasting, seen=first.pop() if first else None),)

    (facts,) = await settled(read, order, lines_to(publish, "preflight"))
    return facts


def judged(order: ScaleOut, facts: Facts, *, will_be_asked: bool = False) -> Findings:
    """Judge facts as an order asks; what nobody is asked about is held back where it is unknown."""
    findings = judge_with_overrides(facts, order.profile, order.overrides)
    if will_be_asked:
        return findings
    return held_back(findings, allow_unknown=order.allow_unknown)


def concluded(preflight: Preflight, publish: Publish) -> Preflight:
    """Tell the verdict, and give it on.

    Raises:
        PreflightError: A rule blocks.
    """
    findings = preflight.findings
    publish(judged_event(preflight))
    if findings.blockers and not findings.already_member:
        reasons = "; ".join(line_of(finding) for finding in findings.blockers)
        raise PreflightError(f"blocked by preflight: {reasons}", findings.remedies)
    return preflight


def judged_event(preflight: Preflight) -> Judged:
    """Give the event that tells a verdict, with what it rests on."""
    return Judged(
        findings=preflight.findings,
        zones=preflight.zones,
        versions=preflight.versions,
        capacity=preflight.capacity,
        disk_rooms=preflight.disk_rooms,
    )
