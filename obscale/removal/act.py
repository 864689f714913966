"""Carries out one decision about a removal's DAG: goes on with it, undoes it, or stops it.

Stopping a running one is CANCEL, then ROLLBACK: either alone locks the cluster or is refused. A
program that is ended between the two leaves a cancelled DAG, which the next stop takes up. Once the
server's row is gone nothing stops it any more: CANCEL would undo nothing, and lock the cluster
until a RETRY.
Sources: ob/agent/executor/ob/scale_in.go, ob/agent/service/task/dag.go, 4.5.0.0; recorded.
"""

import asyncio
from dataclasses import dataclass
from typing import Final, Literal

from obscale.agent.cluster import ClusterClient
from obscale.agent.models import Dag, Identity, Operator, Server, joined_address
from obscale.connect.connections import Connections
from obscale.errors import DagFailedError
from obscale.follow.run import Saw, Say, follow
from obscale.recovery.consequences import Remedy
from obscale.recovery.policy import refusal_of
from obscale.recovery.run import lock_freed, order_dag, undo_dag
from obscale.recovery.selection import standing
from obscale.removal.decide import DELETING, Sighting
from obscale.removal.failure import diagnose_removal
from obscale.request.models import AgentInfoSpec, ClusterSpec
from obscale.request.removal import LeavingNode, Removal
from obscale.request.time_limits import TimeLimits
from obscale.scale_in_dag import is_past_return, named_in, zone_of

Does = Literal["retry", "roll-back", "stop"]
"""What a person may decide about a removal's DAG: go on, undo a failed one, end a running one."""
AFTER_CANCEL_SECONDS: Final = 4.0
"""The cancelled task may send CANCEL DELETE SERVER up to 3 s after the DAG shows FAILED."""


@dataclass(frozen=True)
class Stopped:
    """A removal that was undone to its end: lock free, the server stays."""

    dag: Dag
    target: str


def order_of(dag: Dag, sighting: Sighting, cluster: str | ClusterSpec) -> Removal | None:
    """Give the order a removal's DAG carries out; None where nothing tells whom it removes.

    Args:
        dag: Read with details.
        sighting: Of its cluster.
        cluster: As it was named.
    """
    if (zone := zone_of(dag)) is not None:
        return Removal(cluster=cluster, zone=zone, node=None)
    named, rows = named_in(dag), sighting.members.agent_info
    leaving = {
        row.address
        for row in rows
        if row.address in named
        or row.identity is Identity.SCALING_IN
        or any(_is_meant(server, named) for server in _servers_of(sighting, row.ip, row.port))
    }
    found = [row for row in rows if row.address in leaving]
    if len(found) != 1:
        return None
    [row] = found
    where = AgentInfoSpec(ip=row.ip, port=row.port)
    node = LeavingNode(agentInfo=where, zone=row.zone)
    return Removal(cluster=cluster, zone=row.zone, node=node)


def _servers_of(sighting: Sighting, ip: str, port: int) -> list[Server]:
    servers = [server for zone in sighting.zones or () for server in zone.servers]
    return [each for each in servers if each.ip == ip and each.obshell_port in {0, port}]


def _is_meant(server: Server, named: frozenset[str]) -> bool:
    address = joined_address(server.ip, server.svr_port)
    return address in named if named else server.inner_status == DELETING


def why_not(dag: Dag, sighting: Sighting, target: str, does: Does) -> str:
    """Say why a decision may not be carried out; empty: it may.

    Args:
        dag: Read with details.
        sighting: Of its cluster, read just now.
        target: What it removes.
        does: What was decided.
    """
    if does == "stop":
        return why_not_stopped(dag, sighting)
    if not dag.is_failed:
        return f"it stands {standing(dag)}"
    remedy = Remedy.RETRY if does == "retry" else Remedy.ROLLBACK
    return refusal_of(diagnose_removal(dag, target), remedy, acknowledged=False)


