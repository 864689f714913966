"""A Prefect server of a test's own, and what a process finds in its environment without it."""

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import httpx

from obscale.cli.local_prefect import SERVER_SETTINGS

PREFECT = [sys.executable, "-m", "prefect"]
LONGEST_SECONDS = 300


def os_environment() -> dict[str, str]:
    """This process's environment, without what other tests and people say to Prefect."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "OBSCALE_"))}


def make_home(shared: Path, home: Path) -> Path:
    """Make a home for one Prefect; the slow making of a database is done once for all processes.

    No two servers use one home: on one SQLite file they would wait for each other.

    Args:
        shared: A folder that all processes of these tests have; the database is kept there.
        home: What is made.
    """
    template = shared / "prefect-template"
    with (shared / "prefect-template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            made = shared / "prefect-template-being-made"
            subprocess.run(
                [*PREFECT, "server", "database", "upgrade", "-y"],
                env=os_environment() | {"PREFECT_HOME": str(made)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=LONGEST_SECONDS,
                check=True,
            )
            made.rename(template)
    return shutil.copytree(template, home)


FORGETFUL: Final = {"PREFECT_SERVER_EVENTS_RELATED_RESOURCE_CACHE_TTL": "PT0S"}
"""For five minutes a server remembers what a run's events are related to; runs that take longer, as
most do, and those of tests that take seconds, are to meet the same."""


class AskingAgain(httpx.HTTPTransport):
    """Asks a busy Prefect server again: it answers 503 while its database is locked."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Give the first answer that is another, or the last of many."""
        pause = threading.Event()
        for _ in range(60):
            answer = super().handle_request(request)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            answer.close()
            pause.wait(0.5)
        return answer


@contextmanager
def prefect_server(home: Path, **extra: str) -> Iterator[str]:
    """Start a Prefect server in a home of its own; give the address of its API once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    url = f"http://127.0.0.1:{port}/api"
    env = os_environment() | SERVER_SETTINGS | FORGETFUL | {"PREFECT_HOME": str(home)}
    server = subprocess.Popen(
        [*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", port],
        env=env | extra,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pause = threading.Event()
    # One client: a new one reads all certificates of the machine, at each look.
    with httpx.Client(trust_env=False) as client:
        for _ in range(LONGEST_SECONDS * 10):
            assert server.poll() is None, "the server ended"
            with suppress(httpx.TransportError):
                if client.get(f"{url}/health").is_success:
                    break
            pause.wait(0.1)
    yield url
    server.terminate()
    server.wait(60)
