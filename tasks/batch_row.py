"""Carries out one row of a batch: judges, submits once, follows and proves.

The same steps as the flows of single orders, in one task run: a batch of a thousand rows is a
thousand task runs, not a thousand flow runs of four. Of a row that goes well Prefect keeps its log;
the report of any other is an artifact.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from obscale.agent.models import Dag
from obscale.batch.carry import carry_removal, carry_use
from obscale.batch.connections import ConnectionCache
from obscale.batch.dispatch_rows import batch_tag
from obscale.batch.kinds import plain_of
from obscale.batch.ledger import Entry, FirstRowPreflight
from obscale.batch.preflight import judge_now, seen_by_proof
from obscale.batch.slots import (
    JUDGING_SECONDS,
    PROVING_SECONDS,
    SETTLING_SECONDS,
    SUBMITTING_SECONDS,
    PrioritySlots,
    Slot,
)
from obscale.connect.connections import Connections
from obscale.errors import (
    DagFailedError,
    DagRolledBackError,
    ObscaleError,
    PreflightError,
    VerifyError,
)
from obscale.events import Reported, Verified, lines_to
from obscale.follow.progress import Change
from obscale.follow.run import follow, learn_members, publish_moves
from obscale.preflight.facts import TargetProgress
from obscale.preflight.result import Preflight
from obscale.preflight.run import concluded, judged_event
from obscale.recovery.read import diagnosed, error_of
from obscale.replacement.judge import judge_replacement, refuse_blocked
from obscale.replacement.read import read_both
from obscale.request.removal import Removal
from obscale.request.replacement import Replacement
from obscale.request.scale_out import ScaleOut
from obscale.request.use import Use
from obscale.submit.result import CalledOff, CalledOffError, Submitted
from obscale.submit.run import begin_once
from obscale.tasks.recover import poll_and_recover
from obscale.tasks.replacement import before_added, replaced_by
from obscale.tasks.runtime.baselines import Records, RemovalRecords
from obscale.tasks.runtime.journal import listening, publish, publish_line
from obscale.tasks.runtime.prefect_private import tag_task_run
from obscale.tasks.runtime.replacement_report import Halves
from obscale.tasks.runtime.report import ReportBuilder, keep_report
from obscale.tasks.runtime.retries import repeatable_task
from obscale.tasks.runtime.run_state import tags_of, tags_of_tenant
from obscale.tasks.runtime.use_report import UseBuilder, show_use_report
from obscale.text import for_terminal
from obscale.verify.levels import shortfall
from obscale.verify.run import Verification, verify_node

LOOKING_AT_ONCE: Final = 8
"""Rows of a batch that ask many questions side by side: some fifty to judge a row, some thirty to
prove it. Following a DAG, one question at a time, all may do.

With two hundred clusters at once all would else ask at the same moment and all be late: no answer
would be read within the seconds it may take, no clock be compared closely, and looks that came to
nothing be taken again.
"""
MOST_LOOKING_AT_ONCE: Final = 32
"""Where answers take longer than this process needs for them."""
SUBMITTING_AT_ONCE: Final = 8
"""Rows of a batch that look right before their POST, and write down what they saw. Prefect's server
takes one record after the other, and its client keeps so many connections open: of two hundred rows
that write side by side most would wait for longer than such a look holds.
"""
UNENDED_SECONDS: Final = 20.0
"""Longest pause between two looks at a row's DAG while it cannot have ended yet. A run by itself
looks more often then: somebody watches its bar. The end is known as soon; a failure of one of the
first nodes up to so much later, while nothing else is begun in that cluster."""
FIRST_LOOK_SECONDS: Final = 17.0
"""After a POST: a scale-out has nine nodes, see `obscale.follow.progress.soonest_end_seconds`."""
LOOK_TOLD_SECONDS: Final = 60.0
"""The list of members that the look before the POST has read is not read again so soon."""
TIME_LIMIT_SECONDS: Final = 360_000
"""Above the longest waits a request may set for lock, DAG, verification and a rollback together."""


@dataclass(frozen=True)
class Proved:
    """How a row came to its proof: by which DAG, and what was seen then."""

    submitted: Submitted
    dag: Dag | None
    """As it ended; None: nothing was submitted."""
    verification: Verification


class Gates:
    """What all rows of a batch in one process share, so that few of them are at work at once.

    Args:
        looking: Rows that judge or prove at once; None: as many as this process has time for.
    """

    def __init__(self, looking: int | None = None) -> None:
        self.looking = (
            PrioritySlots(looking)
            if looking
            else PrioritySlots(LOOKING_AT_ONCE, MOST_LOOKING_AT_ONCE)
        )
        self.submitting = PrioritySlots(SUBMITTING_AT_ONCE)


class RowRun:
    """A row on its way into a task.

    A plain class on purpose: Prefect walks through every field of models and dataclasses it is
    given, and an order knows all nodes of its cluster.

    Args:
        entry: Of the batch's ledger.
        gates: Shared by all rows of the batch.
        called_off: Whether nothing may begin now, although the row was started.
        clusters: Shared by all rows of this process.
        batch: Key of the batch.
        look: What the batch's preflight saw moments ago, where nothing has changed since; None: the
            row is judged now.
    """

    def __init__(
        self,
        entry: Entry,
        gates: Gates,
        called_off: CalledOff,
        clusters: ConnectionCache,
        batch: str,
        look: FirstRowPreflight | None = None,
    ) -> None:
        self.entry = entry
        self._gates = gates
        self.called_off = called_off
        self.clusters = clusters
        self.batch = batch
        self._look = look

    def looking(self, head_start_seconds: float) -> Slot:
        """Give this row's way to judge or prove."""
        return Slot(self._gates.looking, self.entry.cluster, head_start_seconds)

    def submitting(self, head_start_seconds: float) -> Slot:
        """Give this row's way to look before its POST, and to write down what it saw and began."""
        return Slot(self._gates.submitting, self.entry.cluster, head_start_seconds)

    def records(self, kind: type[Records]) -> Callable[[str, str], Records]:
        """Give where this row's records are kept, which are told of their DAGs in their turn."""
        return partial(kind, settling=self.submitting(SETTLING_SECONDS))

    def take_look(self) -> FirstRowPreflight | None:
        """Give the look once: whoever tries the row again looks anew."""
        look, self._look = self._look, None
        return look

    def __str__(self) -> str:
        return for_terminal(f"{plain_of(self.entry.order)} of {self.entry.cluster}")


