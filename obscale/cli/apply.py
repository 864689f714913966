"""`obscale apply SPEC`: runs preflight and the flow, and shows their progress."""

import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

import typer
from rich.console import Console

from obscale.cli.apply_batch import although_unknown, apply_batch
from obscale.cli.bars import show_stages
from obscale.cli.exits import Exit, end_stopped, end_with, error_object, exit_code_of
from obscale.cli.interrupted import RunPosition
from obscale.cli.local_prefect import require_prefect, settle
from obscale.cli.loudness import Quiet, Verbose
from obscale.cli.options import AnyPath, AsJson, WantedCluster, WantedProfile
from obscale.cli.plan import (
    Asked,
    checked_profile,
    plan_now,
    read_request,
    refuse_cluster_of_many,
    secret_store_for,
)
from obscale.cli.plan_view import show_plan
from obscale.cli.run_view import LiveRun, show_levels, show_replaced, show_steps_left
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import complain, complain_of, open_console, reader_line, say_json
from obscale.connect.connections import (
    EnvironmentSecrets,
    SecretStore,
    known_cluster,
    resolve_secret,
)
from obscale.errors import ObscaleError, PreflightError, SpecError
from obscale.events import Event, Reported
from obscale.plan import Plan
from obscale.plan.file import read_plan_file
from obscale.preflight.facts import TargetProgress
from obscale.preflight.finding import AS_ASKED, Answer, Findings
from obscale.preflight.unjudged import held_back
from obscale.report.pictures import stages_of
from obscale.report.report import ScaleOutReport
from obscale.request.models import ScaleOutSpec
from obscale.request.removal import Removal
from obscale.request.replacement import Replacement
from obscale.request.scale_out import ScaleOut, scale_outs_of
from obscale.request.start_options import ObConfigs
from obscale.spec.batch import is_batch_file

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before submitting.")]


def apply(
    spec: AnyPath,
    yes: Yes = False,
    as_json: AsJson = False,
    profile: WantedProfile = None,
    cluster: WantedCluster = None,
    _quiet: Quiet = False,
    _verbose: Verbose = False,
) -> None:
    """Add the nodes of a request, or of a plan kept by `obscale plan --out`, one after the other.

    A kept plan is refused once it has expired, or when the cluster is not as it was planned. Of
    several nodes none is begun unless all are ready, and the first failure ends the rest. Running
    it again is safe: it verifies what is there and takes up what is under way.

    Many clusters, or a table (CSV), are carried out as a batch: see docs/batch.md.

    Exit: 0 verified, 1 blocked or failed, 2 bad input, 3 cannot reach, 130 ended by Ctrl-C,
    143 by SIGTERM or SIGHUP.
    """
    named = Asked(spec, profile, cluster)
    try:
        if not (yes or sys.stdin.isatty()):
            raise SpecError("apply: nobody is there to answer", f"obscale apply {named} --yes")
        if is_batch_file(spec):
            refuse_cluster_of_many(spec, cluster)
            apply_batch(spec, yes=yes, as_json=as_json, profile=checked_profile(profile))
        asked = read_request(named)
        if not yes:
            asked = _ask(asked, named, open_console(stderr=as_json))
        elif len(asked.nodes) > 1:
            _refuse_unless_all_ready(asked, named)
        endings = run_orders(RunPosition(named.words()), scale_outs_of(asked), as_json=as_json)
    except ObscaleError as error:
        end_with(error, as_json=as_json)
    if as_json:
        say_json(endings_as_data(endings))
    raise typer.Exit(max(code for _, code, _ in endings))


Ending = tuple[ScaleOutReport | None, Exit, ObscaleError | None]


Order = ScaleOut | Removal | Replacement
Orders = Sequence[ScaleOut] | Sequence[Removal] | Sequence[Replacement]
Starting = Callable[[Any, LiveRun], Coroutine[Any, Any, ScaleOutReport]]
"""Runs the flow of an order, which may ask at the terminal meanwhile."""


