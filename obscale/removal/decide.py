"""Decides before a removal is asked for: adopt a DAG that runs, begin one, wait, or nothing to do.

A removal has no key and shows no parameters. It is ours by the server its nodes name in their logs;
before they do, by the topology: exactly this server is DELETING, and its agent is SCALING IN.
Sources: ob/agent/executor/ob/scale_in.go, ob/agent/engine/task/task_dto.go, obshell 4.5.0.0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from obscale.agent.models import Dag, Identity, ListedAgent, ObInfo, Server, Zone, joined_address
from obscale.maintenance_lock import SCALE_IN, lock_of
from obscale.request.removal import Removal
from obscale.scale_in_dag import DELETE_ZONE, SCALING_IN_STAGE, may_name_later, named_in, zone_of
from obscale.submit.decide import (
    Adopt,
    KeepLooking,
    Post,
    PostAgain,
    Refuse,
    WaitForLock,
)

DELETING = "DELETING"


@dataclass(frozen=True)
class Sighting:
    """What stands in the cluster at this moment.

    Args:
        members: `/ob/info`.
        zones: The topology; None: the database does not tell it.
        last_dag: The cluster's newest maintenance DAG, with details; None: never one.
        unfinished: Its unfinished DAGs, with details.
        passed: Further removals since a POST, ended and followed by other DAGs, with details.
        rpc_address: `ip:rpc port` of the leaving server as an earlier look saw it; empty: none did.
    """

    members: ObInfo
    zones: tuple[Zone, ...] | None
    last_dag: Dag | None
    unfinished: tuple[Dag, ...]
    passed: tuple[Dag, ...] = ()
    rpc_address: str = ""

    def dags(self) -> list[Dag]:
        """All DAGs in sight, the newest first."""
        every = (self.last_dag, *self.unfinished, *self.passed)
        seen = {dag.id: dag for dag in every if dag is not None}
        return sorted(seen.values(), key=lambda dag: -dag.dag_id)


@dataclass(frozen=True)
class AlreadyGone:
    """Neither the agent nor its server is listed: nothing to ask for, but to prove."""

    why: str


Decision = Post | Adopt | AlreadyGone | WaitForLock | Refuse


def decide_removal(sighting: Sighting, order: Removal) -> Decision:
    """Decide what is to be done, from one sighting.

    Args:
        sighting: As complete as it could be read.
        order: What is asked for.
    """
    ours = [dag for dag in sighting.dags() if is_ours(dag, sighting, order)]
    unfinished = next((dag for dag in ours if dag in sighting.unfinished), None)
    if unfinished is not None:
        return Adopt(unfinished.id, f"an unfinished removal of this target: {stands(unfinished)}")
    if sighting.zones is None:
        return Refuse(
            "the topology cannot be read, so nothing tells whether this server is there",
            "see that the database of an entry agent answers, and run it again",
        )
    if (gone := why_gone(sighting, order)) is not None:
        return AlreadyGone(gone)
    if order.node and not agent_row(sighting.members, order):
        return _without_agent(sighting, order)
    lock = lock_of(sighting.unfinished)
    if lock is not None:
        undecided = is_ours(lock, sighting, order) is None
        return WaitForLock(lock.name, lock.id, undecided=undecided)
    return Post(sighting.last_dag.dag_id if sighting.last_dag else 0)


def decide_after_lost_answer(
    sighting: Sighting, order: Removal, *, baseline: int, expired: bool
) -> Adopt | AlreadyGone | KeepLooking | PostAgain:
    """Decide whether a request without an answer was carried out.

    Args:
        sighting: Read after it.
        order: What was asked for.
        baseline: Number of the newest DAG before.
        expired: Whether the request can no longer arrive.
    """
    newer = [dag for dag in sighting.dags() if dag.dag_id > baseline]
    ours = [dag for dag in newer if is_ours(dag, sighting, order)]
    if ours:
        return Adopt(
            ours[0].id, "the DAG of the lost answer: newer than before, and of this target"
        )
    if (gone := why_gone(sighting, order)) is not None:
        return AlreadyGone(gone)
    if any(is_ours(dag, sighting, order) is None for dag in newer):
        return KeepLooking()
    return PostAgain() if expired else KeepLooking()


def is_ours(dag: Dag, sighting: Sighting, order: Removal) -> bool | None:  # noqa: PLR0911 - one return for each proof
    """Whether a DAG, read with details, removes what is asked for; None: nothing tells it yet."""
    if order.node is None:
        # Its name tells it from the first look on; without nodes nothing does.
        zone = zone_of(dag)
        return zone == order.zone if zone or dag.name != DELETE_ZONE else None
    if dag.name != SCALE_IN:
        return False
    server = _address_of(sighting, order)
    if named := named_in(dag):
        return not named.isdisjoint({server, order.node.address}) or (
            not server and any(_ip(each) == order.node.agentInfo.ip for each in named)
        )
    if dag.is_terminal and not dag.is_failed:
        return False
    row = agent_row(sighting.members, order)
    is_marked = row is not None and row.identity is Identity.SCALING_IN
    deleting = {joined_address(each.ip, each.svr_port) for each in _deleting(sighting)}
    if deleting:
        if deleting == {server} and is_marked:
            return True
        # In its first seconds the agent's row is not marked yet, or was not when it was read.
        return None if deleting == {server} and not dag.is_terminal else False
    if may_name_later(dag):
        return None
    marked = [a.address for a in sighting.members.agent_info if a.identity is Identity.SCALING_IN]
    if dag.stage > SCALING_IN_STAGE and marked == [order.node.address]:
        return True
    # A sighting is not of one moment: server and row may have gone since the DAG was read.
    return None if not marked and not dag.is_terminal else False


def why_gone(sighting: Sighting, order: Removal) -> str | None:
    """Say by what a target is gone; None: it is there, or the topology is not told."""
    if sighting.zones is None:
        return None
    if order.node is None:
        names = {zone.name for zone in sighting.zones}
        return None if order.zone in names else f"the cluster has no zone {order.zone}"
    if agent_row(sighting.members, order) or leaving_server(sighting.zones, order):
        return None
    return f"neither an agent {order.node.address} nor a server of its host is listed"


def agent_row(members: ObInfo, order: Removal) -> ListedAgent | None:
    """Give the cluster's row of the agent that leaves."""
    return next((row for row in members.agent_info if row.address == order.target), None)


