"""Tests of `obscale pin`: asked server by server, read back, told as what it is."""

import json
import os
import pty
import subprocess
import sys

import pytest

from obscale.sandbox import Fault
from tests.docs.json_page import problems
from tests.prefect_server import LONGEST_SECONDS

NO_PREFECT = "http://127.0.0.1:9/api"


@pytest.fixture
def world(open_world):
    """A world of its own: it is written to."""
    return open_world()


@pytest.fixture
def member(world):
    """Give a function that asks for the members of the cluster by number, with other values."""

    def ask(*numbers, **configs):
        request = world.request()
        agents = world.ready["clusters"][0]["agents"]
        request["nodes"] = [
            {
                "agentInfo": {"ip": agents[n]["ip"], "port": agents[n]["port"]},
                "zone": agents[n]["zone"],
                "obConfigs": {"mysql_port": "2881", "rpc_port": "2882"} | configs,
            }
            for n in numbers
        ]
        return request

    return ask


def values(world, number):
    """What a server of the cluster has."""
    ip = world.ready["clusters"][0]["agents"][number]["ip"]
    server = next(s for s in world.world.clusters[0].servers if s.address == f"{ip}:2882")
    return server.observer.values


def test_with_yes_all_is_set_and_read_back_without_prefect(obscale, write, member, world, canaries):
    """Exit 0; what is set, from and to, that it is not atomic; at 80 columns; no secret."""
    path = write(member(1, memory_limit="20G", cpu_count="12"))

    ended = obscale("pin", path, "--yes", COLUMNS="80", PREFECT_API_URL=NO_PREFECT)

    assert (ended.code, ended.lines) == (0, []), ended.err
    assert "16G → 20G" in ended.out
    assert "they are set one after another, not as one" in ended.out
    assert "2 of 2 in force" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80
    assert (values(world, 1)["memory_limit"], values(world, 1)["cpu_count"]) == ("20G", "12")
    assert values(world, 2)["memory_limit"] == "16G"
    assert world.posts == ["/api/v1/obcluster/parameters"] * 2
    assert not any(secret in ended.out for secret in canaries)


def test_verify_names_pin_and_then_has_nothing_to_fail(obscale, write, member):
    """The statements, the command beside them, and after it the values are as asked."""
    request = member(1, memory_limit="20G", system_memory="8G")
    request["time_limits"] = {"steady_seconds": 0.2}
    path = write(request)

    before = obscale("verify", path)
    obscale("pin", path, "--yes")
    after = obscale("verify", path)

    assert "ALTER SYSTEM SET memory_limit='20G'" in before.out
    assert f"asked first: obscale pin {path}" in before.out
    assert (before.code, after.code) == (1, 0), after.err


def test_without_yes_and_without_anybody_nothing_is_asked_of_the_cluster(
    obscale, write, member, world
):
    """Exit 2 and the command that may be meant."""
    path = write(member(1, memory_limit="20G"))
    seen = len(world.world.requests)

    ended = obscale("pin", path)

    assert ended.code == 2
    assert ended.lines == [
        f"obscale: pin: nobody is there to answer. Next: obscale pin {path} --yes"
    ]
    assert len(world.world.requests) == seen


def test_each_server_is_asked_about_and_no_leaves_it(write, member, world, environment):
    """At a terminal: no to the first, yes to the second; exit 1, since not all is in force."""
    path = write(member(0, 1, memory_limit="20G"))
    ours, theirs = pty.openpty()
    os.write(ours, b"n\ny\n")

    done = subprocess.run(
        [sys.executable, "-m", "obscale.cli", "pin", str(path)],
        env=environment,
        stdin=theirs,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    os.close(ours)
    os.close(theirs)

    assert done.returncode == 1, done.stderr
    assert done.stderr.count("Set 1 parameter of ") == 2
    assert "not sent: it was answered no" in done.stdout
    assert values(world, 0)["memory_limit"] == "16G"
    assert values(world, 1)["memory_limit"] == "20G"
    assert "obscale: not all is in force. Next: obscale pin " in done.stderr


def test_as_json_each_server_with_each_value(obscale, write, member, world):
    """One that is no member, one that is refused: exit 1."""
    request = member(1, memory_limit="20G", cpu_count="12")
    request["nodes"] += world.request()["nodes"]
    world.world.play(Fault.parameter_refused(text="Error 4147: no"))

    ended = obscale("pin", write(request), "--yes", "--json")

    made = json.loads(ended.out)
    assert problems("pin", made) == []
    assert (ended.code, made["pinned"]) == (1, False)
    refused, spare = made["servers"]
    assert (refused["outcome"], spare["outcome"]) == ("not-in-force", "not-sent")
    assert spare["why"] == "it is no member in zone1"
    outcomes = {each["name"]: each["outcome"] for each in refused["settings"]}
    assert outcomes == {"cpu_count": "not-sent", "memory_limit": "not-in-force"}
    assert "Error 4147: no" in refused["settings"][1]["why"]


def test_another_cluster_than_the_request_names_is_never_written_to(obscale, write, member, world):
    """Exit 1, and nothing was sent."""
    request = member(1, memory_limit="20G")
    request["cluster"]["name"] = "another"

    ended = obscale("pin", write(request), "--yes")

    assert ended.code == 1
    assert "its agents are of obcluster/1, and the request names another/1" in ended.err
    assert world.posts == []


def test_nobody_to_ask_is_exit_3(obscale, write, member, closed_port, world):
    """And nothing was sent."""
    request = member(1, memory_limit="20G")
    request["cluster"]["endpoints"] = [closed_port]

    ended = obscale("pin", write(request), "--yes")

    assert ended.code == 3
    assert world.posts == []


def test_a_plan_is_no_request(obscale, write, tmp_path, world):
    """As for verify."""
    plan = tmp_path / "plan.json"
    obscale("plan", write(world.request()), "--out", plan)

    ended = obscale("pin", plan, "--yes")

    assert (ended.code, "is a plan, no request" in ended.err) == (2, True)


def test_quietly_only_what_is_asked_and_how_it_ended(obscale, write, member):
    """-q leaves out what passes."""
    ended = obscale("pin", write(member(1, memory_limit="20G")), "--yes", "-q")

    assert ended.code == 0
    assert "sets memory_limit" not in ended.out
    assert "1 of 1 in force" in ended.out
