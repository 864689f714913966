"""A served world beside the test, and the real command, in this process or its own."""

import asyncio
import gc
import http.server
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from obscale.cli.commands import main
from obscale.cli.local_prefect import SERVER_SETTINGS
from obscale.cli.own_server import OWN_SERVER
from obscale.sandbox import Fault, ScaledClock, World, WorldConfig, default_config, serve
from tests.conftest import end_what_is_shown
from tests.prefect_server import LONGEST_SECONDS, os_environment, prefect_server

PROGRAM = [sys.executable, "-m", "obscale.cli"]
ROOT_CANARY = "canary-root-5e1f"
RUNS = {"apply", "recover", "rehearse"}
"""Commands that carry out runs in this process."""
AGENT_CANARY = "canary-agent-77c2"
SETTINGS_READ: dict[tuple[Path, frozenset[tuple[str, str]]], Any] = {}
"""Prefect's settings, by folder and environment."""
SERVER_AUTH = "operator:canary-server-2c90"
CONFIGS = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}


def told(err: str) -> list[str]:
    """Give the lines of standard error, but for what was being done in a long silence."""
    return [line for line in err.splitlines() if not line.startswith("... ")]


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What stands on standard error, but for what was being done in a long silence."""
        return told(self.err)

    @property
    def error(self) -> dict[str, Any]:
        """The error object of --json."""
        return json.loads(self.out)["error"]


class Served:
    """A world that answers on real sockets, from a thread of its own, on ports nobody else has."""

    def __init__(self, config: WorldConfig, speed: float) -> None:
        self.world = World(config, clock=ScaledClock(speed=speed))
        self._loop = asyncio.new_event_loop()
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        assert self._opened.wait(30)

    async def _run(self) -> None:
        self._stop = asyncio.Event()
        async with serve(self.world) as door:
            self.door = door
            self._opened.set()
            await self._stop.wait()

    def close(self) -> None:
        """Stop listening and end the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._loop.close()

    @property
    def ready(self) -> dict[str, Any]:
        """Addresses and passwords."""
        return self.door.ready

    @property
    def posts(self) -> list[str]:
        """What was written to any agent."""
        return [r.target for r in self.world.requests if r.method != "GET"]

    def request(self, spares: int = 1, **configs: str) -> dict[str, Any]:
        """Give the documented sample request for this world, start options changed."""
        cluster = self.ready["clusters"][0]
        return {
            "cluster": {
                "endpoints": [
                    f"{self.door.scheme}://{a['ip']}:{a['port']}" for a in cluster["agents"]
                ],
                "password": {"env": "OBSCALE_TEST_ROOT"},
                "name": cluster["name"],
                "id": cluster["id"],
            },
            "nodes": [
                {
                    "agentInfo": {"ip": spare["ip"], "port": spare["port"]},
                    "zone": f"zone{at + 1}",
                    "targetAgentPassword": {"env": "OBSCALE_TEST_AGENT"},
                    "obConfigs": CONFIGS | configs,
                }
                for at, spare in enumerate(self.ready["spares"][:spares])
            ],
        }


@pytest.fixture(scope="session")
def open_world() -> Iterator[Callable[..., Served]]:
    """Give a function that serves a world until the end of the session."""
    opened: list[Served] = []

    def open_one(*faults: Fault, speed: float = 40, **changes: Any) -> Served:
        plain = default_config()
        clusters = tuple(
            c.model_copy(update={"root_password": ROOT_CANARY}) for c in plain.clusters
        )
        spares = tuple(s.model_copy(update={"agent_password": AGENT_CANARY}) for s in plain.spares)
        basis = {"clusters": clusters, "spares": spares, "port": 0, "faults": faults}
        opened.append(Served(plain.model_copy(update=basis | changes), speed))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture(scope="session")
def quiet_world(open_world) -> Served:
    """A world to which nobody writes: its request log must stay as it is."""
    return open_world()


class Page(http.server.BaseHTTPRequestHandler):
    """Some other product that answers everything with a page."""

    def do_GET(self):
        """Answer."""
        body = b"<html><body>Welcome to nginx</body></html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def html_server():
    """Address of a server that speaks HTML."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def closed_port():
    """Address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="session")
def tls_world(open_world):
    """A world that speaks TLS only."""
    return open_world(tls=True)


