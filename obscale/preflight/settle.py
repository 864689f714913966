"""Reads facts again until a scale-out that has just begun shows its target.

It may be our own, of a run or a batch that died: judged too early it would block its own successor.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

from obscale.agent.models import Dag
from obscale.clock import utc_now
from obscale.preflight.facts import Facts
from obscale.reading import Unread
from obscale.request.scale_out import ScaleOut
from obscale.scale_out_dag import is_undecided

NAMING_SECONDS: Final = 60.0
"""A scale-out names its target when its second stage begins, 4 s after its start as a rule."""
LOOK_AGAIN_SECONDS: Final = 2.0


async def settled(
    read: Callable[[], Awaitable[tuple[Facts, ...]]],
    order: ScaleOut,
    say: Callable[[str], None] | None = None,
) -> tuple[Facts, ...]:
    """Read the facts of a cluster's nodes, once a scale-out that has just begun names its target.

    Where a target was asked a moment later than the cluster, all is asked once more.

    Args:
        read: Asks anew; gives at least one node's facts, all of the same cluster.
        order: Its time limits bound the wait.
        say: Told what is waited for; None: nobody is.

    Returns:
        What was read last, settled or not.
    """
    longest = min(order.time_limits.lost_answer_seconds, NAMING_SECONDS)
    give_up = utc_now() + timedelta(seconds=longest)
    is_second_look = False
    while True:
        facts = await read()
        young = _young_scale_out(facts)
        if young is None and not is_second_look and any(each.is_torn() for each in facts):
            is_second_look = True
            continue
        if young is None or utc_now() >= give_up:
            return facts
        if say:
            say(f"preflight.waiting why='DAG {young.id} does not name its target yet'")
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


def _young_scale_out(facts: Sequence[Facts]) -> Dag | None:
    """Give a scale-out of which nobody can tell yet whether it adds one of these nodes."""
    unfinished = facts[0].cluster.unfinished
    if isinstance(unfinished, Unread) or any(each.own_dag() for each in facts):
        return None
    return next((dag for dag in unfinished if is_undecided(dag)), None)
