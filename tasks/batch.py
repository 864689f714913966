"""Carries out a batch: begins rows by the rules, shows them, and reports."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Final, Protocol, TypeGuard

from obscale.batch.connections import ConnectionCache
from obscale.batch.ledger import Entry, Ledger
from obscale.batch.pictures import pictures_of
from obscale.batch.process_limits import raise_file_limit
from obscale.batch.report import board_rows, render_batch, report_of, summary_of
from obscale.batch.schedule import FAILURES, RowState, decide_wave, is_called_off
from obscale.clock import monotonic, utc_now
from obscale.errors import DispatchError, ObscaleError
from obscale.events import BatchBegun, BatchEnded, BatchWaits, RowChanged
from obscale.submit.result import CalledOff
from obscale.tasks.batch_row import Gates, RowRun, carry_row
from obscale.tasks.runtime.baselines import this_run
from obscale.tasks.runtime.journal import (
    TableNote,
    artifact_key,
    aside,
    note_page,
    publish,
    publish_line,
    written_by_its_end,
)
from obscale.tasks.runtime.person import command_again

SHOW_EVERY_SECONDS: Final = 2.0
"""Shortest time between two versions of the batch's table."""
ROWS_A_SECOND: Final = 50
"""A long table is written less often: a thousand rows are 120 KB each time."""
LONGEST_SLEEP_SECONDS: Final = 60.0
"""While waiting for a window, so that a clock that was set is noticed."""
PAUSE_TIMES: Final = 9
"""Between two decisions at least so many times as long as one takes: of ten thousand rows a tenth
of a second, and where some row ends every moment, this process would do nothing else."""
GRACE_SECONDS: Final = 20.0
"""For rows that are given up when a batch is ended, to close their connections."""


class RowRunner(Protocol):
    """Whoever carries rows out elsewhere than in this process."""

    async def take_up(self) -> None:
        """Find what an earlier batch of the same rows has left at work."""

    async def add(self, entry: Entry, called_off: CalledOff) -> None:
        """Have one row carried out; its entry says how it ended, or the error does.

        Args:
            entry: Of the batch's ledger.
            called_off: Whether nothing may begin now, although the row was started: put it back.
        """

    async def hold(self) -> None:
        """Have nothing submitted that is started and not submitted yet."""

    async def release(self) -> None:
        """Let go of what has no row at work."""


class LocalRunner:
    """Carries rows out in this process."""

    def __init__(self, ledger: Ledger, clusters: ConnectionCache) -> None:
        self._ledger = ledger
        self._gates = Gates()
        self._clusters = clusters
        self._batch = ledger.key

    async def take_up(self) -> None:
        """Nothing: what an earlier process left at work is found by preflight."""

    async def add(self, entry: Entry, called_off: CalledOff) -> None:
        """Carry one row out."""
        look = self._ledger.take_look(entry)
        await carry_row(RowRun(entry, self._gates, called_off, self._clusters, self._batch, look))

    async def hold(self) -> None:
        """Nothing: each row asks by itself right before it submits."""

    async def release(self) -> None:
        """Close the connections to clusters that have no row at work."""
        at_work = {e.cluster for e in self._ledger.entries if e.state is RowState.RUNNING}
        await self._clusters.close_all_but(at_work)


async def run_batch(ledger: Ledger, runner: RowRunner) -> None:
    """Start rows as policies, failures and the clock allow, until none is left.

    Cancelled, it starts nothing more and leaves what runs to its cluster.

    Args:
        ledger: Of the batch, judged by preflight.
        runner: Runs the rows.

    Raises:
        DispatchError: No worker can be given its rows.
    """
    ledger.phase = "rows"
    await runner.take_up()
    running: dict[asyncio.Task[None], Entry] = {}

    async def called_off() -> bool:
        return is_called_off(ledger.rows(), ledger.policies, utc_now())

    try:
        while True:
            began = monotonic()
            wave = decide_wave(ledger.rows(), ledger.sizes, ledger.policies, utc_now())
            decided = monotonic()
            for number, why in wave.skip.items():
                ledger.entries[number - 1].skip(why)
            for number in wave.start:
                entry = ledger.entries[number - 1]
                entry.begin()
                say_row(entry, "started", ledger)
                running[asyncio.create_task(runner.add(entry, called_off))] = entry
            if await called_off():
                await runner.hold()
            await runner.release()
            _wait_for_window(ledger, wave.wait_until, idle=not running)
            if not running and wave.wait_until is None and not wave.skip:
                return
            await _next_change(running, wave.wait_until)
            # All rows are gone through for each decision: what ends soon after is decided with it.
            await asyncio.sleep(decided + PAUSE_TIMES * (decided - began) - monotonic())
            for ended in [row for row in running if row.done()]:
                entry = running.pop(ended)
                error = error_of_row(ended)
                if isinstance(error, DispatchError) or ends_the_process(error):
                    raise error
                # Else it was put back, or carried out elsewhere and told already.
                if entry.state is RowState.RUNNING:
                    entry.end(error)
                say_row(entry, entry.state.value, ledger)
    finally:
        await give_up(running)


