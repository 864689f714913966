"""The observers of a cluster as rows of a report or a plan."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import Zone, joined_address


class ServerRow(BaseModel):
    """One observer of the cluster before or after."""

    model_config = ConfigDict(frozen=True)

    zone: str
    server: str
    status: str
    memory_bytes: int
    cpu: float
    cpu_used: float = 0.0
    memory_used_bytes: int = 0
    data_disk_bytes: int = 0
    """0: it has not reported, or this version does not tell; so of all that is told here."""
    data_disk_used_bytes: int = 0


def server_rows(zones: Iterable[Zone]) -> tuple[ServerRow, ...]:
    """Give one row per observer of a topology, ordered by zone."""
    return tuple(
        ServerRow(
            zone=zone.name,
            server=joined_address(server.ip, server.svr_port),
            status=server.status or server.inner_status,
            memory_bytes=server.stats.memory_in_bytes_total,
            cpu=server.stats.cpu_core_total,
            cpu_used=server.stats.cpu_core_assigned,
            memory_used_bytes=server.stats.memory_in_bytes_assigned,
            data_disk_bytes=server.stats.disk_in_bytes_total,
            data_disk_used_bytes=server.stats.disk_in_bytes_assigned,
        )
        for zone in sorted(zones, key=lambda zone: zone.name)
        for server in zone.servers
    )
