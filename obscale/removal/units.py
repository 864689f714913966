"""Where the units of leaving servers are, and whether they fit on the servers that stay.

On DELETE SERVER OceanBase looks for a server of the same zone for each unit, one after the other
and never back. Source: OceanBase src/rootserver/ob_{unit_manager,server_zone_op_service}.cpp.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from obscale.agent.models import Server
from obscale.agent.resources import Tenant, TenantPool, UnitConfig
from obscale.preflight.facts import server_address
from obscale.preflight.offers import log_disk_sizes
from obscale.preflight.rules.cluster import ACTIVE, trouble_of
from obscale.preflight.unit_room import free_of, hard_limit_of, needs_of
from obscale.reading import Unread
from obscale.removal.facts import RemovalFacts, is_dead

UNITS_FIT: Final = "rm-units-fit"
"""The rule that reports once that it is not known what a server holds."""
ALL: Final = (0, 1, 2, 3)
LOG_DISK: Final = (3,)
WITHOUT_LOG_DISK: Final = (0, 1, 2)
"""Numbers of `obscale.preflight.unit_room.DIMENSIONS`."""
MOST_STEPS: Final = 5_000
"""Of a search; what it has not found by then counts as not known."""
MOST_UNITS: Final = 200
"""That a search goes into; it is as deep as they are many."""
_ROUNDING: Final = 1e-6


class PlacedUnit(NamedTuple):
    """One unit on a server, with whose it is."""

    tenant_id: int
    tenant: str
    config: UnitConfig


class Room(NamedTuple):
    """What a server that stays has left, and the tenants it may take no unit of any more."""

    server: str
    left: tuple[float | None, ...]
    """In the order of `DIMENSIONS`; None: not known."""
    tenants: frozenset[int]


def observers_of(pool: TenantPool) -> frozenset[str] | None:
    """Give the servers with a unit of a pool, `ip:rpc port`; None: this is not told."""
    if pool.observer_list is None:
        return None
    return frozenset(filter(None, map(str.strip, pool.observer_list.split(",")))) or None


def pools_in(facts: RemovalFacts, zone: str) -> list[tuple[Tenant, TenantPool]]:
    """Give the pools of listed tenants that have units in a zone; none where unread."""
    tenants = () if isinstance(facts.tenants, Unread) else facts.tenants
    return [(each, pool) for each in tenants for pool in each.pools if zone in pool.zones]


def strays_in(facts: RemovalFacts, zone: str) -> list[str]:
    """Name the pools with units in a zone whose tenant is not listed: dropped, or none at all."""
    pools, tenants = facts.cluster.pools, facts.tenants
    if isinstance(pools, Unread) or isinstance(tenants, Unread):
        return []
    known = {pool.pool_id for tenant in tenants for pool in tenant.pools}
    return [pool.name for pool in pools if zone in pool.zones and pool.id not in known]


def units_on(  # noqa: PLR0911 - one return for each gap
    facts: RemovalFacts, server: Server, zone: str
) -> tuple[PlacedUnit, ...] | Unread:
    """Give the units on a server; Unread: what is told of them may not be all.

    Args:
        facts: As read.
        server: One of them.
        zone: It is in.
    """
    gap = _gap(facts)
    if gap is not None:
        return gap
    address, stats = server_address(server), server.stats
    pools = pools_in(facts, zone)
    if any(observers_of(pool) is None for _, pool in pools):
        is_empty = not stats.cpu_core_assigned and not stats.memory_in_bytes_assigned
        if is_empty and stats.cpu_core_total and is_dead(server) is False:
            return ()
        is_told = any(pool.observer_list is not None for _, pool in pools)
        said = "the cluster does not tell" if is_told else "this version of obshell does not tell"
        return Unread(f"{said} which units are on {address}", is_told, UNITS_FIT)
    if strays := strays_in(facts, zone):
        words = f"pools in {zone} that no listed tenant has, with units somewhere there"
        return Unread(f"{words}: {', '.join(strays)}", covered_by=UNITS_FIT)
    found = tuple(
        PlacedUnit(tenant.tenant_id, tenant.tenant_name, pool.unit_config)
        for tenant, pool in pools
        if address in (observers_of(pool) or ())
    )
    if is_dead(server):
        # Its own numbers are all 0 and say nothing.
        return found
    if not stats.cpu_core_total:
        return Unread(f"{address} has not reported what it holds", covered_by=UNITS_FIT)
    cpu = sum(unit.config.min_cpu for unit in found)
    memory = sum(unit.config.memory_size for unit in found)
    if cpu < stats.cpu_core_assigned - _ROUNDING or memory < stats.memory_in_bytes_assigned:
        return Unread(f"{address} holds more than the units that are told", covered_by=UNITS_FIT)
    return found


def _gap(facts: RemovalFacts) -> Unread | None:
    for told in (facts.tenants, facts.cluster.pools, facts.cluster.topology):
        if isinstance(told, Unread):
            return Unread(told.reason, told.supported, told.covered_by or UNITS_FIT)
    return None


def leaving_units(facts: RemovalFacts) -> tuple[PlacedUnit, ...] | Unread:
    """Give the units of all servers of this zone that leave by the whole request."""
    found: list[PlacedUnit] = []
    if gap := _gap(facts):
        return gap
    for server in going_in_zone(facts):
        there = units_on(facts, server, facts.order.zone)
        if isinstance(there, Unread):
            return there
        found += there
    return tuple(found)


def own_units(facts: RemovalFacts) -> tuple[PlacedUnit, ...] | Unread:
    """Give the units of the one server that leaves by this order."""
    server = facts.server()
    if server is None:
        return _gap(facts) or ()
    return units_on(facts, server, facts.order.zone)


def going_in_zone(facts: RemovalFacts) -> list[Server]:
    """Give the servers of the order's zone that leave by the whole request."""
    zone = facts.zone()
    there = {server_address(server) for server in zone.servers} if zone else set()
    return [server for server in facts.going() if server_address(server) in there]


