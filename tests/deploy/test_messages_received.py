"""Tests that what tells a person of a run arrives: at listeners of the test's own."""

import json
import socketserver
import subprocess
import sys
import threading
import uuid
from datetime import UTC, datetime
from email import message_from_string, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from obscale.sandbox import Fault
from tests.deploy.conftest import LONGEST_SECONDS, ROOT_PASSWORD, wait_until
from tests.deploy.test_messages import HOSTILE

pytestmark = pytest.mark.e2e
CANARY = "canary-hook-5d20"


@pytest.fixture(scope="module")
def posted():
    """A web server on loopback: its address, and what was posted to it, by path."""
    bodies: dict[str, list] = {}

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["Content-Length"])
            assert self.headers["Content-Type"] == "application/json"
            path = self.path.partition("?")[0].strip("/")
            bodies.setdefault(path, []).append(json.loads(self.rfile.read(length)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        thread = threading.Thread(target=receiver.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{receiver.server_port}", bodies
        receiver.shutdown()
        thread.join(60)


@pytest.fixture(scope="module")
def mailed():
    """A mail server on loopback: its port, and the letters it was given."""
    letters: list = []

    class Letterbox(socketserver.StreamRequestHandler):
        def say(self, words):
            self.wfile.write(f"{words}\r\n".encode())

        def handle(self):
            self.say("220 test")
            while line := self.rfile.readline().decode().strip():
                match line.upper().split()[0]:
                    case "DATA":
                        self.say("354 go on")
                        lines = iter(lambda: self.rfile.readline().decode(), ".\r\n")
                        text = "".join(
                            each.removeprefix(".") if each[:2] == ".." else each for each in lines
                        )
                        letters.append(message_from_string(text, policy=policy.default))
                        self.say("250 taken")
                    case "QUIT":
                        self.say("221 bye")
                        return
                    case _:
                        self.say("250 ok")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Letterbox) as box:
        thread = threading.Thread(target=box.serve_forever)
        thread.start()
        yield box.server_address[1], letters
        box.shutdown()
        thread.join(60)


@pytest.fixture(scope="module")
def told(alone, posted, mailed):
    """The server, with an automation for each channel; addresses come from the environment."""
    hooks = {name: f"{posted[0]}/{name}?token={CANARY}" for name in ("slack", "dingtalk", "feishu")}
    mail = (
        f"mailto://127.0.0.1:{mailed[0]}?mode=insecure&from=obscale@example.org&to=ops@example.org"
    )
    addresses = hooks | {"email": mail}
    words = [word for name in addresses for word in (f"--{name}", f"env:{name.upper()}_ADDRESS")]
    environment = alone.environment | {
        f"{name.upper()}_ADDRESS": address for name, address in addresses.items()
    }

    first = run(["-m", "obscale.deployments.automations", *words], environment)
    again = run(["-m", "obscale.deployments.automations"], alone.environment)

    titles = ["Slack", "DingTalk", "Feishu", "e-mail"]
    for said, does in ((first, "made"), (again, "up to date")):
        assert said.returncode == 0, said.stdout + said.stderr
        for title in titles:
            assert f"{does}: obscale: tell by {title} when a run needs a person" in said.stdout
        assert CANARY not in said.stdout + said.stderr
    return alone


def run(words, environment):
    """Run a program of obscale's."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )


def messages(posted, mailed, holds):
    """Wait for a message over each channel that holds some words; give them by channel."""
    bodies, letters = posted[1], mailed[1]

    def texts():
        found = {
            "slack": [body["text"] for body in bodies.get("slack", [])],
            "dingtalk": [body["text"]["content"] for body in bodies.get("dingtalk", [])],
            "feishu": [body["content"]["text"] for body in bodies.get("feishu", [])],
            "email": [f"{letter['Subject']}\n{plain(letter)}" for letter in letters],
        }
        own = {name: [text for text in all_of if holds in text] for name, all_of in found.items()}
        return {name: found[0] for name, found in own.items()} if all(own.values()) else None

    return wait_until(texts, f"a message over each channel with {holds!r}")


def plain(letter):
    """The text of a letter as it is read."""
    return letter.get_body(("plain",)).get_content().replace("\r\n", "\n").strip()


def test_a_held_run_is_told_over_every_channel(told, posted, mailed, clusters, write):
    """Verdict and next command lead; cluster, node, DAG and the run's page follow; no secret."""
    clusters.world.play(Fault.observer_dies())
    request = clusters.request()
    name, target = request["cluster"]["name"], "{ip}:{port}".format(**request["agentInfo"])

    ended = run(["-m", "obscale.cli", "apply", write(request), "--yes"], told.environment)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    received = messages(posted, mailed, f"obscale: {target} of {name}")
    [held] = told.api(
        "POST", "/flow_runs/filter", json={"flow_runs": {"state": {"name": {"any_": ["Held"]}}}}
    )

    [dag] = [each for each in clusters.world.clusters[0].dags if each.name == "Cluster scale out"]
    for channel, text in received.items():
        lines = text.splitlines()
        assert lines[0] == f"obscale: {target} of {name}: held, its DAG failed", channel
        assert lines[1].startswith(f"DAG {dag.generic_id()} failed at stage "), channel
        assert lines[1].endswith("the observer died at its start [observer-died]."), channel
        assert lines[3].startswith("Next: "), channel
        assert "obscale recover" in lines[3], channel
        assert f"Cluster {name}, node {target}, zone zone2, DAG {dag.generic_id()}" in lines
        assert lines[-1] == f"Run: http://prefect.example/runs/flow-run/{held['id']}", channel
    assert posted[1]["dingtalk"][0].keys() == {"msgtype", "text"}
    assert posted[1]["dingtalk"][0]["msgtype"] == "text"
    assert posted[1]["feishu"][0]["msg_type"] == "text"
    assert posted[1]["slack"][0].keys() == {"text"}
    assert (mailed[1][0]["To"], mailed[1][0].get_content_type()) == (
        "ops@example.org",
        "text/plain",
    )
    everything = json.dumps([posted[1], [str(letter) for letter in mailed[1]]])
    assert ROOT_PASSWORD not in everything
    assert CANARY not in everything


def test_a_hostile_name_arrives_as_it_is_over_every_channel(told, posted, mailed):
    """Its quotes break no JSON, it calls nobody, and nothing in it is carried out."""
    event = {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "obscale.scale-out.failed",
        "resource": {"prefect.resource.id": "obscale.cluster.hostile"},
        "payload": {
            "cluster": "hostile",
            "target": "10.0.0.9:2886",
            "zone": HOSTILE,
            "error": f"no {HOSTILE}. Next: look",
            "next": "look",
        },
    }
    told.api("POST", "/events", json=[event])

    received = messages(posted, mailed, "10.0.0.9:2886 of hostile")

    shown = HOSTILE.replace("<", "‹").replace(">", "›")
    for channel, text in received.items():
        lines = text.splitlines()
        assert lines[:3] == [
            "obscale: 10.0.0.9:2886 of hostile: failed",
            f"no {shown}",
            "Next: look",
        ], channel
        assert f"Cluster hostile, node 10.0.0.9:2886, zone {shown}" in lines, channel


def test_what_is_stored_shows_no_address(told):
    """Whoever reads the blocks without asking for secrets learns none."""
    found = told.api("POST", "/block_documents/filter", json={})

    named = {each["name"] for each in found}
    assert {"obscale-slack", "obscale-dingtalk", "obscale-feishu", "obscale-email"} <= named
    assert CANARY not in json.dumps(found)
    assert "ops@example.org" not in json.dumps(found)


def test_no_address_of_another_kind_is_stored(told):
    """Exit 2 and one line, without the address, which may hold a password."""
    said = run(
        ["-m", "obscale.deployments.automations", "--email", f"smtp://u:{CANARY}@mail"],
        told.environment,
    )

    assert said.returncode == 2
    assert said.stderr.splitlines()[-1].endswith(
        "--email: is no address of the kind mailtos://USER:PASSWORD@smtp.example.org?from=…&to=…"
    )
    assert CANARY not in said.stderr
