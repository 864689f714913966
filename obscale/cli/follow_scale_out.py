"""Finds the scale-out that CLUSTER and DAG mean, follows it, and shows a diagnosis.

Needs no Prefect server, except where a name is stored in one.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from obscale.agent.models import Dag
from obscale.cli.bars import show_stages
from obscale.cli.busy import busy
from obscale.cli.plan import secret_store_for
from obscale.cli.run_view import LiveRun, holding, show_levels, waiting
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import as_text, reader_line
from obscale.cli.verify import baseline_known
from obscale.connect.connections import (
    ClusterConnection,
    Connections,
    SecretStore,
    cluster_connected,
    target_connected,
)
from obscale.errors import VerifyError
from obscale.events import Event, ProofsHold, WaitsForProofs
from obscale.follow.progress import Change
from obscale.follow.run import follow, learn_members
from obscale.plan.file import read_plan_file, request_of
from obscale.recovery.diagnosis import Diagnosis
from obscale.recovery.find import find, nameless, node_found, node_of, read_in_sight, read_named
from obscale.recovery.interrupted import describe_interrupted, next_step, remains_of
from obscale.recovery.read import consequence_lines, diagnose_now, error_of
from obscale.recovery.selection import (
    Decision,
    Meant,
    named_by_id,
    of_cluster,
    of_nodes,
    standing,
)
from obscale.report.pictures import stages_of
from obscale.report.report import ScaleOutReport, server_rows, stage_rows
from obscale.request.models import ClusterSpec
from obscale.request.removal import removals_of
from obscale.request.replacement import replacements_of
from obscale.request.scale_out import ScaleOut, scale_outs_of
from obscale.request.time_limits import TimeLimits
from obscale.scale_out_dag import is_hollow
from obscale.spec import read_spec
from obscale.spec.removal import is_removal_file, read_removal
from obscale.spec.replacement import is_replacement_file, read_replacement
from obscale.verify.levels import shortfall
from obscale.verify.observation import Before
from obscale.verify.read import read_observation
from obscale.verify.run import verify_node

DagId = Annotated[
    str | None,
    typer.Argument(
        metavar="DAG",
        help="Id of the DAG; left out: that of a node in the file, or the connection's newest.",
    ),
]
SPEC_ENDINGS: Final = {".yaml", ".yml", ".json"}


@dataclass(frozen=True)
class FollowedScaleOut:
    """A scale-out somebody looks after, whoever started it."""

    link: Connections
    order: ScaleOut
    dag: Dag
    is_asked: bool
    """Whether the request named this target, so that its values can be verified too."""
    named: str
    """How the command line named the cluster; the next command names it so too."""
    words: str
    """The scale-out by its DAG and its target."""


@dataclass(frozen=True)
class Found:
    """The scale-out that is meant, and the open connections to its cluster."""

    meant: Meant
    cluster: ClusterConnection
    orders: tuple[ScaleOut, ...]
    """Of the request's nodes; none where a stored connection was named."""
    where: str | ClusterSpec
    secret_store: SecretStore
    named: str
    """How the command line named the cluster; the next command names it so too."""

    @property
    def is_asked(self) -> bool:
        """Whether the request is for this target."""
        return any(order.target == self.meant.target for order in self.orders)

    @property
    def words(self) -> str:
        """The scale-out by its DAG and its target, and whether the request is for another one."""
        target, file = self.meant.target, Path(self.named).name
        of = f"the scale-out of {target}" if target else "a scale-out that names no target"
        aside = f", which is not in {file}" if target and self.orders and not self.is_asked else ""
        return f"DAG {self.meant.dag.id}, {of}{aside}"


