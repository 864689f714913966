"""What is left in the cluster when a run ends before its DAG, and the next command."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import Dag
from obscale.events import DagMoved, Event, Posting, SubmitSettled
from obscale.follow.progress import progress_of
from obscale.maintenance_lock import holds_lock


class InterruptedState(BaseModel):
    """What a run leaves behind in the cluster, as the last look found it."""

    model_config = ConfigDict(frozen=True)

    target: str
    """`ip:port` of the agent that was to join, or to leave; of a whole zone its name."""
    leaves: bool = False
    """Whether it is a removal."""
    was_sent: bool
    """Whether a POST was sent, or a DAG taken up; else nothing is left behind."""
    dag_id: str | None = None
    stands: str = ""
    """Stage and state of the DAG, e.g. `stage 4/9 Wait remote deploy finish (RUNNING)`."""
    is_moving: bool = True
    """Whether the DAG goes on by itself; also where nobody told."""
    is_done: bool = False
    """Whether it was carried out, so that only the verification is missing."""
    is_failed: bool = False
    """Whether it stands FAILED and keeps the cluster's lock."""
    identity: str = ""
    """What the target agent said it is; empty: it did not answer."""
    unread: str = ""
    """Why the last look failed; then the rest is as the run itself last saw it."""


@dataclass
class LastSeen:
    """What a run itself has seen of its scale-out so far, by what it tells."""

    was_sent: bool = False
    """Whether a POST was sent, or a DAG taken up. Refusals count as a POST whose answer is not
    known: looking again is never wrong."""
    dag_id: str | None = None
    dag: Dag | None = None

    def hear(self, event: Event) -> None:
        """Take one event of the run."""
        match event:
            case Posting():
                self.was_sent = True
            case SubmitSettled(submitted=submitted) if submitted.dag_id:
                self.was_sent, self.dag_id = True, submitted.dag_id
            case DagMoved(dag=dag):
                self.dag = dag
            case _:
                pass


def remains_of(
    target: str,
    *,
    was_sent: bool,
    dag: Dag | None,
    dag_id: str | None = None,
    leaves: bool = False,
) -> InterruptedState:
    """Give what is left behind, from a DAG read with details.

    Args:
        target: `ip:port`.
        was_sent: Whether a POST was sent or a DAG taken up.
        dag: The scale-out of this target; None: none was found, or it could not be read.
        dag_id: Its id where it could not be read.
        leaves: Whether it is a removal.
    """
    if dag is None:
        return InterruptedState(target=target, leaves=leaves, was_sent=was_sent, dag_id=dag_id)
    return InterruptedState(
        target=target,
        leaves=leaves,
        was_sent=was_sent,
        dag_id=dag.id,
        stands=progress_of(dag).text,
        is_moving=not dag.is_terminal,
        is_done=dag.is_done,
        is_failed=dag.is_failed and holds_lock(dag),
    )


def describe_interrupted(left: InterruptedState) -> str:
    """Say what stands now, in one line without a full stop at its end."""
    if not left.was_sent:
        return "nothing was sent"
    if left.dag_id is None:
        return _without_dag(left)
    stands = f" was last seen at {left.stands}" if left.unread else f" is at {left.stands}"
    stands = stands if left.stands else ""
    if left.is_moving:
        fate = " and goes on by itself" if stands else " goes on by itself"
    elif left.is_failed:
        fate = " and keeps the cluster's lock"
    elif left.leaves:
        fate = "; that it is gone is not proved yet" if left.is_done else "; it was undone"
    else:
        fate = "; the node is not verified yet" if left.is_done else "; nothing was added"
    unread = f"; now it could not be read: {left.unread}" if left.unread else ""
    return f"DAG {left.dag_id}{stands}{fate}{_identity(left)}{unread}"


def next_step(
    left: InterruptedState, cluster: str, again: str = "running the same request again"
) -> str:
    """Give the next command; empty where there is nothing to do.

    Args:
        left: What is left behind.
        cluster: How a command names the cluster: a stored connection, or a request's file.
        again: How the same request is run again.
    """
    if not left.was_sent:
        return ""
    if left.dag_id is None:
        return f"{again} looks first, and takes up what is there"
    watch = f"obscale watch {cluster} {left.dag_id}"
    if left.leaves:
        return _next_of_removal(left, cluster, again)
    if left.is_moving:
        return f"{watch} follows it; {again} takes it up and proves the node"
    if left.is_done:
        return f"{again} verifies the node"
    return f"{watch} says why, and what is safe"


def _without_dag(left: InterruptedState) -> str:
    if left.leaves:
        if left.unread:
            return f"whether the removal of {left.target} was begun is not known: {left.unread}"
        return f"no removal of {left.target} is known to the cluster (yet)"
    if left.unread:
        return f"whether the scale-out of {left.target} was begun is not known: {left.unread}"
    return f"no scale-out of {left.target} is known to the cluster (yet){_identity(left)}"


def _next_of_removal(left: InterruptedState, cluster: str, again: str) -> str:
    if left.is_failed:
        return f"obscale recover {cluster} {left.dag_id} says why, and what is safe"
    if left.is_moving:
        stop = f"obscale recover {cluster} {left.dag_id} --stop"
        return f"{again} takes it up and proves that it is gone; {stop} lets the server stay"
    return f"{again} proves that it is gone"


def _identity(left: InterruptedState) -> str:
    return f"; {left.target} is {left.identity!r}" if left.identity else ""
