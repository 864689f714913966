"""Waits of a submit: for a lock, seen or not, for the window, for what a lost POST has begun."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from obscale.agent.models import Dag
from obscale.clock import monotonic, utc_now
from obscale.errors import (
    AgentError,
    ForeignDagError,
    OutcomeUnknownError,
    UnderMaintenanceError,
)
from obscale.events import Publish, WaitsForLock, WaitsForWindow, publish_line
from obscale.follow.reminders import Seldom
from obscale.request.policies import Window
from obscale.request.time_limits import TimeLimits
from obscale.submit.decide import PostAgain

S = TypeVar("S")

LONGEST_SLEEP_SECONDS: Final = 60.0
"""While waiting for a window, so that a clock that was set is noticed."""
LOOK_AGAIN_SECONDS: Final = 2.0
"""Pause between two looks, while a lock or a lost answer is waited for."""
LONGEST_PAUSE_SECONDS: Final = 60.0
"""Between two POSTs refused by a lock nobody can see; the first comes after a look at once."""


@dataclass
class Rounds:
    """POSTs of one submit that were refused, so that nothing was created, and what bounds them.

    Args:
        give_up: When a lock is no longer waited for.
    """

    give_up: datetime
    sent: int = 0
    held: int = 0
    """Those that were refused by a lock."""
    unfinished: tuple[Dag, ...] = ()
    """What the last look has shown."""


async def wait_for_lock(what: str, give_up: datetime, waits: Seldom, publish: Publish) -> None:
    """Wait for a moment while somebody else's DAG is in the way.

    Args:
        what: Which, in words.
        give_up: When it is no longer waited for.
        waits: What was told of it last.
        publish: Gets each event.

    Raises:
        ForeignDagError: The time to wait for it is over.
    """
    if now() >= give_up:
        raise ForeignDagError(
            f"not submitted: {what}", "wait for its end, or have its owner retry or roll it back"
        )
    waited = waits.waited(what, monotonic())
    if waited is not None:
        publish(WaitsForLock(what=what, seconds=waited))
    await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def wait_unseen(refused: UnderMaintenanceError, rounds: Rounds, publish: Publish) -> None:
    """Wait where a POST was refused by a lock of which the look before it showed no holder.

    Nothing was created. Somebody may have taken the lock in between, so the first refusal is
    followed by a look at once; after that obshell's refusal is all that tells, and each POST comes
    later than the one before.

    Raises:
        ForeignDagError: The time to wait for the lock is over.
    """
    rounds.held += 1
    if rounds.held > 1 and now() >= rounds.give_up:
        seen = ", ".join(f"{dag.name} {dag.id} {dag.state.value}" for dag in rounds.unfinished)
        raise ForeignDagError(
            f"not submitted: {refused.message} (unfinished: {seen or 'none'})",
            "wait for its end, or have its owner retry or roll it back",
        )
    words = f"submit.refused code={refused.code!r} next='look again' why={refused.message!r}"
    publish_line(publish, "submit", words)
    if rounds.held > 1:
        pause = LOOK_AGAIN_SECONDS * (rounds.held - 1)
        await asyncio.sleep(min(pause, LONGEST_PAUSE_SECONDS))


async def wait_for_window(window: Window, publish: Publish) -> None:
    """Wait until the window opens; what was seen before must be looked at again."""
    opens = window.opens(now())
    publish(WaitsForWindow(window=window, opens=opens))
    while True:
        left = (opens - now()).total_seconds()
        if left <= 0:
            return
        await asyncio.sleep(min(left, LONGEST_SLEEP_SECONDS))


def naming_limit(limits: TimeLimits) -> timedelta:
    """Give how long a DAG is waited for that has not named its target yet."""
    return timedelta(seconds=max(limits.lock_wait_seconds, limits.lost_answer_seconds))


async def wait_for_lost(
    lost: OutcomeUnknownError,
    limits: TimeLimits,
    look: Callable[[bool], Awaitable[S | PostAgain | None]],
    publish: Publish,
) -> S | None:
    """Look for the DAG of a POST whose answer was lost, until it can no longer arrive.

    Args:
        lost: The error of the POST.
        limits: Of the order.
        look: Looks, told whether the POST can no longer arrive; None: nothing is settled yet.
        publish: Gets each event.

    Returns:
        What a look has settled; None: it left nothing, so it may be posted again.

    Raises:
        OutcomeUnknownError: Nobody told what became of it.
    """
    deadline = (lost.header_expires_at or now()) + timedelta(seconds=limits.lost_answer_seconds)
    publish_line(
        publish, "submit", f"submit.answer_lost until={deadline:%H:%M:%S} reason={lost.message!r}"
    )
    while True:
        expired, looked = now() > deadline, True
        found: S | PostAgain | None = None
        try:
            found = await look(expired)
        except AgentError as error:
            looked = False
            publish_line(publish, "submit", f"submit.look_failed reason={str(error)!r}")
        if isinstance(found, PostAgain):
            return None
        if found is not None:
            return found
        # A young DAG that never names its target, its executor being lost, ends it too.
        if expired and (not looked or now() > deadline + naming_limit(limits)):
            raise lost
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


def now() -> datetime:
    """Give the time, UTC."""
    return utc_now()
