"""Answers Ctrl-C, SIGTERM and SIGHUP at every moment: one last line, a documented exit code.

Imports only Python's own, and little of that: it stands before everything else is imported.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from obscale.language import for_reader
from obscale.text import for_terminal, json_document

if TYPE_CHECKING:
    import asyncio

R = TypeVar("R")
Words = tuple[str, str]
"""What stands now, and the next step; the step may be empty."""

ENDINGS: Final = {
    signal.SIGINT: ("interrupted", 130),
    signal.SIGTERM: ("terminated", 143),
    signal.SIGHUP: ("terminated", 143),
}
"""What is said of each signal, and the exit code: shells expect these numbers."""
ANSWER_SECONDS: Final = {signal.SIGINT: 1.5, signal.SIGTERM: 8.0, signal.SIGHUP: 8.0}
"""From the signal to the last line, at most. Who typed it waits; a container gets 10 s."""
END_SECONDS: Final = {signal.SIGINT: 10.0, signal.SIGTERM: 20.0, signal.SIGHUP: 20.0}
"""From the signal to the end of the process, at most, where a run is still to be recorded."""
AGAIN_SECONDS: Final = 1.0
"""A Ctrl-C that comes sooner is the same one, sent on by a program between."""
NOTHING_SENT: Final = ("nothing was sent", "")
IS_OVER: Final = ("the run itself had ended already", "")


class Stopped(BaseException):
    """A signal ends the command.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)


