"""How does a batch look in a terminal: what is planned, what runs, how it ended?"""

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from obscale.batch.ledger import Entry, Ledger
from obscale.batch.report import BatchReport, board_rows, summary_of, told_zones
from obscale.rules.policies import told_policies
from obscale.rules.waves import FAILURES, Row, RowState, order_of

if TYPE_CHECKING:
    from tasks.notes import Happening

REFRESHES_A_SECOND: Final = 2
LINES_AROUND_A_TABLE: Final = 6
_STYLES: Final = {
    RowState.VERIFIED: "green",
    RowState.RUNNING: "cyan",
    RowState.FAILED: "bold red",
    RowState.BLOCKED: "bold red",
    RowState.SKIPPED: "yellow",
    RowState.LEFT: "yellow",
}


def show_batch_plan(console: Console, ledger: Ledger) -> None:
    """Print what preflight found: a line for each cluster, then every row that is blocked."""
    counts = ledger.counts()
    blocked = [entry for entry in ledger.entries if entry.state in FAILURES]
    verdict = f"{counts[RowState.WAITING]} of {len(ledger.entries)} nodes ready"
    style = "bold red" if blocked else "bold green"
    console.print(Text(verdict, style=style), Text("; ".join(told_policies(ledger.policies))))
    table = _plain("cluster", "nodes", "blocked", "servers a zone now", "order")
    for name, entries in ledger.by_cluster().items():
        sizes = ledger.sizes.get(entries[0].lane or name, {})
        rows = [Row(e.number, name, e.zone, e.target, standing=e.standing) for e in entries]
        table.add_row(
            *(Text(name), Text(str(len(entries)))),
            Text(str(sum(entry.state in FAILURES for entry in entries) or "—")),
            Text(told_zones(sizes)),
            Text(", ".join(row.zone for row in order_of(rows, sizes)), overflow="ellipsis"),
        )
    console.print(table)
    _show_reasons(console, blocked)


def show_ending(console: Console, report: BatchReport) -> None:
    """Print how a batch ended: what somebody has to do, and the answer last."""
    sick = [row for row in report.rows if row.state in FAILURES or row.state is RowState.LEFT]
    for row in sick:
        console.print(
            Text(f"{row.state.value}: ", style=_STYLES[row.state]),
            Text(f"{row.target} → {row.zone} of {row.cluster}: {row.why}"),
            Text(f"\n  → {row.next}" if row.next else "", style="bold"),
            sep="",
        )
    style = "bold green" if report.is_verified else "bold red"
    console.print(Text(report.summary, style=style))


def _show_reasons(console: Console, entries: Sequence[Entry]) -> None:
    for entry in entries:
        console.print(
            Text("blocked: ", style="bold red"),
            Text(f"{entry.target} → {entry.zone} of {entry.cluster}: {entry.note}"),
            Text(f"\n  → {entry.hint}" if entry.hint else "", style="bold"),
            sep="",
        )


class LiveBatch:
    """Draws a batch as it goes: a row a node while that fits the screen, else a row a cluster.

    Where nobody watches, say in a log, it prints a line for each row that ends instead.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._ledger: Ledger | None = None
        self._told: set[int] = set()
        self._live = Live(
            console=console,
            get_renderable=self._draw,
            refresh_per_second=REFRESHES_A_SECOND,
            transient=True,
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def hear(self, happening: "Happening") -> None:
        """Take one happening of the run onto the screen."""
        if happening.step != "batch":
            return
        self._ledger = happening.facts.get("ledger", self._ledger)
        if self._ledger is None or self._console.is_terminal:
            return
        if happening.text.startswith("batch.waiting"):
            self._console.print(Text(_waiting(self._ledger)))
        for entry in self._ledger.entries:
            if entry.ended and entry.number not in self._told:
                self._told.add(entry.number)
                took = f" after {entry.seconds:.0f} s" if entry.seconds else ""
                line = f"{entry.target} → {entry.zone} of {entry.cluster}: {entry.state}{took}"
                self._console.print(Text(line))

    def _draw(self) -> RenderableType:
        if self._ledger is None:
            return Text("reading clusters and targets ...")
        room = max(self._console.height - LINES_AROUND_A_TABLE, 1)
        heading = summary_of(self._ledger)
        if self._ledger.waits_until:
            heading = f"{heading}; {_waiting(self._ledger)}"
        elif self._ledger.phase == "preflight":
            heading = f"preflight of {len(self._ledger.entries)} nodes ..."
        table = _by_node if len(self._ledger.entries) <= room else _by_cluster
        return table(self._ledger, heading, room)


def _waiting(ledger: Ledger) -> str:
    until = f"{ledger.waits_until:%Y-%m-%d %H:%M} UTC" if ledger.waits_until else "the window"
    return f"nothing new may start before {until}"


def _by_node(ledger: Ledger, heading: str, _room: int) -> RenderableType:
    table = _plain("node", "cluster", "state", "took", title=heading)
    for entry, row in zip(ledger.entries, board_rows(ledger), strict=True):
        style = _STYLES.get(entry.state, "")
        cells = (row["node"], row["cluster"], row["state"], row["took"])
        table.add_row(*(Text(cell, style=style, overflow="ellipsis") for cell in cells))
    return table


def _by_cluster(ledger: Ledger, heading: str, room: int) -> RenderableType:
    table = _plain("cluster", "verified", "not", "running", title=heading)
    parts = sorted(ledger.by_cluster().items(), key=lambda part: _interest(part[1]))
    for name, entries in parts[:room]:
        done = sum(entry.state is RowState.VERIFIED for entry in entries)
        failed = sum(entry.state in FAILURES for entry in entries)
        now = next((entry for entry in entries if entry.state is RowState.RUNNING), None)
        stage = f"{now.target} {now.rung or now.stage or 'preflight'}" if now else ""
        table.add_row(
            Text(name, style="bold red" if failed else ""),
            Text(f"{done}/{len(entries)}"),
            Text(str(failed or ""), style="bold red"),
            Text(stage, style="cyan", overflow="ellipsis"),
        )
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
        table.add_column(name, no_wrap=True)
    return table
