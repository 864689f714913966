"""`obscale apply SPEC`: preflight, then the flow, with live progress."""

import asyncio
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from obscale.cli.ending import Exit, end_with, error_object, exit_code_of
from obscale.cli.plan import (
    AsJson,
    SpecPath,
    WantedProfile,
    plan_now,
    read_request,
)
from obscale.cli.plan_screen import show_plan
from obscale.cli.prefect_at_home import settle
from obscale.cli.screen import LiveRun, show_ladder
from obscale.errors import ObscaleError, SpecError
from obscale.order import Order, orders_of
from obscale.report import ScaleOutReport
from obscale.rules.asked import ScaleOutSpec

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before submitting.")]


def apply(
    spec: SpecPath, yes: Yes = False, as_json: AsJson = False, profile: WantedProfile = None
) -> None:
    """Add the nodes of a request, or of a plan kept by `obscale plan --out`, one after the other.

    A kept plan is refused once it has expired, or when the cluster is not as it was planned.

    Exit: 0 verified, 1 blocked or failed, 2 bad input, 3 cannot reach.
    """
    try:
        asked = read_request(spec, profile)
        if not yes:
            _ask(asked, str(spec))
        orders = orders_of(asked)
        settle()
        endings = asyncio.run(run_all(orders, Console(stderr=as_json)))
    except ObscaleError as error:
        end_with(error, as_json=as_json)
    if as_json:
        typer.echo(_as_json(endings))
    raise typer.Exit(max(code for _, code, _ in endings))


Ending = tuple[ScaleOutReport | None, Exit, ObscaleError | None]


async def run_all(orders: tuple[Order, ...], console: Console) -> list[Ending]:
    """Run the flow for each order, strictly one by one; the first failure ends the rest."""
    endings: list[Ending] = []
    for order in orders:
        report, error = await run_one(order, console)
        code = exit_code_of(error) if error else Exit.DONE
        endings.append((report, code, error))
        if error:
            typer.echo(f"obscale: {error}", err=True)
            left = len(orders) - len(endings)
            if left:
                typer.echo(f"obscale: {left} further nodes were not started", err=True)
            break
    return endings


async def run_one(
    order: Order, console: Console
) -> tuple[ScaleOutReport | None, ObscaleError | None]:
    """Run the scale-out flow in this process and draw it on the console."""
    from flows.scale_out import scale_out  # noqa: PLC0415 - Prefect reads its settings at import
    from tasks.notes import listening  # noqa: PLC0415

    reports: list[ScaleOutReport] = []

    def keep(happening: Any) -> None:
        if report := happening.facts.get("report"):
            reports.append(report)

    title = f"{order.target} → {order.node.zone}"
    error: ObscaleError | None = None
    with LiveRun(console, title) as live, listening(live.hear), listening(keep):
        try:
            await scale_out(
                cluster=order.cluster,
                agentInfo=order.node.agentInfo,
                zone=order.node.zone,
                obConfigs=order.node.obConfigs,
                targetAgentPassword=order.node.targetAgentPassword,
                profile=order.profile,
                allow_new_zone=order.allow_new_zone,
                overrides=order.overrides,
                patience=order.patience,
            )
        except ObscaleError as failed:
            error = failed
    report = reports[-1] if reports else None
    if report and report.proofs:
        show_ladder(console, report)
    return report, error


def _ask(spec: ScaleOutSpec, source: str) -> None:
    """Show the plan and ask; ends the program on no, and on a blocked plan."""
    made = plan_now(spec, source=source)
    show_plan(Console(), made)
    if not made.ready:
        raise typer.Exit(Exit.REFUSED)
    if not sys.stdin.isatty():
        raise SpecError("apply: nobody is there to answer", f"obscale apply {source} --yes")
    typer.confirm(f"Add {len(spec.nodes)} node(s) as planned?", abort=True)


def _as_json(endings: list[Ending]) -> str:
    import json  # noqa: PLC0415

    rows: list[dict[str, object]] = []
    for report, code, error in endings:
        row: dict[str, object] = {"exit_code": int(code)}
        if report:
            row["report"] = report.model_dump(mode="json")
        if error:
            row["error"] = error_object(error)
        rows.append(row)
    return json.dumps({"runs": rows}, indent=2, ensure_ascii=False)
