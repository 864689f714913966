"""Tests of what `obscale remove` refuses and shows before anything is sent."""

import json

import pytest

NO_PREFECT = "http://127.0.0.1:9/api"
DEAD = ("--i-know-it-is-dead",)


@pytest.fixture
def cluster(quiet_world, write):
    """Give the file of a request that names the cluster, and its first member's agent and zone."""
    first = quiet_world.ready["clusters"][0]["agents"][0]
    return write(quiet_world.request()), f"{first['ip']}:{first['port']}", first["zone"]


@pytest.fixture
def remove(run_here, quiet_world):
    """Type the command; nothing of these may send a thing."""

    def typed(*words):
        before = len(quiet_world.posts)
        ended = run_here("remove", *words, PREFECT_API_URL=NO_PREFECT)
        assert len(quiet_world.posts) == before
        return ended

    return typed


def test_a_plan_says_what_hinders_and_sends_nothing(cluster, remove):
    """Its units have nowhere to go; as an object too."""
    file, agent, zone = cluster

    ended = remove(file, agent, "--zone", zone, "--plan")
    told = json.loads(remove(file, agent, "--zone", zone, "--plan", "--json").out)

    assert ended.code == 1, ended.err
    assert "rm-receivers" in ended.out
    (row,) = told["removals"]
    assert (told["ready"], row["target"], row["zone"]) == (False, agent, zone)
    assert {"rm-receivers", "rm-unit-num"} <= {
        each["rule"] for each in row["findings"] if each["weight"] == "block"
    }


def test_a_file_of_what_leaves_is_planned_by_plan_too(cluster, write, quiet_world, run_here):
    """As its own command does; no plan of it is kept."""
    _, agent, zone = cluster
    ip, _, port = agent.rpartition(":")
    leaves = {"agentInfo": {"ip": ip, "port": int(port)}, "zone": zone}
    file = write({"cluster": quiet_world.request()["cluster"], "remove": [leaves]})

    planned = run_here("plan", file, PREFECT_API_URL=NO_PREFECT)
    kept = run_here("plan", file, "--out", "kept.json", PREFECT_API_URL=NO_PREFECT)

    assert planned.code == 1, planned.err
    assert "rm-receivers" in planned.out
    assert kept.code == 2
    assert "--out: only plans of nodes that join are kept" in kept.err


def test_a_zone_with_units_is_not_planned_as_ready(cluster, remove):
    """It names the rule."""
    file, _, zone = cluster

    ended = remove(file, "--zone", zone, "--whole-zone", "--plan")

    assert ended.code == 1, ended.err
    assert "rm-zone-empty" in ended.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("{agent}", "--plan"), "--zone"),
        (("--zone", "{zone}", "--plan"), "no node was named"),
        (("{agent}", "{agent}", "--zone", "{zone}", "--plan"), "named twice"),
        (("{agent}", "--zone", "{zone}", "--whole-zone", "--plan"), "--whole-zone"),
        (("nowhere", "--zone", "{zone}", "--plan"), "is not an IP address"),
        (("{agent}", "--zone", "{zone}"), "nobody is there to answer"),
        (("{agent}", "--zone", "{zone}", "--yes", "--force-kill"), "--i-know-it-is-dead"),
        (
            ("{agent}", "--zone", "{zone}", "--yes", "--force-kill", *DEAD, "1.2.3.4"),
            "--i-know-it-is-dead",
        ),
        (
            ("{agent}", "--zone", "{zone}", "--plan", "--profile", "home"),
            "not a profile",
        ),
    ],
)
def test_what_is_asked_wrongly_is_said_in_one_line(cluster, remove, words, told):
    """Exit 2, and what to write instead."""
    file, agent, zone = cluster
    filled = [word.format(agent=agent, zone=zone) for word in words]

    ended = remove(file, *filled)

    assert ended.code == 2, ended.err
    assert told in ended.err
    assert "Traceback" not in ended.err


def test_a_file_says_what_leaves_and_nothing_else(cluster, remove, quiet_world, write, run_here):
    """Planned by itself; not beside other words, not with nodes that join, and no other command."""
    _, agent, zone = cluster
    ip, _, port = agent.rpartition(":")
    known = quiet_world.request()
    node = {"agentInfo": {"ip": ip, "port": int(port)}, "zone": zone}
    file = write({"cluster": known["cluster"], "remove": [node]})

    planned = remove(file, "--plan")
    beside = remove(file, agent, "--plan")
    both = remove(write(known | {"remove": [node]}), "--plan")
    wrong = remove(write({"cluster": known["cluster"], "remove": [{"zone": zone}]}), "--plan")
    file = write({"cluster": known["cluster"], "remove": [node]})
    other = run_here("apply", file, "--yes")
    final = {"rule": "rm-majority", "reason": "the owner agreed", "until": "2099-12-31"}
    waved = remove(
        write({"cluster": known["cluster"], "remove": [node], "overrides": [final]}), "--plan"
    )

    assert planned.code == 1, planned.err
    assert "rm-receivers" in planned.out
    assert (beside.code, both.code, wrong.code, other.code) == (2, 2, 2, 2)
    assert "a file may hold only one of" in both.err
    assert "agentInfo: missing" in wrong.err
    assert "obscale remove" in other.err
    assert (waved.code, "rm-majority may not be overridden" in waved.err) == (2, True), waved.err
