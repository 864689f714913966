"""Did the node really join: proved from cluster and node, not from the DAG's word?"""

import logging
from typing import Final

from prefect import task
from prefect.cache_policies import NO_CACHE

from obscale.agent.models import Dag
from obscale.climb import climb
from obscale.errors import VerifyError
from obscale.order import Order
from obscale.rules.aftermath import Aftermath, Before, ProofLine
from obscale.rules.ladder import Ladder, shortfall
from obscale.rules.preflight.conclusion import Preflight
from tasks.connection import linked
from tasks.notes import artifact_key, aside, note_table, tell
from tasks.retrying import if_transient

TIME_LIMIT_SECONDS: Final = 90_000
"""Above the longest verification deadline a request may set."""


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
    """Climb the ladder JOINED → SERVING → CONFORMING → BALANCED; show one line per proof.

    Raises:
        VerifyError: CONFORMING was not reached by the deadline, or a proof failed for good.
    """
    async with linked(order, proven=True) as link:
        climbed = await climb(link, order, dag, seen_before(before), reached=reached)
    ladder = climbed.ladder
    if climbed.overdue:
        names = ", ".join(line.id for line in climbed.overdue)
        tell("verify", f"verify.deadline still={names!r}", level=logging.WARNING)
    await aside(
        note_table(
            artifact_key("verification", order.cluster_name, order.target),
            [row_of(line) for line in ladder.lines] + [pin_row(pin) for pin in ladder.pins],
            f"Verification of {order.target} in {order.cluster_name}: {ladder.rung.name}",
        )
    )
    tell(
        "verify",
        f"verify.ended rung={ladder.rung.name}",
        ladder=ladder,
        after=climbed.after.zones or (),
    )
    for pin in ladder.pins:
        tell("verify", f"verify.may_revert pin={pin!r}")
    if not ladder.is_verified:
        raise VerifyError(
            f"{order.target} {shortfall(ladder.rung.name, ladder.lines)}",
            "look at the named proofs; the DAG's success alone proves nothing",
        )
    return ladder


def seen_before(preflight: Preflight | None) -> Before:
    """Give what preflight saw, for comparison."""
    if preflight is None:
        return Before()
    return Before(preflight.zones, preflight.totals, preflight.host)


def reached(ladder: Ladder, after: Aftermath) -> None:
    """Tell that the node stands on another rung now."""
    tell("verify", f"verify.rung rung={ladder.rung.name}", ladder=ladder, after=after.zones or ())


def row_of(line: ProofLine) -> dict[str, str]:
    """Give a proof as one row of the table artifact."""
    return {
        "proof": line.id,
        "rung": line.rung.name,
        "answer": line.answer,
        "expected": line.expected,
        "found": line.found,
    }


def pin_row(pin: str) -> dict[str, str]:
    """Give a statement that pins a setting as one row of the table artifact."""
    return {
        "proof": "pv-restart-safety",
        "rung": "",
        "answer": "to do, if it shall survive a restart",
        "expected": pin,
        "found": "",
    }
