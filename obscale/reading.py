"""Turns one reading into a fact or a named gap, and runs many readings side by side."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from obscale.errors import (
    AgentError,
    NotAuthorizedError,
    NotSupportedError,
    ObscaleError,
    UntrustedKeyError,
)

CLUSTER_FACTS_MISSING: Final = "cluster-facts-missing"


@dataclass(frozen=True)
class Unread:
    """Stands where a fact could not be read.

    Args:
        reason: Why, in words.
        supported: False: this agent's version has no such endpoint.
        covered_by: Id of the rule that reports this gap once for all rules that need the fact;
            they then stay silent.
    """

    reason: str
    supported: bool = True
    covered_by: str = ""


NOT_ASKED: Final = Unread("nothing was asked yet")

T = TypeVar("T")

PEER_SECONDS: Final = 5.0
"""What one silent member may cost: all are asked at the same time, each for so long at most, or
longer where those that answer are late themselves."""
LATE_ANSWERS: Final = 5
"""Nobody counts as silent before so many answers, as late as the others' are, could have come."""


@asynccontextmanager
async def side_by_side() -> AsyncIterator[asyncio.TaskGroup]:
    """Do several things at the same time; the first error ends the others and is raised as itself.

    A bare `asyncio.TaskGroup` raises a group, which nobody up there catches: it would be a
    traceback instead of one line.

    Raises:
        BaseException: The first `ObscaleError` of the things done, else their first error.
    """
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failed:
        errors = list(_single(failed))
        foreseen = [error for error in errors if isinstance(error, ObscaleError)]
        raise (foreseen or errors)[0] from None


def _single(failed: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in failed.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _single(error)
        else:
            yield error


async def fact(
    read: Callable[[], Awaitable[T | Unread]], *, covered_by: str = "", refused: str = ""
) -> T | Unread:
    """Read one fact; a gap names the rule that reports it, `refused` one that wants a password.

    The reading is begun in here: made before, it would stay behind unawaited where the survey is
    given up in between.
    """
    try:
        told = await read()
    except NotAuthorizedError as error:
        return Unread(str(error), covered_by=refused or covered_by)
    except NotSupportedError as error:
        return Unread(str(error), supported=False, covered_by=covered_by)
    except AgentError as error:
        return Unread(str(error), covered_by=covered_by)
    return replace(told, covered_by=covered_by) if isinstance(told, Unread) else told


async def or_none(read: Callable[[], Awaitable[T]]) -> T | None:
    """Read something; None where nobody tells.

    Raises:
        UntrustedKeyError: An agent serves another key than it is known by.
    """
    try:
        return await read()
    except UntrustedKeyError:
        raise
    except AgentError:
        return None


async def or_words(read: Callable[[], Awaitable[T]]) -> T | str:
    """Read something; a text says why it could not be read."""
    try:
        return await read()
    except AgentError as error:
        return str(error)


def cluster_fact(
    read: Callable[[], Awaitable[T | Unread]],
) -> Coroutine[None, None, T | Unread]:
    """Read what the cluster tells of itself; one rule reports all such gaps."""
    return fact(read, covered_by=CLUSTER_FACTS_MISSING)


def peer_limit(base_seconds: float, answer_seconds: float, in_turn: int = 0) -> float:
    """How long one answer may take that a silent member could keep us waiting for, in seconds.

    Args:
        base_seconds: Where answers come quickly.
        answer_seconds: What an answer takes here, as far as seen.
        in_turn: Members the agent asks one after the other before it answers.

    >>> peer_limit(5.0, 0.01, 3), peer_limit(5.0, 2.0), peer_limit(5.0, 1.0, 3)
    (5.0, 10.0, 8.0)
    """
    return max(base_seconds, answer_seconds * (LATE_ANSWERS + in_turn))
