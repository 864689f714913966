"""Follows the DAG of a removal: by its stages, and while it waits by units and data.

Nothing is cancelled from here. Where nothing moves for ten minutes it is handed over: the DAG goes
on, and the error names what most likely keeps the data, who holds the lock, and the safe way to
stop. Where obshell's hour is over while data still moves, a run with the policy `retry` has it go
on.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from obscale.agent.client import AgentClient
from obscale.agent.models import Dag, Operator, Parameter, Zone, joined_address
from obscale.clock import monotonic
from obscale.connect.connections import Connections
from obscale.errors import AgentError, DagStalledError
from obscale.events import Diagnosed, Publish, RemedyDecided, lines_to, publish_line
from obscale.follow.progress import Change, progress_of
from obscale.follow.run import follow, publish_moves
from obscale.reading import or_none
from obscale.recovery.consequences import Remedy
from obscale.removal.failure import cause_of, diagnose_removal, error_of_removal
from obscale.removal.look import read_drain
from obscale.removal.progress import (
    STANDSTILL_SECONDS,
    Drain,
    drain_of,
    has_moved,
    news_of,
    share_left,
    why_still,
    words_of,
)
from obscale.removal.result import BeforeRemoval
from obscale.request.file_name import command_name
from obscale.request.removal import Removal
from obscale.scale_in_dag import WAIT_DELETE

MOST_RETRIES: Final = 24
"""Of a wait whose hour is over: a day. While units move it is repeated, not counted."""
DRAIN_LOOK_SECONDS: Final = 3.0
"""Between two looks at units and data; the agent asks all others for its answer."""
Show = Callable[[float, str], Awaitable[None]]
"""Gets how many percent are done, and the words below the bar."""


class Following:
    """What is remembered of a removal that is followed.

    Args:
        link: Open connections.
        order: What was asked for.
        before: How the cluster stood; None: nobody has kept it.
        publish: Gets each event.
        show: Moves the bar.
    """

    def __init__(
        self,
        link: Connections,
        order: Removal,
        before: BeforeRemoval | None,
        publish: Publish,
        show: Show,
    ) -> None:
        self._link, self._order = link, order
        self._publish, self._show = publish, show
        servers = before.servers if before else ()
        self._rows = tuple(joined_address(each.ip, each.svr_port) for each in servers)
        self._first = drain_of(order, before.zones, before.observers) if before else None
        self._last: Drain | None = None
        self._zones: tuple[Zone, ...] = ()
        self._looked = 0.0
        self.moved_at = monotonic()
        """Monotonic seconds at which a number has changed last."""

    @property
    def moved_lately(self) -> bool | None:
        """Whether anything moved in the last ten minutes; None: nobody could look."""
        if self._last is None:
            return None
        return monotonic() - self.moved_at <= STANDSTILL_SECONDS

    async def saw(self, dag: Dag, changes: tuple[Change, ...]) -> None:
        """Take one look at the DAG; while it waits, look at units and data too.

        Raises:
            DagStalledError: Nothing moves any more.
        """
        publish_moves(self._publish, dag, changes)
        progress = progress_of(dag)
        node = dag.current_node
        if dag.is_terminal or node is None or node.title != WAIT_DELETE:
            if changes:
                self.moved_at = monotonic()
            await self._show(progress.percent, progress.text)
            return
        await self._look()
        if self._first is None or self._last is None:
            await self._show(progress.percent, progress.text)
            return
        one = 100.0 / dag.max_stage if dag.max_stage else 0.0
        done = progress.percent + one * (1 - share_left(self._first, self._last))
        words = words_of(self._first, self._last)
        await self._show(round(done, 1), f"{progress.text}: {words}")
        still = monotonic() - self.moved_at
        if still > min(STANDSTILL_SECONDS, self._order.time_limits.stall_seconds):
            raise await self._stalled(dag, still, words)

    async def _look(self) -> None:
        if self._last is not None and monotonic() - self._looked < DRAIN_LOOK_SECONDS:
            return
        seen = await or_none(lambda: read_drain(self._link, self._order, self._rows))
        self._looked = monotonic()
        if seen is None:
            return
        drain, self._zones = seen
        self._first = first = self._first or drain
        if self._last is None:
            publish_line(self._publish, "poll", f"poll.drains left={words_of(first, drain)!r}")
        for line in news_of(first, self._last or first, drain):
            publish_line(self._publish, "poll", line)
        if self._last is None or has_moved(self._last, drain):
            self.moved_at = self._looked
        self._last = drain

    async def _stalled(self, dag: Dag, still: float, words: str) -> DagStalledError:
        ask = self._link.cluster.ask
        parameters: tuple[Parameter, ...] | None = await or_none(
            lambda: ask(AgentClient.read_parameters)
        )
        rule, what = why_still(self._order, self._zones, parameters)
        named = command_name(self._order.cluster)
        way_out = f"{what}. To stop it: obscale recover {named} {dag.id} --stop"
        if self._last is not None and not self._last.rows:
            # Nothing is left to wait for: only whoever executes the stage has not said so.
            rule = "executor-lost"
            way_out = (
                "the agent that executes this stage is lost; once the DAG is FAILED: obscale "
                f"recover {named} {dag.id} --retry. Do not stop it, the server is gone"
            )
        return DagStalledError(
            f"DAG {dag.id} waits at stage {dag.stage}/{dag.max_stage}, and nothing of "
            f"{self._order.target} has moved for {still:.0f} s: {words} [{rule}]; the DAG goes on "
            "and holds the cluster's lock",
            way_out,
        )


async def follow_removal(
    link: Connections,
    order: Removal,
    dag_id: str,
    before: BeforeRemoval | None,
    *,
    publish: Publish,
    show: Show,
) -> Dag:
    """Follow a removal to its end; its wait has no deadline while anything moves.

    Args:
        link: Open connections.
        order: What was asked for.
        dag_id: Of its DAG.
        before: How the cluster stood; None: nobody has kept it.
        publish: Gets each event.
        show: Moves the bar.

    Returns:
        The DAG as it ended: carried out, or passed over, which proves nothing.

    Raises:
        DagFailedError: It is FAILED.
        DagRolledBackError: It was undone.
        DagStalledError: Nothing moves any more, or nobody answers.
    """
    following = Following(link, order, before, publish, show)
    # The deadline is of what obshell does by itself; here units and data say how long it takes.
    limits = order.time_limits.model_copy(update={"deadline_seconds": float("inf")})
    retries = 0
    while True:
        dag = await follow(
            link.cluster,
            dag_id,
            limits,
            saw=following.saw,
            say=lines_to(publish, "poll"),
            moved_at=lambda: following.moved_at,
        )
        if not dag.is_failed:
            break
        cause = cause_of(dag, moved_lately=following.moved_lately)
        if order.on_failure != "retry" or cause != "drain-slow" or not following.moved_lately:
            break
        if retries >= MOST_RETRIES:
            publish_line(publish, "poll", f"poll.retried_enough times={retries}")
            break
        retries += 1
        why = f"{cause}: units or data moved within the last {STANDSTILL_SECONDS / 60:.0f} minutes"
        publish(RemedyDecided(remedy=Remedy.RETRY, why=why))
        await _retry(link, dag_id, publish)
    diagnosis = None
    if dag.is_failed:
        diagnosis = diagnose_removal(dag, order.target, moved_lately=following.moved_lately)
        publish(Diagnosed(diagnosis=diagnosis))
    if failed := error_of_removal(dag, diagnosis, order.cluster):
        raise failed
    return dag


async def _retry(link: Connections, dag_id: str, publish: Publish) -> None:
    """Have a wait go on. A lost answer is settled by the next look at the DAG."""
    try:
        await link.cluster.operate(lambda agent: agent.operate_dag(dag_id, Operator.RETRY))
    except AgentError as error:
        publish_line(publish, "poll", f"poll.retry_not_taken reason={error.message!r}")
