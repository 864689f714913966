"""Tests of the idempotency keys of the trigger examples: one request, one run, whoever sends it."""

import json
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from obscale.deployments.trigger import start
from tests.deploy.conftest import ROOT, plain_environment

DEPLOYMENT = "scale-out/scale-out-workers"
RUN = "7d0f2c1e-0000-4000-8000-000000000001"
MISSING = [name for name in ("curl", "jq", "sha256sum") if shutil.which(name) is None]
REQUESTS = {
    "plain": '{"zone": "zone2", "agentInfo": {"ip": "10.0.0.4", "port": 2886}}',
    "laid out otherwise": '{\n"agentInfo": {"port": 2886.0, "ip": "10.0.0.4"},\n "zone":"zone2"}\n',
    "in Chinese, with signs": r'{"zone": "北京\n\"é\u20ac🙂", "agentInfo": null}',
    "numbers": '{"zone": [0, -1, 30.0, 0.25, 1e3, 1234567890123, true, {}]}',
}
FIELDS = {"zone": {}, "agentInfo": {}}


@pytest.fixture
def listener():
    """A server that takes any run; gives its address and the bodies of the POSTs."""
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.command == "POST":
                bodies.append(json.loads(body))
            told = {
                "id": RUN,
                "parameter_openapi_schema": {"properties": FIELDS},
                "state": {"type": "COMPLETED", "name": "Completed"},
            }
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

        do_GET = do_POST = answer  # noqa: N815 - the names are the base's

        def log_message(self, *_words) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api", bodies
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def send(listener, tmp_path):
    """Give a function that sends a request by one of the two; gives the key that arrived."""
    address, bodies = listener

    def one(text, ticket="", *, shell=False):
        if shell:
            path = tmp_path / "request.json"
            path.write_text(text, encoding="utf-8")
            done = subprocess.run(
                ["sh", ROOT / "deployments/trigger.sh", path, DEPLOYMENT, ticket],
                env=plain_environment() | {"PREFECT_API_URL": address},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        else:
            with httpx.Client(base_url=address, trust_env=False) as api:
                start(api, DEPLOYMENT, json.loads(text), ticket)
        assert bodies[-1]["parameters"] == json.loads(text)
        return bodies[-1]["idempotency_key"]

    return one


@pytest.mark.skipif(bool(MISSING), reason=f"trigger.sh needs {', '.join(MISSING)}")
@pytest.mark.parametrize("text", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("ticket", ["", "INC 42 é"])
def test_both_make_the_same_key(send, text, ticket):
    """A portal may begin with one of them and repeat with the other."""
    assert send(text, ticket) == send(text, ticket, shell=True)


def test_the_key_is_made_of_request_and_ticket(send):
    """Not of how the file is laid out."""
    keys = [send(REQUESTS[name]) for name in ("plain", "laid out otherwise", "numbers")]
    other = send(REQUESTS["plain"], "INC-42")

    assert keys[0] == keys[1]
    assert len({*keys, other}) == 3
