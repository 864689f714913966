"""Works out what a cluster offers to tenants, what is taken of it, and what a scale-out adds."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import Server
from obscale.preflight.facts import ClusterFacts, Facts
from obscale.preflight.offers import (
    Offer,
    expected_of,
    joining_of,
    log_disk_asked,
    log_disk_sizes,
    offer_of,
    total_of,
)
from obscale.preflight.rules.units import units_of
from obscale.preflight.tenant_room import TenantRoom, tenant_rooms_of
from obscale.preflight.unit_room import UnitRoom, unit_rooms_of
from obscale.reading import Unread


class Growth(BaseModel):
    """One thing a cluster offers, before and after; cores or bytes. None: not known."""

    model_config = ConfigDict(frozen=True)

    total_before: float | None = None
    used_before: float | None = None
    """Taken by units of tenants; of the data disk, what is written."""
    total_after: float | None = None
    used_after: float | None = None
    unit: float | None = None
    """Of the largest unit in the zones that grow; None: they have none, or it is not known."""


class Capacity(BaseModel):
    """What the cluster offers to tenants, before and after.

    obshell tells no log disk: its total is what the servers are set to, and its use what the units
    reserve. Source: ob/agent/repository/model/bo/obcluster.go, 4.5.0.0.
    """

    model_config = ConfigDict(frozen=True)

    cpu: Growth = Growth()
    memory_bytes: Growth = Growth()
    """For units: memory_limit less system_memory."""
    data_disk_bytes: Growth = Growth()
    log_disk_bytes: Growth = Growth()
    units: tuple[UnitRoom, ...] = ()
    """How many more units fit, of each unit config that tenants of users have."""
    tenants: tuple[TenantRoom, ...] = ()
    """How many units each tenant of users has in its zones, and could have; never done unasked."""


def capacity_of(rows: Sequence[Facts]) -> Capacity | None:
    """Work out what the nodes of one request make of their cluster's capacity.

    Args:
        rows: Facts of each node, all of one cluster.

    Returns:
        None where the topology could not be read.
    """
    zones = {facts.node.zone for facts in rows}
    return _capacity(rows[0].cluster, joining_of(rows), zones)


def capacity_now(cluster: ClusterFacts) -> Capacity | None:
    """Give what a cluster offers now, before and after being the same.

    Returns:
        None where the topology could not be read.
    """
    return _capacity(cluster, (), {zone.name for zone in cluster.zones()})


def _capacity(
    cluster: ClusterFacts, joining: Sequence[Facts], zones: Iterable[str]
) -> Capacity | None:
    if isinstance(cluster.topology, Unread):
        return None
    servers = [server for _, server in cluster.servers()]
    before, used = total_of(map(offer_of, servers)), total_of(map(_taken, servers))
    after = before + total_of(map(expected_of, joining))
    log = _log_disk(cluster, servers)
    unit = _largest_unit(cluster, zones)
    return Capacity(
        cpu=_growth((before.cpu, used.cpu, after.cpu), unit.cpu),
        memory_bytes=_growth(
            (before.memory_bytes, used.memory_bytes, after.memory_bytes), unit.memory
        ),
        data_disk_bytes=_growth(
            (before.data_disk_bytes, used.data_disk_bytes, after.data_disk_bytes), None
        ),
        log_disk_bytes=_growth(
            (log, _log_disk_reserved(cluster), _sum([log, *map(log_disk_asked, joining)])),
            unit.log_disk,
        ),
        units=unit_rooms_of(cluster, joining),
        tenants=tenant_rooms_of(cluster, joining),
    )


def _growth(told: tuple[float | None, float | None, float | None], unit: float | None) -> Growth:
    """A scale-out moves units, and adds none: as much is taken after it."""
    before, used, after = told
    return Growth(
        total_before=before, used_before=used, total_after=after, used_after=used, unit=unit
    )


def _taken(server: Server) -> Offer:
    """Give what is taken of a server; nothing is known of one that tells no capacity."""
    stats = server.stats
    return Offer(
        cpu=stats.cpu_core_assigned if stats.cpu_core_total else None,
        memory_bytes=stats.memory_in_bytes_assigned if stats.memory_in_bytes_total else None,
        data_disk_bytes=stats.disk_in_bytes_assigned if stats.disk_in_bytes_total else None,
    )


def _log_disk(cluster: ClusterFacts, servers: Sequence[Server]) -> int | None:
    sizes = log_disk_sizes(cluster)
    return _sum(sizes.get((server.ip, server.svr_port)) for server in servers)


def _log_disk_reserved(cluster: ClusterFacts) -> int | None:
    pools, configs = cluster.pools, cluster.unit_configs
    if isinstance(pools, Unread) or isinstance(configs, Unread):
        return None
    sizes = {config.unit_config_id: config.log_disk_size for config in configs}
    return _sum(
        None
        if (size := sizes.get(pool.unit_config_id)) is None
        else size * pool.unit_num * len(pool.zones)
        for pool in pools
    )


class _Unit(NamedTuple):
    cpu: float | None = None
    memory: int | None = None
    log_disk: int | None = None


def _largest_unit(cluster: ClusterFacts, zones: Iterable[str]) -> _Unit:
    """Give the most that a unit in one of these zones takes of each."""
    pools, configs = cluster.pools, cluster.unit_configs
    if isinstance(pools, Unread) or isinstance(configs, Unread):
        return _Unit()
    units = [unit for zone in zones for unit in units_of(zone, pools, configs)]
    if not units:
        return _Unit()
    return _Unit(
        max(unit.min_cpu for unit in units),
        max(unit.memory_size for unit in units),
        max(unit.log_disk_size for unit in units),
    )


def _sum(sizes: Iterable[int | None]) -> int | None:
    known = list(sizes)
    told = [size for size in known if size is not None]
    return sum(told) if len(told) == len(known) else None
