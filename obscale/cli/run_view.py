"""Shows one run in a terminal: plan, progress bar and proofs."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column, Table
from rich.text import Text

from obscale.agent.models import Dag
from obscale.agent.silence import remembering_silence
from obscale.cli.bars import show_capacity
from obscale.cli.busy import AGAIN_SECONDS, Heartbeat
from obscale.cli.loudness import aloud
from obscale.cli.plan_view import COLOURS, show_findings
from obscale.cli.terminal import as_text, label, reader_line
from obscale.events import (
    AgentNotice,
    DagMoved,
    Event,
    HalfBegun,
    Judged,
    LevelReached,
    PrefectNotice,
    ProofNotice,
    ProofsHold,
    SubmitSettled,
    UnitsMoved,
    UseSettled,
    Verified,
    WaitsForAnswer,
    WaitsForLock,
    WaitsForProofs,
    WaitsForWindow,
)
from obscale.pictures.capacity import TITLE
from obscale.report.page import USE_IT, use_commands
from obscale.report.pictures import bars_of
from obscale.report.report import PERSIST_EXPLAINED, PIN_EXPLAINED, ScaleOutReport, times_of
from obscale.verify.observation import Level, ProofAnswer, ProofLine

ROOMY_COLUMNS: Final = 110
PLACE_CELLS: Final = 58
"""Of a terminal, for the name of a stage; its time stands behind."""


def show_levels(console: Console, report: ScaleOutReport, request: str = "") -> None:
    """Print the proofs, and observers and capacity before and after.

    Args:
        console: Where to.
        report: Of the node.
        request: The file of its request, which the next command names; empty: not known.
    """
    show_proofs(console, report.proofs)
    _show_servers(console, report)
    show_capacity(console, bars_of(report), TITLE)
    _show_persist_statements(console, report.persist_statements, request)
    _show_use(console, report)
    style = "bold green" if report.outcome == "verified" else "bold red"
    verdict = f"{report.target} in {report.zone}: {report.verdict_reached}"
    if report.operation == "removal":
        verdict = f"{report.target} gone from {report.zone}: {report.verdict_reached}"
    with aloud(console):
        console.print(as_text(verdict, style=style), soft_wrap=True)
    if report.follows:
        console.print(
            as_text(f"follows a failed attempt: {report.follows}", style="yellow"), soft_wrap=True
        )


def _show_servers(console: Console, report: ScaleOutReport) -> None:
    """Print the observers; where nobody looked before, only what they are now."""
    old = {row.server: row.status for row in report.before}
    columns = ("zone", "observer", *(("before", "after") if old else ("status",)))
    heads = map(label, (*columns, "memory for units"))
    servers = Table(*heads, title=label("Observers"), title_justify="left")
    for row in report.after:
        new = old and row.server not in old
        cells = [as_text(row.zone), as_text(row.server, style="bold green" if new else "")]
        cells += [as_text(old.get(row.server, "—"))] if old else []
        cells += [as_text(row.status), as_text(f"{row.memory_bytes / 2**30:.1f} GiB")]
        servers.add_row(*cells)
    here = {row.server for row in report.after}
    for row in report.before if report.after else ():
        if row.server not in here:
            cells = [as_text(row.zone), as_text(row.server, style="bold"), as_text(row.status)]
            servers.add_row(*cells, as_text(label("gone")), as_text("—"))
    console.print(servers)


def show_proofs(console: Console, proofs: Sequence[ProofLine]) -> None:
    """Print the proofs by level; what is expected stands only where it was not simply found."""
    table = Table(title=label("Verification"), title_justify="left")
    for name in ("proof", "answer", "found"):
        table.add_column(label(name), overflow="fold", no_wrap=name != "found")
    level: Level | None = None
    for proof in proofs:
        if proof.level is not level:
            level = proof.level
            table.add_section()
            table.add_row(as_text(level.name, style="bold"))
        answer = proof.answer.value
        plain = proof.answer in {ProofAnswer.PASS, ProofAnswer.NOT_APPLICABLE}
        found = label(proof.found) if plain else f"{proof.found} (expected: {proof.expected})"
        table.add_row(
            as_text(proof.id), as_text(label(answer), style=COLOURS.get(answer, "")), as_text(found)
        )
    console.print(table)


def show_steps_left(console: Console, report: ScaleOutReport) -> None:
    """Print what is left to a person, each command on one line at any width: to be copied."""
    if report.host_steps:
        words = "Its host still holds its data; to use it again, on the host (deletes for good)"
        console.print(as_text(f"{words}:"))
        for step in report.host_steps:
            console.print(as_text(step), soft_wrap=True)
    if first := next((each for each in report.undo if not each.startswith("#")), ""):
        console.print(as_text(f"To take it back: {first}"), soft_wrap=True)


def show_replaced(console: Console, report: ScaleOutReport) -> None:
    """Print in one line how a replacement has ended, of whose halves all is told above."""
    style = "bold green" if report.outcome == "verified" else "bold red"
    words = f"{report.target} replaced by {report.by} in {report.zone}: {report.outcome}"
    with aloud(console):
        console.print(as_text(words, style=style), soft_wrap=True)


def _show_persist_statements(
    console: Console, persist_statements: Sequence[str], request: str
) -> None:
    """Print the statements that persist settings, each on one line at any width: to be copied."""
    if not persist_statements:
        return
    console.print(as_text(f"{PERSIST_EXPLAINED}:"))
    for statement in persist_statements:
        console.print(as_text(statement), soft_wrap=True)
    told = shlex.quote(request) if request else "SPEC"
    console.print(as_text(PIN_EXPLAINED.format(told)), soft_wrap=True)


def _show_use(console: Console, report: ScaleOutReport) -> None:
    """Print what would use the new server: OceanBase gives no tenant more units by itself."""
    if report.outcome == "verified" and (commands := use_commands(report)):
        console.print(as_text(USE_IT))
        for command in commands:
            console.print(as_text(command), soft_wrap=True)


@contextmanager
def silence_shown(console: Console) -> Iterator[None]:
    """Share which agents are silent among all that is opened in this block; print a line of each.

    Args:
        console: Of a command that runs without a flow.
    """

    def say(line: str) -> None:
        console.print(as_text(line, style="yellow"), soft_wrap=True)

    with remembering_silence(say):
        yield


def waiting(step: str, what: str, seconds: float) -> str:
    """Say what a step waits for, and for how long already."""
    since = f" (for {seconds:.0f} s now)" if seconds else ""
    return f"{step}: waits for {what}{since}"


def holding(event: ProofsHold) -> str:
    """Say that all is as it should be, for how long it has to stay so, and for how long it has."""
    return f"verify: holds for {event.wanted:.0f} s: {event.seconds:.0f} s"


def _waits_of(event: Event) -> tuple[str, float] | None:
    """Give what an event says is waited for, and for how many seconds already."""
    match event:
        case WaitsForLock(what=what, seconds=seconds) | WaitsForProofs(what=what, seconds=seconds):
            return what, seconds
        case WaitsForAnswer(agent=agent, seconds=seconds):
            return f"the answer of {agent} to the POST", seconds
        case WaitsForWindow(window=window, opens=opens):
            return f"the window {window}, which opens {opens:%Y-%m-%d %H:%M} UTC", 0.0
        case _:
            return None


class _Clock(ProgressColumn):
    """For how long the step goes on, and the whole run."""

    def render(self, task: Task) -> Text:
        run = task.elapsed or 0.0
        step = run - task.fields["begun"]
        return as_text(f"{step:.0f} s, {run:.0f} s in all", style="cyan")


class LiveRun:
    """Draws one run as it happens: a line per stage passed, a bar with stage and elapsed time.

    Where nobody watches, say in a log, a line says what is being done after each silence.

    Args:
        console: Where it is drawn.
        title: What stands before the bar.
        attached: Whether the run has begun without us.
    """

    def __init__(self, console: Console, title: str, *, attached: bool = False) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30 if console.width >= ROOMY_COLUMNS else 8),
            TextColumn(
                "{task.fields[stage]}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis"),
            ),
            _Clock(),
            console=console,
            transient=True,
        )
        self._first = "a first look" if attached else "preflight"
        self._bar = self._progress.add_task(
            reader_line(title), total=100, stage=self._first, begun=0.0
        )
        self._passed: set[str] = set()
        self._heartbeat = Heartbeat(self._say, first_seconds=AGAIN_SECONDS)

    def __enter__(self) -> Self:
        self._progress.start()
        self._stage(self._first)
        if not self._console.is_terminal:
            self._heartbeat.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
        if not self._console.is_terminal:
            self._heartbeat.__exit__(kind, error, trace)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Draw no bar inside, so that a person can be asked."""
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()

    def hear(self, event: Event) -> None:
        """Take one event of the run onto the screen."""
        match event:
            case Judged(findings=findings):
                show_findings(self._console, tuple(findings.by_weight()))
                self._say(f"preflight: {findings.verdict}")
                self._stage("submit")
            case PrefectNotice(words=words):
                self._console.print(as_text(words), soft_wrap=True)
            case SubmitSettled() | UseSettled():
                self._settled(event.submitted.how, event.submitted.dag_id)
            case UnitsMoved(words=words, percent=percent):
                self._say(words)
                self._stage(words)
                self._progress.update(self._bar, completed=percent)
            case AgentNotice(line=line) | ProofNotice(line=line):
                self._say(line)
            case DagMoved(dag=dag):
                self.draw(dag)
            case ProofsHold():
                self._waits(holding(event), f"verify: holds for {event.wanted:.0f} s")
            case LevelReached(levels=levels) | Verified(levels=levels):
                self._stage(f"verify: {levels.level.name}")
            case _:
                self._hear_more(event)

    def _hear_more(self, event: Event) -> None:
        if isinstance(event, HalfBegun):
            # The DAG of the second half has stages of the same numbers.
            self._passed.clear()
            self._say(f"{event.half} {event.target}")
            self._stage("preflight")
        elif waits := _waits_of(event):
            words, briefly = waiting(event.step, *waits), f"{event.step}: waits"
            self._waits(words, briefly, is_news=not waits[1])

    def _settled(self, how: str, dag_id: str | None) -> None:
        named = f", DAG {dag_id}" if dag_id else ""
        self._say(f"submit: {how}{named}")
        self._stage("submit")

    def draw(self, dag: Dag) -> None:
        """Print a line for each node that changed, and move the bar."""
        for number, node in enumerate(dag.nodes, start=1):
            mark = f"{number}/{node.state}/{node.operator}"
            if node.state in {"SUCCEED", "FAILED"} and mark not in self._passed:
                self._passed.add(mark)
                sign = "✔" if node.state == "SUCCEED" else "✘"
                place = reader_line(f"{sign} stage {number}/{dag.max_stage} {node.title}")
                place += label(" undone") if node.operator == "ROLLBACK" else ""
                started, ended = times_of(node)
                took = f"{(ended - started).total_seconds():6.1f} s" if started and ended else ""
                gap = " " * max(PLACE_CELLS - cell_len(place), 0)
                self._say(f"{place}{gap} {took}".rstrip(), is_said=True)
        current = dag.current_node
        name = current.title if current else dag.name
        done = sum(node.state == "SUCCEED" for node in dag.nodes)
        self._stage(f"stage {dag.stage}/{dag.max_stage} {name}")
        if dag.max_stage:
            self._progress.update(self._bar, completed=100 * done / dag.max_stage)

    def _stage(self, words: str) -> None:
        """Show on the bar what is being done; a clock counts from when it was said first."""
        bar = self._progress.tasks[0]
        if (said := reader_line(words)) != bar.fields["stage"]:
            self._progress.update(self._bar, stage=said, begun=bar.elapsed or 0.0)
        self._heartbeat.does(words)

    def _waits(self, words: str, briefly: str, *, is_news: bool = False) -> None:
        """Show a wait: by the clock of the bar where somebody watches, else in a line again."""
        if is_news or not self._console.is_terminal:
            self._say(words)
        self._stage(briefly)

    def _say(self, words: str, *, is_said: bool = False) -> None:
        self._console.print(as_text(words, is_said=is_said))
        self._heartbeat.heard()
