"""Starts a program that ends when this one has ended, however this one ends.

The other program is this very file: a thread of it reads a pipe whose other end only the starter
holds, and which the system closes with it, also on SIGKILL. Imports only Python's own, for that.

The signals that end a terminal's, or a service manager's, whole group never reach it: whoever
started it still has to tell it how the run ended. Linux's parent-death signal would not do: it
follows the thread that has forked, which may end long before its program.
"""

import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

GROUP_SIGNALS: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
END_SECONDS: Final = 5.0
"""From the end of the starter, or of `terminate`, to SIGKILL."""


class Guarded(subprocess.Popen[bytes]):
    """A program started by `start`; `terminate` ends it although it hears no SIGTERM."""

    guard: int | None = None
    """The end of the pipe that is kept open."""

    def terminate(self) -> None:
        """Have it end as by SIGTERM, and after `END_SECONDS` as by SIGKILL."""
        if self.guard is not None:
            os.close(self.guard)
            self.guard = None


@contextmanager
def without_group_signals() -> Iterator[None]:
    """Let what is started in this block never hear the signals of a group; this thread waits."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start(
    words: Sequence[str], environment: Mapping[str, str], *, output: int, errors: int
) -> Guarded:
    """Start a module of Python's, as `python -m` does.

    Args:
        words: The module, and what stands behind it on the command line.
        environment: All of its variables.
        output: File descriptor of its standard output.
        errors: File descriptor of its standard error.
    """
    theirs, ours = os.pipe()
    try:
        with without_group_signals():
            # -P: the other files of this folder are no modules of its own.
            program = Guarded(
                [sys.executable, "-P", __file__, *words],
                env=environment,
                stdin=theirs,
                stdout=output,
                stderr=errors,
            )
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    program.guard = ours
    return program


def _end_with_the_starter() -> None:
    while os.read(0, 1):
        pass
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(END_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _main() -> None:
    threading.Thread(target=_end_with_the_starter, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
