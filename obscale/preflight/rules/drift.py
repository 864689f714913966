"""Rules about differences between the new server and those it joins.

Sources: OceanBase src/share/config/ob_server_config.cpp and ob_system_config.cpp, 4.3.5; obshell
GET /obcluster/parameters and GET /obcluster/info, 4.3.0.0.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from obscale.agent.models import Parameter, Server
from obscale.preflight.facts import Facts, server_address
from obscale.preflight.finding import (
    Verdict,
    fires,
    not_applicable,
    notes,
    passes,
    unknown,
)
from obscale.preflight.host_facts import cores, is_old, memory_asked, unusable_gap
from obscale.preflight.rule import INFO, WARN, rule
from obscale.preflight.rules.cluster_mode import covered
from obscale.preflight.rules.file_sizes import data_bytes, log_bytes
from obscale.preflight.rules.start_options import PATH_KEYS, PORT_KEYS
from obscale.preflight.sizing import (
    DISK_KEYS,
    LIMIT_KEYS,
    automatic_system_memory,
    number_of,
    size_of,
    unusable,
)
from obscale.reading import Unread
from obscale.sizes import SizeError, parse_capacity, render_bytes

LIKE_SHARE: Final = 0.1
"""Values that differ by no more are alike."""
DEPLOYED_KEYS: Final = frozenset(
    {"memory_limit", "system_memory", "datafile_size", "log_disk_size"}
)
"""Deployers send these to every server as start options, so equal values prove no ALTER SYSTEM."""
_OWN_OF_A_SERVER: Final = frozenset({*PORT_KEYS, *PATH_KEYS, "devname", "local_ip", "zone"})
_STATIC: Final = "STATIC_EFFECTIVE"


@dataclass(frozen=True)
class Spec:
    """What one server has of each resource; a resource that is not told is left out.

    Memory and disks in bytes, cpu_count in cores.
    """

    values: Mapping[str, float]


def asked_spec(facts: Facts) -> Spec:
    """Work out what the new server will have."""
    memory, count = memory_asked(facts), number_of(facts.configs, "cpu_count") or cores(facts)
    data, log = data_bytes(facts), log_bytes(facts)
    told: dict[str, float | Unread | None] = {
        "memory_limit": memory.limit,
        "system_memory": memory.system,
        "cpu_count": count,
        "datafile_size": data,
        "log_disk_size": log,
    }
    return Spec({key: value for key, value in told.items() if isinstance(value, int | float)})


def peer_spec(facts: Facts, server: Server) -> Spec:
    """Give what one server of the cluster has, by its parameters, or else by what it reports."""
    configured = {
        row.name: value.value
        for row in _parameters(facts)
        for value in row.ob_parameters
        if (value.svr_ip, value.svr_port) == (server.ip, server.svr_port)
    }
    limit = size_of(configured, "memory_limit")
    system = size_of(configured, "system_memory")
    told: dict[str, float | None] = {
        "memory_limit": limit,
        "system_memory": system
        or (automatic_system_memory(limit) if limit and not is_old(facts) else None),
        "cpu_count": number_of(configured, "cpu_count") or server.stats.cpu_core_total,
        "datafile_size": size_of(configured, "datafile_size") or server.stats.disk_in_bytes_total,
        "log_disk_size": size_of(configured, "log_disk_size"),
    }
    return Spec({key: value for key, value in told.items() if value})


def _parameters(facts: Facts) -> tuple[Parameter, ...]:
    rows = facts.cluster.parameters
    return () if isinstance(rows, Unread) else rows


def _peers(facts: Facts) -> dict[str, Spec]:
    """The servers of the zone, or of all zones where it has none, by `ip:rpc_port`."""
    zone = facts.cluster.zone(facts.node.zone)
    servers = zone.servers if zone and zone.servers else [s for _, s in facts.cluster.servers()]
    return {
        server_address(server): peer_spec(facts, server)
        for server in servers
        if (server.ip, server.svr_port) != (facts.node.agentInfo.ip, facts.rpc_port)
    }


@rule(
    "spec-drift",
    "the server is as large as its peers",
    prod=WARN,
    lab=INFO,
    otherwise="uneven units",
    source="oceanbase/oceanbase#766: homogeneous hosts are advised",
)
def spec_drift(facts: Facts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """Smaller than every peer of the zone is a fault; larger is only told."""
    if isinstance(facts.cluster.parameters, Unread):
        return unknown(covered(facts.cluster.parameters), "as its peers")
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology, "as its peers")
    if bad := unusable(
        facts.configs,
        [*LIMIT_KEYS[0], "system_memory", *DISK_KEYS[0]],
        [*LIMIT_KEYS[1], *DISK_KEYS[1], "cpu_count"],
    ):
        return unknown(unusable_gap(bad), "as its peers")
    peers = _peers(facts)
    if not peers:
        return not_applicable("no server to compare with")
    mine = asked_spec(facts).values
    told = {
        key: values
        for key in mine
        if (values := [peer.values[key] for peer in peers.values() if key in peer.values])
    }
    if not told:
        return unknown("nothing is told on both sides", "as its peers")
    needed = ", ".join(f"{key} {_range(key, values)}" for key, values in told.items())
    smaller = [key for key, values in told.items() if mine[key] < min(values) * (1 - LIKE_SHARE)]
    larger = [key for key, values in told.items() if mine[key] > max(values) * (1 + LIKE_SHARE)]
    if smaller:
        return fires(
            f"smaller than every peer: {_listed(mine, smaller)}", needed, "size it as its peers"
        )
    if larger:
        return notes(
            f"larger than every peer: {_listed(mine, larger)}",
            needed,
            "units are placed as the smallest server allows",
        )
    return passes(_listed(mine, list(told)), needed)


def _shown(key: str, value: float) -> str:
    return f"{value:g}" if key == "cpu_count" else render_bytes(value)


def _listed(values: Mapping[str, float], keys: list[str]) -> str:
    return ", ".join(f"{key} {_shown(key, values[key])}" for key in keys)


def _range(key: str, values: list[float]) -> str:
    low, high = min(values), max(values)
    return _shown(key, low) + (f" to {_shown(key, high)}" if low != high else "")


@rule(
    "param-override-drift",
    "what is sent survives a restart",
    prod=WARN,
    lab=INFO,
    otherwise="RUNTIME, at the next restart",
    source="src/share/config/ob_server_config.cpp, 4.3.5: start options win until a later set",
)
def param_override_drift(facts: Facts) -> Verdict:
    """A value all servers share is probably set for the cluster, and returns at a restart.

    The four sizes are only told: start options make them equal as well.
    """
    if isinstance(facts.cluster.parameters, Unread):
        return unknown(covered(facts.cluster.parameters))
    found = dict(_overridden(facts))
    remedy = "match the peers, or set it with a SERVER clause after joining"
    told = "; ".join(found.values())
    if found.keys() - DEPLOYED_KEYS:
        return fires(told, "as all servers have it", remedy)
    if found:
        return notes(told, "as all servers have it", remedy)
    return passes("nothing sent differs from what all servers share")


def _overridden(facts: Facts) -> Iterator[tuple[str, str]]:
    for row in _parameters(facts):
        sent = facts.configs.get(row.name)
        if not sent or row.scope.upper() != "CLUSTER" or row.name in _OWN_OF_A_SERVER:
            continue
        same = _same_as(row)
        values = {value.value for value in row.ob_parameters}
        shared = values.pop() if len(values) == 1 else None
        if shared and not same(shared, row.default_value) and not same(shared, sent):
            yield row.name, f"{row.name} {sent}, all servers {shared}"


def _same_as(row: Parameter) -> Callable[[str, str], bool]:
    """How two values of a parameter compare: sizes as bytes, all else as text."""

    def as_sizes(one: str, other: str) -> bool:
        try:
            return parse_capacity(one) == parse_capacity(other)
        except SizeError:
            return one == other

    def as_texts(one: str, other: str) -> bool:
        return one.strip().lower() == other.strip().lower()

    return as_sizes if row.data_type.upper() == "CAPACITY" else as_texts


@rule(
    "param-omitted-vs-peers",
    "nothing the peers were started with is forgotten",
    prod=INFO,
    lab=INFO,
    otherwise="SILENT",
    source="obshell GET /obcluster/parameters, edit_level",
)
def param_omitted_vs_peers(facts: Facts) -> Verdict:
    """Static parameters only: others can be set at any time."""
    if isinstance(facts.cluster.parameters, Unread):
        return unknown(covered(facts.cluster.parameters))
    found = [
        f"{row.name} {', '.join(values)}"
        for row in _parameters(facts)
        if row.edit_level.upper() == _STATIC
        and row.scope.upper() == "CLUSTER"
        and row.name not in facts.configs
        and row.name not in _OWN_OF_A_SERVER
        and (values := _changed(row))
    ]
    if found:
        return fires(f"peers run with {'; '.join(found)}", "as its peers", "send it too?")
    return passes("peers have no static parameter set that is not sent")


def _changed(row: Parameter) -> list[str]:
    same = _same_as(row)
    return sorted(
        {v.value for v in row.ob_parameters if v.value and not same(v.value, row.default_value)}
    )


RULES: Final = (spec_drift, param_override_drift, param_omitted_vs_peers)
