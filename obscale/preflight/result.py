"""The result of a preflight that later steps need once its facts are dropped."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from obscale.agent.models import HostInfo, Stats, Zone
from obscale.preflight.capacity import Capacity, capacity_of
from obscale.preflight.disk_room import DiskRoom, disk_rooms_of
from obscale.preflight.facts import Facts, PreviousReading
from obscale.preflight.finding import Findings
from obscale.reading import Unread

JUDGED_BEFORE: Final = {"pv-clock-after": "clock-skew"}
"""Proofs of what a preflight rule has judged before the POST, by the id of that rule."""


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
    gone_on_with: frozenset[str] = frozenset()
    """Ids of the rules an earlier look could not judge, when the run went on all the same."""
    judged: dict[str, str] = field(default_factory=dict)
    """How the rules were judged that the verification falls back to, in words by their ids."""
    versions: dict[str, str] = field(default_factory=dict)
    """obshell's and OceanBase's, of each agent that was asked who it is, by `ip:port`."""
    capacity: Capacity | None = None
    """Of the cluster, now and with the node; None: the topology could not be read."""
    disk_rooms: tuple[DiskRoom, ...] = ()
    """Disks of the node that do not fit, or may not."""

    def look(self) -> PreviousReading:
        """Give what a later look is compared with."""
        unjudged = self.gone_on_with | set(self.findings.unjudged)
        return PreviousReading(self.at, self.host, unjudged)


def conclude(facts: Facts, findings: Findings) -> Preflight:
    """Keep what later steps need."""
    cluster = facts.cluster.cluster_info
    look = facts.look()
    return Preflight(
        findings,
        facts.cluster.zones(),
        facts.now or datetime.now(UTC),
        totals=None if isinstance(cluster, Unread) else cluster.stats,
        host=look.host,
        judged=_judged(findings),
        versions=_versions(facts),
        capacity=capacity_of((facts,)),
        disk_rooms=disk_rooms_of(facts),
    )


def _judged(findings: Findings) -> dict[str, str]:
    told = {rule: findings.of_rule(rule) for rule in JUDGED_BEFORE.values()}
    return {
        rule: f"{found[0].answer}, {found[0].measured}" for rule, found in told.items() if found
    }


def _versions(facts: Facts) -> dict[str, str]:
    told = {facts.cluster.entry: facts.cluster.info, facts.target.address: facts.target.info}
    return {
        agent: f"obshell {info.version}, OceanBase {info.ob_version or 'not told'}"
        for agent, info in told.items()
        if not isinstance(info, Unread)
    }
