"""Reads the facts about a removal that its rules judge; it only reads.

Through entry agents that stay: the one that leaves soon knows the cluster no more, and is asked
only of itself. A fact that cannot be read becomes `Unread`; only a cluster of which nobody answers
is an error.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from obscale.agent.client import AgentClient
from obscale.agent.models import ObInfo, Parameter, Server, Zone
from obscale.agent.resources import Tenant
from obscale.clock import utc_now
from obscale.connect.connections import Connections
from obscale.errors import AgentError, NotSupportedError
from obscale.preflight.facts import AGENT_AUTH, ClusterFacts
from obscale.preflight.read import TARGET_SECONDS, survey_cluster
from obscale.preflight.rules.cluster_mode import SYS_TENANT_ID
from obscale.reading import PEER_SECONDS, Unread, fact, peer_limit, side_by_side
from obscale.removal.facts import DeadLook, LeavingFacts, RemovalFacts, is_dead
from obscale.removal.rules.majority import CONNECTABLE, ENTRIES, LOOKS, LOOKS_APART
from obscale.request.removal import Removal

SYS_PARAMETERS: Final = ("enable_rebalance",)
"""Of the sys tenant; `/obcluster/parameters` tells those of tenants too."""
TENANTS_AT_ONCE: Final = 4


async def survey(
    link: Connections, order: Removal, *, peer_seconds: float = PEER_SECONDS
) -> RemovalFacts:
    """Read all facts of an order.

    From then on `link.cluster` asks the agents that leave no more, unless nobody else is left.

    Args:
        link: Open connections; `target` is the leaving agent, and not used where a zone leaves.
        order: What is asked for.
        peer_seconds: Longest wait for what depends on other members than the one that is asked.

    Raises:
        AgentError: No entry agent could be asked: unreachable, not obshell, or not authorised.
        SpecError: The entry agents are of several clusters.
    """
    dropped = await _leave_out(link, order)
    async with side_by_side() as reads:
        read = reads.create_task(_cluster_with_tenants(link, peer_seconds))
        members = reads.create_task(_members(link, peer_seconds))
        leaving = reads.create_task(_leaving(link)) if order.node else None
    cluster, tenants = read.result()
    facts = RemovalFacts(
        order=order,
        cluster=cluster,
        leaving=leaving.result() if leaving else None,
        members=members.result(),
        tenants=tenants,
        sys_parameters=_of_sys(cluster.parameters),
        expected_name=link.spec.name,
        expected_id=link.spec.id,
        now=utc_now(),
        dropped=dropped,
    )
    if order.node is None or not order.node.force_kill:
        return facts
    looks = await _dead_looks(link, facts, peer_seconds)
    return replace(facts, dead_looks=looks, now=utc_now())


async def _leave_out(link: Connections, order: Removal) -> tuple[str, ...]:
    """Have nobody asked any more who leaves; of a zone the cluster tells who that is."""
    if order.node is not None:
        leaving = {node.address for node in order.batch} | {order.node.address}
    else:
        # Who of them answers is settled, and told as an error, by the survey.
        told = await fact(partial(link.cluster.ask, AgentClient.read_ob_info))
        rows = () if isinstance(told, Unread) else told.agent_info
        leaving = {row.address for row in rows if row.zone == order.zone}
    link.cluster.leave_out(leaving)
    known = (str(client.address) for client in link.cluster.left_out)
    return tuple(address for address in known if address in leaving)


async def _cluster_with_tenants(
    link: Connections, peer_seconds: float
) -> tuple[ClusterFacts, tuple[Tenant, ...] | Unread]:
    cluster = await survey_cluster(link.cluster, peer_seconds=peer_seconds)
    return cluster, await _tenants(link, cluster)


async def _tenants(link: Connections, cluster: ClusterFacts) -> tuple[Tenant, ...] | Unread:
    """Read each tenant with its pools; one that cannot be read leaves all unread."""
    listed = cluster.tenants
    if isinstance(listed, Unread):
        return listed
    if not listed:
        return Unread("the list of tenants is empty")
    turns = asyncio.Semaphore(TENANTS_AT_ONCE)

    async def read(name: str) -> Tenant | Unread:
        async with turns:
            return await fact(partial(link.cluster.ask, lambda agent: agent.read_tenant(name)))

    told = await asyncio.gather(*(read(tenant.tenant_name) for tenant in listed))
    gap = next((each for each in told if isinstance(each, Unread)), None)
    return gap or tuple(each for each in told if not isinstance(each, Unread))


async def _members(link: Connections, peer_seconds: float) -> dict[str, ObInfo | Unread]:
    """Ask every entry agent that stays for its own list; one that is silent costs its limit."""
    entries = link.cluster.clients

    async def read(agent: AgentClient) -> ObInfo | Unread:
        if why := link.cluster.silence_of(agent.address):
            return Unread(why)
        limit = peer_limit(peer_seconds, agent.answer_seconds)
        try:
            async with asyncio.timeout(limit):
                return await fact(agent.read_ob_info)
        except TimeoutError:
            return Unread(f"{agent.address}: no answer within {limit:g} s")

    told = await asyncio.gather(*map(read, entries))
    return {str(agent.address): each for agent, each in zip(entries, told, strict=True)}


async def _leaving(link: Connections) -> LeavingFacts:
    """Read what the leaving agent says of itself; never raises an AgentError."""
    agent = link.target
    address = str(agent.address)
    try:
        async with asyncio.timeout(TARGET_SECONDS):
            info = await agent.read_info()
    except (AgentError, TimeoutError) as error:
        gap = Unread(str(error) or f"{address}: no answer within {TARGET_SECONDS:g} s")
        return LeavingFacts(address, gap, gap, gap)
    # What it says of itself proves nothing: only the cluster's list gives it the password.
    await fact(link.read_members)
    status, last = await asyncio.gather(
        fact(agent.read_status), fact(agent.read_last_agent_dag, refused=AGENT_AUTH)
    )
    return LeavingFacts(address, info, status, last)


def _of_sys(
    parameters: Sequence[Parameter] | Unread,
) -> dict[str, Parameter] | Unread:
    """Give the wanted parameters with the sys tenant's values alone; without one it is left out."""
    if isinstance(parameters, Unread):
        return parameters
    found = {}
    for row in parameters:
        own = tuple(value for value in row.ob_parameters if value.tenant_id == SYS_TENANT_ID)
        if row.name in SYS_PARAMETERS and own:
            found[row.name] = row.model_copy(update={"ob_parameters": own})
    return found


