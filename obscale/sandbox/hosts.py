"""The simulated machine: memory, disks and directories.

Only what obshell and the observer look at is simulated; nothing touches the real file system.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from obscale.sandbox.capacity import KIB, df_size
from obscale.sandbox.config import HostConfig


@dataclass
class Disk:
    """One mounted file system; sizes in bytes."""

    mount: str
    device: str
    total: int
    used: int

    @property
    def free(self) -> int:
        """What is left, never negative."""
        return max(0, self.total - self.used)


def sha1_hex(text: str) -> str:
    """SHA-1 as obshell uses it to name mounts and hosts. Source: ob/utils/sha1.go, 4.5.0.0."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Host:
    """A machine, shared by the agents that run on it."""

    def __init__(self, config: HostConfig) -> None:
        self.config = config
        self.disks = [Disk(d.mount, d.device, d.total, d.used) for d in config.disks]
        self._allocated: dict[str, int] = {}

    def disk_of(self, path: str) -> Disk:
        """The file system a path lies on: the longest mount point above it.

        Raises:
            KeyError: No mount point covers the path.
        """
        for parent in (PurePosixPath(path), *PurePosixPath(path).parents):
            for disk in reversed(self.disks):
                if disk.mount == str(parent):
                    return disk
        raise KeyError(path)

    def allocate(self, path: str, size_bytes: int) -> None:
        """A file of that size now lies at `path`."""
        self.release(path)
        self.disk_of(path).used += size_bytes
        self._allocated[path] = size_bytes

    def release(self, path: str) -> None:
        """What lay at `path` or below it is gone; other paths are left alone."""
        for file in [file for file in self._allocated if is_below(file, path)]:
            self.disk_of(file).used -= self._allocated.pop(file)

    def printed(self, ip: str) -> dict[str, Any]:
        """The data of `GET /api/v1/agent/host-info`. Source: ob/agent/executor/host/info.go."""
        config = self.config
        free = config.memory_available - config.memory_available // 10
        return {
            "os": {"os": config.os, "version": config.os_version},
            "cpuInfo": {
                "frequency": "2500.000",
                "modelName": "Intel(R) Xeon(R) Platinum 8269CY CPU @ 2.50GHz",
                "logicalCores": config.cores,
                "physicalCores": config.sockets,
            },
            "basic": {"hostHash": sha1_hex(ip), "hostType": config.virtualization},
            "disks": [
                {
                    "used": df_size(disk.used),
                    "total": df_size(disk.total),
                    "mountHash": sha1_hex(disk.mount),
                    "deviceName": disk.device,
                }
                for disk in self.disks
            ],
            "memoryInfo": {
                "free": f"{free // KIB} kB",
                "total": f"{config.memory_total // KIB} kB",
                "available": f"{config.memory_available // KIB} kB",
            },
            "ulimit": {
                "nofileHard": config.nofile,
                "nofileSoft": config.nofile,
                "maxUserProcessesHard": config.nproc,
                "maxUserProcessesSoft": config.nproc,
            },
        }


@dataclass
class FileTree:
    """The few directories of one agent that a scale-out creates, checks and deletes.

    Attributes:
        dirs: Directory path to the names inside it.
        links: Symbolic link path to its target.
        deleted: Every path `clear` removed, in order: what a rollback destroyed.
    """

    dirs: dict[str, list[str]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)

    def real(self, path: str) -> str:
        """The path with its links followed."""
        for _ in range(len(self.links)):
            hit = [link for link in self.links if is_below(path, link)]
            if not hit:
                break
            link = max(hit, key=len)
            path = self.links[link] + path.removeprefix(link)
        return path

    def is_empty(self, path: str) -> bool:
        """Whether a directory is missing or holds nothing."""
        path = self.real(path)
        return not self.dirs.get(path) and not any(
            other != path and is_below(other, path) for other in self.dirs
        )

    def exists(self, path: str) -> bool:
        """Whether there is a directory, at the end of all links."""
        real = self.real(path)
        return any(is_below(directory, real) for directory in self.dirs)

    def make(self, path: str, *names: str) -> None:
        """Create a directory, with files of these names inside."""
        inside = self.dirs.setdefault(self.real(path), [])
        inside.extend(name for name in names if name not in inside)

    def clear(self, path: str) -> str:
        """`rm -rf` of what the path resolves to, the link included; returns the real path."""
        real = self.real(path)
        for directory in [directory for directory in self.dirs if is_below(directory, real)]:
            del self.dirs[directory]
            self.deleted.append(directory)
        self.links.pop(path, None)
        return real


def is_below(path: str, parent: str) -> bool:
    """Whether `path` is `parent` or lies in it, by whole components."""
    return PurePosixPath(path).is_relative_to(PurePosixPath(parent))