@repeatable_task("row", run_name="{run}", timeout_seconds=TIME_LIMIT_SECONDS)
async def carry_row(run: RowRun) -> None:
    """Carry one row out, and prove it; asking again after an error is safe.

    Where the window closes, or the batch is stopped, before its request is sent, the row is put
    back.

    Raises:
        ObscaleError: It is not verified; the error says why, as the row's own flow would.
    """
    entry = run.entry
    tags = tags_of_tenant(entry.order) if isinstance(entry.order, Use) else tags_of(entry.order)
    tag_task_run({*tags, for_terminal(f"cluster:{entry.cluster}"), batch_tag(run.batch)})
    try:
        match entry.order:
            case ScaleOut() as joining:
                await _add(joining, run)
            case Removal() as leaving:
                await _remove(leaving, run)
            case Replacement() as pair:
                await _replace(pair, run)
            case Use() as changed:
                await _use(changed, run)
    except CalledOffError:
        publish_line("submit", f"submit.called_off node={entry.target}")
        entry.put_back()


async def _add(asked: ScaleOut, run: RowRun) -> None:
    entry = run.entry
    order = _impatient(asked) if entry.progress is TargetProgress.MEMBER else asked
    builder = ReportBuilder(order)
    with listening(entry.hear), listening(builder.hear):
        try:
            await _run_row(order, run)
            await _learn_what_it_follows(builder, entry)
        except ObscaleError as error:
            await _keep_report(builder, error)
            raise


async def _remove(order: Removal, run: RowRun) -> None:
    entry, builder = run.entry, ReportBuilder(order)
    with listening(entry.hear), listening(builder.hear):
        try:
            async with run.clusters.links.removal(order) as link:
                await carry_removal(
                    link,
                    order,
                    run.called_off,
                    run.looking(JUDGING_SECONDS),
                    run.submitting(SUBMITTING_SECONDS),
                    records=run.records(RemovalRecords),
                    publish=publish,
                )
            await _learn_what_it_follows(builder, entry)
            entry.host_steps = builder.report().host_steps
        except ObscaleError as error:
            await _keep_report(builder, error)
            raise


async def _replace(order: Replacement, run: RowRun) -> None:
    """Add the one node and prove it, then remove the other one, as the flow replace does.

    Where the row is put back between the two, its next turn goes on with the removal.
    """
    entry, halves = run.entry, Halves(order)
    with listening(entry.hear), listening(halves.hear):
        try:
            async with halves.adding():
                submitted = await _add_half(order, run)
            async with halves.removing(), run.clusters.links.removal(order.removal) as link:
                link.cluster.leave_out(order.leaving)
                await carry_removal(
                    link,
                    order.removal,
                    run.called_off,
                    run.looking(JUDGING_SECONDS),
                    run.submitting(SUBMITTING_SECONDS),
                    records=run.records(RemovalRecords),
                    publish=publish,
                    also=replaced_by(order, submitted.before.zones).told,
                )
            entry.host_steps = halves.now.report().host_steps
        except ObscaleError as error:
            await halves.now.learn_of_form(error)
            report = halves.report(error)
            publish(Reported(severity=_severity(error), report=report, ended_by=error))
            await keep_report(report, halves.versions)
            raise


async def _add_half(order: Replacement, run: RowRun) -> Submitted:
    """Judge both halves, then carry out the first; a member already is proved and kept.

    Raises:
        PreflightError: A rule blocks one of them.
        CalledOffError: Nothing was sent, because nothing may begin any more.
    """
    adding, links = order.addition, run.clusters.links
    async with links.addition(adding) as link:
        async with run.looking(JUDGING_SECONDS), links.removal(order.removal) as leaving:
            leaving.cluster.leave_out(order.leaving)
            facts = await read_both(link, leaving, order, publish)
        plan = judge_replacement(facts)
        seen = plan.addition
        publish(judged_event(seen))
        refuse_blocked(plan)
        if plan.findings.already_member:
            adding = _impatient(adding)
        return (await _begin_and_prove(link, adding, seen, run, order)).submitted


