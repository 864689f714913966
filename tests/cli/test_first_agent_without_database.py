"""Tests of commands whose first entry agent has lost its observer: the second is asked instead."""

import json
from functools import partial

import pytest

from obscale.sandbox import Fault

SCALE_OUT = "/api/v1/ob/scale_out"
MOST_REFUSALS = 3
"""Of one question, by an agent without a database: once in each of three commands."""
QUICK = {"steady_seconds": 0.2, "poll_seconds": 0.1}


@pytest.fixture
def world(open_world):
    """A world to itself: its first entry agent answers, and its observer is dead."""
    served = open_world()
    served.world.play(Fault.observer_down(members(served)[0]))
    return served


@pytest.fixture
def run(run_here, server_url):
    """Give the command line with a team's server behind it."""
    return partial(run_here, PREFECT_API_URL=server_url)


@pytest.fixture
def request_by_name(world, run, write):
    """Write a request that names a stored connection: how members stood before is known then."""
    agents = [word for each in members(world) for word in ("--endpoint", each)]
    stored = run("connect", "half-dead", *agents, "--password-env", "OBSCALE_TEST_ROOT")
    assert stored.code == 0, stored.err
    return write(world.request() | {"cluster": "half-dead", "time_limits": QUICK})


def members(world):
    """Give the agents of the cluster, in the order they are named as entry agents."""
    return [f"{a['ip']}:{a['port']}" for a in world.ready["clusters"][0]["agents"]]


def written(world):
    """Give what was written to whom, with the status it was answered with."""
    return [
        (record.agent, record.target, record.status)
        for record in world.world.requests
        if record.method != "GET"
    ]


def refusals(world, agent):
    """Give how often an agent refused each question for want of a database."""
    found = [r.target for r in world.world.requests if (r.agent, r.status) == (agent, 500)]
    return {target.partition("?")[0]: found.count(target) for target in found}


def test_plan_apply_and_verify_go_through_the_second(world, run, request_by_name):
    """The plan names whom it will ask; one POST, to that one; proved against the look before it."""
    first, second, _ = members(world)

    planned = run("plan", request_by_name)
    before = written(world)
    applied = run("apply", request_by_name, "--yes")
    verified = run("verify", request_by_name, "--json")

    assert planned.code == 0, planned.err
    assert f"To be asked of {second}: POST {SCALE_OUT}" in planned.out
    assert before == []
    assert applied.code == 0, applied.err
    assert verified.code == 0, verified.err
    assert json.loads(verified.out)["verified"]
    assert written(world) == [(second, SCALE_OUT, 200)]
    # Each command learns it anew, and passes it over from then on.
    assert refusals(world, first)
    assert max(refusals(world, first).values()) <= MOST_REFUSALS


def test_watch_and_recover_go_through_the_second(world, run, request_by_name):
    """A failed scale-out is diagnosed and retried by the agent that can, and by no other."""
    second = members(world)[1]
    world.world.play(Fault.fail_stage(7, text="rootservice is busy"))

    applied = run("apply", request_by_name, "--yes")
    watched = run("watch", request_by_name)
    recovered = run("recover", request_by_name, "--retry", "--yes")

    dag = world.world.clusters[0].dags[-1]
    assert (applied.code, watched.code) == (1, 1)
    assert "rootservice is busy" in watched.err
    assert recovered.code == 0, recovered.err
    assert written(world) == [
        (second, SCALE_OUT, 200),
        (second, f"/api/v1/task/dag/{dag.generic_id()}", 200),
    ]


def test_a_batch_goes_through_the_second(world, run, write):
    """Two nodes, one POST each."""
    second = members(world)[1]
    batch = write({"clusters": [world.request(spares=2)], "time_limits": QUICK}, "batch.json")

    ended = run("apply", batch, "--yes", "--json")

    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["batch"]["summary"] == "2 of 2 nodes verified"
    assert written(world) == [(second, SCALE_OUT, 200)] * 2
    assert world.world.count_dags("Cluster scale out") == 2
