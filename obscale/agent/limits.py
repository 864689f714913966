"""The limits of one answer: bytes, values, levels, and the length of logs.

Whoever answers at an agent's address may be anything. What is kept of an answer, and what it
unfolds to, is bounded before it is parsed: three bytes of JSON (`{},`) become 72 of a dict, 700 of
a model.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

MEBIBYTE: Final = 1 << 20
MOST_LEVELS: Final = 32
"""Brackets within brackets. The deepest answer recorded of obshell 4.5.0.0 has 9."""
MOST_LOG_LINES: Final = 1000
"""Of one sub task, its last. The longest log recorded has 75."""
MOST_LOG_CHARACTERS: Final = 256 << 10
"""Of one sub task's log lines together, the last."""
MOST_LINE_CHARACTERS: Final = 64 << 10
"""Of one log line. The longest recorded has 29,706: a whole configuration."""
_CUT: Final = " … "
_MARKS: Final = (b",", b"{", b"[")
_CONTAINERS: Final = frozenset({dict, list})
"""Of parsed JSON, which has no subclasses of them."""
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[,{\[]', re.DOTALL)


@dataclass(frozen=True)
class Limit:
    """The most an answer may hold.

    Args:
        size_bytes: Of its body.
        values: Commas and opening brackets outside of texts: about one for each value.
    """

    size_bytes: int
    values: int

    def says_too_large(self, size: str) -> str:
        """Say that an answer is larger; `size` is what is known of how large."""
        return f"its answer is too large: {size}, and at most {self.size_bytes:,} bytes are read"

    def excess(self, body: bytes) -> str:
        """Say in which way a body of JSON holds too many values; empty where it does not."""
        # Counting bytes takes microseconds and counts too many, never too few: in texts as well.
        if sum(map(body.count, _MARKS)) <= self.values:
            return ""
        count = 0
        for token in _TOKEN.finditer(body):
            count += token[0][:1] != b'"'
            if count > self.values:
                return f"its answer holds too many values: more than {self.values:,}"
        return ""


SMALL: Final = Limit(64 << 10, 2_000)
"""Who, what time, which key: less than 2 KB as recorded."""
USUAL: Final = Limit(2 * MEBIBYTE, 50_000)
"""Cluster, hosts, tenants: 5 KB a server and 0.5 KB a tenant as recorded; a hundred servers and two
thousand tenants fit."""
DAGS: Final = Limit(8 * MEBIBYTE, 50_000)
"""Forty times the largest answer recorded, 0.2 MB and 1,300 values: a list of agents' DAGs."""
LONG: Final = Limit(8 * MEBIBYTE, 400_000)
"""What grows with the cluster or its age: 550 parameters a server, each 75 bytes, of a hundred
servers; all DAGs there ever were, 600 bytes each."""

_OPEN: Final = frozenset({"info", "secret", "status", "time"})
_LONG: Final = ("obcluster/parameters", "task/dags/")


def limit_of(target: str) -> Limit:
    """Give what the answer to a request may hold.

    Args:
        target: Request target, e.g. `/api/v1/info`.
    """
    path = target.partition("?")[0].removeprefix("/api/v1/")
    if path in _OPEN:
        return SMALL
    if path.startswith(_LONG):
        return LONG
    return DAGS if path.startswith("task/") else USUAL


def is_too_deep(value: Any) -> bool:
    """Whether parsed JSON has more than `MOST_LEVELS` brackets within brackets."""
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(MOST_LEVELS):
        within: list[Any] = []
        for outer in level:
            items = outer.values() if type(outer) is dict else outer
            # Nearly all hold texts and numbers alone, which is seen without a step for each.
            if not _CONTAINERS.isdisjoint(map(type, items)):
                within += [item for item in items if type(item) in _CONTAINERS]
        if not within:
            return False
        level = within
    return True


def tail_of(lines: Sequence[str]) -> tuple[str, ...]:
    """Keep the last lines of a log, and of a long line its beginning and its end."""
    kept: list[str] = []
    room = MOST_LOG_CHARACTERS
    for line in reversed(lines[-MOST_LOG_LINES:]):
        shown = line
        if len(line) > MOST_LINE_CHARACTERS:
            half = MOST_LINE_CHARACTERS // 2
            shown = line[:half] + _CUT + line[-half:]
        room -= len(shown)
        if room < 0:
            break
        kept.append(shown)
    return tuple(reversed(kept))
