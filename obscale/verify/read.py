"""Reads what verify needs of the node and its cluster once the DAG has ended.

Reads only. What cannot be read becomes None; only a cluster that answers nobody, and a member whose
key is not the one it is known by, are errors. The members are read first: whether the target is one
of them decides what it may be asked.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import ClusterInfo, ListedAgent, Zone
from obscale.connect.connections import Connections
from obscale.errors import AgentError, NotSupportedError
from obscale.preflight.clocks import clocks_of, read_surely
from obscale.preflight.read import zones_listed
from obscale.reading import PEER_SECONDS, Unread, fact, or_none, side_by_side
from obscale.verify.observation import Observation, Surroundings

T = TypeVar("T")


async def read_observation(link: Connections, *, with_cluster: bool = False) -> Observation:
    """Look at the node and the cluster once the DAG has ended.

    Args:
        link: Open connections.
        with_cluster: Read the zones with all else of the cluster, which the surroundings want too.

    Raises:
        UntrustedKeyError: A member, the target among them, serves another key than it is known by.
    """
    ask = link.cluster.ask
    async with side_by_side() as reads:
        info = reads.create_task(or_none(link.target.read_info))
        status = reads.create_task(or_none(link.target.read_status))
        members = reads.create_task(or_none(link.read_members))
        zones = reads.create_task(_zones(link.cluster, with_cluster=with_cluster))
        parameters = reads.create_task(_supported(partial(ask, AgentClient.read_parameters)))
        unfinished = reads.create_task(
            or_none(partial(ask, AgentClient.read_unfinished_cluster_dags))
        )
    # Last: only now it is known whether the target may be asked as a member.
    own = await or_none(link.target.read_unfinished_agent_dags) if info.result() else None
    ob_info, (values, supported) = members.result(), parameters.result()
    known, detailed, whole = zones.result()
    return Observation(
        target=str(link.target.address),
        target_info=info.result(),
        target_status=status.result(),
        target_unfinished=own,
        members=ob_info.agent_info if ob_info else None,
        ob_version=ob_info.obcluster_info.version if ob_info else "",
        zones=known,
        is_detailed=detailed,
        parameters=values,
        unfinished=unfinished.result(),
        parameters_supported=supported,
        cluster=whole,
    )


async def read_surroundings(
    link: Connections, members: tuple[ListedAgent, ...], known: ClusterInfo | None = None
) -> Surroundings:
    """Look at what costs many questions: totals, machine, clocks. Never raises an AgentError.

    Args:
        link: Open connections.
        members: The cluster's agents, whose clocks are compared with the target's.
        known: What the look of this moment has read of the cluster already; None: it is asked.
    """
    cluster, target = link.cluster, link.target

    async def read_cluster() -> ClusterInfo:
        return await cluster.ask(AgentClient.read_cluster_info) if known is None else known

    async with side_by_side() as reads:
        info = reads.create_task(fact(read_cluster))
        host = reads.create_task(fact(target.read_host_info))
    # By themselves: a clock's answer that waits its turn behind others is asked for again.
    async with side_by_side() as reads:
        clock = reads.create_task(fact(target.read_clock))
        theirs = reads.create_task(clocks_of(cluster, members, target.address, PEER_SECONDS))
    mine, clocks = await read_surely(link, clock.result(), theirs.result(), PEER_SECONDS)
    return Surroundings(cluster=info.result(), host=host.result(), clock=mine, clocks=clocks)


async def read_zones(cluster: ClusterClient) -> tuple[tuple[Zone, ...] | None, bool]:
    """Read the topology from the cheapest endpoint this version has.

    Returns:
        The zones, None where the database does not tell; and whether they carry details.

    `/obcluster/info` makes its agent ask every other one, so it is only the second choice.

    Raises:
        AgentError: Nobody answered.
    """
    ask = cluster.ask
    try:
        return (await ask(lambda agent: agent.read_topology())).zones, True
    except NotSupportedError:
        pass
    try:
        return (await ask(lambda agent: agent.read_cluster_info())).zones, True
    except NotSupportedError:
        listed = zones_listed(await ask(lambda agent: agent.read_ob_info()))
    return (None if isinstance(listed, Unread) else listed), False


async def _zones(
    cluster: ClusterClient, *, with_cluster: bool
) -> tuple[tuple[Zone, ...] | None, bool, ClusterInfo | None]:
    """Read the topology as `read_zones`, and what else of the cluster came with it."""
    whole = None
    if with_cluster:
        whole = await or_none(partial(cluster.ask, AgentClient.read_cluster_info))
    if whole:
        return whole.zones, True, whole
    zones, is_detailed = await or_none(partial(read_zones, cluster)) or (None, True)
    return zones, is_detailed, None


async def _supported(read: Callable[[], Awaitable[T]]) -> tuple[T | None, bool]:
    try:
        return await read(), True
    except NotSupportedError:
        return None, False
    except AgentError:
        return None, True
