"""Rules about the units of tenants and the size of the new server.

Sources: OceanBase src/share/unit/ob_unit_resource.cpp, 4.3.5; obshell GET /units/config and GET
/resource-pools, 4.2.4.0.
"""

from typing import Final

from obscale.agent.resources import ResourcePool, UnitConfig
from obscale.preflight.facts import Facts
from obscale.preflight.finding import (
    Verdict,
    fires,
    not_applicable,
    notes,
    passes,
    unknown,
)
from obscale.preflight.host_facts import memory_asked, memory_gap
from obscale.preflight.rule import INFO, WARN, rule
from obscale.preflight.rules.cluster_mode import SYS_TENANT_ID, covered
from obscale.preflight.rules.drift import asked_spec
from obscale.preflight.rules.file_sizes import log_bytes
from obscale.reading import Unread
from obscale.sizes import render_bytes


@rule(
    "units-fit",
    "the units of the zone's tenants fit on the server",
    prod=WARN,
    lab=INFO,
    otherwise="SILENT; later: machine resource not enough",
    source="src/share/unit/ob_unit_resource.cpp, 4.3.5; oceanbase/oceanbase#157",
)
def units_fit(facts: Facts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """One that fits makes the server useful; none leaves it empty."""
    pools, configs = facts.cluster.pools, facts.cluster.unit_configs
    if isinstance(pools, Unread):
        return unknown(covered(pools), "room for a unit")
    if isinstance(configs, Unread):
        return unknown(covered(configs), "room for a unit")
    units = units_of(facts.node.zone, pools, configs)
    if not units:
        return not_applicable(f"no tenant of users has units in {facts.node.zone}")
    memory, log = memory_asked(facts).for_units, log_bytes(facts)
    if memory is None:
        return unknown(memory_gap(facts), "room for a unit")
    if isinstance(log, Unread):
        return unknown(log, "room for a unit")
    cpu = asked_spec(facts).values.get("cpu_count")
    measured = f"{_count(cpu)} cores, {render_bytes(max(memory, 0))}, log {render_bytes(log)}"
    unfit = [
        unit
        for unit in units
        if unit.memory_size > memory
        or unit.log_disk_size > log
        or (cpu is not None and unit.max_cpu > cpu)
    ]
    if not unfit:
        return passes(measured, f"≥ {_told(units[0])}")
    remedy = "raise memory_limit or log_disk_size, now or online"
    if len(unfit) == len(units):
        return fires(f"{measured}: no unit fits", f"≥ {_told(units[-1])}", remedy)
    names = ", ".join(unit.name for unit in unfit)
    return notes(f"{measured}: {names} does not fit", f"≥ {_told(unfit[0])}", remedy)


def units_of(
    zone: str, pools: tuple[ResourcePool, ...], configs: tuple[UnitConfig, ...]
) -> list[UnitConfig]:
    """Give the units that may come to a zone, the largest first; those of `sys` never do."""
    used = {
        pool.unit_config_id
        for pool in pools
        if zone in pool.zones and pool.tenant_id != SYS_TENANT_ID
    }
    found = [config for config in configs if config.unit_config_id in used]
    return sorted(found, key=lambda unit: (unit.memory_size, unit.log_disk_size), reverse=True)


def _told(unit: UnitConfig) -> str:
    return (
        f"{unit.max_cpu:g} cores, {render_bytes(unit.memory_size)}, "
        f"log {render_bytes(unit.log_disk_size)} ({unit.name})"
    )


def _count(cpu: float | None) -> str:
    return "unknown" if cpu is None else f"{cpu:g}"


RULES: Final = (units_fit,)
