"""Proves a node: looks until all proofs hold, one fails for good, or time is up.

Needs a link and an order, and nothing of how the node came there: a run climbs after its DAG, a
person at any time.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

from obscale.agent.models import Dag
from obscale.clock import monotonic
from obscale.connect.connections import Connections
from obscale.events import LevelReached, ProofNotice, ProofsHold, Publish, WaitsForProofs
from obscale.follow.reminders import Seldom
from obscale.request.scale_out import ScaleOut
from obscale.verify.levels import (
    Look,
    VerifiedLevels,
    held_for,
    judge_levels,
    look_of,
    needs_surroundings,
    only_has_to_hold,
    still_waiting,
    waits_for,
)
from obscale.verify.objections import Held, Statement, hold
from obscale.verify.observation import (
    Before,
    Level,
    Observation,
    ProofAnswer,
    ProofLine,
    Surroundings,
)
from obscale.verify.read import read_observation, read_surroundings
from obscale.verify.unread import Unreadable, unread_since

LOOK_AGAIN_SECONDS: Final = 1.0
"""Longest pause between two looks while something is still missing."""
LOOKS_WHILE_HOLDING: Final = 6
"""Looks spread over the steady time, where nothing is missing: each asks seven questions."""


@dataclass(frozen=True)
class Verification:
    """How high a node came, and what was seen last.

    Args:
        levels: All proofs.
        after: What they were judged by.
        overdue: Lines still waited for when time was up.
        around: The cluster and the machine as they were seen last; None: they were not looked at.
    """

    levels: VerifiedLevels
    after: Observation
    overdue: tuple[ProofLine, ...] = ()
    around: Surroundings | None = None


ALONE: Final = nullcontext()
"""The gate of whoever proves one node."""


async def verify_node(
    link: Connections,
    order: ScaleOut,
    dag: Dag | None,
    before: Before,
    *,
    publish: Publish,
    gate: AbstractAsyncContextManager[object] = ALONE,
) -> Verification:
    """Look until all levels are reached, nothing can change by waiting, or the deadline passes.

    The requested parameters are compared at every look, and count once they have held for the
    steady time, as obState does: both are awaited together, so that re-checking costs no time of
    its own. What stands against the request ends it once it has held for the order's limit.

    Args:
        link: Open connections.
        order: What was asked, and how patiently to look.
        dag: As it ended, with details; None: nothing was submitted.
        before: What was seen before anything was done.
        publish: Gets an event whenever the level changes, when something stands against the request
            or no longer does, and what is waited for: on change, and then seldom.
        gate: Entered for each look, where many nodes are proved at the same time.
    """
    time_limits = order.time_limits
    started = monotonic()
    looks: list[Look] = []
    seen: Level | None = None
    since: Mapping[Statement, float] = {}
    blind: Mapping[str, float] = {}
    told: frozenset[str] = frozenset()
    seldom = Seldom()
    is_last = time_limits.steady_seconds == 0
    while True:
        async with gate:
            # The look after which nothing may be left to wait for asks for all at once.
            after = await read_observation(link, with_cluster=is_last)
            at = monotonic() - started
            looks.append(look_of(order.node, after, at))
            is_late = at > time_limits.verify_seconds
            unreadable = Unreadable(
                {proof: at - then for proof, then in blind.items()},
                0.0 if is_late else time_limits.unread_seconds,
            )

            def judged(
                around: Surroundings | None,
                after: Observation = after,
                unreadable: Unreadable = unreadable,
            ) -> VerifiedLevels:
                return judge_levels(
                    order.node,
                    dag=dag,
                    before=before,
                    after=after,
                    around=around,
                    looks=looks,
                    steady_seconds=time_limits.steady_seconds,
                    unreadable=unreadable,
                )

            levels, around = judged(None), None
            if is_late or needs_surroundings(levels):
                around = await read_surroundings(link, after.members or (), after.cluster)
                levels = judged(around)
        held = hold(levels, since, at, time_limits.against_seconds)
        levels, since = held.levels, held.since
        blind = unread_since(levels.unread, blind, at)
        for line in (*_notices(held), *_unread(levels, unreadable, told)):
            publish(ProofNotice(line=line))
        told = frozenset(proof for proof in levels.unread if unreadable.is_over(proof))
        if levels.level is not seen:
            publish(LevelReached(levels=levels, zones=after.zones or ()))
            seen = levels.level
        waiting = still_waiting(levels)
        if not waiting or is_late:
            return Verification(levels, after, waiting, around)
        pause = min(LOOK_AGAIN_SECONDS, time_limits.poll_seconds)
        wanted = time_limits.steady_seconds
        if only_has_to_hold(levels, looks):
            if seldom.waited(ProofsHold, at) is not None:
                publish(ProofsHold(seconds=held_for(looks, wanted), wanted=wanted))
            pause = max(pause, wanted / LOOKS_WHILE_HOLDING)
            is_last = held_for(looks, wanted) + pause >= wanted
        else:
            is_last = False
            mark, words = waits_for(levels)
            if (waited := seldom.waited(mark, at)) is not None:
                publish(WaitsForProofs(what=words, seconds=waited))
        await asyncio.sleep(pause)


def _notices(held: Held) -> Iterator[str]:
    for proof, words in held.risen:
        yield f"verify.against proof={proof} found={words!r}"
    for (proof, words), seconds in held.passed.items():
        yield f"verify.passed proof={proof} found={words!r} after_seconds={seconds:.0f}"


def _unread(levels: VerifiedLevels, unreadable: Unreadable, told: frozenset[str]) -> Iterator[str]:
    """Tell each proof that could not be read for the limit, once, why, and how it counts now."""
    for line in levels.lines:
        if line.id not in levels.unread or line.id in told or not unreadable.is_over(line.id):
            continue
        if line.answer is ProofAnswer.INFO:
            then = "it does not hinder"
        else:
            then = "not verified" if line.id in levels.given_up else "waited for"
        yield f"verify.unread proof={line.id} found={line.found!r} next={then!r}"
