"""A warm Prefect server for the measured flows, with the settings obscale gives it."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Final

import httpx

from benchmarks.postgres import free_port
from obscale.cli.local_prefect import QUIET_SETTINGS, SERVER_SETTINGS

START_SECONDS: Final = 180
END_SECONDS: Final = 60
LOOK_AGAIN_SECONDS: Final = 0.5


@contextmanager
def prefect_server(
    database: str | None = None, log: Path | None = None
) -> Iterator[dict[str, str]]:
    """Start a server in a folder of its own, and end it with the block.

    Args:
        database: Address of its database; None: SQLite in that folder.
        log: Where it writes a line for each request; None: nowhere.

    Yields:
        The environment its clients need.
    """
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    with (
        tempfile.TemporaryDirectory(prefix="obscale-bench-") as home,
        (log or Path(os.devnull)).open("wb") as lines,
    ):
        settings = SERVER_SETTINGS | QUIET_SETTINGS | {"PREFECT_HOME": home}
        if database is not None:
            settings |= {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database}
        telling = {
            "PREFECT_SERVER_LOGGING_LEVEL": "INFO",
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO",
        }
        program = [sys.executable, "-m", "prefect", "server", "start"]
        with subprocess.Popen(  # noqa: S603 - this interpreter, and a number
            [*program, "--host", "127.0.0.1", "--port", str(port)],
            env=os.environ | settings | (telling if log else {}),
            stdout=lines,
            stderr=lines,
            start_new_session=True,
        ) as server:
            try:
                _wait_healthy(f"{api}/health", server)
                yield settings | {"PREFECT_API_URL": api}
            finally:
                server.terminate()
                # After Ctrl-C, leaving the block would wait for a quarter of a second only.
                server.wait(END_SECONDS)


def _wait_healthy(address: str, server: "subprocess.Popen[bytes]") -> None:
    give_up = time.monotonic() + START_SECONDS
    with httpx.Client(trust_env=False) as client:
        while server.poll() is None and time.monotonic() < give_up:
            try:
                if client.get(address).is_success:
                    return
            except httpx.TransportError:
                pass
            Event().wait(LOOK_AGAIN_SECONDS)
    raise RuntimeError(f"the Prefect server did not start at {address}")
