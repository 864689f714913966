"""Adopts the scale-out of this target that runs already, or begins exactly one."""

from typing import Final

from prefect import task
from prefect.cache_policies import NO_CACHE

from obscale.agent.models import Dag
from obscale.connect.connections import Connections
from obscale.errors import DagNotFoundError
from obscale.events import publish_line
from obscale.preflight.result import Preflight
from obscale.request.scale_out import ScaleOut
from obscale.submit.decide import Candidates, decide_cluster
from obscale.submit.read import read_candidates
from obscale.submit.result import Submitted
from obscale.submit.run import begin_once
from obscale.submit.settle import tell_settled
from obscale.submit.waits import now
from obscale.tasks.runtime.baselines import Records, keep_page, kept_earlier, page_of
from obscale.tasks.runtime.blocks import open_connections
from obscale.tasks.runtime.journal import artifact_key, aside, publish
from obscale.tasks.runtime.retries import if_transient
from obscale.text import markdown
from obscale.verify.baseline import Baseline, baseline_of, goes_on, identity_of

TIME_LIMIT_SECONDS: Final = 1_500_000
"""Above the longest wait for a window, 16 days, and the longest for the lock, 86400 s, together."""
TAKE_UP_SECONDS: Final = 600
"""Of a look and of reading one DAG, at agents that may answer slowly."""


@task(
    name="submit",
    task_run_name="submit {order.target}",
    retries=0,
    timeout_seconds=TIME_LIMIT_SECONDS,
    cache_policy=NO_CACHE,
)
async def submit(order: ScaleOut, seen: Preflight) -> Submitted:
    """Begin the scale-out exactly once, or take up the one already begun.

    Args:
        order: What is to be done.
        seen: By preflight; what ages is judged again after a minute.

    Raises:
        RecordError: How the cluster stood before cannot be written down; nothing was sent.
        PreflightError: Something that was right at preflight, say a free disk, no longer is.
        ForeignDagError: Somebody else's DAG holds the cluster's lock for longer than allowed.
        OutcomeUnknownError: The answer was lost and no look could settle what happened.
        AgentRefusedError: The cluster refused the request; nothing was created.
    """
    async with open_connections(order, proven=True) as link:
        submitted = await begin_once(link, order, seen, records=Records, publish=publish)
    await aside(_keep_submitted(order, submitted))
    return submitted


@task(
    name="submit",
    task_run_name="submit {order.target}: take up DAG {begun.dag_id}",
    retries=2,
    retry_delay_seconds=[2, 5],
    retry_condition_fn=if_transient,
    timeout_seconds=TAKE_UP_SECONDS,
    cache_policy=NO_CACHE,
)
async def take_up(order: ScaleOut, begun: Submitted) -> Submitted | None:
    """Confirm in the cluster the DAG an earlier attempt of this run has begun. Sends nothing.

    Returns:
        It, with how things stood before its POST; None: it is not there, not this target's, undone,
        or followed by another one, so that the run begins anew.

    Raises:
        AgentError: No cluster agent told.
    """
    async with open_connections(order) as link:
        sighting = await read_candidates(link)
        cluster = identity_of(sighting.members)
        dag = await _read_begun(link, order, begun, sighting)
        if dag is None or cluster != begun.cluster:
            publish_line(
                publish, "submit", f"submit.not_taken_up dag={begun.dag_id} next='begin anew'"
            )
            return None
        records = await Records(cluster, order.target).read()
        baseline = baseline_of(records, cluster=cluster, node=order.node, dag=dag)
    why = f"begun by an earlier attempt of this run, {begun.how} {begun.at:%Y-%m-%d %H:%M:%S} UTC"
    return tell_settled(
        Submitted(
            dag_id=dag.id, how="adopted", why=why, at=now(), cluster=cluster, baseline=baseline
        ),
        publish,
        dag,
    )


async def _read_begun(
    link: Connections, order: ScaleOut, begun: Submitted, sighting: Candidates
) -> Dag | None:
    """Read a DAG an earlier attempt has begun; None where it is not the one to follow."""
    if begun.dag_id is None or decide_cluster(sighting, link.spec.name, link.spec.id):
        return None
    dag_id = begun.dag_id
    try:
        dag = await link.cluster.ask(lambda agent: agent.read_dag(dag_id))
    except DagNotFoundError:
        return None
    return dag if goes_on(dag, sighting, order.node) else None


async def earlier_attempt(order: ScaleOut) -> Submitted | None:
    """Take up what an earlier attempt of this flow run has begun; None where there is nothing."""
    # Of this node: a replacement keeps another one of the node that leaves.
    mine = artifact_key("dag", order.cluster_name, order.target)
    begun = await kept_earlier(Submitted, mine)
    if begun is None and (record := await kept_earlier(Baseline, "baseline-")):
        # Killed right after the answer to its POST came.
        begun = Submitted(
            dag_id=record.dag_id, how="posted", why="", at=record.at, cluster=record.cluster
        )
    return await take_up(order, begun) if begun is not None and begun.dag_id else None


async def _keep_submitted(order: ScaleOut, submitted: Submitted) -> None:
    """Keep which DAG carries the order, for the page of the run and for its later attempts."""
    found = submitted.dag_id or "none"
    words = markdown("DAG **{}** — {}: {}", found, submitted.how, submitted.why)
    await keep_page(
        artifact_key("dag", order.cluster_name, order.target),
        page_of(submitted, words),
        f"The DAG that adds {order.target} to {order.cluster_name}",
    )
