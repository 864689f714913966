"""Tests of `obscale show`: the cluster as it is, its DAG and its runs; nothing is written."""

import json

from obscale.agent.wire import joined_address
from obscale.sandbox import Fault

NO_PREFECT = "http://127.0.0.1:9/api"


def test_a_cluster_is_shown_without_prefect_and_without_a_write(
    run_here, write, quiet_world, canaries
):
    """Observers by zone, capacity, the lock; and why there are no runs."""
    posts = len(quiet_world.posts)

    ended = run_here("show", write(quiet_world.request()), COLUMNS="120", PREFECT_API_URL="")

    assert ended.code == 0, ended.err
    assert "3 of 3 observers serve, the lock is free" in ended.out
    for said in ("zone3", "RUNNING", "CLUSTER AGENT", "data disk", "no Prefect is configured"):
        assert said in ended.out
    assert len(quiet_world.posts) == posts
    assert not any(secret in ended.out + ended.err for secret in canaries)


def test_what_is_printed_is_what_json_holds(run_here, write, quiet_world):
    """Each member with its agent; each thing offered with what is taken of it."""
    ended = run_here("show", write(quiet_world.request()), "--json", PREFECT_API_URL="")
    data = json.loads(ended.out)

    assert (data["schema_version"], data["cluster"]) == (1, {"name": "obcluster", "id": 1})
    observers = [each for zone in data["zones"] for each in zone["observers"]]
    assert [each["agent_answers"] for each in observers] == [True] * 3
    assert data["capacity"]["cpu"]["total_before"] == data["capacity"]["cpu"]["total_after"] == 48
    assert data["lock"] == {"held": False, "dag": None}
    assert data["unread"] == {}
    assert "PREFECT_API_URL" in data["runs_why_none"]


def test_a_silent_agent_a_failed_dag_and_its_run_are_shown(run_here, write, open_world, server_url):
    """Whose DAG holds the lock, which agent does not answer, and the run that met it."""
    world = open_world(Fault.fail_stage(5))
    request = write(world.request())
    run_here("apply", request, "--yes", PREFECT_API_URL=server_url)
    silent = joined_address(
        *(world.ready["clusters"][0]["agents"][2][key] for key in ("ip", "port"))
    )
    world.world.play(Fault.agent_down(silent))

    shown = run_here("show", request, COLUMNS="140", PREFECT_API_URL=server_url)
    data = json.loads(run_here("show", request, "--json", PREFECT_API_URL=server_url).out)
    brief = run_here("show", request, "--quiet", PREFECT_API_URL=server_url)

    assert shown.code == 0, shown.err
    assert f"silent: {silent}" in shown.out
    assert "Cluster scale out" in shown.out
    (dag,) = data["unfinished"]
    assert (dag["state"], dag["stage"], dag["lock"]) == ("FAILED", 5, "holds")
    assert data["lock"] == {"held": True, "dag": dag["id"]}
    assert [each["answers"] for each in data["agents"] if each["agent"] == silent] == [False]
    assert data["runs"][0]["targets"] == [dag["target"]]
    assert data["runs"][0]["name"] in shown.out
    assert brief.out.splitlines() == [shown.out.splitlines()[0]]


def test_a_prefect_that_is_away_hides_only_the_runs(run_here, write, quiet_world):
    """Exit 0 all the same."""
    ended = run_here("show", write(quiet_world.request()), PREFECT_API_URL=NO_PREFECT)

    assert ended.code == 0, ended.err
    assert "3 of 3 observers serve" in ended.out
    assert "127.0.0.1:9" in ended.out.partition("Recent runs")[2]


def test_a_cluster_out_of_reach_is_exit_3(run_here, write, quiet_world, closed_port):
    """As everywhere."""
    asked = quiet_world.request()
    asked["cluster"]["endpoints"] = [closed_port]

    assert run_here("show", write(asked), PREFECT_API_URL="").code == 3


def test_a_batch_of_too_many_clusters_to_be_tagged_is_found_all_the_same(
    run_here, write, open_world, server_url, monkeypatch
):
    """By the task runs that have judged and carried out its rows."""
    monkeypatch.setattr("obscale.tasks.runtime.run_state.MOST_TAGS", 1)
    world = open_world()
    limits = {"steady_seconds": 0.2, "poll_seconds": 0.1}
    batch = write({"clusters": [world.request()], "time_limits": limits}, "batch.json")
    ended = run_here("apply", batch, "--yes", PREFECT_API_URL=server_url)

    shown = run_here("show", write(world.request()), "--json", PREFECT_API_URL=server_url)

    assert ended.code == 0, ended.err
    assert json.loads(shown.out)["runs"][0]["name"] == "batch of 1 cluster"
