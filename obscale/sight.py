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
from obscale.rules.ladder import Aftermath

T = TypeVar("T")


async def look_for_dag(link: Link) -> Sighting:
    """Look for DAGs of the link's target.

    Raises:
        AgentError: No cluster agent told its DAGs or members; deciding without would be guessing.
    """
    target_info, target_dag, last, unfinished, ob_info = await asyncio.gather(
        _or_none(link.target.read_info()),
        _or_none(link.target.read_last_agent_dag()),
        link.cluster.ask(lambda agent: agent.read_last_cluster_dag()),
        link.cluster.ask(lambda agent: agent.read_unfinished_cluster_dags()),
        link.cluster.ask(lambda agent: agent.read_ob_info()),
    )
    return Sighting(
        target=str(link.target.address),
        target_info=target_info,
        target_dag=target_dag,
        last_dag=last,
        unfinished=unfinished,
        members=ob_info.agent_info,
    )


async def look_after(link: Link) -> Aftermath:
    """Look at the node and the cluster once the DAG has ended. Never raises an AgentError."""
    info, status, own, ob_info, zones, parameters, unfinished = await asyncio.gather(
        _or_none(link.target.read_info()),
        _or_none(link.target.read_status()),
        _or_none(link.target.read_unfinished_agent_dags()),
        _or_none(link.cluster.ask(lambda agent: agent.read_ob_info())),
        _or_none(read_zones(link)),
        _supported(link.cluster.ask(lambda agent: agent.read_parameters())),
        _or_none(link.cluster.ask(lambda agent: agent.read_unfinished_cluster_dags())),
    )
    values, supported = parameters
    return Aftermath(
        target=str(link.target.address),
        target_info=info,
        target_status=status,
        target_unfinished=own,
        members=ob_info.agent_info if ob_info else None,
        zones=zones,
        parameters=values,
        unfinished=unfinished,
        parameters_supported=supported,
    )


async def read_zones(link: Link) -> tuple[Zone, ...]:
    """Read the topology with statistics, from the richest endpoint this version has.

    Raises:
        NotSupportedError: Below 4.3.0.0 neither endpoint exists.
        AgentError: Nobody answered.
    """
    try:
        return (await link.cluster.ask(lambda agent: agent.read_cluster_info())).zones
    except NotSupportedError:
        return (await link.cluster.ask(lambda agent: agent.read_topology())).zones


async def _or_none(reading: Awaitable[T]) -> T | None:
    try:
        return await reading
    except AgentError:
        return None


async def _supported(reading: Awaitable[T]) -> tuple[T | None, bool]:
    try:
        return await reading, True
    except NotSupportedError:
        return None, False
    except AgentError:
        return None, True
