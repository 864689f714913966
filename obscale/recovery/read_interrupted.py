"""Reads the state of a scale-out within seconds when its run ends early."""

import asyncio
from typing import Final

from obscale.agent.models import Dag
from obscale.connect.connections import Connections
from obscale.errors import AgentError
from obscale.recovery.interrupted import InterruptedState, remains_of
from obscale.request.models import NodeSpec
from obscale.scale_out_dag import is_scale_out_of
from obscale.submit.decide import Adopt, decide_submission
from obscale.submit.read import read_candidates

LONGEST_SECONDS: Final = 5.0
"""A container gets 10 s between SIGTERM and SIGKILL, and the report is still to be written."""


async def look_at_remains(
    link: Connections, node: NodeSpec, dag_id: str | None, last_seen: Dag | None
) -> InterruptedState:
    """Look where the scale-out of a node stands; never raises an AgentError.

    Args:
        link: Open connections.
        node: What was asked for.
        dag_id: Of its DAG; None where a POST was sent and its answer is not known.
        last_seen: The DAG as the run itself saw it last, for when nobody answers now.
    """
    target = node.address
    try:
        if dag_id is None:
            dag_id = await _find(link, node)
        dag = None
        if dag_id is not None:
            found = dag_id
            dag = await link.cluster.ask(lambda agent: agent.read_dag(found))
    except AgentError as error:
        return remains_of(target, was_sent=True, dag=last_seen, dag_id=dag_id).model_copy(
            update={"unread": error.without_hint}
        )
    left = remains_of(target, was_sent=True, dag=dag)
    return left.model_copy(update={"identity": await _identity(link)})


async def _find(link: Connections, node: NodeSpec) -> str | None:
    """Find the DAG of a POST without an answer; None: the cluster knows of none (yet)."""
    sighting = await read_candidates(link)
    decision = decide_submission(sighting, node)
    if isinstance(decision, Adopt):
        return decision.dag_id
    last = sighting.last_dag
    if last and is_scale_out_of(last, node.address, sighting.target_dag):
        return last.id
    return None


async def _identity(link: Connections) -> str:
    try:
        async with asyncio.timeout(LONGEST_SECONDS / 2):
            return (await link.target.read_info()).identity.value
    except (AgentError, TimeoutError):
        return ""
