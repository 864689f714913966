"""Tests of a batch on several workers, also when one or the batch is killed."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from obscale.sandbox import WorldConfig
from obscale.sandbox.config import AgentConfig, ClusterConfig, ZoneConfig
from tests.e2e.conftest import wait_until

LONGEST_SECONDS = 600
SAMPLE = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
QUICK = {"steady_seconds": 2, "poll_seconds": 0.5}
SCALE_OUT = "Cluster scale out"
NIGHT = "night"
"""A pool and a deployment of the test's own: its workers are killed."""
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@pytest.fixture
def fleet(clusters, connect):
    """Give a function that serves clusters and gives a batch for them."""

    def open_fleet(names: list[str], speed: float) -> SimpleNamespace:
        opened = clusters(
            WorldConfig(
                clusters=tuple(
                    ClusterConfig(
                        name=name.replace("-", ""),
                        id=number,
                        zones=tuple(ZoneConfig(name=f"zone{zone}") for zone in (1, 2, 3)),
                    )
                    for number, name in enumerate(names, start=1)
                ),
                spares=tuple(AgentConfig() for _ in range(2 * len(names))),
            ),
            speed=speed,
        )
        spares = iter(opened.ready["spares"])
        asked = [
            {
                "cluster": name,
                "nodes": [
                    {
                        "agentInfo": {"ip": spare["ip"], "port": spare["port"]},
                        "zone": f"zone{at}",
                        "obConfigs": SAMPLE,
                    }
                    for at, spare in zip((1, 2), spares, strict=False)
                ],
            }
            for name in names
        ]
        # One is a stored connection, the others are written out: their password is in the
        # environment of the workers, and of whoever starts the batch.
        connect(names[0], opened)
        written = {
            name: {
                "endpoints": opened.endpoints(at),
                "password": {"env": "E2E_ROOT_PASSWORD"},
            }
            for at, name in enumerate(names)
            if at
        }
        return SimpleNamespace(world=opened.world, clusters=asked, connections=written)

    return open_fleet


