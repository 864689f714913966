"""Bars of capacity and of stages for a terminal, as the pictures of reports and plans have them."""

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.text import Text

from obscale.cli.terminal import as_text, label, reader_line
from obscale.pictures.capacity import Bars, Held, held_words, unit_words
from obscale.pictures.stages import Stage, end_of, span_of
from obscale.pictures.words import told_amount, told_seconds

USED: Final = "█"
REST: Final = "░"
ADDED: Final = "▓"
SHORTEST: Final = 8
LONGEST: Final = 40
INDENT: Final = "  "
_STYLES: Final = {"SUCCEED": "green", "FAILED": "red", "RUNNING": "cyan"}


def show_capacity(console: Console, bars: Sequence[Bars], title: str = "") -> None:
    """Print a bar for each thing that is known: what is taken, what is free, what is added.

    Args:
        console: Where to.
        bars: Of one cluster.
        title: Printed above; empty: none.
    """
    known = [each for each in bars if each.before.total or each.after.total]
    if not known:
        return
    words = [reader_line(_said(each)) for each in known]
    names = [as_text(label(each.name), is_said=True) for each in known]
    widest = max(name.cell_len for name in names) + 2
    room = _room(console, len(INDENT) + widest + 2 + max(map(_cells, words)))
    if title:
        console.print(as_text(title, style="bold"))
    for each, name, said in zip(known, names, words, strict=True):
        name.pad_right(widest - name.cell_len)
        line = as_text(INDENT)
        line.append_text(name)
        line.append_text(_filled(each, room))
        line.append_text(as_text(f"  {said}", is_said=True))
        console.print(line, soft_wrap=True)


def show_stages(console: Console, stages: Sequence[Stage]) -> None:
    """Print a bar a stage over the time it took, by the agent's own clock; nothing without times.

    Args:
        console: Where to.
        stages: Of one DAG, in their order.
    """
    span = span_of(stages)
    if span is None:
        return
    first, whole = span
    titles = [f"{stage.number} {stage.title}" for stage in stages]
    ends = [end_of(stage) for stage in stages]
    beside = len(INDENT) + 4 + max(map(_cells, ends))
    width = min(max(map(_cells, titles)), max(console.width - beside - SHORTEST, SHORTEST))
    room = _room(console, beside + width)
    heading = f"Stages, {told_seconds(whole)} by the agent's clock"
    console.print(as_text(heading, style="bold"))
    for stage, title, end in zip(stages, titles, ends, strict=True):
        line = as_text(INDENT)
        name = as_text(title)
        name.truncate(width, overflow="ellipsis", pad=True)
        line.append_text(name)
        begin, length = 0, 0
        if stage.started is not None:
            scale = room / whole if whole else 0.0
            begin = min(round((stage.started - first).total_seconds() * scale), room - 1)
            took = room if stage.seconds is None else round(stage.seconds * scale)
            length = min(max(took, 1), room - begin)
        line.append_text(as_text(f"  {' ' * begin}"))
        line.append_text(as_text(USED * length, style=_STYLES.get(stage.state, "yellow")))
        line.append_text(as_text(f"{' ' * (room - begin - length)}  {end}"))
        console.print(line, soft_wrap=True)


def _said(bars: Bars) -> str:
    """Say it, e.g. `18 of 48 → 64 cores used, unit 4`."""
    before, after, measure = bars.before, bars.after, bars.measure
    told = f"{held_words(before, measure)} → {held_words(after, measure)}"
    if before == after:
        told = held_words(after, measure)
    elif before.used is not None and before.used == after.used and before.total and after.total:
        grown = held_words(Held(after.total), measure)
        used, total = (told_amount(each, measure) for each in (before.used, before.total))
        told = f"{used} of {total} → {grown} used"
    return f"{told}, {unit_words(bars)}" if bars.unit else told


def _filled(bars: Bars, room: int) -> Text:
    """Draw one bar in its room."""
    now, then = bars.before.total or 0.0, bars.after.total or 0.0
    scale = room / max(now, then)
    used = bars.after.used if bars.after.total else bars.before.used
    ends = [min(used or 0.0, max(now, then)), now, max(now, then)]
    bar = as_text("")
    drawn = 0
    for sign, end, style in zip((USED, REST, ADDED), ends, ("cyan", "", "green"), strict=True):
        # What is there at all is seen.
        length = max(round(end * scale) - drawn, int(bool(end) and not drawn))
        bar.append_text(as_text(sign * length, style=style))
        drawn += length
    return bar


def _room(console: Console, beside: int) -> int:
    return max(min(console.width - beside, LONGEST), SHORTEST)


def _cells(text: str) -> int:
    return as_text(text).cell_len
