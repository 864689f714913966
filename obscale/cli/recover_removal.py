"""What `obscale recover` does about a removal: go on, undo a failed one, stop a running one."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import typer
from rich.console import Console

from obscale.agent.models import Dag
from obscale.cli.follow_scale_out import named_cluster, show_diagnosis
from obscale.cli.loudness import aloud
from obscale.cli.run_view import LiveRun, show_levels
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import as_text, reader_line
from obscale.connect.connections import Connections, SecretStore, cluster_connected
from obscale.errors import DagFailedError, SpecError, VerifyError
from obscale.events import DagMoved, Event
from obscale.follow.progress import Change
from obscale.recovery.consequences import Remedy
from obscale.recovery.policy import refusal_of
from obscale.recovery.read import next_step
from obscale.recovery.selection import standing
from obscale.removal.act import Stopped, go_on, order_of, stop, undo, why_not_stopped
from obscale.removal.failure import diagnose_removal
from obscale.removal.follow import follow_removal
from obscale.removal.look import learn_staying, read_sighting, removal_connected
from obscale.removal.prove import prove_removed
from obscale.report.report import ScaleOutReport, stage_rows
from obscale.report.servers import server_rows
from obscale.request.models import ClusterSpec
from obscale.request.removal import Removal
from obscale.request.time_limits import TimeLimits
from obscale.scale_in_dag import REMOVALS
from obscale.scale_out_dag import SCALE_OUT
from obscale.verify.levels import shortfall

Does = Literal["retry", "roll-back", "stop"]


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
    found = await _removal_in(where, store, dag_id, wanted=wanted)
    if found is None:
        yield None
        return
    dag, order = found
    async with removal_connected(order, store) as link:
        await learn_staying(link, order, _unheard)
        yield FoundRemoval(link, order, dag, cluster)


async def _removal_in(
    where: str | ClusterSpec, store: SecretStore, dag_id: str | None, *, wanted: bool
) -> tuple[Dag, Removal] | None:
    async with cluster_connected(where, store) as opened:
        if dag_id is not None:
            dag: Dag | None = await opened.client.ask(lambda agent: agent.read_dag(dag_id))
        else:
            dags = await opened.client.ask(lambda agent: agent.read_unfinished_cluster_dags())
            removals = [each for each in dags if each.name in REMOVALS]
            growths = any(each.name == SCALE_OUT for each in dags)
            dag = removals[0] if len(removals) == 1 and not growths else None
        if dag is None or dag.name not in REMOVALS:
            if wanted:
                what = f"DAG {dag.id} is {dag.name!r}" if dag else "no single removal is unfinished"
                raise SpecError(f"recover --stop: {what}", "name the DAG of a removal")
            return None
        link = Connections(opened.client, opened.client.clients[0], opened.known.spec, None)
        order = order_of(dag, await read_sighting(link), where)
    if order is None:
        raise SpecError(
            f"DAG {dag.id} stands {standing(dag)}, and nothing tells which server it removes",
            "look again in some seconds; obscale remove with its address takes it up",
        )
    return dag, order


async def recover_removal(
    found: FoundRemoval, does: Does | None, console: Console, *, yes: bool
) -> ScaleOutReport | Stopped:
    """Carry out one decision about a removal.

    Raises:
        DagFailedError: What is wanted is not safe, or failed.
        SpecError: Nobody is there to answer, or nothing was decided.
    """
    link, order, dag = found.link, found.order, found.dag
    console.print(as_text(f"{found.words}: {standing(dag)}", style="dim"))
    if does is None:
        if dag.is_failed:
            show_diagnosis(console, diagnose_removal(dag, order.target))
        raise SpecError(
            f"recover: nothing says what is to be done about {found.words}",
            "add --retry, --roll-back (both of a FAILED one) or --stop (also of a running one)",
        )
    limits = TimeLimits()

    def say(text: str) -> None:
        console.print(as_text(f"  {text}", style="dim"))

    async def saw(_dag: Dag, changes: tuple[Change, ...]) -> None:
        for change in changes:
            say(change.text)

    if does == "stop":
        _refuse_late(found, why_not_stopped(dag, await read_sighting(link)))
        _ask(found, does, yes=yes)
        # The answer may have taken its time.
        dag = await link.cluster.ask(lambda agent: agent.read_dag(dag.id))
        _refuse_late(found, why_not_stopped(dag, await read_sighting(link)))
        _begins(found, does)
        stopped = await stop(link, dag, order.target, limits, saw=saw, say=say)
        return _told(stopped, console)
    diagnosis = diagnose_removal(dag, order.target)
    show_diagnosis(console, diagnosis)
    remedy = Remedy.RETRY if does == "retry" else Remedy.ROLLBACK
    if not dag.is_failed:
        raise DagFailedError(
            f"{found.words} was not touched: it stands {standing(dag)}",
            f"obscale recover {found.named} {dag.id} --stop ends a running one",
        )
    if refused := refusal_of(diagnosis, remedy, acknowledged=False):
        raise DagFailedError(
            f"{found.words} was not touched: {refused}", next_step(diagnosis, found.named)
        )
    _ask(found, does, yes=yes)
    _begins(found, does)
    if does == "retry":
        await go_on(link.cluster, dag, say)
        return await _to_its_end(found, console)
    return _told(await undo(link.cluster, dag, order.target, limits, saw=saw, say=say), console)


def _refuse_late(found: FoundRemoval, why: str) -> None:
    if why:
        raise DagFailedError(
            f"{found.words} was not stopped, nothing was sent: {why}",
            f"obscale recover {found.named} {found.dag.id} --retry, once it is FAILED",
        )


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


async def _to_its_end(found: FoundRemoval, console: Console) -> ScaleOutReport:
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

        dag = await follow_removal(link, order, found.dag.id, None, publish=hear, show=show)
        proved = await prove_removed(link, order, dag, None, publish=live.hear)
    levels = proved.levels
    report = ScaleOutReport(
        outcome="verified" if levels.is_verified else "failed",
        operation="removal",
        cluster=order.cluster_name,
        target=order.target,
        zone=order.zone,
        obConfigs={},
        dag_id=dag.id,
        submitted_how="watched",
        stages=stage_rows(dag),
        level=levels.level.name,
        exceptions=levels.exceptions,
        proofs=levels.lines,
        after=server_rows(proved.view.zones or ()),
    )
    show_levels(console, report)
    if not levels.is_verified:
        raise VerifyError(
            f"{order.target} {shortfall(levels.level.name, levels.lines)}",
            "look at the named proofs; the DAG's success alone proves nothing",
        )
    return report


def _unheard(_event: Event) -> None:
    """Whom the cluster lists is no news here."""
