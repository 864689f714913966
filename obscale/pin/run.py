"""Sets the parameters of one server, one request a group, and reads back after each."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.clock import monotonic
from obscale.errors import (
    AgentError,
    AgentRefusedError,
    AgentUnreachableError,
    OutcomeUnknownError,
)
from obscale.pin.settings import (
    PinnedServer,
    ServerSettings,
    Setting,
    Values,
    awaits,
    beside,
    changed_since,
    is_proved,
    judged,
    left_alone,
    may_send_again,
    values_of,
)

READ_BACK_SECONDS: Final = 10.0
"""For a value to be shown by the servers once it was set."""
LOOK_AGAIN_SECONDS: Final = 0.5
MOST_SENDINGS: Final = 3
"""Of one group, where answers are lost or an agent is not reached."""
Say = Callable[[str], None]


async def pin(cluster: ClusterClient, mine: ServerSettings, say: Say) -> PinnedServer:
    """Set what is to be set of one server, and prove it by reading back.

    The first group that is not accepted ends it: what was set before stays set.

    Args:
        cluster: Agents to ask.
        mine: What is to be set, as somebody was asked.
        say: Takes a line for each request, and for each whose answer is lost.

    Raises:
        AgentError: The parameters could not be read before anything was sent.
    """
    before = await _read(cluster)
    if moved := changed_since(mine, before):
        return left_alone(mine, f"{moved}: look again")
    sent: dict[str, str] = {}
    values, unread = before, list[str]()
    for group in mine.groups():
        names = [each.name for each in group]
        say(f"{mine.server}: sets {', '.join(names)}")
        why, seen = await _set(cluster, mine.server, group, say)
        if why is None:
            break
        sent |= dict.fromkeys(names, why)
        values, unread = seen or values, [] if seen else names
        if why or unread:
            break
    made = judged(mine, sent, values, unread)
    return made.model_copy(update={"beside": tuple(beside(mine, before, values))})


async def _set(
    cluster: ClusterClient, server: str, group: Sequence[Setting], say: Say
) -> tuple[str | None, Values | None]:
    """Send one group, and read back what became of it.

    Returns:
        Why it may not be in force, empty where it was accepted, None where nothing was sent; and
        the values read last, None where they could not be read.
    """
    wanted = {each.name: each.wanted for each in group}
    values: Values | None = None
    why: str | None = None
    for _ in range(MOST_SENDINGS):
        try:
            await cluster.operate(lambda agent: agent.set_parameters(server, wanted))
        except OutcomeUnknownError as lost:
            why = f"its answer was lost: {lost.message}"
            say(f"{server}: {why}; reads back")
            values = await _read_back(cluster, server, group)
            if values is None or not may_send_again(server, group, values):
                return why, values
            if is_proved(server, group, values):
                return "", values
        except AgentUnreachableError as silent:
            # It was certainly not sent; the next one goes to another agent, where there is one.
            say(f"{server}: {silent}")
        except AgentRefusedError as refused:
            return str(refused), await _read_back(cluster, server, group, wait=False)
        else:
            return "", await _read_back(cluster, server, group)
    return why, values


async def _read_back(
    cluster: ClusterClient, server: str, group: Sequence[Setting], *, wait: bool = True
) -> Values | None:
    """Read until all values are as wanted, somebody else's stands there, or time is up."""
    until = monotonic() + READ_BACK_SECONDS
    values: Values | None = None
    while True:
        try:
            values = await _read(cluster)
        except AgentError:
            values = None
        is_over = monotonic() >= until or not wait
        if is_over or (values is not None and not awaits(server, group, values)):
            return values
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def _read(cluster: ClusterClient) -> Values:
    return values_of(await cluster.ask(AgentClient.read_parameters))
