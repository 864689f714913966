"""Which scale-out is meant by CLUSTER and DAG, how is it followed, and how does a diagnosis look?

Needs no Prefect server, except where a name is stored in one.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from obscale.agent.address import AgentAddress
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import Dag
from obscale.cli.plan import vault_for
from obscale.cli.screen import LiveRun, show_ladder
from obscale.climb import climb
from obscale.doctor import consequence_lines, error_of, examine
from obscale.errors import SpecError, VerifyError
from obscale.follow import follow, learn_members
from obscale.link import Link, Vault, cluster_connected, connected
from obscale.order import Order, orders_of
from obscale.plan.file import read_plan_file, request_of
from obscale.report import ScaleOutReport, server_rows, stage_rows
from obscale.rules.adoption import SCALE_OUT
from obscale.rules.aftermath import Aftermath, Before
from obscale.rules.asked import AgentInfoSpec, ClusterSpec, NodeSpec
from obscale.rules.case import subject_of
from obscale.rules.diagnosis import Diagnosis
from obscale.rules.ladder import shortfall
from obscale.rules.progress import Change
from obscale.rules.signs import is_hollow
from obscale.settings import Patience
from obscale.sight import look_after
from obscale.spec import read_spec

if TYPE_CHECKING:
    from tasks.notes import Happening

ClusterName = Annotated[
    str,
    typer.Argument(
        metavar="CLUSTER", help="Name of a stored connection, or the file of a request or plan."
    ),
]
DagId = Annotated[
    str | None,
    typer.Argument(metavar="DAG", help="Id of the DAG; left out: the newest scale-out."),
]
SPEC_ENDINGS: Final = {".yaml", ".yml", ".json"}


@dataclass(frozen=True)
class Bedside:
    """A scale-out somebody looks after, whoever started it."""

    link: Link
    order: Order
    dag: Dag
    is_asked: bool
    """Whether the request named this target, so that its values can be verified too."""
    named: str
    """How the command line named the cluster; the next command names it so too."""


@dataclass(frozen=True)
class Seen:
    """What the live view draws; the shape of a happening, without Prefect behind it."""

    facts: dict[str, Any]


@asynccontextmanager
async def at_bedside(cluster: str, dag_id: str | None) -> AsyncIterator[Bedside]:
    """Find the scale-out and open the connections to its cluster and its target.

    Args:
        cluster: Name of a stored connection, or path of a request's file.
        dag_id: As obshell shows it; None takes the newest scale-out of the cluster.

    Raises:
        SpecError: The cluster is not known, or there is no such scale-out.
        AgentError: No agent of the cluster could be asked.
    """
    where, orders, vault = _named(cluster)
    async with cluster_connected(where, vault) as opened:
        dag = await _find(opened.client, dag_id)
    target = subject_of(dag) or (orders[0].target if len(orders) == 1 else "")
    if not target:
        raise SpecError(
            f"DAG {dag.id} does not name its target (yet)",
            "name the request's file instead of the connection, or look again in some seconds",
        )
    asked = next((order for order in orders if order.target == target), None)
    patience = Patience()
    order = asked or Order(cluster=where, node=_node(target, ""), patience=patience)
    async with connected(order, vault) as link:
        yield Bedside(link, order, dag, asked is not None, cluster)


async def watch_live(bedside: Bedside, console: Console) -> Dag:
    """Follow the DAG to its end and draw it.

    Raises:
        DagStalledError: It did not end within its time.
        AgentError: The agents refuse to show it.
    """
    link, order = bedside.link, bedside.order

    def say(text: str) -> None:
        console.print(Text(text, style="dim"))

    await learn_members(link.cluster, link.target.address, say)
    title = f"{order.target} → {order.cluster_name}"
    with LiveRun(console, title, attached=True) as live:

        async def saw(dag: Dag, _changes: tuple[Change, ...]) -> None:
            # Only the facts are looked at.
            live.hear(cast("Happening", Seen({"dag": dag})))

        return await follow(link.cluster, bedside.dag.id, order.patience, saw=saw, say=say)


async def see_off(bedside: Bedside, dag: Dag, console: Console) -> ScaleOutReport:
    """Verify a scale-out that was carried out; of any other ending raise its error, diagnosed.

    Raises:
        DagFailedError: It is FAILED.
        DagRolledBackError: It was undone.
        VerifyError: The node is not what its DAG says.
    """
    well = dag.is_done and not is_hollow(dag)
    diagnosis = None if well else await examine(bedside.link, dag.id)
    if diagnosis:
        show_diagnosis(console, diagnosis)
    if failed := error_of(dag, diagnosis, bedside.named, told=True):
        raise failed
    report = await _verified(bedside, dag)
    show_ladder(console, report)
    if report.outcome != "verified":
        raise VerifyError(
            f"{report.target} {shortfall(report.rung, report.proofs)}",
            "look at the named proofs; the DAG's success alone proves nothing",
        )
    return report


def show_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    """Print cause, evidence and choices with their consequences."""
    place = diagnosis.place
    console.print()
    console.print(Text(f"{diagnosis.title} [{diagnosis.cause}]", style="bold"))
    # A grid, so that what does not fit a line goes on below its words, not below its mark.
    told = Table.grid(padding=(0, 1))
    told.add_row("", f"DAG {diagnosis.dag_id}, stage {place.stage}/{place.max_stage} {place.node}")
    for line in diagnosis.evidence:
        told.add_row("", Text(line, style="dim"))
    for line, choice in zip(consequence_lines(diagnosis), diagnosis.choices, strict=True):
        chosen = choice.operator is diagnosis.recommended
        style = "green" if chosen else "" if choice.safe else "red"
        told.add_row(Text("→" if chosen else "•", style=style), Text(line, style=style))
    console.print(told)


def _named(cluster: str) -> tuple[str | ClusterSpec, tuple[Order, ...], Vault]:
    path = Path(cluster)
    if path.suffix.lower() in SPEC_ENDINGS or path.is_file():
        kept = read_plan_file(path)
        # Expired or not, it names what was begun with it.
        spec = request_of(path, kept, kept.created) if kept else read_spec(path)
        orders = orders_of(spec)
        return spec.cluster, orders, vault_for(orders)
    from obscale.cli.prefect_at_home import settle  # noqa: PLC0415 - Prefect takes a second

    settle()
    from tasks.connection import PrefectVault  # noqa: PLC0415 - after the settings

    return cluster, (), PrefectVault()


async def _find(client: ClusterClient, dag_id: str | None) -> Dag:
    if dag_id is not None:
        dag = await client.ask(lambda agent: agent.read_dag(dag_id))
        if dag.name != SCALE_OUT:
            raise SpecError(f"DAG {dag_id} is {dag.name!r}, no scale-out", "name a scale-out")
        return dag
    unfinished = await client.ask(lambda agent: agent.read_unfinished_cluster_dags())
    last = await client.ask(lambda agent: agent.read_last_cluster_dag())
    found = [dag for dag in (*unfinished, last) if dag is not None and dag.name == SCALE_OUT]
    if not found:
        raise SpecError(
            "the cluster's newest DAG is no scale-out, and none is unfinished",
            "name the DAG by its id",
        )
    # An unfinished one holds the lock, so it is the newest too.
    return max(found, key=lambda dag: dag.dag_id)


def _node(target: str, zone: str, **configs: str) -> NodeSpec:
    address = AgentAddress.parse(target)
    info = AgentInfoSpec(ip=address.ip, port=address.port)
    return NodeSpec(agentInfo=info, zone=zone, obConfigs=configs)


async def _verified(bedside: Bedside, dag: Dag) -> ScaleOutReport:
    """Climb the ladder; without a request, with the zone and ports the cluster shows."""
    order = bedside.order
    after = await look_after(bedside.link)
    if not bedside.is_asked:
        order = order.model_copy(update={"node": _node_found(order.target, after)})
    climbed = await climb(bedside.link, order, dag, Before(), reached=lambda _ladder, _after: None)
    ladder, after = climbed.ladder, climbed.after
    return ScaleOutReport(
        outcome="verified" if ladder.is_verified else "failed",
        cluster=order.cluster_name,
        target=order.target,
        zone=order.node.zone,
        obConfigs=order.node.obConfigs,
        dag_id=dag.id,
        submitted_how="watched",
        stages=stage_rows(dag),
        rung=ladder.rung.name,
        proofs=ladder.lines,
        pins=ladder.pins,
        after=server_rows(after.zones or ()),
    )


def _node_found(target: str, after: Aftermath) -> NodeSpec:
    address = AgentAddress.parse(target)
    for zone in after.zones or ():
        for server in zone.servers:
            if (server.ip, server.obshell_port) == (address.ip, address.port):
                ports = {"mysql_port": str(server.sql_port), "rpc_port": str(server.svr_port)}
                return _node(target, zone.name, **ports)
    return _node(target, after.target_info.zone if after.target_info else "")
