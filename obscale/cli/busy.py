"""Shows what a command does while it has nothing to tell: a line that moves, or one now and then.

A terminal gets a line with a clock, which goes when the work is done. Where nobody watches, a pipe
or a log, work that takes long is told in a line of standard error, and again at intervals.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from obscale.agent.silence import remembering_silence
from obscale.cli.loudness import LOUDNESS
from obscale.cli.terminal import as_text, open_console, reader_line, say

FIRST_SECONDS: Final = 1.0
"""Of silence in a pipe, until it is told what a command does."""
AGAIN_SECONDS: Final = 15.0
"""Of silence in a pipe, until it is told that it goes on."""


class Heartbeat:
    """Tells from a thread of its own, after a silence, what is being done and for how long.

    Args:
        write: Takes a line.
        first_seconds: Of silence until the first.
    """

    def __init__(self, write: Callable[[str], None], *, first_seconds: float) -> None:
        self._write = write
        self._words = ""
        self._is_told = True
        self._first = first_seconds
        self._since = self._heard = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="obscale-heartbeat", daemon=True)

    def does(self, words: str) -> None:
        """Say this from now on; the same words again do not set back its clock."""
        if words != self._words:
            self._words, self._is_told, self._since = words, False, time.monotonic()

    def heard(self) -> None:
        """Something was told: the silence begins anew."""
        self._is_told, self._heard = True, time.monotonic()

    def __enter__(self) -> Self:
        self._heard = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(min(self._first, AGAIN_SECONDS) / 4):
            now = time.monotonic()
            quiet = AGAIN_SECONDS if self._is_told else self._first
            if self._words and now - max(self._heard, self._since) >= quiet:
                seconds = f": {now - self._since:.0f} s" if self._is_told else ""
                self._write(f"{self._words}{seconds}")
                self.heard()


def _say_aside(words: str) -> None:
    """Write a line that nobody takes for an answer or an error; nobody has to be there to read."""
    with suppress(OSError, ValueError):
        say(f"... {reader_line(words)}", err=True)


def say_begun(words: str) -> None:
    """Tell in a pipe at once what is sure to take long; a terminal shows who waits for it."""
    if not (LOUDNESS.is_quiet or open_console(stderr=True).is_terminal):
        _say_aside(words)


class Shown(Protocol):
    """What shows the work of a command."""

    def does(self, words: str) -> None:
        """Say this from now on."""

    def heard(self) -> None:
        """Something else was told meanwhile."""


class _Line:
    """The line of a terminal, which moves by itself."""

    def __init__(self, progress: Progress, words: str) -> None:
        self._progress = progress
        self._task = progress.add_task(reader_line(words), total=None)

    def does(self, words: str) -> None:
        self._progress.update(self._task, description=reader_line(words))

    def heard(self) -> None:
        pass


@contextmanager
def busy(words: str) -> Iterator[Shown]:
    """Show inside that this is being done.

    Args:
        words: The step and what it does, e.g. `plan: looks at prod-east and 10.0.0.4:2886`.
    """
    console = open_console(stderr=True)
    if LOUDNESS.is_quiet:
        yield Heartbeat(_say_aside, first_seconds=FIRST_SECONDS)  # not started: it says nothing
        return
    if not console.is_terminal:
        with Heartbeat(_say_aside, first_seconds=FIRST_SECONDS) as heartbeat:
            heartbeat.does(words)
            yield heartbeat
        return
    columns = (
        SpinnerColumn("line"),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
    )
    # What is written meanwhile stands above the line; a standard output that is a file stays one.
    drawn = Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty())
    with drawn as progress:
        yield _Line(progress, words)


@contextmanager
def silence_shown(console: Console) -> Iterator[None]:
    """Share which agents are silent among all that is opened in this block; print a line of each.

    Args:
        console: Of a command that runs without a flow.
    """

    def say(line: str) -> None:
        console.print(as_text(line, style="yellow"), soft_wrap=True)

    with remembering_silence(say):
        yield
