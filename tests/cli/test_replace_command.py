"""Tests of what `obscale replace` refuses and shows before anything is sent."""

import json

import pytest

from obscale.sandbox import Fault

NO_PREFECT = "http://127.0.0.1:9/api"


@pytest.fixture
def asked(quiet_world, write):
    """Give the request of the node that joins, and the agent of the member of its zone."""
    request = quiet_world.request()
    (node,) = request["nodes"]
    agents = quiet_world.ready["clusters"][0]["agents"]
    (member,) = [each for each in agents if each["zone"] == node["zone"]]
    dead = f"{member['ip']}:{member['port']}"
    yield write(request), dead
    # The world is that of all tests of this file.
    quiet_world.world.play(Fault.observer_up(dead))


@pytest.fixture
def replace(run_here, quiet_world):
    """Type the command; nothing of these may send a thing."""

    def typed(*words):
        before = len(quiet_world.posts)
        ended = run_here("replace", *words, PREFECT_API_URL=NO_PREFECT)
        assert len(quiet_world.posts) == before
        return ended

    return typed


def test_a_plan_shows_both_halves_and_sends_nothing(asked, replace, quiet_world):
    """Ready for a dead member, and blocked while it lives; as an object too."""
    file, dead = asked

    alive = replace(file, dead, "--by", file, "--plan")
    quiet_world.world.play(Fault.observer_down(dead))
    ready = replace(file, dead, "--by", file, "--plan")
    told = json.loads(replace(file, dead, "--by", file, "--plan", "--json").out)

    assert (alive.code, ready.code) == (1, 0), alive.err + ready.err
    assert "rp-dead" in alive.out
    assert f"replace {dead} by" in ready.out
    assert "first: add" in ready.out
    assert "then: remove" in ready.out
    (row,) = told["replacements"]
    assert (told["ready"], row["target"]) == (True, dead)
    rules = {each["rule"] for each in row["findings"]}
    assert {"rp-dead", "rp-size", "rm-receivers", "zone-balance"} <= rules
    assert not [each for each in row["findings"] if each["weight"] == "block"]


def test_a_node_that_lives_is_moved_off_only_by_its_word(asked, replace):
    """--live says it."""
    file, dead = asked

    ended = replace(file, dead, "--by", file, "--live", "--plan")

    assert ended.code == 0, ended.out + ended.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--plan",), "nobody is named who leaves"),
        (("{dead}", "--plan"), "--by: missing"),
        (("nowhere", "--by", "{file}", "--plan"), "is not an IP address"),
        (("{dead}", "--by", "{file}"), "nobody is there to answer"),
        (("{dead}", "--by", "{file}", "--yes"), "--confirm IP"),
        (("{dead}", "--by", "{file}", "--yes", "--confirm", "1.2.3.4"), "--confirm"),
        (("{dead}", "--by", "{file}", "--plan", "--confirm", "{ip}"), "goes with --yes"),
        (
            ("{dead}", "--by", "{file}", "--yes", "--confirm", "{ip}", "--force-kill"),
            "--i-know-it-is-dead",
        ),
        (("{dead}", "--by", "{file}", "--plan", "--profile", "home"), "not a profile"),
        (("{dead}", "--by", "nothing.yaml", "--plan"), "nothing.yaml"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_one_line(asked, replace, words, told):
    """Exit 2, and what to write instead."""
    file, dead = asked
    ip = dead.rpartition(":")[0]
    filled = [word.format(file=file, dead=dead, ip=ip) for word in words]

    ended = replace(file, *filled)

    assert ended.code == 2, ended.err
    assert told in ended.err
    assert "Traceback" not in ended.err


def test_two_nodes_replace_nobody(asked, replace, quiet_world, write):
    """A request of several is no answer to who takes one place."""
    _, dead = asked
    file = write(quiet_world.request(spares=2), "two.yaml")

    ended = replace(file, dead, "--by", file, "--plan")

    assert ended.code == 2
    assert "asks for 2 nodes" in ended.err


def test_a_file_says_who_is_replaced_and_nothing_else(asked, replace, quiet_world, write, run_here):
    """Planned by itself; not beside other words, not with nodes, and by no other command."""
    _, dead = asked
    ip, _, port = dead.rpartition(":")
    known = quiet_world.request()
    (joins,) = known["nodes"]
    pair = {
        "dead": {"agentInfo": {"ip": ip, "port": int(port)}, "zone": joins["zone"]},
        "by": joins,
    }
    alone = {"cluster": known["cluster"], "replace": [pair]}
    file = write(alone, "pairs.yaml")

    planned = replace(file, "--plan")
    beside = replace(file, dead, "--plan")
    both = replace(write(known | {"replace": [pair]}, "both.yaml"), "--plan")
    twice = replace(write(alone | {"replace": [pair, pair]}, "twice.yaml"), "--plan")
    wrong = replace(write(alone | {"replace": [{"dead": pair["dead"]}]}, "wrong.yaml"), "--plan")
    other = [run_here(command, file, *more) for command, *more in (("verify",), ("apply", "--yes"))]
    final = {"rule": "rp-dead", "reason": "the owner agreed", "until": "2099-12-31"}
    waved = replace(write(alone | {"overrides": [final]}, "waved.yaml"), "--plan")

    assert planned.code == 1, planned.err
    assert "rp-dead" in planned.out
    assert {each.code for each in (beside, both, twice, wrong, *other, waved)} == {2}
    assert "a file may hold only one of" in both.err
    assert "named twice" in twice.err
    assert "by: missing" in wrong.err
    assert all("obscale replace" in each.err for each in other)
    assert "rp-dead may not be overridden" in waved.err
