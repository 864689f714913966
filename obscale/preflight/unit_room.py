"""Works out how many more units of each unit config fit on a cluster's servers, now and grown.

A unit takes cores (its least against the server's, its most against what may be promised of them),
memory and log disk. Data disk is reserved for none. Sources: obshell `checkZoneResourceForUnit` of
ob/agent/executor/tenant/create_tenant.go, 4.5.0.0; OceanBase src/rootserver/ob_unit_manager.cpp.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import Server, Zone
from obscale.agent.resources import ResourcePool, UnitConfig
from obscale.pictures.unit_room import changed
from obscale.preflight.facts import ClusterFacts, Facts, server_address
from obscale.preflight.offers import (
    expected_of,
    log_disk_asked,
    log_disk_sizes,
    observer_of,
)
from obscale.preflight.rules.cluster import trouble_of
from obscale.preflight.rules.cluster_mode import SYS_TENANT_ID
from obscale.reading import Unread
from obscale.sizes import render_bytes

HARD_LIMIT: Final = "resource_hard_limit"
"""Per cent of its cores that a server promises at most; 100 where it is not told."""
WHOLE: Final = 100
CPU: Final = "cpu"
DIMENSIONS: Final = (CPU, CPU, "memory", "log disk")
"""The least cores of a unit, the most, and what else it takes."""


class ZoneRoom(BaseModel):
    """How many more units fit in one zone. None: not known."""

    model_config = ConfigDict(frozen=True)

    zone: str
    now: int | None
    grown: int | None


class UnitRoom(BaseModel):
    """How many more tenants with one unit of this config in each zone fit. None: not known."""

    model_config = ConfigDict(frozen=True)

    config: str
    min_cpu: float
    max_cpu: float
    memory_bytes: int
    log_disk_bytes: int
    now: int | None
    grown: int | None
    zones: tuple[ZoneRoom, ...]
    short_of: str
    """`cpu`, `memory` or `log disk`, whichever ends first; empty where nothing is known."""
    ends_first: str
    """What is short where least fits once grown, e.g. `memory in zone1: 2G free on 10.0.0.1:2882,
    4G a unit`; empty where nothing is known."""

    @property
    def name(self) -> str:
        """The config with its size, e.g. `u_app (2 cores, 4G, log 12G)`."""
        most = f" to {self.max_cpu:g}" if self.max_cpu != self.min_cpu else ""
        memory, log = render_bytes(self.memory_bytes), render_bytes(self.log_disk_bytes)
        return f"{self.config} ({self.min_cpu:g}{most} cores, {memory}, log {log})"

    @property
    def told(self) -> str:
        """What holds for the cluster, e.g. `0 → 2 more tenants of one unit a zone`."""
        noun = "tenant" if self.grown == 1 else "tenants"
        return f"{changed(self.now, self.grown)} more {noun} of one unit a zone"


class Free(NamedTuple):
    """What one server has left for units, in the order of `DIMENSIONS`. None: not known."""

    server: str
    left: tuple[float | None, ...]

    def fits(self, unit: UnitConfig) -> int | None:
        """Say how many units fit; what is known may already say none."""
        counts = [
            None if left is None else math.floor(left / needed + 1e-9)
            for left, needed in zip(self.left, needs_of(unit), strict=True)
            if needed
        ]
        known = [count for count in counts if count is not None]
        if known and min(known) == 0:
            return 0
        return min(known) if known and len(known) == len(counts) else None

    def shortest(self, unit: UnitConfig) -> "Shortage | None":
        """Give what ends first there; None where nothing is known."""
        found = [
            Shortage(left / needed, name, left, needed, self.server)
            for name, left, needed in zip(DIMENSIONS, self.left, needs_of(unit), strict=True)
            if left is not None and needed
        ]
        return min(found, default=None)


class Shortage(NamedTuple):
    """What a server has least of: so many units' worth of it."""

    units: float
    name: str
    left: float
    needed: float
    server: str

    def told(self, zone: str) -> str:
        """Say it, e.g. `memory in zone1: 2G free on 10.0.0.1:2882, 4G a unit`."""
        left, needed = _amount(self.name, self.left), _amount(self.name, self.needed)
        return f"{self.name} in {zone}: {left} free on {self.server}, {needed} a unit"


