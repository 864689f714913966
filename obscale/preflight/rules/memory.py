"""Rules about memory and CPU that the observer asks for.

Sources: OceanBase src/share/config/ob_server_config.cpp and ob_config_helper.cpp, 4.2 to 4.3.5; the
checks of OceanBase Deployer (plugins/oceanbase), where said so.
"""

from typing import Final

from obscale.preflight.facts import Facts
from obscale.preflight.finding import (
    Verdict,
    blocks,
    blocks_in_prod,
    fires,
    not_applicable,
    notes,
    passes,
    unknown,
    warns,
    warns_always,
)
from obscale.preflight.host_facts import (
    CONTAINERS,
    HEADROOM,
    available_memory,
    cores,
    host_of,
    is_old,
    memory_asked,
    memory_gap,
    sharing,
    total_memory,
)
from obscale.preflight.rule import BLOCK, INFO, WARN, rule
from obscale.preflight.sizing import (
    DEFAULT_MEMORY_PERCENTAGE,
    MIN_POOL_KEY,
    automatic_system_memory,
    number_of,
)
from obscale.reading import Unread
from obscale.sizes import GIB, render_bytes

FLOOR: Final = 4 * GIB
PRODUCTION_FLOOR: Final = 16 * GIB
PRODUCTION_MIN_POOL: Final = 2 * GIB
STANDALONE_MIN_POOL: Final = GIB
SMALLEST_UNIT: Final = GIB
START_NEEDS: Final = 3 * GIB
"""Rule of thumb of OceanBase Deployer: available memory for each observer that starts."""
RECOMMENDED_SHARE: Final = 0.9
BUSY_BELOW: Final = 0.75
"""Less of the memory available than this: something really holds it."""
MOST_SYSTEM_SHARE: Final = 0.75
FEWEST_CORES: Final = 4
EASY_CORES: Final = 8
PERCENT_RANGE: Final = (10, 95)


@rule(
    "mem-floor",
    "memory_limit is enough for an observer at all",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 5",
    ground="A",
    source="src/share/config/ob_server_config.cpp, 4.2",
)
def mem_floor(facts: Facts) -> Verdict:
    """The parameter's text says 1 GiB, the initialiser 4."""
    limit = memory_asked(facts).limit
    needed = f"≥ {render_bytes(FLOOR)}"
    if limit is None:
        return unknown(memory_gap(facts), needed)
    if limit < FLOOR:
        return blocks(render_bytes(limit), needed, "raise memory_limit")
    return passes(render_bytes(limit), needed)


@rule(
    HEADROOM,
    "memory is left for the smallest unit",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 5, named in the observer's log only",
    ground="A",
    source="src/share/config/ob_server_config.cpp, 4.2",
)
def mem_tenant_headroom(facts: Facts) -> Verdict:
    """A first start goes by the binary's smallest unit, 5 GiB, not by the cluster's."""
    memory = memory_asked(facts)
    floor = max(SMALLEST_UNIT, memory.min_pool)
    if memory.limit is None or memory.system is None:
        return unknown(memory_gap(facts), f"≥ {render_bytes(floor)} left")
    left = memory.limit - memory.system
    measured = (
        f"{render_bytes(memory.limit)} - {render_bytes(memory.system)} leaves {render_bytes(left)}"
    )
    needed = f"≥ {render_bytes(floor)}"
    remedy = "raise memory_limit or lower system_memory"
    if not memory.min_pool_is_given:
        remedy = f"send {MIN_POOL_KEY}: '{_cluster_min_pool(facts)}' too, or {remedy}"
    if left >= floor:
        return passes(measured, needed)
    if is_old(facts) and left > 0:
        return warns(measured, needed, remedy)
    return blocks(measured, needed, remedy)


def _cluster_min_pool(facts: Facts) -> int:
    """The cluster's own smallest unit in bytes, which obshell tells in GiB; else 2 GiB."""
    told = facts.cluster.unit_config_limit
    gib = None if isinstance(told, Unread) else told.min_memory
    return int(gib * GIB) if gib else PRODUCTION_MIN_POOL


@rule(
    "mem-system-vs-hidden",
    "system_memory holds its hidden part",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 5",
    ground="A",
    source="src/share/config/ob_server_config.cpp, 4.2",
)
def mem_system_vs_hidden(facts: Facts) -> Verdict:
    """The automatic value always does."""
    memory = memory_asked(facts)
    if memory.system is None or memory.hidden is None:
        return unknown(memory_gap(facts), "≥ the hidden sys tenant")
    measured, needed = render_bytes(memory.system), f"≥ {render_bytes(memory.hidden)}"
    if memory.system < memory.hidden:
        return blocks(
            measured, needed, "leave system_memory out", subject="obConfigs.system_memory"
        )
    return passes(measured, needed)


