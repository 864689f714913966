"""`obscale apply BATCH`: carries out rows of many clusters and shows a live table."""

import json
import sys
from collections.abc import Awaitable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

import typer
from rich.console import Console

from obscale.agent.transport import asking_often
from obscale.batch.confirm import is_confirmed, question_of_batch, word_of, would_leave
from obscale.batch.kinds import WORDS
from obscale.batch.ledger import Entry, FirstRowPreflight, Ledger, ledger_of
from obscale.batch.plan import BatchPlan, PlannedRow, plan_of
from obscale.batch.preflight import ClusterLook, check_names, judge_all
from obscale.batch.preflight_others import look_at_rows
from obscale.batch.process_limits import fewer_gc_runs, raise_file_limit
from obscale.batch.report import (
    BatchIncompleteError,
    BatchReport,
    error_of_batch,
    summary_of,
)
from obscale.batch.schedule import FAILURES, RowState
from obscale.cli.batch_view import LiveBatch, show_batch_plan, show_ending
from obscale.cli.busy import silence_shown
from obscale.cli.exits import OUT_OF_REACH, Exit, end_stopped, error_object
from obscale.cli.local_prefect import require_prefect, settle
from obscale.cli.stopping import NOTHING_SENT, PROGRAM, Words
from obscale.cli.terminal import complain_of, open_console, reader_line, say_json
from obscale.connect.connections import SecretStore
from obscale.errors import SpecError
from obscale.events import BatchBegun, BatchEnded, Event
from obscale.preflight.facts import TargetProgress
from obscale.request.asked import Kind
from obscale.request.models import Profile
from obscale.spec.batch import (
    BatchSpec,
    compact,
    label_of,
    read_batch,
)
from obscale.text import for_terminal

LOOKS_A_NODE: Final = 5
"""Rows whose looks take as many questions as one node that is added: a dozen each."""
UNREACHED_KINDS: Final = frozenset(error.kind for error in OUT_OF_REACH)


def apply_batch(path: Path, *, yes: bool, as_json: bool, profile: Profile | None) -> NoReturn:
    """Carry out a batch and end the program with its exit code.

    Raises:
        SpecError: It is wrong, or a name in it resolves to nothing.
        ObscaleError: Prefect does not answer.
    """
    spec = read_in_profile(path, profile)
    settle()
    if spec.policies.dispatch == "deployment":
        _check_server()
    require_prefect(to_record=True)
    parameters = _parameters(spec)
    console = open_console(stderr=as_json)
    if not yes:
        parameters = _parameters(_ask(spec, console))
    report, error = _run(path, parameters, console, as_json=as_json)
    if not as_json:
        show_ending(console, report)
    else:
        told: dict[str, object] = {"batch": report.model_dump(mode="json")}
        if error:
            told["error"] = error_object(error) | {"exit_code": int(_exit_code_of_batch(report))}
        say_json(told)
    if error and not as_json:
        complain_of(error)
    raise typer.Exit(_exit_code_of_batch(report))


def read_in_profile(path: Path, profile: Profile | None) -> BatchSpec:
    """Read a batch, and put all of its clusters into a profile where one is named.

    Raises:
        SpecError: It is wrong.
    """
    spec = read_batch(path)
    if profile is None:
        return spec
    clusters = tuple(c.model_copy(update={"profile": profile}) for c in spec.clusters)
    return spec.model_copy(update={"clusters": clusters})


def _exit_code_of_batch(report: BatchReport) -> Exit:
    """Give the exit code: 3 only where nothing could be asked at all."""
    if report.is_verified:
        return Exit.DONE
    failed = [row for row in report.rows if row.state in FAILURES]
    reached = any(row.state is RowState.VERIFIED for row in report.rows)
    if failed and not reached and all(row.error_kind in UNREACHED_KINDS for row in failed):
        return Exit.OUT_OF_REACH
    return Exit.REFUSED


def _check_server() -> None:
    from obscale.tasks.dispatch.start import check_server  # noqa: PLC0415 - after the settings

    check_server()


def _parameters(spec: BatchSpec) -> dict[str, Any]:
    """Give the flow's parameters, as short as they can be said.

    Raises:
        SpecError: They are more than Prefect's server takes.
    """
    from prefect.settings import get_current_settings  # noqa: PLC0415 - after the settings

    told: dict[str, Any] = {"clusters": [compact(cluster) for cluster in spec.clusters]}
    if spec.connections:
        told["connections"] = {
            name: known.model_dump(mode="json", exclude_defaults=True)
            for name, known in spec.connections.items()
        }
    told["policies"] = spec.policies.model_dump(mode="json", exclude_defaults=True)
    if word := word_of(ledger_of(spec)):
        # Typed, or waived, before the run begins.
        told["confirm"] = word
    size, most = len(json.dumps(told)), get_current_settings().server.api.max_parameter_size
    if size > most:
        raise SpecError(
            f"the batch takes {size} bytes as parameters of a run, and Prefect's server {most}",
            "split it, or raise PREFECT_SERVER_API_MAX_PARAMETER_SIZE at the server and here",
        )
    return told


