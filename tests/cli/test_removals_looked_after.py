"""Tests of `obscale watch` and `obscale recover` where the DAG is a removal somebody has begun."""

import asyncio
import json
import re
import threading

import pytest
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.models import AgentEndpoint, ScaleInRequest
from obscale.sandbox import Fault, default_config
from obscale.sandbox.config import ZoneConfig


@pytest.fixture
def leaving(open_world, write):
    """Give a function that begins a removal by hand: a file of its cluster, and its agent."""

    def begin(*faults):
        plain = default_config().clusters[0]
        zones = tuple(ZoneConfig(name=each.name, agents=[{}, {}]) for each in plain.zones)
        world = open_world(clusters=(plain.model_copy(update={"zones": zones}),))
        cluster = world.ready["clusters"][0]
        leaves = next(
            each
            for each in world.world.clusters[0].agents
            if each.zone == "zone2" and not _has_units(world, each)
        )
        for fault in faults:
            world.world.play(fault(f"{leaves.ip}:{leaves.port}"))
        named = world.request()["cluster"] | {"password": {"env": "ROOT"}}
        where = {"ip": leaves.ip, "port": leaves.port}
        file = write({"cluster": named, "remove": [{"agentInfo": where, "zone": "zone2"}]})
        asyncio.run(_begin(cluster, leaves))
        return file, f"{leaves.ip}:{leaves.port}", {"ROOT": cluster["root_password"]}, world

    return begin


def _has_units(world, agent):
    return any(unit.server.agent is agent for unit in world.world.clusters[0].units)


async def _begin(cluster, leaves):
    asked = next(each for each in cluster["agents"] if each["ip"] != leaves.ip)
    where = AgentAddress(asked["ip"], asked["port"])
    async with AgentClient(where, root_password=SecretStr(cluster["root_password"])) as agent:
        info = AgentEndpoint(ip=leaves.ip, port=leaves.port)
        await agent.submit_scale_in(ScaleInRequest(agent_info=info))


def test_a_removal_is_watched_to_its_end_and_proved(leaving, run_here):
    """No DAG is named: it is the one that is unfinished."""
    file, target, secret, world = leaving(Fault.unit_stuck)
    [server] = [s for s in world.world.clusters[0].servers if s.agent.address == target]
    sent, seen = len(world.posts), len(world.world.requests)
    over = threading.Event()

    def let_go():
        """Let its server go once the command follows its DAG."""
        while not over.wait(0.05):
            if sum("/task/dag/" in each.target for each in world.world.requests[seen:]) > 4:
                server.holds_its_units = False

    waiting = threading.Thread(target=let_go)
    waiting.start()
    try:
        ended = run_here("watch", file, "--json", **secret)
    finally:
        over.set()
        waiting.join()

    assert ended.code == 0, ended.err + ended.out
    report = json.loads(ended.out)["report"]
    assert (report["operation"], report["target"], report["level"]) == (
        "removal",
        target,
        "CONFORMING",
    )
    assert len(world.posts) == sent

    again = run_here("verify", file, "--json", **secret)
    told = json.loads(again.out)

    assert again.code == 0, again.err + again.out
    assert told["verified"]
    assert told["runs"][0]["report"]["submitted_how"] == "verified alone"
    assert len(world.posts) == sent


def test_what_is_still_there_is_not_proved_gone(quiet_world, write, run_here):
    """At once: nobody takes it out, so there is nothing to wait for."""
    file = write(quiet_world.request())
    agent = quiet_world.ready["clusters"][0]["agents"][1]
    target = f"{agent['ip']}:{agent['port']}"
    sent = len(quiet_world.posts)

    ended = run_here("verify", file, "--gone", target, "--zone", agent["zone"])
    nameless = run_here("verify", file, "--gone", target)

    assert ended.code == 1, ended.err
    assert "pl-server-gone" in ended.out
    assert f"{target} gone from {agent['zone']}: NONE" in ended.out
    assert "obscale remove takes out what is still there" in ended.err
    assert nameless.code == 2
    assert "--zone: missing" in nameless.err
    assert len(quiet_world.posts) == sent


def test_a_running_removal_is_stopped_by_its_command(leaving, run_here):
    """Without an answer nothing is sent; with --yes the server stays."""
    file, target, secret, world = leaving(Fault.unit_stuck)
    sent = len(world.posts)

    asked = run_here("recover", file, "--stop", **secret)
    nothing = len(world.posts) - sent
    undecided = run_here("recover", file, **secret)
    ended = run_here("recover", file, "--stop", "--yes", **secret)
    again = run_here("recover", file, "--stop", "--yes", **secret)

    assert (asked.code, nothing) == (2, 0)
    assert "nobody is there to answer" in asked.err
    assert undecided.code == 2
    assert "--stop (also of a running one)" in undecided.err
    assert ended.code == 0, ended.err
    assert f"{target} stays a member" in ended.out
    assert again.code == 2
    assert "no single removal is unfinished" in again.err
    [server] = [s for s in world.world.clusters[0].servers if s.agent.address == target]
    assert not server.deleting


def test_a_running_removal_is_neither_retried_nor_rolled_back(leaving, run_here):
    """It names what can be done instead; nothing is sent."""
    file, _target, secret, world = leaving(Fault.unit_stuck)
    sent = len(world.posts)

    for wish in ("--retry", "--roll-back"):
        ended = run_here("recover", file, wish, "--yes", **secret)
        assert ended.code == 1, ended.err
        # Ready only until its scheduler comes by for the first time.
        assert re.search("not touched, nothing was sent: it stands (READY|RUNNING)", ended.err)
        assert "--stop ends a running one" in ended.err

    assert len(world.posts) == sent
