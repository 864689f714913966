"""Tests that no command or flow tells a stranger the root password."""

import asyncio
import json
import os
from contextlib import contextmanager, suppress

import pytest
import yaml
from prefect.context import refresh_global_settings_context
from pydantic import SecretStr
from typer.testing import CliRunner

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.models import ScaleOutRequest
from obscale.batch.report import BatchIncompleteError
from obscale.cli.commands import app
from obscale.errors import DagFailedError, ObscaleError, PreflightError, UntrustedKeyError
from obscale.flows.batch import batch
from obscale.request.models import AgentInfoSpec, NodeSpec, ScaleOutSpec
from obscale.sandbox import Fault, default_config
from obscale.tasks.runtime.cluster_block import ObshellCluster
from tests.stranger import CLAIMS, listening

pytestmark = pytest.mark.asyncio(loop_scope="session")
ROOT = "canary-root-30c9"
TELLING = ["CLUSTER AGENT", "SCALING OUT", "SINGLE, v1", "SINGLE, wants root's"]
"""Claims each command and flow meets; all of them are met in test_stranger_at_the_target.py."""
LOOKS = 600


def world():
    """The default world with a root password nothing else contains."""
    plain = default_config()
    clusters = tuple(c.model_copy(update={"root_password": ROOT}) for c in plain.clusters)
    return plain.model_copy(update={"clusters": clusters})


QUICK = {"steady_seconds": 0.2, "poll_seconds": 0.1, "undo_seconds": 5, "verify_seconds": 2}


def request_for(scene, target, **more):
    """A request that names one target, as a file would."""
    cluster, (ip, _, port) = scene.ready["clusters"][0], target.rpartition(":")
    return {
        "cluster": {
            "endpoints": [f"{a['ip']}:{a['port']}" for a in cluster["agents"]],
            "password": {"env": "OBSCALE_TEST_ROOT"},
            "name": cluster["name"],
            "id": cluster["id"],
        },
        "nodes": [
            {
                "agentInfo": {"ip": ip, "port": int(port)},
                "zone": "zone2",
                "obConfigs": scene.sample,
            }
        ],
        "time_limits": QUICK,
    } | more


async def command(*words):
    """Run the command line in a thread; it has its own event loop.

    What it makes of Prefect's settings, for a server of its own say, ends with it.
    """
    known = dict(os.environ)
    try:
        result = await asyncio.to_thread(lambda: CliRunner().invoke(app, [str(w) for w in words]))
    finally:
        os.environ.clear()
        os.environ.update(known)
        refresh_global_settings_context()
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("claim", TELLING)
async def test_no_command_tells_a_stranger_the_root_password(stage, tmp_path, claim):
    """plan, verify and rehearse: each has asked it, none has told it."""
    scene = await stage(world())
    path = tmp_path / "node.yaml"
    ended, asked = {}, {}
    with listening(claim) as stranger:
        path.write_text(yaml.safe_dump(request_for(scene, stranger.address)), encoding="utf-8")
        for words in (("plan", path), ("verify", path)):
            before = len(stranger.asked)
            ended[words[0]] = await command(*words)
            asked[words[0]] = len(stranger.asked) - before
        with suppress(ObscaleError):
            # One that says SINGLE could be copied, and playing the copy takes a server of its own.
            if stranger.claims["identity"] != "SINGLE":
                ended["rehearse"] = await command("rehearse", path)

    assert all(asked.values())
    assert not stranger.knows(ROOT)
    assert {name: each.exit_code for name, each in ended.items()} == {
        name: {"rehearse": 2}.get(name, 1) for name in ended
    }
    if claim in {"CLUSTER AGENT", "SCALING OUT"}:
        assert "the cluster does not list it" in ended["plan"].output.replace("\n", " ")
    assert scene.posts() == 0


@pytest.mark.parametrize("claim", TELLING)
async def test_no_flow_tells_a_stranger_the_root_password(stage, refused, claim):
    """Apply and a batch are blocked by preflight; nothing is posted."""
    scene = await stage(world())
    with listening(claim) as stranger:
        ip, _, port = stranger.address.rpartition(":")
        who = AgentInfoSpec(ip=ip, port=int(port))
        error = await refused(scene.scale_out(agentInfo=who))
        told = len(stranger.asked)
        node = NodeSpec(agentInfo=who, zone="zone2", obConfigs=scene.sample)
        cluster = scene.asked()["cluster"]
        with pytest.raises((BatchIncompleteError, PreflightError)):
            await batch(
                clusters=[ScaleOutSpec(cluster=cluster, nodes=(node,))],
                time_limits=scene.asked()["time_limits"],
            )

    assert isinstance(error, PreflightError)
    assert 0 < told < len(stranger.asked)
    assert not stranger.knows(ROOT)
    assert scene.posts() == 0


