"""Computes what the new observer takes: memory, CPU, data file and log pool.

Sources: OceanBase src/share/config/ob_server_config.cpp, src/share/parameter/ob_parameter_seed.ipp
and src/observer/ob_server_utils.cpp, 4.2 to 4.3.5.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from obscale.sizes import GIB, SizeError, parse_capacity

DEFAULT_MEMORY_PERCENTAGE: Final = 80
DEFAULT_MIN_POOL_BYTES: Final = 5 * GIB
"""`__min_full_resource_pool_memory` of the binary. The cluster's value reaches a node only after it
has joined, so the first start is judged by this one."""
MIN_POOL_KEY: Final = "__min_full_resource_pool_memory"

_SYSTEM_LADDER: Final = ((12, 1), (20, 5), (40, 6), (60, 7), (80, 8), (100, 9), (130, 10))
"""Automatic system_memory: below so many GiB of memory_limit, so many GiB."""
_SYSTEM_SHARE_ABOVE: Final = 0.08
_HIDDEN_LADDER: Final = ((12, 1), (40, 2), (80, 3), (130, 4))
"""Hidden part of the sys tenant by memory_limit, where system_memory is automatic."""
_HIDDEN_SHARE_ABOVE: Final = 0.03
_HIDDEN_BY_SYSTEM: Final = ((5, 1), (7, 2), (9, 3), (11, 4))
"""The same by system_memory, where that is given."""
_HIDDEN_SHARE_OF_SYSTEM: Final = 3 / 8

LIMIT_KEYS: Final = (("memory_limit",), ("memory_limit_percentage",))
DISK_KEYS: Final = (
    ("datafile_size", "log_disk_size"),
    ("datafile_disk_percentage", "log_disk_percentage"),
)
"""Keys whose values must be usable before memory, or disks, can be judged: sizes, numbers."""

_SHARED: Final = {"data": 60, "log": 30}
_ALONE: Final = {"data": 90, "log": 90}
"""Percent of the file system that an observer without any size takes; less of both on one disk."""


def size_of(configs: Mapping[str, str], key: str) -> int | None:
    """Give a requested size in bytes; None where absent, zero or not a size.

    A value that is not a size is the business of the rule `cfg-capacity-syntax`.
    """
    text = configs.get(key)
    if not text:
        return None
    try:
        return parse_capacity(text) or None
    except SizeError:
        return None


def number_of(configs: Mapping[str, str], key: str) -> int | None:
    """Give a requested whole number; None where absent, zero or not a number."""
    text = configs.get(key, "")
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(1 << 63)):
        return None
    return int(text) or None


def unusable(configs: Mapping[str, str], sizes: Iterable[str], numbers: Iterable[str]) -> str:
    """Name the first of some keys whose value is given but is no size, or no number; else empty."""
    for key in sizes:
        try:
            parse_capacity(configs.get(key) or "0M")
        except SizeError:
            return key
    for key in numbers:
        text = configs.get(key) or "0"
        if not (text.isascii() and text.isdigit()):
            return key
    return ""


def automatic_system_memory(limit: int) -> int:
    """Give the system_memory an observer of 4.2 or newer chooses itself, in bytes."""
    for below, size in _SYSTEM_LADDER:
        if limit < below * GIB:
            return size * GIB
    return int(limit * _SYSTEM_SHARE_ABOVE)


@dataclass(frozen=True)
class Memory:
    """Memory of the new observer, in bytes. None: it depends on a fact that could not be read."""

    limit: int | None
    """memory_limit, or the percentage of what the host has."""
    system: int | None
    """system_memory, or the automatic one."""
    hidden: int | None
    """Part of system_memory the sys tenant needs."""
    min_pool: int
    """Smallest unit the observer starts with."""
    limit_is_given: bool
    system_is_given: bool
    min_pool_is_given: bool

    @property
    def for_units(self) -> int | None:
        """What is left for units of tenants."""
        if self.limit is None or self.system is None:
            return None
        return self.limit - self.system


def memory_of(configs: Mapping[str, str], host_total: int | None) -> Memory:
    """Work out the memory of a new observer.

    Args:
        configs: obConfigs.
        host_total: Memory of the host in bytes; None: unread.
    """
    given = size_of(configs, "memory_limit")
    limit = given
    if limit is None and host_total is not None and not unusable(configs, *LIMIT_KEYS):
        percent = number_of(configs, "memory_limit_percentage") or DEFAULT_MEMORY_PERCENTAGE
        limit = host_total * percent // 100
    system_given = size_of(configs, "system_memory")
    system = system_given
    if system is None and limit is not None and not unusable(configs, ["system_memory"], ()):
        system = automatic_system_memory(limit)
    min_pool = number_of(configs, MIN_POOL_KEY)
    return Memory(
        limit=limit,
        system=system,
        hidden=_hidden(limit, system_given),
        min_pool=min_pool or DEFAULT_MIN_POOL_BYTES,
        limit_is_given=given is not None,
        system_is_given=system_given is not None,
        min_pool_is_given=min_pool is not None,
    )


def _hidden(limit: int | None, system_given: int | None) -> int | None:
    if system_given is not None:
        for below, size in _HIDDEN_BY_SYSTEM:
            if system_given < below * GIB:
                return size * GIB
        return int(system_given * _HIDDEN_SHARE_OF_SYSTEM)
    if limit is None:
        return None
    for below, size in _HIDDEN_LADDER:
        if limit < below * GIB:
            return size * GIB
    return int(limit * _HIDDEN_SHARE_ABOVE)


@dataclass(frozen=True)
class Share:
    """What one part takes of its disk: a size in bytes, or a percentage of the file system."""

    size: int | None
    percent: int | None
    is_given: bool


def share_of(configs: Mapping[str, str], part: str, *, shared: bool) -> Share:
    """Work out what the data file or the log pool takes.

    Args:
        configs: obConfigs.
        part: `data` or `log`.
        shared: Whether both lie on one file system, which halves the defaults.
    """
    stem = "datafile" if part == "data" else "log_disk"
    part_name = "datafile_disk" if part == "data" else "log_disk"
    size = size_of(configs, f"{stem}_size")
    if size is not None:
        return Share(size, None, is_given=True)
    percent = number_of(configs, f"{part_name}_percentage")
    if percent is not None:
        return Share(None, percent, is_given=True)
    return Share(None, (_SHARED if shared else _ALONE)[part], is_given=False)


@dataclass(frozen=True)
class Directories:
    """Directories of the new observer. `home` None: the agent did not say."""

    home: str | None
    data: str | None
    redo: str | None
    clog: str | None
    slog: str | None


def directories_of(configs: Mapping[str, str], home: str | None) -> Directories:
    """Work out the directories, an empty text counting as absent.

    Source: ob/agent/executor/ob/config.go, 4.5.0.0

    Args:
        configs: obConfigs.
        home: The agent's home; None: unread.
    """
    data = configs.get("data_dir") or (f"{home.rstrip('/')}/store" if home else None)
    redo = configs.get("redo_dir") or data
    return Directories(
        home=home,
        data=data,
        redo=redo,
        clog=configs.get("clog_dir") or (f"{redo.rstrip('/')}/clog" if redo else None),
        slog=configs.get("slog_dir") or (f"{data.rstrip('/')}/slog" if data else None),
    )
