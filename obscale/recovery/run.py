"""Carries out one decision about a failed scale-out once, and follows it to its end.

obshell answers an operation with "accepted", and a rollback of the cluster's DAG does not end with
it: the target follows later, or not at all. Source: ob/agent/executor/ob/scale_out.go, 4.5.0.0.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import AgentInfo, AgentStatus, Dag, Identity, Operator
from obscale.clock import monotonic, utc_now
from obscale.connect.connections import Connections
from obscale.errors import (
    AgentError,
    AgentRefusedError,
    AgentUnreachableError,
    DagFailedError,
    DagStalledError,
    OutcomeUnknownError,
    PasswordWithheldError,
)
from obscale.follow.local_dag import read_local_dag
from obscale.follow.progress import failure_of
from obscale.follow.run import Saw, Say, follow
from obscale.maintenance_lock import holds_lock
from obscale.recovery.consequences import Remedy
from obscale.recovery.diagnosis import Diagnosis
from obscale.recovery.policy import MOST_ATTEMPTS, refusal_of
from obscale.recovery.read import diagnose_now, next_step
from obscale.request.models import ClusterSpec
from obscale.request.time_limits import TimeLimits
from obscale.scale_out_dag import is_part_of

LOOK_AGAIN_SECONDS: Final = 1.0
"""obshell's schedulers look once a second. Source: ob/agent/engine/scheduler, 4.5.0.0."""
MOST_SENDINGS: Final = 5
"""Times one operation is sent, each only after a look that showed it was not taken."""

CHANGED_MEANWHILE: Final = "Gorm.NoRowAffected"
"""Somebody wrote the DAG's row in the same instant. Source: ob/agent/service/task/dag.go."""

BY_HAND: Final = frozenset({"target-stuck", "undone-member", "orphan-out-of-reach"})
"""Causes of a target left behind that nothing which can be sent puts right."""

ReadDag = Callable[[], Awaitable[Dag]]


@dataclass(frozen=True)
class RolledBack:
    """A rollback that has come to its real end: lock free, target SINGLE and unlocked."""

    dag: Dag
    target: str
    """Empty for a DAG that had called no node yet."""
    orphan: str
    """Id of the target's own DAG where it had to be rolled back after the cluster's; else empty."""


def require_allowed(
    diagnosis: Diagnosis,
    remedy: Remedy,
    cluster: str | ClusterSpec,
    *,
    acknowledged: bool = False,
) -> None:
    """Let a remedy pass only where it may be carried out now.

    Args:
        diagnosis: Made just now.
        remedy: What is wanted.
        cluster: How a command names the cluster, or the cluster written out; for the next command.
        acknowledged: Whether somebody accepts that data is lost.

    Raises:
        DagFailedError: It is no choice, a dead end, or may destroy data and nobody accepted that.
    """
    if refused := refusal_of(diagnosis, remedy, acknowledged=acknowledged):
        hint = next_step(diagnosis, cluster)
        choice = diagnosis.choice(remedy)
        if choice is not None and choice.needs_acknowledgement:
            hint += "; who accepts the loss adds --acknowledge-data-loss to obscale recover"
        raise DagFailedError(f"DAG {diagnosis.dag_id} was not touched: {refused}", hint)


async def retry(link: Connections, diagnosis: Diagnosis, say: Say) -> None:
    """Have the cluster's DAG retried. It goes on by itself; follow it.

    Raises:
        AgentError: No agent took it.
    """
    dag = await _cluster_dag(link.cluster, diagnosis.dag_id)()
    await order_dag(link.cluster, dag, Operator.RETRY, say)


async def roll_back(
    link: Connections,
    diagnosis: Diagnosis,
    time_limits: TimeLimits,
    *,
    saw: Saw,
    say: Say,
    acknowledged: bool = False,
) -> RolledBack:
    """Roll a scale-out back to its real end: cluster first, then what the target left behind.

    Args:
        link: Cluster and target.
        diagnosis: Made just now, and passed by `require_allowed`.
        time_limits: Limits of following, and of waiting for the target.
        saw: Gets each look at the cluster's DAG.
        say: Gets each line.
        acknowledged: Whether data may be lost that this scale-out did not make.

    Raises:
        DagFailedError: A stage could not be undone, or the target is stuck.
        DagStalledError: It did not end within the order's time limits.
        AgentError: No agent took it.
    """
    dag = await _undo(link.cluster, diagnosis.dag_id, time_limits, saw=saw, say=say)
    orphan = await _settle_target(link, dag, time_limits, say, acknowledged=acknowledged)
    await _lock_freed(link.cluster, dag)
    say(f"recover.undone dag={dag.id} target={link.target.address} identity=SINGLE lock=free")
    return RolledBack(dag, str(link.target.address), orphan)


