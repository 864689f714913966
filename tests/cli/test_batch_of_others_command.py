"""Tests of `obscale plan` and `obscale apply` on batches that remove and use."""

import json
import os
import pty
import subprocess
import sys

import pytest

from obscale.sandbox.config import (
    AgentConfig,
    ClusterConfig,
    TenantConfig,
    UnitConfig,
    ZoneConfig,
)
from tests.cli.conftest import ROOT_CANARY

LONGEST_SECONDS = 120
NO_PREFECT = "http://127.0.0.1:9/api"


@pytest.fixture(scope="module")
def grown(open_world):
    """Two servers a zone, and a tenant with one unit in each."""
    zones = tuple(
        ZoneConfig(name=f"zone{number}", agents=(AgentConfig(), AgentConfig()))
        for number in (1, 2, 3)
    )
    app = TenantConfig(name="app", unit=UnitConfig(name="u_app"))
    cluster = ClusterConfig(root_password=ROOT_CANARY, zones=zones, tenants=(app,))
    return open_world(clusters=(cluster,))


@pytest.fixture
def batch_of(grown, write):
    """Give a function that writes a batch for that cluster."""

    def write_batch(item, **more):
        known = {"cluster": grown.request()["cluster"]} | item
        batch = {"clusters": [known], "profile": "lab"} | more
        return write(batch, "batch.json")

    return write_batch


def leaving(grown, *places):
    """Give servers that leave: the second of a zone has an odd place."""
    agents = [grown.ready["clusters"][0]["agents"][place] for place in places]
    return {
        "remove": [
            {"agentInfo": {"ip": each["ip"], "port": each["port"]}, "zone": each["zone"]}
            for each in agents
        ]
    }


def test_a_plan_of_removals_says_what_would_leave(grown, batch_of, run_here):
    """Servers before, order, kind; nothing is sent, and no word has to be typed."""
    path = batch_of(leaving(grown, 3, 5), policies={"max_removals": 2})

    ended = run_here("plan", path, PREFECT_API_URL=NO_PREFECT)
    told = json.loads(run_here("plan", path, "--json", PREFECT_API_URL=NO_PREFECT).out)

    assert ended.code == 0, ended.err
    assert "2 of 2 removals ready" in ended.out
    assert "2 may leave" in ended.out
    assert (told["kind"], {row["kind"] for row in told["rows"]}) == ("remove", {"remove"})
    assert told["clusters"][0]["zones_after"] == {"zone1": 2, "zone2": 1, "zone3": 1}
    assert grown.posts == []


def test_a_plan_of_uses_says_what_would_change(grown, batch_of, run_here):
    """And which rule forbids what does not fit."""
    fits = batch_of({"use": [{"tenant": "app", "unit_num": 2}]})
    ended = run_here("plan", fits, PREFECT_API_URL=NO_PREFECT)
    blocked = run_here(
        "plan",
        batch_of({"use": [{"tenant": "app", "unit_num": 3}, {"tenant": "none", "unit_num": 2}]}),
        PREFECT_API_URL=NO_PREFECT,
    )

    assert ended.code == 0, ended.err
    assert "1 of 1 tenant ready" in ended.out
    assert blocked.code == 1
    assert "un-max" in blocked.out
    assert "obcluster has no tenant 'none'" in " ".join(blocked.out.split())


def test_more_than_may_leave_are_refused_by_name(grown, batch_of, run_here):
    """Before anything is looked at, whoever says yes."""
    seen = len(grown.world.requests)
    path = batch_of(leaving(grown, 3, 5), policies={"max_removals": 1})

    ended = run_here("apply", path, "--yes", PREFECT_API_URL=NO_PREFECT)

    assert ended.code == 2
    agent = grown.ready["clusters"][0]["agents"][5]
    assert f"1 may leave, and 2 are named: too many are {agent['ip']}:{agent['port']}" in ended.err
    assert len(grown.world.requests) == seen


def test_a_batch_is_no_file_for_the_command_of_one_cluster(grown, batch_of, write, run_here):
    """Each names the other."""
    path = batch_of(leaving(grown, 3), policies={"max_removals": 1})
    single = write({"cluster": "east"} | leaving(grown, 3), "single.json")

    removed = run_here("remove", path, "--plan", PREFECT_API_URL=NO_PREFECT)
    applied = run_here("apply", single, "--yes", PREFECT_API_URL=NO_PREFECT)

    assert (removed.code, applied.code) == (2, 2)
    assert f"is a batch. Next: obscale apply {path}" in removed.err
    assert f"obscale remove {single}" in applied.err


def test_y_is_no_word_and_nothing_is_sent(grown, batch_of, environment, server_url):
    """At a terminal the question names the word; y, typed by habit, ends the program."""
    path = batch_of(leaving(grown, 3, 5), policies={"max_removals": 2})
    ours, theirs = pty.openpty()
    os.write(ours, b"y\n")

    done = subprocess.run(
        [sys.executable, "-m", "obscale.cli", "apply", str(path)],
        env=environment | {"PREFECT_API_URL": server_url},
        stdin=theirs,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    os.close(ours)
    os.close(theirs)

    assert done.returncode == 1, done.stderr
    asked = done.stdout + done.stderr
    assert "remove 2 nodes from obcluster? Type remove 2 nodes" in asked
    assert "not confirmed; nothing was sent" in asked
    assert grown.posts == []
