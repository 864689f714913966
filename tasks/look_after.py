"""Looks after a DAG that a form names: finds it, follows it and proves what it has done."""

from dataclasses import dataclass
from typing import Final

from obscale.agent.models import Dag
from obscale.connect.connections import ClusterConnection, cluster_connected, target_connected
from obscale.events import lines_to
from obscale.recovery.find import (
    find,
    nameless,
    node_found,
    node_of,
    read_in_sight,
    read_named,
)
from obscale.recovery.selection import Decision, Meant, is_untouched, named_by_id, of_cluster
from obscale.removal.find import find_removal
from obscale.request.file_name import command_name
from obscale.request.models import ClusterSpec, NodeSpec, SecretName
from obscale.request.removal import Removal
from obscale.request.scale_out import ScaleOut
from obscale.request.time_limits import TimeLimits
from obscale.submit.result import Submitted
from obscale.submit.settle import baseline_of_member, tell_settled
from obscale.submit.waits import now
from obscale.tasks.poll import poll
from obscale.tasks.removal import poll_removal, verify_removal
from obscale.tasks.runtime.baselines import Records, RemovalRecords
from obscale.tasks.runtime.blocks import PrefectSecrets, open_connections
from obscale.tasks.runtime.earlier_reports import node_asked
from obscale.tasks.runtime.journal import publish
from obscale.tasks.runtime.report import ReportBuilder
from obscale.tasks.runtime.retries import repeatable_task
from obscale.tasks.verify import verify
from obscale.verify.baseline import baseline_of, identity_of
from obscale.verify.observation import Observation
from obscale.verify.read import read_observation

TIME_LIMIT_SECONDS: Final = 600
"""Of some looks at agents that may answer slowly, and half a minute until a DAG names its target.
"""


@dataclass(frozen=True)
class FoundScaleOut:
    """A scale-out somebody looks after, whoever started it.

    Args:
        order: Of its node, with what is known of it.
        submitted: Its DAG, and how things stood before its POST.
        is_asked: Whether somebody has kept what was asked of the node; else it is proved by what
            the cluster shows of it.
    """

    order: ScaleOut
    submitted: Submitted
    is_asked: bool

    @property
    def dag_id(self) -> str:
        """Of its DAG."""
        return str(self.submitted.dag_id)


@dataclass(frozen=True)
class Untouched:
    """A scale-out that failed before it named any node: it can be undone, and no more."""

    dag: Dag


@dataclass(frozen=True)
class FoundRemoval:
    """A removal somebody looks after, whoever started it.

    Args:
        order: What it takes out.
        submitted: Its DAG, and how things stood before its POST.
    """

    order: Removal
    submitted: Submitted

    @property
    def dag_id(self) -> str:
        """Of its DAG."""
        return str(self.submitted.dag_id)


@repeatable_task("find", run_name="find the DAG", timeout_seconds=TIME_LIMIT_SECONDS)
async def find_dag(
    cluster: str | ClusterSpec,
    dag_id: str | None,
    password: SecretName | None,
    time_limits: TimeLimits,
) -> FoundScaleOut | FoundRemoval | Untouched:
    """Find the DAG that is meant, and what was asked for.

    Args:
        cluster: Stored, or written out.
        dag_id: Of the DAG; None: the one unfinished removal where no scale-out runs beside it, else
            the cluster's newest scale-out.
        password: Of the target agent of a scale-out, where it has one.
        time_limits: Of following and proving it.

    Raises:
        SpecError: There is none, or it may not be taken.
        AgentError: No agent of the cluster could be asked.
    """
    async with cluster_connected(cluster, PrefectSecrets()) as opened:
        if removal := await find_removal(opened, cluster, dag_id):
            return await _as_kept(opened, *removal, time_limits)
        meant = await _meant(opened, dag_id)
        if is_untouched(meant):
            return Untouched(meant.dag)
        if not meant.target:
            raise nameless(meant.dag, command_name(cluster))
        asked = await node_asked(meant.target, meant.dag.id)
        node = _with_password(asked or node_of(meant.target), password)
        order = ScaleOut(cluster=cluster, node=node, time_limits=time_limits)
        async with target_connected(order, opened, PrefectSecrets()) as link:
            members = identity_of(await link.read_members())
            records = await Records(members, order.target).read()
            if asked is None:
                own = [each.zone for each in records if each.dag_id == meant.dag.id]
                seen = await read_observation(link)
                order = _as_seen(order, seen, own[-1] if own else "")
    baseline = baseline_of(records, cluster=members, node=order.node, dag=meant.dag)
    return FoundScaleOut(
        order,
        Submitted(
            dag_id=meant.dag.id,
            how="watched",
            why="it was named",
            at=now(),
            cluster=members,
            baseline=baseline,
        ),
        asked is not None,
    )