def unit_rooms_of(cluster: ClusterFacts, joining: Sequence[Facts]) -> tuple[UnitRoom, ...]:
    """Work out for each unit config that tenants of users have, the largest first.

    Args:
        cluster: As it is now.
        joining: Facts of each node that joins it.

    Returns:
        Nothing where topology, pools or unit configs could not be read, or no tenant has units.
    """
    pools, configs = cluster.pools, cluster.unit_configs
    if isinstance(cluster.topology, Unread) or isinstance(pools, Unread):
        return ()
    if isinstance(configs, Unread):
        return ()
    now = free_by_zone(cluster, pools, configs)
    grown = with_joining(now, joining)
    used = {pool.unit_config_id for pool in pools if pool.tenant_id not in {0, SYS_TENANT_ID}}
    units = [unit for unit in configs if unit.unit_config_id in used]
    units.sort(key=lambda unit: (-unit.memory_size, -unit.log_disk_size, unit.name))
    return tuple(_room(unit, now, grown) for unit in units)


_Frees = Mapping[str, Sequence[Free]]


def _room(unit: UnitConfig, now: _Frees, grown: _Frees) -> UnitRoom:
    zones = tuple(
        ZoneRoom(zone=name, now=_fitting(unit, now.get(name, ())), grown=_fitting(unit, servers))
        for name, servers in sorted(grown.items())
    )
    short_of, ends_first = _ends_first(unit, zones, grown)
    return UnitRoom(
        config=unit.name,
        min_cpu=unit.min_cpu,
        max_cpu=unit.max_cpu,
        memory_bytes=unit.memory_size,
        log_disk_bytes=unit.log_disk_size,
        # A tenant takes a unit in each zone that has a server: a zone that is new has none before.
        now=_least(zone.now for zone in zones if zone.zone in now),
        grown=_least(zone.grown for zone in zones),
        zones=zones,
        short_of=short_of,
        ends_first=ends_first,
    )


def _fitting(unit: UnitConfig, servers: Sequence[Free]) -> int | None:
    counts = [server.fits(unit) for server in servers]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _least(counts: Iterable[int | None]) -> int | None:
    told = list(counts)
    known = [count for count in told if count is not None]
    if known and min(known) == 0:
        return 0
    return min(known) if told and len(known) == len(told) else None


def _ends_first(unit: UnitConfig, zones: Sequence[ZoneRoom], grown: _Frees) -> tuple[str, str]:
    """Say what is short on the roomiest server of the zone where least fits: name, and words."""
    known = [zone for zone in zones if zone.grown is not None]
    if not known:
        return "", ""
    zone = min(known, key=lambda each: (each.grown or 0, each.zone)).zone
    short = max(filter(None, (server.shortest(unit) for server in grown[zone])), default=None)
    if short is None:
        return "", "" if grown[zone] else f"no server of {zone} takes units"
    return short.name, short.told(zone)


def with_joining(now: _Frees, joining: Sequence[Facts]) -> dict[str, list[Free]]:
    """Give what servers have left for units, with nodes that join counted as they will be."""
    grown = {zone: list(servers) for zone, servers in now.items()}
    for facts in joining:
        grown.setdefault(facts.node.zone, []).append(_free_of_joining(facts))
    return grown


