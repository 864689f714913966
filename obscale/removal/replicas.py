"""Which zones hold a tenant's full replicas, and whether more than half of them are well."""

import re
from typing import Final, NamedTuple

from obscale.agent.models import Server
from obscale.agent.resources import Tenant
from obscale.preflight.facts import server_address
from obscale.removal.facts import RemovalFacts, is_dead
from obscale.removal.units import observers_of, takes_units

FULL: Final = "FULL"
_PART: Final = re.compile(r"([A-Z_]+)(?:\{(\d+)[^{}]*\})?", re.ASCII)


class Share(NamedTuple):
    """How many of a tenant's full replicas are well."""

    healthy: int
    full: int

    @property
    def is_majority(self) -> bool:
        """Whether they are more than half."""
        return 2 * self.healthy > self.full

    @property
    def told(self) -> str:
        """E.g. `2/3`."""
        return f"{self.healthy}/{self.full}"


def zones_of(locality: str) -> dict[str, frozenset[str]] | None:
    """Give the kinds of replica in each zone; None: this is no locality that can be read.

    Args:
        locality: OceanBase's own text, e.g. `FULL{1}@zone1, FULL{1},READONLY{1}@zone2`.
    """
    found: dict[str, frozenset[str]] = {}
    kinds: set[str] = set()
    for part in filter(None, map(str.strip, locality.split(","))):
        kind, at, zone = part.partition("@")
        match = _PART.fullmatch(kind.strip())
        if match is None:
            return None
        kinds.add(match[1])
        if at:
            if not zone.strip():
                return None
            found[zone.strip()] = found.get(zone.strip(), frozenset()) | kinds
            kinds = set()
    return found if found and not kinds else None


def full_zones(tenant: Tenant) -> tuple[str, ...] | None:
    """Give the zones of a tenant's full replicas; None: its locality does not tell."""
    zones = zones_of(tenant.locality)
    if zones is None:
        return None
    return tuple(zone for zone, kinds in zones.items() if FULL in kinds) or None


def share_of(facts: RemovalFacts, tenant: Tenant, *, without: str = "") -> Share | None:
    """Count the zones in which a tenant's full replicas are well; None: not told.

    Args:
        facts: As read.
        tenant: One of its tenants.
        without: A zone that is not counted as well, whatever it is.
    """
    zones = full_zones(tenant)
    if zones is None:
        return None
    healthy = sum(_is_well(facts, tenant, zone) for zone in zones if zone != without)
    return Share(healthy, len(zones))


def _is_well(facts: RemovalFacts, tenant: Tenant, name: str) -> bool:
    """Whether every server with a unit there serves; every server, where the units are not told."""
    zone = facts.cluster.zone(name)
    if zone is None:
        return False
    pools = [pool for pool in tenant.pools if name in pool.zones]
    told = [observers_of(pool) for pool in pools]
    known = frozenset().union(*(names for names in told if names is not None))
    is_told = bool(told) and None not in told
    holding = [s for s in zone.servers if not is_told or server_address(s) in known]
    leaving = {server_address(server) for server in facts.leaving_servers()}
    return bool(holding) and all(_serves(server, leaving) for server in holding)


def _serves(server: Server, leaving: set[str]) -> bool:
    if server_address(server) in leaving:
        return is_dead(server) is False
    return takes_units(server)