async def _dead_looks(
    link: Connections, facts: RemovalFacts, peer_seconds: float
) -> tuple[DeadLook, ...]:
    """Look several times whether the server is dead; a look that shows it alive is the last."""
    pause = LOOKS_APART.total_seconds() / (LOOKS - 1)
    found: list[DeadLook] = []
    for number in range(LOOKS):
        if number:
            await asyncio.sleep(pause)
        looks = await _look(link, facts, peer_seconds)
        found += looks
        if any(_shows_life(look) for look in looks):
            break
    return tuple(found)


def _shows_life(look: DeadLook) -> bool:
    is_alive = isinstance(look.server, Server) and is_dead(look.server) is False
    return is_alive or look.ob_state == CONNECTABLE


async def _look(
    link: Connections, facts: RemovalFacts, peer_seconds: float
) -> tuple[DeadLook, ...]:
    """Ask entry agents that stay for the server's row, and its own agent how it is."""
    heard = [a for a in link.cluster.clients if link.cluster.silence_of(a.address) is None]
    agents = heard[:ENTRIES]
    state, rows = await asyncio.gather(
        _ob_state(link.target),
        asyncio.gather(*(_row(each, facts, peer_seconds) for each in agents)),
    )
    at = utc_now()
    return tuple(
        DeadLook(str(agent.address), at, row, state)
        for agent, row in zip(agents, rows, strict=True)
    )


async def _ob_state(agent: AgentClient) -> int | Unread:
    try:
        async with asyncio.timeout(TARGET_SECONDS):
            return (await agent.read_status()).ob_state
    except (AgentError, TimeoutError) as error:
        return Unread(str(error) or f"no answer within {TARGET_SECONDS:g} s")


async def _row(
    agent: AgentClient, facts: RemovalFacts, peer_seconds: float
) -> Server | Unread | None:
    """Read the leaving server's row as one agent shows it; None: it shows none."""
    known = facts.server()
    if known is None:
        return None
    limit = peer_limit(peer_seconds, agent.answer_seconds, len(facts.cluster.servers()))
    try:
        async with asyncio.timeout(limit):
            zones = await _zones(agent)
    except (AgentError, TimeoutError) as error:
        return Unread(str(error) or f"{agent.address}: no answer within {limit:g} s")
    rows = (server for zone in zones for server in zone.servers)
    return next((r for r in rows if (r.ip, r.svr_port) == (known.ip, known.svr_port)), None)


async def _zones(agent: AgentClient) -> Sequence[Zone]:
    """Read the topology; below 4.4.1.0 the whole cluster tells it."""
    try:
        return (await agent.read_topology()).zones
    except NotSupportedError:
        return (await agent.read_cluster_info()).zones