@rule(
    "mem-system-ratio",
    "system_memory leaves a fair share",
    prod=WARN,
    lab=INFO,
    worst=(BLOCK, BLOCK),
    otherwise="stage 5, or waste",
    ground="A",
    softens=True,
    source="OceanBase Deployer, resource_check",
)
def mem_system_ratio(facts: Facts) -> Verdict:
    """All of it cannot start; most of it is waste."""
    memory = memory_asked(facts)
    if memory.limit is None or memory.system is None:
        return unknown(memory_gap(facts))
    if not memory.system_is_given:
        return passes(f"automatic, {render_bytes(memory.system)}")
    measured = f"{render_bytes(memory.system)} of {render_bytes(memory.limit)}"
    needed = f"≤ {render_bytes(memory.limit * MOST_SYSTEM_SHARE)}"
    remedy = "leave system_memory out and let it adapt"
    if memory.system >= memory.limit:
        return blocks(measured, needed, remedy)
    if memory.system > memory.limit * MOST_SYSTEM_SHARE:
        return warns(measured, needed, remedy)
    automatic = automatic_system_memory(memory.limit)
    if memory.system > automatic:
        return notes(f"{measured}; {render_bytes(automatic)} would do", needed, remedy)
    return passes(measured, needed)


@rule(
    "mem-production-floor",
    "the node is large enough for production",
    prod=WARN,
    lab=INFO,
    otherwise="RUNTIME",
    source="OceanBase Deployer, production mode; documentation, Limits",
)
def mem_production_floor(facts: Facts) -> Verdict:
    """16 GiB, and units of at least 2 GiB; of 1 GiB in the standalone edition."""
    memory = memory_asked(facts)
    info = facts.cluster.cluster_info
    is_standalone = not isinstance(info, Unread) and bool(info.is_standalone)
    pool = STANDALONE_MIN_POOL if is_standalone else PRODUCTION_MIN_POOL
    needed = f"≥ {render_bytes(PRODUCTION_FLOOR)}, units ≥ {render_bytes(pool)}"
    if memory.limit is None:
        return unknown(memory_gap(facts), needed)
    measured = f"{render_bytes(memory.limit)}, units ≥ {render_bytes(memory.min_pool)}"
    if memory.limit < PRODUCTION_FLOOR or memory.min_pool < pool:
        return fires(measured, needed, "raise memory_limit, or use the profile lab")
    return passes(measured, needed)


@rule(
    "mem-fits-total",
    "memory_limit fits the machine",
    prod=BLOCK,
    lab=WARN,
    otherwise="SILENT: it starts, and is killed under load",
    ground="B",
    source="memory_limit is a ceiling, not a reservation",
)
def mem_fits_total(facts: Facts) -> Verdict:
    """With the other nodes of the request on the same IP."""
    total, limit = total_memory(facts), sharing(facts).starting_limit
    if isinstance(total, Unread):
        return unknown(total, "≤ the machine's memory")
    if limit is None:
        return unknown(memory_gap(facts))
    measured, needed = _asked(facts, limit), f"≤ {render_bytes(total)}"
    mates = " in all" if sharing(facts).starting > 1 else ""
    remedy = f"lower memory_limit to {int(RECOMMENDED_SHARE * total / GIB)}G or less{mates}"
    if limit > total:
        return blocks_in_prod(measured, needed, remedy)
    if limit > RECOMMENDED_SHARE * total:
        return warns(measured, f"≤ {render_bytes(RECOMMENDED_SHARE * total)}", remedy)
    return passes(measured, f"≤ {render_bytes(RECOMMENDED_SHARE * total)}")


def _asked(facts: Facts, limit: int) -> str:
    mates = sharing(facts).starting
    return render_bytes(limit) + (f" for {mates} observers" if mates > 1 else "")


@rule(
    "mem-available",
    "the memory is free",
    prod=WARN,
    lab=WARN,
    worst=(BLOCK, WARN),
    otherwise="SILENT, or it is killed for memory",
    ground="B",
    source="OceanBase Deployer, resource_check",
)
def mem_available(facts: Facts) -> Verdict:
    """A block only where the machine is plainly too small or busy."""
    total, available = total_memory(facts), available_memory(facts)
    limit = sharing(facts).starting_limit
    for gap in (total, available):
        if isinstance(gap, Unread):
            return unknown(gap, "≤ available memory")
    if limit is None:
        return unknown(memory_gap(facts))
    assert isinstance(total, int)  # noqa: S101 - the loop saw to it
    assert isinstance(available, int)  # noqa: S101
    measured, needed = _asked(facts, limit), f"≤ {render_bytes(available)} available"
    remedy = "stop other processes, or lower memory_limit; compare with free -g"
    if limit > available:
        if limit > total - GIB or available < BUSY_BELOW * total:
            return blocks_in_prod(measured, needed, remedy)
        return warns_always(measured, needed, remedy)
    if limit > RECOMMENDED_SHARE * available:
        return notes(measured, needed, remedy)
    return passes(measured, needed)


