"""Tests of `obscale apply`: exit codes, clear lines, and no secret shown."""

import getpass
import json
import os
import re
import signal
import socket
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from obscale.sandbox import Fault

STAGE_5 = "Wait remote start finish"
LONGEST_SECONDS = 300
TARGET = r"127\.0\.\d+\.\d+:\d+"


def leaks(canaries: tuple[str, ...], *places: str | Path) -> list[str]:
    """Name the texts, and the files below folders, that hold a secret."""
    found = []
    for place in places:
        files = [f for f in place.rglob("*") if f.is_file()] if isinstance(place, Path) else []
        contents = [(str(f), f.read_bytes()) for f in files] or [(place, str(place).encode())]
        found += [n for n, c in contents if any(secret.encode() in c for secret in canaries)]
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Give a function that writes a request and lives as long as the module."""
    folder = tmp_path_factory.mktemp("requests")

    def write_one(request: object) -> Path:
        path = folder / f"{len(list(folder.iterdir()))}.json"
        path.write_text(json.dumps(request))
        return path

    return write_one


@pytest.fixture(scope="module", autouse=True)
def verified(open_world, written, run_program, server_url):
    """The run that goes well: begun first, beside the others, because it waits most of its time."""
    world = open_world()
    request = written(world.request())
    ended = []
    runner = threading.Thread(
        target=lambda: ended.append(
            run_program("apply", request, "--yes", "--json", PREFECT_API_URL=server_url)
        )
    )
    runner.start()

    def wait():
        runner.join(LONGEST_SECONDS)
        assert ended, "still running"
        return world, ended[0]

    yield wait
    runner.join(LONGEST_SECONDS)


@pytest.fixture(scope="module")
def failed(open_world, written, run_here, server_url):
    """Two nodes, the first of which fails at stage 5."""
    world = open_world(Fault.fail_stage(5, text="observer died of thirst"))
    request = written(world.request(spares=2))
    return world, run_here("apply", request, "--yes", "--json", PREFECT_API_URL=server_url)


def test_a_blocked_run_names_measured_and_needed_and_posts_nothing(
    open_world, written, run_here, server_url
):
    """Exit 1 for more memory and more disk than there is; the request log holds no POST."""
    world = open_world()
    request = written(world.request(memory_limit="80G", datafile_size="500G"))

    ended = run_here("apply", request, "--yes", "--json", PREFECT_API_URL=server_url)

    told = json.loads(ended.out)
    line = ended.lines[-1]
    assert ended.code == 1, ended.err
    assert told["error"]["kind"] == "blocked"
    assert told["runs"][0]["report"]["outcome"] == "blocked"
    assert line.startswith("obscale: blocked by preflight: ")
    assert "mem-fits-total: 80G; needed ≤ 62.8G" in line
    assert re.search(r"disk-[a-z-]+: [^;]*5\d\dG[^;]*; needed [^;]*\d+G", line), line
    assert world.posts == []


def test_a_failed_dag_names_stage_agent_and_last_log_line(failed):
    """Exit 1; whoever is on call reads where and why in one line."""
    world, ended = failed
    told = json.loads(ended.out)

    (line,) = [line for line in ended.lines if line.startswith("obscale: DAG")]

    entry = world.ready["clusters"][0]["agents"][0]
    assert ended.code == 1
    assert f"failed at stage 5/9 '{STAGE_5}' on {entry['ip']}:{entry['port']}" in line
    assert "observer died of thirst" in line
    assert told["error"]["kind"] == "dag-failed"
    assert told["error"] == told["runs"][0]["error"]
    assert told["runs"][0]["report"]["dag_id"] in line
    assert "Traceback" not in ended.err


def test_after_a_failure_the_next_node_is_not_started(failed):
    """One run, one POST, and a line that names who was left."""
    world, ended = failed

    left = world.ready["spares"][1]
    assert len(json.loads(ended.out)["runs"]) == 1
    assert len(world.posts) == 1
    assert ended.lines[-1] == f"obscale: not started: {left['ip']}:{left['port']} → zone2"


def test_of_several_nodes_none_is_begun_unless_all_are_ready(obscale, open_world, written):
    """A second node that is blocked stops the first, before Prefect is even asked."""
    world = open_world()
    request = world.request(spares=2)
    request["nodes"][1]["obConfigs"] |= {"memory_limit": "80G"}

    ended = obscale("apply", written(request), "--yes", "--json")

    second = world.ready["spares"][1]
    assert ended.code == 1
    assert ended.error["kind"] == "blocked"
    assert f"{second['ip']}:{second['port']}: mem-fits-total: 80G" in ended.error["message"]
    assert world.posts == []


def test_a_cluster_out_of_reach_is_exit_3(quiet_world, written, run_here, server_url):
    """The line names the agent and the cause."""
    request = quiet_world.request()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{probe.getsockname()[1]}"
        request["cluster"]["endpoints"] = [nobody]

        ended = run_here("apply", written(request), "--yes", "--json", PREFECT_API_URL=server_url)

    assert ended.code == 3, ended.err
    assert ended.lines[-1].startswith(f"obscale: {nobody}: ")
    assert "no connection" in ended.lines[-1]
    assert json.loads(ended.out)["error"]["agent"] == nobody
    assert "Traceback" not in ended.err


def test_nobody_to_ask_is_bad_input(obscale, quiet_world, written):
    """Without --yes and without a terminal nothing is sent, and the line says what to type."""
    seen = len(quiet_world.world.requests)
    request = written(quiet_world.request())

    ended = obscale("apply", request)

    assert (ended.code, ended.out) == (2, "")
    assert ended.lines == [
        f"obscale: apply: nobody is there to answer. Next: obscale apply {request} --yes"
    ]
    assert len(quiet_world.world.requests) == seen


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("PREFECT_API_URL", "http://somebody:canary-url@127.0.0.1:9/api", "does not answer"),
        pytest.param(
            *("PREFECT_HOME", "/dev/null/nowhere", "Not a directory"), marks=pytest.mark.e2e
        ),
        ("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "false", "does not start"),
    ],
    ids=["refused", "no home", "no server"],
)
def test_prefect_out_of_order_is_one_line(quiet_world, written, run_program, setting, value, said):
    """Exit 3, what is wrong with Prefect, no traceback, nothing sent to any agent."""
    seen = len(quiet_world.world.requests)

    ended = run_program("apply", written(quiet_world.request()), "--yes", **{setting: value})

    assert (ended.code, ended.out) == (3, "")
    assert len(ended.lines) == 1, ended.err
    assert ended.lines[0].startswith(
        ("obscale: Prefect", "obscale: the Prefect server of this run")
    )
    assert said in ended.err
    assert "canary-url" not in ended.err
    assert len(quiet_world.world.requests) == seen


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("number", "code", "word", "own_server"),
    [
        (signal.SIGINT, 130, "interrupted", True),
        (signal.SIGTERM, 143, "terminated", True),
        (signal.SIGHUP, 143, "terminated", False),
    ],
    ids=["ctrl-c", "sigterm", "sighup"],
)
def test_ended_by_hand_it_says_what_goes_on(
    open_world, written, start_program, new_home, server_url, number, code, word, own_server
):
    """The whole group hears it, a server of the run's own too: the DAG that goes on is named."""
    home = new_home()
    prefect = {"PREFECT_HOME": str(home)}
    prefect |= {} if own_server else {"PREFECT_API_URL": server_url}
    world = open_world(speed=1)
    request = written(world.request())
    run = start_program("apply", request, "--yes", **prefect)
    looked = threading.Event()
    for _ in range(LONGEST_SECONDS * 10):
        if any(re.search(r"/task/dag/\d", r.target) for r in list(world.world.requests)):
            break
        looked.wait(0.1)

    os.killpg(run.pid, number)
    out, err = run.communicate(timeout=LONGEST_SECONDS)

    follows = f"obscale watch {request} "
    again = f"obscale apply {request} takes it up"
    assert run.returncode == code
    assert re.search(
        # On a busy machine the last line does not wait for the last look.
        rf"^obscale: {word}; DAG (\d+) is at stage .* goes on by itself"
        rf"(; {TARGET} is '[A-Z ]+')?\. "
        rf"Next: {re.escape(follows)}\1 follows it; {re.escape(again)} and proves the node$",
        err,
        re.MULTILINE,
    ), err
    assert err.endswith("and proves the node\n")
    assert "Traceback" not in err + out
    assert len(world.posts) == 1
    if own_server:
        with closing(sqlite3.connect(home / "prefect.db")) as kept:
            states = kept.execute("SELECT state_type FROM flow_run").fetchall()
        assert states not in ([("RUNNING",)], []), "the server has outlived the run"