class Stopping:
    """How this program is told to end, and what it says then.

    The signal ends whatever the main thread does: by `Stopped`, or, in a run of `run`, by being
    cancelled. A thread of its own sees to it that the last line comes in time, and the end, also
    where the main thread hears nothing.

    Args:
        end: Ends the process, whatever its threads do.
    """

    def __init__(self, end: Callable[[int], object] = os._exit) -> None:
        self._end = end
        self._lock = threading.Lock()
        self._as_json = False
        self._told = False
        self._is_over = False
        self._is_late = False
        """Whether the signal came after the end."""
        self._records = False
        self._words: Callable[[], Words] = lambda: NOTHING_SENT
        self._write: Callable[[Mapping[str, object], bool], None] = _write_end
        self._code: int | None = None
        self._number: int | None = None
        self._asking = 0
        self._runs: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []
        self._heard, self._wakes = -1, -1
        self.watcher = threading.Thread(target=self._watch, name="obscale-stopping", daemon=True)

    def listen(self, *, as_json: bool) -> None:
        """Answer these signals from now on, those excepted that were ignored; in the main thread.

        Args:
            as_json: Whether the last line is a JSON object on standard output.
        """
        self._as_json = as_json
        self._heard, self._wakes = os.pipe()
        os.set_blocking(self._wakes, False)
        self.watcher.start()
        self._install()

    def _install(self) -> None:
        for number in ENDINGS:
            # `nohup`, and a shell's `&`, have them ignored: that holds.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._hear)
        # Written by the system's own handler, so that a main thread that hangs hides no signal.
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)

    def tell_by(self, write: Callable[[Mapping[str, object], bool], None]) -> None:
        """Write the last line by this from now on, as every other ending of the command.

        Args:
            write: Takes the ending, and whether it is written as JSON.
        """
        self._write = write

    def stands(self, words: Callable[[], Words], *, records: bool = False) -> None:
        """Say this from now on where a signal ends the command.

        Args:
            words: What goes on without it, and the next step; asked from another thread.
            records: Whether a run is recorded in Prefect, whose end is worth a wait.
        """
        self._words, self._records = words, records

    def words(self) -> Words:
        """Give what is said now."""
        return self._words()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Run as `asyncio.run` does.

        Raises:
            Stopped: A signal ended it.
        """
        import asyncio  # noqa: PLC0415 - takes a moment, and signals are answered before

        async def heard() -> R:
            run = asyncio.get_running_loop(), asyncio.current_task()
            self._runs.append(run)  # type: ignore[arg-type]  # there is a task in a coroutine
            try:
                given = await work
            finally:
                self._runs.remove(run)  # type: ignore[arg-type]
            if self._records:
                self._words = lambda: IS_OVER
            return given

        try:
            return asyncio.run(heard())
        except BaseException as error:
            if self._number is None or isinstance(error, Stopped):
                raise
            # Whatever has become of the cancelling on its way.
            raise Stopped(self._number) from error
        finally:
            work.close()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask a question inside: a signal ends it, though no event loop runs meanwhile."""
        self._asking += 1
        try:
            yield
        except Stopped:
            print(file=sys.stderr)  # noqa: T201 - the cursor stands behind the question
            raise
        finally:
            self._asking -= 1

    def over(self) -> None:
        """The command has told its end: from now on a signal only cuts short what is left."""
        self._is_over = True
        if self._wakes >= 0 and threading.current_thread() is threading.main_thread():
            self._install()

    def claim(self) -> bool:
        """Whether the last line is still to be told; then it is the caller's to tell."""
        with self._lock:
            is_first, self._told = not self._told, True
        return is_first

    def wants_end(self, code: int) -> None:
        """The signal was the usual way to end the command: say nothing of it.

        Args:
            code: To exit with.
        """
        if self.claim():
            self._code = code

    @property
    def code(self) -> int | None:
        """The exit code that goes with the last line; None where the command has told its own."""
        return self._code

    @property
    def is_hasty(self) -> bool:
        """Whether a signal has come and nothing is left to be recorded: threads may be left."""
        return self._number is not None and not self._records

    def end(self, stop: Stopped) -> NoReturn:
        """Tell the last line, if nobody has, and end the process at once."""
        self._tell(stop.number)
        self._leave(stop.number)
        raise SystemExit(ENDINGS[stop.number][1])

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if self._number is not None or self._is_over:
            return  # the thread sees to it
        self._number = number
        if self._runs and not self._asking:
            loop, run = self._runs[-1]
            loop.call_soon_threadsafe(run.cancel)
        else:
            raise Stopped(number)

    def _watch(self) -> None:
        """See that the last line comes in time, and the end."""
        first: signal.Signals | None = None
        began = give_up = 0.0
        while True:
            left = None if first is None else max(give_up - time.monotonic(), 0)
            if select.select([self._heard], [], [], left)[0]:
                heard = os.read(self._heard, 64)
                if not heard:
                    return
                for number in (number for number in heard if number in ENDINGS):
                    now = time.monotonic()
                    if first is None:
                        first, began = signal.Signals(number), now
                        heard_before = self._told or self._number is not None
                        self._is_late = self._is_over and not heard_before
                        give_up = now + (0 if self._is_late else ANSWER_SECONDS[first])
                    elif number == signal.SIGINT and now - began >= AGAIN_SECONDS:
                        give_up = began = 0.0
            elif first is not None:
                self._tell(first)
                if (
                    self._is_late
                    or not self._records
                    or time.monotonic() >= began + END_SECONDS[first]
                ):
                    self._leave(first)
                    return
                give_up = began + END_SECONDS[first]

    def _tell(self, number: signal.Signals) -> None:
        if not self.claim():
            return
        word, code = ENDINGS[number]
        self._code = code
        stands, hint = IS_OVER if self._is_late else self._words()
        with suppress(OSError, ValueError):
            if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
                # What is drawn there may be half drawn, and the cursor hidden.
                print("\r\x1b[J\x1b[?25h", end="", file=sys.stderr)  # noqa: T201
            # Where the command has told its end, standard output holds its object already.
            self._write(end_of(word, stands, hint, code), self._as_json and not self._is_late)
        for stream in (sys.stdout, sys.stderr):
            if silence := getattr(stream, "silence", None):
                silence()

    def _leave(self, number: signal.Signals) -> None:
        self._end(ENDINGS[number][1] if self._code is None else self._code)


def end_of(word: str, stands: str, hint: str, code: int) -> dict[str, object]:
    """Give the ending of a command that a signal, or somebody in Prefect, has ended."""
    said = f"{word}; {stands}"
    message = f"{said}. Next: {hint}" if hint else said
    return {"kind": word, "message": message, "hint": hint, "exit_code": code}


def _write_end(told: Mapping[str, object], as_json: bool) -> None:
    """Write an ending before the commands are there, whose `obscale.cli.exits` does it."""
    if as_json:
        print(json_document({"error": told}), flush=True)  # noqa: T201
    else:
        line = f"obscale: {for_terminal(for_reader(str(told['message'])))}"
        print(line, file=sys.stderr, flush=True)  # noqa: T201


PROGRAM: Final = Stopping()
"""This program; `obscale.cli.main` has it listen."""
