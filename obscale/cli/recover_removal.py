"""What `obscale recover` does about a removal: go on, undo a failed one, stop a running one."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import typer
from rich.console import Console

from obscale.agent.models import Dag
from obscale.cli.follow_scale_out import named_cluster, show_diagnosis
from obscale.cli.kept_before import removal_known
from obscale.cli.loudness import aloud
from obscale.cli.run_view import LiveRun, show_levels
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import as_text, reader_line
from obscale.cli.verify_gone import report_of
from obscale.connect.connections import Connections, cluster_connected
from obscale.errors import DagFailedError, SpecError, VerifyError
from obscale.events import DagMoved, Event
from obscale.follow.progress import Change
from obscale.recovery.read import next_step
from obscale.recovery.selection import standing
from obscale.removal.act import Does, Stopped, carry_out, why_not
from obscale.removal.failure import diagnose_removal
from obscale.removal.find import find_removal
from obscale.removal.follow import follow_removal
from obscale.removal.look import learn_staying, read_sighting, removal_connected
from obscale.removal.prove import prove_removed
from obscale.removal.run import before_in
from obscale.report.report import ScaleOutReport
from obscale.request.removal import Removal
from obscale.verify.baseline import identity_of


@dataclass(frozen=True)
class FoundRemoval:
    """A removal somebody decides about."""

    link: Connections
    order: Removal
    dag: Dag
    named: str
    """How the command line named the cluster."""

    @property
    def words(self) -> str:
        """It by its DAG and what it removes."""
        return f"DAG {self.dag.id}, the removal of {self.order.target}"


@asynccontextmanager
async def removal_of(
    cluster: str, dag_id: str | None, *, wanted: bool
) -> AsyncIterator[FoundRemoval | None]:
    """Find the removal that is meant; None: a scale-out is.

    Args:
        cluster: Name of a stored connection, or path of a request's file.
        dag_id: As obshell shows it; None: the one unfinished removal, where no scale-out is.
        wanted: Whether only a removal can be meant.

    Raises:
        SpecError: There is none, or nothing tells whom it removes.
    """
    where, _, store = named_cluster(cluster)
    async with cluster_connected(where, store) as opened:
        found = await find_removal(opened, where, dag_id)
    if found is None:
        if wanted:
            what = f"DAG {dag_id} is none" if dag_id else "no single removal is unfinished"
            raise SpecError(f"recover --stop: {what}", "name the DAG of a removal")
        yield None
        return
    dag, order = found
    async with removal_connected(order, store) as link:
        await learn_staying(link, order, _unheard)
        yield FoundRemoval(link, order, dag, cluster)


async def recover_removal(
    found: FoundRemoval, does: Does | None, console: Console, *, yes: bool
) -> ScaleOutReport | Stopped:
    """Carry out one decision about a removal.

    Raises:
        DagFailedError: What is wanted is not safe, or failed.
        SpecError: Nobody is there to answer, or nothing was decided.
    """
    link, order, dag, dag_id = found.link, found.order, found.dag, found.dag.id
    console.print(as_text(f"{found.words}: {standing(dag)}", style="dim"))
    if does is None:
        if dag.is_failed:
            show_diagnosis(console, diagnose_removal(dag, order.target))
        raise SpecError(
            f"recover: nothing says what is to be done about {found.words}",
            "add --retry, --roll-back (both of a FAILED one) or --stop (also of a running one)",
        )

    def say(text: str) -> None:
        console.print(as_text(f"  {text}", style="dim"))

    async def saw(_dag: Dag, changes: tuple[Change, ...]) -> None:
        for change in changes:
            say(change.text)

    if dag.is_failed and does != "stop":
        show_diagnosis(console, diagnose_removal(dag, order.target))
    await _require_allowed(found, dag, does)
    _ask(found, does, yes=yes)
    # The answer may have taken its time.
    dag = await link.cluster.ask(lambda agent: agent.read_dag(dag_id))
    await _require_allowed(found, dag, does)
    _begins(found, does)
    stopped = await carry_out(link, order, dag, does, saw=saw, say=say)
    return _told(stopped, console) if stopped else await to_its_end(found, console)


async def _require_allowed(found: FoundRemoval, dag: Dag, does: Does) -> None:
    """See that a decision about a removal may be carried out as things stand.

    Raises:
        DagFailedError: It may not; nothing was sent.
    """
    why = why_not(dag, await read_sighting(found.link), found.order.target, does)
    if not why:
        return
    if does == "stop":
        hint = f"obscale recover {found.named} {dag.id} --retry, once it is FAILED"
    elif dag.is_failed:
        hint = next_step(diagnose_removal(dag, found.order.target), found.named)
    else:
        hint = f"obscale recover {found.named} {dag.id} --stop ends a running one"
    raise DagFailedError(f"{found.words} was not touched, nothing was sent: {why}", hint)


def _ask(found: FoundRemoval, does: Does, *, yes: bool) -> None:
    """Have a stop typed as the removal was, and all else confirmed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise SpecError(f"recover: nobody is there to answer for {found.words}", "add --yes")
    node = found.order.node
    wanted = node.agentInfo.ip if node else found.order.zone
    with PROGRAM.asking():
        if does != "stop":
            typer.confirm(reader_line(f"{does} {found.words}?"), abort=True, err=True)
            return
        typed: str = typer.prompt(
            reader_line(f"stop {found.words}, so that it stays? Type {wanted}"), err=True
        )
    if typed.strip() not in {wanted, found.order.target}:
        raise typer.Abort


def _begins(found: FoundRemoval, does: Does) -> None:
    """Let what ends the command from now on say what it may have begun."""
    what = f"{does} of {found.words}: it was sent, or about to be"
    again = f"obscale recover {found.named} {found.dag.id} --{does} takes it up"
    PROGRAM.stands(lambda: (what, again))


def _told(stopped: Stopped, console: Console) -> Stopped:
    with aloud(console):
        words = f"{stopped.target} stays a member, the cluster's lock is free"
        console.print(as_text(words, style="bold green"))
    return stopped


async def to_its_end(found: FoundRemoval, console: Console) -> ScaleOutReport:
    """Follow a removal that goes on, and prove that its target is gone.

    Raises:
        VerifyError: It is not.
    """
    order, link = found.order, found.link
    with LiveRun(console, f"{order.target} ←", attached=True) as live:

        def hear(event: Event) -> None:
            if isinstance(event, DagMoved):
                live.draw(event.dag)

        async def show(_percent: float, _words: str) -> None:
            pass

        record = await removal_known(order, identity_of(await link.read_members()))
        before = before_in(record)
        dag = await follow_removal(link, order, found.dag.id, before, publish=hear, show=show)
        proved = await prove_removed(link, order, dag, before, publish=live.hear)
    report = report_of(order, proved, dag, how="watched", record=record)
    show_levels(console, report)
    if report.error:
        raise VerifyError(
            report.error, "look at the named proofs; the DAG's success alone proves nothing"
        )
    return report


def _unheard(_event: Event) -> None:
    """Whom the cluster lists is no news here."""
