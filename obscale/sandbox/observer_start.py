"""Decides whether an observer would survive its first start, and with which values.

Sources: OceanBase src/share/config/ob_server_config.cpp, src/share/ob_local_device.cpp, 4.3.5.
"""

from typing import Final

from obscale.sandbox.agents import Agent
from obscale.sandbox.capacity import GIB, print_capacity, read_capacity, read_integer
from obscale.sandbox.parameters import PARAMETERS

MEMORY_FLOOR_BYTES: Final = 4 * GIB
TENANT_FLOOR_BYTES: Final = 1 * GIB
HIDDEN_SYSTEM_FLOOR_BYTES: Final = 1 * GIB
"""The least the hidden sys tenant takes of `system_memory`."""
POOL_MEMORY_NAME: Final = "__min_full_resource_pool_memory"
POOL_MEMORY_DEFAULT_BYTES: Final = 5 * GIB
"""The binary's own default: a joining server does not know the cluster's value yet."""
SLOG_RESERVE_BYTES: Final = 4 * GIB
SYSTEM_MEMORY_LADDER: Final = ((12, 1), (20, 5), (40, 6), (60, 7), (80, 8), (100, 9), (130, 10))
"""(memory_limit below, system_memory), both GiB."""
SYSTEM_MEMORY_PERCENT: Final = 8
DATA_PERCENT: Final = {True: 60, False: 90}
LOG_PERCENT: Final = {True: 30, False: 90}
"""By whether data and log share one file system."""


def effective_values(configs: dict[str, str], agent: Agent) -> dict[str, str]:
    """Every listed parameter's value on a server started with these options.

    Unknown options are skipped, as obshell and observer do. Values that cannot be read stay as
    they were sent; `why_it_dies` tells that the observer refuses them.
    """
    values = {row.name: row.default for row in PARAMETERS if row.scope == "CLUSTER"}
    # Options travel in one list joined by commas: what follows a comma is lost without a word.
    values |= {name: configs[name].partition(",")[0] for name in configs if name in values}
    if POOL_MEMORY_NAME in configs:
        values[POOL_MEMORY_NAME] = configs[POOL_MEMORY_NAME]
    values |= {"local_ip": agent.ip, "devname": values["devname"] or "lo"}
    if any(_unreadable(name, configs[name]) for name in configs):
        return values
    memory = read_capacity(values["memory_limit"])
    if memory == 0:
        percent = read_integer(values["memory_limit_percentage"])
        memory = agent.host.config.memory_total * percent // 100
        values["memory_limit"] = print_capacity(memory)
    if read_capacity(values["system_memory"]) == 0:
        values["system_memory"] = print_capacity(_automatic_system_memory(memory))
    if read_integer(values["cpu_count"]) == 0:
        values["cpu_count"] = str(agent.host.config.cores)
    _fill_disks(values, configs, agent)
    return values


def why_it_dies(
    configs: dict[str, str], values: dict[str, str], agent: Agent, *, first_start: bool
) -> str:
    """The line a real observer's own log would end with; empty if it lives.

    Disks are looked at on the first start only: later the files lie there already.
    """
    for name, value in configs.items():
        if _unreadable(name, value):
            return f"Invalid config, {name} is '{value}', ret=-4147"
    memory, system = read_capacity(values["memory_limit"]), read_capacity(values["system_memory"])
    if memory < MEMORY_FLOOR_BYTES:
        return f"memory_limit {memory} is less than {MEMORY_FLOOR_BYTES}"
    if system < HIDDEN_SYSTEM_FLOOR_BYTES:
        return f"hidden_sys_tenant_memory {HIDDEN_SYSTEM_FLOOR_BYTES} is more than {system}"
    ports = [configs["mysql_port"], configs["rpc_port"], str(agent.port)]
    if len(set(ports)) < len(ports):
        return f"bind port failed, address already in use: {', '.join(ports)}"
    pool = read_integer(configs.get(POOL_MEMORY_NAME, str(POOL_MEMORY_DEFAULT_BYTES)))
    if memory - system < max(TENANT_FLOOR_BYTES, pool):
        return f"memory for tenants {memory - system} is less than {pool}"
    return _why_files_do_not_fit(configs, values, agent) if first_start else ""


def _why_files_do_not_fit(configs: dict[str, str], values: dict[str, str], agent: Agent) -> str:
    real = agent.files.real
    try:
        data_disk = agent.host.disk_of(real(configs["data_dir"]))
        log_disk = agent.host.disk_of(real(configs["clog_dir"]))
    except KeyError as error:
        return f"no file system holds {error}"
    data, log = read_capacity(values["datafile_size"]), read_capacity(values["log_disk_size"])
    if data > data_disk.free - SLOG_RESERVE_BYTES:
        return f"data file size is too large: {data}"
    if log > log_disk.free - (data if log_disk is data_disk else 0):
        return f"log disk is full: {log}"
    return ""


def _fill_disks(values: dict[str, str], configs: dict[str, str], agent: Agent) -> None:
    real = agent.files.real
    try:
        data_disk = agent.host.disk_of(real(configs["data_dir"]))
        log_disk = agent.host.disk_of(real(configs["clog_dir"]))
    except KeyError:
        return
    shared = data_disk is log_disk
    for size, percent, disk, usual in (
        ("datafile_size", "datafile_disk_percentage", data_disk, DATA_PERCENT[shared]),
        ("log_disk_size", "log_disk_percentage", log_disk, LOG_PERCENT[shared]),
    ):
        if read_capacity(values[size]) == 0:
            share = read_integer(values[percent]) or usual
            values[size] = print_capacity(disk.total * share // 100 // GIB * GIB)


def _automatic_system_memory(memory: int) -> int:
    for below, gib in SYSTEM_MEMORY_LADDER:
        if memory < below * GIB:
            return gib * GIB
    return memory * SYSTEM_MEMORY_PERCENT // 100


def _unreadable(name: str, value: str) -> bool:
    kinds = {row.name: row.data_type for row in PARAMETERS}
    kind = "INT" if name == POOL_MEMORY_NAME else kinds.get(name)
    try:
        if kind == "CAPACITY":
            read_capacity(value)
        elif kind == "INT":
            read_integer(value)
    except ValueError:
        return True
    return False
