"""Draws a batch over time: a lane a cluster, with canary, stops and window."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

from obscale.pictures.sheet import EDGE, LINE, WIDTH, Picture, Sheet, named, width_of
from obscale.pictures.words import counted, parted, told_seconds

NAMES: Final = 150
ENDS: Final = 242
BAR_FROM: Final = EDGE + NAMES
BAR_ROOM: Final = WIDTH - 2 * EDGE - NAMES - ENDS
THINNEST: Final = 3.0
MOST_LANES: Final = 24
MOST_BARS: Final = 100
"""Of all lanes together; nodes that ended alike, one after the other, are drawn as one where a
lane would have more than its share."""
LEAST_BARS: Final = 3
MOST_SPANS: Final = 8
MOST_KINDS: Final = 3
"""Of endings told at one lane."""
CANARY: Final = "canary"
_STYLES: Final = {"verified": "good", "failed": "bad", "blocked": "bad", "left running": "busy"}
_GRAVE: Final = ("failed", "blocked")
_SWATCH: Final = 10

Span = tuple[datetime, datetime]
"""From and until, aware."""


@dataclass(frozen=True)
class Run:
    """The scale-out of one node.

    Args:
        node: `ip:port`.
        state: How it ended: `verified`, `failed`, `blocked`, `left running`, or as far as it is.
        started: Aware.
        ended: Aware; None: not yet.
        is_canary: Whether others waited for it.
    """

    node: str
    state: str
    started: datetime
    ended: datetime | None
    is_canary: bool = False


@dataclass(frozen=True)
class Lane:
    """One cluster.

    Args:
        cluster: Its name.
        runs: Of the nodes that were started, oldest first.
        unstarted: How many more ended otherwise, by how: `not started`, `blocked`.
        stopped: Whether a rule or the batch's end kept nodes from being started.
    """

    cluster: str
    runs: tuple[Run, ...]
    unstarted: tuple[tuple[str, int], ...] = ()
    stopped: bool = False

    @property
    def counts(self) -> Counter[str]:
        """How many nodes ended how."""
        return Counter([run.state for run in self.runs]) + Counter(dict(self.unstarted))

    @property
    def is_grave(self) -> bool:
        """Whether somebody should look at it."""
        return self.stopped or any(self.counts[state] for state in _GRAVE)


@dataclass(frozen=True)
class _Scale:
    first: datetime
    seconds: float

    def x(self, at: datetime) -> float:
        """Place a moment; what lies outside stands at the end it is beyond."""
        if not self.seconds:
            return BAR_FROM
        share = (at - self.first).total_seconds() / self.seconds
        return BAR_FROM + min(max(share, 0.0), 1.0) * BAR_ROOM


def draw_batch(
    lanes: Sequence[Lane], whole: Span, *, window: str = "", open_spans: Sequence[Span] = ()
) -> Picture | None:
    """Draw one lane a cluster; where there are too many, those somebody should look at.

    Args:
        lanes: As the request has them.
        whole: When the batch began, and ended or was looked at.
        window: Its rule; empty: none.
        open_spans: When the window was open meanwhile.

    Returns:
        None where no node was started.
    """
    if not any(lane.runs for lane in lanes):
        return None
    shown, left = parted(lanes, MOST_LANES, lambda lane: lane.is_grave)
    begun, ended = whole
    scale = _Scale(begun, (ended - begun).total_seconds())
    heading = (
        f"{counted(len(lanes), 'cluster')}, {_clock(begun, whole)} to {_clock(ended, whole)} UTC, "
        f"{told_seconds(scale.seconds)}"
    )
    sheet = Sheet()
    sheet.head(heading)
    words = [heading, *_window(sheet, window, open_spans, whole)]
    top = sheet.y
    _shut(sheet, open_spans if window else [whole], scale, len(shown) * LINE)
    each = max(LEAST_BARS, MOST_BARS // len(shown))
    words += [_draw(sheet, lane, scale, each, whole) for lane in shown]
    sheet.path(f"M{BAR_FROM} {top}V{sheet.y}", "line")
    if left:
        counts = sum((lane.counts for lane in left), Counter[str]())
        words.append(f"and {counted(len(left), 'more cluster')}: {_told(counts)}")
        sheet.text(EDGE, sheet.line(), words[-1], "quiet", room=WIDTH - 2 * EDGE)
    _legend(sheet, shown, has_window=bool(window))
    return sheet.picture("Batch over time", f"{'. '.join(words)}.")


def _window(sheet: Sheet, window: str, spans: Sequence[Span], whole: Span) -> Iterator[str]:
    if not window:
        return
    told = ", ".join(
        f"{_clock(begin, whole)} to {_clock(end, whole)}" for begin, end in spans[:MOST_SPANS]
    )
    more = f" and {len(spans) - MOST_SPANS} more times" if len(spans) > MOST_SPANS else ""
    said = f"window {window}, open {told or 'not at all'}{more}"
    sheet.text(EDGE, sheet.line(), said, "quiet", room=WIDTH - 2 * EDGE)
    yield named(said)


def _shut(sheet: Sheet, spans: Sequence[Span], scale: _Scale, height: float) -> None:
    """Shade when the window was closed."""
    x: float = BAR_FROM
    for begin, end in spans:
        if scale.x(begin) > x:
            sheet.rect(x, sheet.y, scale.x(begin) - x, height, "shut", "window closed")
        x = max(x, scale.x(end))
    if x < BAR_FROM + BAR_ROOM:
        sheet.rect(x, sheet.y, BAR_FROM + BAR_ROOM - x, height, "shut", "window closed")


def _draw(sheet: Sheet, lane: Lane, scale: _Scale, most: int, whole: Span) -> str:
    """Draw one lane; gives it in words."""
    base = sheet.line()
    brief, said = _brief(lane.counts), _told(lane.counts)
    sheet.text(EDGE, base, lane.cluster, room=NAMES - 10)
    sheet.text(WIDTH - EDGE, base, brief, "small", room=ENDS - 6, at_end=True)
    top = sheet.y - LINE
    for begin, end, state, is_canary in _bars(lane.runs, most, whole[1]):
        x = scale.x(begin)
        width = max(scale.x(end) - x - 1, THINNEST)
        x = min(x, BAR_FROM + BAR_ROOM - width)
        sheet.rect(x, top + 4, width, LINE - 8, _STYLES.get(state, "idle"))
        if is_canary:
            sheet.path(f"M{x:.1f} {top + 10}l5 -5l5 5l-5 5z", "mark")
    ends = [run.ended or whole[1] for run in lane.runs]
    if lane.stopped:
        x = scale.x(max(ends)) if ends else BAR_FROM
        sheet.rect(min(x, BAR_FROM + BAR_ROOM - 4), top + 1, 4, LINE - 2, "mark", "stopped")
    canary = ", with a canary" if any(run.is_canary for run in lane.runs) else ""
    stopped = ", stopped" if lane.stopped else ""
    told = said if said == brief else f"{brief}: {said}"
    return f"{named(lane.cluster)}: {told}{canary}{stopped}"


def _bars(
    runs: Sequence[Run], most: int, now: datetime
) -> Iterator[tuple[datetime, datetime, str, bool]]:
    """Give begin, end, state and canary of each bar: one a run, or a row of runs that ended alike.

    What would still be too many is drawn as one that says how the gravest ended.
    """
    if len(runs) <= most:
        for run in runs:
            yield run.started, run.ended or now, run.state, run.is_canary
        return
    parts = [list(part) for _, part in groupby(runs, lambda run: (run.state, run.is_canary))]
    rest = [run for part in parts[most - 1 :] for run in part]
    parts = parts[: most - 1] + ([rest] if rest else [])
    for part in parts:
        states = {run.state for run in part}
        state = next((state for state in _GRAVE if state in states), part[0].state)
        ends = [run.ended or now for run in part]
        yield part[0].started, max(ends), state, part[0].is_canary


def _legend(sheet: Sheet, lanes: Sequence[Lane], *, has_window: bool) -> None:
    states = dict.fromkeys(run.state for lane in lanes for run in lane.runs)
    told = [(state, _STYLES.get(state, "idle")) for state in states]
    told += [("window closed", "shut")] if has_window else []
    told += [("stopped", "mark")] if any(lane.stopped for lane in lanes) else []
    base = sheet.line(LINE + 6)
    x: float = EDGE
    if any(run.is_canary for lane in lanes for run in lane.runs):
        sheet.path(f"M{x} {base - 4}l5 -5l5 5l-5 5z", "mark")
        sheet.text(x + 15, base, CANARY, "small", room=80)
        x += 15 + width_of(CANARY) + 18
    for state, style in told:
        sheet.rect(x, base - _SWATCH + 1, 4 if state == "stopped" else _SWATCH, _SWATCH, style)
        sheet.text(x + _SWATCH + 5, base, state, "small", room=width_of(state) + 1)
        x += _SWATCH + 23 + width_of(state)


def _told(counts: Counter[str]) -> str:
    """Say how many ended how, the gravest first."""
    order = [*_GRAVE, *(state for state in counts if state not in _GRAVE)]
    return ", ".join(f"{counts[state]} {state}" for state in order if counts[state])


def _brief(counts: Counter[str]) -> str:
    """Say it as far as a lane has room."""
    told = _told(counts).split(", ")
    if len(told) <= MOST_KINDS:
        return ", ".join(told)
    named_ones = told[: MOST_KINDS - 1]
    others = counts.total() - sum(int(each.partition(" ")[0]) for each in named_ones)
    return ", ".join([*named_ones, f"{others} others"])


def _clock(at: datetime, whole: Span) -> str:
    """Write a moment, with its day where the batch takes longer than one."""
    begun, ended = (each.astimezone(UTC) for each in whole)
    shape = "%H:%M" if begun.date() == ended.date() else "%m-%d %H:%M"
    return at.astimezone(UTC).strftime(shape)
