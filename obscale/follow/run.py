"""Follows a DAG to its end, or to a limit, on any cluster agent that answers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from obscale.agent.address import AgentAddress
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import Dag, Identity
from obscale.clock import monotonic
from obscale.connect.connections import Connections
from obscale.errors import AgentError, AgentProtocolError, DagStalledError, NotAuthorizedError
from obscale.events import DagMoved, Publish
from obscale.follow.progress import Change, describe_progress, next_poll_seconds
from obscale.request.time_limits import TimeLimits

QUIET: Final = frozenset({"dag.node_started", "dag.node_spoke"})
"""Kept from the log at INFO, where the end of each node is enough; the report has them all."""
LOOKS_IN_A_LIMIT: Final = 3
"""At least so many looks go into the limits for silence and standstill."""
Saw = Callable[[Dag, tuple[Change, ...]], Awaitable[None]]
"""Gets every look at the DAG, with what changed since the last one."""
Say = Callable[[str], None]
"""Gets one line, event first."""


@dataclass
class Watch:
    """What the loop remembers between two looks; seconds are monotonic."""

    started: float
    dag: Dag | None = None
    changed: float = field(init=False)
    answered: float = field(init=False)
    said_silent: float = 0.0
    """Seconds of silence at which it is told next."""

    def __post_init__(self) -> None:
        self.changed = self.answered = self.started


async def follow(
    cluster: ClusterClient,
    dag_id: str,
    time_limits: TimeLimits,
    *,
    saw: Saw,
    say: Say,
    moved_at: Callable[[], float] | None = None,
    unended_seconds: float = 0.0,
    first_look_seconds: float = 0.0,
) -> Dag:
    """Look at a DAG until it moves no more by itself.

    Args:
        cluster: Whose DAG it is.
        dag_id: Its id.
        time_limits: How patiently.
        saw: Gets every look.
        say: Gets lines.
        moved_at: Gives the monotonic seconds at which something beside the DAG has moved last,
            which counts as a change of it.
        unended_seconds: As for `next_poll_seconds`.
        first_look_seconds: Pause before the first look, at a DAG that has just been begun.

    Raises:
        DagStalledError: Deadline, stall or silence limit reached; the DAG may still go on.
        NotAuthorizedError: For as long as the silence limit no agent accepted the root password.
        AgentRefusedError: The agents refuse to show the DAG.
    """
    watch = Watch(monotonic())
    # However seldom it is looked at, one lost answer alone is no silence and no standstill.
    seldomest = min(time_limits.silence_seconds, time_limits.stall_seconds) / LOOKS_IN_A_LIMIT
    await asyncio.sleep(min(first_look_seconds, seldomest))
    while True:
        is_refused = False
        try:
            dag = await cluster.ask(lambda agent: agent.read_dag(dag_id))
        except AgentError as error:
            # A password that was accepted before may be again, when the agent's database answers.
            is_refused = cluster.password_was_accepted and isinstance(error, NotAuthorizedError)
            if not (_is_passing(error) or is_refused):
                raise
            # No answer, an answer of something else, a database that is away: ride it out.
            silent = monotonic() - watch.answered
            if silent >= watch.said_silent:
                # Each time half as often: a long silence is one piece of news, not hundreds.
                watch.said_silent = max(1.0, 2 * silent)
                say(f"poll.no_answer silent_seconds={silent:.0f} reason={str(error)!r}")
            _check_silence(silent, time_limits, dag_id, error)
        else:
            watch.answered, watch.said_silent = monotonic(), 0.0
            changes = describe_progress(watch.dag, dag)
            if changes:
                watch.changed = watch.answered
            watch.dag = dag
            await saw(dag, changes)
            if moved_at:
                watch.changed = max(watch.changed, moved_at())
            if dag.is_terminal:
                return dag
        _check_limits(watch, time_limits, dag_id)
        unchanged = monotonic() - watch.changed
        longest = time_limits.poll_seconds
        pause = next_poll_seconds(watch.dag, unchanged, longest, min(unended_seconds, seldomest))
        # Each refusal is a failed login at the database: no more of them than need be.
        await asyncio.sleep(longest if is_refused else pause)


def publish_moves(publish: Publish, dag: Dag, changes: tuple[Change, ...]) -> None:
    """Publish each change of a DAG that is polled."""
    for change in changes:
        severity = logging.DEBUG if change.kind in QUIET else logging.INFO
        publish(DagMoved(step="poll", severity=severity, dag=dag, change=change))


async def learn_members(link: Connections, say: Say, *, told_within_seconds: float = 0.0) -> None:
    """Learn the cluster's other agents, so that a look can move when its agent goes away.

    They are asked with the cluster's credentials, so only an entry agent's list of the cluster that
    was asked for counts.

    Args:
        link: Its cluster gets the agents added; its target is never asked for the cluster's DAG.
        say: Told where nobody names the members.
        told_within_seconds: A list that came over this link so long ago is not asked for again.
    """
    try:
        told = link.told_members(told_within_seconds)
        told_by, known = told or await link.read_told_members()
    except AgentError as error:
        say(f"poll.members_unknown reason={str(error)!r}")
        return
    if not link.is_vouched_for(told_by, known):
        of = known.obcluster_info
        say(f"poll.members_unknown reason='{told_by.address} tells of {of.name}/{of.id}'")
        return
    target = link.target.address
    for row in known.agent_info:
        # Agents call each other with their own scheme, so the target's is the cluster's.
        address = AgentAddress(row.ip, row.port, target.scheme)
        if row.identity is Identity.CLUSTER_AGENT and address != target:
            link.cluster.add(address)


def _is_passing(error: AgentError) -> bool:
    """Whether a question may be answered later, unchanged: silence, or no answer of obshell's."""
    return error.transient or isinstance(error, AgentProtocolError)


def _check_silence(silent: float, time_limits: TimeLimits, dag_id: str, error: AgentError) -> None:
    if silent > time_limits.silence_seconds:
        if isinstance(error, NotAuthorizedError):
            raise error
        raise DagStalledError(
            f"no cluster agent has shown DAG {dag_id} for {silent:.0f} s; last: {error}",
            "look at the cluster's agents; running the flow again takes the DAG up",
        ) from error


def _check_limits(watch: Watch, time_limits: TimeLimits, dag_id: str) -> None:
    now = monotonic()
    stands = f"at stage {watch.dag.stage}/{watch.dag.max_stage}" if watch.dag else "unseen"
    if now - watch.started > time_limits.deadline_seconds:
        raise DagStalledError(
            f"DAG {dag_id} is still {stands} after {time_limits.deadline_seconds:.0f} s",
            "it goes on by itself; running the flow again takes it up",
        )
    if now - watch.changed > time_limits.stall_seconds:
        raise DagStalledError(
            f"DAG {dag_id} has stood {stands} without any change for "
            f"{time_limits.stall_seconds:.0f} s",
            "look at the agent that executes the stage; do not submit again",
        )
