"""Reads which removals there are, before one is asked for and after; and opens what that needs.

Reads only. Only a cluster that answers nobody is an error.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.models import Dag, Identity, PlacedTenant, Zone
from obscale.connect.connections import (
    ClusterAccess,
    ClusterConnection,
    Connections,
    SecretStore,
    cluster_connected,
    known_cluster,
)
from obscale.errors import AgentError, NotSupportedError
from obscale.events import Publish, publish_line
from obscale.reading import or_none, side_by_side
from obscale.recovery.interrupted import InterruptedState, remains_of
from obscale.removal.decide import Sighting, is_ours
from obscale.removal.progress import Drain, drain_of
from obscale.request.removal import Removal
from obscale.scale_in_dag import REMOVALS
from obscale.verify.read import read_zones


@asynccontextmanager
async def removal_connected(
    order: Removal, secret_store: SecretStore, known: ClusterAccess | None = None
) -> AsyncIterator[Connections]:
    """Open the connections of a removal and close them at the end. Sends nothing by itself.

    Args:
        order: What is to be done.
        secret_store: Where its names resolve.
        known: What they resolve to, where that was looked up already.

    Raises:
        SpecError: A name resolves to nothing.
    """
    known = known or await known_cluster(order.cluster, secret_store)
    async with (
        cluster_connected(order.cluster, secret_store, known) as cluster,
        _leaving_agent(order, cluster) as leaving,
    ):
        yield Connections(
            cluster.client, leaving, known.spec, None, known.root_password, known.keys
        )


@asynccontextmanager
async def _leaving_agent(order: Removal, cluster: ClusterConnection) -> AsyncIterator[AgentClient]:
    """Open a client of the agent that leaves, without the password of root@sys.

    Of a whole zone it is one of an entry agent, and nobody asks it.
    """
    entry = cluster.client.clients[0]
    where = entry.address
    if order.node:
        info = order.node.agentInfo
        # Agents call each other with their own scheme, so the leaving one speaks the cluster's.
        where = AgentAddress(info.ip, info.port, entry.address.scheme)
    async with entry.without_passwords(where) as agent:
        yield agent


async def read_sighting(link: Connections, rpc_address: str = "") -> Sighting:
    """Look for removals and for what stands in the cluster.

    Args:
        link: Open connections.
        rpc_address: Of the leaving server as an earlier look saw it.

    Raises:
        AgentError: No cluster agent told its DAGs or members; deciding without would be guessing.
    """
    ask = link.cluster.ask
    async with side_by_side() as reads:
        last = reads.create_task(ask(lambda agent: agent.read_last_cluster_dag()))
        unfinished = reads.create_task(ask(lambda agent: agent.read_unfinished_cluster_dags()))
        members = reads.create_task(link.read_members())
        zones = reads.create_task(or_none(partial(read_zones, link.cluster)))
    known = zones.result()
    return Sighting(
        members=members.result(),
        zones=known[0] if known else None,
        last_dag=last.result(),
        unfinished=unfinished.result(),
        rpc_address=rpc_address,
    )


async def look_once_more(link: Connections, baseline: int, rpc_address: str) -> Sighting:
    """Look when a lost request can come no more: also among what is over and not the newest.

    Raises:
        AgentError: No cluster agent told.
    """
    sighting = await read_sighting(link, rpc_address)
    if sighting.last_dag is None or sighting.last_dag.dag_id <= baseline:
        return sighting
    try:
        known = await link.cluster.ask(lambda agent: agent.read_cluster_dags())
    except NotSupportedError:
        return sighting
    newer = [dag.id for dag in known if dag.name in REMOVALS and dag.dag_id > baseline]
    passed = [await _read_dag(link, dag_id) for dag_id in newer]
    return replace(sighting, passed=tuple(passed))


async def _read_dag(link: Connections, dag_id: str) -> Dag:
    return await link.cluster.ask(lambda agent: agent.read_dag(dag_id))


async def learn_staying(link: Connections, order: Removal, publish: Publish) -> None:
    """Let go of the agents that leave, and learn the cluster's others.

    The leaving agent answers little, refuses most, and takes no removal of itself. The others are
    asked with the cluster's credentials, so only an entry agent's list of the cluster that was
    asked for counts.
    """
    if order.node:
        link.cluster.leave_out({order.node.address})
    try:
        told_by, known = await link.read_told_members()
    except AgentError as error:
        publish_line(publish, "poll", f"poll.members_unknown reason={str(error)!r}")
        return
    if not link.is_vouched_for(told_by, known):
        told = known.obcluster_info
        words = f"poll.members_unknown reason='{told_by.address} tells of {told.name}/{told.id}'"
        publish_line(publish, "poll", words)
        return
    if order.node is None:
        link.cluster.leave_out({r.address for r in known.agent_info if r.zone == order.zone})
    scheme = told_by.address.scheme
    for row in known.agent_info:
        leaves = row.address == order.target if order.node else row.zone == order.zone
        if row.identity is Identity.CLUSTER_AGENT and not leaves:
            link.cluster.add(AgentAddress(row.ip, row.port, scheme))


async def read_drain(
    link: Connections, order: Removal, rows: tuple[str, ...]
) -> tuple[Drain, tuple[Zone, ...]]:
    """Read what is left on the servers that leave, and the topology it was read from.

    Raises:
        AgentError: Nobody told.
    """
    zones, observers = await read_places(link)
    return drain_of(order, zones, observers, rows), zones


async def read_places(
    link: Connections,
) -> tuple[tuple[Zone, ...], dict[str, tuple[str, ...]] | None]:
    """Read the topology, and of each tenant the servers with a unit of it.

    Returns:
        The zones; the servers as `ip:rpc port`, None below 4.4.0.0, where no unit's place is told.

    Raises:
        AgentError: Nobody told.
    """
    try:
        known = await link.cluster.ask(lambda agent: agent.read_cluster_info())
    except NotSupportedError:
        zones, _ = await read_zones(link.cluster)
        return zones or (), None
    return known.zones, observers_of(known.tenants)


def observers_of(tenants: Iterable[PlacedTenant]) -> dict[str, tuple[str, ...]] | None:
    """Give of each tenant the servers with a unit of it; None where a pool does not tell."""
    listed = {
        tenant.tenant_name: [pool.observer_list for pool in tenant.pools] for tenant in tenants
    }
    if any(each is None for pools in listed.values() for each in pools):
        return None
    return {
        name: tuple(at.strip() for pool in pools for at in (pool or "").split(",") if at.strip())
        for name, pools in listed.items()
    }


async def look_at_removal(
    link: Connections, order: Removal, dag_id: str | None, last_seen: Dag | None
) -> InterruptedState:
    """Look where a removal stands whose run ends before it; never raises an AgentError.

    Args:
        link: Open connections.
        order: What was asked for.
        dag_id: Of its DAG; None where a request was sent and its answer is not known.
        last_seen: The DAG as the run itself saw it last, for when nobody answers now.
    """
    if order.node:
        link.cluster.leave_out({order.node.address})
    try:
        if dag_id is None:
            sighting = await read_sighting(link)
            ours = [dag for dag in sighting.dags() if is_ours(dag, sighting, order)]
            found_dag = next(iter(ours), None)
            return remains_of(order.target, was_sent=True, dag=found_dag, leaves=True)
        found = dag_id
        dag = await link.cluster.ask(lambda agent: agent.read_dag(found))
    except AgentError as error:
        left = remains_of(order.target, was_sent=True, dag=last_seen, dag_id=dag_id, leaves=True)
        return left.model_copy(update={"unread": str(error)})
    return remains_of(order.target, was_sent=True, dag=dag, leaves=True)
