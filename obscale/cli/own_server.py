"""Starts the Prefect server a run has for itself, and says at once why it does not come up."""

import atexit
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

import httpx

from obscale.cli import guarded
from obscale.cli.busy import busy
from obscale.errors import PrefectUnreachableError

HOST: Final = "127.0.0.1"
AUTH_VARIABLES: Final = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")
"""What a client shows, and what a server asks for: `user:password`."""
OF_AN_OWN_SERVER: Final = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
}
"""What Prefect itself tells the server of a client; source as for `server_words`."""
LOOK_SECONDS: Final = 0.1
HEALTH_SECONDS: Final = 5.0
ROOM_BYTES: Final = 4 << 20
"""A new database of Prefect 3.8 takes 1 MiB, as much again while it is made, and grows."""
PORT_TRIES: Final = 3
PORT_TAKEN: Final = "address already in use"
CONSOLE_LEVEL: Final = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"
LINE_MAX_CHARACTERS: Final = 300
TELLS_ITS_ERRORS: Final = {CONSOLE_LEVEL: "ERROR"}
"""The server does, although Prefect is kept quiet in this process."""
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


class OwnServer:
    """The Prefect server this program has for itself: a process, and where it answers.

    Prefect's client can start one too, but imports all of Prefect's server for that, which takes
    longer than everything else a command imports.
    """

    def __init__(self) -> None:
        self._process: guarded.Guarded | None = None
        self._log: IO[bytes] | None = None
        self._environment: dict[str, str] = {}
        self._port = 0
        self.auth_string = ""
        """What it asks for, `user:password`."""

    @property
    def is_begun(self) -> bool:
        """Whether it is started; it may not answer yet."""
        return self._process is not None

    @property
    def api_url(self) -> str:
        """Where its API answers, or will; empty where it is not started."""
        return f"http://{HOST}:{self._port}/api" if self.is_begun else ""

    def begin(self, auth_string: str, settings: dict[str, str]) -> None:
        """Start it, without waiting for an answer. It ends with this program.

        Args:
            auth_string: `user:password` it asks for, where the environment names none.
            settings: Of Prefect, as variables; those of the environment it has anyway.
        """
        named = {name: os.environ.get(name) or auth_string for name in AUTH_VARIABLES}
        self._environment = os.environ | OF_AN_OWN_SERVER | named | settings | TELLS_ITS_ERRORS
        self.auth_string = auth_string
        self._start()
        stop_at_exit(self.stop)

    def wait(self, longest_seconds: float) -> None:
        """Wait until it answers.

        Args:
            longest_seconds: To wait for its first answer.

        Raises:
            OwnServerError: It ended, or does not answer in time.
        """
        for left in reversed(range(PORT_TRIES)):
            try:
                self._wait(longest_seconds)
            except _NotUpError as error:
                said = self._said()
                self.stop()
                if left and PORT_TAKEN in said:
                    self._start()  # somebody was quicker
                    continue
                raise OwnServerError(last_error_line(said) or str(error)) from None
            return

    def stop(self) -> None:
        """End it, and wait for its end."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None

    def _start(self) -> None:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self._port = probe.getsockname()[1]
        self._log = TemporaryFile()  # noqa: SIM115 - open as long as the server runs
        number = self._log.fileno()
        words = server_words(self._port)
        self._process = guarded.start(words, self._environment, output=number, errors=number)

    def _wait(self, longest_seconds: float) -> None:
        give_up = time.monotonic() + longest_seconds
        pause = threading.Event()
        # Without TLS: reading the certificates of this machine takes as long as a look.
        with httpx.Client(trust_env=False, verify=False, timeout=HEALTH_SECONDS) as client:  # noqa: S501
            while (process := self._process) is not None and time.monotonic() < give_up:
                if (code := process.poll()) is not None:
                    raise _NotUpError(f"its server ended with code {code}")
                try:
                    if client.get(f"{self.api_url}/health").is_success:
                        return
                except httpx.TransportError:
                    pass
                pause.wait(LOOK_SECONDS)
        raise _NotUpError(f"its server does not answer within {longest_seconds:g} s")

    def _said(self) -> str:
        if self._log is None:
            return ""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")


def server_words(port: int) -> list[str]:
    """Give the module, and its words, by which Prefect itself starts the server of a client.

    Source: Prefect 3.9.1, `SubprocessASGIServer._run_uvicorn_command`; a test compares them.
    """
    found = find_spec("prefect")
    if found is None or found.origin is None:
        raise ModuleNotFoundError(name="prefect")
    folder = Path(found.origin).parents[1]
    return [
        *("uvicorn", "--app-dir", str(folder), "--factory", "prefect.server.api.server:create_app"),
        *("--host", HOST, "--port", str(port), "--log-level", "error", "--lifespan", "on"),
    ]


OWN_SERVER: Final = OwnServer()
"""Of this program."""


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
