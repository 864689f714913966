"""Checks that all entry agents that answer are of one cluster and accept one password.

A request names several agents so that one may be away. One of another cluster would answer for the
first when that goes away, and one that refuses the password would end the run half-way.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from obscale.agent.client import AgentClient
from obscale.agent.models import AgentInfo, Identity, ObInfo
from obscale.clock import monotonic
from obscale.errors import AgentError, NotAuthorizedError, SpecError, StaleKeyError

MOST_COMPARED: Final = 16
"""Where a whole cluster is named, so many others say enough."""
Unheard = Callable[[AgentClient, float, str], None]
"""Gets an agent that was given up, the monotonic seconds it was asked at, and why in words."""


def _nobody(_agent: AgentClient, _since: float, _why: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Entry:
    """An entry agent that answered."""

    agent: str
    """`ip:port` as it was asked."""
    info: AgentInfo
    ob_info: ObInfo

    @property
    def cluster(self) -> str:
        """`name/id` of its cluster; empty where its database does not tell."""
        told = self.ob_info.obcluster_info
        return f"{told.name}/{told.id}" if told.name else ""

    def knows(self, other: "Entry") -> bool:
        """Whether it lists the other one among the agents of its cluster."""
        return any(row.address == other.info.address for row in self.ob_info.agent_info)


async def odd_one_out(
    first: Entry, others: Sequence[AgentClient], seconds: float, unheard: Unheard
) -> SpecError | NotAuthorizedError | None:
    """Compare the other entry agents with the first; silent ones say nothing.

    Args:
        first: The one that answered the survey.
        others: The other entry agents.
        seconds: Longest wait for one answer of any of them.
        unheard: Told who was given up.

    Returns:
        The error the run ends with, or None.
    """
    met = await _meet_all(others, seconds, unheard)
    strangers = [
        told for other in met if isinstance(other, Entry) and (told := _stranger(first, other))
    ]
    if strangers:
        return SpecError(
            f"the entry agents are of several clusters: {first.agent} of {first.cluster}, "
            f"{', '.join(strangers)}",
            "name agents of one cluster as endpoints",
        )
    refused = next((other for other in met if isinstance(other, NotAuthorizedError)), None)
    return _told_apart(refused, first.agent) if refused else None


async def who_accepts(
    refused: NotAuthorizedError, others: Sequence[AgentClient], seconds: float
) -> NotAuthorizedError:
    """Give a refusal with the name of an entry agent that accepts the same credentials, if any."""
    met = await _meet_all(others, seconds)
    accepting = next((other.agent for other in met if isinstance(other, Entry)), None)
    return _told_apart(refused, accepting) if accepting else refused


async def _meet_all(
    agents: Sequence[AgentClient], seconds: float, unheard: Unheard = _nobody
) -> list[Entry | NotAuthorizedError | None]:
    some = agents[:MOST_COMPARED]
    return await asyncio.gather(*(_meet(agent, seconds, unheard) for agent in some))


async def _meet(
    agent: AgentClient, seconds: float, unheard: Unheard
) -> Entry | NotAuthorizedError | None:
    """Ask an agent who it is; None where it cannot be asked now."""
    began = monotonic()
    try:
        # In this order: signing needs /info anyway, and the client remembers it.
        async with asyncio.timeout(seconds):
            info = await agent.read_info()
        # Two answers: its key comes before what is sealed with it.
        async with asyncio.timeout(2 * seconds):
            return Entry(str(agent.address), info, await agent.read_ob_info())
    except StaleKeyError:
        return None
    except NotAuthorizedError as error:
        return error
    except (AgentError, TimeoutError):
        unheard(agent, began, f"no answer within {seconds:g} s")
        return None


def _stranger(first: Entry, other: Entry) -> str | None:
    """Say of which other cluster an agent is; None: of the same one, or nobody tells."""
    if other.info.identity is not Identity.CLUSTER_AGENT:
        return f"{other.agent} of none: it is {other.info.identity.value!r}"
    if not first.cluster or not other.cluster:
        return None
    if first.cluster != other.cluster:
        return f"{other.agent} of {other.cluster}"
    # Clusters are often left with the default name and id, so equal names prove nothing.
    if not (first.knows(other) and other.knows(first)):
        return f"{other.agent} of another {other.cluster}: they do not list each other"
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