def run_orders(
    where: RunPosition, orders: Orders, *, as_json: bool, starting: Starting | None = None
) -> list[Ending]:
    """Run the orders; whoever ends the program meanwhile is told what goes on without it.

    Args:
        where: Knows the command that was typed.
        orders: Carried out in this order; the first failure ends the rest.
        as_json: Whether JSON was asked for.
        starting: Runs the flow of one; None: that of a scale-out, or of a removal.
    """
    settle()
    secret_store = secret_store_for(orders)
    is_stored = not isinstance(secret_store, EnvironmentSecrets)
    if is_stored:
        require_prefect(to_record=True)
    PROGRAM.run(_resolve_names(orders, secret_store))
    if not is_stored:
        # Only now: a name that is missing is told before a server is started.
        require_prefect(to_record=True)
    PROGRAM.stands(where.words, records=True)
    from obscale.tasks.runtime.sigterm import handle_sigterm  # noqa: PLC0415 - Prefect reads its settings at import

    handle_sigterm()
    try:
        return PROGRAM.run(run_all(orders, open_console(stderr=as_json), where, starting))
    except Exception as error:
        error.add_note(" ".join(filter(None, where.words())))
        raise
    except BaseException as stop:  # noqa: BLE001 - a signal, or Prefect; this ends
        _end_stopped(stop, where, as_json=as_json)


async def _resolve_names(orders: Orders, secret_store: SecretStore) -> None:
    """See that every named secret is there, before anything is started.

    Raises:
        SpecError: A name resolves to nothing.
    """
    for order in orders:
        await known_cluster(order.cluster, secret_store)
        joins = order.addition if isinstance(order, Replacement) else order
        if isinstance(joins, ScaleOut):
            password = joins.node.targetAgentPassword
            await resolve_secret(password, secret_store, "targetAgentPassword")


def _end_stopped(stop: BaseException, where: RunPosition, *, as_json: bool) -> NoReturn:
    stands, hint = where.words()
    end_stopped(stop, stands, hint, as_json=as_json)


async def run_all(
    orders: Orders,
    console: Console,
    where: RunPosition | None = None,
    starting: Starting | None = None,
) -> list[Ending]:
    """Run the flow for each order, strictly one by one; the first failure ends the rest."""
    endings: list[Ending] = []
    left: Sequence[Order] = orders
    for at, order in enumerate(left, start=1):
        report, error = await run_one(order, console, where, starting)
        code = exit_code_of(error) if error else Exit.DONE
        endings.append((report, code, error))
        if error:
            complain_of(error)
            for other in left[at:]:
                complain(f"not started: {_title(other)}")
            break
    return endings


def _title(order: Order) -> str:
    if isinstance(order, Replacement):
        return f"{order.target} by {order.joining}"
    if isinstance(order, ScaleOut):
        return f"{order.target} → {order.zone}"
    return f"{order.target} ← {order.zone}" if order.node else f"zone {order.zone} ←"


async def run_one(
    order: Order,
    console: Console,
    where: RunPosition | None = None,
    starting: Starting | None = None,
) -> tuple[ScaleOutReport | None, ObscaleError | None]:
    """Run the flow of an order in this process and draw it on the console."""
    source = where.source if where else ()
    where = where or RunPosition(("SPEC",))
    where.begin(order.target)
    reports: list[ScaleOutReport] = []
    title = _title(order)
    error: ObscaleError | None = None
    with LiveRun(console, title) as live, ExitStack() as heard:
        # Shown before Prefect is imported, which takes a second or two.
        from obscale.tasks.runtime.journal import listening  # noqa: PLC0415 - Prefect reads its settings at import
        from obscale.tasks.runtime.own_process import Told, run_here  # noqa: PLC0415
        from obscale.tasks.runtime.person import asking  # noqa: PLC0415

        told = Told()

        def keep(event: Event) -> None:
            where.hear(event)
            if isinstance(event, Reported):
                reports.append(event.report)
                told.end(event.ended_by)

        heard.enter_context(listening(live.hear))
        heard.enter_context(listening(keep))
        running = (starting or _started)(order, live)
        try:
            with asking(source, where.command):
                await run_here(running, told)
        except ObscaleError as failed:
            error = failed
    report = reports[-1] if reports else None
    for each in (report.halves or (report,)) if report else ():
        show_stages(console, stages_of(each.stages))
        if each.proofs:
            show_levels(console, each, _request_of(source) if isinstance(order, ScaleOut) else "")
            if source:
                # What a demo has grown is gone with it.
                show_steps_left(console, each)
    if report and report.halves:
        show_replaced(console, report)
    return report, error


def _started(order: Order, _live: LiveRun) -> Coroutine[Any, Any, ScaleOutReport]:
    # A replacement is begun by its own command.
    return _removing(order) if isinstance(order, Removal) else _adding(cast("ScaleOut", order))


