"""Real servers of other Prefect versions: the oldest that records a run, and the one before."""

import json
import subprocess
import sys
import venv
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from benchmarks.postgres import free_port
from tests.e2e.backing import LONGEST_SECONDS, wait_until
from tests.e2e.conftest import ROOT_PASSWORD, plain_environment
from tests.prefect_server import AskingAgain

pytestmark = pytest.mark.e2e

OLDEST, ONE_BELOW = "3.6.14", "3.6.13"
NEIGHBOURS = Path(__file__).with_name("prefect-3.6-server.txt")
"""What such a server runs on, so that nothing published since breaks it."""
STREAM = """
import asyncio
from prefect.events.clients import PrefectEventsClient

async def main():
    async with PrefectEventsClient(reconnection_attempts=0):
        pass

asyncio.run(main())
"""
"""What each run does first of all: ask to be let in to the stream of events."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Give a function that installs a version beside everything else; gives its program.

    The two run on the same neighbours, which are installed once.
    """
    folder = tmp_path_factory.mktemp("prefect-3.6")
    venv.create(folder, with_pip=True)

    def install(version: str) -> Path:
        done = subprocess.run(
            [
                *(folder / "bin" / "python", "-m", "pip", "install", "--quiet"),
                *("--constraint", NEIGHBOURS, f"prefect=={version}", "importlib-metadata"),
            ],
            env=plain_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return folder / "bin" / "prefect"

    return install


@contextmanager
def served(program: Path, home: Path):
    """Serve with it on a free port; gives the address of its API."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = plain_environment() | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    environment.pop("PYTHONPATH", None)
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [program, "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def healthy() -> bool:
        assert server.poll() is None, (home / "server.log").read_text()[-2000:]
        with suppress(httpx.TransportError):
            return httpx.get(f"{url}/health", trust_env=False).is_success
        return False

    try:
        wait_until(healthy, "the server")
        yield url
    finally:
        server.terminate()
        server.wait(60)


def run(words, url, home):
    """Run a program that records into this server."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        env=plain_environment()
        | {
            "PREFECT_API_URL": url,
            "PREFECT_HOME": str(home),
            "E2E_ROOT_PASSWORD": ROOT_PASSWORD,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )


def applied(world, url, home):
    """Add the world's spare."""
    spare = world.ready["spares"][0]
    request = {
        "cluster": {"endpoints": world.endpoints(), "password": {"env": "E2E_ROOT_PASSWORD"}},
        "agentInfo": {"ip": spare["ip"], "port": spare["port"]},
        "zone": "zone2",
    }
    path = home / "request.json"
    path.write_text(json.dumps(request))
    return run(["-m", "obscale.cli", "apply", path, "--yes"], url, home)


def asked(url, path, **body):
    """Ask the server's API."""
    with httpx.Client(transport=AskingAgain(), timeout=60) as client:
        return client.post(f"{url}{path}", json=body).raise_for_status().json()


def test_the_oldest_server_records_a_run_whole(installed, clusters, tmp_path):
    """Its flow run, four task runs and its events."""
    with served(installed(OLDEST), tmp_path) as url:
        streamed = run(["-c", STREAM], url, tmp_path)
        ended = applied(clusters(), url, tmp_path)

        assert streamed.returncode == 0, streamed.stderr
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert asked(url, "/flow_runs/count") == 1
        wait_until(lambda: asked(url, "/task_runs/count") == 4, "all task runs")
        only = {"event": {"name": ["obscale.scale-out.verified"]}}
        wait_until(lambda: asked(url, "/events/filter", filter=only)["total"] == 1, "the event")


def test_the_one_before_it_lets_no_stream_in_and_is_refused(installed, clusters, tmp_path):
    """Prefect's own client cannot tell it anything; obscale says so before it sends anything."""
    world = clusters()
    with served(installed(ONE_BELOW), tmp_path) as url:
        streamed = run(["-c", STREAM], url, tmp_path)
        ended = applied(world, url, tmp_path)

        assert streamed.returncode != 0
        assert ended.returncode == 3, ended.stdout + ended.stderr
        assert f"is {ONE_BELOW}, and {OLDEST} or newer is needed" in ended.stderr
        assert asked(url, "/flow_runs/count") == 0
        assert [r for r in world.world.requests if r.method != "GET"] == []
