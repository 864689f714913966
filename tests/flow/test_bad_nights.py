"""Tests of bad situations: each ends in one clear answer with the next step."""

import asyncio
import re

import pytest
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.models import ScaleOutRequest
from obscale.cleaning import clean_by_hand
from obscale.errors import (
    DagStalledError,
    ForeignDagError,
    IdentityMismatchError,
    NotAuthorizedError,
    PreflightError,
    SpecError,
)
from obscale.events import DagMoved, Judged
from obscale.request.models import ClusterSpec, SecretName
from obscale.sandbox import Fault, WorldConfig, default_config
from tasks.runtime.journal import listening
from tests.flow.conftest import QUICK, SAMPLE, is_adopted, is_line

pytestmark = pytest.mark.asyncio(loop_scope="session")

NEW_PASSWORD = "changed#1"
LOOKS = 1200


def two_clusters(**of_the_second) -> WorldConfig:
    """Two clusters of one agent a zone, named alike unless a test says otherwise."""
    plain = default_config()
    second = plain.clusters[0].model_copy(update={"name": "other", "id": 2} | of_the_second)
    return plain.model_copy(update={"clusters": (plain.clusters[0], second)})


def entries(scene, *places):
    """A request's cluster, with agents of the world as `(cluster, agent)` numbers."""
    clusters = scene.ready["clusters"]
    agents = [clusters[cluster]["agents"][number] for cluster, number in places]
    return ClusterSpec(
        endpoints=tuple(f"{a['ip']}:{a['port']}" for a in agents),
        password=SecretName(env="OBSCALE_TEST_ROOT"),
        name=clusters[0]["name"],
        id=clusters[0]["id"],
    )


def address(scene, cluster, number):
    """`ip:port` of one agent."""
    agent = scene.ready["clusters"][cluster]["agents"][number]
    return f"{agent['ip']}:{agent['port']}"


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


async def test_a_lock_taken_between_preflight_and_post_is_named_too(stage, refused):
    """The look before the POST meets it: the DAG is named, nothing is posted over it."""
    scene = await stage()

    def take_the_lock(event):
        if isinstance(event, Judged):
            scene.world.play(Fault.tenant_task(4000))

    with listening(take_the_lock):
        error = await refused(scene.scale_out())

    assert isinstance(error, ForeignDagError)
    assert re.search(r"not submitted: DAG \d+ '[^']+' holds the lock", str(error))
    assert "have its owner retry or roll it back" in str(error)
    assert scene.posts() == 0


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


@pytest.mark.parametrize(
    ("of_the_second", "told"),
    [({}, "of other/2"), ({"name": "obcluster", "id": 1}, "do not list each other")],
    ids=["named apart", "named alike"],
)
async def test_entry_agents_of_two_clusters_are_refused_by_name(
    stage, refused, of_the_second, told
):
    """Refused before anything is sent, and told apart even where both clusters have one name."""
    scene = await stage(two_clusters(**of_the_second))

    error = await refused(scene.scale_out(cluster=entries(scene, (0, 0), (1, 0))))

    assert isinstance(error, SpecError)
    assert f"{address(scene, 0, 0)} of obcluster/1" in str(error)
    assert address(scene, 1, 0) in str(error)
    assert told in str(error)
    assert scene.posts() == 0


async def test_an_agent_of_another_cluster_that_answers_late_is_not_posted_to(stage, refused):
    """Silent during preflight, it answers for the others afterwards: refused, nothing is posted."""
    scene = await stage(two_clusters())
    scene.world.play(Fault.agent_down(address(scene, 1, 0)))

    def swap(event):
        if isinstance(event, Judged):
            scene.world.play(Fault.agent_down(address(scene, 0, 0)))
            scene.world.play(Fault.agent_up(address(scene, 1, 0)))

    with listening(swap):
        error = await refused(scene.scale_out(cluster=entries(scene, (0, 0), (1, 0))))

    assert isinstance(error, IdentityMismatchError)
    assert "is of cluster other/2, not of obcluster/1" in str(error)
    assert scene.posts() == 0


