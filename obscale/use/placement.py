"""Where the units of a tenant are: how many of each zone are placed, and what their servers hold.

A unit that moves, or is new, stands at its destination from the beginning; its data follows. Only
the servers' used bytes tell of that. Source: OceanBase src/rootserver/ob_unit_manager.cpp.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from obscale.agent.models import Server, Zone
from obscale.agent.resources import TenantPool
from obscale.preflight.facts import server_address
from obscale.preflight.rules.cluster import trouble_of


@dataclass(frozen=True)
class Placement:
    """Units of one tenant, by zone.

    Args:
        servers: Of each zone the servers with a unit that serve; None: this version does not tell.
        troubled: Servers with a unit that do not serve, each with why.
        used_bytes: What is written on the servers with a unit, by `ip:rpc_port`.
    """

    servers: Mapping[str, tuple[str, ...]] | None
    troubled: tuple[str, ...] = ()
    used_bytes: Mapping[str, int] = field(default_factory=dict)

    def placed(self, zone: str) -> int | None:
        """Count the units of a zone on servers that serve; None: not told."""
        return None if self.servers is None else len(self.servers.get(zone, ()))

    def holders(self) -> frozenset[str]:
        """Give the servers with a unit, `ip:rpc_port`."""
        return frozenset(self.used_bytes)


def placement_of(pools: Sequence[TenantPool], zones: Iterable[Zone]) -> Placement:
    """Read from pools where units are.

    Args:
        pools: Of the tenant.
        zones: The topology.
    """
    told = [pool.observer_list for pool in pools]
    if not told or any(each is None for each in told):
        return Placement(None)
    listed = {at.strip() for text in told for at in (text or "").split(",") if at.strip()}
    placed: dict[str, tuple[str, ...]] = {}
    troubled: list[str] = []
    used: dict[str, int] = {}
    for zone in zones:
        here = [server for server in zone.servers if not listed.isdisjoint(_spellings(server))]
        for server in here:
            used[server_address(server)] = server.stats.disk_in_bytes_assigned
            if why := trouble_of(server):
                troubled.append(f"{server_address(server)} {why}")
        serving = tuple(server_address(server) for server in here if not trouble_of(server))
        placed[zone.name] = serving
    return Placement(placed, tuple(troubled), used)


def _spellings(server: Server) -> set[str]:
    # OceanBase joins address and port itself, an IPv6 address without brackets.
    return {server_address(server), f"{server.ip}:{server.svr_port}"}
