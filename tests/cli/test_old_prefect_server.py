"""What records a run refuses a Prefect server that is too old to record it, and says so."""

import http.server
import json
import subprocess
import sys
import threading

import pytest

from obscale.cli.local_prefect import OLDEST_SERVER, _insist_on_records
from obscale.errors import PrefectUnreachableError
from tests.cli.conftest import LONGEST_SECONDS

OLDEST = "3.6.14"
ONE_BELOW = "3.6.13"


class TellsItsVersion(http.server.BaseHTTPRequestHandler):
    """A Prefect server of some version, of which nothing else works."""

    def do_GET(self):
        """Tell the version, of which the server keeps count."""
        self.server.asked.append(self.path)
        is_version = self.path == "/api/admin/version"
        self._answer(200 if is_version else 404, json.dumps(self.server.version).encode())

    def do_POST(self):
        """Have nothing."""
        self.server.asked.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(404, b"{}")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def old():
    """A server one below the oldest; `url` and `asked` say where, and what it was asked."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), TellsItsVersion) as server:
        server.version, server.asked = ONE_BELOW, []
        server.url = f"http://127.0.0.1:{server.server_port}/api"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def is_refused(told, url):
    """Whether an error says what was found, what is needed, and what to do."""
    assert f"the Prefect server at {url} is {ONE_BELOW}, and {OLDEST} or newer is needed" in told
    assert f"upgrade that server to Prefect {OLDEST} or newer" in told
    return True


@pytest.mark.parametrize("command", ["apply", "apply, batch", "connect"])
def test_a_command_that_records_refuses_it(obscale, monkeypatch, old, quiet_world, write, command):
    """Asked for its version once; exit 3, no agent is asked, nothing is written."""
    request, seen = quiet_world.request(), len(quiet_world.world.requests)
    agent = request["cluster"]["endpoints"][0]
    words = {
        "apply": ["apply", write(request), "--yes"],
        "apply, batch": ["apply", write({"clusters": [request]}), "--yes"],
        "connect": [
            *("connect", "east", "--endpoint", agent, "--password-env", "OBSCALE_TEST_ROOT")
        ],
    }[command]
    monkeypatch.setenv("PREFECT_API_URL", old.url)

    ended = obscale(*words, "--json")

    assert (ended.code, ended.error["kind"]) == (3, "prefect"), ended.out + ended.err
    assert is_refused(ended.error["message"], old.url)
    assert old.asked == ["/api/admin/version"]
    assert len(quiet_world.world.requests) == seen


@pytest.mark.e2e
@pytest.mark.parametrize("program", ["serve", "automations"])
def test_a_deployment_refuses_it(environment, old, program):
    """Nothing is offered, and no automation made, where neither would work."""
    done = subprocess.run(
        [sys.executable, "-m", f"obscale.deployments.{program}"],
        env=environment | {"PREFECT_API_URL": old.url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )

    assert done.returncode == 3, done.stderr
    assert is_refused(done.stderr, old.url)
    assert set(old.asked) == {"/api/admin/version"}


def test_what_only_reads_is_not_kept_from_it(obscale, monkeypatch, old):
    """What an old server has kept can still be exported."""
    monkeypatch.setenv("PREFECT_API_URL", old.url)

    ended = obscale("evidence", "no-such", "--json")

    assert "is needed" not in ended.out + ended.err
    assert len(old.asked) > 1


@pytest.mark.parametrize(
    "said",
    [OLDEST, "3.6.21", "3.8.8", "3.9.1", "3.10.0", "4.0.0", "3.7.0.dev1+5.gab12", "unknown", ""],
)
def test_a_server_that_records_is_taken(said):
    """And so is one whose version nobody can read."""
    _insist_on_records(said, "http://here/api")


@pytest.mark.parametrize("said", [ONE_BELOW, "3.4.25", "3.0.0", "2.20.27", "3.6.13+7.gab12"])
def test_an_older_server_is_refused(said):
    """By the version it tells."""
    with pytest.raises(PrefectUnreachableError, match=r"or newer is needed"):
        _insist_on_records(said, "http://here/api")

    assert ".".join(map(str, OLDEST_SERVER)) == OLDEST
