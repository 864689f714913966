"""Reads the joining agent's own DAG, from it or through a cluster agent."""

from collections.abc import Awaitable, Callable, Sequence

from obscale.agent.models import Dag
from obscale.connect.connections import Connections
from obscale.errors import NotAuthorizedError, PasswordWithheldError
from obscale.scale_out_dag import local_dag_of


async def read_local_dag(
    link: Connections, mains: Callable[[], Awaitable[Sequence[Dag]]]
) -> Dag | None:
    """Read the newest DAG that a target keeps itself; None: there is none.

    While it joins, it shows that only to who has the cluster's password, and it is no member yet.
    Its cluster knows the DAG by the id it logged, and asks the target in our place.

    Args:
        link: Open connections.
        mains: Gives the cluster's DAGs that may name it, with details; asked only then.

    Raises:
        AgentError: Neither the target nor its cluster shows it.

    Source of the forwarding: ob/agent/executor/task/dag.go, 4.5.0.0
    """
    try:
        return await link.target.read_last_agent_dag()
    except (PasswordWithheldError, NotAuthorizedError):
        address = str(link.target.address)
        named = (local_dag_of(dag, address) for dag in await mains())
        local_id = next((local for local in named if local), None)
        if local_id is None:
            raise
        return await link.cluster.ask(lambda agent: agent.read_dag(local_id))