async def _as_kept(
    opened: ClusterConnection, dag: Dag, order: Removal, time_limits: TimeLimits
) -> FoundRemoval:
    """Give a removal with how things stood before its POST, where somebody has kept that."""
    cluster = identity_of(await opened.client.ask(lambda agent: agent.read_ob_info()))
    records = await RemovalRecords(cluster, order.target).read()
    own = [each for each in records if each.dag_id == dag.id]
    submitted = Submitted(
        dag_id=dag.id,
        how="watched",
        why="it was named",
        at=now(),
        cluster=cluster,
        baseline=own[0] if own else None,
    )
    return FoundRemoval(order.model_copy(update={"time_limits": time_limits}), submitted)


async def follow_and_prove_gone(found: FoundRemoval) -> None:
    """Follow a removal to its end, and prove from the cluster that its target is gone.

    Raises:
        DagFailedError: Its DAG ended FAILED.
        DagRolledBackError: It was undone.
        DagStalledError: Nothing moves any more; the DAG may go on.
        VerifyError: What it removes is not gone.
    """
    dag = await poll_removal(found.order, found.submitted)
    await verify_removal(found.order, dag, found.submitted)


async def _meant(opened: ClusterConnection, dag_id: str | None) -> Meant:
    async def choose() -> Decision:
        if dag_id is not None:
            return named_by_id(await read_named(opened.client, dag_id))
        return of_cluster(await read_in_sight(opened.client), unasked=False)

    return await find(choose, lines_to(publish, "find"), "DAG {dag}", by_id=dag_id is not None)


async def follow_and_prove(found: FoundScaleOut, builder: ReportBuilder) -> None:
    """Follow a scale-out to its end, and prove its node by what was asked, or by what is seen.

    Raises:
        DagFailedError: Its DAG ended FAILED.
        DagRolledBackError: It was undone.
        DagStalledError: A time limit was reached; the DAG may go on.
        VerifyError: The node is not what its DAG says.
    """
    dag, order = await poll(found.order, found.submitted), found.order
    if not found.is_asked:
        # Only now the cluster shows the node.
        async with open_connections(order, proven=True) as link:
            order = _as_seen(order, await read_observation(link), order.node.zone)
        builder.look_at(order)
    await verify(order, dag, found.submitted.before)


def _as_seen(order: ScaleOut, seen: Observation, zone: str = "") -> ScaleOut:
    node = node_found(order.target, seen)
    if zone and not node.zone:
        node = node_of(order.target, zone)
    return order.model_copy(update={"node": _with_password(node, order.node.targetAgentPassword)})


def _with_password(node: NodeSpec, password: SecretName | None) -> NodeSpec:
    return node.model_copy(update={"targetAgentPassword": password})


@repeatable_task("find", run_name="find {order.target}", timeout_seconds=TIME_LIMIT_SECONDS)
async def find_node(order: ScaleOut) -> Submitted:
    """Find which DAG has made a node a member, and how things stood before its POST.

    Raises:
        AgentError: No agent of the cluster could be asked.
    """
    async with open_connections(order) as link:
        members = identity_of(await link.read_members())
        baseline = await baseline_of_member(link, order, Records, publish)
    submitted = Submitted(
        dag_id=baseline.dag_id if baseline else None,
        how="verified alone",
        why="nothing is submitted",
        at=now(),
        cluster=members,
        baseline=baseline,
    )
    return tell_settled(submitted, publish)
