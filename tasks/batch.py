"""How is a batch carried out: rows begun as the rules allow, shown as they go, told at the end?"""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Final, Protocol, TypeGuard

from obscale.batch.ledger import Entry, Ledger
from obscale.batch.report import board_rows, render_batch, report_of, summary_of
from obscale.errors import DispatchError, ObscaleError
from obscale.rules.waves import FAILURES, RowState, decide_wave
from tasks.batch_row import RowRun, add_row
from tasks.notes import TableNote, artifact_key, note_page, tell

SHOW_EVERY_SECONDS: Final = 2.0
"""Shortest time between two versions of the batch's table."""
ROWS_A_SECOND: Final = 50
"""A long table is written less often: a thousand rows are 120 KB each time."""
LONGEST_SLEEP_SECONDS: Final = 60.0
"""While waiting for a window, so that a clock that was set is noticed."""
GRACE_SECONDS: Final = 20.0
"""For rows that are given up when a batch is ended, to close their connections."""


class Hands(Protocol):
    """Whoever carries rows out elsewhere than in this process."""

    async def take_up(self) -> None:
        """Find what an earlier batch of the same rows has left at work."""

    async def add(self, entry: Entry) -> None:
        """Have one row carried out; its entry says how it ended, or the error does."""

    async def release(self) -> None:
        """Let go of what has no row at work."""


async def carry_out(ledger: Ledger, hands: Hands | None = None) -> None:
    """Start rows as policies, failures and the clock allow, until none is left.

    Cancelled, it starts nothing more and leaves what runs to its cluster.

    Args:
        ledger: Of the batch, judged by preflight.
        hands: Carry rows out; None: this process does.

    Raises:
        DispatchError: Its hands are tied.
    """
    ledger.phase = "rows"
    if hands:
        await hands.take_up()
    running: dict[asyncio.Task[None], Entry] = {}
    try:
        while True:
            wave = decide_wave(ledger.rows(), ledger.sizes, ledger.policies, _now())
            for number, why in wave.skip.items():
                ledger.entries[number - 1].skip(why)
            for number in wave.start:
                entry = ledger.entries[number - 1]
                entry.begin()
                say_row(entry, "started", ledger)
                row = hands.add(entry) if hands else add_row(RowRun(entry))
                running[asyncio.create_task(row)] = entry
            if hands:
                await hands.release()
            _wait_for_window(ledger, wave.wait_until, idle=not running)
            if not running and wave.wait_until is None and not wave.skip:
                return
            await _next_change(running, wave.wait_until)
            for ended in [row for row in running if row.done()]:
                entry = running.pop(ended)
                error = error_of_row(ended)
                if isinstance(error, DispatchError) or ends_the_process(error):
                    raise error
                # What was carried out elsewhere has been told already.
                if entry.state is RowState.RUNNING:
                    entry.end(error)
                say_row(entry, entry.state.value, ledger)
    finally:
        await give_up(running)


def _wait_for_window(ledger: Ledger, until: datetime | None, *, idle: bool) -> None:
    if idle and until is not None and ledger.waits_until != until:
        tell("batch", f"batch.waiting until={until:%Y-%m-%dT%H:%M}Z why='window'", ledger=ledger)
    ledger.waits_until = until


async def _next_change(running: dict[asyncio.Task[None], Entry], until: datetime | None) -> None:
    """Wait until a row ends, or the clock may allow another one."""
    seconds = None
    if until is not None:
        seconds = min(max((until - _now()).total_seconds(), 0.0), LONGEST_SLEEP_SECONDS)
    if running:
        await asyncio.wait(running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    elif seconds is not None:
        await asyncio.sleep(seconds)


def error_of_row(ended: asyncio.Task[None]) -> BaseException | None:
    """Give what a row's task ended by; None where it ended well."""
    return asyncio.CancelledError() if ended.cancelled() else ended.exception()


def ends_the_process(error: BaseException | None) -> TypeGuard[BaseException]:
    """Whether a row was struck by what was meant for all of them.

    SIGTERM, as Prefect sends it to cancel a run, is raised in whatever runs at that moment.
    """
    return isinstance(error, BaseException) and not isinstance(
        error, Exception | asyncio.CancelledError
    )


def say_row(entry: Entry, what: str, ledger: Ledger) -> None:
    """Say in the log what has become of a row."""
    level = logging.WARNING if entry.state in FAILURES else logging.INFO
    why = f" why={entry.note!r}" if entry.note else ""
    words = f"row.{what} node={entry.target} zone={entry.zone} cluster={entry.cluster}{why}"
    tell("batch", words, level=level, ledger=ledger)


async def give_up(running: Collection[asyncio.Task[None]]) -> None:
    """Stop following rows; their DAGs go on in the clusters."""
    for row in running:
        row.cancel()
    if running:
        await asyncio.wait(running, timeout=GRACE_SECONDS)


@asynccontextmanager
async def shown(ledger: Ledger) -> AsyncIterator[None]:
    """Keep the batch's table up to date in this block, and tell the report however it ends."""
    note = TableNote(artifact_key("batch", ledger.key))
    await note.show(board_rows(ledger), summary_of(ledger))
    tell("batch", f"batch.begun key={ledger.key} nodes={len(ledger.entries)}", ledger=ledger)
    keeper = asyncio.create_task(_keep_shown(ledger, note))
    try:
        yield
    except BaseException as stop:
        ledger.stop(_why_ended(stop))
        raise
    finally:
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper
        ledger.ended, ledger.phase = _now(), "ended"
        report = report_of(ledger)
        await note.show(board_rows(ledger), report.summary)
        await note_page(
            artifact_key("batch-report", ledger.key), render_batch(report), report.summary
        )
        tell("batch", f"batch.ended {report.summary}", batch_report=report, ledger=ledger)


async def _keep_shown(ledger: Ledger, note: TableNote) -> None:
    shown_rows = board_rows(ledger)
    while True:
        await asyncio.sleep(max(SHOW_EVERY_SECONDS, len(ledger.entries) / ROWS_A_SECOND))
        rows = board_rows(ledger)
        # How long a row has taken so far is no news by itself.
        if _news(rows) != _news(shown_rows):
            await note.show(rows, summary_of(ledger))
            shown_rows = rows


def _news(rows: list[dict[str, str]]) -> list[tuple[str, ...]]:
    return [tuple(value for key, value in row.items() if key != "took") for row in rows]


def _why_ended(stop: BaseException) -> str:
    if isinstance(stop, ObscaleError):
        return str(stop)
    return f"the batch was ended before its turn ({type(stop).__name__})"


def _now() -> datetime:
    return datetime.now(UTC)