def free_by_zone(
    cluster: ClusterFacts, pools: Sequence[ResourcePool], configs: Sequence[UnitConfig]
) -> dict[str, list[Free]]:
    """Give what each server that serves has left for units, by zone.

    Args:
        cluster: As it is now.
        pools: All of its pools.
        configs: All of its unit configs.
    """
    by_id = {unit.unit_config_id: unit for unit in configs}
    placed = placed_pools(cluster)
    limit = hard_limit_of(cluster)
    logs = log_disk_sizes(cluster)
    found: dict[str, list[Free]] = {}
    for zone in (zone for zone in cluster.zones() if zone.servers):
        found[zone.name] = [
            free_of(
                server,
                _units_on(server, zone, pools, by_id, placed),
                limit,
                logs.get((server.ip, server.svr_port)),
            )
            for server in zone.servers
            if not trouble_of(server)
        ]
    return found


def free_of(
    server: Server, units: Sequence[UnitConfig] | None, limit: float, log: int | None
) -> Free:
    """Give what is left of a server; OceanBase counts the larger of its own sum and the report."""
    stats = server.stats
    cpu, memory = stats.cpu_core_total or None, stats.memory_in_bytes_total or None
    own_cpu = sum(unit.min_cpu for unit in units or ())
    own_memory = sum(unit.memory_size for unit in units or ())
    left: tuple[float | None, ...] = (
        _less(cpu, max(stats.cpu_core_assigned, own_cpu)),
        None if units is None else _less(cpu, sum(unit.max_cpu for unit in units), limit),
        _less(memory, max(stats.memory_in_bytes_assigned, own_memory)),
        None if units is None else _less(log, sum(unit.log_disk_size for unit in units)),
    )
    return Free(server_address(server), left)


def _free_of_joining(facts: Facts) -> Free:
    offer, limit = expected_of(facts), hard_limit_of(facts.cluster)
    cpu = offer.cpu
    left = (cpu, _less(cpu, 0, limit), offer.memory_bytes, log_disk_asked(facts))
    return Free(observer_of(facts), left)


def _units_on(
    server: Server,
    zone: Zone,
    pools: Sequence[ResourcePool],
    configs: Mapping[int, UnitConfig],
    placed: Mapping[int, frozenset[str]],
) -> list[UnitConfig] | None:
    """Give the units on a server; None where the cluster does not tell which they are."""
    address = server_address(server)
    found = []
    for pool in (pool for pool in pools if zone.name in pool.zones):
        if pool.unit_config_id not in configs:
            return None
        if pool.id in placed:
            is_here = address in placed[pool.id]
        elif pool.tenant_id and pool.unit_num < len(zone.servers):
            return None
        else:
            # On every server of the zone; of a pool without tenant nobody tells, so on each.
            is_here = True
        if is_here:
            found.append(configs[pool.unit_config_id])
    return found


def placed_pools(cluster: ClusterFacts) -> dict[int, frozenset[str]]:
    """Give the servers that have a unit of a pool, by its id, where the version tells them."""
    if isinstance(cluster.cluster_info, Unread):
        return {}
    return {
        pool.pool_id: frozenset(filter(None, map(str.strip, pool.observer_list.split(","))))
        for tenant in cluster.cluster_info.tenants
        for pool in tenant.pools
        if pool.observer_list is not None and pool.pool_id
    }


def hard_limit_of(cluster: ClusterFacts) -> float:
    """Give how much of its cores a server may promise to units, 1.0 for all of them."""
    row = cluster.parameter(HARD_LIMIT)
    told = {value.value for value in row.ob_parameters} if row else set()
    percent = min((int(text) for text in told if text.isascii() and text.isdigit()), default=WHOLE)
    return percent / WHOLE


def needs_of(unit: UnitConfig) -> tuple[float, ...]:
    """Give what a unit takes, in the order of `DIMENSIONS`."""
    return unit.min_cpu, unit.max_cpu, unit.memory_size, unit.log_disk_size


def _less(whole: float | None, taken: float, times: float = 1.0) -> float | None:
    return None if whole is None else max(whole * times - taken, 0)


def _amount(name: str, amount: float) -> str:
    return f"{amount:g} cores" if name == CPU else render_bytes(int(amount))
