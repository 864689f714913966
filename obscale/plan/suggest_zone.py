"""Chooses the zone to grow, and names what would keep its capacity from being used."""

from dataclasses import dataclass

from obscale.agent.models import joined_address
from obscale.agent.resources import ResourcePool, UnitConfig
from obscale.errors import PreflightError
from obscale.preflight.facts import Facts
from obscale.preflight.host_facts import cores
from obscale.preflight.rules.cluster import ACTIVE
from obscale.preflight.sizing import automatic_system_memory, number_of, size_of
from obscale.reading import Unread
from obscale.request.models import NodeSpec
from obscale.sizes import render_bytes


@dataclass(frozen=True)
class Units:
    """What tenants have, as far as it could be read."""

    configs: tuple[UnitConfig, ...] = ()
    pools: tuple[ResourcePool, ...] = ()


def choose_zone(facts: Facts, wanted: str | None) -> tuple[str, str, tuple[str, ...]]:
    """Give the zone to grow, the reason, and what imbalance it leaves.

    The zone with the fewest observers, then with the least memory, then by name.

    Args:
        facts: As read.
        wanted: The zone somebody wants; None: any.

    Raises:
        PreflightError: None is known and none was named.
    """
    counts = {zone.name: len(zone.servers) for zone in facts.cluster.zones()}
    memory = {
        zone.name: sum(server.stats.memory_in_bytes_total for server in zone.servers)
        for zone in facts.cluster.zones()
    }
    open_zones = [z.name for z in facts.cluster.zones() if z.inner_status in {"", ACTIVE}]
    smallest = min(open_zones, key=lambda name: (counts[name], memory[name], name), default=None)
    chosen = wanted or smallest
    if chosen is None:
        raise PreflightError(
            "no zone can be suggested: the topology could not be read, or no zone is ACTIVE",
            "name it: --zone",
        )
    after = counts | {chosen: counts.get(chosen, 0) + 1}
    why = "as wished" if wanted else f"the smallest: {_counted(counts)}"
    behind = [name for name, count in sorted(after.items()) if count < after[chosen]]
    if not behind:
        return chosen, why, ()
    note = (
        f"{chosen} then has {after[chosen]} observers, {', '.join(behind)} fewer: unit_num is one "
        f"number for all zones, so tenants cannot use the surplus until {_joined(behind)} too"
    )
    return chosen, why, (note,)


def _joined(names: list[str]) -> str:
    return f"{', '.join(names)} grow{'s' if len(names) == 1 else ''}"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def unfit(facts: Facts, node: NodeSpec, units: Units) -> tuple[str, ...]:
    """Say which units of the zone's pools the new observer could not host."""
    used = {pool.unit_config_id for pool in units.pools if node.zone in pool.zones}
    configs = [unit for unit in units.configs if unit.unit_config_id in used]
    limit, log = size_of(node.obConfigs, "memory_limit"), size_of(node.obConfigs, "log_disk_size")
    if not configs or limit is None or log is None:
        return ()
    system = size_of(node.obConfigs, "system_memory") or automatic_system_memory(limit)
    count = cores(facts)
    cpu = number_of(node.obConfigs, "cpu_count") or (None if isinstance(count, Unread) else count)
    large = [
        unit
        for unit in configs
        if unit.memory_size > limit - system
        or unit.log_disk_size > log
        or (cpu is not None and unit.min_cpu > cpu)
    ]
    if not large:
        return ()
    names = ", ".join(f"{u.name} ({render_bytes(u.memory_size)})" for u in large)
    tail = (
        "its capacity stays unusable until units are smaller"
        if len(large) == len(configs)
        else "the others do"
    )
    return (f"units of {names} do not fit on it; {tail}",)


def other_members(facts: Facts, known: tuple[str, ...]) -> tuple[str, ...]:
    """Give `ip:port` of the cluster's agents beside those already named, for a request's endpoints.

    Args:
        facts: As read.
        known: `ip:port` of those named.
    """
    listed = facts.cluster.ob_info
    if isinstance(listed, Unread):
        return ()
    found = [joined_address(row.ip, row.port) for row in listed.agent_info]
    return tuple(address for address in found if address not in {*known, facts.node.address})