def _wait_for_window(ledger: Ledger, until: datetime | None, *, idle: bool) -> None:
    if idle and until is not None and ledger.waits_until != until:
        publish(BatchWaits(ledger=ledger, until=until))
    ledger.waits_until = until


async def _next_change(running: dict[asyncio.Task[None], Entry], until: datetime | None) -> None:
    """Wait until a row ends, or the clock may allow another one."""
    seconds = None
    if until is not None:
        seconds = min(max((until - utc_now()).total_seconds(), 0.0), LONGEST_SLEEP_SECONDS)
    if running:
        await asyncio.wait(running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    elif seconds is not None:
        await asyncio.sleep(seconds)


def error_of_row(ended: asyncio.Task[None]) -> BaseException | None:
    """Give what a row's task ended by; None where it ended well."""
    return asyncio.CancelledError() if ended.cancelled() else ended.exception()


def ends_the_process(error: BaseException | None) -> TypeGuard[BaseException]:
    """Whether a row was struck by what was meant for all of them.

    SIGTERM, where it is not heeded (`tasks/runtime/sigterm.py`), strikes whatever runs then.
    """
    return isinstance(error, BaseException) and not isinstance(
        error, Exception | asyncio.CancelledError
    )


def say_row(entry: Entry, what: str, ledger: Ledger) -> None:
    """Say in the log what has become of a row."""
    severity = logging.WARNING if entry.state in FAILURES else logging.INFO
    publish(RowChanged(severity=severity, ledger=ledger, row=entry, what=what))


async def give_up(running: Collection[asyncio.Task[None]]) -> None:
    """Stop following rows; their DAGs go on in the clusters."""
    for row in running:
        row.cancel()
    if running:
        await asyncio.wait(running, timeout=GRACE_SECONDS)


@asynccontextmanager
async def shown(ledger: Ledger) -> AsyncIterator[None]:
    """Keep the batch's table up to date in this block, and tell the report however it ends."""
    async with written_by_its_end(), _shown(ledger):
        yield


@asynccontextmanager
async def _shown(ledger: Ledger) -> AsyncIterator[None]:
    note = TableNote(artifact_key("batch", ledger.key))
    await note.show(board_rows(ledger), summary_of(ledger))
    publish(BatchBegun(ledger=ledger))
    _make_room(ledger)
    keeper = asyncio.create_task(_keep_shown(ledger, note))
    ended_by: BaseException | None = None
    try:
        yield
    except BaseException as stop:
        ended_by = stop
        ledger.stop(_why_ended(stop))
        raise
    finally:
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper
        ledger.ended, ledger.phase = utc_now(), "ended"
        report = report_of(ledger)
        await aside(note.show(board_rows(ledger), report.summary))
        page = render_batch(report, again=command_again(this_run()), pictures=pictures_of(report))
        await aside(note_page(artifact_key("batch-report", ledger.key), page, report.summary))
        publish(BatchEnded(ledger=ledger, report=report, ended_by=ended_by))


def _make_room(ledger: Ledger) -> None:
    """See that the connections of all clusters at once may be open."""
    at_once = min(ledger.policies.max_clusters_at_once, len(ledger.by_cluster()))
    if missing := raise_file_limit(at_once):
        words = f"batch.files_short missing={missing} next='ulimit -n, or fewer clusters at once'"
        publish_line("batch", words, logging.WARNING)


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
