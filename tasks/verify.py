"""Proves from cluster and node, not from the DAG, that the node joined."""

import logging
from typing import Final

from obscale.agent.models import Dag
from obscale.errors import VerifyError
from obscale.events import Verified
from obscale.report.lists import proofs_page
from obscale.request.scale_out import ScaleOut
from obscale.tasks.runtime.blocks import open_connections
from obscale.tasks.runtime.journal import artifact_key, aside, note_page, publish, publish_line
from obscale.tasks.runtime.retries import repeatable_task
from obscale.verify.levels import VerifiedLevels, shortfall
from obscale.verify.observation import Before
from obscale.verify.run import verify_node

TIME_LIMIT_SECONDS: Final = 90_000
"""Above the longest verification deadline a request may set."""


@repeatable_task("verify", run_name="verify {order.target}", timeout_seconds=TIME_LIMIT_SECONDS)
async def verify(order: ScaleOut, dag: Dag | None, before: Before) -> VerifiedLevels:
    """Prove the levels JOINED → SERVING → CONFORMING → BALANCED; show one line per proof.

    Args:
        order: What was asked.
        dag: As it ended; None where it is not known.
        before: What was seen before its POST, `Before()` where nobody has looked.

    Raises:
        VerifyError: CONFORMING was not reached by the deadline, or a proof failed for good.
    """
    async with open_connections(order, proven=True) as link:
        verification = await verify_node(link, order, dag, before, publish=publish)
    levels = verification.levels
    if verification.overdue:
        names = ", ".join(line.id for line in verification.overdue)
        publish_line("verify", f"verify.deadline still={names!r}", logging.WARNING)
    await aside(
        note_page(
            artifact_key("verification", order.cluster_name, order.target),
            proofs_page(levels.lines, levels.persist_statements),
            f"Verification of {order.target} in {order.cluster_name}: {levels.verdict}",
        )
    )
    publish(Verified(levels=levels, zones=verification.after.zones or ()))
    for statement in levels.persist_statements:
        publish_line("verify", f"verify.may_revert statement={statement!r}")
    for server in levels.exceptions:
        publish_line("verify", f"verify.except server={server!r}", logging.WARNING)
    if not levels.is_verified:
        raise VerifyError(
            f"{order.target} {shortfall(levels.level.name, levels.lines)}",
            "look at the named proofs; the DAG's success alone proves nothing",
        )
    return levels
