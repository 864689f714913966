"""Tests of `obscale apply` on a batch: exit codes, summary, and next steps."""

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
        limits = {"steady_seconds": 0.2, "poll_seconds": 0.1}
        batch = {"clusters": [world.request(spares=spares)], "time_limits": limits}
        return write(batch | more, "batch.json")

    return write_batch


def test_a_batch_that_goes_well_ends_with_0_and_its_report(
    open_world, batch_file, run_here, server_url, canaries
):
    """With --json the report is data, and no secret is in it."""
    world = open_world()

    ended = run_here(
        "apply",
        batch_file(world),
        "--yes",
        "--json",
        PREFECT_API_URL=server_url,
    )

    assert ended.code == 0, ended.err
    told = json.loads(ended.out)["batch"]
    assert told["summary"] == "1 of 1 node verified"
    assert told["rows"][0]["state"] == "verified"
    assert told["rows"][0]["submitted_how"] == "posted"
    assert len(world.posts) == 1
    assert not any(secret in ended.out + ended.err for secret in canaries)
    assert f"{told['rows'][0]['target']} → zone1 of obcluster: verified after" in ended.err


def test_a_failed_and_a_skipped_row_end_with_1_and_the_next_command(
    open_world, batch_file, run_here, server_url
):
    """The last lines say which, why, and what to do."""
    world = open_world(Fault.fail_stage(5, text="observer died of thirst"))

    ended = run_here("apply", batch_file(world, spares=2), "--yes", PREFECT_API_URL=server_url)

    assert ended.code == 1
    assert "observer died of thirst" in ended.out
    assert "obscale recover" in ended.out
    assert "0 of 2 nodes verified, 1 failed, 1 not started" in ended.out
    assert ended.lines[-1].startswith("obscale: 0 of 2 nodes verified, 1 failed, 1 not started")
    assert "Traceback" not in ended.err
    assert len(world.posts) == 1


def test_a_batch_whose_clusters_do_not_answer_ends_with_3(
    open_world, batch_file, run_here, server_url
):
    """Nothing was sent, because nobody could be asked."""
    world = open_world()
    for agent in world.ready["clusters"][0]["agents"]:
        world.world.play(Fault.agent_down(f"{agent['ip']}:{agent['port']}"))

    ended = run_here("apply", batch_file(world), "--yes", "--json", PREFECT_API_URL=server_url)

    told = json.loads(ended.out)
    assert ended.code == told["error"]["exit_code"] == 3, ended.err
    assert told["error"]["kind"] == "batch-incomplete"
    assert told["batch"]["rows"][0]["state"] == "blocked"
    assert world.posts == []


def test_a_batch_is_planned_without_prefect_and_nothing_is_written(
    open_world, batch_file, obscale, canaries
):
    """Exit 0 and a row a node, with its turn; only questions reach the cluster."""
    world = open_world()
    path = batch_file(world, spares=2)

    told = obscale("plan", path, "--json")
    shown = obscale("plan", path)

    assert (told.code, shown.code) == (0, 0), told.err
    made = json.loads(told.out)
    assert made["ready"]
    assert [row["turn"] for row in made["rows"]] == [1, 2]
    assert made["clusters"][0]["zones_after"] == {"zone1": 2, "zone2": 2, "zone3": 1}
    assert "2 of 2 nodes ready" in shown.out
    assert world.posts == []
    assert not any(secret in told.out + shown.out for secret in canaries)


def test_the_unknowns_of_a_batch_are_planned_and_hold_back_who_is_not_asked(
    open_world, batch_file, obscale, run_here, server_url
):
    """Each row tells its own; with --yes none of these is begun."""
    world = open_world(Fault.panic(to="host-info", times=0))
    path = batch_file(world)

    told = obscale("plan", path, "--json")
    ended = run_here("apply", path, "--yes", PREFECT_API_URL=server_url)

    (row,) = json.loads(told.out)["rows"]
    assert (told.code, row["ready"]) == (0, True)
    assert "mem-fits-total" in row["unknown"]
    assert json.loads(told.out)["summary"] == "1 of 1 node ready, 1 with unknowns"
    assert ended.code == 1
    assert "allow_unknown: true" in " ".join(ended.out.split())
    assert world.posts == []


def test_a_planned_batch_with_a_blocked_row_ends_with_1(open_world, batch_file, obscale):
    """It says which, why, what to do, and who is not begun because of it."""
    world = open_world()
    request = world.request(spares=2)
    request["nodes"][1]["obConfigs"] = request["nodes"][1]["obConfigs"] | {"memory_limit": "80G"}

    ended = obscale("plan", batch_file(world, clusters=[request]))

    assert ended.code == 1
    assert "0 of 2 nodes ready, 1 blocked, 1 not begun because of that" in ended.out
    assert "mem-fits-total: 80G; needed ≤ 62.8G" in " ".join(ended.out.split())
    assert "not begun: 1 node of obcluster" in ended.out
    assert world.posts == []


