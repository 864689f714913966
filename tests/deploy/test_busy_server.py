"""Tests of the trigger examples against a server whose database is busy."""

import json
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.deploy.conftest import LONGEST_SECONDS, ROOT, plain_environment

pytestmark = pytest.mark.e2e

RUN = "7d0f2c1e-0000-4000-8000-000000000001"
ANSWERS = {
    "/api/deployments/name/scale-out/scale-out-workers": {
        "id": "d1",
        "parameter_openapi_schema": {"properties": {"zone": {}}},
    },
    "/api/deployments/d1/create_flow_run": {"id": RUN},
    f"/api/flow_runs/{RUN}": {"id": RUN, "state": {"type": "COMPLETED", "name": "Completed"}},
}


@pytest.fixture
def busy_api():
    """A server that answers each question with 503 first, as Prefect's does; gives its address."""
    asked: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked[self.path] += 1
            is_busy = asked[self.path] == 1
            body = {"exception_message": "Service Unavailable"} if is_busy else ANSWERS[self.path]
            self.send_response(503 if is_busy else 200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        do_GET = do_POST = answer  # noqa: N815 - the names are the base's

        def log_message(self, *_words) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api", asked
    server.shutdown()
    thread.join()
    server.server_close()


EXAMPLES = pytest.mark.parametrize(
    "words",
    [
        [sys.executable, "-m", "obscale.deployments.trigger"],
        ["sh", ROOT / "deployments/trigger.sh"],
    ],
    ids=["python", "shell"],
)


@EXAMPLES
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "socks5://127.0.0.1:1"])
def test_a_server_of_this_machine_is_not_asked_for_through_a_proxy(
    busy_api, words, tmp_path, proxy
):
    """A proxy of the environment, usable or not, changes nothing."""
    api, _ = busy_api
    request = tmp_path / "request.json"
    request.write_text('{"zone": "zone2"}')
    proxies = {
        "http_proxy": proxy,
        "HTTP_PROXY": proxy,
        "ALL_PROXY": proxy,
        "NO_PROXY": "x.example",
    }

    done = subprocess.run(
        [*words, request],
        env=plain_environment() | proxies | {"PREFECT_API_URL": api},
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "completed" in done.stdout.lower()


@EXAMPLES
def test_what_a_busy_server_said_first_does_not_count(busy_api, words, tmp_path):
    """Each question is asked once more, and the run is the one the second answer names."""
    api, asked = busy_api
    request = tmp_path / "request.json"
    request.write_text('{"zone": "zone2"}')

    done = subprocess.run(
        [*words, request],
        env=plain_environment() | {"PREFECT_API_URL": api},
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == f"run {api.removesuffix('/api')}/runs/flow-run/{RUN}"
    assert set(asked.values()) == {2}
