"""Draws how many more units fit in each zone, now and once the nodes have joined."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from obscale.language import for_page
from obscale.pictures.sheet import EDGE, LINE, WIDTH, Picture, Sheet, named

TITLE: Final = "Room for more units"
NAMES: Final = 180
NUMBERS: Final = 110
CELL: Final = 16
MOST_CELLS: Final = (WIDTH - 2 * EDGE - NAMES - NUMBERS) // CELL
MOST_CONFIGS: Final = 4
MOST_ZONES: Final = 12
NOTE: Final = "filled: fits now; dashed: comes by the nodes that join"


@dataclass(frozen=True)
class ZoneCells:
    """One zone: so many units fit now, so many once grown. None: not known."""

    zone: str
    now: int | None
    grown: int | None


@dataclass(frozen=True)
class UnitCells:
    """One unit config.

    Args:
        name: With its size, e.g. `u_app (2 cores, 4G, log 12G)`.
        zones: In their order.
        told: What holds for the cluster.
        ends_first: What is short, and where; empty: not known.
    """

    name: str
    zones: tuple[ZoneCells, ...]
    told: str
    ends_first: str = ""


def draw_unit_room(units: Sequence[UnitCells]) -> Picture | None:
    """Draw a cell for each unit that fits, those that come by the nodes that join apart.

    Returns:
        None where there is no config.
    """
    if not units:
        return None
    sheet = Sheet()
    sheet.head(TITLE)
    words = [_draw(sheet, unit) for unit in units[:MOST_CONFIGS]]
    if (more := len(units) - MOST_CONFIGS) > 0:
        words.append(f"and {more} more")
        sheet.text(EDGE, sheet.line(), words[-1], "quiet", room=WIDTH - 2 * EDGE)
    sheet.text(EDGE, sheet.line(), NOTE, "quiet", room=WIDTH - 2 * EDGE)
    return sheet.picture(TITLE, f"{TITLE}. {'; '.join(words)}.")


def changed(now: int | None, grown: int | None) -> str:
    """Write it: `2`, `0 → 2`, `not known`."""
    before, after = ("not known" if each is None else str(each) for each in (now, grown))
    return after if before == after else f"{before} → {after}"


def _draw(sheet: Sheet, unit: UnitCells) -> str:
    sheet.text(EDGE, sheet.line(), unit.name, room=WIDTH - 2 * EDGE)
    for zone in unit.zones[:MOST_ZONES]:
        base = sheet.line()
        top, height = sheet.y - LINE + 3, LINE - 6
        sheet.text(EDGE, base, zone.zone, "quiet", room=NAMES - 8)
        now, grown = zone.now or 0, zone.grown or 0
        for at in range(min(max(now, grown), MOST_CELLS)):
            style = "good" if at < now else "next"
            sheet.rect(EDGE + NAMES + at * CELL, top, CELL - 4, height, style)
        said = changed(zone.now, zone.grown)
        sheet.text(WIDTH - EDGE, base, said, "small", room=NUMBERS - 8, at_end=True)
    shown = unit.zones[:MOST_ZONES]
    told = [f"{named(zone.zone)} {changed(zone.now, zone.grown)}" for zone in shown]
    if (more := len(unit.zones) - MOST_ZONES) > 0:
        told.append(f"and {more} zones more")
        sheet.text(EDGE, sheet.line(), told[-1], "quiet", room=WIDTH - 2 * EDGE)
    below = [unit.told, *([f"ends first: {for_page(unit.ends_first)}"] if unit.ends_first else [])]
    for line in below:
        sheet.text(EDGE, sheet.line(), line, "quiet", room=WIDTH - 2 * EDGE)
    sheet.line(8)
    return f"{named(unit.name)}: {'; '.join([', '.join(told), *below])}"