def test_a_verified_run_is_exit_0(verified):
    """The documented sample request ends CONFORMING; standard output is one JSON object."""
    world, ended = verified()

    told = json.loads(ended.out)
    assert ended.code == 0, ended.err
    assert told.keys() == {"schema_version", "runs"}
    assert told["runs"][0]["report"]["outcome"] == "verified"
    assert told["runs"][0]["report"]["level"] == "CONFORMING"
    assert told["runs"][0]["report"]["asked_by"] == f"{getpass.getuser()}@{socket.gethostname()}"
    assert world.posts == ["/api/v1/ob/scale_out"]


def test_a_wait_says_for_what_it_waits_also_in_a_pipe(verified):
    """Where nobody watches a bar, the lines say what the proving waits for."""
    _, ended = verified()

    waits = [line for line in ended.lines if re.match("verify: (waits|holds) for ", line)]
    assert waits, ended.err
    assert any(re.fullmatch(r"verify: holds for \d+ s: \d+ s", line) for line in waits)
    assert len(waits) < 10, "on change and then seldom"


def test_no_secret_leaves_a_run_that_goes_well_or_fails(verified, failed, server_home, canaries):
    """Neither password is in what was printed, in Prefect's database, or in stored results."""
    _, well = verified()
    _, ill = failed

    # The search itself works: what is no secret is found in the same files.
    assert leaks(("targetAgentPassword",), server_home)
    assert leaks(canaries, server_home, well.out, well.err, ill.out, ill.err) == []
