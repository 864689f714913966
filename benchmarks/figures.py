"""Rows of the benchmark's table, made of measured values."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

PERCENT: Final = 100
HEAD: Final = ("", "measure", "obscale", "SDK", "ideal", "obscale ÷ SDK", "wanted", "holds")
NOTHING: Final = "—"
THOUSANDS_FROM: Final = 1000.0
WHOLE_FROM: Final = 100.0
TENTHS_FROM: Final = 10.0
HUNDREDTHS_FROM: Final = 1.0


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        part: Letter of the measure.
        measure: What was measured, with its unit.
        ours: obscale's figure, in words.
        theirs: The official SDK's; a dash where it has nothing of the kind.
        ideal: What cannot be undercut, with what it is.
        ratio: obscale's figure over the SDK's, or over what `measure` names.
        at_most: Bound of the ratio.
        at_least: The same from below.
    """

    part: str
    measure: str
    ours: str
    theirs: str = NOTHING
    ideal: str = NOTHING
    ratio: float | None = None
    at_most: float | None = None
    at_least: float | None = None

    @property
    def wanted(self) -> str:
        """The bound in words; empty where there is none."""
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return "" if self.at_least is None else f"≥ {self.at_least:g}"

    @property
    def holds(self) -> str:
        """`yes` or `no`; empty where there is no bound."""
        if self.ratio is None or not self.wanted:
            return ""
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return "yes" if low <= self.ratio <= high else "**no**"

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells in the order of the table's head."""
        ratio = NOTHING if self.ratio is None else short(self.ratio)
        figures = (self.ours, self.theirs, self.ideal, ratio)
        return (self.part, self.measure, *figures, self.wanted, self.holds)


def percentile(values: Sequence[float], percent: float) -> float:
    """Give the smallest value that at least this share of all values does not exceed.

    >>> percentile([4, 1, 3, 2], 50), percentile([4, 1, 3, 2], 95)
    (2, 4)
    """
    place = max(math.ceil(len(values) * percent / PERCENT), 1)
    return sorted(values)[place - 1]


def short(value: float) -> str:
    """Write a figure with three digits or so.

    >>> short(42600.9), short(152.3), short(15.26), short(1.526), short(0.0234)
    ('42,601', '152', '15.3', '1.53', '0.023')
    """
    size = abs(value)
    if size >= THOUSANDS_FROM:
        return f"{value:,.0f}"
    if size >= WHOLE_FROM:
        return f"{value:.0f}"
    if size >= TENTHS_FROM:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= HUNDREDTHS_FROM else f"{value:.3f}"


def spread(values: Sequence[float]) -> str:
    """Give the median, and the lowest and highest value beside it.

    >>> spread([3.0, 1.0, 2.0])
    '2.00 (1.00 to 3.00)'
    """
    middle = short(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({short(min(values))} to {short(max(values))})"


def render(rows: Iterable[Row]) -> str:
    """Write the rows as a Markdown table."""
    lines = [HEAD, tuple("---" for _ in HEAD), *(row.cells for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
