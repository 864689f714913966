"""Prints the matrix: each red cell as it comes, the table at the end."""

import asyncio
import logging
import random
import signal
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import typer
from prefect.exceptions import TerminationSignal
from prefect.testing.utilities import prefect_test_harness

from tests.chaos.matrix import (
    WALL_SECONDS,
    Cell,
    Outcome,
    Row,
    cells_of,
    healthy_seconds,
    play_all,
)
from tests.chaos.matrix_leaving import LEAVING
from tests.chaos.matrix_rows import ROWS
from tests.chaos.matrix_using import USING
from tests.chaos.operations import Kind, shares_of

ROWS_OF: dict[Kind, Sequence[Row]] = {"add": ROWS, "remove": LEAVING, "use": USING}
"""By what is asked for."""

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


def run(
    kinds: Sequence[Kind], words: Sequence[str], at_once: int, share: int | None, seed: int
) -> bool:
    """Play the rows whose names hold one of these words, all without words; True when green.

    Args:
        kinds: What is asked for.
        words: Of the rows' names; empty plays all.
        at_once: Cells side by side.
        share: Play only that many cells, drawn by the seed; None plays all.
        seed: The same seed draws the same cells.
    """
    cells = [
        cell
        for kind, count in shares_of([kind for kind in kinds if kind in ROWS_OF], share).items()
        for cell in drawn_of(named(ROWS_OF[kind], words), count, seed)
    ]
    rows = list({id(cell.row): cell.row for cell in cells}.values())
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
    for line in tables(rows, outcomes):
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
    waits = [outcome.prefect_seconds for outcome in outcomes if outcome.prefect_seconds]
    typer.echo(f"{len(waits)} cells waited for a busy Prefect server, {sum(waits):.0f} s in all")
    for line in beside_healthy(outcomes):
        typer.echo(line)
    for outcome in red:
        _say(outcome)
    return not red


def named(rows: Sequence[Row], words: Sequence[str]) -> list[Row]:
    """Rows whose names hold one of these words; all where there are none."""
    return [row for row in rows if not words or any(word in row.name for word in words)]


def drawn_of(rows: Sequence[Row], count: int | None, seed: int) -> list[Cell]:
    """Cells of these rows: so many, drawn by the seed; all where no number is named."""
    cells = cells_of(rows)
    return cells if count is None else random.Random(seed).sample(cells, min(count, len(cells)))


def beside_healthy(outcomes: Sequence[Outcome]) -> list[str]:
    """Per operation how long a healthy run took, and those that healed, beside it."""
    lines = []
    for name, seconds in healthy_seconds(outcomes).items():
        healed = [
            outcome
            for outcome in outcomes
            if (outcome.cell.row.operation.name, outcome.ending) == (name, "healed")
            and not outcome.cell.row.is_healthy
        ]
        if healed:
            middle = statistics.median(outcome.seconds for outcome in healed)
            lines.append(
                f"{name}: a healthy run {seconds:.0f} s, one that heals {middle:.0f} s, "
                f"at most {max(outcome.seconds for outcome in healed):.0f} s"
            )
    return lines


def _is_no_signal(record: logging.LogRecord) -> bool:
    """Whether a log record is about something else than the signal that ends the night."""
    return not (record.exc_info and record.exc_info[0] is TerminationSignal)


def tables(rows: Sequence[Row], outcomes: Sequence[Outcome]) -> Iterator[str]:
    """A matrix for each operation."""
    for operation in dict.fromkeys(row.operation for row in rows):
        yield f"\n{operation.name}:"
        yield from table([row for row in rows if row.operation is operation], outcomes)


def table(rows: Sequence[Row], outcomes: Sequence[Outcome]) -> list[str]:
    """The matrix in Markdown, with a legend, and why cells are empty."""
    columns = rows[0].columns
    own = [outcome for outcome in outcomes if outcome.cell.row.operation is rows[0].operation]
    by_cell = {(o.cell.row.name, o.cell.column): o for o in own}
    width = max(len(row.name) for row in rows)
    lines = [
        f"| {'trouble':{width}} | {' | '.join(columns)} |",
        f"| {'-' * width} | {' | '.join('-' * len(column) for column in columns)} |",
    ]
    for row in rows:
        shown = [
            _short(by_cell[row.name, column]) if (row.name, column) in by_cell else "-"
            for column in columns
        ]
        padded = [text.ljust(len(column)) for text, column in zip(shown, columns, strict=True)]
        lines.append(f"| {row.name:{width}} | {' | '.join(padded)} |")
    endings = sorted({outcome.ending.partition(":")[0] for outcome in own})
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
            f"RED {outcome.cell.row.operation.name}: {outcome.cell.row.name} / "
            f"{outcome.cell.column}: {outcome.ending}: "
            f"{'; '.join(outcome.wrong)}: {outcome.detail}"
        )
