"""Reads what submit needs before a POST, and what verify needs after it.

Reads only. What cannot be read becomes None; only a cluster that answers nobody, and a member whose
key is not the one it is known by, are errors. The members are read first: whether the target is one
of them decides what it may be asked.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from obscale.agent.client import AgentClient
from obscale.agent.models import Dag, ListedAgent, Zone
from obscale.connect.connections import Link
from obscale.errors import AgentError, NotSupportedError, UntrustedKeyError
from obscale.follow.local_dag import read_local_dag
from obscale.preflight.clocks import clocks_of
from obscale.preflight.read import zones_listed
from obscale.reading import PEER_SECONDS, Unread, fact, side_by_side
from obscale.scale_out_dag import SCALE_OUT
from obscale.submit.decide import Sighting
from obscale.verify.observation import Aftermath, Surroundings

T = TypeVar("T")


async def look_for_dag(link: Link) -> Sighting:
    """Look for DAGs of the link's target.

    Raises:
        AgentError: No cluster agent told its DAGs or members; deciding without would be guessing.
    """
    ask = link.cluster.ask
    async with side_by_side() as reads:
        target = reads.create_task(_or_words(link.target.read_info))
        last = reads.create_task(ask(lambda agent: agent.read_last_cluster_dag()))
        unfinished = reads.create_task(ask(lambda agent: agent.read_unfinished_cluster_dags()))
        members = reads.create_task(link.read_members())

    async def dags() -> Sequence[Dag]:
        newest = last.result()
        return (*unfinished.result(), *((newest,) if newest else ()))

    seen, local = target.result(), None
    if not isinstance(seen, str):
        local = await _or_none(partial(read_local_dag, link, dags))
    return Sighting(
        target=seen,
        target_dag=local,
        last_dag=last.result(),
        unfinished=unfinished.result(),
        members=members.result(),
    )


async def look_for_passed(link: Link, baseline: int) -> tuple[Dag, ...]:
    """Look for scale-outs that began after a DAG and are over, with details; from 4.3.0.0 on.

    A look for the newest and the unfinished ones misses a scale-out that was rolled back and then
    followed by another DAG.

    Args:
        link: Open connections.
        baseline: Number of the DAG.

    Raises:
        AgentError: No cluster agent told.
    """
    try:
        known = await link.cluster.ask(lambda agent: agent.read_cluster_dags())
    except NotSupportedError:
        return ()
    newer = [dag for dag in known if dag.name == SCALE_OUT and dag.dag_id > baseline]
    return tuple([await _read_dag(link, dag.id) for dag in newer])


async def _read_dag(link: Link, dag_id: str) -> Dag:
    """Read one of the cluster's DAGs, with details."""
    return await link.cluster.ask(lambda agent: agent.read_dag(dag_id))


async def look_after(link: Link) -> Aftermath:
    """Look at the node and the cluster once the DAG has ended.

    Raises:
        UntrustedKeyError: A member, the target among them, serves another key than it is known by.
    """
    ask = link.cluster.ask
    async with side_by_side() as reads:
        info = reads.create_task(_or_none(link.target.read_info))
        status = reads.create_task(_or_none(link.target.read_status))
        members = reads.create_task(_or_none(link.read_members))
        zones = reads.create_task(_or_none(partial(read_zones, link)))
        parameters = reads.create_task(_supported(partial(ask, AgentClient.read_parameters)))
        unfinished = reads.create_task(
            _or_none(partial(ask, AgentClient.read_unfinished_cluster_dags))
        )
    # Last: only now it is known whether the target may be asked as a member.
    own = await _or_none(link.target.read_unfinished_agent_dags) if info.result() else None
    ob_info, (values, supported) = members.result(), parameters.result()
    known, detailed = zones.result() or (None, True)
    return Aftermath(
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
    )


async def look_around(link: Link, members: tuple[ListedAgent, ...]) -> Surroundings:
    """Look at what costs many questions: totals, machine, clocks. Never raises an AgentError.

    Args:
        link: Open connections.
        members: The cluster's agents, whose clocks are compared with the target's.
    """
    cluster, target = link.cluster, link.target
    async with side_by_side() as reads:
        info = reads.create_task(fact(partial(cluster.ask, AgentClient.read_cluster_info)))
        host = reads.create_task(fact(target.read_host_info))
    # By themselves: a clock's answer that waits its turn behind others is asked for again.
    async with side_by_side() as reads:
        clock = reads.create_task(fact(target.read_clock))
        clocks = reads.create_task(clocks_of(cluster, members, target.address, PEER_SECONDS))
    return Surroundings(
        cluster=info.result(),
        host=host.result(),
        clock=clock.result(),
        clocks=clocks.result(),
    )


async def read_zones(link: Link) -> tuple[tuple[Zone, ...] | None, bool]:
    """Read the topology from the cheapest endpoint this version has.

    Returns:
        The zones, None where the database does not tell; and whether they carry details.

    `/obcluster/info` makes its agent ask every other one, so it is only the second choice.

    Raises:
        AgentError: Nobody answered.
    """
    ask = link.cluster.ask
    try:
        return (await ask(lambda agent: agent.read_topology())).zones, True
    except NotSupportedError:
        pass
    try:
        return (await ask(lambda agent: agent.read_cluster_info())).zones, True
    except NotSupportedError:
        listed = zones_listed(await ask(lambda agent: agent.read_ob_info()))
    return (None if isinstance(listed, Unread) else listed), False


async def _or_none(read: Callable[[], Awaitable[T]]) -> T | None:
    try:
        return await read()
    except UntrustedKeyError:
        raise
    except AgentError:
        return None


async def _or_words(read: Callable[[], Awaitable[T]]) -> T | str:
    try:
        return await read()
    except AgentError as error:
        return str(error)


async def _supported(read: Callable[[], Awaitable[T]]) -> tuple[T | None, bool]:
    try:
        return await read(), True
    except NotSupportedError:
        return None, False
    except AgentError:
        return None, True
