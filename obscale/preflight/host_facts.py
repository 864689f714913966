"""The facts of the target's machine, as far as obshell tells them.

Source: obshell ob/agent/executor/host/info.go, 4.5.0.0.
"""

from dataclasses import dataclass, replace
from typing import Final

from obscale.agent.models import HostInfo
from obscale.preflight.facts import HOST_FACTS_MISSING, Facts
from obscale.preflight.rules.versions import cluster_ob_version, numbers_of
from obscale.preflight.sizing import LIMIT_KEYS, Memory, memory_of, unusable
from obscale.reading import Unread
from obscale.sizes import parse_meminfo

LADDER_SINCE: Final = (4, 2)
"""Older observers choose system_memory by another ladder and check less."""
HEADROOM: Final = "mem-tenant-headroom"

CONTAINERS: Final = frozenset({"docker", "lxc", "podman", "systemd-nspawn", "openvz", "wsl"})
"""`systemd-detect-virt` says so; memory and CPU figures are then those of the machine outside."""


def host_of(facts: Facts) -> HostInfo | Unread:
    """Give the machine, or the gap as the one finding about it covers it."""
    host = facts.target.host
    if isinstance(host, Unread) and not host.covered_by:
        return Unread(host.reason, host.supported, HOST_FACTS_MISSING)
    return host


def total_memory(facts: Facts) -> int | Unread:
    """Give the machine's memory in bytes."""
    host = host_of(facts)
    if isinstance(host, Unread):
        return host
    total = parse_meminfo(host.memory_info.total)
    return total or Unread(f"MemTotal reads {host.memory_info.total!r}")


def available_memory(facts: Facts) -> int | Unread:
    """Give the memory the kernel calls available, in bytes."""
    host = host_of(facts)
    if isinstance(host, Unread):
        return host
    available = parse_meminfo(host.memory_info.available)
    return (
        Unread(f"MemAvailable reads {host.memory_info.available!r}")
        if available is None
        else available
    )


def cores(facts: Facts) -> int | Unread:
    """Give the number of logical cores."""
    host = host_of(facts)
    if isinstance(host, Unread):
        return host
    return host.cpu_info.logical_cores or Unread("the number of cores is not told")


def memory_gap(facts: Facts) -> Unread:
    """Say why the memory of the new observer is not known."""
    if bad := unusable(facts.configs, [*LIMIT_KEYS[0], "system_memory"], LIMIT_KEYS[1]):
        return unusable_gap(bad)
    if memory_asked(facts).limit is not None:
        return Unread(
            "observers before 4.2 choose system_memory in another way", covered_by=HEADROOM
        )
    total = total_memory(facts)
    return total if isinstance(total, Unread) else Unread("memory_limit is not known")


def unusable_gap(key: str) -> Unread:
    """Give the gap a bad value leaves; the rule about its syntax reports it."""
    cover = "cfg-int-range" if key.endswith("percentage") else "cfg-capacity-syntax"
    return Unread(f"{key} cannot be used as it is written", covered_by=cover)


def memory_asked(facts: Facts) -> Memory:
    """Work out the memory of the new observer on this machine.

    What an observer older than `LADDER_SINCE` chooses itself is not known.
    """
    total = total_memory(facts)
    memory = memory_of(facts.configs, None if isinstance(total, Unread) else total)
    if memory.system_is_given or not is_old(facts):
        return memory
    return replace(memory, system=None, hidden=None)


def is_old(facts: Facts) -> bool:
    """Whether the cluster's observers choose system_memory in a way of their own."""
    version = cluster_ob_version(facts)
    return version is not None and numbers_of(version.version)[:2] < LADDER_SINCE


@dataclass(frozen=True)
class Sharing:
    """Who else is on the machine, by its IP."""

    starting: int
    """Observers of this request still to be started there, this one included."""
    running: int
    """Observers the cluster already has there."""
    starting_limit: int | None
    """Sum of their memory limits in bytes; None where one is not known."""


def sharing(facts: Facts) -> Sharing:
    """Count the observers on the target's IP."""
    ip = facts.node.agentInfo.ip
    total = total_memory(facts)
    known_total = None if isinstance(total, Unread) else total
    mates = [node for node in facts.joining() if node.agentInfo.ip == ip]
    if facts.node not in mates:
        mates.append(facts.node)
    limits = [memory_of(node.obConfigs, known_total).limit for node in mates]
    known = [limit for limit in limits if limit is not None]
    running = sum(server.ip == ip for _, server in facts.cluster.servers())
    return Sharing(len(mates), running, sum(known) if len(known) == len(limits) else None)
