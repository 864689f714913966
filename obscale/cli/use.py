"""`obscale use CLUSTER`: gives a tenant another number of units, and proves that it has them."""

import sys
from contextlib import ExitStack
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from obscale.cli.apply_batch import although_unknown
from obscale.cli.busy import busy, silence_shown
from obscale.cli.exits import Exit, end_stopped, end_with, error_object, exit_code_of
from obscale.cli.follow_scale_out import named_cluster
from obscale.cli.local_prefect import require_prefect, settle
from obscale.cli.loudness import Quiet, Verbose, aloud
from obscale.cli.options import AsJson, ClusterName, WantedProfile
from obscale.cli.plan import checked_profile
from obscale.cli.plan_view import show_findings
from obscale.cli.run_view import LiveRun, show_proofs
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import as_text, complain_of, label, open_console, reader_line, say_json
from obscale.connect.connections import SecretStore, cluster_connected, known_cluster
from obscale.errors import ObscaleError, PreflightError, SpecError
from obscale.events import Event, Posting, UseReported, UseSettled
from obscale.preflight.finding import line_of
from obscale.report.page import use_command
from obscale.report.use import UseReport
from obscale.request.models import ClusterSpec
from obscale.request.use import Use
from obscale.use.result import UsePreflight
from obscale.use.run import look_before

Tenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="The tenant.")]
UnitNum = Annotated[
    int, typer.Option("--unit-num", metavar="N", help="Units it is to have in each of its zones.")
]
PlanOnly = Annotated[
    bool, typer.Option("--plan", help="Say what it would gain and what moves; send nothing.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it is sent.")]


def use(
    cluster: ClusterName,
    tenant: Tenant,
    unit_num: UnitNum,
    plan: PlanOnly = False,
    yes: Yes = False,
    as_json: AsJson = False,
    profile: WantedProfile = None,
    _quiet: Quiet = False,
    _verbose: Verbose = False,
) -> None:
    """Give a tenant another number of units in each of its zones, as a cluster that grew can bear.

    OceanBase places new units at once on servers that have none of this tenant, and then moves data
    to them. Running it again is safe: it takes up what is under way, and proves what is there.

    Exit: 0 BALANCED (with --plan: ready), 1 blocked or failed, 2 bad input, 3 cannot reach,
    130 ended by Ctrl-C, 143 by SIGTERM or SIGHUP.
    """
    again = use_command(cluster, tenant, unit_num)
    try:
        if not (plan or yes or sys.stdin.isatty()):
            raise SpecError("use: nobody is there to answer", f"{again} --yes")
        where, orders, secret_store = named_cluster(cluster)
        weights = checked_profile(profile) or (orders[0].profile if orders else "prod")
        order = _order(where, tenant, unit_num).model_copy(update={"profile": weights})
        if plan or not yes:
            seen = _look(order, secret_store, cluster)
            if plan:
                _show_plan(order, seen, again, as_json=as_json)
            order = _ask(order, seen, again, open_console(stderr=as_json))
        ending = _run(order, secret_store, cluster, again, as_json=as_json)
    except ObscaleError as error:
        end_with(error, as_json=as_json)
    if as_json:
        say_json(_as_data(*ending))
    raise typer.Exit(ending[1])


def _order(where: str | ClusterSpec, tenant: str, unit_num: int) -> Use:
    """Make the order.

    Raises:
        SpecError: A word is none that can be asked for.
    """
    try:
        return Use(cluster=where, tenant=tenant, unit_num=unit_num)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        name = "--" + str(first["loc"][0]).replace("_", "-")
        hint = "write how many units it is to have in each zone" if "num" in name else "name it"
        raise SpecError(f"{name}: {first['msg']}", hint) from None


def _look(order: Use, secret_store: SecretStore, named: str) -> UsePreflight:
    async def look() -> UsePreflight:
        async with cluster_connected(order.cluster, secret_store) as link:
            return await look_before(link, order, will_be_asked=True)

    with busy(f"use: looks at {named}"), silence_shown(open_console(stderr=True)):
        return PROGRAM.run(look())


def _show_plan(order: Use, seen: UsePreflight, again: str, *, as_json: bool) -> None:
    """Show what would be done, and end the program."""
    ready = not seen.findings.blockers
    if as_json:
        say_json(
            {
                "cluster": order.cluster_name,
                "tenant": order.tenant,
                "unit_num": order.unit_num,
                "unit_num_before": seen.unit_num,
                "profile": order.profile,
                "ready": ready,
                "verdict": seen.findings.verdict,
                "gain": seen.gain,
                "findings": [f.model_dump(mode="json") for f in seen.findings.by_weight()],
                "next": again if ready else seen.findings.remedies,
            }
        )
    else:
        _show_look(open_console(), order, seen, again)
    raise typer.Exit(Exit.DONE if ready else Exit.REFUSED)


