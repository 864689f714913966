"""How much a command tells: -q only its verdict and what to do, -v every line there is."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from obscale.text import for_terminal

if TYPE_CHECKING:
    from rich.console import Console

_REQUESTS: Final = logging.getLogger("obscale.agent")
"""Says a line for each request to an agent: what was asked, and how it was answered."""


class _OneLine(logging.Formatter):
    """Whatever an agent has put into its answer is one harmless line."""

    def format(self, record: logging.LogRecord) -> str:
        return for_terminal(super().format(record))


class Loudness:
    """What the command line says of it; plain unless told otherwise."""

    def __init__(self) -> None:
        self.is_quiet = False
        self.is_verbose = False
        self._log: logging.Handler | None = None

    def reset(self) -> None:
        """Forget what an earlier command in this process was told."""
        self.is_quiet = self.is_verbose = False
        if self._log is not None:
            _REQUESTS.removeHandler(self._log)
            _REQUESTS.setLevel(logging.NOTSET)
            self._log = None

    def set_quiet(self, wanted: bool) -> None:
        """Take --quiet."""
        self.is_quiet = wanted
        self._refuse_both()

    def set_verbose(self, wanted: bool) -> None:
        """Take --verbose: the requests to agents are told too, without what they hold."""
        self.is_verbose = wanted
        self._refuse_both()
        if wanted and self._log is None:
            self._log = logging.StreamHandler(sys.stderr)
            self._log.setFormatter(_OneLine("%(asctime)s %(message)s", "%H:%M:%S"))
            _REQUESTS.addHandler(self._log)
            _REQUESTS.setLevel(logging.DEBUG)

    def _refuse_both(self) -> None:
        if self.is_quiet and self.is_verbose:
            raise typer.BadParameter("--quiet and --verbose exclude each other; give one of them")


LOUDNESS: Final = Loudness()
"""Of this program."""
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", callback=LOUDNESS.set_quiet, help="Only the verdict and what to do."
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", callback=LOUDNESS.set_verbose, help="Also what passes, and the log."
    ),
]


@contextmanager
def aloud(console: "Console") -> Iterator[None]:
    """Print inside although --quiet was said: a verdict, or what somebody has to do."""
    before, console.quiet = console.quiet, False
    try:
        yield
    finally:
        console.quiet = before