async def until(scene, holds):
    """Let the simulated world go on until something holds."""
    for _ in range(LOOKS):
        scene.world.sync()
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("not within its time")


@contextmanager
def taking_the_place_of(scene, target, claim):
    """The target's agent goes away for good, and somebody else answers at its address."""
    scene.world.play(Fault.agent_down(target))
    ip, _, port = target.rpartition(":")
    with listening(claim, ip, int(port)) as stranger:
        yield stranger


@pytest.mark.parametrize("claim", ["CLUSTER AGENT", "SCALING OUT"])
async def test_who_takes_the_targets_place_under_way_learns_nothing_by_looking_after_it(
    stage, tmp_path, claim
):
    """Watch and recover of a scale-out whose target's address is somebody else's by now."""
    scene = await stage(world())
    cluster, spare = scene.ready["clusters"][0], scene.ready["spares"][0]
    target, path = f"{spare['ip']}:{spare['port']}", tmp_path / "node.yaml"
    request = request_for(scene, target)
    path.write_text(yaml.safe_dump(request), encoding="utf-8")
    first = cluster["agents"][0]
    async with AgentClient(
        AgentAddress(first["ip"], first["port"]), root_password=SecretStr(ROOT)
    ) as entry:
        await entry.submit_scale_out(ScaleOutRequest.model_validate(request["nodes"][0]))
    dag = scene.world.clusters[0].dags[-1]
    await until(scene, lambda: dag.stage > 2)

    ended, asked = {}, {}
    with taking_the_place_of(scene, target, claim) as stranger:
        await until(scene, lambda: dag.state == "FAILED")
        commands = {
            "watch": ("watch", path, dag.generic_id()),
            "recover": ("recover", path, dag.generic_id(), "--roll-back", "--yes"),
        }
        for name, words in commands.items():
            before = len(stranger.asked)
            ended[name] = await command(*words)
            asked[name] = len(stranger.asked) - before

    assert all(asked.values())
    assert not stranger.knows(ROOT)
    assert set(stranger.passwords) <= {""}
    assert {name: each.exit_code for name, each in ended.items()} == {"watch": 1, "recover": 1}


async def test_who_takes_the_targets_place_in_the_middle_of_a_run_learns_nothing(stage, refused):
    """Preflight saw the right host, then another answers: whoever looks after it tells nothing."""
    scene = await stage(world(), speed=30)
    spare = scene.ready["spares"][0]
    run = asyncio.create_task(refused(scene.scale_out(on_failure="retry")))
    await scene.dag_created()
    dag = next(d for d in scene.world.clusters[0].dags if d.name == "Cluster scale out")
    await until(scene, lambda: dag.stage > 2)
    place = taking_the_place_of(scene, f"{spare['ip']}:{spare['port']}", "CLUSTER AGENT")

    stranger = await asyncio.to_thread(place.__enter__)
    try:
        error = await run
    finally:
        await asyncio.to_thread(place.__exit__, None, None, None)

    assert isinstance(error, DagFailedError)
    assert stranger.asked
    assert not stranger.knows(ROOT)


async def test_a_pinned_connection_takes_the_key_of_who_has_joined_and_holds_it_to_that(
    stage, refused
):
    """The newcomer's key is stored once the cluster lists it; another one is refused by name."""
    scene = await stage(world())
    cluster, spare = scene.ready["clusters"][0], scene.ready["spares"][0]
    members = [f"{a['ip']}:{a['port']}" for a in cluster["agents"]]
    target = f"{spare['ip']}:{spare['port']}"
    block = ObshellCluster(
        endpoints=members[:1], root_password=SecretStr(ROOT), key_trust="first-use"
    )
    await block.asave("joining", overwrite=True)
    words = ("connect", "joining", "--pin", "--json")
    pins = {
        row["agent"]: row["key"] for row in json.loads((await command(*words)).stdout)["agents"]
    }

    report = await scene.scale_out(cluster="joining")
    stored = await ObshellCluster.aload("joining")
    with taking_the_place_of(scene, target, CLAIMS["CLUSTER AGENT"]) as stranger:
        error = await refused(scene.scale_out(cluster="joining"))

    assert report.outcome == "verified"
    assert stored.key_trust == "pinned"
    assert set(pins) == set(members)
    assert set(stored.pinned_keys) == {*members, target}
    assert isinstance(error, UntrustedKeyError | PreflightError)
    assert "its key changed unannounced" in str(error)
    assert not stranger.passwords
