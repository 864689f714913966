"""Works out what a server offers to tenants, and what a node that joins will offer."""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import Server, joined_address
from obscale.preflight.facts import ClusterFacts, Facts, TargetProgress, server_address
from obscale.preflight.host_facts import cores, memory_asked
from obscale.preflight.mounts import need_of, sized_disks_of
from obscale.preflight.rules.file_sizes import log_bytes
from obscale.preflight.sizing import number_of, size_of
from obscale.reading import Unread
from obscale.sizes import SizeError, parse_capacity

LOG_DISK: Final = "log_disk_size"
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


def joining_of(rows: Sequence[Facts]) -> list[Facts]:
    """Leave out the nodes that are in the cluster already; all are of one request."""
    there = {server_address(server) for _, server in rows[0].cluster.servers()}
    return [
        facts
        for facts in rows
        if facts.progress() is not TargetProgress.MEMBER and observer_of(facts) not in there
    ]


def observer_of(facts: Facts) -> str:
    """Give `ip:rpc_port` of the observer that joins."""
    return joined_address(facts.node.agentInfo.ip, facts.rpc_port or 0)


def offer_of(server: Server) -> Offer:
    """Give what a server offers.

    A server that has not reported, or whose version does not tell, offers zero of all.
    """
    stats = server.stats
    return Offer(
        servers=1,
        cpu=stats.cpu_core_total or None,
        memory_bytes=stats.memory_in_bytes_total or None,
        data_disk_bytes=stats.disk_in_bytes_total or None,
    )


def expected_of(facts: Facts) -> Offer:
    """Give what the node of these facts will offer."""
    count = cores(facts)
    cpu = number_of(facts.configs, "cpu_count") or (None if isinstance(count, Unread) else count)
    return Offer(
        servers=1,
        cpu=cpu,
        memory_bytes=memory_asked(facts).for_units,
        data_disk_bytes=_data_disk(facts),
    )


def log_disk_sizes(cluster: ClusterFacts) -> dict[tuple[str, int], int | None]:
    """Give the log disk of each server, by IP and RPC port, in bytes.

    None: left to a percentage of its disk. A server that the parameters do not name is missing.
    """
    row = cluster.parameter(LOG_DISK)
    rows = row.ob_parameters if row else ()
    return {(each.svr_ip, each.svr_port): _size(each.value) for each in rows}


def log_disk_asked(facts: Facts) -> int | None:
    """Give the log disk that a node is asked to have, in bytes; None: not known."""
    size = log_bytes(facts)
    return None if isinstance(size, Unread) else size


def _data_disk(facts: Facts) -> int | None:
    """What a server reports as its data disk: the size the data file may grow to."""
    grown = size_of(facts.configs, "datafile_maxsize")
    if size := size_of(facts.configs, "datafile_size"):
        return max(size, grown or 0)
    disks = sized_disks_of(facts)
    return None if isinstance(disks, Unread) else need_of(disks.data_share).upper_bytes(disks.data)


def _size(text: str) -> int | None:
    """Give a size; none where it is left to a percentage of the disk."""
    try:
        return parse_capacity(text) or None
    except SizeError:
        return None


def total_of(offers: Iterable[Offer]) -> Offer:
    """Add up offers."""
    return reduce(Offer.__add__, offers, Offer())


def _sum(one: N | None, other: N | None) -> N | None:
    return None if one is None or other is None else one + other
