"""Shows a batch in a terminal: its plan, its rows while they run, and its end."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Self

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table

from obscale.batch.kinds import WORDS, counted
from obscale.batch.ledger import Entry, Ledger
from obscale.batch.plan import BatchPlan
from obscale.batch.report import (
    BatchReport,
    board_rows,
    named_briefly,
    summary_of,
    together,
    told_zones,
)
from obscale.batch.row import BatchRow
from obscale.batch.schedule import FAILURES, RowState
from obscale.cli.busy import AGAIN_SECONDS, Heartbeat
from obscale.cli.loudness import aloud
from obscale.cli.terminal import as_text
from obscale.events import (
    AgentNotice,
    BatchBegun,
    BatchEnded,
    BatchWaits,
    Event,
    PrefectNotice,
    RowChanged,
)

FIRST_WORDS: Final = "reading clusters and targets ..."
REFRESHES_A_SECOND: Final = 2
LINES_AROUND_A_TABLE: Final = 6
BORDER_OF_A_COLUMN: Final = 3
SHORTEST_COLUMN: Final = 8
_STYLES: Final = {
    RowState.VERIFIED: "green",
    RowState.RUNNING: "cyan",
    RowState.FAILED: "bold red",
    RowState.BLOCKED: "bold red",
    RowState.SKIPPED: "yellow",
    RowState.LEFT: "yellow",
}


def show_batch_plan(console: Console, made: BatchPlan) -> None:
    """Print what preflight found: a line for each cluster, then every row that is blocked."""
    with aloud(console):
        console.print(as_text(made.summary, style="bold green" if made.ready else "bold red"))
    console.print(as_text("; ".join(made.policies)))
    if made.opens_at:
        console.print(as_text(_nothing_before(made.opens_at), style="yellow"))
    to_do = {
        (row.cluster, row.target): row.zone or row.target
        for row in made.rows
        if row.ready and not row.already
    }
    table = _plain("cluster", WORDS[made.kind].rows, "blocked", "servers a zone now", "order")
    for cluster in made.clusters:
        style = "bold red" if cluster.blocked else ""
        table.add_row(
            as_text(cluster.cluster, style=style),
            as_text(str(cluster.nodes)),
            as_text(str(cluster.blocked or "—"), style=style),
            as_text(told_zones(cluster.zones_now)),
            as_text(
                ", ".join(
                    to_do[cluster.cluster, target]
                    for target in cluster.order
                    if (cluster.cluster, target) in to_do
                )
                or "—"
            ),
        )
    _let_last_give_way(console, table)
    console.print(table)
    with aloud(console):
        _show_reasons(console, RowState.BLOCKED, [row for row in made.rows if row.error_kind])
    for row in made.rows:
        if row.differs:
            words = f"{row.target} of {row.cluster} is a member already; {row.differs}"
            console.print(as_text("not as asked: ", style="yellow"), as_text(words), sep="")
            console.print(as_text(f"  → {row.next}", style="bold"))
        if row.does and row.ready:
            console.print(as_text(f"{row.cluster}: {row.does}"), soft_wrap=True)
        for said in row.warnings if row.ready else ():
            words = f"{row.what} of {row.cluster}: {said}"
            console.print(as_text("warn: ", style="yellow"), as_text(words), sep="", soft_wrap=True)
    stopped = Counter(
        (r.cluster, r.why) for r in made.rows if not (r.ready or r.error_kind or r.differs)
    )
    for (name, why), count in stopped.items():
        console.print(
            as_text("not begun: ", style="yellow"),
            as_text(f"{counted(made.kind, count)} of {name}: {why}"),
            sep="",
        )


def show_ending(console: Console, report: BatchReport) -> None:
    """Print how a batch ended: what somebody has to do, and the answer last."""
    sick = [row for row in report.rows if row.state in FAILURES or row.state is RowState.LEFT]
    style = "bold green" if report.is_verified else "bold red"
    with aloud(console):
        for state in (RowState.BLOCKED, RowState.FAILED, RowState.LEFT):
            _show_reasons(console, state, [row for row in sick if row.state is state])
        if left := sum(bool(row.host_steps) for row in report.rows):
            hosts = "the host of the node" if left == 1 else f"the hosts of the {left} nodes"
            told = f"{hosts} that left: not touched; the report and --json say how to clean it"
            console.print(as_text(told), soft_wrap=True)
        console.print(as_text(report.summary, style=style))


def _show_reasons(console: Console, state: RowState, rows: Sequence[BatchRow]) -> None:
    """Print why rows are as they are; those of a cluster that share their reason share a line."""
    for (cluster, why, advice), nodes in together(rows).items():
        console.print(
            as_text(f"{state.value}: ", style=_STYLES[state]),
            as_text(f"{named_briefly(nodes)} of {cluster}: {why}"),
            sep="",
        )
        if advice:
            console.print(as_text(f"  → {advice}", style="bold"))


class LiveBatch:
    """Draws a batch as it goes: a row a node while that fits the screen, else a row a cluster.

    Where nobody watches, say in a log, it prints a line for each row that ends instead.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._ledger: Ledger | None = None
        self._told: set[int] = set()
        self._began = time.monotonic()
        self._heartbeat = Heartbeat(self._say, first_seconds=AGAIN_SECONDS)
        self._live = Live(
            console=console,
            get_renderable=self._draw,
            refresh_per_second=REFRESHES_A_SECOND,
            transient=True,
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        else:
            self._heartbeat.does(FIRST_WORDS)
            self._heartbeat.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()
        if not self._console.is_terminal:
            self._heartbeat.__exit__(kind, error, trace)

    def hear(self, event: Event) -> None:
        """Take one event of the run onto the screen."""
        match event:
            case PrefectNotice(words=words):
                self._console.print(as_text(words), soft_wrap=True)
            case AgentNotice(line=line):
                self._console.print(as_text(line, style="yellow"), soft_wrap=True)
            case BatchWaits(ledger=ledger, until=until):
                if not self._console.is_terminal:
                    self._console.print(as_text(_nothing_before(until)))
                self._take(ledger)
            case BatchBegun(ledger=ledger) | RowChanged(ledger=ledger) | BatchEnded(ledger=ledger):
                self._take(ledger)
            case _:
                pass

    def _take(self, ledger: Ledger) -> None:
        """Draw from this ledger; where nobody watches, print each row that has ended since."""
        self._ledger = ledger
        if self._console.is_terminal:
            return
        self._heartbeat.does(_heading(ledger))
        for entry in ledger.entries:
            if entry.ended and entry.number not in self._told:
                self._told.add(entry.number)
                took = f" after {entry.seconds:.0f} s" if entry.seconds else ""
                line = f"{entry.what} of {entry.cluster}: {entry.state}{took}"
                self._say(line)

    def _say(self, line: str) -> None:
        self._console.print(as_text(line))
        self._heartbeat.heard()

    def _clock(self) -> str:
        """For how long the batch goes on; it moves also where no row does."""
        return str(timedelta(seconds=int(time.monotonic() - self._began)))

    def _draw(self) -> RenderableType:
        if self._ledger is None:
            return as_text(f"{FIRST_WORDS} {self._clock()}")
        room = max(self._console.height - LINES_AROUND_A_TABLE, 1)
        heading = f"{_heading(self._ledger)}, {self._clock()}"
        table = _by_node if len(self._ledger.entries) <= room else _by_cluster
        return table(self._console, self._ledger, heading, room)


def _heading(ledger: Ledger) -> str:
    summary = summary_of(ledger)
    if ledger.waits_until:
        return f"{summary}; {_waiting(ledger)}"
    if ledger.phase == "preflight":
        return f"preflight of {counted(ledger.kind, len(ledger.entries))} ..."
    return summary


def _waiting(ledger: Ledger) -> str:
    return _nothing_before(ledger.waits_until) if ledger.waits_until else "the window is closed"


def _nothing_before(opens_at: datetime) -> str:
    return f"nothing new may start before {opens_at:%Y-%m-%d %H:%M} UTC"


def _by_node(console: Console, ledger: Ledger, heading: str, _room: int) -> RenderableType:
    table = _plain(ledger.words.node, "cluster", "took", "state", title=heading)
    for entry, row in zip(ledger.entries, board_rows(ledger), strict=True):
        style = _STYLES.get(entry.state, "")
        cells = (row["node"], row["cluster"], row["took"], row["state"])
        table.add_row(*(as_text(cell, style=style) for cell in cells))
    _let_last_give_way(console, table)
    return table


def _by_cluster(console: Console, ledger: Ledger, heading: str, room: int) -> RenderableType:
    table = _plain("cluster", "verified", "not", "running", title=heading)
    parts = sorted(ledger.by_cluster().items(), key=lambda part: _interest(part[1]))
    for name, entries in parts[:room]:
        done = sum(entry.state is RowState.VERIFIED for entry in entries)
        failed = sum(entry.state in FAILURES for entry in entries)
        now = next((entry for entry in entries if entry.state is RowState.RUNNING), None)
        stage = f"{now.target} {now.level or now.stage or 'preflight'}" if now else ""
        table.add_row(
            as_text(name, style="bold red" if failed else ""),
            as_text(f"{done}/{len(entries)}"),
            as_text(str(failed or ""), style="bold red"),
            as_text(stage, style="cyan"),
        )
    _let_last_give_way(console, table)
    if len(parts) > room:
        table.caption = f"and {len(parts) - room} more clusters"
    return table


def _interest(entries: Sequence[Entry]) -> tuple[bool, bool]:
    """What runs first, then what failed."""
    states = {entry.state for entry in entries}
    return RowState.RUNNING not in states, states.isdisjoint(FAILURES)


def _plain(*columns: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in columns:
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    return table


def _let_last_give_way(console: Console, table: Table) -> None:
    """Cut the last column where the screen is narrow, so that names keep their ends."""
    *kept, last = table.columns
    cells = [[str(column.header), *map(str, column.cells)] for column in kept]
    room = console.width - sum(max(map(cell_len, column)) for column in cells)
    last.max_width = max(room - BORDER_OF_A_COLUMN * len(table.columns) - 1, SHORTEST_COLUMN)
