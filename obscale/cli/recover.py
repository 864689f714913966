"""`obscale recover CLUSTER [DAG] --retry|--roll-back`: one decision of a person's, carried out."""

import asyncio
import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from obscale.agent.models import Dag
from obscale.cli.bedside import (
    Bedside,
    ClusterName,
    DagId,
    at_bedside,
    see_off,
    show_diagnosis,
    watch_live,
)
from obscale.cli.ending import Exit, end_with
from obscale.cli.plan import AsJson
from obscale.cure import Undone, insist, retry, roll_back
from obscale.doctor import examine
from obscale.errors import ObscaleError, SpecError
from obscale.follow import learn_members
from obscale.report import ScaleOutReport
from obscale.rules.consequences import Remedy
from obscale.rules.progress import Change

Retry = Annotated[bool, typer.Option("--retry", help="Undo and repeat the failed stage, go on.")]
RollBack = Annotated[bool, typer.Option("--roll-back", help="Undo the whole scale-out.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before acting.")]
Loss = Annotated[
    bool,
    typer.Option(
        "--acknowledge-data-loss",
        help="Accept that data is deleted which this scale-out did not make.",
    ),
]


def recover(
    cluster: ClusterName,
    dag: DagId = None,
    wants_retry: Retry = False,
    wants_roll_back: RollBack = False,
    yes: Yes = False,
    acknowledged: Loss = False,
    as_json: AsJson = False,
) -> None:
    """Show why a scale-out failed and what each way out does and destroys; take one; follow it.

    Dead ends are refused, whatever is acknowledged.

    Exit: 0 verified after --retry, or undone to the end after --roll-back; 1 refused or failed,
    2 bad input, 3 cannot reach.
    """
    console = Console(stderr=as_json)
    try:
        remedy = _one_of(wants_retry, wants_roll_back)
        ending = asyncio.run(_recover(cluster, dag, remedy, acknowledged, yes, console))
    except ObscaleError as error:
        end_with(error, as_json=as_json)
    if as_json:
        typer.echo(json.dumps(_as_object(ending), ensure_ascii=False))
    raise typer.Exit(Exit.DONE)


def _one_of(wants_retry: bool, wants_roll_back: bool) -> Remedy:
    if wants_retry is wants_roll_back:
        raise SpecError("recover: say what is to be done", "either --retry or --roll-back")
    return Remedy.RETRY if wants_retry else Remedy.ROLLBACK


async def _recover(
    cluster: str,
    dag_id: str | None,
    remedy: Remedy,
    acknowledged: bool,
    yes: bool,
    console: Console,
) -> ScaleOutReport | Undone:
    async with at_bedside(cluster, dag_id) as bedside:
        link, order = bedside.link, bedside.order
        diagnosis = await examine(link, bedside.dag.id)
        show_diagnosis(console, diagnosis)
        insist(diagnosis, remedy, cluster, acknowledged=acknowledged)
        if not yes:
            _ask(remedy, order.target)
            # The answer may have taken its time: what was safe then need not be now.
            diagnosis = await examine(link, bedside.dag.id)
            insist(diagnosis, remedy, cluster, acknowledged=acknowledged)
        await learn_members(link.cluster, link.target.address, lambda text: _say(console, text))
        if remedy is Remedy.RETRY:
            await retry(link, diagnosis, lambda text: _say(console, text))
            return await see_off(bedside, await watch_live(bedside, console), console)
        return await _undo(bedside, acknowledged, console)


async def _undo(bedside: Bedside, acknowledged: bool, console: Console) -> Undone:
    async def saw(_dag: Dag, changes: tuple[Change, ...]) -> None:
        for change in changes:
            _say(console, change.text)

    diagnosis = await examine(bedside.link, bedside.dag.id)
    undone = await roll_back(
        bedside.link,
        diagnosis,
        bedside.order.patience,
        saw=saw,
        say=lambda text: _say(console, text),
        acknowledged=acknowledged,
    )
    console.print(
        Text(f"{undone.target} is SINGLE again, the cluster's lock is free", style="bold green")
    )
    return undone


def _ask(remedy: Remedy, target: str) -> None:
    if not sys.stdin.isatty():
        raise SpecError("recover: nobody is there to answer", "add --yes")
    typer.confirm(f"{remedy} the scale-out of {target}?", abort=True)


def _say(console: Console, text: str) -> None:
    console.print(Text(f"  {text}", style="dim"))


def _as_object(ending: ScaleOutReport | Undone) -> dict[str, object]:
    if isinstance(ending, ScaleOutReport):
        return {"exit_code": 0, "report": ending.model_dump(mode="json")}
    return {
        "exit_code": 0,
        "undone": {"dag_id": ending.dag.id, "target": ending.target, "orphan": ending.orphan},
    }