async def roll_back_untouched(
    cluster: ClusterClient, dag_id: str, time_limits: TimeLimits, *, saw: Saw, say: Say
) -> RolledBack:
    """Roll back a scale-out that called no node yet: there is none to wait for.

    Raises:
        DagFailedError: Its stage could not be undone.
        DagStalledError: It did not end within the time limits.
        AgentError: No agent took it.
    """
    dag = await _undo(cluster, dag_id, time_limits, saw=saw, say=say)
    await _lock_freed(cluster, dag)
    say(f"recover.undone dag={dag.id} lock=free")
    return RolledBack(dag, "", "")


async def _undo(
    cluster: ClusterClient, dag_id: str, time_limits: TimeLimits, *, saw: Saw, say: Say
) -> Dag:
    """Have the cluster's DAG rolled back to its end.

    Raises:
        DagFailedError: A stage could not be undone.
        DagStalledError: It did not end within the time limits.
        AgentError: No agent took it.
    """
    dag = await _cluster_dag(cluster, dag_id)()
    for attempt in range(1, MOST_ATTEMPTS + 1):
        if dag.is_undone:
            break
        if attempt > 1:
            # A new zone cannot be deleted while its server is still DELETING; it resumes there.
            say(f"recover.rollback_stopped stage={dag.stage} log={failure_of(dag).reason!r}")
            await asyncio.sleep(time_limits.retry_pause_seconds)
        await order_dag(cluster, dag, Operator.ROLLBACK, say)
        dag = await follow(cluster, dag.id, time_limits, saw=saw, say=say)
    if not dag.is_undone:
        failure = failure_of(dag)
        raise DagFailedError(
            f"the rollback of DAG {dag.id} stopped at stage {failure.stage}/{failure.max_stage} "
            f"{failure.node!r} on {failure.agent}: {failure.reason}",
            "see why that stage cannot be undone, then roll back again; it goes on there",
        )
    return dag


async def _settle_target(
    link: Connections, dag: Dag, time_limits: TimeLimits, say: Say, *, acknowledged: bool
) -> str:
    """Wait until the target is SINGLE and unlocked; roll its own DAG back where it was left behind.

    Only after the cluster's DAG is undone: the rollback of the target's own one would otherwise
    post a ROLLBACK to the cluster too.
    """
    give_up = monotonic() + time_limits.undo_seconds
    orphan, words = "", ""
    while True:
        state = await _target_state(link.target)
        if state == (Identity.SINGLE, False):
            return orphan
        found = await diagnose_now(link, dag.id)
        standing = f"recover.target {found.evidence[2]!r} cause={found.cause}"
        if standing != words:
            say(standing)
            words = standing
        if found.cause in BY_HAND:
            raise DagFailedError(
                f"the cluster's DAG {dag.id} is rolled back, but {found.target} is not: "
                f"{found.title}",
                found.advice,
            )
        if not orphan and not refusal_of(found, Remedy.ROLLBACK, acknowledged=acknowledged):
            local = await read_local_dag(link, _mains(link, dag.id))
            if local is not None and local.is_failed and is_part_of(local, dag.id):
                say(f"recover.orphan dag={local.id} next='roll it back on the target'")
                await _order_local(link, local, say)
                orphan = local.id
        if monotonic() > give_up:
            raise DagStalledError(
                f"the cluster's DAG {dag.id} is rolled back, but after "
                f"{time_limits.undo_seconds:.0f} s {found.evidence[2]} [{found.cause}]",
                found.advice,
            )
        await asyncio.sleep(min(LOOK_AGAIN_SECONDS, time_limits.poll_seconds))


