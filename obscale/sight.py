"""What can be seen of one target and its cluster right now: for submit before, for verify after?

Reads only. What cannot be read becomes None; only a cluster that answers nobody is an error.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from obscale.agent.models import Zone
from obscale.errors import AgentError, NotSupportedError
from obscale.link import Link
from obscale.rules.adoption import Sighting
from obscale.rules.aftermath import Aftermath
from obscale.rules.preflight.facts import Unread
from obscale.survey import zones_listed

T = TypeVar("T")


async def look_for_dag(link: Link) -> Sighting:
    """Look for DAGs of the link's target.

    Raises:
        AgentError: No cluster agent told its DAGs or members; deciding without would be guessing.
    """
    ask = link.cluster.ask
    try:
        async with asyncio.TaskGroup() as reads:
            target = reads.create_task(_or_words(link.target.read_info()))
            local = reads.create_task(_or_none(link.target.read_last_agent_dag()))
            last = reads.create_task(ask(lambda agent: agent.read_last_cluster_dag()))
            unfinished = reads.create_task(ask(lambda agent: agent.read_unfinished_cluster_dags()))
            members = reads.create_task(ask(lambda agent: agent.read_ob_info()))
    except* AgentError as failed:
        raise failed.exceptions[0] from None
    return Sighting(
        target=target.result(),
        target_dag=local.result(),
        last_dag=last.result(),
        unfinished=unfinished.result(),
        members=members.result(),
    )


async def look_after(link: Link) -> Aftermath:
    """Look at the node and the cluster once the DAG has ended. Never raises an AgentError."""
    ask = link.cluster.ask
    async with asyncio.TaskGroup() as reads:
        info = reads.create_task(_or_none(link.target.read_info()))
        status = reads.create_task(_or_none(link.target.read_status()))
        own = reads.create_task(_or_none(link.target.read_unfinished_agent_dags()))
        members = reads.create_task(_or_none(ask(lambda agent: agent.read_ob_info())))
        zones = reads.create_task(_or_none(read_zones(link)))
        parameters = reads.create_task(_supported(ask(lambda agent: agent.read_parameters())))
        unfinished = reads.create_task(
            _or_none(ask(lambda agent: agent.read_unfinished_cluster_dags()))
        )
    ob_info, (values, supported) = members.result(), parameters.result()
    known, detailed = zones.result() or (None, True)
    return Aftermath(
        target=str(link.target.address),
        target_info=info.result(),
        target_status=status.result(),
        target_unfinished=own.result(),
        members=ob_info.agent_info if ob_info else None,
        zones=known,
        is_detailed=detailed,
        parameters=values,
        unfinished=unfinished.result(),
        parameters_supported=supported,
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


async def _or_none(reading: Awaitable[T]) -> T | None:
    try:
        return await reading
    except AgentError:
        return None


async def _or_words(reading: Awaitable[T]) -> T | str:
    try:
        return await reading
    except AgentError as error:
        return str(error)


async def _supported(reading: Awaitable[T]) -> tuple[T | None, bool]:
    try:
        return await reading, True
    except NotSupportedError:
        return None, False
    except AgentError:
        return None, True
