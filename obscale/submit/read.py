"""Reads which DAGs of a target there are, before a POST and after one.

Reads only. What the target cannot tell becomes None or a text; only a cluster that answers nobody,
and a member whose key is not the one it is known by, are errors.
"""

from collections.abc import Sequence
from functools import partial

from obscale.agent.models import Dag
from obscale.connect.connections import Connections
from obscale.errors import NotSupportedError
from obscale.follow.local_dag import read_local_dag
from obscale.reading import or_none, or_words, side_by_side
from obscale.scale_out_dag import SCALE_OUT
from obscale.submit.decide import Candidates


async def read_candidates(link: Connections) -> Candidates:
    """Look for DAGs of the link's target.

    Raises:
        AgentError: No cluster agent told its DAGs or members; deciding without would be guessing.
    """
    ask = link.cluster.ask
    async with side_by_side() as reads:
        target = reads.create_task(or_words(link.target.read_info))
        last = reads.create_task(ask(lambda agent: agent.read_last_cluster_dag()))
        unfinished = reads.create_task(ask(lambda agent: agent.read_unfinished_cluster_dags()))
        members = reads.create_task(link.read_members())

    async def dags() -> Sequence[Dag]:
        newest = last.result()
        return (*unfinished.result(), *((newest,) if newest else ()))

    seen, local = target.result(), None
    if not isinstance(seen, str):
        local = await or_none(partial(read_local_dag, link, dags))
    return Candidates(
        target=seen,
        target_dag=local,
        last_dag=last.result(),
        unfinished=unfinished.result(),
        members=members.result(),
    )


async def read_finished_scale_outs(link: Connections, baseline: int) -> tuple[Dag, ...]:
    """Look for scale-outs that began after a DAG and are over, with details; from 4.3.0.0 on.

    A look for the newest and the unfinished ones misses a scale-out that was rolled back and then
    followed by another DAG.

    Args:
        link: Open connections.
        baseline: Number of the DAG.

    Raises:
        AgentError: No cluster agent told.
    """
    try:
        known = await link.cluster.ask(lambda agent: agent.read_cluster_dags())
    except NotSupportedError:
        return ()
    newer = [dag for dag in known if dag.name == SCALE_OUT and dag.dag_id > baseline]
    return tuple([await _read_dag(link, dag.id) for dag in newer])


async def _read_dag(link: Connections, dag_id: str) -> Dag:
    """Read one of the cluster's DAGs, with details."""
    return await link.cluster.ask(lambda agent: agent.read_dag(dag_id))
