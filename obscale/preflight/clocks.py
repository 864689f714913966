"""Reads the clocks and time zones of a cluster's agents.

Asked last in a look, when nothing else is on its way: an answer that waits its turn says little.
"""

import asyncio
from functools import partial
from typing import Final

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.clock import ClockReading
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import Identity, ListedAgent
from obscale.clock import monotonic
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
    known = {(agent.address.ip, agent.address.port): agent for agent in cluster.clients}
    members = [
        AgentAddress(row.ip, row.port, scheme)
        for row in listed
        if row.identity is Identity.CLUSTER_AGENT
    ]
    asked = [member for member in members if member != target][:MOST_CLOCKS]

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
        clock = await fact(partial(agent.read_clock, seconds))
        if isinstance(clock, Unread):
            cluster.fell_silent(agent, began, clock.reason)
        return clock

    clocks = await asyncio.gather(*map(ask, asked))
    return {str(member): clock for member, clock in zip(asked, clocks, strict=True)}