@pytest.fixture
def apply(server, tmp_path):
    """Give a function that starts `obscale apply` for a batch; what is left over is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(fleet: SimpleNamespace, **policies) -> subprocess.Popen[bytes]:
        path = tmp_path / "batch.json"
        path.write_text(
            json.dumps(
                {
                    "clusters": fleet.clusters,
                    "connections": fleet.connections,
                    "policies": {"dispatch": "deployment"} | policies,
                }
            )
        )
        with (
            (tmp_path / f"answer-{len(started)}").open("wb") as answer,
            (tmp_path / f"said-{len(started)}").open("wb") as said,
        ):
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "obscale.cli", "apply", path, "--yes", "--json"],
                    env=server.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=answer,
                    stderr=said,
                )
            )
        return started[-1]

    def end() -> dict:
        """Wait for the last one; its answer."""
        code = started[-1].wait(LONGEST_SECONDS)
        at = len(started) - 1
        told = (tmp_path / f"answer-{at}").read_text()
        assert code == 0, (code, told[-3000:], (tmp_path / f"said-{at}").read_text()[-3000:])
        return json.loads(told)["batch"]

    yield SimpleNamespace(begin=begin, end=end)
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture
def night(deployed):
    """A deployment of batch-part on a pool of its own, copied from the one of prefect.yaml."""
    deployed.prefect("work-pool", "create", NIGHT, "--type", "process")
    usual = deployed.api("GET", "/deployments/name/batch-part/batch-part-workers")
    kept = ("flow_id", "entrypoint", "parameter_openapi_schema", "enforce_parameter_schema", "tags")
    made = {key: usual[key] for key in (*kept, "pull_steps", "job_variables")}
    deployed.api("POST", "/deployments/", json=made | {"name": NIGHT, "work_pool_name": NIGHT})
    return deployed


def runs_of(server, name: str) -> list[dict]:
    """All runs that carried rows of a cluster."""
    asked = {
        "flow_runs": {"tags": {"all_": [f"cluster:{name}"]}},
        "flows": {"name": {"any_": ["batch-part"]}},
    }
    return server.api("POST", "/flow_runs/filter", json=asked)


def runs_of_all(server, fleet) -> list[dict]:
    return [run for each in fleet.clusters for run in runs_of(server, each["cluster"])]


def below(pid: int) -> set[int]:
    """A process and all that it has started."""
    found = {pid}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found |= below(int(child))
    return found


def carried_by(worker, runs: list[dict]) -> list[dict]:
    """Those of the runs that are processes of a worker."""
    mine = below(worker.pid)
    return [
        run
        for run in runs
        if run["infrastructure_pid"] and int(run["infrastructure_pid"].split(":")[-1]) in mine
    ]


def dags(fleet) -> list[int]:
    """Scale-outs of each cluster."""
    return [sum(d.name == SCALE_OUT for d in cluster.dags) for cluster in fleet.world.clusters]


def test_a_batch_finishes_although_one_of_its_two_workers_dies_with_its_runs(
    night, start_worker, fleet, apply
):
    """The other one takes its clusters over: every row verified, and no DAG twice."""
    opened = fleet(["night-a", "night-b", "night-c", "night-d"], speed=3)
    both = [start_worker(f"{NIGHT}-{n}", "--limit", "2", pool=NIGHT) for n in (1, 2)]
    apply.begin(opened, workers={"deployment": f"batch-part/{NIGHT}", "silence_seconds": 90})

    def all_grow() -> bool:
        return sum(dags(opened)) >= len(opened.clusters)

    wait_until(all_grow, "all clusters grow", LONGEST_SECONDS)
    carried = [carried_by(worker, runs_of_all(night, opened)) for worker in both]
    doomed = both[0]
    # The worker first: it must not live to tell of its runs.
    for pid in sorted(below(doomed.pid), key=lambda pid: pid != doomed.pid):
        os.kill(pid, signal.SIGKILL)
    doomed.wait(60)
    report = apply.end()

    runs = {run["id"]: run for run in runs_of_all(night, opened)}
    assert [len(each) for each in carried] == [2, 2]
    assert report["outcome"] == "verified"
    assert Counter(row["state"] for row in report["rows"]) == {"verified": 8}
    assert dags(opened) == [2, 2, 2, 2]
    lost = [runs[run["id"]] for run in carried[0]]
    assert {run["state"]["type"] for run in lost} == {"CRASHED"}
    assert all("no sign of life for" in run["state"]["message"] for run in lost)
    # The lost clusters each had one more run, the others none.
    assert len(runs) == 6
    keys = [run["idempotency_key"] for run in runs.values()]
    assert len(keys) == len(set(keys))


@pytest.mark.usefixtures("workers")
def test_a_batch_killed_and_started_again_starts_no_cluster_twice(deployed, fleet, apply):
    """The second one finds the runs of the first by their keys, and follows them to the end."""
    opened = fleet(["again-a", "again-b"], speed=3)
    first = apply.begin(opened)
    wait_until(lambda: sum(dags(opened)) == 2, "both clusters grow", LONGEST_SECONDS)
    before = {run["id"] for run in runs_of_all(deployed, opened)}

    first.kill()
    first.wait(60)
    apply.begin(opened)
    report = apply.end()

    assert len(before) == 2
    assert report["outcome"] == "verified"
    assert Counter(row["state"] for row in report["rows"]) == {"verified": 4}
    assert {run["id"] for run in runs_of_all(deployed, opened)} == before
    assert dags(opened) == [2, 2]


@pytest.mark.usefixtures("workers")
def test_a_batch_on_a_worker_that_is_cancelled_stops_its_runs_on_the_others(deployed, fleet):
    """Nothing new begins; the report names each DAG that goes on; again, it ends whole."""
    opened = fleet(["stop-a", "stop-b"], speed=1)
    parameters = {
        "clusters": opened.clusters,
        "connections": opened.connections,
        "policies": {"dispatch": "deployment"},
        "time_limits": QUICK,
    }
    offered = deployed.api("GET", "/deployments/name/batch/batch-workers")

    def begin() -> str:
        made = deployed.api(
            "POST", f"/deployments/{offered['id']}/create_flow_run", json={"parameters": parameters}
        )
        return str(made["id"])

    def ended(run_id: str) -> dict | None:
        run = deployed.api("GET", f"/flow_runs/{run_id}")
        return run if run["state"]["type"] in ENDED else None

    run_id = begin()
    wait_until(lambda: sum(dags(opened)) == 2, "both clusters grow", LONGEST_SECONDS)
    deployed.api(
        "POST",
        f"/flow_runs/{run_id}/set_state",
        json={"state": {"type": "CANCELLING", "name": "Cancelling"}},
    )
    cancelled = wait_until(lambda: ended(run_id), "the batch has ended", LONGEST_SECONDS)

    def all_ended() -> list[dict] | None:
        runs = runs_of_all(deployed, opened)
        return runs if all(run["state"]["type"] in ENDED for run in runs) else None

    parts = wait_until(all_ended, "its runs have ended", LONGEST_SECONDS)
    artifacts = deployed.api(
        "POST", "/artifacts/filter", json={"artifacts": {"flow_run_id": {"any_": [run_id]}}}
    )
    [page] = [a["data"] for a in artifacts if (a["key"] or "").startswith("batch-report-")]
    assert cancelled["state"]["type"] == "CANCELLED"
    assert [run["state"]["type"] for run in parts] == ["CANCELLED"] * 2
    assert page.startswith("# 0 of 4 nodes verified, 2 not started, 2 left running")
    assert page.count("goes on by itself: ") == 2
    assert dags(opened) == [1, 1]
    again = begin()
    assert (
        wait_until(lambda: ended(again), "it has ended", LONGEST_SECONDS)["state"]["type"]
        == "COMPLETED"
    )
    assert dags(opened) == [2, 2]
