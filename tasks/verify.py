"""Did the node really join: proved from cluster and node, not from the DAG's word?"""

import asyncio
import logging
import time
from typing import Final

from prefect import task
from prefect.cache_policies import NO_CACHE

from obscale.agent.models import Dag
from obscale.errors import VerifyError
from obscale.link import Link
from obscale.order import Order
from obscale.rules.aftermath import ProofLine, Rung
from obscale.rules.ladder import Ladder, judge_ladder, still_waiting
from obscale.sight import look_after
from tasks.connection import linked
from tasks.notes import artifact_key, note_table, tell
from tasks.preflight import Preflight
from tasks.retrying import if_transient

TIME_LIMIT_SECONDS: Final = 90_000
"""Above the longest verification deadline a request may set."""
LOOK_AGAIN_SECONDS: Final = 1.0
"""Pause between two looks; obState must hold over several of them."""


@task(
    name="verify",
    task_run_name="verify {order.target}",
    retries=2,
    retry_delay_seconds=[2, 5],
    retry_jitter_factor=0.5,
    retry_condition_fn=if_transient,
    timeout_seconds=TIME_LIMIT_SECONDS,
    cache_policy=NO_CACHE,
)
async def verify(order: Order, dag: Dag | None, before: Preflight | None = None) -> Ladder:
    """Climb the ladder JOINED → SERVING → CONFORMING; show one line per proof.

    Raises:
        VerifyError: A rung was not reached by the deadline, or a proof failed for good.
    """
    async with linked(order) as link:
        ladder = await climb(link, order, dag, before)
    await note_table(
        artifact_key("verification", order.cluster_name, order.target),
        [row_of(line) for line in ladder.lines],
        f"Verification of {order.target} in {order.cluster_name}: {ladder.rung.name}",
    )
    tell("verify", f"verify.ended rung={ladder.rung.name}", ladder=ladder)
    if ladder.rung is not Rung.CONFORMING:
        missing = [line for line in ladder.lines if line.hinders]
        reasons = "; ".join(
            f"{line.id}: {line.found}, expected {line.expected}" for line in missing
        )
        raise VerifyError(
            f"{order.target} reached {ladder.rung.name}, not CONFORMING: {reasons}",
            "look at the named proofs; the DAG's success alone proves nothing",
        )
    return ladder


async def climb(link: Link, order: Order, dag: Dag | None, before: Preflight | None) -> Ladder:
    """Look until the ladder is complete, nothing can change by waiting, or the deadline passes."""
    started = time.monotonic()
    history: list[tuple[float, int | None]] = []
    seen: Rung | None = None
    while True:
        after = await look_after(link)
        status = after.target_status
        history.append((time.monotonic() - started, status.ob_state if status else None))
        ladder = judge_ladder(
            order.node,
            dag=dag,
            before=before.zones if before else (),
            after=after,
            ob_states=history,
            steady_seconds=order.patience.steady_seconds,
        )
        if ladder.rung is not seen:
            tell(
                "verify",
                f"verify.rung rung={ladder.rung.name}",
                ladder=ladder,
                after=after.zones or (),
            )
            seen = ladder.rung
        waiting = still_waiting(ladder)
        if not waiting:
            return ladder
        if time.monotonic() - started > order.patience.verify_seconds:
            names = ", ".join(line.id for line in waiting)
            tell("verify", f"verify.deadline still={names!r}", level=logging.WARNING)
            return ladder
        await asyncio.sleep(min(LOOK_AGAIN_SECONDS, order.patience.poll_seconds))


def row_of(line: ProofLine) -> dict[str, str]:
    """Give a proof as one row of the table artifact."""
    return {
        "proof": line.id,
        "rung": line.rung.name,
        "answer": line.answer,
        "expected": line.expected,
        "found": line.found,
    }
