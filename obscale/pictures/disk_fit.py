"""Draws what a new observer needs of a disk beside what is free there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from obscale.language import for_page
from obscale.pictures.sheet import EDGE, LINE, WIDTH, Picture, Sheet, named, width_of
from obscale.sizes import render_bytes

NAMES: Final = 70
BAR_FROM: Final = EDGE + NAMES
BAR_ROOM: Final = WIDTH - 2 * EDGE - NAMES
TITLE: Final = "Disks that do not fit"
MOST_DISKS: Final = 6
_STYLES: Final = ("busy", "warn", "good", "idle")
_SWATCH: Final = 10


@dataclass(frozen=True)
class Disk:
    """One disk, in bytes, as far as `df` shows it.

    Args:
        path: Mount point.
        total: Its size.
        free: At most free.
        parts: What the first start takes, by name.
        is_sure: Whether it cannot fit; else it is too close to call.
    """

    path: str
    total: int
    free: int
    parts: tuple[tuple[str, int], ...]
    is_sure: bool = True

    @property
    def held(self) -> int:
        """At least held by others."""
        return max(self.total - self.free, 0)

    @property
    def needed(self) -> int:
        """All parts together."""
        return sum(size for _, size in self.parts)

    @property
    def missing(self) -> int:
        """By how much it is too small; 0: it may fit."""
        return max(self.needed - self.free, 0)


def draw_disk_fit(disks: Sequence[Disk]) -> Picture | None:
    """Draw each disk with two bars: what is held and free, and what is needed.

    Returns:
        None where there is no disk.
    """
    if not disks:
        return None
    sheet = Sheet()
    sheet.head(TITLE)
    words = [_draw(sheet, disk) for disk in disks[:MOST_DISKS]]
    if (more := len(disks) - MOST_DISKS) > 0:
        words.append(f"and {more} more")
        sheet.text(EDGE, sheet.line(), words[-1], "quiet", room=WIDTH - 2 * EDGE)
    return sheet.picture(TITLE, f"{TITLE}. {'; '.join(words)}.")


def _draw(sheet: Sheet, disk: Disk) -> str:
    answer = f"{render_bytes(disk.missing)} too little" if disk.is_sure else "too close to call"
    said = (
        f"needed {render_bytes(disk.needed)}, at most {render_bytes(disk.free)} "
        f"of {render_bytes(disk.total)} free: {answer}"
    )
    room = WIDTH - 2 * EDGE
    shown = width_of(said) + 8
    sheet.text(EDGE, sheet.line(), disk.path, room=room - shown - 8)
    sheet.text(WIDTH - EDGE, sheet.y - LINE // 2 + 4, said, room=shown, at_end=True)
    scale = BAR_ROOM / max(disk.total, disk.held + disk.needed, 1)
    sheet.text(EDGE, sheet.line(), for_page("disk", is_ours=True), "quiet", room=NAMES)
    top, height = sheet.y - LINE + 3, LINE - 6
    sheet.rect(BAR_FROM, top, disk.total * scale, height, "ground", "free")
    sheet.rect(BAR_FROM, top, disk.held * scale, height, "idle", "held")
    sheet.text(EDGE, sheet.line(), for_page("needed", is_ours=True), "quiet", room=NAMES)
    top = sheet.y - LINE + 3
    x = BAR_FROM + disk.held * scale
    for (name, size), style in zip(disk.parts, _STYLES, strict=False):
        sheet.rect(x, top, size * scale, height, style, name)
        x += size * scale
    if disk.missing:
        end = BAR_FROM + disk.total * scale
        sheet.rect(end, top - 2, disk.missing * scale, height + 4, "over", "too little")
    parts = _legend(sheet, disk)
    sheet.line(8)
    return f"{named(disk.path)}: {said}; {parts}"


def _legend(sheet: Sheet, disk: Disk) -> str:
    base = sheet.line()
    x: float = BAR_FROM
    told = [("held", disk.held, "idle")]
    told += [(name, size, style) for (name, size), style in zip(disk.parts, _STYLES, strict=False)]
    for name, size, style in told:
        words = _part(name, size)
        sheet.rect(x, base - _SWATCH + 1, _SWATCH, _SWATCH, style)
        sheet.text(x + _SWATCH + 5, base, words, "small", room=width_of(words) + 1)
        x += _SWATCH + 20 + width_of(words)
    return ", ".join(_part(name, size) for name, size, _ in told)


def _part(name: str, size: int) -> str:
    least = "at least " if name == "held" else ""
    return f"{name} {least}{render_bytes(size)}"
