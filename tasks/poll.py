"""How does the DAG go on: followed on any cluster agent that answers, to its end or to a limit?"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

from prefect import task
from prefect.cache_policies import NO_CACHE

from obscale.agent.address import AgentAddress
from obscale.agent.models import Dag, Identity
from obscale.errors import (
    AgentError,
    AgentProtocolError,
    DagFailedError,
    DagRolledBackError,
    DagStalledError,
)
from obscale.link import Link
from obscale.order import Order
from obscale.rules.progress import describe_progress, failure_of, next_poll_seconds, progress_of
from tasks.connection import linked
from tasks.notes import ProgressNote, artifact_key, tell
from tasks.retrying import if_transient
from tasks.submit import Submitted

TIME_LIMIT_SECONDS: Final = 90_000
"""Above the longest deadline a request may set, 86400 s; the loop itself keeps the deadline."""


@dataclass
class Watch:
    """What the loop remembers between two looks; seconds are monotonic."""

    started: float
    dag: Dag | None = None
    changed: float = field(init=False)
    answered: float = field(init=False)

    def __post_init__(self) -> None:
        self.changed = self.answered = self.started


@task(
    name="poll",
    task_run_name="poll DAG {submitted.dag_id}",
    retries=3,
    retry_delay_seconds=[1, 5, 15],
    retry_jitter_factor=0.5,
    retry_condition_fn=if_transient,
    timeout_seconds=TIME_LIMIT_SECONDS,
    cache_policy=NO_CACHE,
)
async def poll(order: Order, submitted: Submitted) -> Dag | None:
    """Follow the DAG to its end, say each change once, and move one progress artifact.

    Returns:
        The DAG as it ended, done; None when there is no DAG because the node was a member already.

    Raises:
        DagFailedError: It ended FAILED; names stage, agent and last log line.
        DagRolledBackError: It ended SUCCEED with operator ROLLBACK: nothing was added.
        DagStalledError: A limit of the order's patience was reached; the DAG may still go on.
    """
    if submitted.dag_id is None:
        tell("poll", "poll.skipped why='already a member'")
        return None
    async with linked(order) as link:
        await learn_members(link)
        dag = await follow(link, order, submitted.dag_id)
    raise_unless_done(dag)
    return dag


async def follow(link: Link, order: Order, dag_id: str) -> Dag:
    """Look at the DAG until it moves no more by itself.

    Raises:
        DagStalledError: Deadline, stall or silence limit reached.
        AgentRefusedError: The agents refuse to show the DAG, e.g. a changed root password.
    """
    note = ProgressNote(artifact_key("progress", order.cluster_name, order.target))
    watch = Watch(time.monotonic())
    while True:
        try:
            dag = await link.cluster.ask(lambda agent: agent.read_dag(dag_id))
        except AgentError as error:
            if not (error.transient or isinstance(error, AgentProtocolError)):
                raise
            # No answer, an answer of something else, a database that is away: ride it out.
            _check_silence(watch, order, dag_id, error)
        else:
            watch.answered = time.monotonic()
            changes = describe_progress(watch.dag, dag)
            if changes:
                watch.changed = watch.answered
            watch.dag = dag
            progress = progress_of(dag)
            for change in changes:
                tell("poll", change.text, progress=progress, dag=dag)
            await note.show(progress, progress.text)
            if dag.is_terminal:
                return dag
        _check_limits(watch, order, dag_id)
        unchanged = time.monotonic() - watch.changed
        await asyncio.sleep(next_poll_seconds(watch.dag, unchanged, order.patience.poll_seconds))


async def learn_members(link: Link) -> None:
    """Learn the cluster's other agents, so that the poll can move when its agent goes away."""
    try:
        known = await link.cluster.ask(lambda agent: agent.read_ob_info())
    except AgentError as error:
        tell("poll", f"poll.members_unknown reason={str(error)!r}")
        return
    scheme = link.target.address.scheme
    for row in known.agent_info:
        address = AgentAddress(row.ip, row.port, scheme)
        if row.identity is Identity.CLUSTER_AGENT and address != link.target.address:
            link.cluster.add(address)


def raise_unless_done(dag: Dag) -> None:
    """Turn any ending but a carried-out scale-out into its error.

    Raises:
        DagFailedError: FAILED, whatever the operator.
        DagRolledBackError: SUCCEED, but undone.
    """
    if dag.is_undone:
        raise DagRolledBackError(
            f"DAG {dag.id} ended SUCCEED with operator ROLLBACK: the scale-out was undone, "
            "nothing was added",
            "obscale plan, then apply again once the reason is known",
        )
    if dag.is_failed:
        failure = failure_of(dag)
        raise DagFailedError(
            f"DAG {dag.id} failed at stage {failure.stage}/{failure.max_stage} "
            f"{failure.node!r} on {failure.agent}: {failure.last_log}",
            "mend the cause, then retry or roll back the DAG; it keeps the cluster's lock",
        )


def _check_silence(watch: Watch, order: Order, dag_id: str, error: AgentError) -> None:
    silent = time.monotonic() - watch.answered
    tell("poll", f"poll.no_answer silent_seconds={silent:.0f} reason={str(error)!r}")
    if silent > order.patience.silence_seconds:
        raise DagStalledError(
            f"no cluster agent has shown DAG {dag_id} for {silent:.0f} s; last: {error}",
            "look at the cluster's agents; running the flow again takes the DAG up",
        ) from error


def _check_limits(watch: Watch, order: Order, dag_id: str) -> None:
    now = time.monotonic()
    stands = f"at stage {watch.dag.stage}/{watch.dag.max_stage}" if watch.dag else "unseen"
    if now - watch.started > order.patience.deadline_seconds:
        raise DagStalledError(
            f"DAG {dag_id} is still {stands} after {order.patience.deadline_seconds:.0f} s",
            "it goes on by itself; running the flow again takes it up",
        )
    if now - watch.changed > order.patience.stall_seconds:
        raise DagStalledError(
            f"DAG {dag_id} has stood {stands} without any change for "
            f"{order.patience.stall_seconds:.0f} s",
            "look at the agent that executes the stage; do not submit again",
        )
