"""Tests of `obscale verify`: only reads, without Prefect, at 80 columns."""

import json
import socket

import pytest

import obscale.cli.verify as obscale_verify
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault

WIDTH = 80
NO_PREFECT = "http://127.0.0.1:9/api"


@pytest.fixture
def member(quiet_world):
    """Give a function that asks for what is a member of the cluster already."""

    def ask(**configs):
        request = quiet_world.request(**configs)
        first = quiet_world.ready["clusters"][0]["agents"][0]
        node = request["nodes"][0]
        node["agentInfo"] = {"ip": first["ip"], "port": first["port"]}
        node["zone"] = first["zone"]
        del node["targetAgentPassword"]
        return request

    return ask


def test_a_member_is_proved_without_prefect_and_without_a_write(
    run_here, write, member, quiet_world, canaries, tmp_path
):
    """Exit 0; every proof on a screen of 80 columns; no POST, no file, no Prefect server."""
    home = tmp_path / "prefect"
    home.mkdir()
    posts = len(quiet_world.posts)

    ended = run_here(
        *("verify", write(member() | {"time_limits": {"steady_seconds": 0.2}})),
        COLUMNS=str(WIDTH),
        PREFECT_HOME=str(home),
        PREFECT_API_URL=NO_PREFECT,
    )

    assert (ended.code, ended.lines) == (0, []), ended.err
    assert max(map(len, ended.out.splitlines())) <= WIDTH
    for said in ("pv-service-started", "pv-params-effective:memory_limit", "BALANCED", "2 units"):
        assert said in ended.out
    assert len(quiet_world.posts) == posts
    assert list(home.iterdir()) == []
    assert not any(secret in ended.out for secret in canaries)


def test_a_node_that_never_joined_is_said_so_at_once(obscale, write, quiet_world):
    """Exit 1 and one line that names what is missing and the next command; nothing is posted."""
    request = write(quiet_world.request())
    posts = len(quiet_world.posts)

    ended = obscale("verify", request)

    assert ended.code == 1
    assert len(ended.lines) == 1, ended.err
    assert "reached NONE, not CONFORMING: pv-agent-identity: SINGLE in no zone" in ended.err
    assert f"obscale apply {request} adds it" in ended.err
    assert "ALTER SYSTEM" not in ended.out, "there is no server to statement anything for"
    assert len(quiet_world.posts) == posts


def test_a_dead_member_of_which_nobody_saw_before_is_exit_1(
    obscale, write, open_world, monkeypatch
):
    """Without Prefect the other members are judged too: dead now, before unknown, and named."""
    time_limits = TimeLimits(verify_seconds=20, steady_seconds=0.2, against_seconds=1)
    monkeypatch.setattr(obscale_verify, "VERIFY_LIMITS", time_limits)
    monkeypatch.setenv("PREFECT_API_URL", NO_PREFECT)
    world = open_world()
    first, dead = world.ready["clusters"][0]["agents"][::2]
    request = world.request()
    node = request["nodes"][0]
    node["agentInfo"], node["zone"] = {"ip": first["ip"], "port": first["port"]}, first["zone"]
    del node["targetAgentPassword"]
    world.world.play(Fault.observer_down(f"{dead['ip']}:{dead['port']}"))

    ended = obscale("verify", write(request))

    found = f"{dead['ip']}:2882 INACTIVE PROCESS_STOPPED (dead now, before unknown)"
    assert ended.code == 1, ended.err
    assert f"pv-no-collateral: {found}" in ended.err
    assert "verify: waits for " in ended.out
    assert world.posts == []


