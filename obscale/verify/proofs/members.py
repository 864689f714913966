"""CONFORMING: every other member serves, or was dead before the scale-out began.

Whether a member that does not serve now has come to harm is told by the look before the POST. Where
there is none, say of a node somebody else has added, it is not known, and held against the node.
"""

from collections.abc import Iterator
from typing import Final

from obscale.agent.models import Server
from obscale.verify.observation import (
    NO_MOMENT,
    UNREAD_TOPOLOGY,
    Level,
    ProofAnswer,
    ProofInput,
    Row,
    Verdict,
    named,
    stop_of,
)


def _no_collateral(e: ProofInput) -> Verdict:
    expected = "every other member serves, none is worse than before"
    if e.after.zones is None:
        return ProofAnswer.UNKNOWN, expected, UNREAD_TOPOLOGY
    if harmed := [*_harmed(e)]:
        return ProofAnswer.AGAINST, expected, ", ".join(harmed)
    if excepted := dead_before(e):
        return ProofAnswer.INFO, expected, ", ".join(excepted)
    before = "none worse than before" if e.before.zones else "what was before is not known"
    return ProofAnswer.PASS, expected, f"all {len(e.peers)} serve, {before}"


def dead_before(e: ProofInput) -> tuple[str, ...]:
    """Name the members that do not serve, and did not before either; no harm of this scale-out."""
    was = _peers_before(e)
    return tuple(
        f"{name} {trouble} (dead before already)"
        for name, now in named(e.peers).items()
        if (trouble := _trouble(now)) and name in was and _was_no_better(was[name], now)
    )


def _harmed(e: ProofInput) -> Iterator[str]:
    was, peers = _peers_before(e), named(e.peers)
    for name, now in peers.items():
        if not (trouble := _trouble(now)) or e.leaves(now):
            continue
        if not e.before.zones:
            yield f"{name} {trouble} (dead now, before unknown)"
        elif name not in was:
            yield f"{name} {trouble} (not there before)"
        elif not _was_no_better(was[name], now):
            yield f"{name} {trouble}"
    yield from (f"{name} is gone" for name in was if name not in peers and not e.leaves(was[name]))
    zones = e.after.zones or ()
    if not any(zone.root_server.role == "LEADER" for zone in zones) and not any(
        server.with_rootserver for zone in zones for server in zone.servers
    ):
        yield "no server leads the root service"


def _peers_before(e: ProofInput) -> dict[str, Server]:
    servers = tuple(s for zone in e.before.zones for s in zone.servers if not e.is_new(s))
    return named(servers)


def _was_no_better(was: Server, now: Server) -> bool:
    """Whether a server that does not serve now did not before; a new STOP is somebody's act."""
    return bool(_trouble(was)) and not (stop_of(now) and not stop_of(was))


def _trouble(server: Server) -> str:
    """Say why a server does not serve; empty: it does, as far as this version tells."""
    if stopped := stop_of(server):
        return f"was stopped at {stopped.isoformat(' ', 'seconds')}"
    words = " ".join(filter(None, (server.inner_status, server.status)))
    # Below 4.3.0.0 only the first is told.
    if server.inner_status not in {"ACTIVE", ""} or server.status not in {"RUNNING", ""}:
        return words
    if not words:
        return "tells no status"
    if server.start_time is not None and server.start_time <= NO_MOMENT:
        return f"{words} without service"
    return ""


PROOFS: Final[tuple[Row, ...]] = (("pv-no-collateral", Level.CONFORMING, _no_collateral),)
