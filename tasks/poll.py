"""Follows the DAG to its end, or to a limit, on any cluster agent that answers."""

from typing import Final

from prefect.runtime import task_run

from obscale.agent.models import Dag
from obscale.connect.connections import Connections
from obscale.events import lines_to
from obscale.follow.progress import Change, progress_of
from obscale.follow.run import follow, learn_members, publish_moves
from obscale.recovery.read import diagnosed, error_of
from obscale.request.removal import Removal
from obscale.request.scale_out import ScaleOut
from obscale.scale_out_dag import is_hollow
from obscale.submit.result import Submitted
from obscale.tasks.runtime.blocks import open_connections
from obscale.tasks.runtime.journal import ProgressNote, artifact_key, publish, publish_line
from obscale.tasks.runtime.retries import repeatable_task
from obscale.text import for_terminal

TIME_LIMIT_SECONDS: Final = 90_000
"""Above the longest deadline a request may set, 86400 s; the loop itself keeps the deadline."""
ALL_DONE: Final = 100.0
"""Percent."""


def poll_name() -> str:
    """Name the task run after the DAG it follows, also where the DAG has ended long ago."""
    submitted = task_run.parameters.get("submitted")
    dag_id = getattr(submitted, "dag_id", None)
    return for_terminal(f"poll DAG {dag_id}") if dag_id else "poll: the DAG is not known"


@repeatable_task(
    "poll", run_name=poll_name, timeout_seconds=TIME_LIMIT_SECONDS, pauses_seconds=(1, 5, 15)
)
async def poll(order: ScaleOut, submitted: Submitted) -> Dag | None:
    """Follow the DAG to its end, say each change once, and move one progress artifact.

    Returns:
        The DAG as it ended, done; None where the node was a member already, and nobody tells which
        DAG has made it one.

    Raises:
        DagFailedError: It ended FAILED; names stage, agent, last log line and the diagnosis.
        DagRolledBackError: It ended SUCCEED with operator ROLLBACK: nothing was added.
        DagStalledError: One of the order's time limits was reached; the DAG may still go on.
    """
    if submitted.dag_id is None:
        publish_line("poll", "poll.skipped why='already a member'")
        # An earlier run, killed half-way, may have left its bar where the DAG was then.
        await progress_note(order).show(ALL_DONE, "the node is a member already")
        return None
    async with open_connections(order, proven=True) as link:
        await learn_members(link, lines_to(publish, "poll"))
        dag = await _watch_dag(link, order, submitted.dag_id)
        well = dag.is_done and not is_hollow(dag)
        diagnosis = None if well else await diagnosed(link, dag.id, publish)
    if failed := error_of(dag, diagnosis, order.cluster):
        raise failed
    return dag


def progress_note(order: ScaleOut | Removal) -> ProgressNote:
    """Give the bar of an order; the newest one of an order is the one that is shown."""
    return ProgressNote(artifact_key("progress", order.cluster_name, order.target))


async def _watch_dag(link: Connections, order: ScaleOut, dag_id: str) -> Dag:
    """Follow a DAG until it moves no more by itself; tell each change, move the bar.

    Raises:
        DagStalledError: Deadline, stall or silence limit reached.
        AgentRefusedError: The agents refuse to show the DAG, e.g. a changed root password.
    """
    note = progress_note(order)

    async def saw(dag: Dag, changes: tuple[Change, ...]) -> None:
        progress = progress_of(dag)
        publish_moves(publish, dag, changes)
        await note.show(progress.percent, progress.text)

    return await follow(
        link.cluster, dag_id, order.time_limits, saw=saw, say=lines_to(publish, "poll")
    )
