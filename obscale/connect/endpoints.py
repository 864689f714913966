"""Checks that the entry agents of a connection answer, accept its password and are of one cluster.

A request names several agents so that one may be away. One of another cluster would answer for the
first when that goes away, and one that refuses the password would end the run half-way. `obscale
connect` stores only what all of them prove; preflight passes over those that do not answer now.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from obscale.agent.auth import read_auth_mode
from obscale.agent.client import AgentClient
from obscale.agent.keys import fingerprint
from obscale.agent.models import AgentInfo, Identity, ObInfo
from obscale.agent.sealing import parse_public_key
from obscale.clock import monotonic
from obscale.connect.membership import shows_member
from obscale.errors import (
    AgentError,
    AgentProtocolError,
    DatabaseDownError,
    NotAuthorizedError,
    SpecError,
    StaleKeyError,
)

STEP: Final = "check the entry agents"
ASKED_AT_ONCE: Final = 16
"""A large cluster may have hundreds of members; nobody is in a hurry here."""
MOST_COMPARED: Final = 16
"""Where a whole cluster is named, so many others say enough."""
Unheard = Callable[[AgentClient, float, str], None]
"""Gets an agent that was given up, the monotonic seconds it was asked at, and why in words."""


def _nobody(_agent: AgentClient, _since: float, _why: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class EndpointAnswer:
    """An agent that answered, also to a question that needs its password."""

    agent: str
    """`ip:port` as it was asked."""
    info: AgentInfo
    ob_info: ObInfo

    @property
    def is_member(self) -> bool:
        """Whether it says it is a member of a cluster."""
        return self.info.identity is Identity.CLUSTER_AGENT

    @property
    def cluster(self) -> str:
        """`name/id` of its cluster; empty where its database does not tell."""
        told = self.ob_info.obcluster_info
        return f"{told.name}/{told.id}" if told.name else ""

    def knows(self, other: "EndpointAnswer") -> bool:
        """Whether it lists the other one among the agents of its cluster."""
        return any(row.address == other.info.address for row in self.ob_info.agent_info)


@dataclass(frozen=True)
class ProvedEndpoint(EndpointAnswer):
    """An agent whose way of signing, and whose key, are known too."""

    auth: str
    """`v1` or `v2`."""
    key: str
    """Fingerprint of its public key."""


@dataclass(frozen=True)
class SilentEndpoint:
    """An agent that could not be asked."""

    agent: str
    error: AgentError


async def ask_endpoints(
    clients: Sequence[AgentClient],
) -> tuple[ProvedEndpoint | SilentEndpoint, ...]:
    """Ask every agent who it is, at the same time; gives them in the order of the clients."""
    gate = asyncio.Semaphore(ASKED_AT_ONCE)

    async def ask(client: AgentClient) -> ProvedEndpoint | SilentEndpoint:
        async with gate:
            try:
                return await _prove(client)
            except AgentError as error:
                return SilentEndpoint(str(client.address), error)

    return tuple(await asyncio.gather(*(ask(client) for client in clients)))


async def _prove(client: AgentClient) -> ProvedEndpoint:
    agent = str(client.address)
    info = await client.read_info()
    try:
        auth = read_auth_mode(info)
        key = fingerprint(parse_public_key((await client.read_secret()).public_key))
    except ValueError as error:
        raise AgentProtocolError(str(error), agent, STEP, "which version is it?") from error
    return ProvedEndpoint(agent, info, await client.read_ob_info(), auth, key)


def require_one_cluster(
    rows: Sequence[ProvedEndpoint | SilentEndpoint],
    *,
    name: str | None = None,
    cluster_id: int | None = None,
) -> ObInfo:
    """Say which cluster they are of, or why that is not settled.

    Args:
        rows: The entry agents, at least one.
        name: The cluster it must be; None takes what they say.
        cluster_id: The same.

    Returns:
        The first agent's view of its cluster.

    Raises:
        SpecError: They are not all of one cluster, or of another than expected.
        AgentError: One of them could not be asked, or cannot say of which cluster it is.
    """
    silent = [row for row in rows if isinstance(row, SilentEndpoint)]
    answers = [row for row in rows if isinstance(row, ProvedEndpoint)]
    # A mistaken endpoint explains more than a silent one, so clusters are compared first.
    if error := _of_several(answers):
        raise error
    if silent:
        raise silent[0].error
    for row in answers:
        if not row.cluster:
            raise DatabaseDownError(
                "it does not say of which cluster it is",
                row.agent,
                STEP,
                "see whether its database runs",
            )
    said = answers[0].ob_info.obcluster_info
    if name not in (None, said.name) or cluster_id not in (None, said.id):
        raise SpecError(
            f"{answers[0].agent} is of cluster {answers[0].cluster}, expected was "
            f"{name or said.name}/{cluster_id or said.id}",
            "correct the endpoints, or the expected name and id",
        )
    return answers[0].ob_info


def _of_several(answers: Sequence[EndpointAnswer]) -> SpecError | None:
    members = [row for row in answers if row.is_member]
    if answers and not members:
        told = ", ".join(f"{row.agent} is {row.info.identity.value}" for row in answers)
        return SpecError(
            f"no entry agent is a member of a cluster: {told}",
            "name agents of the cluster as endpoints",
        )
    # One that names its cluster tells most apart.
    first = next((row for row in members if row.cluster), next(iter(members), None))
    if first is None:
        return None
    return _not_of_one_cluster(first, [row for row in answers if row is not first])


def _not_of_one_cluster(
    first: EndpointAnswer, others: Sequence[EndpointAnswer]
) -> SpecError | None:
    """Compare agents with one of them; None: nothing says that they are of several clusters.

    Who does not say of which cluster it is, its database being away, is not compared.

    Args:
        first: A member, as far as is known.
        others: All that answered beside it.
    """
    foreign = [told for row in others if (told := _foreign(first, row))]
    if not foreign:
        return None
    own = f"{first.agent} of {first.cluster or 'a cluster it does not name'}"
    return SpecError(
        f"the entry agents are not all of one cluster: {', '.join([own, *foreign])}",
        "name agents of one cluster as endpoints; another cluster is a connection of its own",
    )


def _foreign(first: EndpointAnswer, other: EndpointAnswer) -> str | None:
    """Say of which other cluster an agent is; None: of the same one, or nobody tells."""
    if not other.is_member:
        return f"{other.agent} of none: it is {other.info.identity.value}"
    if not first.cluster or not other.cluster:
        return None
    if first.cluster != other.cluster:
        return f"{other.agent} of {other.cluster}"
    # Clusters are often left with the default name and id, so equal names prove nothing.
    if not (first.knows(other) and other.knows(first)):
        return f"{other.agent} of another {other.cluster}: they do not list each other"
    return None


async def find_foreign_endpoint(
    first: EndpointAnswer,
    others: Sequence[AgentClient],
    seconds: float,
    unheard: Unheard,
    *,
    is_list_enough: bool = False,
) -> SpecError | NotAuthorizedError | None:
    """Compare the other entry agents with the first; silent ones say nothing.

    Args:
        first: The one that has told the facts of its cluster.
        others: The other entry agents.
        seconds: Longest wait for one answer of any of them.
        unheard: Told who was given up.
        is_list_enough: Whether one that the first lists as a member, and that says it is one by
            this address, is taken for one unasked; whether it lists the first too, and accepts the
            password, is then not known.

    Returns:
        The error the run ends with, or None.
    """
    met = await _ask_all(others, seconds, unheard, first if is_list_enough else None)
    answers = [other for other in met if isinstance(other, EndpointAnswer)]
    if foreign := _not_of_one_cluster(first, answers):
        return foreign
    refused = next((other for other in met if isinstance(other, NotAuthorizedError)), None)
    return _told_apart(refused, first.agent) if refused else None


async def who_accepts(
    refused: NotAuthorizedError, others: Sequence[AgentClient], seconds: float
) -> NotAuthorizedError:
    """Give a refusal with the name of an entry agent that accepts the same credentials, if any."""
    met = await _ask_all(others, seconds)
    accepting = next((other.agent for other in met if isinstance(other, EndpointAnswer)), None)
    return _told_apart(refused, accepting) if accepting else refused


async def _ask_all(
    agents: Sequence[AgentClient],
    seconds: float,
    unheard: Unheard = _nobody,
    vouching: EndpointAnswer | None = None,
) -> list[EndpointAnswer | NotAuthorizedError | None]:
    some = agents[:MOST_COMPARED]
    return await asyncio.gather(*(_ask(agent, seconds, unheard, vouching) for agent in some))


async def _ask(
    agent: AgentClient, seconds: float, unheard: Unheard, vouching: EndpointAnswer | None
) -> EndpointAnswer | NotAuthorizedError | None:
    """Ask an agent who it is; None where it cannot be asked now.

    Args:
        agent: It.
        seconds: Longest wait for one answer.
        unheard: Told where it was given up.
        vouching: Whose list it need not be asked for, where that shows it; None: it is asked.
    """
    began = monotonic()
    try:
        # In this order: signing needs /info anyway, and the client remembers it.
        async with asyncio.timeout(seconds):
            info = await agent.read_info()
        where = str(agent.address)
        if vouching and info.address == where and shows_member(vouching.ob_info, where):
            return EndpointAnswer(where, info, vouching.ob_info)
        # Two answers: its key comes before what is sealed with it.
        async with asyncio.timeout(2 * seconds):
            return EndpointAnswer(str(agent.address), info, await agent.read_ob_info())
    except StaleKeyError:
        return None
    except NotAuthorizedError as error:
        return error
    except (AgentError, TimeoutError):
        unheard(agent, began, f"no answer within {seconds:g} s")
        return None


def _told_apart(refused: NotAuthorizedError, accepting: str) -> NotAuthorizedError:
    return NotAuthorizedError(
        f"{refused.message}; {accepting} accepts the same password: an agent goes on accepting the "
        "one it remembers until it is shown a new one, and, while its database is away, no other",
        refused.agent,
        refused.step,
        "name the password root@sys has now; if it is that one, bring that agent's observer back, "
        "or leave the agent out",
        refused.trace_id,
        refused.code,
        refused.status,
    )
