"""Tests of a run whose Prefect server goes away: it goes on and tells so."""

import json
import re
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from itertools import pairwise

import httpx
import pytest

from obscale.cli.local_prefect import SERVER_SETTINGS
from tests.prefect_server import LONGEST_SECONDS, PREFECT, AskingAgain, os_environment

pytestmark = pytest.mark.e2e


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

    def ask(self, method, path, body=None):
        """Ask its API."""
        with httpx.Client(transport=AskingAgain(), timeout=LONGEST_SECONDS) as client:
            answer = client.request(method, f"{self.url}{path}", json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def newest_run(self):
        """Give the flow run that was begun last."""
        return self.ask("POST", "/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 1})[0]

    def cancel_newest_run(self):
        """Cancel it as the UI does; gives its id."""
        run_id = self.newest_run()["id"]
        cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
        self.ask("POST", f"/flow_runs/{run_id}/set_state", cancelling)
        return run_id


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


RAW_LINES = (
    "Traceback",
    "logging to API",
    "EventsWorker",
    "APILogWorker",
    "Unable to connect",
    "httpx",
    "ConnectError",
    "ReadTimeout",
)
"""Of what Prefect's own threads say when their server is away."""


def is_followed(world):
    """Whether a DAG has been looked at."""
    return any(re.search(r"/task/dag/\d", each.target) for each in list(world.world.requests))


def lines_with(words, *streams):
    """Give the lines that hold these words."""
    return [line for text in streams for line in text.splitlines() if words in line]


@pytest.fixture(scope="module")
def team(new_home):
    """A server that tests share who leave it as it was."""
    own = Server(new_home())
    own.start()
    yield own
    own.kill()


@pytest.fixture
def begun(open_world, write, start_program):
    """Give a function that starts `obscale apply`, and returns when the DAG is followed."""

    def begin(server, *words, speed=4, as_batch=False):
        world = open_world(speed=speed)
        asked = {"clusters": [world.request()]} if as_batch else world.request()
        request = write(asked, "asked.json")
        run = start_program("apply", request, "--yes", *words, PREFECT_API_URL=server.url)
        wait_until(lambda: is_followed(world) or run.poll() is not None, "the DAG is followed")
        assert run.poll() is None, run.communicate()
        return world, run

    return begin


@pytest.mark.parametrize("as_batch", [False, True], ids=["request", "batch"])
def test_a_run_whose_server_is_killed_ends_by_its_proof(server, begun, as_batch):
    """Killed after the POST and gone for good: 0, the proofs, one line on Prefect, no raw ones."""
    world, run = begun(server, as_batch=as_batch)

    server.kill()
    out, err = run.communicate(timeout=LONGEST_SECONDS)

    assert run.returncode == 0, err
    assert ("1 of 1 node verified" if as_batch else "CONFORMING") in out
    assert len(lines_with("Prefect does not answer", out, err)) == 1, out + err
    assert not [line for raw in RAW_LINES for line in lines_with(raw, out, err)]
    assert world.posts == ["/api/v1/ob/scale_out"]


def test_a_dag_is_followed_although_the_server_hangs(team, begun):
    """Stopped after the POST, it keeps nobody waiting: the DAG is followed, the node proved."""
    world, run = begun(team)

    team.process.send_signal(signal.SIGSTOP)
    try:
        out, err = run.communicate(timeout=LONGEST_SECONDS)
    finally:
        team.process.send_signal(signal.SIGCONT)

    looks = [each.at for each in world.world.requests if re.search(r"/task/dag/\d", each.target)]
    gaps = [later - earlier for earlier, later in pairwise(looks)]
    assert run.returncode == 0, err
    assert "CONFORMING" in out
    assert len(lines_with("Prefect does not answer", out, err)) == 1, out + err
    assert not [line for raw in RAW_LINES for line in lines_with(raw, out, err)]
    # Seconds of the simulated clock, four of them a real one.
    assert max(gaps) < 120


def test_a_run_deleted_in_prefect_is_proved_all_the_same(team, begun):
    """Said in one line; the exit code is the proof's."""
    world, run = begun(team)

    team.ask("DELETE", f"/flow_runs/{team.newest_run()['id']}")
    out, err = run.communicate(timeout=LONGEST_SECONDS)

    assert run.returncode == 0, err
    assert "CONFORMING" in out
    assert len(lines_with("deleted in Prefect", out, err)) == 1, out + err
    assert not [line for raw in RAW_LINES for line in lines_with(raw, out, err)]
    assert world.posts == ["/api/v1/ob/scale_out"]


@pytest.mark.parametrize("as_batch", [False, True], ids=["request", "batch"])
def test_a_run_cancelled_in_prefect_stops_and_says_what_goes_on(team, begun, as_batch):
    """As on SIGTERM: the DAG goes on and is named; state Cancelled, exit 130."""
    _, run = begun(team, speed=1, as_batch=as_batch)

    run_id = team.cancel_newest_run()
    _, err = run.communicate(timeout=LONGEST_SECONDS)

    assert run.returncode == 130, err
    assert "cancelled in Prefect" in err
    assert ("1 left running" if as_batch else "goes on by itself") in err
    assert "Next: obscale" in err
    assert "Traceback" not in err
    assert team.ask("GET", f"/flow_runs/{run_id}")["state"]["type"] == "CANCELLED"


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