def test_with_json_a_node_that_does_not_conform_is_one_object(obscale, write, member):
    """A script finds what is not as asked, and the statement that would statement it."""
    ended = obscale("verify", write(member(memory_limit="12G")), "--json")

    told = json.loads(ended.out)
    assert (ended.code, told["verified"]) == (1, False)
    report = told["runs"][0]["report"]
    assert (report["outcome"], report["level"]) == ("failed", "JOINED")
    proofs = {proof["id"]: proof for proof in report["proofs"]}
    wrong = proofs["pv-params-effective:memory_limit"]
    assert (wrong["answer"], wrong["expected"], wrong["found"]) == ("fail", "12G", "16G")
    address = report["target"].rpartition(":")[0]
    assert report["persist_statements"] == [
        f"ALTER SYSTEM SET memory_limit='12G' SERVER='{address}:2882';"
    ]
    assert report["error"].startswith(f"{report['target']} reached JOINED, not CONFORMING")


def test_a_plan_for_a_member_says_what_verification_will_refuse(obscale, write, member):
    """What is asked and what is there, with the next step; a plan and its verification agree."""
    other = write(member(memory_limit="80G", system_memory="9G"), "other.json")
    same = write(member(), "same.json")

    shown = obscale("plan", other)
    told = json.loads(obscale("plan", other, "--json").out)
    (verified,) = json.loads(obscale("verify", other, "--json").out)["runs"]
    proofs = {proof["id"]: proof for proof in verified["report"]["proofs"]}
    alike = obscale("plan", same)

    page = " ".join(shown.out.split())
    assert shown.code == 1
    assert page.startswith("ALREADY A MEMBER, 2 VALUES DIFFER (prod) next: ask for what is there")
    assert "member-as-asked memory_limit: 80G asked, 16G there" in page
    assert "ALTER SYSTEM SET memory_limit='80G' SERVER=" in page
    found = {d["key"]: (d["asked"], d["there"]) for d in told["rows"][0]["differences"]}
    assert found == {"memory_limit": ("80G", "16G"), "system_memory": ("9G", "8G")}
    for key, (asked, there) in found.items():
        proof = proofs[f"pv-params-effective:{key}"]
        assert (proof["answer"], proof["expected"], proof["found"]) == ("fail", asked, there)
    assert alike.code == 0
    assert alike.out.startswith("ALREADY A MEMBER (prod)")


def test_a_batch_says_which_member_is_not_as_asked(obscale, write, member):
    """Exit 1, as its apply would end; the row says the values and the next step."""
    path = write({"clusters": [member(memory_limit="80G")]}, "batch.json")

    shown = obscale("plan", path)
    (row,) = json.loads(obscale("plan", path, "--json").out)["rows"]

    assert shown.code == 1
    assert "0 of 1 node ready, 1 member already, 1 of them not as asked" in shown.out
    assert "memory_limit: 80G asked, 16G there" in " ".join(shown.out.split())
    assert (row["ready"], row["differs"]) == (False, "memory_limit: 80G asked, 16G there")
    assert row["verdict"] == "already a member, 1 value differs"
    assert row["next"].startswith("ask for what is there: memory_limit: 16G")


def test_bad_input_is_told_before_anybody_is_asked(obscale, write, quiet_world, tmp_path):
    """Exit 2, one line, no request."""
    plan = tmp_path / "plan.json"
    obscale("plan", write(quiet_world.request()), "--out", plan)
    seen = len(quiet_world.world.requests)

    missing = obscale("verify", "nowhere.yaml")
    planned = obscale("verify", plan)
    wrong = obscale("verify", write(quiet_world.request(memory_limit="16GiB")))

    assert (missing.code, wrong.code, planned.code) == (2, 2, 2)
    assert len(missing.lines) == len(wrong.lines) == len(planned.lines) == 1
    assert "is a plan, no request. Next: name the request it was made of" in planned.err
    assert "write '16G'" in wrong.err
    assert len(quiet_world.world.requests) == seen


def test_a_cluster_that_does_not_answer_is_exit_3(obscale, write, member):
    """One line with agent and cause, not a table of unknowns after a minute."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{probe.getsockname()[1]}"
        request = member()
        request["cluster"]["endpoints"] = [closed]

        ended = obscale("verify", write(request))

    assert ended.code == 3
    assert len(ended.lines) == 1, ended.err
    assert ended.lines[0].startswith(f"obscale: {closed}")
