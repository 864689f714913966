"""The forecast of a plan: zones, servers and capacity once the nodes have joined."""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import Server, joined_address
from obscale.preflight.facts import Facts, TargetProgress, server_address
from obscale.preflight.host_facts import cores, memory_asked
from obscale.preflight.mounts import need_of, sized_disks_of
from obscale.preflight.sizing import number_of, size_of
from obscale.reading import Unread

N = TypeVar("N", int, float)


class Offer(BaseModel):
    """What servers offer to tenants. None: not told, so a sum with it is not known either."""

    model_config = ConfigDict(frozen=True)

    servers: int = 0
    cpu: float | None = 0.0
    memory_bytes: int | None = 0
    """For units: memory_limit less system_memory."""
    data_disk_bytes: int | None = 0

    def __add__(self, other: "Offer") -> "Offer":
        return Offer(
            servers=self.servers + other.servers,
            cpu=_sum(self.cpu, other.cpu),
            memory_bytes=_sum(self.memory_bytes, other.memory_bytes),
            data_disk_bytes=_sum(self.data_disk_bytes, other.data_disk_bytes),
        )


class ZoneForecast(BaseModel):
    """One zone before, and as expected after."""

    model_config = ConfigDict(frozen=True)

    zone: str
    is_new: bool
    observers: tuple[str, ...]
    joining: tuple[str, ...]
    before: Offer
    after: Offer


class Forecast(BaseModel):
    """The cluster before, and as expected after all nodes of the request have joined."""

    model_config = ConfigDict(frozen=True)

    zones: tuple[ZoneForecast, ...]
    before: Offer
    after: Offer


def forecast_of(rows: Sequence[Facts]) -> Forecast | None:
    """Work out what the nodes of one request make of their cluster.

    Args:
        rows: Facts of each node, all of one cluster.

    Returns:
        None where the topology could not be read.
    """
    cluster = rows[0].cluster
    if isinstance(cluster.topology, Unread):
        return None
    there = {server_address(server) for _, server in cluster.servers()}
    joining = [
        facts
        for facts in rows
        if facts.progress() is not TargetProgress.MEMBER and _observer(facts) not in there
    ]
    known = {zone.name: zone.servers for zone in cluster.topology}
    names = sorted({*known, *(facts.node.zone for facts in joining)})
    zones = tuple(
        _zone(name, known.get(name), [facts for facts in joining if facts.node.zone == name])
        for name in names
    )
    return Forecast(
        zones=zones,
        before=_total(zone.before for zone in zones),
        after=_total(zone.after for zone in zones),
    )


def _zone(name: str, servers: Sequence[Server] | None, joining: Sequence[Facts]) -> ZoneForecast:
    before = _total(_offer(server) for server in servers or ())
    return ZoneForecast(
        zone=name,
        is_new=servers is None,
        observers=tuple(server_address(server) for server in servers or ()),
        joining=tuple(_observer(facts) for facts in joining),
        before=before,
        after=before + _total(_expected(facts) for facts in joining),
    )


def _observer(facts: Facts) -> str:
    return joined_address(facts.node.agentInfo.ip, facts.rpc_port or 0)


def _offer(server: Server) -> Offer:
    """A server that has not reported, or whose version does not tell, offers zero of all."""
    stats = server.stats
    return Offer(
        servers=1,
        cpu=stats.cpu_core_total or None,
        memory_bytes=stats.memory_in_bytes_total or None,
        data_disk_bytes=stats.disk_in_bytes_total or None,
    )


def _expected(facts: Facts) -> Offer:
    count = cores(facts)
    cpu = number_of(facts.configs, "cpu_count") or (None if isinstance(count, Unread) else count)
    return Offer(
        servers=1,
        cpu=cpu,
        memory_bytes=memory_asked(facts).for_units,
        data_disk_bytes=_data_disk(facts),
    )


def _data_disk(facts: Facts) -> int | None:
    """What a server reports as its data disk: the size the data file may grow to."""
    grown = size_of(facts.configs, "datafile_maxsize")
    if size := size_of(facts.configs, "datafile_size"):
        return max(size, grown or 0)
    disks = sized_disks_of(facts)
    return None if isinstance(disks, Unread) else need_of(disks.data_share).upper_bytes(disks.data)


def _total(offers: Iterable[Offer]) -> Offer:
    return reduce(Offer.__add__, offers, Offer())


def _sum(one: N | None, other: N | None) -> N | None:
    return None if one is None or other is None else one + other
