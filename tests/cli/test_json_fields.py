"""Tests that every command writes with --json what docs/json.md says: each field, and its type."""

import json

import pytest

from obscale.cli.commands import COMMANDS as NAMES
from obscale.sandbox import Fault
from tests.docs.json_page import COMMANDS, problems

WITHOUT_JSON = {"demo", "schema"}
QUICK = {"steady_seconds": 0.2, "poll_seconds": 0.1}
ANY = "any command that cannot go on"


@pytest.fixture
def holds(run_here):
    """Give a function that runs a command and holds what it wrote to a heading of the page."""

    def check(heading, *words, **environment):
        ended = run_here(*words, "--json", **environment)
        data = json.loads(ended.out)
        assert next(iter(data)) == "schema_version"
        assert problems(heading, data) == [], ended.err
        return data

    return check


def test_every_command_stands_on_the_page(run_here):
    """And whoever has --json at all is on it."""
    told = {heading.partition(",")[0] for heading in COMMANDS} - {ANY}

    assert told == NAMES.keys() - WITHOUT_JSON
    assert not [name for name in WITHOUT_JSON if "--json" in run_here(name, "-h").out]


def test_what_only_reads_writes_as_the_page_says(holds, quiet_world, write):
    """Plan, suggest, verify, show, explain, check-agent."""
    request = quiet_world.request() | {"time_limits": QUICK}
    one, many = write(request, "one.json"), write({"clusters": [request]}, "many.json")
    entry = request["cluster"]["endpoints"][0]
    spare = request["nodes"][0]["agentInfo"]
    root = ("--password-env", "OBSCALE_TEST_ROOT")

    holds("plan", "plan", one)
    holds("plan, a batch", "plan", many)
    asked = f"{spare['ip']}:{spare['port']}", "--cluster-endpoint", entry
    holds("suggest", "suggest", *asked, *root, "--agent-password-env", "OBSCALE_TEST_AGENT")
    assert holds("verify", "verify", one)["verified"] is False
    holds("show", "show", one, PREFECT_API_URL="")
    holds("explain", "explain")
    holds("check-agent", "check-agent", entry, *root)
    holds(ANY, "plan", "nowhere.yaml")
    holds(ANY, "apply", one)


def test_what_runs_writes_as_the_page_says(holds, open_world, write, server_url):
    """A failed scale-out, why nobody acted, its retry, and all that looks at it afterwards."""
    world = open_world(Fault.fail_stage(5, times=1))
    one = write(world.request() | {"time_limits": QUICK}, "one.json")
    server = {"PREFECT_API_URL": server_url}
    spare = world.ready["spares"][0]

    failed = holds("apply", "apply", one, "--yes", **server)
    assert failed["error"]["kind"] == "dag-failed"
    assert "diagnosis" in holds("recover", "recover", one, **server)
    assert "report" in holds("recover", "recover", one, "--retry", "--yes", **server)
    assert holds("watch", "watch", one, **server)["report"]["outcome"] == "verified"
    holds("evidence", "evidence", f"{spare['ip']}:{spare['port']}", **server)
    many = write({"clusters": [world.request() | {"time_limits": QUICK}]}, "many.json")
    holds("apply, a batch", "apply", many, "--yes", **server)
    endpoints = [
        word for end in world.request()["cluster"]["endpoints"] for word in ("--endpoint", end)
    ]
    root = ("--password-env", "OBSCALE_TEST_ROOT")
    holds("connect", "connect", "json-fields", *endpoints, *root, **server)


def test_the_sandbox_writes_as_the_page_says(quiet_world):
    """The line it writes is what it gives to tests."""
    assert problems("sandbox", {"schema_version": 1} | quiet_world.ready) == []
