"""Sends the POST of a scale-out once, and gives its answer, or its DAG where that shows first.

An agent may hang, or wait for minutes for the target, with the POST in its hands. Nothing is sent
from here a second time.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final

from obscale.agent.client import AgentClient
from obscale.agent.models import Dag, ScaleOutRequest
from obscale.clock import monotonic
from obscale.connect.connections import Connections
from obscale.errors import AgentError, AgentUnreachableError, OutcomeUnknownError
from obscale.events import Publish, WaitsForAnswer, publish_line
from obscale.follow.reminders import Seldom
from obscale.request.models import NodeSpec
from obscale.submit.decide import Adopt, AlreadyMember, Candidates, decide_after_lost_answer
from obscale.submit.read import read_candidates

ANSWER_OVERDUE_SECONDS: Final = 5.0
"""After so long without an answer the DAG is looked for, again and again. obshell asks the target
before it answers, which takes well below a second where the target answers at once."""


@dataclass(frozen=True)
class Shown:
    """What the cluster has shown of a POST before its answer came."""

    decision: Adopt | AlreadyMember
    sighting: Candidates


async def post_once(
    link: Connections, node: NodeSpec, body: ScaleOutRequest, baseline: int, publish: Publish
) -> Dag | Shown:
    """Send the POST to one agent.

    Args:
        link: Open connections.
        node: What is asked for.
        body: The request.
        baseline: Number of the cluster's newest DAG before.
        publish: Gets each event.

    Raises:
        OutcomeUnknownError: No answer; or its agent tells nothing any more, not even who it is,
            while others show no DAG: then the answer counts as lost at that moment.
        AgentUnreachableError: The POST was certainly not sent.
        AgentRefusedError: As the agent refuses it.
    """
    taken_by = link.cluster.current

    def write(agent: AgentClient) -> Awaitable[Dag]:
        nonlocal taken_by
        taken_by = agent
        return agent.submit_scale_out(body)

    posting = asyncio.ensure_future(link.cluster.send(write))
    began, waits = monotonic(), Seldom()
    try:
        while not await _ended(posting):
            now, where = monotonic(), taken_by.address
            if waits.waited(where, now) is not None:
                publish(WaitsForAnswer(agent=str(where), seconds=now - began))
            sighting = await _seen_meanwhile(posting, link, publish)
            if posting.done() or sighting is None:
                continue
            decision = decide_after_lost_answer(sighting, node, baseline=baseline, expired=False)
            if isinstance(decision, Adopt | AlreadyMember):
                return Shown(decision, sighting)
            silence = link.cluster.silence_of(where)
            # Slower than another one is not silent: it may be at work on the POST.
            if silence and not await link.cluster.is_back(taken_by):
                await _cancelled(posting)
                # What came in the meantime counts.
                if posting.cancelled():
                    raise _lost(taken_by, silence)
        return posting.result()
    finally:
        await _cancelled(posting)


async def _ended(posting: asyncio.Future[Dag]) -> bool:
    """Wait until the answer is here, or overdue."""
    await asyncio.wait([posting], timeout=ANSWER_OVERDUE_SECONDS)
    return posting.done()


async def _seen_meanwhile(
    posting: asyncio.Future[Dag], link: Connections, publish: Publish
) -> Candidates | None:
    """Look for the target's DAGs while the POST waits; None: it is answered, or nobody tells."""
    look = asyncio.ensure_future(read_candidates(link))
    both: list[asyncio.Future[Any]] = [posting, look]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return look.result() if look.done() else None
    except AgentError as error:
        publish_line(publish, "submit", f"submit.look_failed reason={str(error)!r}")
        return None
    finally:
        await _cancelled(look)


async def _cancelled(running: asyncio.Future[Any]) -> None:
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def _lost(agent: AgentClient, silence: str) -> AgentError:
    """Give the error of a POST that was given up: its answer is lost, unless it never left us."""
    where = str(agent.address)
    if agent.write_expires_at is None:
        return AgentUnreachableError(f"{silence}; the POST has not left us", where, "scale_out")
    return OutcomeUnknownError(
        f"{silence}, to other questions neither; whether the POST was carried out is not known",
        where,
        "scale_out",
        "look for its DAG on the cluster before anything is sent again",
        header_expires_at=agent.write_expires_at,
    )
