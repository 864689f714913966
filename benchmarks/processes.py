"""CPU and memory of processes and all they have started, from Linux's /proc."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
KIB: Final = 1024
PARENT, UTIME, CUTIME, PAGES = 1, 11, 13, 21
"""Places of fields in /proc/PID/stat behind the name in brackets."""


@dataclass(frozen=True)
class Process:
    """One process as it was at one moment.

    Args:
        pid: Its number.
        parent: Of what started it.
        words: Its command line.
        cpu_seconds: Its own.
        ended_seconds: CPU of those it has started, and that have ended.
        memory_bytes: Resident.
    """

    pid: int
    parent: int
    words: tuple[str, ...]
    cpu_seconds: float
    ended_seconds: float
    memory_bytes: int


def all_processes() -> dict[int, Process]:
    """Give every process that can be read, by its number."""
    found = (_read(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdecimal())
    return {process.pid: process for process in found if process}


def tree_of(root: int, known: dict[int, Process]) -> Iterator[Process]:
    """Give a process and all below it, itself first."""
    if root not in known:
        return
    yield known[root]
    for each in known.values():
        if each.parent == root:
            yield from tree_of(each.pid, known)


def shared_out_bytes(pid: int) -> int:
    """Give the memory of a process, each page it shares divided by who shares it; 0: it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    told = next((line for line in text.splitlines() if line.startswith("Pss:")), "Pss: 0")
    return int(told.split()[1]) * KIB


def open_files() -> int:
    """Count this process's open file descriptors, beside the one that looks."""
    return len(list(Path("/proc/self/fd").iterdir())) - 1


def resident_bytes(pid: int) -> int:
    """Give the resident memory of a process; 0: it is gone."""
    found = _read(pid)
    return found.memory_bytes if found else 0


def _read(pid: int) -> Process | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return None
    return Process(
        pid=pid,
        parent=int(fields[PARENT]),
        words=tuple(words.rstrip("\0").split("\0")),
        cpu_seconds=sum(map(int, fields[UTIME:CUTIME])) / TICKS_A_SECOND,
        ended_seconds=sum(map(int, fields[CUTIME : CUTIME + 2])) / TICKS_A_SECOND,
        memory_bytes=int(fields[PAGES]) * PAGE_BYTES,
    )
