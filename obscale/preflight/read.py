"""Reads the facts about cluster and target that preflight judges; it only reads.

Cluster and target are read at the same time and each endpoint once (`/time` where no other answer
tells the clock well enough, five times at most; the list of members, and the cluster's unfinished
DAGs, once more for a target that is not SINGLE). A fact that cannot be read becomes `Unread`; only
a cluster of which nobody answers is an error. What depends on other members than the one that is
asked has `PEER_SECONDS` of its own for each answer, more where answers are late, counted from when
the question is sent.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Final

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import (
    AgentInfo,
    AgentStatus,
    ClusterInfo,
    Dag,
    HostInfo,
    Identity,
    ListedServer,
    ObInfo,
    Parameter,
    Server,
    Zone,
)
from obscale.clock import utc_now
from obscale.connect.connections import Connections
from obscale.connect.endpoints import EndpointAnswer, find_foreign_endpoint, who_accepts
from obscale.errors import (
    AgentError,
    AgentProtocolError,
    AgentRefusedError,
    AgentUnreachableError,
    DatabaseDownError,
    NotAuthorizedError,
    PasswordWithheldError,
    UntrustedKeyError,
)
from obscale.follow.local_dag import read_local_dag
from obscale.preflight.clocks import clocks_of, read_surely
from obscale.preflight.facts import (
    AGENT_AUTH,
    AGENT_REACHABLE,
    HOST_FACTS_MISSING,
    ClusterFacts,
    Facts,
    PreviousReading,
    TargetFacts,
)
from obscale.preflight.port_probe import probe_ports
from obscale.reading import PEER_SECONDS, Unread, cluster_fact, fact, peer_limit, side_by_side
from obscale.request.scale_out import ScaleOut

TARGET_SECONDS: Final = 9.0
"""For the joining agent to say who it is: three times the three seconds an open port needs."""
Introduction = Callable[[AgentClient], Awaitable[tuple[AgentInfo, ObInfo]]]
LOOKS_APART: Final = timedelta(seconds=10)
"""Between two looks at a machine, for what changed on it to say something."""


async def survey(
    link: Connections,
    order: ScaleOut,
    *,
    earlier: PreviousReading | None = None,
    peer_seconds: float = PEER_SECONDS,
    probing: bool = True,
    lasting: ClusterFacts | None = None,
    seen: ClusterFacts | None = None,
    is_list_enough: bool = False,
) -> Facts:
    """Read all facts of an order.

    Args:
        link: Open connections.
        order: What is asked for.
        earlier: A look somebody has decided on: its age, and what has changed on the target's
            machine since, are judged too.
        peer_seconds: Longest wait for what depends on other members than the one that is asked.
        probing: Whether the new observer's ports are tried from here.
        lasting: What a look at this cluster some minutes ago has told and what lasts as long, see
            `ClusterFacts.lasting`; it is not asked for again.
        seen: All of the cluster as somebody has just seen it; then it is not asked at all.
        is_list_enough: As for `find_foreign_endpoint`.

    Raises:
        AgentError: No entry agent could be asked: unreachable, not obshell, or not authorised.
        SpecError: The entry agents are of several clusters.
    """

    async def read_cluster() -> ClusterFacts:
        if seen:
            return seen
        return await survey_cluster(
            link.cluster,
            link.target.address,
            peer_seconds=peer_seconds,
            lasting=lasting,
            is_list_enough=is_list_enough,
        )

    async with side_by_side() as reads:
        cluster = reads.create_task(read_cluster())
        target = reads.create_task(survey_joining(link, order, earlier, probing=probing))
    facts = Facts(
        node=order.node,
        batch=order.batch or (order.node,),
        cluster=cluster.result(),
        target=target.result(),
        expected_name=link.spec.name,
        expected_id=link.spec.id,
        allow_new_zone=order.allow_new_zone,
        has_target_password=link.target_password is not None,
        now=utc_now(),
        judged_before=earlier.at if earlier else None,
    )
    return await with_sure_clocks(link, facts, peer_seconds)


async def with_sure_clocks(
    link: Connections, facts: Facts, peer_seconds: float = PEER_SECONDS
) -> Facts:
    """Give facts whose clocks are read as surely as a comparison of target and cluster needs.

    Args:
        link: Open connections.
        facts: Of that target.
        peer_seconds: As for `survey`.
    """
    clock, clocks = await read_surely(link, facts.target.clock, facts.cluster.clocks, peer_seconds)
    return replace(
        facts,
        cluster=replace(facts.cluster, clocks=clocks),
        target=replace(facts.target, clock=clock),
    )


async def survey_joining(
    link: Connections,
    order: ScaleOut,
    earlier: PreviousReading | None = None,
    *,
    probing: bool = True,
) -> TargetFacts:
    """Read what the joining agent knows, and try its observer's ports; never raises an AgentError.

    Args:
        link: Open connections.
        order: As for `survey`.
        earlier: As for `survey`.
        probing: As for `survey`.
    """
    target, ports = await asyncio.gather(_survey_target(link), probe_ports(order, probing=probing))
    return replace(target, ports=ports, host_before=_machine_of(earlier))


def _machine_of(earlier: PreviousReading | None) -> HostInfo | None:
    """What two looks in one breath differ in is no trend."""
    if earlier is None or utc_now() - earlier.at < LOOKS_APART:
        return None
    return earlier.host


async def survey_cluster(
    cluster: ClusterClient,
    joining: AgentAddress | None = None,
    *,
    peer_seconds: float = PEER_SECONDS,
    lasting: ClusterFacts | None = None,
    is_list_enough: bool = False,
) -> ClusterFacts:
    """Read what the cluster's agents know.

    Args:
        cluster: Agents to ask.
        joining: It is no member whose clock counts; None: nobody joins.
        peer_seconds: As for `survey`.
        lasting: As for `survey`; then the other entry agents are not compared again either.
        is_list_enough: As for `survey`.

    Raises:
        AgentError: No entry agent could be asked, or one refuses what another accepts.
        SpecError: The entry agents are of several clusters.
    """
    # The first signed read settles who answers with these credentials; all else may fail.
    # Where there is nobody else to ask, the only agent gets all the time a read may take.
    seconds = peer_seconds if len(cluster.clients) > 1 else None
    entries = cluster.clients
    introduce = partial(_introduce, seconds=seconds)
    try:
        info, ob_info = await _introduced(cluster, introduce)
    except NotAuthorizedError as refused:
        others = [
            agent
            for agent in entries
            if str(agent.address) != refused.agent and cluster.silence_of(agent.address) is None
        ]
        raise await who_accepts(refused, others, peer_seconds) from refused
    entry = cluster.current
    others = [
        agent
        for agent in entries
        if agent is not entry
        and cluster.silence_of(agent.address) is None
        and agent.address != joining
    ]
    ask = cluster.ask
    first = EndpointAnswer(str(entry.address), info, ob_info)
    async with side_by_side() as reads:
        limit = peer_limit(peer_seconds, entry.answer_seconds)
        foreign = reads.create_task(
            find_foreign_endpoint(
                first,
                () if lasting else others,
                limit,
                cluster.fell_silent,
                is_list_enough=is_list_enough,
            )
        )
        # Each agent asked in turn may be as late as this one is.
        late = peer_limit(peer_seconds, entry.answer_seconds, len(ob_info.agent_info))
        lasts = reads.create_task(_what_lasts(cluster, entry, late, lasting))
        # Of a cluster that gets a node no rule asks for it.
        status = reads.create_task(_status(cluster)) if joining is None else None
        details = reads.create_task(cluster_fact(partial(ask, AgentClient.read_cluster_info)))
        unfinished = reads.create_task(
            fact(partial(ask, lambda agent: agent.read_unfinished_cluster_dags()))
        )
        last = reads.create_task(fact(partial(ask, lambda agent: agent.read_last_cluster_dag())))
    if error := foreign.result():
        raise error
    known = details.result()
    told = replace(
        lasts.result(),
        entry=str(entry.address),
        scheme=entry.address.scheme,
        info=info,
        status=status.result() if status else None,
        ob_info=ob_info,
        cluster_info=known,
        topology=known.zones if isinstance(known, ClusterInfo) else zones_listed(ob_info),
        unfinished=unfinished.result(),
        last_dag=last.result(),
    )
    if lasting:
        return told
    # Last, when nothing else is on its way: a clock whose answer comes late is asked again.
    clocks = await clocks_of(cluster, ob_info.agent_info, joining, peer_seconds)
    return replace(
        told,
        clocks=clocks,
        utc_offsets_seconds={
            agent: clock.utc_offset_seconds
            for agent, clock in clocks.items()
            if not isinstance(clock, Unread)
        },
    )


async def _status(cluster: ClusterClient) -> AgentStatus | Unread:
    return await fact(partial(cluster.ask, AgentClient.read_status))


async def _introduced(cluster: ClusterClient, introduce: Introduction) -> tuple[AgentInfo, ObInfo]:
    """Read who an entry agent is and its cluster: one that has a database, where there is one.

    An agent without one still answers this, but next to nothing of what follows.

    Raises:
        AgentError: As `ClusterClient.ask`.
    """
    lacking: list[str] = []

    async def insist(agent: AgentClient) -> tuple[AgentInfo, ObInfo]:
        info, ob_info = await introduce(agent)
        is_member = info.identity is Identity.CLUSTER_AGENT
        if is_member and isinstance(zones_listed(ob_info), Unread):
            lacking.append(str(agent.address))
            raise DatabaseDownError(
                "its database does not answer", str(agent.address), "read /ob/info"
            )
        return info, ob_info

    try:
        return await cluster.ask(insist)
    except NotAuthorizedError:
        raise
    except AgentError:
        if not lacking:
            raise
        return await cluster.ask(introduce)


async def _what_lasts(
    cluster: ClusterClient,
    entry: AgentClient,
    statistics_seconds: float,
    known: ClusterFacts | None,
) -> ClusterFacts:
    """Read what `ClusterFacts.lasting` keeps, clocks aside, where it is not known; nothing else."""
    if known is not None:
        return known
    ask = cluster.ask
    async with side_by_side() as reads:
        parameters = reads.create_task(cluster_fact(partial(ask, _parameters)))
        limit = reads.create_task(cluster_fact(partial(ask, AgentClient.read_unit_config_limit)))
        unit_configs = reads.create_task(cluster_fact(partial(ask, AgentClient.read_unit_configs)))
        pools = reads.create_task(cluster_fact(partial(ask, AgentClient.read_resource_pools)))
        tenants = reads.create_task(cluster_fact(partial(ask, AgentClient.read_tenants)))
        license_ = reads.create_task(fact(partial(ask, AgentClient.read_license)))
        # The agent asks every member in its turn.
        statistics = reads.create_task(
            cluster_fact(partial(ask, lambda agent: agent.read_statistics(statistics_seconds)))
        )
    return ClusterFacts(
        entry=str(entry.address),
        scheme=entry.address.scheme,
        parameters=parameters.result(),
        unit_config_limit=limit.result(),
        unit_configs=unit_configs.result(),
        pools=pools.result(),
        tenants=tenants.result(),
        license=license_.result(),
        statistics=statistics.result(),
    )


async def _introduce(agent: AgentClient, *, seconds: float | None) -> tuple[AgentInfo, ObInfo]:
    """Read who an entry agent is, and its cluster.

    Raises:
        AgentUnreachableError: No word of who it is within the time.
        AgentError: Anything else.
    """
    try:
        async with asyncio.timeout(seconds):
            # In this order: signing needs /info anyway, and the client remembers it.
            info = await agent.read_info()
    except TimeoutError:
        said = f"no answer within {seconds:g} s"
        raise AgentUnreachableError(said, str(agent.address), "read info") from None
    return info, await agent.read_ob_info()


async def _survey_target(link: Connections) -> TargetFacts:
    """Read what the joining agent knows; never raises an AgentError."""
    target = link.target
    address = target.address
    try:
        async with asyncio.timeout(TARGET_SECONDS):
            info = await target.read_info()
    except (AgentError, TimeoutError) as error:
        said = str(error) or f"{address}: no answer within {TARGET_SECONDS:g} s"
        gap = Unread(said, covered_by=AGENT_REACHABLE)
        return TargetFacts(
            address=str(address),
            scheme=address.scheme,
            info=gap,
            status=gap,
            host=gap,
            unfinished=gap,
            last_dag=gap,
            clock=gap,
            signed_read=gap,
            ob_info=gap,
            utc_offset_seconds=gap,
        )
    if info.identity is not Identity.SINGLE:
        # What it says of itself proves nothing: is it a member, as the cluster sees it?
        await fact(link.read_members)
    status, host, (unfinished, signed), last, ob_info = await asyncio.gather(
        fact(target.read_status),
        fact(target.read_host_info, covered_by=HOST_FACTS_MISSING, refused=AGENT_AUTH),
        _unfinished(target, info.identity),
        fact(partial(read_local_dag, link, partial(_mains, link)), refused=AGENT_AUTH),
        fact(target.read_ob_info, refused=AGENT_AUTH),
    )
    # Last, as in `survey_cluster`.
    clock = await fact(target.read_clock)
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
        ob_info=ob_info,
        utc_offset_seconds=clock if isinstance(clock, Unread) else clock.utc_offset_seconds,
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


async def _mains(link: Connections) -> tuple[Dag, ...]:
    return await link.cluster.ask(lambda agent: agent.read_unfinished_cluster_dags())


async def _unfinished(
    target: AgentClient, identity: Identity
) -> tuple[tuple[Dag, ...] | Unread, str | Unread]:
    """Read the local DAGs, which proves the credentials too: a refusal is an answer, silence not.

    Returns:
        The DAGs, and `ok`, `refused: …`, `unusable: …`, `withheld: …` of one that calls itself
        SINGLE, or why it is not known.
    """
    try:
        return await target.read_unfinished_agent_dags(), "ok"
    except NotAuthorizedError as error:
        said = "; ".join(filter(None, (error.message, error.hint)))
        return Unread(str(error), covered_by=AGENT_AUTH), f"refused: {said}"
    except (UntrustedKeyError, AgentProtocolError) as error:
        gap = Unread(str(error), covered_by=AGENT_AUTH)
        return gap, gap if error.transient else f"unusable: {error.message}"
    except PasswordWithheldError as error:
        gap = Unread(str(error), covered_by=AGENT_AUTH)
        return gap, f"withheld: {error.message}" if identity is Identity.SINGLE else gap
    except AgentRefusedError as error:
        return Unread(str(error)), "ok"
    except AgentError as error:
        return Unread(str(error)), Unread(str(error))


async def _parameters(entry: AgentClient) -> tuple[Parameter, ...] | Unread:
    """Read the list of parameters; every observer has some, so an empty one is no answer."""
    return await entry.read_parameters() or Unread("the list of parameters is empty")