def receivers(facts: RemovalFacts) -> list[Server]:
    """Give the servers of the zone that stay, and take units."""
    return [s for zone, s in facts.staying() if zone.name == facts.order.zone and takes_units(s)]


def takes_units(server: Server) -> bool:
    """Whether a server is ACTIVE, in service and not stopped; one that says nothing is not."""
    return server.inner_status == ACTIVE and not trouble_of(server)


def rooms_of(facts: RemovalFacts) -> list[Room]:
    """Give what each receiver has left."""
    limit, logs = hard_limit_of(facts.cluster), log_disk_sizes(facts.cluster)
    rooms = []
    for server in receivers(facts):
        units = units_on(facts, server, facts.order.zone)
        told = None if isinstance(units, Unread) else units
        configs = None if told is None else [unit.config for unit in told]
        log = logs.get((server.ip, server.svr_port))
        free = free_of(server, configs, limit, log)
        left = free.left if told is not None else tuple(None for _ in free.left)
        tenants = frozenset(unit.tenant_id for unit in told or ())
        rooms.append(Room(free.server, left, tenants))
    return rooms


class Fit(NamedTuple):
    """Whether units can be placed; None: not known.

    `always` is whether it goes well in whatever order and onto whichever server they are put.
    """

    possible: bool | None
    always: bool | None


def fit(units: Sequence[PlacedUnit], rooms: Sequence[Room], dimensions: Sequence[int]) -> Fit:
    """Search for a place for each unit, no two of one tenant on one server.

    Args:
        units: All that must move.
        rooms: Where to.
        dimensions: What is looked at, by its number.
    """
    hopeful = _state(rooms, dimensions, unknown=math.inf)
    wary = _state(rooms, dimensions, unknown=0.0)
    wanted = sorted(
        ((unit.tenant_id, _picked(unit.config, dimensions)) for unit in units),
        key=lambda each: each[1],
        reverse=True,
    )
    could = _Search(wanted).can_place(hopeful)
    if could is not True:
        return Fit(could, could)
    if hopeful != wary and _Search(wanted).can_place(wary) is not True:
        return Fit(possible=None, always=None)
    if _never_stuck(wanted, wary):
        return Fit(possible=True, always=True)
    stuck = _Search(wanted).can_get_stuck(wary)
    return Fit(possible=True, always=None if stuck is None else not stuck)


_Wanted = tuple[int, tuple[float, ...]]
"""A tenant, and what its unit takes."""
_Left = tuple[tuple[tuple[float, ...], frozenset[int]], ...]
"""Of each server what is left, and the tenants that are there."""


def _state(rooms: Sequence[Room], dimensions: Sequence[int], *, unknown: float) -> _Left:
    def known(left: float | None) -> float:
        return unknown if left is None else left

    return tuple(
        (tuple(known(room.left[number]) for number in dimensions), room.tenants) for room in rooms
    )


