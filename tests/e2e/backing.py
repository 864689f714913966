"""A PostgreSQL and a Redis of the test's own behind a team's Prefect server."""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.postgres import INSTALL, free_port, postgres_programs, postgres_server

LONGEST_SECONDS = 900
POSTGRES_PASSWORD = "e2e-canary-postgres-6f0a"


def wait_until(reached: Callable[[], Any], what: str, seconds: float = LONGEST_SECONDS) -> Any:
    """Wait for a condition; give what it gave."""
    pause = threading.Event()
    for _ in range(int(seconds * 5)):
        if found := reached():
            return found
        pause.wait(0.2)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL that asks for a password, on loopback; gives `host:port`."""
    with postgres_server(programs(), POSTGRES_PASSWORD) as address:
        yield address


def programs() -> Path:
    """The folder of PostgreSQL's programs."""
    found = postgres_programs()
    assert found, f"no PostgreSQL: {INSTALL}"
    return found


def dump(address: str) -> str:
    """Everything the database of Prefect holds, as text."""
    host, _, port = address.partition(":")
    done = subprocess.run(
        [
            *(programs() / "pg_dump", "-h", host, "-p", port, "-U", "prefect"),
            *("--data-only", "prefect"),
        ],
        env=os.environ | {"PGPASSWORD": POSTGRES_PASSWORD},
        check=True,
        capture_output=True,
        cwd="/",
        timeout=LONGEST_SECONDS,
    )
    return done.stdout.decode(errors="replace")


@contextmanager
def redis() -> Iterator[int]:
    """A Redis on loopback that keeps nothing; gives its port."""
    program, port = shutil.which("redis-server"), free_port()
    assert program, "no Redis: apt-get install redis-server"
    server = subprocess.Popen(
        [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"],
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        assert server.poll() is None, "Redis ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(answers, "Redis")
        yield port
    finally:
        server.terminate()
        server.wait(60)
