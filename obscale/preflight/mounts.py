"""Finds the disk that a directory lies on, and what may be free there.

Disks come from `df -h`: sizes rounded up, the mount point only as a hash. Sources: obshell
ob/agent/executor/host/info.go and utils/sha1.go, 4.5.0.0; OceanBase src/share/ob_local_device.cpp.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final

from obscale.agent.models import HostInfo
from obscale.preflight.facts import Facts
from obscale.preflight.host_facts import host_of, unusable_gap
from obscale.preflight.rules.layout import clean, mount_hash
from obscale.preflight.rules.versions import cluster_ob_version, numbers_of
from obscale.preflight.sizing import (
    DISK_KEYS,
    Share,
    directories_of,
    number_of,
    share_of,
    unusable,
)
from obscale.reading import Unread
from obscale.sizes import GIB, MIB, Interval, parse_df

PATHS_UNRESOLVED: Final = "disk-path-resolvable"
RESERVED_SHARE: Final = 0.05
"""ext4 keeps so much for root by default, XFS nothing. A guess: other reserves are invisible."""
SLOG_BYTES: Final = 4 * GIB
"""The observer keeps so much free beside its data file."""
SYSLOG_FILE_BYTES: Final = 256 * MIB
SYSLOG_WITHOUT_COUNT: Final = GIB
SYSLOG_KINDS: Final = 4
"""Observers before 4.2.1.4, and of 4.2.2, keep so many files for each of `max_syslog_file_count`.

Source: OceanBase Deployer.
"""
SYSLOG_BY_COUNT_SINCE: Final = (4, 2, 1, 4)
_SYSLOG_BY_KIND_AGAIN: Final = ((4, 2, 2), (4, 2, 3))


@dataclass(frozen=True)
class Mount:
    """One disk as far as `df` shows it.

    Args:
        path: Mount point.
        hash: Its hash, as obshell gives it.
        device: Name of the device.
        total: Size.
        used: Used.
    """

    path: str
    hash: str
    device: str
    total: Interval
    used: Interval

    @property
    def most_free(self) -> int:
        """Nothing larger can fit, in bytes."""
        return self.total.high - self.used.low

    @property
    def least_free(self) -> int:
        """So much is probably free; a guess, because of the reserve."""
        return int(self.total.low - self.used.high - RESERVED_SHARE * self.total.high)

    @property
    def used_share(self) -> float:
        """Used part of the whole, 0 to 1."""
        return self.used.high / self.total.high if self.total.high else 1.0

    def may_be(self, other: "Mount") -> bool:
        """Whether two mounts may be one disk: subvolumes, bind mounts, one export."""
        if self.hash == other.hash:
            return True
        tells = self.device.startswith("/dev/") or ":/" in self.device
        return tells and self.device == other.device


@dataclass(frozen=True)
class Need:
    """What is taken of a disk: bytes, and percent of what the file system holds."""

    size: int = 0
    percent: int = 0

    def __add__(self, other: "Need") -> "Need":
        return Need(self.size + other.size, self.percent + other.percent)

    def surely_exceeds(self, mount: Mount) -> bool:
        """Whether it cannot fit, whatever the reserve."""
        rest = (100 - self.percent) / 100 * mount.total.high
        return self.size + mount.used.low > rest

    def may_exceed(self, mount: Mount) -> bool:
        """Whether it may not fit, if root keeps the usual reserve."""
        holds = mount.total.low - RESERVED_SHARE * mount.total.high
        return self.size + mount.used.high > (100 - self.percent) / 100 * holds

    def upper_bytes(self, mount: Mount) -> int:
        """Give the size in bytes, the percentage taken of the whole disk."""
        return self.size + self.percent * mount.total.high // 100


def need_of(share: Share) -> Need:
    """Make a need of a share."""
    return Need(size=share.size) if share.size is not None else Need(percent=share.percent or 0)


@dataclass(frozen=True)
class Disks:
    """Where the parts of the new observer lie, and what each takes.

    Args:
        data: Disk of the data file.
        redo: Disk of the log pool.
        home: Disk of the agent's home, where the observer's own logs go.
        data_share: Of the data file.
        log_share: Of the log pool.
        syslog_bytes: Of the observer's own logs.
        syslog_is_bounded: Whether they are ever recycled.
    """

    data: Mount
    redo: Mount
    home: Mount
    data_share: Share
    log_share: Share
    syslog_bytes: int
    syslog_is_bounded: bool

    @property
    def are_one(self) -> bool:
        """Whether data and redo lie on one file system."""
        return self.data.hash == self.redo.hash

    def mounts(self) -> tuple[Mount, ...]:
        """Give each disk once."""
        return tuple({mount.hash: mount for mount in (self.data, self.redo, self.home)}.values())

    def musts(self, mount: Mount) -> tuple[Need, ...]:
        """Give what the first start allocates on a disk; each must fit by itself."""
        nothing = Need()
        data = need_of(self.data_share) if mount.hash == self.data.hash else nothing
        log = need_of(self.log_share) if mount.hash == self.redo.hash else nothing
        slog = Need(size=SLOG_BYTES) if mount.hash == self.data.hash else nothing
        return tuple(dict.fromkeys(need for need in (data + log, data + slog) if need != nothing))

    def want(self, mount: Mount) -> Need:
        """Give all that a disk should hold: data, log, slog and the observer's own logs."""
        need = Need()
        if mount.hash == self.data.hash:
            need += need_of(self.data_share) + Need(size=SLOG_BYTES)
        if mount.hash == self.redo.hash:
            need += need_of(self.log_share)
        if mount.hash == self.home.hash:
            need += Need(size=self.syslog_bytes)
        return need


