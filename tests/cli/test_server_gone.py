"""Does a run outlive the Prefect server it reports to?"""

import json
import re
import socket
import subprocess
import threading
from contextlib import suppress

import httpx
import pytest

from obscale.cli.prefect_at_home import SERVER_SETTINGS
from tests.cli.conftest import LONGEST_SECONDS, PREFECT, os_environment


class Server:
    """A Prefect server that can be killed and started again where it was."""

    def __init__(self, home):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = str(probe.getsockname()[1])
        self.home = home
        self.url = f"http://127.0.0.1:{self.port}/api"

    def start(self):
        """Start it, and wait until it answers."""
        self.process = subprocess.Popen(
            [*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", self.port],
            env=os_environment() | SERVER_SETTINGS | {"PREFECT_HOME": str(self.home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self.answers, "the server answers")

    def answers(self):
        """Whether it answers; it must not have ended."""
        assert self.process.poll() is None, "the server ended"
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health", trust_env=False).is_success
        return False

    def kill(self):
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait(60)


@pytest.fixture
def server(new_home):
    """A server of this test's own."""
    own = Server(new_home())
    own.start()
    yield own
    own.kill()


def wait_until(holds, what):
    """Wait for a condition, generously."""
    pause = threading.Event()
    for _ in range(LONGEST_SECONDS * 10):
        if holds():
            return
        pause.wait(0.1)
    raise AssertionError(f"never: {what}")


def test_a_run_rides_through_a_server_that_is_killed_and_comes_back(
    server, open_world, write, start_program
):
    """Killed while the DAG is followed, and started again: verified, exit 0, one POST."""
    world = open_world(speed=4)
    request = write(world.request())
    run = start_program("apply", request, "--yes", "--json", PREFECT_API_URL=server.url)
    wait_until(
        lambda: any(re.search(r"/task/dag/\d", r.target) for r in list(world.world.requests)),
        "the DAG is followed",
    )

    server.kill()
    server.start()
    out, err = run.communicate(timeout=LONGEST_SECONDS)

    assert run.returncode == 0, err
    assert json.loads(out)["runs"][0]["report"]["outcome"] == "verified"
    assert "Traceback" not in err
    assert world.posts == ["/api/v1/ob/scale_out"]