def why_not_stopped(dag: Dag, sighting: Sighting) -> str:
    """Say why a removal can be stopped no more; empty: it can.

    Args:
        dag: Read with details.
        sighting: Of its cluster, read just now.
    """
    if dag.is_terminal and not dag.is_failed:
        return f"it has ended {dag.state}/{dag.operator}"
    if is_past_return(dag):
        return "it is past the point of return: only going on ends it"
    if sighting.zones is None:
        return "the topology cannot be read, so nobody knows whether the server is still there"
    listed = {
        joined_address(server.ip, server.svr_port)
        for zone in sighting.zones
        for server in zone.servers
    }
    named = {each for each in named_in(dag) if not _is_agent(each, sighting)}
    if named and not named & listed:
        return "the server is gone already: only going on ends it"
    marked = [row for row in sighting.members.agent_info if row.identity is Identity.SCALING_IN]
    gone = [row for row in marked if not _servers_of(sighting, row.ip, row.port)]
    if zone_of(dag) is None and marked and gone:
        return "the server is gone already: only going on ends it"
    return ""


def _is_agent(address: str, sighting: Sighting) -> bool:
    return any(row.address == address for row in sighting.members.agent_info)


async def carry_out(
    link: Connections,
    order: Removal,
    dag: Dag,
    does: Does,
    *,
    saw: Saw,
    say: Say,
) -> Stopped | None:
    """Carry out a decision that `why_not` has nothing against.

    Args:
        link: Open connections; the leaving agent is left out.
        order: What the DAG removes, and the time limits.
        dag: Read just now, with details.
        does: What was decided.
        saw: Gets each look at the DAG.
        say: Gets each line.

    Returns:
        What was undone to its end; None: it goes on: follow it.

    Raises:
        DagFailedError: It has come to its end meanwhile, or could not be undone.
        DagStalledError: It did not end within the time limits.
        AgentError: No agent took it.
    """
    if does == "retry":
        await go_on(link.cluster, dag, say)
        return None
    limits = order.time_limits
    if does == "stop":
        return await stop(link, dag, order.target, limits, saw=saw, say=say)
    return await undo(link.cluster, dag, order.target, limits, saw=saw, say=say)


async def go_on(cluster: ClusterClient, dag: Dag, say: Say) -> None:
    """Have a removal that failed go on; it goes on by itself then: follow it.

    Raises:
        AgentError: No agent took it.
    """
    await order_dag(cluster, dag, Operator.RETRY, say)


async def undo(
    cluster: ClusterClient, dag: Dag, target: str, limits: TimeLimits, *, saw: Saw, say: Say
) -> Stopped:
    """Roll a removal back that has failed, so that its server stays.

    Raises:
        DagFailedError: A stage could not be undone.
        DagStalledError: It did not end within the time limits.
        AgentError: No agent took it.
    """
    undone = await undo_dag(cluster, dag.id, limits, saw=saw, say=say)
    await lock_freed(cluster, undone)
    say(f"recover.undone dag={undone.id} target={target} lock=free")
    return Stopped(undone, target)


async def stop(
    link: Connections,
    dag: Dag,
    target: str,
    limits: TimeLimits,
    *,
    saw: Saw,
    say: Say,
) -> Stopped:
    """Cancel a removal where it runs, wait until that shows, and roll it back: one act.

    Args:
        link: Open connections; the leaving agent is left out.
        dag: Read just now, with details, and found stoppable by `why_not_stopped`.
        target: What it removes.
        limits: Of following.
        saw: Gets each look at the DAG.
        say: Gets each line.

    Raises:
        DagFailedError: It has come to its end meanwhile, or could not be undone.
        DagStalledError: It did not end within the time limits.
        AgentError: No agent took it.
    """
    if not dag.is_terminal:
        await order_dag(link.cluster, dag, Operator.CANCEL, say)
        dag = await follow(link.cluster, dag.id, limits, saw=saw, say=say)
        if not dag.is_failed:
            raise DagFailedError(
                f"DAG {dag.id} ended {dag.state}/{dag.operator} before it could be stopped",
                f"obscale remove proves whether {target} is gone",
            )
        await asyncio.sleep(AFTER_CANCEL_SECONDS)
    return await undo(link.cluster, dag, target, limits, saw=saw, say=say)
