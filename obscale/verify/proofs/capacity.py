"""Proofs of capacity: the server offers what was asked, and the cluster has grown by it.

Capacities come from GV$OB_SERVERS, the cluster's totals are sums over its servers. Sources: obshell
ob/agent/repository/model/bo/obcluster.go, ob/agent/executor/host/info.go, 4.5.0.0.
"""

from collections.abc import Mapping
from typing import Final

from obscale.agent.models import ClusterInfo, HostInfo, Server, Stats
from obscale.preflight.mounts import SLOG_BYTES, Mount, find_mount
from obscale.preflight.sizing import (
    directories_of,
    memory_of,
    number_of,
    size_of,
)
from obscale.reading import Unread
from obscale.sizes import Interval, parse_meminfo, render_bytes
from obscale.verify.observation import (
    LOOKED_AT_LAST,
    NO_BEFORE,
    NO_SERVER,
    UNREAD_TOPOLOGY,
    Level,
    ProofAnswer,
    ProofInput,
    Row,
    Verdict,
    gap,
    named,
    pass_if,
)

TOLERANCE: Final = 0.01
"""Reported capacities are rounded by the server; within 1 % they are the same."""
_WAS_THERE: Final = "the server was there before"

Amounts = Mapping[str, float]
"""What is offered: memory and disk in bytes, cpu in cores."""


def _amounts(stats: Stats) -> Amounts:
    return {
        "memory": stats.memory_in_bytes_total,
        "cpu": stats.cpu_core_total,
        "disk": stats.disk_in_bytes_total,
    }


def _told(amounts: Amounts) -> str:
    shown = {
        name: f"{value:g}" if name == "cpu" else render_bytes(value)
        for name, value in amounts.items()
    }
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _alike(one: float, other: float) -> bool:
    return abs(one - other) <= TOLERANCE * max(abs(one), abs(other))


def _capacity_server(e: ProofInput) -> Verdict:
    """What was asked for binds; what follows from the machine is only told where it differs."""
    asked, derived = _asked(e), _derived(e)
    expected = _told({**derived, **asked}) or "what it offers"
    if e.after.zones is None:
        return ProofAnswer.UNKNOWN, expected, UNREAD_TOPOLOGY
    if (server := e.server) is None:
        return e.not_yet, expected, NO_SERVER
    offered = _amounts(server.stats)
    if not all(offered[name] for name in {"memory", *asked}):
        answer = ProofAnswer.WAITING if e.after.is_detailed else ProofAnswer.INFO
        return answer, expected, "not reported yet" if e.after.is_detailed else "not told"
    found = _told(offered)
    if not all(_alike(offered[name], value) for name, value in asked.items()):
        return ProofAnswer.FAIL, expected, found
    good = all(_alike(offered[name], value) for name, value in derived.items())
    return pass_if(good, ProofAnswer.INFO), expected, found


def _asked(e: ProofInput) -> dict[str, float]:
    """What the request itself fixes."""
    configs = e.node.obConfigs
    told: dict[str, float | None] = {
        "memory": memory_of(configs, None).for_units,
        "cpu": number_of(configs, "cpu_count"),
        "disk": _data_bytes(configs),
    }
    return {name: value for name, value in told.items() if value}


def _derived(e: ProofInput) -> dict[str, float]:
    """What follows from the machine where the request is silent."""
    host = e.before.host
    if host is None and e.around is not None and not isinstance(e.around.host, Unread):
        host = e.around.host
    if host is None:
        return {}
    memory = memory_of(e.node.obConfigs, parse_meminfo(host.memory_info.total))
    told: dict[str, float | None] = {
        "memory": memory.for_units,
        "cpu": host.cpu_info.logical_cores,
    }
    asked = _asked(e)
    return {name: value for name, value in told.items() if value and name not in asked}


def _data_bytes(configs: Mapping[str, str]) -> int | None:
    """What is reported as data disk: the size the data file may grow to."""
    size = size_of(configs, "datafile_size")
    return max(size, size_of(configs, "datafile_maxsize") or 0) if size else None


