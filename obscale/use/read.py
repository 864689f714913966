"""Reads what a change of a tenant's units is judged and decided by. Reads only."""

from functools import partial
from typing import Final

from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import ClusterInfo, Dag, Zone
from obscale.agent.resources import Tenant
from obscale.clock import utc_now
from obscale.connect.connections import ClusterConnection
from obscale.errors import AgentRefusedError, NotSupportedError, SpecError
from obscale.preflight.facts import ClusterFacts
from obscale.preflight.read import survey_cluster, zones_listed
from obscale.reading import Unread, fact, side_by_side
from obscale.request.use import Use
from obscale.sizes import quoted
from obscale.use.decide import Sighting
from obscale.use.facts import UseFacts
from obscale.use.placement import Placement, placement_of
from obscale.use.tenant_dag import modifies

NO_SUCH_TENANT: Final = "OB.Tenant.NotExist"
MOST_ENDED: Final = 5
"""DAGs of one tenant that are over, of which details are read; the newest count."""


async def survey_use(link: ClusterConnection, order: Use) -> UseFacts:
    """Read all facts of an order.

    Raises:
        AgentError: No entry agent could be asked.
        SpecError: The cluster has no such tenant, or the entry agents are of several clusters.
    """
    cluster = await survey_cluster(link.client)
    tenant = await fact(partial(_tenant, link.client, order, cluster))
    return UseFacts(
        order=order,
        cluster=cluster,
        tenant=tenant,
        expected_name=link.known.spec.name,
        expected_id=link.known.spec.id,
        now=utc_now(),
    )


async def _tenant(client: ClusterClient, order: Use, cluster: ClusterFacts) -> Tenant:
    names = () if isinstance(cluster.tenants, Unread) else cluster.tenants
    return await read_own_tenant(client, order, tuple(each.tenant_name for each in names))


async def read_own_tenant(client: ClusterClient, order: Use, known: tuple[str, ...] = ()) -> Tenant:
    """Read the order's tenant.

    Args:
        client: Of the cluster.
        order: What is asked for.
        known: Tenants there are, for the error.

    Raises:
        SpecError: The cluster has none of this name.
        AgentError: No cluster agent told.
    """
    try:
        return await client.ask(lambda agent: agent.read_tenant(order.tenant))
    except AgentRefusedError as refused:
        if refused.code != NO_SUCH_TENANT:
            raise
        told = f"it has {', '.join(known)}" if known else "obscale show lists what there is"
        raise SpecError(
            f"tenant: {order.cluster_name} has no tenant {quoted(order.tenant)}", told
        ) from None


async def sight(link: ClusterConnection, order: Use, newer_than: int | None = None) -> Sighting:
    """Look what stands now.

    Args:
        link: Open.
        order: What is asked for.
        newer_than: Look also among DAGs that are over, for those with a larger number; None: not.

    Raises:
        AgentError: No cluster agent told its DAGs, members or the tenant; deciding without would
            be guessing.
    """
    ask = link.client.ask
    async with side_by_side() as reads:
        tenant = reads.create_task(read_own_tenant(link.client, order))
        newest = reads.create_task(ask(lambda agent: agent.read_last_cluster_dag()))
        unfinished = reads.create_task(ask(lambda agent: agent.read_unfinished_cluster_dags()))
        members = reads.create_task(ask(lambda agent: agent.read_ob_info()))
    ended: tuple[Dag, ...] = ()
    if newer_than is not None:
        ended = await _read_ended(link.client, order, newer_than, newest.result())
    return Sighting(tenant.result(), unfinished.result(), newest.result(), ended, members.result())


async def _read_ended(
    client: ClusterClient, order: Use, newer_than: int, newest: Dag | None
) -> tuple[Dag, ...]:
    """Read DAGs of the tenant that are over, with details; below 4.3.0.0 the newest alone."""
    try:
        known = await client.ask(lambda agent: agent.read_cluster_dags())
    except NotSupportedError:
        known = (newest,) if newest else ()
    own = [
        dag
        for dag in sorted(known, key=lambda each: each.dag_id)
        if modifies(dag, order.tenant) and dag.dag_id > newer_than and dag.is_terminal
    ]
    return tuple([await _read_dag(client, dag.id) for dag in own[-MOST_ENDED:]])


async def _read_dag(client: ClusterClient, dag_id: str) -> Dag:
    return await client.ask(lambda agent: agent.read_dag(dag_id))


async def read_placement(
    client: ClusterClient, order: Use
) -> tuple[Tenant, Placement, tuple[Zone, ...]]:
    """Read the tenant, where its units are, and the zones with their servers.

    Raises:
        AgentError: No cluster agent told.
    """
    async with side_by_side() as reads:
        tenant = reads.create_task(read_own_tenant(client, order))
        zones = reads.create_task(_read_zones(client))
    told = tenant.result()
    return told, placement_of(told.pools, zones.result()), zones.result()


async def _read_zones(client: ClusterClient) -> tuple[Zone, ...]:
    try:
        known: ClusterInfo = await client.ask(AgentClient.read_cluster_info)
    except NotSupportedError:
        listed = zones_listed(await client.ask(AgentClient.read_ob_info))
        return () if isinstance(listed, Unread) else listed
    return known.zones