@asynccontextmanager
async def looking_for(
    cluster: str, dag_id: str | None, console: Console, again: str, *, unasked: bool = False
) -> AsyncIterator[Found]:
    """Find the scale-out that is meant, say which it is, and keep its cluster open.

    Args:
        cluster: Name of a stored connection, or path of a request's file.
        dag_id: As obshell shows it. None takes one of the request's own nodes, or of a stored
            connection the cluster's newest.
        console: Told which scale-out it is, and of any waiting.
        again: The command with `{dag}` where the id belongs, for a refusal.
        unasked: Whether it is to be operated without a question.

    Raises:
        SpecError: The cluster is not known, there is no such scale-out, or it may not be taken
            without being named.
        AgentError: No agent of the cluster could be asked.
    """
    where, orders, secret_store = named_cluster(cluster)
    async with cluster_connected(where, secret_store) as opened:

        async def choose() -> Decision:
            if dag_id is not None:
                return named_by_id(await read_named(opened.client, dag_id))
            seen = await read_in_sight(opened.client)
            if orders:
                targets = frozenset(order.target for order in orders)
                return of_nodes(seen, targets, Path(cluster).name)
            return of_cluster(seen, unasked=unasked)

        def say(text: str) -> None:
            console.print(as_text(text, style="dim"))

        with busy(f"looks for the scale-out at {cluster}"):
            meant = await find(choose, say, again, by_id=dag_id is not None)
        found = Found(meant, opened, orders, where, secret_store, cluster)
        where = f"{reader_line(found.words)}: {reader_line(standing(meant.dag))}"
        console.print(as_text(where, style="dim", is_said=True))
        goes_on(cluster, meant.target, meant.dag)
        yield found


@asynccontextmanager
async def followed_of(found: Found) -> AsyncIterator[FollowedScaleOut]:
    """Open the connection to the target of a scale-out that names it.

    Raises:
        SpecError: It does not, so nothing is known of the node it is about.
    """
    target, dag = found.meant.target, found.meant.dag
    if not target:
        raise nameless(dag, found.named)
    asked = next((order for order in found.orders if order.target == target), None)
    order = asked or ScaleOut(cluster=found.where, node=node_of(target), time_limits=TimeLimits())
    async with target_connected(order, found.cluster, found.secret_store) as link:
        yield FollowedScaleOut(link, order, dag, asked is not None, found.named, found.words)


async def watch_live(followed: FollowedScaleOut, console: Console) -> Dag:
    """Follow the DAG to its end and draw it.

    Raises:
        DagStalledError: It did not end within its time.
        AgentError: The agents refuse to show it.
    """
    link, order = followed.link, followed.order

    def say(text: str) -> None:
        console.print(as_text(text, style="dim"))

    await learn_members(link, say)
    title = f"{order.target} → {order.cluster_name}"
    with LiveRun(console, title, attached=True) as live:

        async def saw(dag: Dag, _changes: tuple[Change, ...]) -> None:
            goes_on(followed.named, order.target, dag)
            live.draw(dag)

        dag = await follow(link.cluster, followed.dag.id, order.time_limits, saw=saw, say=say)
    show_stages(console, stages_of(stage_rows(dag)))
    return dag


async def verify_or_raise(followed: FollowedScaleOut, dag: Dag, console: Console) -> ScaleOutReport:
    """Verify a scale-out that was carried out; of any other ending raise its error, diagnosed.

    Raises:
        DagFailedError: It is FAILED.
        DagRolledBackError: It was undone.
        VerifyError: The node is not what its DAG says.
    """
    well = dag.is_done and not is_hollow(dag)
    diagnosis = None if well else await diagnose_now(followed.link, dag.id)
    if diagnosis:
        show_diagnosis(console, diagnosis)
    if failed := error_of(dag, diagnosis, followed.named, told=True):
        raise failed
    with busy(f"verify: looks at {followed.order.target}"):
        report = await _verified(followed, dag, console)
    show_levels(console, report)
    if report.outcome != "verified":
        raise VerifyError(
            f"{report.target} {shortfall(report.level, report.proofs)}",
            "look at the named proofs; the DAG's success alone proves nothing",
        )
    return report


