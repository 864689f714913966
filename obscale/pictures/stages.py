"""Draws the stages of a DAG as bars over the time they took, by the agent's own clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from obscale.pictures.sheet import EDGE, LINE, WIDTH, Picture, Sheet, named
from obscale.pictures.words import told_seconds

TITLES: Final = 312
"""Pixels for the titles of the stages."""
ENDS: Final = 112
"""Pixels for state and time."""
BAR_FROM: Final = EDGE + TITLES
BAR_ROOM: Final = WIDTH - 2 * EDGE - TITLES - ENDS
THINNEST: Final = 2.0
"""Pixels of a stage that took no time at all."""
MOST_STAGES: Final = 30
"""Of a scale-out's DAG there are eleven at most."""
UNDONE: Final = "undone"
NOT_BEGUN: Final = frozenset({"PENDING", "READY"})
_STYLES: Final = {"SUCCEED": "good", "FAILED": "bad", "RUNNING": "busy", UNDONE: "warn"}


@dataclass(frozen=True)
class Stage:
    """One stage of a DAG.

    Args:
        number: From 1.
        title: Its node's.
        state: As obshell spells it, or `undone`.
        started: By the agent's clock, aware; None: it has not begun, or the agent does not tell.
        ended: Likewise; None: it goes on, or the agent does not tell.
    """

    number: int
    title: str
    state: str
    started: datetime | None
    ended: datetime | None

    @property
    def seconds(self) -> float | None:
        """How long it took; None where that is not told."""
        if self.started is None or self.ended is None:
            return None
        return (self.ended - self.started).total_seconds()


def draw_stages(title: str, stages: Sequence[Stage]) -> Picture | None:
    """Draw one line a stage.

    Args:
        title: Whose they are.
        stages: In their order.

    Returns:
        None where no stage has a time.
    """
    span = span_of(stages)
    if span is None:
        return None
    first, whole = span
    last = first + timedelta(seconds=whole)
    heading = f"{named(title)}: {told_seconds(whole)}, {_clock(first)} to {_clock(last)} UTC"
    sheet = Sheet()
    sheet.head(heading)
    for stage in stages[:MOST_STAGES]:
        _draw(sheet, stage, first, whole)
    words = "; ".join(_words(stage, first) for stage in stages[:MOST_STAGES])
    more = _more(len(stages) - MOST_STAGES)
    if more:
        sheet.text(EDGE, sheet.line(), more, "quiet", room=TITLES)
    return sheet.picture(
        title, f"{heading} by the agent's clock. {words}{'; ' if more else ''}{more}."
    )


def span_of(stages: Sequence[Stage]) -> tuple[datetime, float] | None:
    """Give when the first one began, and for how many seconds they went on; None without times."""
    times = [at for stage in stages for at in (stage.started, stage.ended) if at is not None]
    return (min(times), (max(times) - min(times)).total_seconds()) if times else None


def _draw(sheet: Sheet, stage: Stage, first: datetime, whole: float) -> None:
    base = sheet.line()
    sheet.text(EDGE, base, f"{stage.number} {stage.title}", room=TITLES - 8)
    sheet.text(WIDTH - EDGE, base, end_of(stage), "small", room=ENDS, at_end=True)
    top = sheet.y - LINE
    sheet.rect(BAR_FROM, top + LINE / 2 - 0.5, BAR_ROOM, 1, "ground")
    if stage.started is None:
        return
    scale = BAR_ROOM / whole if whole else 0.0
    begin = (stage.started - first).total_seconds() * scale
    length = BAR_ROOM - begin if stage.seconds is None else stage.seconds * scale
    # What began at the very end still has its place within the bars.
    begin = min(begin, BAR_ROOM - THINNEST)
    sheet.rect(
        BAR_FROM + begin,
        top + 4,
        max(length, THINNEST),
        LINE - 8,
        _STYLES.get(stage.state, "idle"),
    )


def end_of(stage: Stage) -> str:
    """Say state and time; a stage that went well has its time only."""
    if stage.state in NOT_BEGUN:
        return "not begun"
    took = told_seconds(stage.seconds) if stage.seconds is not None else ""
    if not took and stage.state in {"SUCCEED", "FAILED", UNDONE}:
        took = "time not told"
    return took if stage.state == "SUCCEED" else f"{stage.state} {took}".strip()


def _words(stage: Stage, first: datetime) -> str:
    begun = ""
    if stage.started is not None:
        begun = f", begun after {told_seconds((stage.started - first).total_seconds())}"
    succeed = " SUCCEED" if stage.state == "SUCCEED" else ""
    return f"{stage.number} {named(stage.title)}:{succeed} {end_of(stage)}{begun}"


def _more(count: int) -> str:
    return f"and {count} more stages" if count > 0 else ""


def _clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%H:%M:%S}"
