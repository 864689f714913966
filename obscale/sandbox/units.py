"""Where the units of a simulated cluster's tenants are: room for them, and how they move.

OceanBase moves the units of a server that is being deleted at its own pace. Sources: OceanBase
src/rootserver/ob_{unit_manager,server_balancer,server_zone_op_service,empty_server_checker}.cpp.
"""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from obscale.sandbox.capacity import MIB, read_capacity, read_integer
from obscale.sandbox.cluster import FULL, SYS_ID, Cluster, Copy, Pool, Server, Tenant, Unit
from obscale.sandbox.config import UnitConfig

if TYPE_CHECKING:
    from obscale.sandbox.world import World

META_FILES_BYTES: Final = 128 << 20
"""What an empty server has written into its data file."""
PERCENT: Final = 100
NO_ROOM: Final = "Error 4733 (HY000): machine resource is not enough to hold a new unit"
NO_LEADER: Final = "Error 4179 (HY000): no leader, delete server not allowed"


def place_units(cluster: Cluster) -> None:
    """Put the units of all tenants where founders put them: on the first servers of each zone."""
    for tenant in cluster.tenants():
        for pool in tenant.pools:
            for zone in pool.zones:
                for server in cluster.servers_in(zone)[: pool.unit_num]:
                    cluster.units.append(Unit(pool, server, tenant.data_bytes))


def bytes_on(cluster: Cluster, server: Server, now: float) -> int:
    """What lies in the data file of a server: less and less while its units move away."""
    used = float(META_FILES_BYTES)
    for unit in cluster.units:
        there = 1.0 if unit.copy is None else unit.copy.share(now)
        if unit.server is server:
            used += unit.data_bytes * there
        elif unit.copy is not None and unit.copy.source is server:
            used += unit.data_bytes * (1 - there)
    if server.disk_is_full:
        limit = read_integer(server.observer.values["data_disk_usage_limit_percentage"])
        used = max(used, disk_of(server) * limit / PERCENT)
    return round(used)


def disk_of(server: Server) -> int:
    """How large its data file may become, bytes."""
    values = server.observer.values
    return max(read_capacity(values["datafile_size"]), read_capacity(values["datafile_maxsize"]))


def missing_for(cluster: Cluster, server: Server, unit: UnitConfig) -> str:
    """What a server has too little of for one more unit, as OceanBase calls it; or empty."""
    values = server.observer.values
    cores = read_integer(values["cpu_count"])
    memory = read_capacity(values["memory_limit"]) - read_capacity(values["system_memory"])
    there = cluster.units_on(server)
    hard_limit = read_integer(values["resource_hard_limit"])
    needs = (
        ("CPU", (each.min_cpu for each in there), unit.min_cpu, float(cores)),
        ("CPU", (each.max_cpu for each in there), unit.max_cpu, cores * hard_limit / PERCENT),
        ("MEMORY_SIZE", (each.memory_size for each in there), unit.memory_size, memory),
        (
            "LOG_DISK_SIZE",
            (each.log_disk_size for each in there),
            unit.log_disk_size,
            read_capacity(values["log_disk_size"]),
        ),
    )
    if server.takes_no_unit:
        return "MEMORY_SIZE"
    return next((name for name, taken, more, all_ in needs if sum(taken) + more > all_), "")


def receivers(cluster: Cluster, pool: Pool, zone: str) -> list[Server]:
    """Servers of a zone that may take one more unit of a tenant, those with fewest units first."""
    there = [
        server
        for server in cluster.servers_in(zone)
        if server.observer.works
        and not server.deleting
        and not _holds_tenant(cluster, server, pool)
        and not missing_for(cluster, server, pool.unit)
    ]
    return sorted(there, key=lambda server: len(cluster.units_on(server)))


def has_majority(cluster: Cluster, tenant: Tenant, without: Server | None = None) -> bool:
    """Whether more than half of a tenant's full replicas are alive, one server not counted."""
    full = [zone for zone, kind in tenant.replicas.items() if kind == FULL]
    healthy = 0
    for zone in full:
        holders = [
            unit.server
            for unit in cluster.units
            if unit.pool in tenant.pools and unit.server.zone == zone
        ]
        healthy += bool(holders) and all(
            server.observer.works and server is not without for server in holders
        )
    return 2 * healthy > len(full)


def why_not_deleted(cluster: Cluster, server: Server) -> str:
    """Why OceanBase refuses DELETE SERVER, empty when it does not."""
    if not all(has_majority(cluster, tenant) for tenant in cluster.tenants()):
        return NO_LEADER
    given: list[Unit] = []
    try:
        for unit in [unit for unit in cluster.units if unit.server is server]:
            found = receivers(cluster, unit.pool, server.zone)
            others = [each for each in found if each is not server]
            if not others:
                return NO_ROOM
            given.append(Unit(unit.pool, others[0], 0))
            cluster.units.append(given[-1])
    finally:
        for unit in given:
            cluster.units.remove(unit)
    return ""


def delete_server(world: "World", cluster: Cluster, server: Server) -> None:
    """DELETE SERVER: the server stays listed until its units are elsewhere, with their data."""
    server.deleting = True
    server.orders += 1
    _look(world, cluster, server, server.orders)


def cancel_delete_server(cluster: Cluster, server: Server) -> None:
    """CANCEL DELETE SERVER: moves that are under way are turned back, finished ones stay."""
    server.deleting = False
    server.orders += 1
    for unit in cluster.units:
        if unit.copy is not None and unit.copy.source is server:
            unit.server, unit.copy = server, None


def forget_server(cluster: Cluster, server: Server) -> None:
    """Its row goes, and whatever it still held."""
    server.orders += 1
    cluster.units = [unit for unit in cluster.units if unit.server is not server]
    if server in cluster.servers:
        cluster.servers.remove(server)


