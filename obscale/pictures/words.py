"""Words and choices that a picture shares with what is said of it."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from obscale.sizes import render_bytes

_SECONDS_A_MINUTE: Final = 60
_SHORT_SECONDS: Final = 10
T = TypeVar("T")

CORES: Final = "cores"
BYTES: Final = "bytes"


def told_seconds(seconds: float) -> str:
    """Write a length of time: `0.9 s`, `23 s`, `4 min 5 s`, `2 h 3 min`."""
    if seconds < _SHORT_SECONDS:
        return f"{seconds:.1f} s"
    if round(seconds) < _SECONDS_A_MINUTE:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), _SECONDS_A_MINUTE)
    if minutes < _SECONDS_A_MINUTE:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, _SECONDS_A_MINUTE)
    return f"{hours} h {minutes} min"


def told_amount(amount: float, measure: str) -> str:
    """Write an amount of cores, `16`, or of bytes, `64G`."""
    return f"{amount:g}" if measure == CORES else render_bytes(amount)


def counted(count: int, one: str) -> str:
    """Write a number with its noun: `1 observer`, `3 observers`."""
    return f"{count} {one}{'' if count == 1 else 's'}"


def parted(
    each: Sequence[T], most: int, is_telling: Callable[[T], bool]
) -> tuple[list[T], list[T]]:
    """Part what is shown from what is only counted; both keep their order.

    Args:
        each: All of it.
        most: How many are shown.
        is_telling: What is the last to be left out.
    """
    order = sorted(range(len(each)), key=lambda at: not is_telling(each[at]))
    shown, left = sorted(order[:most]), sorted(order[most:])
    return [each[at] for at in shown], [each[at] for at in left]
