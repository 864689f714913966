"""Works out how many more units each tenant could have in all its zones, now and grown.

A tenant has the same number of units in each zone, each on a server of its own: the zone with the
fewest servers that have room, and no unit of it yet, decides. Sources: obshell
ob/agent/executor/tenant/modify_replicas.go, 4.5.0.0; OceanBase src/rootserver/ob_unit_manager.cpp.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict

from obscale.agent.resources import ResourcePool, UnitConfig
from obscale.preflight.facts import ClusterFacts, Facts
from obscale.preflight.rules.cluster_mode import SYS_TENANT_ID
from obscale.preflight.unit_room import Free, free_by_zone, placed_pools, with_joining
from obscale.reading import Unread

SERVERS: Final = "servers"


class ZoneFit(NamedTuple):
    """How many more units of one tenant fit in one zone. None: not known."""

    zone: str
    units: int | None
    why: str
    """What keeps the next one out, or why it is not known."""
    short_of: str = ""
    """`cpu`, `memory`, `log disk` or `servers`, whichever keeps the next one out."""


class TenantRoom(BaseModel):
    """How many units one tenant could have in each of its zones. None: not known."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    unit_num: int
    now: int | None
    """It could have without the nodes that join."""
    grown: int | None
    """With them."""
    ends_first: str
    """What keeps the next one out once grown, e.g. `memory in zone1: 2G free on …, 4G a unit`."""
    short_of: str = ""
    """The same in short, e.g. `memory in zone1`; empty: not known."""

    @property
    def told(self) -> str:
        """Say it in one line: `tenant app: unit_num 1, could be 2; memory in zone1 ends first`."""
        name, number = self.tenant, self.unit_num
        if self.grown is None:
            return f"tenant {name}: unit_num {number}, whether it could be more is not known"
        if self.gains and self.short_of:
            return (
                f"tenant {name}: unit_num {number}, could be {self.grown}; {self.short_of} ends "
                "first"
            )
        if self.gains:
            return f"tenant {name}: unit_num {number}, could be {self.grown}"
        if self.short_of:
            return f"tenant {name}: unit_num {number}, cannot be more; {self.short_of} ends first"
        return f"tenant {name}: unit_num {number}, cannot be more"

    @property
    def gains(self) -> bool:
        """Whether more units than it has would fit."""
        return self.grown is not None and self.grown > self.unit_num


def tenant_rooms_of(cluster: ClusterFacts, joining: Sequence[Facts]) -> tuple[TenantRoom, ...]:
    """Work out for each tenant of users, by name.

    Args:
        cluster: As it is now.
        joining: Facts of each node that joins it.

    Returns:
        Nothing where topology, pools, unit configs or tenants could not be read. A tenant whose
        pools have different numbers of units is left out: obshell changes none such.
    """
    pools, configs, tenants = cluster.pools, cluster.unit_configs, cluster.tenants
    if isinstance(pools, Unread) or isinstance(configs, Unread) or isinstance(tenants, Unread):
        return ()
    if isinstance(cluster.topology, Unread):
        return ()
    now = free_by_zone(cluster, pools, configs)
    grown = with_joining(now, joining)
    placed = placed_pools(cluster)
    found = []
    for tenant in sorted(tenants, key=lambda each: each.tenant_name):
        own = [pool for pool in pools if pool.tenant_id == tenant.tenant_id]
        numbers = {pool.unit_num for pool in own}
        if tenant.tenant_id == SYS_TENANT_ID or len(numbers) != 1:
            continue
        (number,) = numbers
        before = _of_zones(own, configs, now, placed)
        after = _of_zones(own, configs, grown, placed)
        found.append(
            TenantRoom(
                tenant=tenant.tenant_name,
                unit_num=number,
                now=_least(number, before),
                grown=_least(number, after),
                ends_first=(last := _ends_first(after)).why,
                short_of=f"{last.short_of} in {last.zone}" if last.short_of else "",
            )
        )
    return tuple(found)


def zone_fits_of(cluster: ClusterFacts, tenant_id: int) -> tuple[ZoneFit, ...]:
    """Say of each zone of a tenant how many more units of it fit; nothing where it is not known.

    Args:
        cluster: As it is now.
        tenant_id: Of the tenant.
    """
    pools, configs = cluster.pools, cluster.unit_configs
    if isinstance(pools, Unread) or isinstance(configs, Unread):
        return ()
    own = [pool for pool in pools if pool.tenant_id == tenant_id]
    return _of_zones(own, configs, free_by_zone(cluster, pools, configs), placed_pools(cluster))


def _of_zones(
    own: Sequence[ResourcePool],
    configs: Sequence[UnitConfig],
    frees: Mapping[str, Sequence[Free]],
    placed: Mapping[int, frozenset[str]],
) -> tuple[ZoneFit, ...]:
    by_id = {unit.unit_config_id: unit for unit in configs}
    found = []
    for zone in sorted({zone for pool in own for zone in pool.zones}):
        here = [pool for pool in own if zone in pool.zones]
        unit = by_id.get(here[0].unit_config_id)
        if unit is None:
            found.append(ZoneFit(zone, None, f"the unit config in {zone} is not told"))
            continue
        found.append(_of_zone(zone, unit, here, frees.get(zone, ()), placed))
    return tuple(found)


def _of_zone(
    zone: str,
    unit: UnitConfig,
    here: Sequence[ResourcePool],
    frees: Sequence[Free],
    placed: Mapping[int, frozenset[str]],
) -> ZoneFit:
    if any(pool.id not in placed for pool in here):
        return ZoneFit(zone, None, "this version of obshell does not tell where units are")
    holders = {at for pool in here for at in placed[pool.id]}
    others = [free for free in frees if not holders & {free.server, _bare(free.server)}]
    counts = [free.fits(unit) for free in others]
    if any(count is None for count in counts):
        return ZoneFit(zone, None, f"what a server of {zone} has free is not told")
    fitting = sum(1 for count in counts if count)
    lacking = [free for free, count in zip(others, counts, strict=True) if not count]
    short = max(filter(None, (free.shortest(unit) for free in lacking)), default=None)
    if short is None:
        return ZoneFit(zone, fitting, f"no further server in {zone}", SERVERS)
    return ZoneFit(zone, fitting, short.told(zone), short.name)


def _bare(address: str) -> str:
    """OceanBase joins address and port itself, an IPv6 address without brackets."""
    return address.replace("[", "").replace("]", "")


def _least(number: int, fits: Iterable[ZoneFit]) -> int | None:
    told = [fit.units for fit in fits]
    known = [units for units in told if units is not None]
    if known and min(known) == 0:
        return number
    return number + min(known) if told and len(known) == len(told) else None


def _ends_first(fits: Sequence[ZoneFit]) -> ZoneFit:
    """Give the zone where least fits, or the first of which nothing is known."""
    known = [fit for fit in fits if fit.units is not None]
    if not known or (len(known) < len(fits) and all(fit.units for fit in known)):
        return next((fit for fit in fits if fit.units is None), ZoneFit("", None, ""))
    return min(known, key=lambda fit: (fit.units or 0, fit.zone))
