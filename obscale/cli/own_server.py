"""Starts the Prefect server a run has for itself, and says at once why it does not come up."""

import atexit
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

import httpx

from obscale.cli import guarded
from obscale.cli.busy import busy
from obscale.errors import PrefectUnreachableError

if TYPE_CHECKING:
    from prefect.server.api.server import SubprocessASGIServer

LOOK_SECONDS: Final = 0.1
HEALTH_SECONDS: Final = 5.0
ROOM_BYTES: Final = 4 << 20
"""A new database of Prefect 3.8 takes 1 MiB, as much again while it is made, and grows."""
PORT_TRIES: Final = 3
PORT_TAKEN: Final = "address already in use"
CONSOLE_LEVEL: Final = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"
LINE_MAX_CHARACTERS: Final = 300
ENDS_SERVER: Final = "ends the Prefect server of this run"
_ERROR_LINE: Final = re.compile(r"[\w.]*(?:Error|Exception|Exit)\w*: \S.*")
"""The last line of a traceback."""
_CREDENTIALS: Final = re.compile(r"//\S*@")
_shown_at_end: Final = ExitStack()
# Before Prefect is imported, so that it goes after Prefect's own last words.
atexit.register(_shown_at_end.close)
_stops: Final[list[Callable[[], object]]] = []


class OwnServerError(Exception):
    """Our own server has not come up; the first line is the last error of its log."""


def insist_on_room(home: Path, setting: str) -> None:
    """See that a server can keep its database in a folder; makes the folder.

    Args:
        home: Where it would be.
        setting: The variable that names another folder.

    Raises:
        PrefectUnreachableError: The folder cannot be made or written, or is full.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryFile(dir=home) as probe:
            probe.write(bytes(ROOM_BYTES))
    except OSError as error:
        raise PrefectUnreachableError(
            f"the Prefect server of this run cannot write into {home} "
            f"({error.strerror or type(error).__name__}); nothing was sent",
            f"set {setting} to a folder with room that this user may write",
        ) from error


def insist_on_a_folder() -> None:
    """See that the current folder is there: Prefect reads its settings in it, and so its server.

    Raises:
        PrefectUnreachableError: It was deleted.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise PrefectUnreachableError(
            "the current folder does not exist any more; nothing was sent",
            "cd into a folder that exists, then the same command again",
        ) from error


def start_own_server(log: int, longest_seconds: float) -> None:
    """Start the server of this process, unless it is there, and wait until it answers.

    Prefect's own client finds it. It ends with this process.

    Args:
        log: File descriptor of what the server writes on its standard error.
        longest_seconds: To wait for its first answer.

    Raises:
        OwnServerError: It ended, or does not answer in time.
    """
    from prefect.server.api.server import SubprocessASGIServer  # noqa: PLC0415 - reads settings

    server = SubprocessASGIServer()
    if server.running:
        return
    for left in reversed(range(PORT_TRIES)):
        begun = os.lseek(log, 0, os.SEEK_END)
        try:
            _start(server, log, longest_seconds)
        except _NotUpError as error:
            said = os.pread(log, os.lseek(log, 0, os.SEEK_END) - begun, begun).decode(
                errors="replace"
            )
            server.stop()
            if left and PORT_TAKEN in said:
                continue  # somebody was quicker
            raise OwnServerError(last_error_line(said) or str(error)) from None
        stop_at_exit(server.stop)
        return


def stop_at_exit(stop: Callable[[], object]) -> None:
    """Stop a server when this program ends, after Prefect's own last words if it is not loaded yet.

    Args:
        stop: Stops it, and waits for its end.
    """
    _stops.append(stop)
    atexit.register(stop)


def show_the_end() -> None:
    """Show from now until the program has ended what it waits for, where it has a server to stop.

    Prefect's last words and the server's end take seconds, and nothing else is told meanwhile.
    """
    if _stops:
        _shown_at_end.enter_context(busy(ENDS_SERVER))


class _NotUpError(Exception):
    """The server ended, or is silent."""


def _start(server: "SubprocessASGIServer", log: int, longest_seconds: float) -> None:
    server.port = server.find_available_port()
    with _telling_its_errors(), _guarded(log):
        # Prefect's own start waits minutes for a server that has ended.
        server.server_process = process = server._run_uvicorn_command()  # noqa: SLF001
    server.running = True
    give_up = time.monotonic() + longest_seconds
    pause = threading.Event()
    with httpx.Client(trust_env=False, timeout=HEALTH_SECONDS) as client:
        while time.monotonic() < give_up:
            if (code := process.poll()) is not None:
                raise _NotUpError(f"its server ended with code {code}")
            try:
                if client.get(f"{server.api_url}/health").is_success:
                    return
            except httpx.TransportError:
                pass
            pause.wait(LOOK_SECONDS)
    raise _NotUpError(f"its server does not answer within {longest_seconds:g} s")


@contextmanager
def _guarded(log: int) -> Iterator[None]:
    """Have a server that Prefect starts in this block end with this program, and not before it.

    Args:
        log: File descriptor of what it says: its own log is no answer.
    """
    from prefect.server.api import server  # noqa: PLC0415 - reads settings

    def start(args: list[str], env: dict[str, str]) -> guarded.Guarded:
        program, as_module, *words = args
        if [program, as_module] != [sys.executable, "-m"]:
            raise RuntimeError(f"Prefect starts its server by {as_module!r}")
        return guarded.start(words, env, output=log, errors=log)

    # Prefect has no other way to choose how.
    known = server.__dict__["subprocess"]
    server.__dict__["subprocess"] = SimpleNamespace(**vars(known) | {"Popen": start})
    try:
        yield
    finally:
        server.__dict__["subprocess"] = known


@contextmanager
def _telling_its_errors() -> Iterator[None]:
    """Let the server log errors, although Prefect is kept quiet in this process."""
    before = os.environ.get(CONSOLE_LEVEL)
    os.environ[CONSOLE_LEVEL] = "ERROR"
    try:
        yield
    finally:
        if before is None:
            del os.environ[CONSOLE_LEVEL]
        else:
            os.environ[CONSOLE_LEVEL] = before


def last_error_line(log: str) -> str:
    """Give the last line of a log that tells an error, fit for a terminal; else its last line.

    Without user and password of a URL in it.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if _ERROR_LINE.match(line)] or lines
    return readable(telling[-1]) if telling else ""


def readable(text: str) -> str:
    """Give text as one line of printable characters, without user and password of a URL in it."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return _CREDENTIALS.sub("//…@", shown).strip().rstrip(".")[:LINE_MAX_CHARACTERS]
