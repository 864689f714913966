"""Proves a tenant: looks until number, units and data are right, or nothing moves any more."""

import asyncio
from typing import Final

from obscale.agent.cluster import ClusterClient
from obscale.agent.models import Dag
from obscale.clock import monotonic
from obscale.errors import AgentError, VerifyError
from obscale.events import Publish, UnitsMoved, WaitsForProofs, publish_line
from obscale.follow.reminders import Seldom
from obscale.request.use import Use
from obscale.use.proofs import (
    Balance,
    BalanceLook,
    judge_balance,
    moves_of,
    placed_share,
    placed_words,
)
from obscale.use.read import read_placement

STANDSTILL_SECONDS: Final = 600.0
"""After so long without any number changing nothing is waited for; less where the order says so."""
LOOKS_IN_A_WINDOW: Final = 2
"""Pauses between the looks by which used bytes are compared."""
LOOK_SQL: Final = (
    "SELECT * FROM oceanbase.DBA_OB_TENANT_JOBS; SELECT * FROM oceanbase.DBA_OB_UNITS; "
    "SELECT * FROM oceanbase.DBA_OB_LS_REPLICA_TASKS;"
)


def window_of(order: Use) -> float:
    """Give the seconds over which used bytes have to stay the same: twice the steady time, 60."""
    return 2 * order.time_limits.steady_seconds


async def prove_balance(
    client: ClusterClient, order: Use, dag: Dag | None, *, publish: Publish
) -> Balance:
    """Look until the tenant is BALANCED, or nothing has moved for ten minutes.

    Args:
        client: Of the cluster.
        order: What was asked for, and how patiently to look.
        dag: That has brought the number, as it ended, with details; None: not known.
        publish: Gets what is waited for, and each change of what is placed.

    Returns:
        The proofs; not balanced where time was up.

    Raises:
        AgentError: Nobody told anything for the order's silence limit.
    """
    limits = order.time_limits
    window, standstill = window_of(order), min(STANDSTILL_SECONDS, limits.verify_seconds)
    began, answered = monotonic(), monotonic()
    looks: list[BalanceLook] = []
    balance, told, moved_at, waits = Balance(), "", 0.0, Seldom()
    while True:
        try:
            tenant, placement, _zones = await read_placement(client, order)
        except AgentError as error:
            if monotonic() - answered > limits.silence_seconds:
                raise
            publish_line(publish, "verify", f"verify.no_answer reason={str(error)!r}")
            await asyncio.sleep(limits.poll_seconds)
            continue
        answered = monotonic()
        look = BalanceLook(answered - began, tenant.pools, placement)
        if looks and moves_of(looks[-1], look):
            moved_at = look.at
        looks.append(look)
        balance = judge_balance(order, looks, dag, window)
        if (words := placed_words(order, look)) != told:
            told = words
            share = placed_share(order, look)
            publish(UnitsMoved(step="verify", words=words, percent=100 * (share or 0.0)))
        is_still = look.at - moved_at > max(standstill, window)
        if balance.is_balanced or is_still or look.at > limits.deadline_seconds:
            return balance
        missing = next(line for line in balance.lines if line.hinders)
        if (waited := waits.waited(missing.id, look.at)) is not None:
            publish(WaitsForProofs(what=f"{missing.id}: {missing.found}", seconds=waited))
        await asyncio.sleep(min(limits.poll_seconds, max(window / LOOKS_IN_A_WINDOW, 0.1)))


def shortfall_of(order: Use, balance: Balance) -> VerifyError:
    """Give the error of a tenant that is not BALANCED."""
    missing = "; ".join(f"{line.id}: {line.found}" for line in balance.lines if line.hinders)
    return VerifyError(
        f"{order.target} is not BALANCED, and nothing moves any more: {missing}",
        f"see data disks near their limit, enable_rereplication, servers that are down; as "
        f"root@sys: {LOOK_SQL}",
    )