async def _use(order: Use, run: RowRun) -> None:
    builder = UseBuilder(order)
    with listening(run.entry.hear), listening(builder.hear):
        try:
            async with run.clusters.links.use(order) as link:
                await carry_use(
                    link,
                    order,
                    run.called_off,
                    run.looking(JUDGING_SECONDS),
                    run.submitting(SUBMITTING_SECONDS),
                    records=run.records(Records),
                    publish=publish,
                    judged=builder.take,
                )
        except ObscaleError as error:
            await show_use_report(builder.report(error), error)
            raise


async def _run_row(order: ScaleOut, run: RowRun) -> None:
    """Judge, submit, follow and verify one order in one go.

    Raises:
        CalledOffError: Nothing was sent, because nothing may begin any more.
    """
    async with run.clusters.link(run.entry.cluster, order) as (link, kept):
        if look := run.take_look():
            # Preflight had it accepted, moments ago.
            link.cluster.password_was_accepted = True
            kept.lasting = look.lasting
            before = concluded(look.preflight, publish)
        else:
            async with run.looking(JUDGING_SECONDS):
                before = await judge_now(link, order, kept, publish)
        proved = await _begin_and_prove(link, order, before, run)
        kept.prove(seen_by_proof(kept.lasting, link, proved.verification, proved.dag))


async def _begin_and_prove(
    link: Connections,
    order: ScaleOut,
    before: Preflight,
    run: RowRun,
    replaced: Replacement | None = None,
) -> Proved:
    """Submit, follow and verify one order that was judged; it may be half of a replacement.

    Raises:
        CalledOffError: Nothing was sent, because nothing may begin any more.
    """
    submitted = await begin_once(
        link,
        order,
        before,
        run.called_off,
        run.submitting(SUBMITTING_SECONDS),
        records=run.records(Records),
        publish=publish,
    )
    dag = submitted.dag
    if dag is None and submitted.dag_id:
        dag = await _followed(link, order, submitted)
    proving = run.looking(PROVING_SECONDS)
    was = before_added(replaced, submitted) if replaced else submitted.before
    verification = await verify_node(link, order, dag, was, publish=publish, gate=proving)
    levels = verification.levels
    publish(Verified(levels=levels, zones=verification.after.zones or ()))
    if not levels.is_verified:
        raise VerifyError(
            f"{order.target} {shortfall(levels.level.name, levels.lines)}",
            "look at the named proofs; the DAG's success alone proves nothing",
        )
    return Proved(submitted, dag, verification)


async def _followed(link: Connections, order: ScaleOut, submitted: Submitted) -> Dag | None:
    """Follow the DAG; where it fails, do what the order's policy says."""
    dag_id = str(submitted.dag_id)

    async def saw(dag: Dag, changes: tuple[Change, ...]) -> None:
        publish_moves(publish, dag, changes)

    say = lines_to(publish, "poll")
    await learn_members(link, say, told_within_seconds=LOOK_TOLD_SECONDS)
    limits = order.time_limits
    # Whoever names a rhythm gets that one.
    unhurried = "poll_seconds" not in limits.model_fields_set
    dag = await follow(
        link.cluster,
        dag_id,
        limits,
        saw=saw,
        say=say,
        unended_seconds=UNENDED_SECONDS if unhurried else 0.0,
        first_look_seconds=FIRST_LOOK_SECONDS if unhurried and submitted.how == "posted" else 0.0,
    )
    if dag.is_done:
        return dag
    failed = error_of(dag, await diagnosed(link, dag.id, publish), order.cluster)
    if order.on_failure != "hold" and isinstance(failed, DagFailedError | DagRolledBackError):
        return await poll_and_recover(order, submitted)
    if failed:
        raise failed
    return dag


def _impatient(order: ScaleOut) -> ScaleOut:
    """Whoever is a member already need not be watched for holding steady."""
    time_limits = order.time_limits.model_copy(update={"steady_seconds": 0})
    return order.model_copy(update={"time_limits": time_limits})


async def _keep_report(builder: ReportBuilder, error: ObscaleError) -> None:
    await builder.learn_of_form(error)
    report = builder.report(error)
    publish(Reported(severity=_severity(error), report=report, ended_by=error))
    await keep_report(report, builder.versions)


def _severity(error: ObscaleError) -> int:
    return logging.WARNING if isinstance(error, PreflightError) else logging.ERROR


async def _learn_what_it_follows(builder: ReportBuilder, entry: Entry) -> None:
    """Learn whether a row that is green now was red before; one this run has begun was not."""
    if entry.how == "posted":
        return
    await builder.learn_of_earlier()
    entry.follows = builder.report().follows
    if entry.follows:
        publish_line("report", f"report.follows {entry.follows}", logging.WARNING)