def goes_on(named: str, target: str, dag: Dag) -> None:
    """Let what ends the command now say where the scale-out stands, and how to follow it.

    Args:
        named: How the command line named the cluster.
        target: `ip:port` of the joining agent; empty where the DAG does not name it.
        dag: As it was read last.
    """
    left = remains_of(target, was_sent=True, dag=dag)
    PROGRAM.stands(lambda: (describe_interrupted(left), next_step(left, named)))


def show_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    """Print cause, evidence and choices with their consequences."""
    place = diagnosis.place
    console.print()
    console.print(as_text(f"{diagnosis.title} [{diagnosis.cause}]", style="bold"))
    # A grid, so that what does not fit a line goes on below its words, not below its mark.
    told = Table.grid(padding=(0, 1))
    where = f"DAG {diagnosis.dag_id}, stage {place.stage}/{place.max_stage} {place.node}"
    told.add_row("", as_text(where))
    for line in diagnosis.evidence:
        told.add_row("", as_text(line, style="dim"))
    for line, choice in zip(consequence_lines(diagnosis), diagnosis.choices, strict=True):
        chosen = choice.operator is diagnosis.recommended
        style = "green" if chosen else "" if choice.safe else "red"
        told.add_row(as_text("→" if chosen else "•", style=style), as_text(line, style=style))
    console.print(told)


def named_cluster(cluster: str) -> tuple[str | ClusterSpec, tuple[ScaleOut, ...], SecretStore]:
    """Find what CLUSTER means: a request's file, or a stored connection.

    Returns:
        The cluster, the orders of the file, and where names resolve.

    Raises:
        SpecError: The file is wrong.
        PrefectUnreachableError: The connection cannot be read.
    """
    path = Path(cluster)
    if path.suffix.lower() in SPEC_ENDINGS or path.is_file():
        if is_removal_file(path):
            spec_of = read_removal(path)
            return spec_of.cluster, (), secret_store_for(removals_of(spec_of))
        if is_replacement_file(path):
            pairs = read_replacement(path)
            return pairs.cluster, (), secret_store_for(replacements_of(pairs))
        kept = read_plan_file(path)
        # Expired or not, it names what was begun with it.
        spec = request_of(path, kept, kept.created) if kept else read_spec(path)
        orders = scale_outs_of(spec)
        return spec.cluster, orders, secret_store_for(orders)
    from obscale.cli.local_prefect import require_prefect, settle  # noqa: PLC0415 - takes a second

    settle()
    require_prefect()
    from obscale.tasks.runtime.blocks import PrefectSecrets  # noqa: PLC0415 - after the settings

    return cluster, (), PrefectSecrets()


async def _verified(followed: FollowedScaleOut, dag: Dag, console: Console) -> ScaleOutReport:
    """Prove each level; without a request, with the zone and ports the cluster shows."""
    order = followed.order
    after = await read_observation(followed.link)
    if not followed.is_asked:
        order = order.model_copy(update={"node": node_found(order.target, after)})

    def show(event: Event) -> None:
        match event:
            case WaitsForProofs(what=what, seconds=seconds):
                console.print(as_text(waiting("verify", what, seconds), style="dim"))
            case ProofsHold():
                console.print(as_text(holding(event), style="dim"))
            case _:
                pass

    baseline = await baseline_known(followed.link, order)
    verification = await verify_node(
        followed.link,
        order,
        dag,
        baseline.before if baseline else Before(),
        publish=show,
    )
    levels, after = verification.levels, verification.after
    return ScaleOutReport(
        outcome="verified" if levels.is_verified else "failed",
        cluster=order.cluster_name,
        target=order.target,
        zone=order.node.zone,
        obConfigs=order.node.obConfigs,
        dag_id=dag.id,
        submitted_how="watched",
        stages=stage_rows(dag),
        level=levels.level.name,
        exceptions=levels.exceptions,
        before=server_rows(baseline.zones) if baseline else (),
        before_at=baseline.at if baseline else None,
        proofs=levels.lines,
        persist_statements=levels.persist_statements,
        after=server_rows(after.zones or ()),
    )