def test_a_planned_batch_that_reaches_nobody_ends_with_3(open_world, batch_file, obscale):
    """Every row says who did not answer; that is no verdict on the batch."""
    world = open_world()
    for agent in world.ready["clusters"][0]["agents"]:
        world.world.play(Fault.agent_down(f"{agent['ip']}:{agent['port']}"))

    ended = obscale("plan", batch_file(world, spares=2))

    assert ended.code == 3, ended.err
    assert ended.out.count("blocked: ") == 1


def test_the_plan_of_a_batch_is_not_kept(obscale, write, tmp_path):
    """Exit 2: apply judges each row again at its turn, so a kept plan would promise too much."""
    path = write("cluster,ip,zone\neast,10.0.0.4,zone1\n", "n.csv")

    ended = obscale("plan", path, "--out", tmp_path / "plan.json")

    assert ended.code == 2
    assert "--out: a batch's plan is not kept" in ended.lines[-1]
    assert not (tmp_path / "plan.json").exists()


BAD_TABLES = {
    "one agent twice": (
        "east,10.0.0.4,2886,z1,,\neast,10.0.0.4,2886,z2,,\n",
        "n.csv:3: columns ip, port: 10.0.0.4:2886 is asked for twice",
        "remove one",
    ),
    "one agent for two clusters": (
        "east,10.0.0.4,2886,z1,,\nwest,10.0.0.4,2886,z1,,\n",
        "n.csv:3: columns ip, port: 10.0.0.4:2886 is asked for of west, and of east",
        "remove one",
    ),
    "one port for two on a host": (
        "east,10.0.0.4,2886,z1,3881,/a\nwest,10.0.0.4,2887,z1,3881,/b\n",
        "n.csv:3: column mysql_port: port 3881 on 10.0.0.4 is also mysql_port of 10.0.0.4:2886",
        "choose another",
    ),
    "one directory for two on a host": (
        "east,10.0.0.4,2886,z1,3881,/a\nwest,10.0.0.4,2887,z1,4881,/a/\n",
        "n.csv:3: column data_dir: /a on 10.0.0.4 is also data_dir of 10.0.0.4:2886",
        "choose another",
    ),
    "one bad row among many": (
        "".join(f"east,10.0.1.{n},{99999 if n == 77 else ''},z1,,\n" for n in range(1, 201)),
        "n.csv:78: column port: '99999' is no port",
        "write e.g. 2886",
    ),
    "no row": ("", "n.csv: has no row below its columns", "write one for each node"),
}


@pytest.mark.parametrize("command", [("plan",), ("apply", "--yes")], ids=["plan", "apply"])
@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_table_ends_with_2_whichever_way_it_is_read(obscale, write, command, name):
    """Row, column, fault and cure; and both commands say the same."""
    rows, said, cure = BAD_TABLES[name]
    path = write(f"cluster,ip,port,zone,mysql_port,data_dir\n{rows}", "n.csv")

    ended = obscale(command[0], path, *command[1:])

    assert ended.code == 2
    assert ended.out == ""
    (line,) = [line for line in ended.lines if said in line]
    assert cure in line
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("command", [("plan",), ("apply", "--yes")], ids=["plan", "apply"])
def test_an_empty_table_ends_with_2(obscale, write, command):
    """And says what its first row must hold."""
    ended = obscale(command[0], write(b"", "n.csv"), *command[1:])

    assert ended.code == 2
    assert "is empty; the first row names the columns: cluster, ip, port, zone" in ended.lines[-1]


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


def test_an_unknown_cluster_is_bad_input(write, run_here, server_url):
    """Exit 2 and the name; nothing is sent."""
    path = write("cluster,ip,zone\nnowhere,10.0.0.4,zone1\n", "n.csv")

    ended = run_here("apply", path, "--yes", PREFECT_API_URL=server_url)

    assert ended.code == 2, ended.err
    assert "no connection is stored under the name 'nowhere'" in ended.lines[-1]
    assert "Traceback" not in ended.err


def test_a_dispatched_batch_without_a_server_is_bad_input(open_world, batch_file, run_here):
    """A server that lives as long as the program has no workers: one line says what to set."""
    world = open_world()
    request = batch_file(world, policies={"dispatch": "deployment"})

    ended = run_here("apply", request, "--yes")

    assert ended.code == 2
    assert "dispatch: deployment needs a Prefect server with workers" in ended.err
    assert "set PREFECT_API_URL" in ended.err
    assert "write dispatch: process" in ended.err
    assert "Traceback" not in ended.err
    assert not world.world.requests


@pytest.mark.e2e
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
