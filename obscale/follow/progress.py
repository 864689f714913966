"""Compares two looks at a DAG: what changed, where it stands, when to look again."""

from dataclasses import dataclass
from typing import Final

from obscale.agent.models import Dag, Node, Operator, State, joined_address
from obscale.follow.reason import LOST, reason_of, speaking_sub_task

QUICKEST_SECONDS: Final = 0.6
"""Pause while the DAG may end at any moment. obshell's scheduler looks once a second
(ob/agent/engine/scheduler, 4.5.0.0), so the end is known 0.3 s later in the middle."""
LOOK_SECONDS: Final = 1.0
"""Between two looks of that scheduler, at least. One look starts a node, a later one ends it, so no
DAG can end sooner than two looks for each node that waits."""
STILL_SHARE: Final = 0.1
"""A last node that is still for long is looked at less often: a tenth of the time it has been."""


@dataclass(frozen=True)
class Change:
    """One thing that is different since the last look, ready to be said."""

    kind: str
    text: str


@dataclass(frozen=True)
class Progress:
    """Where a DAG stands; `percent` counts stages done and falls during a rollback."""

    stage: int
    max_stage: int
    node: str
    state: State
    operator: Operator
    percent: float

    @property
    def text(self) -> str:
        """One line for below the bar, e.g. `stage 5/9 Wait remote start finish (RUNNING)`."""
        undoing = " undoing" if self.operator is Operator.ROLLBACK else ""
        return f"stage {self.stage}/{self.max_stage}{undoing} {self.node} ({self.state})".strip()


@dataclass(frozen=True)
class Failure:
    """Where a FAILED DAG failed, and why.

    Args:
        stage: Stage of the DAG.
        max_stage: Number of its stages.
        node: Title of the node.
        agent: `ip:port` of the agent that executed it.
        last_log: Last line of the node's log, whatever it says.
        reason: Why it failed, or that nobody knows any more; of a DAG that is not FAILED its last
            line.
        is_lost: Whether the reason was lost with the log.
    """

    stage: int
    max_stage: int
    node: str
    agent: str
    last_log: str
    reason: str
    is_lost: bool


def progress_of(dag: Dag) -> Progress:
    """Read where a DAG stands."""
    node = dag.current_node
    done = _stages_done(dag)
    percent = 100.0 * done / dag.max_stage if dag.max_stage else 0.0
    return Progress(
        stage=dag.stage,
        max_stage=dag.max_stage,
        node=node.title if node else dag.name,
        state=dag.state,
        operator=dag.operator,
        percent=round(percent, 1),
    )


def describe_progress(previous: Dag | None, current: Dag) -> tuple[Change, ...]:
    """Say what is different; the same DAG twice gives nothing.

    Args:
        previous: The DAG at the last look; None at the first.
        current: The DAG now, both read with details.

    Returns:
        Changes in the order they make sense: the DAG's own, then its nodes' by stage. New log lines
        of a sub task count as change, so that a slow stage that still speaks is not called stalled.
    """
    changes: list[Change] = []
    if previous is None:
        changes.append(
            Change(
                "dag.seen",
                f"dag.seen dag={current.id} name={current.name!r} "
                f"stage={current.stage}/{current.max_stage} state={current.state}",
            )
        )
    elif (previous.state, previous.operator) != (current.state, current.operator) and (
        not current.is_terminal
    ):
        changes.append(
            Change("dag.state", f"dag.state state={current.state} operator={current.operator}")
        )
    old_nodes = previous.nodes if previous else ()
    for number, node in enumerate(current.nodes, start=1):
        old = old_nodes[number - 1] if number <= len(old_nodes) else None
        changes.extend(_node_changes(old, node, number, current))
    if current.is_terminal and (
        previous is None or (previous.state, previous.operator) != (current.state, current.operator)
    ):
        changes.append(
            Change("dag.ended", f"dag.ended state={current.state} operator={current.operator}")
        )
    return tuple(changes)


