"""Shows at a terminal what a command does while it is imported, and takes it away again.

Imports only Python's own, and little of that: it stands before everything else is imported.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

ERASE: Final = "\r\x1b[K"


class FirstLine:
    """A line of standard error that stands until something else is written."""

    def __init__(self) -> None:
        self._is_shown = False

    def show(self, words: Sequence[str]) -> None:
        """Show which command starts; never in a pipe, with -q or --json, or where nothing moves.

        Args:
            words: Of the command line, without the program's name.
        """
        if not words or words[0].startswith("-") or not _is_wanted(words):
            return
        with suppress(OSError, ValueError):
            sys.stderr.write(f"\r{words[0][:20]} …" if _shows_dots() else f"\r{words[0][:20]} ...")
            sys.stderr.flush()
            self._is_shown = True

    def erase(self) -> None:
        """Take the line away, if it stands."""
        if not self._is_shown:
            return
        self._is_shown = False
        with suppress(OSError, ValueError):
            sys.stderr.write(ERASE)
            sys.stderr.flush()


def _is_wanted(words: Sequence[str]) -> bool:
    plain = {"--json", "--quiet", "--help"}
    short = [word for word in words if word.startswith("-") and not word.startswith("--")]
    return (
        sys.stderr is not None
        and sys.stderr.isatty()
        and os.environ.get("TERM", "").lower() not in {"", "dumb", "unknown"}
        and "_OBSCALE_COMPLETE" not in os.environ
        and words[0].isascii()
        and words[0].replace("-", "").isalpha()
        and plain.isdisjoint(words)
        and not any("q" in word or "h" in word for word in short)
    )


def _shows_dots() -> bool:
    return "utf" in (sys.stderr.encoding or "").lower()


FIRST_LINE: Final = FirstLine()
"""Of this program; `obscale.cli.main` shows it, whatever is written next erases it."""