def _ask(spec: BatchSpec, console: Console) -> BatchSpec:
    """Show what preflight finds and ask; ends the program on no, and where no node is ready.

    Returns:
        The batch as it was answered: who says yes accepts what was shown as unknown, in the
        clusters that have it.
    """
    from obscale.tasks.runtime.blocks import PrefectSecrets  # noqa: PLC0415 - after the settings

    ledger = ledger_of(spec)
    with silence_shown(open_console(stderr=True)):
        PROGRAM.run(look_at_all(ledger, PrefectSecrets()))
    made = plan_of(ledger, datetime.now(UTC))
    show_batch_plan(console, made)
    ready = [row for row in made.rows if row.ready]
    if not ready:
        raise typer.Exit(Exit.REFUSED)
    _have_answered(ledger, made, ready, console)
    unknown = {row.cluster for row in ready if row.unknown}
    clusters = tuple(
        each.model_copy(update={"allow_unknown": True}) if label_of(each) in unknown else each
        for each in spec.clusters
    )
    return spec.model_copy(update={"clusters": clusters})


def _have_answered(
    ledger: Ledger, made: BatchPlan, ready: Sequence[PlannedRow], console: Console
) -> None:
    """Ask; ends the program on no, and on another word than the one asked for."""
    unknown = {rule for row in ready for rule in row.unknown}
    word = word_of(ledger)
    if not word or not would_leave(ledger):
        with PROGRAM.asking():
            typer.confirm(for_terminal(_question(made.kind, ready)), abort=True, err=console.stderr)
        return
    question = f"{question_of_batch(ledger).rstrip('?')}{although_unknown(unknown)}? Type {word}"
    with PROGRAM.asking():
        typed = typer.prompt(reader_line(question), err=console.stderr)
    if not is_confirmed(ledger, typed):
        raise typer.Abort


def _question(kind: Kind, ready: Sequence[PlannedRow]) -> str:
    """Ask for what would be sent: what is there already is only looked at."""
    new = sum(row.progress is TargetProgress.NEW for row in ready)
    there = len(ready) - new
    if not new:
        nothing = "Nothing is to be added" if kind == "nodes" else "Nothing is to be sent"
        return f"{nothing}; take up and prove what is there ({there})?"
    beside = f", and take up and prove what is there ({there})" if there else ""
    beside += although_unknown({rule for row in ready for rule in row.unknown})
    words = WORDS[kind]
    many = words.nodes if new > 1 else words.node
    if kind == "use":
        return f"Set the units of {new} {many} as planned{beside}?"
    return f"{words.does} {new} {many} as planned{beside}?"


def although_unknown(rules: Collection[str]) -> str:
    """Say in a question what a yes accepts beside; empty where nothing is unknown."""
    if not rules:
        return ""
    return f", although {len(rules)} rule{'s' if len(rules) > 1 else ''} could not be judged"


async def look_at_all(ledger: Ledger, secret_store: SecretStore) -> None:
    """Resolve every name, then judge every row; sends nothing.

    Raises:
        SpecError: A name resolves to nothing.
    """

    def looking(
        _name: str, entries: Sequence[Entry]
    ) -> Awaitable[tuple[ClusterLook, FirstRowPreflight | None]]:
        return look_at_rows([entry.order for entry in entries], secret_store, will_be_asked=True)

    await check_names(ledger, secret_store)
    raise_file_limit(0)
    with fewer_gc_runs(), asking_often(len(ledger.entries) // LOOKS_A_NODE):
        await judge_all(ledger, looking)


def _run(
    path: Path, parameters: dict[str, Any], console: Console, *, as_json: bool
) -> tuple[BatchReport, BatchIncompleteError | None]:
    """Run the flow; whoever ends the program meanwhile is told what goes on without it."""
    from obscale.tasks.runtime.sigterm import handle_sigterm  # noqa: PLC0415 - Prefect reads its settings at import

    reports: list[BatchReport] = []
    seen: list[Ledger] = []
    PROGRAM.stands(lambda: _words(path, reports, seen), records=True)
    handle_sigterm()
    error: BatchIncompleteError | None = None
    try:
        PROGRAM.run(_flow(path, parameters, console, reports, seen))
    except BatchIncompleteError as incomplete:
        error = incomplete
    except Exception:
        raise
    except BaseException as stop:  # noqa: BLE001 - a signal, or Prefect; this ends
        if reports:
            show_ending(open_console(stderr=True) if as_json else console, reports[-1])
        # What Prefect would still do at exit waits for a server that may be ending too.
        sys.stdout.flush()
        end_stopped(stop, *_words(path, reports, seen), as_json=as_json)
    return reports[-1], error


async def _flow(
    path: Path,
    parameters: dict[str, Any],
    console: Console,
    reports: list[BatchReport],
    seen: list[Ledger],
) -> None:
    from obscale.flows.batch import batch  # noqa: PLC0415 - Prefect reads its settings at import
    from obscale.tasks.runtime.journal import listening  # noqa: PLC0415
    from obscale.tasks.runtime.own_process import Told, run_here  # noqa: PLC0415
    from obscale.tasks.runtime.person import asking  # noqa: PLC0415

    told = Told()

    def keep(event: Event) -> None:
        if isinstance(event, BatchBegun):
            seen[:] = [event.ledger]
        if isinstance(event, BatchEnded):
            reports.append(event.report)
            told.end(event.ended_by or error_of_batch(event.report))

    with LiveBatch(console) as live, listening(live.hear), listening(keep):
        running: Any = batch(**parameters)  # which overload it is, no type checker can see
        with asking((str(path),)):
            await run_here(running, told)


def _words(path: Path, reports: Sequence[BatchReport], seen: Sequence[Ledger]) -> Words:
    """Say where the batch stands, and the next step: by its report, else by what it told last."""
    if reports:
        stands = reports[-1].summary
    elif seen:
        stands = f"{summary_of(seen[-1])}; what was begun goes on by itself"
    else:
        return NOTHING_SENT
    return stands, f"obscale apply {path} takes up what runs and does what is missing"