async def test_an_entry_agent_that_has_not_joined_anything_is_refused_by_name(stage, refused):
    """A spare among the endpoints is told from a member."""
    scene = await stage()
    cluster = entries(scene, (0, 0))
    mixed = cluster.model_copy(update={"endpoints": (*cluster.endpoints, spare(scene, 2))})

    error = await refused(scene.scale_out(cluster=mixed))

    assert isinstance(error, SpecError)
    assert f"{spare(scene, 2)} of none: it is 'SINGLE'" in str(error)


@pytest.mark.parametrize("shown_to", [0, 1], ids=["the first refuses", "the second refuses"])
async def test_a_password_one_agent_accepts_and_another_refuses_names_both(
    stage, refused, shown_to
):
    """root@sys has a new password that one agent knows: both agents and the reason are told."""
    scene = await stage()
    scene.world.play(Fault.change_root_password(NEW_PASSWORD))
    knows = scene.ready["clusters"][0]["agents"][shown_to]
    async with AgentClient(
        AgentAddress(knows["ip"], knows["port"]), root_password=SecretStr(NEW_PASSWORD)
    ) as agent:
        await agent.read_ob_info()

    error = await refused(scene.scale_out(cluster=entries(scene, (0, 0), (0, 1))))

    assert isinstance(error, NotAuthorizedError)
    assert error.agent == address(scene, 0, shown_to)
    assert f"{address(scene, 0, 1 - shown_to)} accepts the same password" in str(error)
    assert "name the password root@sys has now" in str(error)
    assert scene.posts() == 0


async def test_a_root_password_changed_in_the_middle_ends_by_name_and_heals_with_the_new_one(
    stage, refused, monkeypatch
):
    """Refused by all for longer than silence is borne: told so; the next run takes the DAG up."""
    scene = await stage(speed=6)
    short = QUICK.model_copy(update={"silence_seconds": 3})
    run = asyncio.create_task(refused(scene.scale_out(time_limits=short)))
    await until(lambda: any(isinstance(e, DagMoved) for e in scene.events))
    scene.crawl()
    scene.world.play(Fault.change_root_password(NEW_PASSWORD))
    for member in scene.ready["clusters"][0]["agents"]:
        async with AgentClient(
            AgentAddress(member["ip"], member["port"]), root_password=SecretStr(NEW_PASSWORD)
        ) as agent:
            await agent.read_ob_info()

    error = await run

    assert isinstance(error, NotAuthorizedError)
    assert "OceanBase password is incorrect" in str(error)
    assert "check the root@sys password" in str(error)
    said = [moment.text for moment in scene.report.timeline]
    assert any(text.startswith("poll.no_answer") for text in said), "the others were asked first"
    assert scene.report.remains.dag_id == "11"
    monkeypatch.setenv("OBSCALE_TEST_ROOT", NEW_PASSWORD)
    scene.hurry()

    healed = await scene.scale_out(time_limits=QUICK.model_copy(update={"lost_answer_seconds": 60}))

    assert healed.outcome == "verified"
    assert scene.posts() == 1


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


async def test_a_run_begun_right_after_one_that_died_waits_for_its_dag_to_be_named(stage):
    """At stage 1 nobody can tell whose the DAG is: preflight waits instead of blocking its own."""
    scene = await stage()
    scene.crawl()
    died = asyncio.create_task(scene.scale_out())
    await scene.dag_created()
    died.cancel()
    await asyncio.gather(died, return_exceptions=True)
    assert scene.world.clusters[0].dags[-1].stage == 1
    patient = QUICK.model_copy(update={"lost_answer_seconds": 60})
    scene.at(is_line("preflight.waiting"), lambda: scene.reach(4))
    scene.at(is_adopted, scene.hurry)

    report = await scene.scale_out(time_limits=patient)

    said = [moment.text for moment in report.timeline]
    assert any(text.startswith("preflight.waiting") for text in said)
    assert (report.outcome, report.submitted_how) == ("verified", "adopted")
    assert scene.posts() == 1