@rule(
    "mem-start-minimum",
    "enough memory is free to start",
    prod=BLOCK,
    lab=WARN,
    otherwise="stage 5",
    ground="B",
    source="OceanBase Deployer, START_NEED_MEMORY",
)
def mem_start_minimum(facts: Facts) -> Verdict:
    """3 GiB for each observer to be started."""
    available, need = available_memory(facts), START_NEEDS * sharing(facts).starting
    needed = f"≥ {render_bytes(need)} available"
    if isinstance(available, Unread):
        return unknown(available, needed)
    if available < need:
        return fires(render_bytes(available), needed, "free memory on the host")
    return passes(render_bytes(available), needed)


@rule(
    "mem-percentage-range",
    "the percentage, where it counts, is in range",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 5",
    ground="A",
    source="src/share/parameter/ob_parameter_seed.ipp, 4.3.5",
)
def mem_percentage_range(facts: Facts) -> Verdict:
    """It counts where no memory_limit is given."""
    if memory_asked(facts).limit_is_given:
        return not_applicable("memory_limit is given")
    key = "memory_limit_percentage"
    percent = number_of(facts.configs, key) or DEFAULT_MEMORY_PERCENTAGE
    low, high = PERCENT_RANGE
    needed = f"{low} to {high}"
    if not low <= percent <= high:
        return blocks(f"{percent} %", needed, f"write {needed}", subject=f"obConfigs.{key}")
    return passes(f"{percent} % of the machine's memory", needed)


@rule(
    "mem-container",
    "in a container memory_limit is explicit",
    prod=WARN,
    lab=INFO,
    otherwise="RUNTIME",
    source="/proc/meminfo in a container shows the machine outside",
)
def mem_container(facts: Facts) -> Verdict:
    """The cgroup's limit is not told."""
    host = host_of(facts)
    if isinstance(host, Unread):
        return unknown(host)
    kind = host.basic.host_type.strip()
    if kind not in CONTAINERS:
        return not_applicable(f"{kind or 'bare metal'} is no container")
    if memory_asked(facts).limit_is_given:
        return notes(f"{kind}; memory_limit given", "explicit", "compare with the cgroup's limit")
    return fires(
        f"{kind}; no memory_limit",
        "explicit",
        "set memory_limit to at most 0.9 of the cgroup's limit",
    )


@rule(
    "cpu-floor",
    "the machine has enough cores",
    prod=BLOCK,
    lab=INFO,
    otherwise="RUNTIME",
    ground="B",
    source="documentation, Limits",
)
def cpu_floor(facts: Facts) -> Verdict:
    """4 at least."""
    count = cores(facts)
    needed = f"≥ {FEWEST_CORES} cores"
    if isinstance(count, Unread):
        return unknown(count, needed)
    if count < FEWEST_CORES:
        return fires(f"{count} cores", needed, "use a bigger machine")
    if count < EASY_CORES:
        return notes(f"{count} cores", f"≥ {EASY_CORES} cores")
    return passes(f"{count} cores", needed)


@rule(
    "cpu-count-overcommit",
    "cpu_count is no more than the machine has",
    prod=WARN,
    lab=INFO,
    otherwise="RUNTIME",
    source="documentation, cpu_count",
)
def cpu_count_overcommit(facts: Facts) -> Verdict:
    """Without it the observer takes all cores."""
    count, asked = cores(facts), number_of(facts.configs, "cpu_count")
    if asked is None:
        return passes("cpu_count not sent: all cores")
    if isinstance(count, Unread):
        return unknown(count)
    if asked > count:
        return fires(f"{asked}", f"≤ {count}", "lower cpu_count, or leave it out")
    return passes(f"{asked}", f"≤ {count}")


RULES: Final = (
    mem_floor,
    mem_tenant_headroom,
    mem_system_vs_hidden,
    mem_system_ratio,
    mem_production_floor,
    mem_fits_total,
    mem_available,
    mem_start_minimum,
    mem_percentage_range,
    mem_container,
    cpu_floor,
    cpu_count_overcommit,
)
