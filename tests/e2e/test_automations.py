"""Tests of the automations: Prefect calls, runs again and plans by itself."""

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from obscale.deployments.automations import replace_when_down
from obscale.sandbox import Fault
from tests.e2e.test_dispatch import below

LONGEST_SECONDS = 300
LOST = "lost"
"""A pool and a deployment of the test's own: its worker is killed."""
SAMPLE = {
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}


@pytest.fixture(scope="module")
def called():
    """A webhook on loopback: its address, and what it was called with."""
    bodies: list[dict] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["Content-Length"])
            bodies.append(json.loads(self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *words):
            """Say nothing."""

    receiver = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=receiver.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{receiver.server_port}/hook", bodies
    receiver.shutdown()
    thread.join(60)
    receiver.server_close()


def applied(server, *words):
    """Run the command; gives what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "obscale.deployments.automations", *words],
        env=server.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def automated(deployed, called):
    """The server with the automations applied."""
    applied(deployed, "--webhook", called[0])
    return deployed


def until(look, what):
    """Wait for a condition; give what it gave."""
    pause = threading.Event()
    for _ in range(LONGEST_SECONDS):
        if found := look():
            return found
        pause.wait(1)
    raise AssertionError(f"not within {LONGEST_SECONDS} s: {what}")


def test_applying_them_again_makes_no_second_one(automated):
    """Six automations, whatever often they are applied, without the address too."""
    said = applied(automated)

    assert [line.split(":")[0] for line in said] == ["up to date"] * 6
    found = automated.api("POST", "/automations/filter", json={})
    own = {each["name"]: each["enabled"] for each in found if each["name"].startswith("obscale: ")}
    assert len(own) == 6
    assert {name for name, on in own.items() if not on} == {
        "obscale: ask what becomes of a held DAG",
        "obscale: plan a replacement of a member that stays down",
    }


def test_a_held_run_calls_the_webhook_with_cause_and_without_secrets(
    automated, called, clusters, tmp_path
):
    """A DAG left to a person calls: cluster, target, cause, what is recommended; no password."""
    opened = clusters(speed=40)
    opened.world.play(Fault.observer_dies())
    spare, cluster = opened.ready["spares"][0], opened.ready["clusters"][0]
    request = tmp_path / "request.json"
    request.write_text(
        json.dumps(
            {
                "cluster": {
                    "endpoints": opened.endpoints(),
                    "password": {"env": "E2E_ROOT_PASSWORD"},
                    "name": cluster["name"],
                },
                "agentInfo": {"ip": spare["ip"], "port": spare["port"]},
                "zone": "zone2",
                "obConfigs": SAMPLE,
            }
        )
    )

    ended = subprocess.run(
        [sys.executable, "-m", "obscale.cli", "apply", request, "--yes"],
        env=automated.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    told = until(lambda: called[1], "a call")[0]

    assert told["event"] == "obscale.scale-out.held"
    assert (told["cluster"], told["zone"]) == (cluster["name"], "zone2")
    assert told["target"] == f"{spare['ip']}:{spare['port']}"
    assert told["cause"] == "observer-died"
    assert told["deployment"] == "recover/recover-workers"
    assert "/deployments/deployment/" in told["form"]
    assert told["next"]
    assert automated.environment["E2E_ROOT_PASSWORD"] not in json.dumps(called[1])


def test_a_capacity_event_starts_a_run_that_only_plans(automated):
    """Whatever notices that a cluster is full sends one event; a plan of that request is made."""
    asked = {
        "cluster": "full-east",
        "agentInfo": {"ip": "10.0.0.4", "port": 2886},
        "zone": "zone2",
        "obConfigs": SAMPLE,
    }
    event = {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "obscale.capacity.needed",
        "resource": {"prefect.resource.id": "obscale.cluster.full-east"},
        "payload": asked,
    }
    automated.api("POST", "/events", json=[event])
    offered = automated.api("GET", "/deployments/name/plan/plan-workers")

    def planned():
        runs = automated.api(
            "POST",
            "/flow_runs/filter",
            json={"deployments": {"id": {"any_": [offered["id"]]}}},
        )
        return [run for run in runs if run["parameters"].get("cluster") == "full-east"]

    [run] = until(planned, "a plan")
    assert {name: run["parameters"][name] for name in asked} == asked


def test_a_member_that_stays_down_leads_to_a_run_that_asks(automated):
    """Where no word of its being up follows; it waits for approval, and nothing is confirmed."""
    offered = automated.api("GET", "/deployments/name/replace/replace-workers")
    wanted = replace_when_down(uuid.UUID(offered["id"]), timedelta(seconds=10))
    short = wanted.model_copy(update={"name": "of this test", "enabled": True})
    automated.api("POST", "/automations/", json=short.model_dump(mode="json"))

    def tell(event, ip, cluster):
        asked = {
            "cluster": cluster,
            "dead": {"ip": ip, "port": 2886},
            "agentInfo": {"ip": "10.0.0.9", "port": 2886},
            "zone": "zone2",
            "obConfigs": SAMPLE,
        }
        told = {
            "id": str(uuid.uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": f"obscale.member.{event}",
            "resource": {"prefect.resource.id": f"obscale.agent.{ip}:2886"},
            "payload": asked,
        }
        automated.api("POST", "/events", json=[told])
        return asked

    tell("down", "10.0.0.3", "back-again")
    asked = tell("down", "10.0.0.4", "stays-down")
    tell("up", "10.0.0.3", "back-again")

    def planned():
        runs = automated.api(
            "POST",
            "/flow_runs/filter",
            json={"deployments": {"id": {"any_": [offered["id"]]}}},
        )
        return [run["parameters"] for run in runs]

    [told] = until(planned, "a run")
    assert {name: told[name] for name in asked} == asked
    assert (told["approval"], told["confirm"]) == ("ask", "")


@pytest.mark.parametrize("tag", ["rerun-when-crashed", "another"])
def test_only_a_tagged_run_that_crashed_is_scheduled_again(automated, tag):
    """Half a minute after its crash the tagged run waits for a worker again, no other."""
    offered = automated.api("GET", "/deployments/name/plan/plan-weekly-example")
    # Tomorrow, so that no worker takes it before it is said to have crashed.
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": later}}
    run = automated.api(
        "POST",
        f"/deployments/{offered['id']}/create_flow_run",
        json={"tags": [tag], "state": state},
    )
    crashed = {"state": {"type": "CRASHED", "name": "Crashed"}, "force": True}
    for _ in range(2):
        automated.api("POST", f"/flow_runs/{run['id']}/set_state", json=crashed)

    def again():
        states = automated.api("GET", f"/flow_run_states/?flow_run_id={run['id']}")
        return [each for each in states if "after a crash" in (each["message"] or "")]

    if tag == "rerun-when-crashed":
        assert until(again, "a rerun")
    else:
        pause = threading.Event()
        for _ in range(45):
            assert not again()
            pause.wait(1)


@pytest.fixture
def lost(automated):
    """A deployment of scale-out on a pool of its own, and the shortest silence there may be."""
    automated.prefect("work-pool", "create", LOST, "--type", "process")
    usual = automated.api("GET", "/deployments/name/scale-out/scale-out-workers")
    kept = ("flow_id", "entrypoint", "parameter_openapi_schema", "enforce_parameter_schema", "tags")
    made = {key: usual[key] for key in (*kept, "pull_steps", "job_variables")}
    wanted = made | {"name": LOST, "work_pool_name": LOST}
    applied(automated, "--lost-after", "60")
    yield automated, automated.api("POST", "/deployments/", json=wanted)["id"]
    applied(automated)


def test_a_run_killed_together_with_its_worker_ends_as_crashed(lost, start_worker, clusters):
    """Nobody is left to report it; its heartbeat is missed, and the DAG goes on all the same."""
    server, deployment = lost
    opened = clusters(speed=1)
    spare, cluster = opened.ready["spares"][0], opened.ready["clusters"][0]
    worker = start_worker("worker-lost", pool=LOST)
    asked = {
        "cluster": {
            "endpoints": opened.endpoints(),
            "password": {"env": "E2E_ROOT_PASSWORD"},
            "name": cluster["name"],
        },
        "agentInfo": {"ip": spare["ip"], "port": spare["port"]},
        "zone": "zone2",
        "obConfigs": SAMPLE,
    }
    run = server.api(
        "POST", f"/deployments/{deployment}/create_flow_run", json={"parameters": asked}
    )
    heartbeat = {
        "filter": {
            "event": {"name": ["prefect.flow-run.heartbeat"]},
            "resource": {"id": [f"prefect.flow-run.{run['id']}"]},
        }
    }
    until(lambda: server.api("POST", "/events/filter", json=heartbeat)["events"], "a heartbeat")
    until(lambda: opened.world.count_dags("Cluster scale out"), "the DAG")

    # The worker first: it must not live to tell of its run.
    for pid in sorted(below(worker.pid), key=lambda pid: pid != worker.pid):
        os.kill(pid, signal.SIGKILL)
    worker.wait(60)
    before = server.api("GET", f"/flow_runs/{run['id']}")["state"]["type"]

    def ended():
        state = server.api("GET", f"/flow_runs/{run['id']}")["state"]
        return state if state["type"] != "RUNNING" else None

    state = until(ended, "an end")
    assert before == "RUNNING"
    assert state["type"] == "CRASHED"
    assert state["message"] == "No sign of life for 60 s: its process is gone."
