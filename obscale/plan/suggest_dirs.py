"""Finds disks of a host that are meant for data and redo, and names directories on them. Pure.

obshell tells a mount point only as a hash, so a disk is found by guessing its path: as the peers
have theirs, else by the names that OceanBase's own pages and OBD use.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from obscale.agent.models import HostInfo, Server
from obscale.preflight.facts import Facts
from obscale.preflight.host_facts import host_of
from obscale.preflight.mounts import Mount, find_mount, paths_of
from obscale.preflight.rules.disk import is_unfit_device
from obscale.preflight.rules.layout import mount_hash
from obscale.preflight.sizing import directories_of
from obscale.reading import Unread
from obscale.sizes import GIB, parse_df, render_bytes

DATA_MOUNTS: Final = ("/data/1", "/data/data1", "/data1", "/data", "/obdata", "/ob/data")
REDO_MOUNTS: Final = (
    *("/redo", "/data/log1", "/log1", "/data/redo", "/data/log", "/oblog", "/ob/redo", "/log"),
)
FOLDER: Final = "ob"
"""Below a mount point, which is seldom empty itself (lost+found), and obshell wants it empty."""
SMALLEST_DISK: Final = 16 * GIB
"""A disk with less in all is none for data or redo."""


@dataclass(frozen=True)
class Folder:
    """A directory to ask for, and why."""

    path: str
    why: str


def directories(
    facts: Facts, peers: Sequence[Server], who: str, given: Mapping[str, str]
) -> tuple[dict[str, Folder], tuple[str, ...]]:
    """Give `data_dir` and `redo_dir` where the host has disks for them; and what is to be said.

    Args:
        facts: As read.
        peers: Whose directories are followed where they agree and the host has the disk.
        who: What to call them.
        given: Directories somebody wants, by the same two keys.
    """
    found = {key: Folder(path, "as wished") for key, path in given.items()}
    host, paths = host_of(facts), paths_of(facts)
    if isinstance(host, Unread) or isinstance(paths, Unread):
        return found, ()
    home = find_mount(host, paths["home"])
    if isinstance(home, Unread):
        return found, ()
    agreed = _agreed(peers, facts)
    for key, known in (("data_dir", DATA_MOUNTS), ("redo_dir", REDO_MOUNTS)):
        if key in found:
            continue
        taken = [home, *_mounts(host, found)]
        if (path := agreed.get(key)) and _own_disk(host, path, taken):
            found[key] = Folder(path, f"as all {who}; a disk of its own")
        elif mount := _best(host, known, taken):
            why = f"the disk at {mount.path}, {render_bytes(mount.least_free)} free"
            found[key] = Folder(f"{mount.path}/{FOLDER}", why)
    return found, tuple(_notes(host, home, found))


def _agreed(peers: Sequence[Server], facts: Facts) -> dict[str, str]:
    """What all peers have; without what is only the default below their home."""
    data = {server.data_dir for server in peers}
    # obshell tells the log pool's own directory as redo_dir.
    redo = {server.redo_dir.removesuffix("/clog") for server in peers}
    info = facts.target.info
    home = None if isinstance(info, Unread) else info.home_path
    default = directories_of({}, home).data
    agreed = {}
    for key, told in (("data_dir", data), ("redo_dir", redo)):
        if len(told) == 1 and (path := told.pop()) not in {"", default}:
            agreed[key] = path
    if agreed.get("redo_dir") == agreed.get("data_dir"):
        agreed.pop("redo_dir", None)
    return agreed


def _mounts(host: HostInfo, found: Mapping[str, Folder]) -> Iterator[Mount]:
    for folder in found.values():
        mount = find_mount(host, folder.path)
        if isinstance(mount, Mount):
            yield mount


def _own_disk(host: HostInfo, path: str, taken: Sequence[Mount]) -> bool:
    mount = find_mount(host, path)
    return isinstance(mount, Mount) and _is_free(mount, taken)


def _best(host: HostInfo, known: Sequence[str], taken: Sequence[Mount]) -> Mount | None:
    """The roomiest of the disks mounted exactly at these paths."""
    mounts = (find_mount(host, path) for path in known)
    fit = [
        mount
        for mount, path in zip(mounts, known, strict=True)
        if isinstance(mount, Mount) and mount.path == path and _is_free(mount, taken)
    ]
    return max(fit, key=lambda mount: mount.least_free, default=None)


def _is_free(mount: Mount, taken: Sequence[Mount]) -> bool:
    return _is_fit(mount) and not any(mount.may_be(other) for other in taken)


def _is_fit(mount: Mount) -> bool:
    return not is_unfit_device(mount.device) and mount.total.high >= SMALLEST_DISK


def _notes(host: HostInfo, home: Mount, found: Mapping[str, Folder]) -> Iterator[str]:
    for key, folder in found.items():
        above = PurePosixPath(folder.path).parent
        yield (
            f"{key} {folder.path} must be empty or not there yet, and the user obshell runs as "
            f"must be able to make it: ls -ld {above} on the host"
        )
    known = {home.hash, mount_hash("/"), *(mount.hash for mount in _mounts(host, found))}
    known |= {mount_hash(path) for path in (*DATA_MOUNTS, *REDO_MOUNTS, "/boot", "/home", "/var")}
    for disk in {disk.mount_hash: disk for disk in host.disks}.values():
        total = parse_df(disk.total)
        if (
            disk.mount_hash in known
            or is_unfit_device(disk.device_name)
            or not total
            or total.high < SMALLEST_DISK
        ):
            continue
        yield (
            f"{disk.device_name} ({disk.total}, {disk.used} used) is mounted where obshell does "
            "not say: should data or redo lie there, say --data-dir or --redo-dir"
        )
