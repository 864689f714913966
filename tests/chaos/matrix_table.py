"""Prints the matrix: each red cell as it comes, the table at the end."""

import asyncio
import logging
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence

import typer
from prefect.exceptions import TerminationSignal
from prefect.testing.utilities import prefect_test_harness

from tests.chaos.matrix import COLUMNS, WALL_SECONDS, Outcome, Row, cells_of, play_all
from tests.chaos.matrix_rows import ROWS

SHORT = {
    "healed": "ok",
    "blocked": "B",
    "unreachable": "U",
    "refused": "R",
    "identity": "I",
    "database-down": "D",
    "not-authorized": "A",
    "foreign-dag": "L",
    "under-maintenance": "M",
    "outcome-unknown": "?",
    "protocol": "P",
    "dag-failed": "F",
    "dag-rolled-back": "RB",
    "dag-stalled": "S",
    "verify": "V",
}
"""How endings stand in the table; the legend spells out those that occur."""

LONGEST_SHOWN = 3
EVERY = 50
"""Cells between two lines that say how far it is."""


def run(words: Sequence[str], at_once: int, share: int | None, seed: int) -> bool:
    """Play the rows whose names hold one of these words, all without words; True when green.

    Args:
        words: Of the rows' names; empty plays all.
        at_once: Cells side by side.
        share: Play only that many cells, drawn by the seed; None plays all.
        seed: The same seed draws the same cells.
    """
    rows = [row for row in ROWS if not words or any(word in row.name for word in words)]
    cells = cells_of(rows)
    if share is not None:
        cells = random.Random(seed).sample(cells, min(share, len(cells)))
        drawn = {cell.row.name for cell in cells}
        rows = [row for row in rows if row.name in drawn]
    typer.echo(f"{len(rows)} kinds of trouble in {len(cells)} cells")
    began = time.monotonic()
    done = 0

    def say(outcome: Outcome) -> None:
        nonlocal done
        done += 1
        _say(outcome)
        if done % EVERY == 0:
            typer.echo(f"{done} of {len(cells)} cells after {time.monotonic() - began:.0f} s")

    ended: list[int] = []

    async def night() -> list[Outcome]:
        playing = asyncio.current_task()
        assert playing is not None

        def end() -> None:
            ended.append(signal.SIGTERM)
            playing.cancel()

        # Prefect puts a handler of its own in place while a flow runs, and what that raises may
        # get lost in a simulated agent; the loop hears of the signal all the same.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
        logging.getLogger("uvicorn.error").addFilter(_is_no_signal)
        return await play_all(cells, say, at_once=at_once)

    with prefect_test_harness(server_startup_timeout=600):
        try:
            outcomes = asyncio.run(night())
        except BaseException:
            if ended:
                raise KeyboardInterrupt from None
            raise
    for line in table(rows, outcomes):
        typer.echo(line)
    red = [outcome for outcome in outcomes if outcome.wrong]
    counts = Counter(outcome.ending.partition(":")[0] for outcome in outcomes)
    typer.echo(f"\n{', '.join(f'{kind} {count}' for kind, count in counts.most_common())}")
    typer.echo(
        f"unnamed errors {counts_of(outcomes, 'UNNAMED')}, hangs {counts_of(outcomes, 'hang')}, "
        f"tracebacks {sum('traceback' in line for o in outcomes for line in o.wrong)}, "
        f"red cells {len(red)} of {len(outcomes)}; {time.monotonic() - began:.0f} s"
    )
    typer.echo(f"longest of {WALL_SECONDS:.0f} s: {longest(outcomes)}")
    for outcome in red:
        _say(outcome)
    return not red


def _is_no_signal(record: logging.LogRecord) -> bool:
    """Whether a log record is about something else than the signal that ends the night."""
    return not (record.exc_info and record.exc_info[0] is TerminationSignal)


def table(rows: Sequence[Row], outcomes: Sequence[Outcome]) -> list[str]:
    """The matrix in Markdown, with a legend, and why cells are empty."""
    by_cell = {(o.cell.row.name, o.cell.column): o for o in outcomes}
    width = max(len(row.name) for row in rows)
    lines = [
        f"| {'trouble':{width}} | {' | '.join(COLUMNS)} |",
        f"| {'-' * width} | {' | '.join('-' * len(column) for column in COLUMNS)} |",
    ]
    for row in rows:
        shown = [
            _short(by_cell[row.name, column]) if (row.name, column) in by_cell else "-"
            for column in COLUMNS
        ]
        padded = [text.ljust(len(column)) for text, column in zip(shown, COLUMNS, strict=True)]
        lines.append(f"| {row.name:{width}} | {' | '.join(padded)} |")
    endings = sorted({outcome.ending.partition(":")[0] for outcome in outcomes})
    lines += ["", "; ".join(f"{SHORT.get(kind, kind)} = {kind}" for kind in endings) + "; ! = red"]
    lines += [f"- {row.name}: {row.idle}" for row in rows if row.idle]
    return lines


def longest(outcomes: Sequence[Outcome]) -> str:
    """Name the cells that took longest, with their seconds."""
    slowest = sorted(outcomes, key=lambda outcome: -outcome.seconds)[:LONGEST_SHOWN]
    return "; ".join(f"{o.cell.row.name} / {o.cell.column} {o.seconds:.0f} s" for o in slowest)


def counts_of(outcomes: Sequence[Outcome], kind: str) -> int:
    """How many cells ended so."""
    return sum(outcome.ending.startswith(kind) for outcome in outcomes)


def _short(outcome: Outcome) -> str:
    kind = outcome.ending.partition(":")[0]
    return SHORT.get(kind, kind) + ("!" if outcome.wrong else "")


def _say(outcome: Outcome) -> None:
    if outcome.wrong:
        typer.echo(
            f"RED {outcome.cell.row.name} / {outcome.cell.column}: {outcome.ending}: "
            f"{'; '.join(outcome.wrong)}: {outcome.detail}"
        )