def find_mount(host: HostInfo, path: str) -> Mount | Unread:
    """Find the disk of a path: the longest ancestor that is a mount point.

    Whole path components are compared, so that `/data1` is not below `/data`. The last row of a
    hash wins, as later mounts cover earlier ones.
    """
    rows = {disk.mount_hash: disk for disk in host.disks}
    for ancestor, hashed in _with_ancestors(path):
        disk = rows.get(hashed)
        if disk is None:
            continue
        total, used = parse_df(disk.total), parse_df(disk.used)
        if total is None or used is None or total.high == 0:
            return Unread(
                f"the disk at {ancestor} reads {disk.total!r} of which {disk.used!r} used"
            )
        return Mount(ancestor, disk.mount_hash, disk.device_name, total, used)
    return Unread(f"no disk is told for {path}")


@lru_cache(maxsize=256)
def _with_ancestors(path: str) -> tuple[tuple[str, str], ...]:
    """Give a path and all above it, cleaned, each with its hash: asked for by a dozen rules."""
    here = PurePosixPath(clean(path))
    return tuple((str(each), mount_hash(str(each))) for each in (here, *here.parents))


def paths_of(facts: Facts) -> Mapping[str, str] | Unread:
    """Give home, data and redo (where the log pool really goes) as clean paths."""
    info = facts.target.info
    if isinstance(info, Unread):
        return info
    if not info.home_path:
        return Unread("the agent does not tell its home")
    dirs = directories_of(facts.configs, info.home_path)
    parts = {"home": dirs.home, "data": dirs.data, "redo": dirs.clog}
    return {name: clean(path) for name, path in parts.items() if path}


def sized_disks_of(facts: Facts) -> Disks | Unread:
    """Find the disks for rules that need what each part takes of them."""
    bad = unusable(facts.configs, *DISK_KEYS)
    return unusable_gap(bad) if bad else disks_of(facts)


def disks_of(facts: Facts) -> Disks | Unread:
    """Find the disks of the new observer, or the gap as `disk-path-resolvable` covers it."""
    host, paths = host_of(facts), paths_of(facts)
    if isinstance(host, Unread):
        return host
    if isinstance(paths, Unread):
        return Unread(paths.reason, covered_by=paths.covered_by or PATHS_UNRESOLVED)
    found = {name: find_mount(host, path) for name, path in paths.items()}
    known = {name: mount for name, mount in found.items() if isinstance(mount, Mount)}
    if len(known) < len(found):
        reasons = [mount.reason for mount in found.values() if isinstance(mount, Unread)]
        return Unread("; ".join(dict.fromkeys(reasons)), covered_by=PATHS_UNRESOLVED)
    shared = known["data"].hash == known["redo"].hash
    count = number_of(facts.configs, "max_syslog_file_count")
    return Disks(
        data=known["data"],
        redo=known["redo"],
        home=known["home"],
        data_share=share_of(facts.configs, "data", shared=shared),
        log_share=share_of(facts.configs, "log", shared=shared),
        syslog_bytes=count * _syslog_kinds(facts) * SYSLOG_FILE_BYTES
        if count
        else SYSLOG_WITHOUT_COUNT,
        syslog_is_bounded=count is not None,
    )


def _syslog_kinds(facts: Facts) -> int:
    """How many files an observer keeps for each one of `max_syslog_file_count`."""
    told = cluster_ob_version(facts)
    if told is None:
        return 1
    version = numbers_of(told.version)
    since, until = _SYSLOG_BY_KIND_AGAIN
    if version < SYSLOG_BY_COUNT_SINCE or since <= version < until:
        return SYSLOG_KINDS
    return 1