def add_units(world: "World", cluster: Cluster, pool: Pool, data_bytes: int) -> list[Unit] | None:
    """Give a pool all its units; they are placed at once, their data is copied from others.

    Returns:
        What was added; `None`, and nothing added, where a zone has no room.
    """
    added: list[Unit] = []
    for zone in pool.zones:
        there = sum(unit.pool is pool and unit.server.zone == zone for unit in cluster.units)
        for _ in range(pool.unit_num - there):
            found = receivers(cluster, pool, zone)
            if not found:
                for unit in added:
                    cluster.units.remove(unit)
                return None
            unit = Unit(pool, found[0], data_bytes)
            cluster.units.append(unit)
            added.append(unit)
            _copy(world, cluster, unit, None)
    return added


def fill_up(world: "World", cluster: Cluster, server: Server) -> None:
    """Give a new server the units that its zone was short of from the beginning."""
    for tenant in cluster.tenants():
        pool = tenant.pool_in(server.zone)
        there = [u for u in cluster.units if u.pool is pool and u.server.zone == server.zone]
        if pool is not None and there and len(there) < pool.unit_num:
            unit = Unit(pool, server, tenant.data_bytes)
            cluster.units.append(unit)
            _copy(world, cluster, unit, None)


def drop_units(cluster: Cluster, pool: Pool, keep: int) -> None:
    """Take the last units of a pool away, so that each zone keeps that many."""
    for zone in pool.zones:
        there = [u for u in cluster.units if u.pool is pool and u.server.zone == zone]
        for unit in there[keep:]:
            cluster.units.remove(unit)


def seconds_left(units: Iterable[Unit], now: float) -> float:
    """Virtual seconds until the data of all these units is where they are."""
    return max((unit.copy.ends - now for unit in units if unit.copy is not None), default=0.0)


def _look(world: "World", cluster: Cluster, server: Server, order: int) -> None:
    """One look at a server that is being deleted: moves begin, and in the end its row goes."""
    if server.orders != order or server not in cluster.servers:
        return
    _balance(world, cluster, server)
    if not cluster.units_on(server) and not server.holds_its_units:
        world.engine.after(
            world.config.delete_server_seconds, lambda: _let_go(world, cluster, server, order)
        )
        return
    world.engine.after(world.config.balance_seconds, lambda: _look(world, cluster, server, order))


def _let_go(world: "World", cluster: Cluster, server: Server, order: int) -> None:
    if server.orders != order:
        return
    if cluster.units_on(server) or not _all_have_leaders(cluster):
        # One log stream without a leader anywhere keeps every server.
        world.engine.after(
            world.config.balance_seconds, lambda: _look(world, cluster, server, order)
        )
        return
    forget_server(cluster, server)


def _all_have_leaders(cluster: Cluster) -> bool:
    return all(has_majority(cluster, tenant) for tenant in cluster.tenants())


def _balance(world: "World", cluster: Cluster, server: Server) -> None:
    """Begin to move what can be moved; one refused move ends the look for all tenants."""
    if server.holds_its_units or not _moves_units(cluster):
        return
    for unit in [unit for unit in cluster.units if unit.server is server]:
        found = receivers(cluster, unit.pool, server.zone)
        if not found:
            continue
        receiver = found[0]
        limit = read_integer(receiver.observer.values["data_disk_usage_limit_percentage"])
        used = bytes_on(cluster, receiver, world.engine.now)
        if (used + unit.data_bytes) * PERCENT >= disk_of(receiver) * limit:
            return
        if any(_is_between(other, server, receiver) for other in cluster.units):
            continue
        unit.server = receiver
        _copy(world, cluster, unit, server)


def _copy(world: "World", cluster: Cluster, unit: Unit, source: Server | None) -> None:
    now = world.engine.now
    seconds = cluster.unit_seconds
    if seconds is None:
        seconds = unit.data_bytes / (world.config.migration_mib_per_second * MIB)
    if not _is_on(cluster, "enable_rereplication"):
        # The unit is elsewhere, its replicas do not follow.
        seconds = math.inf
    unit.copy = copy = Copy(source, now, now + seconds)
    if math.isinf(seconds):
        return

    def arrive() -> None:
        if unit.copy is not copy:
            return
        unit.copy = None
        if source is not None and source.deleting and not cluster.units_on(source):
            # Else the next look comes by itself.
            source.orders += 1
            _look(world, cluster, source, source.orders)

    world.engine.after(seconds, arrive)


def _is_between(unit: Unit, source: Server, receiver: Server) -> bool:
    return unit.copy is not None and unit.copy.source is source and unit.server is receiver


def _moves_units(cluster: Cluster) -> bool:
    sys = next(tenant for tenant in cluster.tenants() if tenant.id == SYS_ID)
    rebalances = tenant_value(cluster, sys, "enable_rebalance") == "True"
    return rebalances or _is_on(cluster, "enable_rereplication")


def tenant_value(cluster: Cluster, tenant: Tenant, name: str, default: str = "True") -> str:
    """What a parameter of that name is for a tenant."""
    return tenant.parameters.get(name, cluster.config.parameters.get(name, default))


def _is_on(cluster: Cluster, name: str) -> bool:
    """A parameter of the cluster, as its first living server has it."""
    living = (server for server in cluster.servers if server.observer.works)
    first = next(living, None)
    return first is None or first.observer.values[name].lower() in ("true", "1")


def _holds_tenant(cluster: Cluster, server: Server, pool: Pool) -> bool:
    if not pool.tenant_id:
        return cluster.holds(server, pool)
    return any(
        unit.server is server and unit.pool.tenant_id == pool.tenant_id for unit in cluster.units
    )
