"""Draws the zones of a cluster as boxes of observers, before and after."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from obscale.language import for_page
from obscale.pictures.sheet import EDGE, LINE, WIDTH, Picture, Sheet, named
from obscale.pictures.words import counted, parted

GAP: Final = 8
HALF: Final = (WIDTH - 2 * EDGE - 20) / 2
"""Pixels for one of the two sides."""
BOX_HEIGHT: Final = 40
MOST_ZONES: Final = 8
MOST_BOXES: Final = 16
"""On one side, all zones together; each zone has two at least."""
LEAST_BOXES: Final = 2
LONGEST_STATE: Final = 24
"""Characters."""
SERVES: Final = frozenset({"ACTIVE", "RUNNING"})
"""OceanBase's word and obshell's for a server that serves."""
After = Literal["found", "expected", "none"]
"""What is known of after: it was seen, it is planned, or nothing is."""
_HEADS: Final[dict[After, str]] = {
    "found": "Observers, before and after",
    "expected": "Observers, now and as planned",
    "none": "Observers, before anything was done",
}
_SIDES: Final[dict[After, tuple[str, ...]]] = {
    "found": ("before", "after"),
    "expected": ("now", "as planned"),
    "none": ("before",),
}


@dataclass(frozen=True)
class Observer:
    """One observer.

    Args:
        name: `ip:rpc_port`.
        before: Its state; empty: not told; None: it was not there.
        after: Likewise.
    """

    name: str
    before: str | None
    after: str | None

    @property
    def is_new(self) -> bool:
        """Whether it was not there before."""
        return self.before is None

    @property
    def serves_all_along(self) -> bool:
        """Whether there is nothing to see."""
        return self.before in SERVES and self.after in SERVES


@dataclass(frozen=True)
class ZoneBoxes:
    """One zone with its observers."""

    name: str
    observers: tuple[Observer, ...]


def draw_zones(zones: Sequence[ZoneBoxes], after: After) -> Picture | None:
    """Draw each zone with its observers, what changes first.

    Args:
        zones: Of one cluster, in the order they are shown.
        after: What is known of after.

    Returns:
        None where there is no observer.
    """
    if not any(zone.observers for zone in zones):
        return None
    shown, left = parted(zones, MOST_ZONES, lambda zone: _changes(zone, after))
    sheet = Sheet()
    sheet.head(_HEADS[after])
    for at, side in enumerate(_SIDES[after]):
        label = for_page(side, is_ours=True)
        sheet.text(EDGE + at * (HALF + 20), sheet.y + 12, label, "quiet", room=HALF)
    sheet.line(LINE - 4)
    each = max(LEAST_BOXES, MOST_BOXES // max(len(shown), 1))
    words = [_draw(sheet, zone, after, each) for zone in shown]
    if left:
        count = sum(len(zone.observers) for zone in left)
        words.append(f"and {counted(len(left), 'more zone')} with {counted(count, 'observer')}")
        sheet.text(EDGE, sheet.line(), words[-1], "quiet", room=WIDTH - 2 * EDGE)
    return sheet.picture(_HEADS[after], f"{_HEADS[after]}. {'; '.join(words)}.")


def _changes(zone: ZoneBoxes, after: After) -> bool:
    return after != "none" and any(each.before != each.after for each in zone.observers)


def _draw(sheet: Sheet, zone: ZoneBoxes, after: After, most: int) -> str:
    """Draw one zone; gives it in words."""
    was = sum(each.before is not None for each in zone.observers)
    is_ = sum(each.after is not None for each in zone.observers)
    same = after == "none" or was == is_
    count = counted(was, "observer") if same else f"{was} → {counted(is_, 'observer')}"
    sheet.text(EDGE, sheet.line(LINE + 4), zone.name, room=WIDTH - 2 * EDGE - 140)
    sheet.text(WIDTH - EDGE, sheet.y - 8, count, "small", room=130, at_end=True)
    # What is new, goes or does not serve is the last to be left out.
    shown, left = parted(zone.observers, most, lambda each: not each.serves_all_along)
    room = HALF if after != "none" else WIDTH - 2 * EDGE
    top = sheet.y
    rests = []
    heights = []
    for at in range(len(_SIDES[after])):
        place = EDGE + at * (HALF + 20), top, room
        rest = _rest([each.after if at else each.before for each in left])
        heights.append(_side(sheet, shown, bool(at), place, rest))
        rests.append(rest)
    sheet.y = int(top + max(heights))
    words = [_words(each, after) for each in shown] + [_joined(rests)]
    return f"zone {named(zone.name)}, {count}: {', '.join(filter(None, words))}"


def _side(
    sheet: Sheet,
    observers: Sequence[Observer],
    is_after: bool,
    place: tuple[float, float, float],
    rest: str,
) -> float:
    """Draw one side of a zone; gives its height."""
    x, y, room = place
    boxes = [
        (each, state)
        for each in observers
        if (state := each.after if is_after else each.before) is not None
    ]
    columns = int((room + GAP) // ((HALF - GAP) / 2 + GAP))
    width = (room - GAP * (columns - 1)) / columns
    for number, (observer, state) in enumerate(boxes):
        row, column = divmod(number, columns)
        box = x + column * (width + GAP), y + row * (BOX_HEIGHT + GAP), width
        _box(sheet, box, observer, state, is_new=is_after and observer.is_new)
    height = float(-(-len(boxes) // columns) * (BOX_HEIGHT + GAP))
    if said := rest or ("" if boxes else "none"):
        sheet.text(x, y + height + 10, said, "quiet", room=room)
        height += LINE
    return height


def _rest(states: Sequence[str | None]) -> str:
    """Say how many are left out of one side."""
    there = [state for state in states if state is not None]
    serve = sum(state in SERVES for state in there)
    return f"and {len(there)} more, {serve} of them serve" if there else ""


def _joined(rests: Sequence[str]) -> str:
    return ", then ".join(dict.fromkeys(filter(None, rests)))


def _words(observer: Observer, after: After) -> str:
    name = named(observer.name)
    if observer.before is None:
        return f"{name} new, {_state(observer.after or '')}"
    if after == "none" or observer.before == observer.after:
        return f"{name} {_state(observer.before)}"
    is_ = "gone" if observer.after is None else _state(observer.after)
    return f"{name} {_state(observer.before)} → {is_}"


def _box(
    sheet: Sheet, place: tuple[float, float, float], observer: Observer, state: str, *, is_new: bool
) -> None:
    x, y, width = place
    style = "good" if state in SERVES else "warn" if state else ""
    planned = " dashed" if is_new and state not in SERVES else ""
    sheet.rect(x, y, width, BOX_HEIGHT, f"box {style}{' new' if is_new else ''}{planned}")
    sheet.text(x + 8, y + 16, observer.name, "small", room=width - 16)
    told = f"new, {_state(state)}" if is_new else _state(state)
    sheet.text(x + 8, y + 32, told, "small", room=width - 16)


def _state(state: str) -> str:
    return named(state, LONGEST_STATE) or "state not told"
