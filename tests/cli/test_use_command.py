"""Tests of `obscale use`: what it shows, asks and writes, and how it ends."""

import json
import shlex

import pytest

from obscale.sandbox import Fault
from tests.cli.conftest import ROOT_CANARY
from tests.contract.loops.use_stage import grown_config
from tests.docs.json_page import problems

WORDS = ("--tenant", "app", "--unit-num")


@pytest.fixture(scope="module")
def grown(open_world):
    """Give a function that serves a cluster of two servers a zone."""

    def opened(*faults):
        (cluster,) = grown_config().clusters
        cluster = cluster.model_copy(update={"root_password": ROOT_CANARY})
        return open_world(*faults, clusters=(cluster,))

    return opened


@pytest.fixture
def request_of(write):
    """Give the file of a request for a world, with quick limits."""
    return lambda world: write(world.request())


def test_the_plan_says_what_it_would_gain_and_sends_nothing(run_here, grown, request_of):
    """In words and as JSON; the next command is the one to type."""
    world = grown()
    file = request_of(world)
    told = run_here("use", file, *WORDS, "2", "--plan", COLUMNS="200")
    data = json.loads(run_here("use", file, *WORDS, "2", "--plan", "--json").out)

    command = f"obscale use {shlex.quote(str(file))} --tenant app --unit-num 2"
    assert told.code == 0, told.err
    assert told.out.splitlines()[0] == f"READY (prod)  next: {command}"
    assert "unit_num 1 → 2 in zone1, zone2, zone3: 3 units more of u_app" in told.out
    assert problems("use, only planned", data) == []
    assert (data["ready"], data["unit_num_before"], data["next"]) == (True, 1, command)
    assert world.posts == []


def test_a_blocked_plan_ends_with_one(run_here, grown, request_of):
    """Its first line is the cure."""
    world = grown()
    told = run_here("use", request_of(world), *WORDS, "3", "--plan", COLUMNS="200")

    assert told.code == 1
    assert told.out.startswith("BLOCKED (prod)  next: add servers to zone1, zone2, zone3")
    assert world.posts == []


def test_what_cannot_be_asked_for_is_bad_input(run_here, grown, request_of):
    """Each in one line that names what to write instead."""
    file = request_of(grown())
    zero = run_here("use", file, *WORDS, "0", "--plan")
    nobody = run_here("use", file, "--tenant", "nope", "--unit-num", "2", "--plan")
    unanswered = run_here("use", file, *WORDS, "2")

    assert (zero.code, nobody.code, unanswered.code) == (2, 2, 2)
    assert zero.lines[0].startswith("obscale: --unit-num: ")
    assert nobody.lines == [
        "obscale: tenant: obcluster has no tenant 'nope'. Next: it has sys, app"
    ]
    assert unanswered.lines[0].endswith("--tenant app --unit-num 2 --yes")


def test_with_yes_it_is_sent_once_and_proved(run_here, grown, request_of, server_url, canaries):
    """Proofs, the verdict, one object as JSON; again, nothing more is sent."""
    world = grown()
    file = request_of(world)
    told = run_here("use", file, *WORDS, "2", "--yes", COLUMNS="140", PREFECT_API_URL=server_url)
    again = run_here("use", file, *WORDS, "2", "--yes", "--json", PREFECT_API_URL=server_url)
    data = json.loads(again.out)

    assert told.code == again.code == 0, told.err + again.err
    assert "units placed: zone1 2/2, zone2 2/2, zone3 2/2" in told.out
    assert "tenant app of obcluster: BALANCED" in told.out
    assert len(world.posts) == 1
    assert problems("use", data) == []
    assert (data["report"]["submitted_how"], data["report"]["balance"]) == ("adopted", "BALANCED")
    assert not any(secret in told.out + told.err + again.out for secret in canaries)


def test_a_failed_job_ends_with_one_and_its_cause(run_here, grown, request_of, server_url):
    """As JSON too, beside the report."""
    world = grown(Fault.tenant_job_fails())
    file = request_of(world)
    told = run_here("use", file, *WORDS, "2", "--yes", "--json", PREFECT_API_URL=server_url)
    data = json.loads(told.out)

    assert told.code == data["exit_code"] == 1
    assert data["error"]["kind"] == "dag-failed"
    assert "[tenant-job-failed]" in data["error"]["message"]
    assert data["report"]["outcome"] == "failed"
    assert problems("use", data) == []
