"""Decides when a wait is told again: at each change, then at doubling intervals."""

from typing import Final

FIRST_SECONDS: Final = 10.0


class Seldom:
    """Remembers what was said last, so that a log tells of a wait and is not filled by it."""

    def __init__(self) -> None:
        self._mark: object = None
        self._since = 0.0
        self._next = 0.0

    def waited(self, mark: object, now: float) -> float | None:
        """Give for how many seconds the same has been waited for; None: it is not said now.

        Args:
            mark: What tells one wait from another.
            now: In seconds of a clock that only moves forward.
        """
        if mark != self._mark:
            self._mark, self._since, self._next = mark, now, FIRST_SECONDS
            return 0.0
        waited = now - self._since
        if waited < self._next:
            return None
        self._next = 2 * waited
        return waited
