"""How much a command tells: -q only its verdict and what to do, -v every line there is."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer
from rich.console import Console


class Loudness:
    """What the command line says of it; plain unless told otherwise."""

    def __init__(self) -> None:
        self.is_quiet = False
        self.is_verbose = False

    def reset(self) -> None:
        """Forget what an earlier command in this process was told."""
        self.is_quiet = self.is_verbose = False

    def set_quiet(self, wanted: bool) -> None:
        """Take --quiet."""
        self.is_quiet = wanted
        self._refuse_both()

    def set_verbose(self, wanted: bool) -> None:
        """Take --verbose: the requests to agents are told too, without what they hold."""
        self.is_verbose = wanted
        self._refuse_both()
        if wanted:
            logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
            logging.getLogger("httpx").setLevel(logging.INFO)

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
def aloud(console: Console) -> Iterator[None]:
    """Print inside although --quiet was said: a verdict, or what somebody has to do."""
    before, console.quiet = console.quiet, False
    try:
        yield
    finally:
        console.quiet = before