def failure_of(dag: Dag, own: Dag | None = None) -> Failure:
    """Name place and reason of a FAILED DAG's failure; empty texts where the agent did not say.

    Args:
        dag: The DAG, read with details.
        own: The target's own DAG of this scale-out: it may know a reason that was lost here.
    """
    node = next((node for node in dag.nodes if node.state is State.FAILED), dag.current_node)
    sub_task = speaking_sub_task(node)
    agent = sub_task.execute_agent if sub_task else None
    logs = sub_task.task_logs if sub_task else ()
    last_log = logs[-1] if logs else "it left no log line"
    reason, is_lost = last_log, False
    if dag.is_failed and node is not None and sub_task is not None:
        reason = reason_of(dag, node, own)
        reason, is_lost = reason or LOST, not reason
    return Failure(
        stage=dag.stage,
        max_stage=dag.max_stage,
        node=node.title if node else dag.name,
        agent=joined_address(agent.ip, agent.port) if agent else "an unnamed agent",
        last_log=last_log,
        reason=reason,
        is_lost=is_lost,
    )


def last_words_of(dag: Dag, node: Node) -> str:
    """Give a node's log in one line: why it FAILED, else its last line; empty: nothing."""
    if node.state is State.FAILED and node.sub_tasks:
        return reason_of(dag, node) or LOST
    sub_task = speaking_sub_task(node)
    return sub_task.task_logs[-1] if sub_task and sub_task.task_logs else ""


def next_poll_seconds(
    dag: Dag | None,
    unchanged_seconds: float,
    longest_seconds: float,
    unended_seconds: float = 0.0,
) -> float:
    """Decide how long to pause: often where the DAG may end, and no sooner than it can.

    Args:
        dag: The DAG at the last look; None when there was no answer.
        unchanged_seconds: How long nothing has changed.
        longest_seconds: The slowest rhythm the operator allows.
        unended_seconds: The slowest rhythm while it cannot have ended yet, where that may be slower
            still; a failure may be known as late as that.
    """
    if dag is None:
        return longest_seconds
    soonest = soonest_end_seconds(dag)
    pause = max(soonest, unchanged_seconds * STILL_SHARE, QUICKEST_SECONDS)
    return max(min(pause, longest_seconds), min(soonest, unended_seconds))


def soonest_end_seconds(dag: Dag) -> float:
    """Give the seconds that must pass before a DAG can have succeeded, or be undone; 0: any moment.

    It may fail sooner: every node can.
    """
    waiting = dag.stage - 1 if dag.operator is Operator.ROLLBACK else dag.max_stage - dag.stage
    node = dag.current_node
    begins = node is None or node.state is State.PENDING
    return LOOK_SECONDS * (2 * max(waiting, 0) + begins)


def _stages_done(dag: Dag) -> int:
    if dag.is_done:
        return dag.max_stage
    if not dag.nodes:
        return max(dag.stage - 1, 0)
    undone = Operator.ROLLBACK
    return sum(n.state is State.SUCCEED and n.operator is not undone for n in dag.nodes)


def _node_changes(old: Node | None, node: Node, number: int, dag: Dag) -> tuple[Change, ...]:
    changes: list[Change] = []
    place = f"node={node.title!r} stage={number}/{dag.max_stage}"
    undoing = " operator=ROLLBACK" if node.operator is Operator.ROLLBACK else ""
    was = (old.state, old.operator) if old else (State.PENDING, Operator.RUN)
    if was != (node.state, node.operator):
        match node.state:
            case State.RUNNING:
                changes.append(Change("dag.node_started", f"dag.node_started {place}{undoing}"))
            case State.SUCCEED:
                changes.append(Change("dag.node_ended", f"dag.node_ended {place}{undoing}"))
            case State.FAILED:
                why = last_words_of(dag, node)
                changes.append(Change("dag.node_failed", f"dag.node_failed {place} log={why!r}"))
            case State.PENDING | State.READY:
                pass
            case _:
                changes.append(Change("dag.node_state", f"dag.node_state {place} {node.state}"))
    if node.state is State.RUNNING and old and any(_logs(node)) and _logs(old) != _logs(node):
        last = last_words_of(dag, node)
        changes.append(Change("dag.node_spoke", f"dag.node_spoke {place} log={last!r}"))
    return tuple(changes)


def _logs(node: Node) -> list[tuple[str, ...]]:
    # Not how many lines: of long logs only the tail is kept.
    return [sub_task.task_logs for sub_task in node.sub_tasks]
