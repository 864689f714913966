"""Rules about the target's machine beside its peers', and about its disk's use.

Peers' machines come from obshell's `/obcluster/statistics`, matched by the hash of their IP.
Sources: ob/agent/executor/ob/statistics.go and ob/agent/executor/host/info.go, 4.5.0.0.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from obscale.agent.models import HostInfo, OsRelease
from obscale.preflight.facts import Facts
from obscale.preflight.finding import (
    Verdict,
    fires,
    not_applicable,
    passes,
    unknown,
)
from obscale.preflight.host_facts import CONTAINERS, host_of
from obscale.preflight.mounts import PATHS_UNRESOLVED, Mount, disks_of, find_mount
from obscale.preflight.rule import INFO, WARN, rule
from obscale.preflight.rules.layout import mount_hash
from obscale.reading import CLUSTER_FACTS_MISSING, Unread
from obscale.sizes import render_bytes

ALIKE_SHARE: Final = 0.1
"""Disks that differ by no more are alike; `df -h` rounds by as much as 5 %."""
STIRRED_SHARE: Final = 0.05
"""Of the disk's free space, gained or lost between two looks."""


def peer_hosts(facts: Facts) -> Mapping[str, HostInfo] | Unread:
    """Give the machines of the cluster's members that were told, by IP."""
    statistics = facts.cluster.statistics
    if isinstance(statistics, Unread):
        return Unread(statistics.reason, statistics.supported, CLUSTER_FACTS_MISSING)
    told = {host.basic.host_hash: host for host in statistics.hosts}
    # obshell hashes an IP in the same way as a mount point.
    hashes = {ip: mount_hash(ip) for ip in sorted(facts.cluster.member_ips())}
    found = {ip: told[digest] for ip, digest in hashes.items() if digest in told}
    return found or Unread("no member's machine was told")


@rule(
    "os-match",
    "the machine runs the operating system of its peers",
    prod=INFO,
    lab=INFO,
    otherwise="SILENT",
    source="obshell GET /agent/host-info, GET /obcluster/statistics",
)
def os_match(facts: Facts) -> Verdict:
    """The same distribution, the same major version."""
    host, peers = host_of(facts), peer_hosts(facts)
    if isinstance(host, Unread):
        return unknown(host, "as its peers")
    if isinstance(peers, Unread):
        return unknown(peers, "as its peers")
    mine = _os(host.os)
    theirs = sorted({told for peer in peers.values() if (told := _os(peer.os))})
    if not mine or not theirs:
        return unknown("the operating system is not told on both sides", "as its peers")
    if theirs != [mine]:
        return fires(f"target {mine}, peers {', '.join(theirs)}", "one system", "is that intended?")
    return passes(mine)


def _os(release: OsRelease) -> str:
    """Distribution and major version; both may still stand in the quotes of /etc/os-release."""
    name, version = release.os.strip("\" '"), release.version.strip("\" '")
    return f"{name} {version.partition('.')[0]}".strip() if name else ""


@rule(
    "virt-type",
    "the machine is no container",
    prod=INFO,
    lab=INFO,
    otherwise="RUNTIME, killed for memory",
    source="systemd-detect-virt, as obshell runs it; empty on bare metal and where it is missing",
)
def virt_type(facts: Facts) -> Verdict:
    """Whether memory_limit is explicit there is the business of `mem-container`."""
    host = host_of(facts)
    if isinstance(host, Unread):
        return unknown(host)
    kind = host.basic.host_type.strip()
    if kind in CONTAINERS:
        return fires(
            f"{kind}: memory and CPU told are those of the machine outside",
            "no container",
            "set memory_limit by the cgroup's limit",
        )
    return passes(kind or "bare metal, or not told")


@rule(
    "disk-drift",
    "the data disk is as large as its peers'",
    prod=INFO,
    lab=INFO,
    otherwise="uneven capacity",
    source="obshell GET /obcluster/statistics, GET /obcluster/topology/info (4.4.1.0)",
)
def disk_drift(facts: Facts) -> Verdict:
    """Within a tenth of each peer's."""
    disks, peers = disks_of(facts), peer_disks(facts)
    if isinstance(disks, Unread):
        return unknown(disks, "as its peers'")
    if isinstance(peers, Unread):
        return unknown(peers, "as its peers'")
    if not peers:
        return not_applicable("no peer tells where its data lies")
    mine = disks.data.total.high
    other = {
        ip: size for ip, size in peers.items() if abs(size - mine) > ALIKE_SHARE * max(size, mine)
    }
    measured = f"{disks.data.path} has {render_bytes(mine)}"
    if other:
        told = ", ".join(f"{ip} {render_bytes(size)}" for ip, size in other.items())
        return fires(measured, "as its peers'", f"is that intended? {told}")
    return passes(measured, "as its peers'")


def peer_disks(facts: Facts) -> Mapping[str, int] | Unread:
    """Give the size of the disk below each server's data directory, in bytes, by IP."""
    peers = peer_hosts(facts)
    if isinstance(peers, Unread):
        return peers
    found = {}
    for _, server in facts.cluster.servers():
        if server.data_dir and server.ip in peers:
            mount = find_mount(peers[server.ip], server.data_dir)
            if isinstance(mount, Mount):
                found[server.ip] = mount.total.high
    return found


@rule(
    "disk-recent-usage",
    "nobody else writes to the disks",
    prod=WARN,
    lab=INFO,
    otherwise="stage 5",
    source="two looks at obshell GET /agent/host-info",
)
def disk_recent_usage(facts: Facts) -> Verdict:
    """Compared with an earlier look, where there was one."""
    before, disks = facts.target.host_before, disks_of(facts)
    if before is None:
        return not_applicable("looked at once only")
    if isinstance(disks, Unread):
        return unknown(disks, "unchanged")
    changes = list(_changes(disks.mounts(), before))
    gaps = [change for change in changes if isinstance(change, Unread)]
    if gaps:
        return unknown(Unread(gaps[0].reason, covered_by=PATHS_UNRESOLVED), "unchanged")
    told = [change for change in changes if isinstance(change, str) and change]
    needed = f"free space within {STIRRED_SHARE:.0%} of the look before"
    if told:
        return fires("; ".join(told), needed, "see what writes there, and wait for its end")
    return passes("free space as at the look before", needed)


def _changes(mounts: tuple[Mount, ...], before: HostInfo) -> Iterator[str | Unread]:
    for now in mounts:
        then = find_mount(before, now.path)
        if isinstance(then, Unread):
            yield then
        elif abs(now.most_free - then.most_free) > STIRRED_SHARE * max(then.most_free, 1):
            was, is_ = render_bytes(then.most_free), render_bytes(now.most_free)
            yield f"{now.path} had at most {was} free and now has {is_}"


RULES: Final = (os_match, virt_type, disk_drift, disk_recent_usage)