async def _target_state(target: AgentClient) -> tuple[Identity, bool] | None:
    try:
        info: AgentInfo = await target.read_info()
        status: AgentStatus = await target.read_status()
    except AgentError:
        return None
    return info.identity, status.under_maintenance


async def _lock_freed(cluster: ClusterClient, dag: Dag) -> None:
    unfinished = await cluster.ask(lambda agent: agent.read_unfinished_cluster_dags())
    if any(other.id == dag.id and holds_lock(other) for other in unfinished):
        raise DagStalledError(
            f"DAG {dag.id} is rolled back, but the cluster still lists it as unfinished",
            "look at the cluster's agents; nothing else can be maintained meanwhile",
        )


async def order_dag(cluster: ClusterClient, dag: Dag, operator: Operator, say: Say) -> None:
    """Send an operation for the cluster's DAG to an agent that has a database."""
    await _send(
        lambda: cluster.operate(lambda agent: agent.operate_dag(dag.id, operator)),
        _cluster_dag(cluster, dag.id),
        dag,
        operator,
        say,
    )


async def _order_local(link: Connections, local: Dag, say: Say) -> None:
    """Have the target's own DAG rolled back: by the target, or through its cluster.

    A target that is no member yet takes it only with the cluster's password, which it does not get;
    an agent of the cluster passes it on with its own.

    Source: ob/agent/executor/task/dag.go, 4.5.0.0
    """

    async def operate() -> None:
        try:
            await link.target.operate_dag(local.id, Operator.ROLLBACK)
        except PasswordWithheldError:
            await link.cluster.operate(lambda agent: agent.operate_dag(local.id, Operator.ROLLBACK))

    async def read() -> Dag:
        try:
            return await link.target.read_dag(local.id)
        except PasswordWithheldError:
            return await link.cluster.ask(lambda agent: agent.read_dag(local.id))

    await _send(operate, read, local, Operator.ROLLBACK, say)


def _mains(link: Connections, dag_id: str) -> Callable[[], Awaitable[tuple[Dag, ...]]]:
    async def read() -> tuple[Dag, ...]:
        return (await _cluster_dag(link.cluster, dag_id)(),)

    return read


def _cluster_dag(cluster: ClusterClient, dag_id: str) -> ReadDag:
    return lambda: cluster.ask(lambda agent: agent.read_dag(dag_id))


async def _send(
    operate: Callable[[], Awaitable[None]],
    read: ReadDag,
    before: Dag,
    operator: Operator,
    say: Say,
) -> None:
    """Send an operation until it is taken; never again while an earlier one may still arrive.

    Raises:
        AgentError: The last refusal or silence, when a look showed that nothing was taken.
    """
    failed: AgentError | None = None
    for sending in range(1, MOST_SENDINGS + 1):
        say(f"recover.operate dag={before.id} operator={operator} sending={sending}")
        try:
            await operate()
        except OutcomeUnknownError as lost:
            say(f"recover.answer_lost dag={before.id} reason={lost.message!r}")
            if await _was_taken(read, before, lost.header_expires_at):
                return
            failed = lost
        except (AgentUnreachableError, AgentRefusedError) as refused:
            # Not taken here. Somebody else, or an earlier sending of ours, may have been quicker.
            if _moved(before, await read()):
                say(f"recover.under_way dag={before.id} reason={str(refused)!r}")
                return
            if not (refused.transient or getattr(refused, "code", "") == CHANGED_MEANWHILE):
                raise
            failed = refused
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        else:
            return
    raise failed or AssertionError(MOST_SENDINGS)


async def _was_taken(read: ReadDag, before: Dag, until: datetime | None) -> bool:
    """Look until the operation shows, or can no longer arrive."""
    while True:
        try:
            if _moved(before, await read()):
                return True
        except AgentError as error:
            if not error.transient:
                raise
        if until is None or utc_now() > until:
            return False
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


def _moved(before: Dag, now: Dag) -> bool:
    """Whether a FAILED DAG was operated since; each execution of a sub task counts one up."""
    return _mark(before) != _mark(now)


def _mark(dag: Dag) -> tuple[object, ...]:
    times = sum(sub.execute_times for node in dag.nodes for sub in node.sub_tasks)
    return dag.state, dag.operator, dag.stage, times