def _capacity_cluster(e: ProofInput) -> Verdict:  # noqa: PLR0911 - one return for each answer
    expected = "the cluster offers more, by what the new server offers"
    if e.around is None:
        return ProofAnswer.WAITING, expected, LOOKED_AT_LAST
    if isinstance(e.around.cluster, Unread):
        return gap(e.around.cluster), expected, e.around.cluster.reason
    if e.was_there:
        return ProofAnswer.NOT_APPLICABLE, expected, _WAS_THERE
    if e.before.totals is None:
        return ProofAnswer.NOT_APPLICABLE, expected, NO_BEFORE
    now, was = _amounts(e.around.cluster.stats), _amounts(e.before.totals)
    if not e.around.cluster.stats.memory_in_bytes_total:
        return ProofAnswer.UNKNOWN, expected, "the totals are not told now"
    mine = _server_of(e, e.around.cluster)
    if mine is None or not mine.stats.memory_in_bytes_total:
        return ProofAnswer.WAITING, expected, "the new server has not reported yet"
    grown = {name: now[name] - was[name] for name in now}
    expected = f"the cluster offers more, by {_told(_amounts(mine.stats))}"
    found = f"{_told(was)} before, {_told(now)} now"
    if all(_alike(grown[name], value) for name, value in _amounts(mine.stats).items()):
        return ProofAnswer.PASS, expected, found
    if _peers_changed(e, e.around.cluster):
        return ProofAnswer.INFO, expected, f"{found}; other servers changed meanwhile too"
    return ProofAnswer.WAITING, expected, found


def _server_of(e: ProofInput, cluster: ClusterInfo) -> Server | None:
    servers = (server for zone in cluster.zones for server in zone.servers)
    return next((server for server in servers if e.is_new(server)), None)


def _peers_changed(e: ProofInput, cluster: ClusterInfo) -> bool:
    before, now = (
        {
            name: _amounts(server.stats)
            for zone in zones
            for name, server in named(zone.servers).items()
            if not e.is_new(server)
        }
        for zones in (e.before.zones, cluster.zones)
    )
    return before != now


def _disk_after(e: ProofInput) -> Verdict:  # noqa: PLR0911 - one return for each answer
    expected = "data file and log pool lie on the target's disks"
    if e.around is None:
        return ProofAnswer.WAITING, expected, LOOKED_AT_LAST
    host = e.around.host
    if isinstance(host, Unread):
        return gap(host), expected, host.reason
    if e.was_there:
        return ProofAnswer.NOT_APPLICABLE, expected, _WAS_THERE
    if e.before.host is None:
        return ProofAnswer.NOT_APPLICABLE, expected, NO_BEFORE
    needs = _planned(e, host)
    if isinstance(needs, Unread):
        return ProofAnswer.INFO, expected, needs.reason
    expected = ", ".join(f"{render_bytes(need)} more on {path}" for path, need in needs.items())
    found = {path: _growth(e.before.host, host, path) for path in needs}
    if any(growth is None for growth in found.values()):
        return ProofAnswer.INFO, expected, "the disk was not told before"
    text = ", ".join(f"{_range(growth)} more on {path}" for path, growth in found.items() if growth)
    # Others may write and delete there too, so a difference is for a person to look at.
    good = all(
        growth.high >= (1 - TOLERANCE) * needs[path]
        and growth.low <= (1 + TOLERANCE) * needs[path] + SLOG_BYTES
        for path, growth in found.items()
        if growth
    )
    return pass_if(good, ProofAnswer.INFO), expected, text


def _planned(e: ProofInput, host: HostInfo) -> dict[str, int] | Unread:
    """Give what the first start allocates, in bytes, by mount point."""
    configs, info = e.node.obConfigs, e.after.target_info
    data, log = size_of(configs, "datafile_size"), size_of(configs, "log_disk_size")
    if not data or not log:
        return Unread("sizes were not both asked for")
    dirs = directories_of(configs, (info.home_path or None) if info else None)
    if dirs.data is None or dirs.clog is None:
        return Unread("the agent does not tell its home")
    needs: dict[str, int] = {}
    for path, size in ((dirs.data, data), (dirs.clog, log)):
        mount = find_mount(host, path)
        if isinstance(mount, Unread):
            return mount
        needs[mount.path] = needs.get(mount.path, 0) + size
    return needs


def _growth(before: HostInfo, now: HostInfo, path: str) -> Interval | None:
    """Give by how much more of a disk is used; None where it was not told."""
    old, new = find_mount(before, path), find_mount(now, path)
    if not isinstance(old, Mount) or not isinstance(new, Mount):
        return None
    return Interval(new.used.low - old.used.high, new.used.high - old.used.low)


def _range(growth: Interval) -> str:
    return f"{render_bytes(growth.low)} to {render_bytes(growth.high)}"


PROOFS: Final[tuple[Row, ...]] = (
    ("pv-capacity-server", Level.CONFORMING, _capacity_server),
    ("pv-capacity-cluster", Level.CONFORMING, _capacity_cluster),
    ("pv-disk-after", Level.CONFORMING, _disk_after),
)
