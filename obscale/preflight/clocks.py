"""Reads the clocks and time zones of a cluster's agents.

Asked last in a look, when nothing else is on its way: an answer that waits its turn says little.
A clock that is near ours is read surely only where another one may be farther from it than any rule
lets pass without a word.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.clock import ClockReading, is_too_coarse
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import Identity, ListedAgent
from obscale.clock import monotonic
from obscale.connect.connections import Connections
from obscale.reading import Unread, fact, peer_limit

MOST_CLOCKS: Final = 8
"""Member clocks compared; each costs questions, and a wrong target clock shows against any."""


async def clocks_of(
    cluster: ClusterClient,
    listed: tuple[ListedAgent, ...],
    target: AgentAddress | None,
    peer_seconds: float,
) -> dict[str, ClockReading | Unread]:
    """Read the clocks of a cluster's members, by `ip:port`; eight at most.

    Args:
        cluster: Agents to ask.
        listed: The cluster's agents, as it lists them.
        target: The joining agent; it is no member whose clock counts. None: nobody joins.
        peer_seconds: Longest wait for one of them, where answers come quickly; who has kept us
            waiting already is not asked.
    """
    scheme = cluster.current.address.scheme
    members = [
        AgentAddress(row.ip, row.port, scheme)
        for row in listed
        if row.identity is Identity.CLUSTER_AGENT
    ]
    asked = [member for member in members if member != target][:MOST_CLOCKS]
    return await _read_all(cluster, asked, peer_seconds)


async def read_surely(
    link: Connections,
    clock: ClockReading | Unread,
    clocks: Mapping[str, ClockReading | Unread],
    peer_seconds: float,
) -> tuple[ClockReading | Unread, Mapping[str, ClockReading | Unread]]:
    """Read anew what is too coarse to compare a target's clock with those of its cluster.

    Args:
        link: Open connections.
        clock: The target's.
        clocks: Members', as `clocks_of` gives them.
        peer_seconds: As for `clocks_of`.

    Returns:
        All of them; one that cannot be read now as it was.
    """
    if isinstance(clock, Unread):
        return clock, clocks
    theirs = {each: told for each, told in clocks.items() if isinstance(told, ClockReading)}
    coarse = [
        replace(AgentAddress.parse(each), scheme=link.cluster.current.address.scheme)
        for each, told in theirs.items()
        if is_too_coarse(told, [clock])
    ]
    if is_too_coarse(clock, theirs.values()):
        again = await fact(partial(link.target.read_clock, surely=True))
        clock = clock if isinstance(again, Unread) else again
    anew = await _read_all(link.cluster, coarse, peer_seconds, surely=True) if coarse else {}
    read = {each: told for each, told in anew.items() if isinstance(told, ClockReading)}
    return clock, {**clocks, **read}


async def _read_all(
    cluster: ClusterClient,
    members: Sequence[AgentAddress],
    peer_seconds: float,
    *,
    surely: bool = False,
) -> dict[str, ClockReading | Unread]:
    known = {(agent.address.ip, agent.address.port): agent for agent in cluster.clients}
    seconds = peer_limit(peer_seconds, cluster.current.answer_seconds)

    async def ask(member: AgentAddress) -> ClockReading | Unread:
        if silence := cluster.silence_of(member):
            return Unread(silence)
        if agent := known.get((member.ip, member.port)):
            return await read(agent)
        # The time is told to anybody: who is only listed needs no password for it.
        async with cluster.current.without_passwords(member) as listed_only:
            return await read(listed_only)

    async def read(agent: AgentClient) -> ClockReading | Unread:
        began = monotonic()
        clock = await fact(partial(agent.read_clock, seconds, surely=surely))
        if isinstance(clock, Unread):
            cluster.fell_silent(agent, began, clock.reason)
        return clock

    clocks = await asyncio.gather(*map(ask, members))
    return {str(member): clock for member, clock in zip(members, clocks, strict=True)}
