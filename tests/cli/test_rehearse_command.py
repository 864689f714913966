"""Tests of `obscale rehearse`: it plays the whole run and leaves the cluster alone."""

import json
import shutil
from importlib.metadata import version

import pytest

from tests.docs.json_page import problems


@pytest.fixture(scope="module")
def cache(tmp_path_factory, new_home):
    """A cache folder whose Prefect has its database already."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "obscale" / "prefect").mkdir(parents=True)
    shutil.move(new_home(), folder / "obscale" / "prefect" / version("prefect"))
    return str(folder)


@pytest.mark.e2e
def test_a_healthy_request_ends_verified_and_nothing_is_written_to_the_real_cluster(
    open_world, write, run_program, cache, canaries
):
    """The real agents see the reads of a plan and nothing after; no real password is told."""
    real = open_world()

    ended = run_program(
        "rehearse", write(real.request()), "--speed", "40", "--json", XDG_CACHE_HOME=cache
    )

    assert ended.code == 0, ended.err
    data = json.loads(ended.out)
    report = data["runs"][0]["report"]
    assert problems("rehearse", data) == []
    assert (report["outcome"], report["level"] in {"CONFORMING", "BALANCED"}) == ("verified", True)
    assert real.posts == []
    assert real.world.count_dags("Cluster scale out") == 0
    assert "nothing real was touched" in ended.err
    assert not [secret for secret in canaries if secret in ended.out + ended.err]


@pytest.mark.e2e
def test_a_chosen_fault_shows_what_a_person_would_be_asked(open_world, write, run_program, cache):
    """A slow observer: exit 1, the diagnosis, and each choice with what it destroys."""
    real = open_world()

    ended = run_program(
        *("rehearse", write(real.request()), "--speed", "40"),
        *("--fault", "slow_observer:seconds=150"),
        XDG_CACHE_HOME=cache,
    )

    assert ended.code == 1, ended.err
    assert "[slow-observer]" in ended.out
    assert "→ RETRY (recommended, safe)" in ended.out
    assert "ROLLBACK is a dead end" in ended.out
    assert real.posts == []


@pytest.mark.e2e
def test_a_policy_is_rehearsed_too(open_world, write, run_program, cache):
    """With --on-failure retry the slow observer is retried to the end, on the double alone."""
    real = open_world()
    address = "{ip}:{port}".format(**real.ready["spares"][0])

    ended = run_program(
        *("rehearse", write(real.request()), "--speed", "40", "--on-failure", "retry"),
        *("--fault", f"slow_observer:seconds=150,target={address}"),
        XDG_CACHE_HOME=cache,
    )

    assert ended.code == 0, ended.err
    assert "✘ stage 5/9" in ended.out
    assert real.posts == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--fault", "earthquake"), "--fault earthquake: card: Input should be"),
        (("--fault", "fail_stage"), "card 'fail_stage' needs 'stage'"),
        (("--fault", "fail_stage:stage"), "'stage' is no KEY=VALUE"),
        (("--on-failure", "ask"), "--on-failure: 'ask' is no policy of a rehearsal"),
    ],
)
def test_bad_input_is_refused_before_the_real_cluster_is_read(
    open_world, write, obscale, words, said
):
    """Exit 2, one line, and not one request."""
    real = open_world()

    ended = obscale("rehearse", write(real.request()), *words)

    assert ended.code == 2
    assert said in ended.lines[0]
    assert len(ended.lines) == 1
    assert real.world.requests == []


def test_a_fault_for_an_agent_that_takes_no_part_is_refused(open_world, write, run_program, cache):
    """The line names the agents that do."""
    real = open_world()

    ended = run_program(
        *("rehearse", write(real.request()), "--fault", "agent_down:target=10.9.9.9:2886"),
        XDG_CACHE_HOME=cache,
    )

    assert ended.code == 2
    assert "no agent 10.9.9.9:2886 takes part" in ended.lines[-1]
    assert real.posts == []


def test_an_unreachable_cluster_cannot_be_rehearsed(write, run_program, cache):
    """Exit 3, as plan: there is nothing to make a double of."""
    request = {
        "cluster": {"endpoints": ["127.0.0.1:9"], "password": {"env": "OBSCALE_TEST_ROOT"}},
        "nodes": [{"agentInfo": {"ip": "127.0.0.1", "port": 2886}, "zone": "zone1"}],
    }

    ended = run_program("rehearse", write(request), XDG_CACHE_HOME=cache)

    assert ended.code == 3
    assert "127.0.0.1:9" in ended.lines[-1]
