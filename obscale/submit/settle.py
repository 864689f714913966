"""Says which DAG carries an order, where it is there already or was begun by a lost POST."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from obscale.agent.models import Dag
from obscale.connect.connections import Connections
from obscale.errors import AgentError, IdentityMismatchError, OutcomeUnknownError
from obscale.events import BaselineFound, Publish, SubmitSettled, publish_line
from obscale.request.scale_out import ScaleOut
from obscale.submit.decide import (
    Adopt,
    AlreadyMember,
    Candidates,
    PostAgain,
    Refuse,
    Submission,
    decide_after_lost_answer,
)
from obscale.submit.read import read_candidates, read_finished_scale_outs
from obscale.submit.result import Keeping, Submitted
from obscale.submit.waits import now, wait_for_lost
from obscale.verify.baseline import (
    Baseline,
    baseline_of,
    carried_out,
    dag_of_member,
    identity_of,
    of_node,
)


async def settled(
    link: Connections,
    order: ScaleOut,
    decision: Submission,
    sighting: Candidates,
    kept: Keeping,
    publish: Publish,
) -> Submitted:
    """Give what is there already, with how things stood before its POST as far as that is known."""
    cluster = identity_of(sighting.members)
    match decision:
        case AlreadyMember(why=why):
            own = of_node(await kept.read(), cluster=cluster, node=order.node)
            dag = await _read_dag_of_member(link, order, sighting, own, publish)
            how, dag_id = "already a member", dag.id if dag else None
        case Adopt(dag_id=dag_id, why=why):
            own = of_node(await kept.read(), cluster=cluster, node=order.node)
            seen = (sighting.last_dag, *sighting.unfinished, *sighting.passed)
            dag = next(each for each in seen if each is not None and each.id == dag_id)
            how = "adopted"
        case Refuse(reason=reason, hint=hint):
            raise IdentityMismatchError(reason, step="submit", hint=hint)
        case _:
            raise AssertionError(decision)
    baseline = baseline_of(own, cluster=cluster, node=order.node, dag=dag) if dag else None
    return tell_settled(
        Submitted(
            dag_id=dag_id,
            how=how,
            why=why,
            at=now(),
            cluster=cluster,
            baseline=baseline,
            dag=dag if dag and carried_out(dag, sighting, order.node) else None,
        ),
        publish,
    )


def tell_settled(submitted: Submitted, publish: Publish, dag: Dag | None = None) -> Submitted:
    """Tell how a node comes by its DAG, and what is known of before."""
    publish(SubmitSettled(submitted=submitted, dag=dag))
    if submitted.how != "posted":
        publish(BaselineFound(baseline=submitted.baseline))
    return submitted


async def baseline_of_member(
    link: Connections, order: ScaleOut, records: Callable[[str, str], Keeping], publish: Publish
) -> Baseline | None:
    """Read how things stood before the POST that has made a node a member; None: not known.

    Raises:
        AgentError: No cluster agent told its DAGs or members.
    """
    sighting = await read_candidates(link)
    cluster = identity_of(sighting.members)
    own = of_node(await records(cluster, order.target).read(), cluster=cluster, node=order.node)
    dag = await _read_dag_of_member(link, order, sighting, own, publish)
    return baseline_of(own, cluster=cluster, node=order.node, dag=dag) if dag else None


async def _read_dag_of_member(
    link: Connections,
    order: ScaleOut,
    sighting: Candidates,
    own: Sequence[Baseline],
    publish: Publish,
) -> Dag | None:
    """Read the DAG that has made the node a member; None where nobody tells, or it is not there."""
    dag_id = dag_of_member(sighting, order.node, own)
    if dag_id is None:
        return None
    try:
        dag = await link.cluster.ask(lambda agent: agent.read_dag(dag_id))
    except AgentError as error:
        publish_line(publish, "submit", f"submit.dag_not_read dag={dag_id} reason={str(error)!r}")
        return None
    return dag if carried_out(dag, sighting, order.node) else None


async def find_lost(
    link: Connections,
    order: ScaleOut,
    record: Baseline,
    kept: Keeping,
    lost: OutcomeUnknownError,
    publish: Publish,
) -> Submitted | None:
    """Look for the DAG of a POST whose answer was lost, until it can no longer arrive."""
    baseline = record.newest_dag

    async def look(expired: bool) -> Submitted | PostAgain | None:
        sighting = await (_look_once_more(link, baseline) if expired else read_candidates(link))
        decision = decide_after_lost_answer(
            sighting, order.node, baseline=baseline, expired=expired
        )
        if isinstance(decision, Adopt | AlreadyMember):
            return await take_up_posted(link, order, decision, sighting, kept, publish)
        return decision if isinstance(decision, PostAgain) else None

    return await wait_for_lost(lost, order.time_limits, look, publish)


async def take_up_posted(
    link: Connections,
    order: ScaleOut,
    decision: Adopt | AlreadyMember,
    sighting: Candidates,
    kept: Keeping,
    publish: Publish,
) -> Submitted:
    """Take up what a POST without an answer has begun, and write down that it has."""
    found = await settled(link, order, decision, sighting, kept, publish)
    if found.baseline is not None and found.dag_id:
        await kept.settle(found.baseline, found.dag_id)
    return found


async def _look_once_more(link: Connections, baseline: int) -> Candidates:
    """Look when the lost request can come no more: also among what is over and not the newest.

    It may have been carried out, rolled back by somebody, and followed by another DAG.
    """
    sighting = await read_candidates(link)
    if sighting.last_dag is None or sighting.last_dag.dag_id <= baseline:
        return sighting
    return replace(sighting, passed=await read_finished_scale_outs(link, baseline))