@pytest.fixture(scope="session")
def run_here(one_authority) -> Callable[..., Ended]:
    """Give the command line, entered by its own door, in this process: a process costs seconds."""

    def run(*words: str | Path, **extra: str) -> Ended:
        out, err = io.StringIO(), io.StringIO()
        known, folder, typed, argv = dict(os.environ), Path.cwd(), sys.stdin, sys.argv
        sys.argv, sys.stdin = ["obscale", *map(str, words)], io.StringIO()
        os.environ.setdefault("OBSCALE_TEST_ROOT", ROOT_CANARY)
        os.environ.setdefault("OBSCALE_TEST_AGENT", AGENT_CANARY)
        os.environ.setdefault("PREFECT_API_SSL_CERT_FILE", one_authority)
        os.environ.update(extra)
        # A command sets this before it imports Prefect; here Prefect is imported long since, and
        # would give a server of the command's own 20 s to start, too few on a busy machine.
        name = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
        os.environ.setdefault(name, SERVER_SETTINGS[name])
        _read_prefect_settings()
        try:
            with (
                redirect_stdout(out),
                redirect_stderr(err),
                pytest.raises(SystemExit) as ended,
            ):
                main()
        finally:
            # Prefect's settings, which obscale puts there, are not for the next test.
            os.environ.clear()
            os.environ.update(known)
            os.chdir(folder)
            sys.argv, sys.stdin = argv, typed
            _end_own_server()
            # What a command has made of Prefect's settings ends with it.
            _read_prefect_settings()
            if RUNS.intersection(map(str, words)):
                # What a run that was ended while it connects has left is not found in the middle of
                # another test. All other connections that nobody closed are errors.
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "unclosed", ResourceWarning)
                    gc.collect()
        return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def obscale(run_here) -> Callable[..., Ended]:
    """Give the command line in this process, where a test is not about Prefect."""
    return run_here


def _read_prefect_settings() -> None:
    """Have Prefect, where it is imported, see the environment and folder as they are now.

    Reading them takes 30 ms, so what was read of the same ones is taken again.
    """
    if prefect := sys.modules.get("prefect.context"):
        said = {k: v for k, v in os.environ.items() if k.upper().startswith("PREFECT_")}
        key = Path.cwd(), frozenset(said.items())
        if key in SETTINGS_READ:
            prefect.GLOBAL_SETTINGS_CONTEXT = SETTINGS_READ[key]
        else:
            prefect.refresh_global_settings_context()
            SETTINGS_READ[key] = prefect.GLOBAL_SETTINGS_CONTEXT


def _end_own_server() -> None:
    """End the server a command has started for its run: its password is forgotten."""
    OWN_SERVER.stop()
    end_what_is_shown()


@pytest.fixture(scope="session")
def closed_server_url(new_home) -> Iterator[str]:
    """Where a Prefect server answers that asks for `SERVER_AUTH`."""
    with prefect_server(new_home(), PREFECT_SERVER_API_AUTH_STRING=SERVER_AUTH) as url:
        yield url


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    """What a process of its own finds in its environment."""
    return os_environment() | {
        "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect-client")),
        "OBSCALE_TEST_ROOT": ROOT_CANARY,
        "OBSCALE_TEST_AGENT": AGENT_CANARY,
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }


@pytest.fixture(scope="session")
def run_program(environment) -> Callable[..., Ended]:
    """Give the command line as a process of its own, without a terminal."""

    def run(*words: str | Path, **extra: str) -> Ended:
        done = subprocess.run(
            [*PROGRAM, *map(str, words)],
            env=environment | extra,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def start_program(environment) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Give a function that starts the command line and leaves it running."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Tests started in the background inherit deafness to Ctrl-C; their children shall hear it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    started: list[subprocess.Popen[str]] = []

    def start(*words: str | Path, **extra: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*PROGRAM, *map(str, words)],
            env=environment | extra,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A terminal of its own, so to speak: a signal to the group is a Ctrl-C.
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """Give a function that writes a request into a file."""

    def to_file(request: object, name: str = "request.yaml") -> Path:
        path = tmp_path / name
        if isinstance(request, bytes):
            path.write_bytes(request)
        else:
            path.write_text(request if isinstance(request, str) else json.dumps(request))
        return path

    return to_file


@pytest.fixture
def canaries() -> tuple[str, ...]:
    """The secrets of every world and request of these tests."""
    return ROOT_CANARY, AGENT_CANARY
