"""Sends a write that begins a DAG once, and gives its answer, or its DAG where that shows first.

An agent may hang, or wait for minutes for the target, with the POST in its hands. Nothing is sent
from here a second time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from obscale.agent.client import AgentClient
from obscale.clock import monotonic
from obscale.connect.connections import Connections
from obscale.errors import AgentError, AgentUnreachableError, OutcomeUnknownError
from obscale.events import Publish, WaitsForAnswer, publish_line
from obscale.follow.reminders import Seldom

ANSWER_OVERDUE_SECONDS: Final = 5.0
"""After so long without an answer the DAG is looked for, again and again. obshell asks the target
before it answers, which takes well below a second where the target answers at once."""
A = TypeVar("A")
S = TypeVar("S")


async def post_once(
    link: Connections,
    write: Callable[[AgentClient], Awaitable[A]],
    look: Callable[[], Awaitable[S | None]],
    does: str,
    publish: Publish,
) -> A | S:
    """Send a write to one agent.

    Args:
        link: Open connections.
        write: Sends it.
        look: Looks what the cluster shows of it before its answer came; None: nothing yet.
        does: What it does, for errors, e.g. `scale_out`.
        publish: Gets each event.

    Raises:
        OutcomeUnknownError: No answer; or its agent tells nothing any more, not even who it is,
            while others show no DAG: then the answer counts as lost at that moment.
        AgentUnreachableError: The POST was certainly not sent.
        AgentRefusedError: As the agent refuses it.
    """
    taken_by = link.cluster.current

    def take(agent: AgentClient) -> Awaitable[A]:
        nonlocal taken_by
        taken_by = agent
        return write(agent)

    posting = asyncio.ensure_future(link.cluster.send(take))
    began, waits = monotonic(), Seldom()
    try:
        while not await _ended(posting):
            now, where = monotonic(), taken_by.address
            if waits.waited(where, now) is not None:
                publish(WaitsForAnswer(agent=str(where), seconds=now - began))
            looked, shown = await _seen_meanwhile(posting, look, publish)
            if posting.done() or not looked:
                continue
            if shown is not None:
                return shown
            silence = link.cluster.silence_of(where)
            # Slower than another one is not silent: it may be at work on the POST.
            if silence and not await link.cluster.is_back(taken_by):
                await _cancelled(posting)
                # What came in the meantime counts.
                if posting.cancelled():
                    raise _lost(taken_by, silence, does)
        return posting.result()
    finally:
        await _cancelled(posting)


async def _ended(posting: asyncio.Future[A]) -> bool:
    """Wait until the answer is here, or overdue."""
    await asyncio.wait([posting], timeout=ANSWER_OVERDUE_SECONDS)
    return posting.done()


async def _seen_meanwhile(
    posting: asyncio.Future[A], look: Callable[[], Awaitable[S | None]], publish: Publish
) -> tuple[bool, S | None]:
    """Look for the DAG while the POST waits.

    Returns:
        Whether there was a look, as it is neither answered meanwhile nor does nobody tell; and what
        it has shown.
    """
    looking = asyncio.ensure_future(look())
    both: list[asyncio.Future[Any]] = [posting, looking]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return (True, looking.result()) if looking.done() else (False, None)
    except AgentError as error:
        publish_line(publish, "submit", f"submit.look_failed reason={str(error)!r}")
        return False, None
    finally:
        await _cancelled(looking)


async def _cancelled(running: asyncio.Future[Any]) -> None:
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def _lost(agent: AgentClient, silence: str, does: str) -> AgentError:
    """Give the error of a POST that was given up: its answer is lost, unless it never left us."""
    where = str(agent.address)
    if agent.write_expires_at is None:
        return AgentUnreachableError(f"{silence}; the POST has not left us", where, does)
    return OutcomeUnknownError(
        f"{silence}, to other questions neither; whether the POST was carried out is not known",
        where,
        does,
        "look for its DAG on the cluster before anything is sent again",
        header_expires_at=agent.write_expires_at,
    )