def _show_look(console: Console, order: Use, seen: UsePreflight, again: str) -> None:
    ready = not seen.findings.blockers
    verdict = label(seen.findings.verdict).upper()
    with aloud(console):
        line = as_text(verdict, style="bold green" if ready else "bold red")
        line.append_text(as_text(f" ({order.profile})  next: ", style="not bold default"))
        line.append_text(as_text(again if ready else seen.findings.remedies, style="bold default"))
        console.print(line, soft_wrap=True)
    console.print(as_text(seen.gain), soft_wrap=True)
    show_findings(console, seen.findings.by_weight())


def _ask(order: Use, seen: UsePreflight, again: str, console: Console) -> Use:
    """Show what would be done and ask; ends the program on no, and where a rule blocks.

    Returns:
        The order as it was answered: who says yes accepts what was shown as unknown.
    """
    _show_look(console, order, seen, again)
    if seen.findings.blockers:
        reasons = "; ".join(line_of(finding) for finding in seen.findings.blockers)
        raise PreflightError(f"blocked by preflight: {reasons}", seen.findings.remedies)
    unknown = seen.findings.unknown
    question = f"Set unit_num of {order.target} of {order.cluster_name} to {order.unit_num}"
    with PROGRAM.asking():
        typer.confirm(
            reader_line(f"{question}{although_unknown(unknown)}?"), abort=True, err=console.stderr
        )
    return order.model_copy(update={"allow_unknown": True}) if unknown else order


Ending = tuple[UseReport | None, Exit, ObscaleError | None]


def _run(order: Use, secret_store: SecretStore, named: str, again: str, *, as_json: bool) -> Ending:
    """Run the flow in this process; whoever ends the program is told what goes on without it."""
    settle()
    PROGRAM.run(_resolve(order, secret_store))
    require_prefect(to_record=True)
    where = _Position(again)
    PROGRAM.stands(where.words, records=True)
    from obscale.tasks.runtime.sigterm import handle_sigterm  # noqa: PLC0415 - Prefect reads its settings at import

    handle_sigterm()
    try:
        return PROGRAM.run(_run_flow(order, open_console(stderr=as_json), where, named))
    except Exception as error:
        error.add_note(" ".join(filter(None, where.words())))
        raise
    except BaseException as stop:  # noqa: BLE001 - a signal, or Prefect; this ends
        end_stopped(stop, *where.words(), as_json=as_json)


async def _resolve(order: Use, secret_store: SecretStore) -> None:
    """See that every named secret is there, before anything is started."""
    await known_cluster(order.cluster, secret_store)


class _Position:
    """Where the run stands, learned from what its tasks tell."""

    def __init__(self, again: str) -> None:
        self._again = again
        self._dag = ""
        self._is_sent = False

    def hear(self, event: Event) -> None:
        """Take one event of the run."""
        match event:
            case Posting():
                self._is_sent = True
            case UseSettled(submitted=submitted):
                self._dag = submitted.dag_id or ""
            case _:
                pass

    def words(self) -> tuple[str, str]:
        """Say what stands now, and the next step; the step may be empty."""
        if self._dag:
            return f"DAG {self._dag} goes on in the cluster", f"{self._again} takes it up"
        if self._is_sent:
            return "it was sent, and may be carried out", f"{self._again} looks, and takes it up"
        return "nothing was sent", ""


async def _run_flow(order: Use, console: Console, where: _Position, named: str) -> Ending:
    reports: list[UseReport] = []
    error: ObscaleError | None = None
    with LiveRun(console, f"{order.target} → {order.unit_num}") as live, ExitStack() as heard:
        # Shown before Prefect is imported, which takes a second or two.
        from obscale.flows.use import use as use_flow  # noqa: PLC0415 - Prefect reads its settings at import
        from obscale.tasks.runtime.journal import listening  # noqa: PLC0415
        from obscale.tasks.runtime.own_process import Told, run_here  # noqa: PLC0415
        from obscale.tasks.runtime.person import asking  # noqa: PLC0415

        told = Told()

        def keep(event: Event) -> None:
            where.hear(event)
            if isinstance(event, UseReported):
                reports.append(event.report)
                told.end(event.ended_by)

        heard.enter_context(listening(live.hear))
        heard.enter_context(listening(keep))
        running = use_flow(
            cluster=order.cluster,
            tenant=order.tenant,
            unit_num=order.unit_num,
            profile=order.profile,
            allow_unknown=order.allow_unknown,
            time_limits=order.time_limits,
        )
        try:
            with asking((named,)):
                await run_here(running, told)
        except ObscaleError as failed:
            error = failed
    report = reports[-1] if reports else None
    if report and report.proofs:
        show_proofs(console, report.proofs)
        style = "bold green" if report.outcome == "verified" else "bold red"
        with aloud(console):
            line = f"{order.target} of {order.cluster_name}: {report.balance}"
            console.print(as_text(line, style=style), soft_wrap=True)
    if error:
        complain_of(error)
    return report, exit_code_of(error) if error else Exit.DONE, error


def _as_data(report: UseReport | None, code: Exit, error: ObscaleError | None) -> dict[str, object]:
    told: dict[str, object] = {"exit_code": int(code)}
    if report:
        told["report"] = report.model_dump(mode="json")
    if error:
        told["error"] = error_object(error)
    return told
