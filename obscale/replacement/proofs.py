"""Proves that a replacement has left the cluster as it was before the failure.

They are proofs of the removal's last level: nothing is as before until the old node is gone.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from obscale.agent.models import Zone
from obscale.preflight.facts import server_address
from obscale.removal.proofs import Evidence, Told
from obscale.verify.observation import Level, ProofAnswer

TITLES: Final = {
    "pr-same-count": (
        Level.CONFORMING,
        "of a replacement: each zone has as many servers as before the failure",
    ),
    "pr-units-on-new": (
        Level.CONFORMING,
        "of a replacement: the new node, or another of the zone, has the units of the old one",
    ),
}
"""What each proof shows."""


@dataclass(frozen=True)
class Replaced:
    """What the proofs compare with.

    Args:
        server: `ip:rpc port` of the server that has joined.
        zones: The topology before it did; empty: nobody has kept it.
    """

    server: str
    zones: tuple[Zone, ...] = ()

    def told(self, evidence: Evidence) -> Iterator[tuple[str, Level, Told]]:
        """Judge both proofs."""
        yield "pr-same-count", Level.CONFORMING, _same_count(evidence, self)
        yield "pr-units-on-new", Level.CONFORMING, _units_on_new(evidence, self)


def _same_count(evidence: Evidence, replaced: Replaced) -> Told:
    expected = "as many servers in each zone as before the new one joined"
    now = evidence.view.zones
    if now is None:
        return ProofAnswer.UNKNOWN, expected, "the topology could not be read"
    old = _before(evidence, replaced)
    if not old:
        return ProofAnswer.INFO, expected, f"{_words(_count(now))}; what was before is not known"
    before, after = _count(old), _count(now)
    if before == after:
        return ProofAnswer.PASS, expected, _words(after)
    answer = ProofAnswer.FAIL if evidence.is_late else ProofAnswer.WAITING
    return answer, expected, f"{_words(after)}, before {_words(before)}"


def _before(evidence: Evidence, replaced: Replaced) -> tuple[Zone, ...]:
    """Give the topology without the new server: from before it joined, or else from between."""
    zones = replaced.zones or (evidence.before.zones if evidence.before else ())
    return tuple(
        zone.model_copy(
            update={
                "servers": tuple(s for s in zone.servers if server_address(s) != replaced.server)
            }
        )
        for zone in zones
    )


def _count(zones: Iterable[Zone]) -> Counter[str]:
    return Counter({zone.name: len(zone.servers) for zone in zones if zone.servers})


def _words(count: Counter[str]) -> str:
    return ", ".join(f"{name}: {count[name]}" for name in sorted(count))


def _units_on_new(evidence: Evidence, replaced: Replaced) -> Told:
    expected = "the units of the server that left are on the new one"
    before, now = evidence.before, evidence.view.observers
    if now is None or before is None or before.observers is None:
        return ProofAnswer.INFO, expected, "where units were, or are, is not told"
    had = sorted(
        tenant for tenant, listed in before.observers.items() if {*listed} & evidence.servers
    )
    if not had:
        return ProofAnswer.PASS, expected, "it held none any more"
    elsewhere = [tenant for tenant in had if replaced.server not in now.get(tenant, ())]
    if elsewhere:
        told = f"those of {', '.join(elsewhere)} are on others of the zone"
        return ProofAnswer.INFO, expected, told
    return ProofAnswer.PASS, expected, ", ".join(had)
