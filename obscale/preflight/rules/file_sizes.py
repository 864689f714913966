"""Rules about sensible sizes of data file and log pool.

Sources: OceanBase src/share/unit/ob_unit_resource.cpp and
src/share/parameter/ob_parameter_seed.ipp, 4.3.5; the checks of OceanBase Deployer
(plugins/oceanbase), where said so.
"""

from typing import Final

from obscale.preflight.facts import Facts
from obscale.preflight.finding import (
    Verdict,
    blocks_in_prod,
    fires,
    not_applicable,
    notes,
    passes,
    unknown,
    warns,
)
from obscale.preflight.host_facts import memory_asked, memory_gap
from obscale.preflight.mounts import need_of, sized_disks_of
from obscale.preflight.rule import BLOCK, INFO, WARN, rule
from obscale.preflight.sizing import size_of
from obscale.reading import Unread
from obscale.sizes import GIB, render_bytes

SMALLEST_UNIT_LOG: Final = 2 * GIB
SMALL_LOG: Final = 14 * GIB
SMALLEST_DATAFILE: Final = 2 * GIB
LOG_PER_MEMORY: Final = 3
"""A unit takes three times its memory as log disk by default."""
DATA_PER_MEMORY: Final = 3
SMALLEST_STEP: Final = GIB


def log_bytes(facts: Facts) -> int | Unread:
    """What the log pool will take, in bytes."""
    size = size_of(facts.configs, "log_disk_size")
    if size is not None:
        return size
    disks = sized_disks_of(facts)
    if isinstance(disks, Unread):
        return disks
    return need_of(disks.log_share).upper_bytes(disks.redo)


def data_bytes(facts: Facts) -> int | Unread:
    """What the data file will take, in bytes."""
    size = size_of(facts.configs, "datafile_size")
    if size is not None:
        return size
    disks = sized_disks_of(facts)
    if isinstance(disks, Unread):
        return disks
    return need_of(disks.data_share).upper_bytes(disks.data)


@rule(
    "log-disk-min",
    "the log pool can host a unit",
    prod=BLOCK,
    lab=WARN,
    otherwise="later, when a tenant is created or moved",
    ground="B",
    source="src/share/unit/ob_unit_resource.cpp, 4.3.5",
)
def log_disk_min(facts: Facts) -> Verdict:
    """Below one unit it is nearly always a slip: 24M for 24G."""
    size = log_bytes(facts)
    if isinstance(size, Unread):
        return unknown(size, f"≥ {render_bytes(SMALL_LOG)}")
    measured = render_bytes(size)
    if size < SMALLEST_UNIT_LOG:
        return blocks_in_prod(
            measured,
            f"≥ {render_bytes(SMALLEST_UNIT_LOG)}",
            "raise log_disk_size; a slip of the unit?",
        )
    if size < SMALL_LOG:
        return warns(measured, f"≥ {render_bytes(SMALL_LOG)}", "raise log_disk_size")
    return passes(measured, f"≥ {render_bytes(SMALL_LOG)}")


@rule(
    "log-disk-ratio",
    "the log pool goes with the memory",
    prod=WARN,
    lab=INFO,
    otherwise="SILENT: units do not fit although memory does",
    source="src/share/unit/ob_unit_resource.cpp, 4.3.5; OceanBase Deployer adds system_memory",
)
def log_disk_ratio(facts: Facts) -> Verdict:
    """Three times the memory for units; a node that joins has no log disk of the sys tenant."""
    size, memory = log_bytes(facts), memory_asked(facts)
    if isinstance(size, Unread):
        return unknown(size)
    if memory.for_units is None or memory.system is None:
        return unknown(memory_gap(facts))
    least = LOG_PER_MEMORY * max(memory.for_units, 0)
    usual = least + memory.system
    measured, remedy = render_bytes(size), "raise log_disk_size, also later and online"
    if size < least:
        return fires(
            f"{measured} hosts units of {render_bytes(size // LOG_PER_MEMORY)}",
            f"≥ {render_bytes(least)}",
            remedy,
        )
    if size < usual:
        return notes(
            f"{measured}; the deployer would give {render_bytes(usual)}",
            f"≥ {render_bytes(least)}",
            remedy,
        )
    return passes(measured, f"≥ {render_bytes(least)}")


@rule(
    "datafile-min",
    "the data file is no slip of the unit",
    prod=BLOCK,
    lab=WARN,
    otherwise="stage 5 or RUNTIME",
    ground="B",
    source="OceanBase Deployer; the engine asks for more than 2 MiB only",
)
def datafile_min(facts: Facts) -> Verdict:
    """2 GiB."""
    size = data_bytes(facts)
    needed = f"≥ {render_bytes(SMALLEST_DATAFILE)}"
    if isinstance(size, Unread):
        return unknown(size, needed)
    if size < SMALLEST_DATAFILE:
        return fires(render_bytes(size), needed, "raise datafile_size; a slip of the unit?")
    return passes(render_bytes(size), needed)


@rule(
    "datafile-ratio",
    "the data file goes with the memory",
    prod=INFO,
    lab=INFO,
    otherwise="RUNTIME",
    source="OceanBase Deployer, automatic size",
)
def datafile_ratio(facts: Facts) -> Verdict:
    """The volume of data decides; it grows online."""
    size, limit = data_bytes(facts), memory_asked(facts).limit
    if isinstance(size, Unread):
        return unknown(size)
    if limit is None:
        return unknown(memory_gap(facts))
    needed = f"≥ {render_bytes(DATA_PER_MEMORY * limit)}"
    if size < DATA_PER_MEMORY * limit:
        return fires(
            render_bytes(size),
            needed,
            "let it grow by datafile_maxsize and datafile_next, or later",
        )
    return passes(render_bytes(size), needed)


@rule(
    "datafile-autoextend-consistent",
    "the data file grows as asked",
    prod=WARN,
    lab=INFO,
    otherwise="SILENT: it never extends",
    source="src/share/parameter/ob_parameter_seed.ipp, datafile_maxsize and datafile_next",
)
def datafile_autoextend_consistent(facts: Facts) -> Verdict:
    """Both or neither."""
    most = size_of(facts.configs, "datafile_maxsize")
    step = size_of(facts.configs, "datafile_next")
    size = size_of(facts.configs, "datafile_size")
    if most is None and step is None:
        return not_applicable("no automatic growth")
    if most is None or step is None:
        given = "datafile_next" if most is None else "datafile_maxsize"
        return fires(f"{given} alone", "both", "set datafile_maxsize and datafile_next")
    if size is not None and most < size:
        return fires(
            f"datafile_maxsize {render_bytes(most)}",
            f"≥ datafile_size {render_bytes(size)}",
            "raise datafile_maxsize",
        )
    measured = f"up to {render_bytes(most)} by {render_bytes(step)}"
    if step < SMALLEST_STEP:
        real = min(SMALLEST_STEP, most // 10)
        return notes(f"{measured}; the step becomes {render_bytes(real)}", "≥ 1G a step")
    return passes(measured)


RULES: Final = (
    log_disk_min,
    log_disk_ratio,
    datafile_min,
    datafile_ratio,
    datafile_autoextend_consistent,
)
