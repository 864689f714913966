"""Does `obscale apply` on a batch end with its code, one summary, and what somebody has to do?"""

import json
import os
import signal
import threading

import pytest

from obscale.sandbox import Fault


@pytest.fixture
def batch_file(write):
    """Give a function that writes a world's request as a batch."""

    def write_batch(world, *, spares: int = 1, **more):
        return write({"clusters": [world.request(spares=spares)]} | more, "batch.json")

    return write_batch


def test_a_batch_that_goes_well_ends_with_0_and_its_report(
    open_world, batch_file, run_program, server_url, canaries
):
    """With --json the report is data, and no secret is in it."""
    world = open_world()

    ended = run_program("apply", batch_file(world), "--yes", "--json", PREFECT_API_URL=server_url)

    assert ended.code == 0, ended.err
    told = json.loads(ended.out)["batch"]
    assert told["summary"] == "1 of 1 node verified"
    assert told["rows"][0]["state"] == "verified"
    assert told["rows"][0]["submitted_how"] == "posted"
    assert len(world.posts) == 1
    assert not any(secret in ended.out + ended.err for secret in canaries)
    assert f"{told['rows'][0]['target']} → zone1 of obcluster: verified after" in ended.err


def test_a_failed_and_a_skipped_row_end_with_1_and_the_next_command(
    open_world, batch_file, run_program, server_url
):
    """The last lines say which, why, and what to do."""
    world = open_world(Fault.fail_stage(5, text="observer died of thirst"))

    ended = run_program("apply", batch_file(world, spares=2), "--yes", PREFECT_API_URL=server_url)

    assert ended.code == 1
    assert "observer died of thirst" in ended.out
    assert "obscale recover" in ended.out
    assert "0 of 2 nodes verified, 1 failed, 1 not started" in ended.out
    assert ended.lines[-1].startswith("obscale: 0 of 2 nodes verified, 1 failed, 1 not started")
    assert "Traceback" not in ended.err
    assert len(world.posts) == 1


def test_a_batch_whose_clusters_do_not_answer_ends_with_3(
    open_world, batch_file, run_program, server_url
):
    """Nothing was sent, because nobody could be asked."""
    world = open_world()
    for agent in world.ready["clusters"][0]["agents"]:
        world.world.play(Fault.agent_down(f"{agent['ip']}:{agent['port']}"))

    ended = run_program("apply", batch_file(world), "--yes", "--json", PREFECT_API_URL=server_url)

    told = json.loads(ended.out)
    assert ended.code == told["error"]["exit_code"] == 3, ended.err
    assert told["error"]["kind"] == "batch-incomplete"
    assert told["batch"]["rows"][0]["state"] == "blocked"
    assert world.posts == []


def test_every_fault_of_a_table_is_told_and_nothing_is_started(obscale, write):
    """Exit 2; one line for each cell that is wrong, and no Prefect is needed for that."""
    path = write(
        "cluster,ip,zone,memory_limit\neast,10.0.0.4,,16G\neast,10.0.0.5,z1,1.5T\n", "n.csv"
    )

    ended = obscale("apply", path, "--yes")

    assert ended.code == 2
    first, second = (line.split(": ", 2)[2] for line in ended.lines)
    assert first == "column zone: is empty; name the zone, e.g. zone2 (and 1 more problem)"
    assert second.startswith("column memory_limit: '1.5T' is not a size; decimals are not allowed")


def test_an_unknown_cluster_is_bad_input(write, run_program, server_url):
    """Exit 2 and the name; nothing is sent."""
    path = write("cluster,ip,zone\nnowhere,10.0.0.4,zone1\n", "n.csv")

    ended = run_program("apply", path, "--yes", PREFECT_API_URL=server_url)

    assert ended.code == 2, ended.err
    assert "no connection is stored under the name 'nowhere'" in ended.lines[-1]
    assert "Traceback" not in ended.err


def test_a_dispatched_batch_without_a_server_is_bad_input(open_world, batch_file, run_program):
    """A server that lives as long as the program has no workers: one line says what to set."""
    world = open_world()
    request = batch_file(world, policies={"dispatch": "deployment"})

    ended = run_program("apply", request, "--yes")

    assert ended.code == 2
    assert "dispatch: deployment needs a Prefect server with workers" in ended.err
    assert "set PREFECT_API_URL" in ended.err
    assert "write dispatch: process" in ended.err
    assert "Traceback" not in ended.err
    assert not world.world.requests


def test_a_batch_ended_by_sigterm_says_what_goes_on(
    open_world, batch_file, start_program, server_url
):
    """Exit 143 and one line, as for a single node."""
    world = open_world(speed=1)
    request = batch_file(world)
    run = start_program("apply", request, "--yes", PREFECT_API_URL=server_url)
    pause = threading.Event()
    for _ in range(1200):
        if world.world.count_dags("Cluster scale out"):
            break
        pause.wait(0.1)

    os.killpg(run.pid, signal.SIGTERM)
    out, err = run.communicate(timeout=300)

    assert run.returncode == 143, err
    assert "Traceback" not in err + out
    assert "obscale: terminated; 0 of 1 node verified, 1 left running. Next: obscale apply" in err
    assert len(world.posts) == 1
