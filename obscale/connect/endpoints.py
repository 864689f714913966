"""Checks that all entry agents of a connection answer and are of one cluster."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from obscale.agent.auth import read_auth_mode
from obscale.agent.client import AgentClient
from obscale.agent.keys import fingerprint
from obscale.agent.models import AgentInfo, Identity, ObInfo
from obscale.agent.sealing import parse_public_key
from obscale.errors import AgentError, AgentProtocolError, DatabaseDownError, SpecError

STEP: Final = "call the roll"
ASKED_AT_ONCE: Final = 16
"""A large cluster may have hundreds of members; nobody is in a hurry here."""


@dataclass(frozen=True)
class Present:
    """An agent that answered, also to a question that needs its password."""

    agent: str
    """`ip:port` as it was asked."""
    info: AgentInfo
    ob_info: ObInfo
    auth: str
    """`v1` or `v2`."""
    key: str
    """Fingerprint of its public key."""

    @property
    def cluster(self) -> str:
        """`name/id` of its cluster."""
        return f"{self.ob_info.obcluster_info.name}/{self.ob_info.obcluster_info.id}"

    @property
    def members(self) -> frozenset[str]:
        """The agents it calls members, itself included."""
        rows = self.ob_info.agent_info
        return frozenset(r.address for r in rows if r.identity is Identity.CLUSTER_AGENT)


@dataclass(frozen=True)
class Absent:
    """An agent that could not be asked."""

    agent: str
    error: AgentError


async def call_roll(clients: Sequence[AgentClient]) -> tuple[Present | Absent, ...]:
    """Ask every agent who it is, at the same time; gives them in the order of the clients."""
    gate = asyncio.Semaphore(ASKED_AT_ONCE)

    async def ask(client: AgentClient) -> Present | Absent:
        async with gate:
            try:
                return await _introduce(client)
            except AgentError as error:
                return Absent(str(client.address), error)

    return tuple(await asyncio.gather(*(ask(client) for client in clients)))


async def _introduce(client: AgentClient) -> Present:
    agent = str(client.address)
    info = await client.read_info()
    try:
        auth = read_auth_mode(info)
        key = fingerprint(parse_public_key((await client.read_secret()).public_key))
    except ValueError as error:
        raise AgentProtocolError(str(error), agent, STEP, "which version is it?") from error
    return Present(agent, info, await client.read_ob_info(), auth, key)


def judge_roll(
    rows: Sequence[Present | Absent], *, name: str | None = None, cluster_id: int | None = None
) -> ObInfo:
    """Say which cluster they are of, or why that is not settled.

    Args:
        rows: The entry agents, at least one.
        name: The cluster it must be; None takes what they say.
        cluster_id: The same.

    Returns:
        The first agent's view of its cluster.

    Raises:
        SpecError: They are of several clusters, of none, or of another than expected.
        AgentError: One of them could not be asked, or cannot say of which cluster it is.
    """
    absent = [row for row in rows if isinstance(row, Absent)]
    present = [row for row in rows if isinstance(row, Present)]
    strangers = [row for row in present if row.info.identity is not Identity.CLUSTER_AGENT]
    if strangers:
        told = ", ".join(f"{row.agent} is {row.info.identity.value}" for row in strangers)
        raise SpecError(
            f"not a member of any cluster: {told}", "name agents of the cluster as endpoints"
        )
    # A mistaken endpoint explains more than a silent one, so clusters are compared first.
    named = [row for row in present if row.ob_info.obcluster_info.name]
    _of_one_cluster(named)
    if absent:
        raise absent[0].error
    for row in present:
        if row not in named:
            raise DatabaseDownError(
                "it does not say of which cluster it is",
                row.agent,
                STEP,
                "see whether its database runs",
            )
    said = present[0].ob_info.obcluster_info
    if name not in (None, said.name) or cluster_id not in (None, said.id):
        raise SpecError(
            f"{present[0].agent} is of cluster {present[0].cluster}, expected was "
            f"{name or said.name}/{cluster_id or said.id}",
            "correct the endpoints, or the expected name and id",
        )
    return present[0].ob_info


def _of_one_cluster(present: Sequence[Present]) -> None:
    """Compare what they call their cluster, and whom they call members.

    Raises:
        SpecError: They are of several.
    """
    if len({row.cluster for row in present}) > 1:
        told = ", ".join(f"{row.agent} of {row.cluster}" for row in present)
        raise SpecError(
            f"the entry agents are of several clusters: {told}", "store one connection for each"
        )
    for row in present:
        # Clusters are often left with the default name and id, so equal names prove nothing.
        foreign = [other.agent for other in present if other.info.address not in row.members]
        if foreign:
            raise SpecError(
                f"the entry agents are of several clusters, all named {row.cluster}: {row.agent} "
                f"does not know {', '.join(foreign)} as a member",
                "store one connection for each",
            )
