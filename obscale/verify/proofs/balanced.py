"""BALANCED: units of tenants have arrived on the new server.

Told, never waited for: a server on which no unit fits, or in a zone no tenant uses, stays empty by
right. Source: obshell GET /obcluster/info; `observer_list` of a pool since 4.4.0.0.
"""

from typing import Final

from obscale.agent.models import ClusterInfo, PlacedPool, joined_address
from obscale.reading import Unread
from obscale.sizes import render_bytes
from obscale.verify.observation import (
    LOOKED_AT_LAST,
    NO_SERVER,
    Level,
    ProofAnswer,
    ProofInput,
    Row,
    Verdict,
)


def _rebalance(e: ProofInput) -> Verdict:
    expected = "units of tenants; none is no fault"
    if e.around is None:
        return ProofAnswer.INFO, expected, LOOKED_AT_LAST
    if (server := e.server) is None:
        return ProofAnswer.INFO, expected, NO_SERVER
    if isinstance(e.around.cluster, Unread):
        return ProofAnswer.INFO, expected, e.around.cluster.reason
    stats = server.stats
    taken = f"{stats.cpu_core_assigned:g} cores, {render_bytes(stats.memory_in_bytes_assigned)}"
    pools = _pools(e.around.cluster)
    count = _count(e, pools)
    if count:
        many = "unit" if count == 1 else "units"
        return ProofAnswer.PASS, expected, f"{count} {many}: {taken} taken"
    if count is None and stats.memory_in_bytes_assigned:
        return ProofAnswer.PASS, expected, f"some units: {taken} taken"
    return ProofAnswer.INFO, expected, f"0 units yet{_why_none(e, pools)}"


def _pools(cluster: ClusterInfo) -> tuple[PlacedPool, ...]:
    return tuple(pool for tenant in cluster.tenants for pool in tenant.pools)


def _count(e: ProofInput, pools: tuple[PlacedPool, ...]) -> int | None:
    """Count the pools with a unit there, one each; None where this version does not tell."""
    told = [pool.observer_list for pool in pools if pool.observer_list is not None]
    if not told:
        return None
    ip, port = e.node.agentInfo.ip, e.rpc_port
    # OceanBase joins address and port itself, an IPv6 address without brackets.
    spellings = {joined_address(ip, port), f"{ip}:{port}"}
    return sum(not spellings.isdisjoint(_listed(text, ",")) for text in told)


def _why_none(e: ProofInput, pools: tuple[PlacedPool, ...]) -> str:
    if pools and not any(e.node.zone in _listed(pool.zone_list, ";") for pool in pools):
        return f"; no tenant has units in {e.node.zone}"
    rows = [row for row in e.after.parameters or () if row.name == "enable_rebalance"]
    if any(value.value.lower() == "false" for row in rows for value in row.ob_parameters):
        return "; enable_rebalance is off"
    return ""


def _listed(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator)]


PROOFS: Final[tuple[Row, ...]] = (("pv-rebalance-observed", Level.BALANCED, _rebalance),)
