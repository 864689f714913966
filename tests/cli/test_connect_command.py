"""Tests of `obscale connect`: it stores only what it has checked."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from functools import partial

import pytest

from obscale.sandbox import Fault, default_config
from tests.cli.conftest import SERVER_AUTH
from tests.stranger import BAD_KEYS, listening

LONGEST_SECONDS = 300
OPEN_API = "answers without credentials"


def endpoints(world, cluster: int = 0) -> list[str]:
    """`--endpoint` for each agent of one of a world's clusters."""
    agents = world.ready["clusters"][cluster]["agents"]
    scheme = world.door.scheme
    return [w for a in agents for w in ("--endpoint", f"{scheme}://{a['ip']}:{a['port']}")]


@pytest.fixture
def connect(run_here, server_url):
    """Give the command with a team's server behind it and the root password in the environment."""

    def run(*words: object, **extra: str):
        return run_here("connect", *map(str, words), **{"PREFECT_API_URL": server_url} | extra)

    return run


@pytest.fixture(scope="session")
def two_clusters(open_world):
    """A world with two clusters of one name, id and password."""
    first = default_config().clusters[0].model_copy(update={"root_password": "canary-root-5e1f"})
    second = first.model_copy(update={"name": "other", "id": 2})
    return open_world(clusters=(first, second))


@pytest.fixture(scope="session")
def mutual_world(open_world):
    """A world whose agents want a client certificate."""
    return open_world(tls=True, enable_client_auth=True)


def test_a_connection_is_proved_stored_proved_again_and_used(
    connect, run_here, open_world, write, server_url, canaries
):
    """What connect stores is what `plan` asks; proving it again leaves it as it is."""
    world = open_world()

    first = connect("east", *endpoints(world), "--password-env", "OBSCALE_TEST_ROOT")
    again = connect("east", "--json")
    request = world.request() | {"cluster": "east"}
    plan = run_here("plan", write(request), "--json", PREFECT_API_URL=server_url)

    assert (first.code, again.code, plan.code) == (0, 0, 0), first.err + again.err + plan.err
    assert "east: stored" in first.out
    proved = json.loads(again.out)
    assert (proved["outcome"], proved["cluster"]) == ("holds as stored", "obcluster/1")
    assert {row["auth"] for row in proved["agents"]} == {"v2"}
    assert len({row["key"] for row in proved["agents"]}) == 3
    assert not world.posts
    for text in (first.out, first.err, again.out, again.err):
        assert not any(canary in text for canary in canaries)


