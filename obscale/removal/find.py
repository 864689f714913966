"""Finds the removal that somebody means, and whom it removes. Reads only."""

import asyncio

from obscale.agent.cluster import ClusterClient
from obscale.agent.models import Dag
from obscale.clock import monotonic
from obscale.connect.connections import ClusterConnection, Connections
from obscale.errors import SpecError
from obscale.recovery.find import LOOK_AGAIN_SECONDS, NAMING_SECONDS
from obscale.recovery.selection import standing
from obscale.removal.act import order_of
from obscale.removal.look import read_sighting
from obscale.request.models import ClusterSpec
from obscale.request.removal import Removal
from obscale.scale_in_dag import REMOVALS
from obscale.scale_out_dag import SCALE_OUT


async def find_removal(
    opened: ClusterConnection, cluster: str | ClusterSpec, dag_id: str | None
) -> tuple[Dag, Removal] | None:
    """Find the removal that is meant; None: a scale-out is.

    Args:
        opened: The cluster's connections.
        cluster: As it was named.
        dag_id: As obshell shows it; None: the one unfinished removal, where no scale-out is.

    Returns:
        Its DAG with details, and what it was asked to do.

    Raises:
        SpecError: Nothing tells whom it removes.
        AgentError: No agent of the cluster told.
    """
    link = Connections(opened.client, opened.client.clients[0], opened.known.spec, None)
    give_up = monotonic() + NAMING_SECONDS
    while True:
        dag = await _meant(opened.client, dag_id)
        if dag is None:
            return None
        order = order_of(dag, await read_sighting(link), cluster)
        if order is not None:
            return dag, order
        if dag.is_terminal or monotonic() > give_up:
            raise SpecError(
                f"DAG {dag.id} stands {standing(dag)}, and nothing tells which server it removes",
                "obscale remove with its address takes it up, or proves that it is gone",
            )
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def _meant(client: ClusterClient, dag_id: str | None) -> Dag | None:
    if dag_id is not None:
        dag = await client.ask(lambda agent: agent.read_dag(dag_id))
        return dag if dag.name in REMOVALS else None
    dags = await client.ask(lambda agent: agent.read_unfinished_cluster_dags())
    removals = [each for each in dags if each.name in REMOVALS]
    grows = any(each.name == SCALE_OUT for each in dags)
    return removals[0] if len(removals) == 1 and not grows else None
