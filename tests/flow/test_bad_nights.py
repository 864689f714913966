"""Tests of bad situations: each ends in one clear answer with the next step."""

import asyncio

import pytest
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.models import ScaleOutRequest
from obscale.cleaning import clean_by_hand
from obscale.errors import (
    DagStalledError,
    PreflightError,
)
from obscale.events import DagMoved
from obscale.sandbox import Fault, WorldConfig, default_config
from tests.flow.conftest import QUICK, SAMPLE

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOOKS = 1200


def two_clusters() -> WorldConfig:
    """Two clusters of one agent a zone."""
    plain = default_config()
    second = plain.clusters[0].model_copy(update={"name": "other", "id": 2})
    return plain.model_copy(update={"clusters": (plain.clusters[0], second)})


def spare(scene, number=0):
    """`ip:port` of an agent that waits to join."""
    agent = scene.ready["spares"][number]
    return f"{agent['ip']}:{agent['port']}"


async def submit_elsewhere(scene, number=1):
    """Have somebody else begin a scale-out of another spare; gives when it is FAILED."""
    cluster, other = scene.ready["clusters"][0], scene.ready["spares"][number]
    entry = cluster["agents"][0]
    body = {"agentInfo": {"ip": other["ip"], "port": other["port"]}, "zone": "zone1"}
    async with AgentClient(
        AgentAddress(entry["ip"], entry["port"]), root_password=SecretStr(cluster["root_password"])
    ) as agent:
        await agent.submit_scale_out(
            ScaleOutRequest.model_validate({**body, "obConfigs": dict(SAMPLE)})
        )


async def until(holds):
    """Wait for a condition, generously."""
    for _ in range(LOOKS):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("not within its time")


async def test_a_failed_foreign_dag_is_named_with_its_owner_and_never_waited_out(stage, refused):
    """Its name, target, id and state are told, and that only its owner can end it."""
    scene = await stage()
    scene.world.play(Fault.fail_stage(5))
    await submit_elsewhere(scene)
    dag = scene.world.clusters[0].dags[-1]
    await until(lambda: scene.world.sync() or dag.state == "FAILED")

    error = await refused(scene.scale_out())

    assert isinstance(error, PreflightError)
    holder = f"Cluster scale out of {spare(scene, 1)} ({dag.generic_id()}) FAILED at stage 5/9"
    assert holder in str(error)
    assert f"have DAG {dag.generic_id()} retried or rolled back by its owner" in str(error)
    assert scene.posts() == 1, "the foreign one"


async def test_a_target_that_was_scaled_in_is_told_how_to_be_wiped(stage, refused):
    """SCALING IN is for good: the answer says what to delete, and what to restart."""
    scene = await stage()
    scene.world.play(Fault.scaling_in(spare(scene)))

    error = await refused(scene.scale_out())

    assert isinstance(error, PreflightError)
    assert "SCALING IN" in str(error)
    assert clean_by_hand("/home/admin/oceanbase") in str(error)
    assert scene.posts() == 0


async def test_a_target_that_joined_another_cluster_is_blocked_and_told_no_password(stage, refused):
    """It says it is a member, and is none of this cluster's: which one's is not asked."""
    scene = await stage(two_clusters())
    scene.world.play(Fault.join_elsewhere(spare(scene), "other"))

    error = await refused(scene.scale_out())

    assert isinstance(error, PreflightError)
    assert "it says it is CLUSTER AGENT" in str(error)
    assert "the cluster does not list it" in str(error)
    assert scene.posts() == 0
    signed = ("/api/v1/task", "/api/v1/ob", "/api/v1/agent")
    assert not [
        r for r in scene.world.requests if r.agent == spare(scene) and r.target.startswith(signed)
    ]


async def test_all_entry_agents_down_in_the_middle_ends_after_the_silence_and_heals(stage, refused):
    """It says whom it could not ask, the report what was seen last; the next run goes on."""
    scene = await stage(speed=6)
    short = QUICK.model_copy(update={"silence_seconds": 3})
    run = asyncio.create_task(refused(scene.scale_out(time_limits=short)))
    await until(lambda: any(isinstance(e, DagMoved) for e in scene.events))
    scene.crawl()
    members = [agent.address for agent in scene.world.clusters[0].agents]
    for member in members:
        scene.world.play(Fault.agent_down(member))

    error = await run

    assert isinstance(error, DagStalledError)
    assert "no cluster agent has shown DAG 11 for" in str(error)
    assert all(member in str(error) for member in members)
    left = scene.report.remains
    assert left.unread
    assert left.stands.startswith("stage ")
    for member in members:
        scene.world.play(Fault.agent_up(member))

    scene.hurry()
    # The DAG may not have named its target yet: its own successor waits until it does.
    again = QUICK.model_copy(update={"lost_answer_seconds": 60})
    healed = await scene.scale_out(time_limits=again)

    assert healed.outcome == "verified"
    assert scene.posts() == 1
