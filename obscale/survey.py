"""What can be read of cluster and target before anything is touched, for the rules to judge?

Everything is read at the same time and each endpoint once. A fact that cannot be read becomes
`Unread`; only a cluster of which nobody answers is an error.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Final, TypeVar

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.clock import ClockReading
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import ClusterInfo, Identity, ListedServer, ObInfo, Server, Zone
from obscale.errors import AgentError, AgentRefusedError, NotAuthorizedError, NotSupportedError
from obscale.link import Link
from obscale.order import Order
from obscale.rules.preflight.facts import (
    AGENT_REACHABLE,
    CLUSTER_FACTS_MISSING,
    HOST_FACTS_MISSING,
    ClusterFacts,
    Facts,
    TargetFacts,
    Unread,
)

T = TypeVar("T")

MOST_CLOCKS: Final = 8
"""Member clocks compared; each costs five questions, and a wrong target clock shows against any."""


async def survey(link: Link, order: Order) -> Facts:
    """Read all facts of an order.

    Raises:
        AgentError: No entry agent could be asked: unreachable, not obshell, or not authorised.
    """
    try:
        async with asyncio.TaskGroup() as reads:
            cluster = reads.create_task(survey_cluster(link.cluster, link.target))
            target = reads.create_task(survey_target(link.target))
    except* AgentError as failed:
        # Only the cluster's survey raises; the group has ended the target's reads before.
        raise failed.exceptions[0] from None
    return Facts(
        node=order.node,
        batch=order.batch or (order.node,),
        cluster=cluster.result(),
        target=target.result(),
        expected_name=link.spec.name,
        expected_id=link.spec.id,
        allow_new_zone=order.allow_new_zone,
        has_target_password=link.target_password is not None,
        now=datetime.now(UTC),
    )


async def survey_cluster(cluster: ClusterClient, target: AgentClient) -> ClusterFacts:
    """Read what the cluster's agents know.

    Raises:
        AgentError: No entry agent could be asked.
    """
    # The first signed read settles who answers with these credentials; all else may fail.
    ob_info = await cluster.ask(lambda agent: agent.read_ob_info())
    entry = cluster.current
    async with asyncio.TaskGroup() as reads:
        info = reads.create_task(_fact(entry.read_info()))
        status = reads.create_task(_fact(entry.read_status()))
        details = reads.create_task(_cluster_fact(entry.read_cluster_info()))
        parameters = reads.create_task(_cluster_fact(entry.read_parameters()))
        limit = reads.create_task(_cluster_fact(entry.read_unit_config_limit()))
        unfinished = reads.create_task(_fact(entry.read_unfinished_cluster_dags()))
        last = reads.create_task(_fact(entry.read_last_cluster_dag()))
        clocks = reads.create_task(_clocks(cluster, ob_info, target))
    known = details.result()
    return ClusterFacts(
        entry=str(entry.address),
        scheme=entry.address.scheme,
        info=info.result(),
        status=status.result(),
        ob_info=ob_info,
        cluster_info=known,
        topology=known.zones if isinstance(known, ClusterInfo) else zones_listed(ob_info),
        parameters=parameters.result(),
        unit_config_limit=limit.result(),
        unfinished=unfinished.result(),
        last_dag=last.result(),
        clocks=clocks.result(),
    )


async def survey_target(target: AgentClient) -> TargetFacts:
    """Read what the joining agent knows; never raises an AgentError."""
    address = target.address
    try:
        info = await target.read_info()
    except AgentError as error:
        gap = Unread(str(error), covered_by=AGENT_REACHABLE)
        return TargetFacts(
            str(address), address.scheme, gap, gap, gap, gap, gap, gap, signed_read=gap
        )
    status, host, unfinished, last, clock = await asyncio.gather(
        _fact(target.read_status()),
        _fact(target.read_host_info(), covered_by=HOST_FACTS_MISSING),
        _fact(target.read_unfinished_agent_dags()),
        _fact(target.read_last_agent_dag()),
        _fact(target.read_clock()),
    )
    signed = await _signed(target.read_unfinished_agent_dags)
    return TargetFacts(
        address=str(address),
        scheme=address.scheme,
        info=info,
        status=status,
        host=host,
        unfinished=unfinished,
        last_dag=last,
        clock=clock,
        signed_read=signed,
    )


def zones_listed(ob_info: ObInfo) -> tuple[Zone, ...] | Unread:
    """Give the topology as `/ob/info` lists it, all there is below 4.3.0.0.

    A null topology means that the database is down, never an empty cluster.
    """
    rows = ob_info.obcluster_info.topology
    if rows is None:
        return Unread("the cluster's database does not answer: its topology is unknown")
    return tuple(
        Zone(name=name, servers=tuple(_server(row) for row in servers))
        for name, servers in rows.items()
    )


def _server(row: ListedServer) -> Server:
    return Server(
        ip=row.svr_ip,
        svr_port=row.svr_port,
        sql_port=row.sql_port,
        version=row.build_version,
        with_rootserver=row.with_rootserver == "YES",
        status="",
        inner_status=row.status,
        obshell_port=row.agent_port,
    )


async def _clocks(
    cluster: ClusterClient, ob_info: ObInfo, target: AgentClient
) -> dict[str, ClockReading | Unread]:
    members = [
        AgentAddress(row.ip, row.port, cluster.current.address.scheme)
        for row in ob_info.agent_info
        if row.identity is Identity.CLUSTER_AGENT
    ]
    asked = [m for m in members if m != target.address][:MOST_CLOCKS]
    readings = await asyncio.gather(*(_fact(cluster.add(m).read_clock()) for m in asked))
    return dict(zip(map(str, asked), readings, strict=True))


async def _signed(read: Callable[[], Awaitable[object]]) -> str | Unread:
    """Prove the credentials by a signed read; a refusal is an answer, silence is not."""
    try:
        await read()
    except NotAuthorizedError as error:
        return f"refused: {error.message}"
    except AgentRefusedError:
        return "ok"
    except AgentError as error:
        return Unread(str(error))
    return "ok"


def _cluster_fact(reading: Awaitable[T]) -> Coroutine[None, None, T | Unread]:
    return _fact(reading, covered_by=CLUSTER_FACTS_MISSING)


async def _fact(reading: Awaitable[T], *, covered_by: str = "") -> T | Unread:
    try:
        return await reading
    except NotSupportedError as error:
        return Unread(str(error), supported=False, covered_by=covered_by)
    except AgentError as error:
        return Unread(str(error), covered_by=covered_by)
