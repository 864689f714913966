"""Follows the DAG that changes a tenant's units; retries it where that is asked for and safe."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from obscale.agent.cluster import ClusterClient
from obscale.agent.models import Dag, Operator
from obscale.clock import monotonic
from obscale.errors import AgentError, DagFailedError, DagRolledBackError
from obscale.events import Publish, UnitsMoved, lines_to, publish_line
from obscale.follow.progress import Change
from obscale.follow.run import follow, publish_moves
from obscale.recovery.run import order_dag
from obscale.request.use import Use
from obscale.use.causes import UseDiagnosis, diagnose_use
from obscale.use.facts import unit_num_of
from obscale.use.proofs import BalanceLook, placed_share, placed_words
from obscale.use.read import read_own_tenant, read_placement

MOST_RETRIES: Final = 3
Moved = Callable[[float, str], Awaitable[None]]
"""Moves a bar: per cent, and the words below it."""


async def follow_use(
    client: ClusterClient, order: Use, dag_id: str, *, publish: Publish, moved: Moved
) -> Dag:
    """Follow a DAG until it has ended, or until OceanBase alone goes on.

    Args:
        client: Of the cluster.
        order: What is asked for; `on_failure` says whether a failed DAG is retried.
        dag_id: As obshell handed it out.
        publish: Gets each change of the DAG, and how many units are placed whenever that changes.
        moved: Moves the bar.

    Returns:
        The DAG with details: done; or FAILED where its number is stored and its job goes on.

    Raises:
        DagFailedError: It failed; named with its cause and what leads on.
        DagRolledBackError: Somebody rolled it back, which undoes nothing.
        DagStalledError: One of the order's time limits was reached; the DAG may still go on.
    """
    say = lines_to(publish, "poll")
    told, began = "", monotonic()

    async def saw(dag: Dag, changes: tuple[Change, ...]) -> None:
        nonlocal told
        publish_moves(publish, dag, changes)
        try:
            tenant, placement, _zones = await read_placement(client, order)
        except AgentError:
            # The DAG was told; where its units are is told the next time.
            return
        look = BalanceLook(monotonic() - began, tenant.pools, placement)
        share, words = placed_share(order, look), placed_words(order, look)
        if words != told:
            told = words
            publish(UnitsMoved(step="poll", words=words, percent=100 * (share or 0.0)))
        await moved(100 * (share or 0.0), words)

    retries = 0
    while True:
        dag = await follow(client, dag_id, order.time_limits, saw=saw, say=say)
        if dag.is_done:
            return dag
        if dag.is_undone:
            raise DagRolledBackError(
                f"DAG {dag.id} was rolled back, which undoes nothing: unit_num may be changed",
                "ask again with the number that is wanted",
            )
        found = await _diagnosed(client, order, dag)
        cause = found.cause
        publish_line(publish, "poll", f"diagnosis.made cause={cause.id} title={cause.title!r}")
        if found.goes_on:
            publish_line(publish, "poll", "poll.goes_on why='the number is stored' next=verify")
            return dag
        if not (order.on_failure == "retry" and found.is_retried and retries < MOST_RETRIES):
            raise error_of(order, dag, found)
        retries += 1
        await asyncio.sleep(order.time_limits.retry_pause_seconds)
        await order_dag(client, dag, Operator.RETRY, say)


async def _diagnosed(client: ClusterClient, order: Use, dag: Dag) -> UseDiagnosis:
    tenant = await read_own_tenant(client, order)
    return diagnose_use(dag, is_stored=unit_num_of(tenant.pools) == order.unit_num)


def error_of(order: Use, dag: Dag, found: UseDiagnosis) -> DagFailedError:
    """Give the error of a DAG that failed."""
    stored = "the number is stored all the same" if found.is_stored else "nothing was changed"
    return DagFailedError(
        f"DAG {dag.id} of {order.target} failed: {found.cause.title} [{found.cause.id}]: "
        f"{found.reason} ({stored}; it holds no lock)",
        found.cause.by_hand,
    )
