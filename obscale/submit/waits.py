"""Waits of a submit: for a lock, for a lock nobody can see, and for the window."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from obscale.agent.models import Dag
from obscale.clock import monotonic, utc_now
from obscale.errors import ForeignDagError, UnderMaintenanceError
from obscale.events import Publish, WaitsForLock, WaitsForWindow, publish_line
from obscale.follow.reminders import Seldom
from obscale.request.policies import Window
from obscale.request.scale_out import ScaleOut

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


def naming_limit(order: ScaleOut) -> timedelta:
    """Give how long a scale-out is waited for that has not named its target yet."""
    return timedelta(
        seconds=max(order.time_limits.lock_wait_seconds, order.time_limits.lost_answer_seconds)
    )


def now() -> datetime:
    """Give the time, UTC."""
    return utc_now()