def leaving_server(zones: Sequence[Zone] | None, order: Removal) -> Server | None:
    """Give the row of the server that leaves; None: there is none, or no topology.

    Older versions tell no agent's port: then the only server of the host counts.
    """
    if order.node is None:
        return None
    where = order.node.agentInfo
    of_host = [s for zone in zones or () for s in zone.servers if s.ip == where.ip]
    exact = [server for server in of_host if server.obshell_port == where.port]
    untold = [server for server in of_host if not server.obshell_port]
    return next(iter(exact or untold), None)


def leaving_servers(zones: Sequence[Zone] | None, order: Removal) -> tuple[Server, ...]:
    """Give the rows of all servers that leave: the node's, or all of the zone."""
    if order.node is not None:
        server = leaving_server(zones, order)
        return (server,) if server else ()
    return tuple(s for zone in zones or () if zone.name == order.zone for s in zone.servers)


def stands(dag: Dag) -> str:
    """Say where a DAG stands."""
    state = f"{dag.state.value}/{dag.operator.value}"
    return f"DAG {dag.id} stands {state} at stage {dag.stage}/{dag.max_stage}"


def delete_by_sql(server: Server) -> str:
    """Give the statement for a server that obshell has no agent of."""
    address = joined_address(server.ip, server.svr_port)
    return f"ALTER SYSTEM DELETE SERVER '{address}';"


def _without_agent(sighting: Sighting, order: Removal) -> Refuse:
    server = leaving_server(sighting.zones, order)
    assert server is not None  # noqa: S101 - else it is gone
    return Refuse(
        f"the cluster lists the server of {order.target} but no agent of it: obshell would answer "
        "204 and do nothing",
        f"as root@sys: {delete_by_sql(server)}",
    )


def _address_of(sighting: Sighting, order: Removal) -> str:
    server = leaving_server(sighting.zones, order)
    return joined_address(server.ip, server.svr_port) if server else sighting.rpc_address


def _deleting(sighting: Sighting) -> Iterator[Server]:
    for zone in sighting.zones or ():
        yield from (server for server in zone.servers if server.inner_status == DELETING)


def _ip(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")
