"""Tests that a held DAG is asked about by an automation, and mended by the one answer."""

import subprocess
import sys

import pytest

from obscale.sandbox import Fault
from tests.deploy.conftest import end, run_in, wait_until

pytestmark = pytest.mark.e2e
ASKS = "obscale: ask what becomes of a held DAG"


@pytest.fixture
def worker(deployed_alone, tmp_path):
    """A worker of that server."""
    words = ["worker", "start", "--pool", "obscale", "--type", "process"]
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *words],
            env=deployed_alone.environment,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    yield process
    end(process)


def test_a_held_dag_is_retried_to_verified_by_one_answer(
    deployed_alone, worker, clusters, write, tmp_path
):
    """Made switched off; switched on, it starts a run that asks, and asks once: one POST in all."""
    server = deployed_alone
    made = run_in(
        tmp_path, [sys.executable, "-m", "obscale.deployments.automations"], server.environment
    )
    assert f"made, switched off: {ASKS}" in made.stdout, made.stdout + made.stderr
    [found] = [
        each for each in server.api("POST", "/automations/filter", json={}) if each["name"] == ASKS
    ]
    server.api("PATCH", f"/automations/{found['id']}", json={"enabled": True})
    clusters.world.play(Fault.observer_dies())
    recover = server.api("GET", "/deployments/name/recover/recover-workers")["id"]
    of_it = {"deployments": {"id": {"any_": [recover]}}}

    ended = run_in(
        tmp_path,
        [sys.executable, "-m", "obscale.cli", "apply", write(clusters.request()), "--yes"],
        server.environment,
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr

    def paused():
        runs = server.api("POST", "/flow_runs/filter", json=of_it)
        return [run for run in runs if run["state"]["type"] == "PAUSED"]

    [run] = wait_until(paused, "a run that asks")
    untouched = [
        r for r in clusters.world.requests if "/task/dag/" in r.target and r.method == "POST"
    ]
    answer = {"choice": "RETRY", "name": "Ana", "reason": "CHG-12"}
    server.api("POST", f"/flow_runs/{run['id']}/resume", json={"run_input": answer})

    def over():
        state = server.api("GET", f"/flow_runs/{run['id']}")["state"]
        return state if state["type"] in {"COMPLETED", "FAILED", "CRASHED"} else None

    assert wait_until(over, "its end")["type"] == "COMPLETED"
    assert untouched == []
    assert clusters.posts == 1
    assert len(server.api("POST", "/flow_runs/filter", json=of_it)) == 1
    # Whoever has switched it off, or on, finds it so after the next bringing up to date.
    run_in(tmp_path, [sys.executable, "-m", "obscale.deployments.automations"], server.environment)
    assert server.api("GET", f"/automations/{found['id']}")["enabled"]
