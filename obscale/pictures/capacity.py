"""Draws what a cluster offers to tenants, before and after, as bars."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from obscale.language import for_page
from obscale.pictures.sheet import EDGE, LINE, WIDTH, Picture, Sheet
from obscale.pictures.words import told_amount

NAMES: Final = 106
SIDES: Final = 88
NUMBERS: Final = 168
BAR_FROM: Final = EDGE + NAMES + SIDES
BAR_ROOM: Final = WIDTH - 2 * EDGE - NAMES - SIDES - NUMBERS
TITLE: Final = "Capacity for tenants"


@dataclass(frozen=True)
class Held:
    """What is offered of one thing, and how much of it is taken. None: not known."""

    total: float | None
    used: float | None = None

    @property
    def share(self) -> float | None:
        """Taken part of the whole, 0 to 1."""
        if not self.total or self.used is None:
            return None
        return min(self.used / self.total, 1.0)


@dataclass(frozen=True)
class Bars:
    """One thing a cluster offers, before and after.

    Args:
        name: E.g. `memory`.
        measure: `cores` or `bytes`.
        before: Of the whole cluster.
        after: Likewise.
        unit: The largest unit of a tenant in the zone that grows; None: none, or not known.
    """

    name: str
    measure: str
    before: Held
    after: Held
    unit: float | None = None


def draw_capacity(bars: Sequence[Bars], sides: tuple[str, str]) -> Picture | None:
    """Draw two bars for each thing that is known at all.

    Args:
        bars: One a thing.
        sides: What the two bars of each are called, e.g. `before` and `after`.

    Returns:
        None where nothing is known.
    """
    known = [each for each in bars if each.before.total or each.after.total]
    if not known:
        return None
    sheet = Sheet()
    heading = f"{TITLE}, {sides[0]} and {sides[1]}"
    sheet.head(heading)
    words = []
    for each in known:
        most = max(each.before.total or 0.0, each.after.total or 0.0)
        told = []
        for at, held in enumerate((each.before, each.after)):
            base = sheet.line()
            if at == 0:
                sheet.text(EDGE, base, for_page(each.name, is_ours=True), room=NAMES - 8)
            elif each.unit:
                sheet.text(EDGE, base, unit_words(each), "quiet", room=NAMES - 8)
            side = for_page(sides[at], is_ours=True)
            sheet.text(EDGE + NAMES, base, side, "quiet", room=SIDES - 6)
            said = held_words(held, each.measure)
            sheet.text(WIDTH - EDGE, base, said, "small", room=NUMBERS - 8, at_end=True)
            _bar(sheet, held, each.unit if at else None, BAR_ROOM / most)
            told.append(f"{sides[at]} {said}")
        unit = f", {unit_words(each)}" if each.unit else ""
        words.append(f"{each.name}: {', '.join(told)}{unit}")
        sheet.line(8)
    if any(each.unit for each in known):
        note = "dashed: one more unit of the largest size in the zone that grows"
        sheet.text(EDGE, sheet.line(), note, "quiet", room=WIDTH - 2 * EDGE)
    return sheet.picture(heading, f"{heading}. {'; '.join(words)}.")


def _bar(sheet: Sheet, held: Held, unit: float | None, scale: float) -> None:
    if not held.total:
        return
    top = sheet.y - LINE + 3
    height = LINE - 6
    sheet.rect(BAR_FROM, top, held.total * scale, height, "ground")
    used = min(held.used or 0.0, held.total)
    if used:
        sheet.rect(BAR_FROM, top, used * scale, height, "busy")
    if unit and used + unit <= held.total:
        sheet.rect(BAR_FROM + used * scale, top, unit * scale, height, "next")


def held_words(held: Held, measure: str) -> str:
    """Say it: `18 of 48 cores used`, `64G`, `not known`."""
    if held.total is None:
        return "not known"
    total = told_amount(held.total, measure)
    noun = f" {measure}" if measure == "cores" else ""
    if held.used is None:
        return f"{total}{noun}"
    return f"{told_amount(held.used, measure)} of {total}{noun} used"


def unit_words(bars: Bars) -> str:
    """Say how large the largest unit is."""
    return f"unit {told_amount(bars.unit or 0.0, bars.measure)}"
