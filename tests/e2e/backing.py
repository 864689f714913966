"""What stands behind a team's Prefect server: a PostgreSQL and a Redis of the test's own."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


def free_port() -> int:
    """A port of loopback nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def postgres_programs() -> Path:
    """The folder of the newest PostgreSQL's programs, as Debian lays them."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    assert found, "no PostgreSQL: apt-get install postgresql"
    return found[-1]


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL that asks for a password, on loopback; gives `host:port`."""
    programs, port = postgres_programs(), free_port()
    # Not below pytest's folder: each pytest that starts on this machine closes that to others.
    folder = Path(tempfile.mkdtemp(prefix="obscale-postgres-"))
    (folder / "password").write_text(POSTGRES_PASSWORD)
    become: list[str] = []
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root; Debian's package brings its user.
        become = ["runuser", "-u", "postgres", "--"]
        for path in (folder, folder / "password"):
            os.chown(path, pwd.getpwnam("postgres").pw_uid, -1)
    data = folder / "data"
    subprocess.run(
        [
            *(*become, programs / "initdb", "-D", data, "-U", "prefect"),
            *("-A", "scram-sha-256", "--pwfile", folder / "password"),
        ],
        check=True,
        capture_output=True,
        cwd="/",
    )
    server = subprocess.Popen(
        [
            *(*become, programs / "postgres", "-D", data, "-p", str(port)),
            *("-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"),
        ],
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    where = ["-h", "127.0.0.1", "-p", str(port), "-U", "prefect"]
    try:
        wait_until(
            lambda: (
                subprocess.run(
                    [programs / "pg_isready", *where], check=False, capture_output=True
                ).returncode
                == 0
            ),
            "PostgreSQL",
        )
        subprocess.run(
            [programs / "createdb", *where, "prefect"],
            env=os.environ | {"PGPASSWORD": POSTGRES_PASSWORD},
            check=True,
            capture_output=True,
            cwd="/",
        )
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(60)
        shutil.rmtree(folder)


def dump(address: str) -> str:
    """Everything the database of Prefect holds, as text."""
    host, _, port = address.partition(":")
    done = subprocess.run(
        [
            *(postgres_programs() / "pg_dump", "-h", host, "-p", port, "-U", "prefect"),
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
