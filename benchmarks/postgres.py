"""A PostgreSQL on loopback for a Prefect server of the benchmark's own.

The tests of a team's set-up use it too.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Final

DEBIAN_FOLDER: Final = Path("/usr/lib/postgresql")
DEBIAN_USER: Final = "postgres"
INSTALL: Final = "apt-get install postgresql"
SIZE: Final = "select pg_database_size('prefect')"
START_SECONDS: Final = 120
END_SECONDS: Final = 60
LOOK_AGAIN_SECONDS: Final = 0.2


def postgres_programs() -> Path | None:
    """Give the folder of PostgreSQL's programs, the newest as Debian lays them; None: it has none.

    Elsewhere they are looked for where `postgres` itself is found.
    """
    found = sorted(DEBIAN_FOLDER.glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    if found:
        return found[-1].parent
    program = shutil.which("postgres")
    return Path(program).resolve().parent if program else None


@contextmanager
def postgres_server(programs: Path, password: str) -> Iterator[str]:
    """Start a PostgreSQL on loopback in a folder of its own, and end it with the block.

    Args:
        programs: From `postgres_programs`.
        password: Of its user, `prefect`.

    Yields:
        `host:port`; it has an empty database, `prefect`.

    Raises:
        RuntimeError: It did not start.
    """
    port = free_port()
    # PostgreSQL refuses to run as root; Debian's package brings its user.
    become = ["runuser", "-u", DEBIAN_USER, "--"] if os.geteuid() == 0 else []
    # Not below pytest's folder: each pytest that starts on this machine closes that to others.
    with tempfile.TemporaryDirectory(prefix="obscale-postgres-") as folder:
        secret = Path(folder, "password")
        secret.write_text(password, encoding="utf-8")
        if become:
            for path in (folder, secret):
                os.chown(path, pwd.getpwnam(DEBIAN_USER).pw_uid, -1)
        data = f"{folder}/data"
        subprocess.run(  # noqa: S603 - a program of PostgreSQL's
            [
                *(*become, str(programs / "initdb"), "-D", data, "-U", "prefect"),
                *("-A", "scram-sha-256", "--pwfile", str(secret)),
            ],
            check=True,
            capture_output=True,
            cwd="/",
        )
        with subprocess.Popen(  # noqa: S603 - as above
            [
                *(*become, str(programs / "postgres"), "-D", data, "-p", str(port)),
                *("-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"),
            ],
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is the parent's to hear: it ends what it started.
            start_new_session=True,
        ) as server:
            try:
                _wait_ready(programs, port, server)
                where = ("-h", "127.0.0.1", "-p", str(port), "-U", "prefect")
                subprocess.run(  # noqa: S603 - a program of PostgreSQL's
                    [str(programs / "createdb"), *where, "prefect"],
                    env=os.environ | {"PGPASSWORD": password},
                    check=True,
                    capture_output=True,
                    cwd="/",
                )
                yield f"127.0.0.1:{port}"
            finally:
                server.terminate()
                server.wait(END_SECONDS)


def answer_of(programs: Path, address: str, password: str, question: str) -> str:
    """Ask the database of a server of this module.

    Args:
        programs: From `postgres_programs`.
        address: As it was yielded.
        password: Of its user.
        question: In SQL.

    Returns:
        One line for each row, `|` between two values.
    """
    host, _, port = address.rpartition(":")
    asked = subprocess.run(  # noqa: S603 - a program of PostgreSQL's
        [
            *(str(programs / "psql"), "-h", host, "-p", port, "-U", "prefect", "-d", "prefect"),
            *("-Atc", question),
        ],
        env=os.environ | {"PGPASSWORD": password},
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
    )
    return asked.stdout


def _wait_ready(programs: Path, port: int, server: "subprocess.Popen[bytes]") -> None:
    ready = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
    give_up = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < give_up:
        asked = subprocess.run(ready, check=False, capture_output=True)  # noqa: S603 - as above
        if asked.returncode == 0:
            return
        Event().wait(LOOK_AGAIN_SECONDS)
    raise RuntimeError(f"PostgreSQL did not start at 127.0.0.1:{port}")


def free_port() -> int:
    """Give a port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