def _picked(config: UnitConfig, dimensions: Sequence[int]) -> tuple[float, ...]:
    needs = needs_of(config)
    return tuple(needs[number] for number in dimensions)


def _takes(place: tuple[tuple[float, ...], frozenset[int]], unit: _Wanted) -> bool:
    left, tenants = place
    return unit[0] not in tenants and _holds(left, unit[1])


def _holds(left: Sequence[float], needs: Sequence[float]) -> bool:
    return all(needed <= there + _ROUNDING for there, needed in zip(left, needs, strict=True))


def _with(places: _Left, number: int, unit: _Wanted) -> _Left:
    left, tenants = places[number]
    less = tuple(there - needed for there, needed in zip(left, unit[1], strict=True))
    return (*places[:number], (less, tenants | {unit[0]}), *places[number + 1 :])


class _Search:
    """A search that gives up after so many steps; its answer is then None."""

    def __init__(self, units: Sequence[_Wanted]) -> None:
        self._units = units
        self._steps = 0
        self._seen: set[tuple[frozenset[int], _Left]] = set()

    def can_place(self, places: _Left) -> bool | None:
        """Whether all units find a place, in some way."""
        if self._is_simple(places):
            return True
        return self._place(0, places) if len(self._units) <= MOST_UNITS else None

    def can_get_stuck(self, places: _Left) -> bool | None:
        """Whether some order and choice of servers leaves a unit without a place."""
        if len(self._units) > MOST_UNITS:
            return None
        return self._stick(frozenset(range(len(self._units))), places)

    def _is_simple(self, places: _Left) -> bool:
        """Whether each unit, the largest first, finds a place on the first server that has one."""
        for unit in self._units:
            at = next((at for at, place in enumerate(places) if _takes(place, unit)), None)
            if at is None:
                return False
            places = _with(places, at, unit)
        return True

    def _place(self, number: int, places: _Left) -> bool | None:
        if number == len(self._units):
            return True
        self._steps += 1
        if self._steps > MOST_STEPS:
            return None
        unit, tried = self._units[number], set()
        for at, place in enumerate(places):
            # Servers that are alike are one.
            if place in tried or not _takes(place, unit):
                continue
            tried.add(place)
            found = self._place(number + 1, _with(places, at, unit))
            if found is not False:
                return found
        return False

    def _stick(self, waiting: frozenset[int], places: _Left) -> bool | None:
        if not waiting or (waiting, places) in self._seen:
            return False
        self._seen.add((waiting, places))
        self._steps += 1
        if self._steps > MOST_STEPS:
            return None
        fitting = {
            number: [at for at, place in enumerate(places) if _takes(place, self._units[number])]
            for number in waiting
        }
        if not all(fitting.values()):
            return True
        for number, servers in fitting.items():
            for at in servers:
                found = self._stick(waiting - {number}, _with(places, at, self._units[number]))
                if found is not False:
                    return found
        return False


def _never_stuck(units: Sequence[_Wanted], places: _Left) -> bool:
    """Whether there is so much room that no order can go wrong; False: perhaps not.

    A unit is stuck only where each server is full for it in one dimension, by what the others took:
    of each dimension they can fill no more than they are in all.
    """
    tenants = {tenant for tenant, _ in units}
    if len(tenants) < len(units):
        return False
    whole = tuple(map(sum, zip(*(need for _, need in units), strict=True)))
    if any(not tenants & there and _holds(left, whole) for left, there in places):
        return True
    for number, unit in enumerate(units):
        others = [need for at, (_, need) in enumerate(units) if at != number]
        sums = tuple(map(sum, zip(*others, strict=True))) if others else ()
        shares = (_share(place, unit, sums) for place in places if _takes(place, unit))
        if sums and sum(shares) < len(sums):
            return False
    return True


def _share(
    place: tuple[tuple[float, ...], frozenset[int]], unit: _Wanted, sums: Sequence[float]
) -> float:
    """Which part of what the other units are in all it takes to fill a server for this one."""
    spare = ((left - need) / all_ for left, need, all_ in zip(place[0], unit[1], sums) if all_)  # noqa: B905 - of one length
    return min(spare, default=math.inf)


def told_of(units: Iterable[PlacedUnit]) -> str:
    """Name the tenants of units, each once, e.g. `sys, app`."""
    return ", ".join(dict.fromkeys(unit.tenant for unit in units))