def test_agents_of_two_clusters_are_told_apart_and_nothing_is_stored(connect, two_clusters):
    """Exit 2 says which agent is of which cluster."""
    both = endpoints(two_clusters) + endpoints(two_clusters, 1)

    ended = connect("mixed", *both, "--password-env", "OBSCALE_TEST_ROOT")
    after = connect("mixed")

    assert ended.code == 2
    assert "of obcluster/1" in ended.err
    assert "of other/2" in ended.err
    assert after.code == 2
    assert "no connection is stored" in after.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["Prod_East", "--endpoint", "10.0.0.1"], "is no name for a connection"),
        (["east2", "--endpoint", "db1.example.org"], "not an IP address"),
        (["east2", "--endpoint", "10.0.0.1:2886", "--ca-file", "ca.pem"], "write --endpoint ht"),
        (["east2", "--endpoint", "10.0.0.1", "--endpoint", "10.0.0.1"], "listed twice"),
        (["east2", "--endpoint", "10.0.0.1"], "nobody is there to type"),
        (["east2", "--endpoint", "10.0.0.1", "--password-env", "Hunter2"], "not the password"),
        (["east2", "--password-env", "OBSCALE_TEST_ROOT"], "only with --endpoint"),
        (["east2", "--pin", "--trust-first-use"], "exclude each other"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_with_the_next_command(obscale, monkeypatch, server_url, words, told):
    """Whatever is typed wrongly is named in one line; a password typed by mistake is not shown."""
    monkeypatch.setenv("PREFECT_API_URL", server_url)

    ended = obscale("connect", *words)

    assert ended.code == 2
    assert told in ended.err
    assert "Next: " in ended.err
    assert len(ended.lines) == 1
    assert "Hunter2" not in ended.err


def test_a_silent_agent_and_a_wrong_password_end_with_exit_3(connect, quiet_world):
    """Two of three agents prove nothing, and a refused password is the agent's own words."""
    agents = endpoints(quiet_world)

    silent = connect(
        "away", *agents, "--endpoint", "127.0.0.1:1", "--password-env", "OBSCALE_TEST_ROOT"
    )
    refused = connect("away", *agents, "--password-env", "WRONG", WRONG="canary-wrong\n")
    after = connect("away")

    assert (silent.code, refused.code, after.code) == (3, 3, 2)
    assert "127.0.0.1:1: " in silent.err
    assert "the password from env WRONG ends in a line break" in refused.err
    assert "canary-wrong" not in refused.err


def test_tls_files_are_tried_before_they_are_stored(connect, mutual_world, tmp_path):
    """Stored with authority and client certificate; refused without either, or with rubbish."""
    door, agents = mutual_world.door, endpoints(mutual_world)
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("not PEM")
    root = ("--password-env", "OBSCALE_TEST_ROOT")
    shown = ("--client-cert", door.client_cert_path, "--client-key", door.client_key_path)

    good = connect("mutual", *agents, *root, "--ca-file", door.ca_path, *shown)
    stranger = connect("mutual2", *agents, *root, "--ca-file", door.ca_path)
    untrusted = connect("mutual2", *agents, *root, *shown)
    unreadable = connect("mutual2", *agents, *root, "--ca-file", rubbish)
    halved = connect("mutual2", *agents, *root, *shown[:2])

    assert good.code == 0, good.err
    assert (stranger.code, "client certificate" in stranger.err) == (3, True)
    assert (untrusted.code, "certificate is not trusted" in untrusted.err) == (3, True)
    assert (unreadable.code, "TLS files cannot be used" in unreadable.err) == (2, True)
    assert (halved.code, "go together" in halved.err) == (2, True)


def test_a_changed_key_is_refused_until_it_is_announced(connect, open_world):
    """Pinned, then rotated: exit 3 names both keys; `--pin` shows the change and takes it."""
    world = open_world()
    entry = world.ready["clusters"][0]["agents"][0]
    agent = f"{entry['ip']}:{entry['port']}"
    one = ("--endpoint", agent, "--password-env", "OBSCALE_TEST_ROOT")

    pinned = json.loads(connect("pinned", *one, "--pin", "--json").out)
    world.world.agent(agent).rotate_key()
    refused = connect("pinned", "--json")
    announced = connect("pinned", "--pin")
    after = connect("pinned")

    keys = {row["agent"]: row["key"] for row in pinned["agents"]}
    assert len(keys) == 3, "the other members are pinned as well"
    assert refused.code == 3
    assert refused.error["kind"] == "untrusted-key"
    assert refused.error["agent"] == agent
    assert keys[agent] in refused.error["message"]
    assert "obscale connect pinned --pin" in refused.error["message"]
    assert announced.code == 0
    assert f"{agent}: {keys[agent]} gives way to" in announced.err
    assert after.code == 0


def test_check_agent_takes_agents_password_and_keys_from_a_stored_connection(
    connect, run_here, open_world, server_url
):
    """What `connect` has pinned is held to: another key ends it; nothing stored is changed."""
    world = open_world()
    entry = world.ready["clusters"][0]["agents"][0]
    agent = f"{entry['ip']}:{entry['port']}"
    connect("compared", "--endpoint", agent, "--pin", "--password-env", "OBSCALE_TEST_ROOT")
    check = partial(run_here, "check-agent", "--cluster", PREFECT_API_URL=server_url)

    good = check("compared", "--json")
    world.world.agent(agent).rotate_key()
    refused = check("compared", "--json")
    unknown = check("nobody")

    (compared,) = json.loads(good.out)["agents"]
    assert compared["agent"] == agent
    assert not {"not asked", "unclear"} & {row["answer"] for row in compared["answers"]}
    assert (refused.code, refused.error["kind"]) == (3, "untrusted-key")
    assert (unknown.code, "no connection is stored" in unknown.err) == (2, True)
    assert not world.posts


@pytest.mark.e2e
def test_a_prefect_api_that_answers_anybody_is_warned_of(
    connect, closed_server_url, quiet_world, canaries
):
    """Said before anything is stored and in --json, with the remedy; a closed one gets no word."""
    words = ("open", *endpoints(quiet_world), "--password-env", "OBSCALE_TEST_ROOT")

    first, again = connect(*words), connect("open", "--json")
    closed = connect(
        *words, "--json", PREFECT_API_URL=closed_server_url, PREFECT_API_AUTH_STRING=SERVER_AUTH
    )

    assert (first.code, again.code, closed.code) == (0, 0, 0), first.err + again.err + closed.err
    [warning] = [said for said in json.loads(again.out)["warnings"] if OPEN_API in said]
    assert "start its server with PREFECT_SERVER_API_AUTH_STRING" in warning
    assert f"obscale: warning: {warning}" in first.lines
    assert OPEN_API not in closed.err
    assert OPEN_API not in closed.out
    for text in (first.out, first.err, again.out, closed.out):
        assert not any(secret in text for secret in (*canaries, SERVER_AUTH))


def test_who_gets_the_password_is_said_until_the_keys_are_pinned(connect, open_world):
    """One line names the entry agents nobody vouches for, and both remedies; pinned, it is gone."""
    world = open_world()
    agents = [f"{a['ip']}:{a['port']}" for a in world.ready["clusters"][0]["agents"]]

    first = connect("unproved", *endpoints(world), "--password-env", "OBSCALE_TEST_ROOT")
    pinned = connect("unproved", "--pin")
    after = connect("unproved", "--json")

    said = f"whoever answers at {', '.join(agents)} gets the password of root@sys"
    (line,) = [line for line in first.lines if said in line]
    assert "mistyped" in line
    assert "--pin" in line
    assert "https with a CA" in line
    assert said in pinned.err
    assert "gets the password" not in after.out
    assert "gets the password" not in after.err


def test_who_takes_the_place_of_a_pinned_agent_learns_nothing(connect, open_world):
    """Another key at an entry agent's address: exit 3, and nothing was sealed with it."""
    world = open_world()
    entry = world.ready["clusters"][0]["agents"][0]
    agent = f"{entry['ip']}:{entry['port']}"
    connect("held", *endpoints(world), "--pin", "--password-env", "OBSCALE_TEST_ROOT")
    world.world.play(Fault.agent_down(agent))

    with listening("CLUSTER AGENT", entry["ip"], entry["port"]) as stranger:
        ended = connect("held", "--json")

    assert ended.code == 3
    assert ended.error["kind"] == "untrusted-key"
    assert stranger.asked
    assert not stranger.passwords


@pytest.mark.parametrize("name", ["even modulus", "100,000 bits, even"])
def test_a_key_that_cannot_serve_is_one_line(connect, quiet_world, name):
    """Exit 3 names the agent and what is wrong with its key; no traceback, nothing stored."""
    key, said = BAD_KEYS[name]
    with listening("CLUSTER AGENT", public_key=key) as stranger:
        words = ("--endpoint", stranger.address, "--password-env", "OBSCALE_TEST_ROOT")
        ended = connect("odd", *endpoints(quiet_world), *words)

    assert ended.code == 3
    assert stranger.address in ended.lines[-1]
    assert said in ended.lines[-1]
    assert "Traceback" not in ended.err
    assert connect("odd").code == 2


def test_plain_http_beyond_this_machine_is_warned_of(connect):
    """The warning stands beside the failure to reach it, before a password has gone anywhere."""
    ended = connect("far", "--endpoint", "192.0.2.1:2886", "--password-env", "OBSCALE_TEST_ROOT")

    assert ended.code == 3
    assert "plain http to 192.0.2.1:2886" in ended.err


@pytest.mark.parametrize(
    "settings",
    [
        {"PREFECT_API_URL": "http://127.0.0.1:1/api"},
        {"PREFECT_API_URL": "http://user:canary-server@127.0.0.1:1/api"},
    ],
    ids=["down", "password in its address"],
)
def test_a_prefect_server_that_is_down_is_exit_3_before_anything_is_asked(
    run_here, quiet_world, settings
):
    """One line says that Prefect does not answer; no password of its address is repeated."""
    ended = run_here(
        "connect",
        "east",
        *endpoints(quiet_world),
        "--password-env",
        "OBSCALE_TEST_ROOT",
        **settings,
    )

    assert ended.code == 3
    assert "Prefect" in ended.err
    assert "canary-server" not in ended.err
    assert len(ended.lines) == 1


def test_the_password_is_asked_for_and_not_shown(open_world, environment, server_url, canaries):
    """At a terminal the password is typed unseen; it is in no argument of any process."""
    world = open_world()
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "obscale.cli", "connect", "typed", *endpoints(world)]
    program = subprocess.Popen(
        words,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment | {"PREFECT_API_URL": server_url},
        start_new_session=True,
    )
    os.close(theirs)
    seen = ""
    typed = False
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            heard = os.read(ours, 4096)
        except OSError:  # Linux says so when the other side has closed
            break
        seen += heard.decode(errors="replace")
        # The last blank comes once the terminal shows no more what is typed.
        if not typed and "empty: it has none" in seen and seen.endswith(": "):
            os.write(ours, f"{canaries[0]}\n".encode())
            typed = True
    os.close(ours)

    assert program.wait(60) == 0, seen
    assert "typed: stored" in seen
    assert canaries[0] not in seen