def _adding(order: ScaleOut) -> Coroutine[Any, Any, ScaleOutReport]:
    from obscale.flows.scale_out import scale_out  # noqa: PLC0415 - Prefect reads its settings at import

    return scale_out(
        cluster=order.cluster,
        agentInfo=order.node.agentInfo,
        zone=order.node.zone,
        obConfigs=ObConfigs.model_validate(order.node.obConfigs),
        targetAgentPassword=order.node.targetAgentPassword,
        profile=order.profile,
        allow_new_zone=order.allow_new_zone,
        allow_unknown=order.allow_unknown,
        overrides=order.overrides,
        on_failure=order.on_failure,
        time_limits=order.time_limits,
    )


def _removing(order: Removal) -> Coroutine[Any, Any, ScaleOutReport]:
    from obscale.flows.remove import remove  # noqa: PLC0415 - Prefect reads its settings at import

    node = order.node
    forced = bool(node and node.force_kill)
    return remove(
        cluster=order.cluster,
        zone=order.zone,
        agentInfo=node.agentInfo if node else None,
        # Typed, or waived, before the run begins.
        confirm=order.target,
        profile=order.profile,
        allow_unknown=order.allow_unknown,
        overrides=order.overrides,
        on_failure=order.on_failure,
        force_kill=forced,
        known_dead=node.agentInfo.ip if node and forced else "",
        batch=order.batch,
        time_limits=order.time_limits,
    )


def _request_of(source: Sequence[str]) -> str:
    """Name the request's file for `obscale pin`; a kept plan is none."""
    if not source or read_plan_file(Path(source[0])) is not None:
        return ""
    return source[0]


def _ask(spec: ScaleOutSpec, named: Asked, console: Console) -> ScaleOutSpec:
    """Show the plan and ask; ends the program on no, and on a blocked plan.

    Returns:
        The request as it was answered: who says yes accepts what was shown as unknown.
    """
    made = plan_now(spec, named)
    show_plan(console, made)
    if not _may_begin(made):
        raise typer.Exit(Exit.REFUSED)
    beside = although_unknown(made.unknown)
    question = f"Add {len(spec.nodes)} node(s) as planned{beside}?"
    with PROGRAM.asking():
        typer.confirm(reader_line(question), abort=True, err=console.stderr)
    return spec.model_copy(update={"allow_unknown": True}) if made.unknown else spec


def _may_begin(made: Plan) -> bool:
    """Whether all nodes are ready, or one is under way, whose lock is what blocks the others.

    Then the flow of each judges it again when its turn comes.
    """
    return made.ready or any(row.progress is TargetProgress.UNDER_WAY for row in made.rows)


def _refuse_unless_all_ready(spec: ScaleOutSpec, named: Asked) -> None:
    """Look at every node before the first one is added.

    Raises:
        PreflightError: A node is blocked.
        AgentError: No entry agent could be asked.
    """
    made = plan_now(spec, named)
    if _may_begin(made):
        _refuse_unknown(spec, made)
        return
    reasons = [
        f"{row.target}: {finding.rule}: {finding.measured}; needed {finding.needed}"
        for row in made.rows
        if not row.ready
        for finding in row.findings
        if finding.weight is Answer.BLOCK or (finding.rule == AS_ASKED and row.differences)
    ]
    raise PreflightError(f"none was begun, blocked by preflight: {'; '.join(reasons)}", made.next)


def _refuse_unknown(spec: ScaleOutSpec, made: Plan) -> None:
    """Hold several nodes back before the first is begun, as the flow of each would be.

    Raises:
        PreflightError: Something is unknown that nobody has accepted.
    """
    held = [
        f"{row.target}: {finding.rule}: {finding.measured}"
        for row in made.rows
        for finding in held_back(
            Findings(row.findings, spec.profile, row.progress), allow_unknown=spec.allow_unknown
        ).blockers
        if finding.unjudged
    ]
    if held:
        raise PreflightError(f"none was begun, blocked by preflight: {'; '.join(held)}", made.next)


def endings_as_data(endings: list[Ending]) -> dict[str, object]:
    """Give how runs ended as one object for --json."""
    rows: list[dict[str, object]] = []
    told: dict[str, object] = {"runs": rows}
    for report, code, error in endings:
        row: dict[str, object] = {"exit_code": int(code)}
        if report:
            row["report"] = report.model_dump(mode="json")
        if error:
            # Where every other refusal of the command line has it too.
            row["error"] = told["error"] = error_object(error)
        rows.append(row)
    return told
