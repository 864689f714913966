"""`obscale verify SPEC`: proves that each node of a request is as it was asked for.

Reads only; needs no Prefect, except where a name is stored in one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from obscale.cli.busy import busy, silence_shown
from obscale.cli.exits import Exit, end_with
from obscale.cli.kept_before import baseline_known
from obscale.cli.loudness import Quiet, Verbose
from obscale.cli.options import AsJson, SpecPath
from obscale.cli.plan import secret_store_for
from obscale.cli.remove import removals_asked
from obscale.cli.run_view import holding, show_levels, waiting
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import as_text, complain_of, open_console, say_json
from obscale.cli.verify_gone import Say, verify_gone
from obscale.connect.connections import SecretStore, connected
from obscale.errors import ObscaleError, SpecError, VerifyError
from obscale.events import Event, LevelReached, ProofNotice, ProofsHold, WaitsForProofs
from obscale.plan.file import read_plan_file
from obscale.reading import side_by_side
from obscale.report.report import ScaleOutReport
from obscale.report.servers import server_rows
from obscale.request.scale_out import ScaleOut, scale_outs_of
from obscale.request.time_limits import VERIFY_LIMITS
from obscale.spec import read_spec
from obscale.spec.removal import is_removal_file
from obscale.verify.baseline import Baseline
from obscale.verify.levels import shortfall
from obscale.verify.observation import Before
from obscale.verify.run import Verification, verify_node

Gone = Annotated[
    list[str] | None,
    typer.Option("--gone", metavar="IP:PORT", help="Agent of a node that has left; SPEC or name."),
]
GoneFrom = Annotated[
    str | None, typer.Option("--zone", metavar="NAME", help="Goes with --gone: zone it was in.")
]


def verify(
    spec: SpecPath,
    gone: Gone = None,
    zone: GoneFrom = None,
    as_json: AsJson = False,
    _quiet: Quiet = False,
    _verbose: Verbose = False,
) -> None:
    """Prove the nodes of a request from cluster and node; submit nothing.

    Every node is looked at, all at the same time, for half a minute at least: a new observer has
    to stay connectable. The other members are judged too: by the look before the POST where the
    request names a stored connection and its run was obscale's; else what was before is unknown.

    With --gone, or of a file with `remove:`, that nodes have left and the cluster is whole without
    them; SPEC may be the name of a stored connection then.

    Exit: 0 all verified, 1 one is not, 2 bad input, 3 cannot reach.
    """
    console = open_console(stderr=as_json)
    try:
        if gone or zone or is_removal_file(spec):
            leaving = removals_asked(str(spec), gone or [], zone, time_limits=VERIFY_LIMITS)
            targets = ", ".join(order.target for order in leaving)
            secret_store = secret_store_for(leaving)
            with _saying(console, f"verify: looks whether {targets} is gone") as say:
                reports = PROGRAM.run(verify_gone(leaving, secret_store, say))
            _end(reports, str(spec), console, as_json=as_json)
        if read_plan_file(spec) is not None:
            raise SpecError(f"{spec}: is a plan, no request", "name the request it was made of")
        orders = scale_outs_of(read_spec(spec), time_limits=VERIFY_LIMITS)
        targets = ", ".join(order.target for order in orders)
        secret_store = secret_store_for(orders)
        with _saying(console, f"verify: looks at {targets}") as say:
            reports = PROGRAM.run(_verify_all(orders, secret_store, say))
    except ObscaleError as error:
        end_with(error, as_json=as_json)
    _end(reports, str(spec), console, as_json=as_json)


def _end(
    reports: Sequence[ScaleOutReport], source: str, console: Console, *, as_json: bool
) -> NoReturn:
    """Show the reports, and end the program by what they say."""
    proved = all(report.outcome == "verified" for report in reports)
    if as_json:
        rows = [{"report": report.model_dump(mode="json")} for report in reports]
        say_json({"verified": proved, "runs": rows})
    for report in reports:
        if not as_json:
            show_levels(console, report, source)
        if report.error:
            complain_of(VerifyError(report.error, _next(report, source)))
    raise typer.Exit(Exit.DONE if proved else Exit.REFUSED)


@contextmanager
def _saying(console: Console, doing: str) -> Iterator[Say]:
    """Show what is being done, and give what prints a line beside it."""
    with busy(doing) as shown, silence_shown(console):

        def say(words: str, style: str) -> None:
            console.print(as_text(words, style=style))
            shown.heard()

        yield say


async def _verify_all(
    orders: Sequence[ScaleOut], secret_store: SecretStore, say: Say
) -> list[ScaleOutReport]:
    """Climb for every node at the same time.

    Raises:
        SpecError: A name resolves to nothing.
        AgentError: No agent of the cluster could be asked.
    """
    async with side_by_side() as climbs:
        running = [climbs.create_task(_verify(order, secret_store, say)) for order in orders]
    return [verify_node.result() for verify_node in running]


async def _verify(order: ScaleOut, secret_store: SecretStore, say: Say) -> ScaleOutReport:
    def show(event: Event) -> None:
        match event:
            case LevelReached(levels=levels):
                words, style = levels.level.name, "dim"
            case WaitsForProofs(what=what, seconds=seconds):
                words, style = waiting("verify", what, seconds), "dim"
            case ProofsHold():
                words, style = holding(event), "dim"
            case ProofNotice(line=line):
                words, style = line, "yellow"
            case _:
                return
        say(f"{order.target}: {words}", style)

    async with connected(order, secret_store) as link:
        # Whether anybody answers with these credentials is an error of its own, not a missing row.
        await link.read_members()
        steady = order.time_limits.steady_seconds
        say(f"{order.target}: has to hold for {steady:g} s", "dim")
        baseline = await baseline_known(link, order)
        verification = await verify_node(
            link,
            order,
            None,
            baseline.before if baseline else Before(),
            publish=show,
        )
    return _report(order, verification, baseline)


def _report(
    order: ScaleOut, verification: Verification, baseline: Baseline | None
) -> ScaleOutReport:
    levels = verification.levels
    lacks = shortfall(levels.level.name, levels.lines)
    return ScaleOutReport(
        outcome="verified" if levels.is_verified else "failed",
        cluster=order.cluster_name,
        target=order.target,
        zone=order.node.zone,
        obConfigs=order.node.obConfigs,
        submitted_how="verified alone",
        level=levels.level.name,
        exceptions=levels.exceptions,
        before=server_rows(baseline.zones) if baseline else (),
        before_at=baseline.at if baseline else None,
        proofs=levels.lines,
        persist_statements=levels.persist_statements,
        after=server_rows(verification.after.zones or ()),
        error_kind="" if levels.is_verified else "verify",
        error="" if levels.is_verified else f"{order.target} {lacks}",
    )


def _next(report: ScaleOutReport, source: str) -> str:
    if report.operation == "removal":
        return "look at the named proofs; obscale remove takes out what is still there"
    if report.level == "NONE":
        return f"obscale plan {source} says what is missing, obscale apply {source} adds it"
    return "look at the named proofs"
