"""Tests of batches that remove, replace and use: what is asked, begun once, and done again."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from obscale.agent.models import joined_address
from obscale.batch.report import BatchIncompleteError
from obscale.batch.schedule import RowState
from obscale.errors import RejectedError, SpecError
from obscale.events import BatchEnded, HalfBegun
from obscale.flows.batch import batch
from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, SecretName
from obscale.request.policies import BatchPolicies
from obscale.request.removal import LeavingNode, RemovalSpec
from obscale.request.replacement import ReplacedNode, ReplacementSpec
from obscale.request.time_limits import TimeLimits
from obscale.request.use import TenantUnits, UseSpec
from obscale.sandbox import Fault, WorldConfig
from obscale.sandbox.config import (
    AgentConfig,
    ClusterConfig,
    TenantConfig,
    UnitConfig,
    ZoneConfig,
)
from obscale.tasks.removal import ConfirmForm
from obscale.tasks.runtime.journal import artifact_key, listening

pytestmark = pytest.mark.asyncio(loop_scope="session")
SCALE_IN = "/api/v1/ob/scale_in"
REPLICAS = "/api/v1/tenant/app/replicas"
QUICK = TimeLimits(
    deadline_seconds=240,
    silence_seconds=60,
    verify_seconds=120,
    steady_seconds=0,
    poll_seconds=0.2,
    lost_answer_seconds=10,
)


def world_of(clusters=2, servers=2, spares=0):
    """Describe clusters of three zones, a tenant with one unit in each, and spares."""
    app = TenantConfig(name="app", unit=UnitConfig(name="u_app"))
    return WorldConfig(
        clusters=tuple(
            ClusterConfig(
                name=f"c{number}",
                id=number,
                zones=tuple(
                    ZoneConfig(name=name, agents=tuple(AgentConfig() for _ in range(servers)))
                    for name in ("zone1", "zone2", "zone3")
                ),
                tenants=(app,),
            )
            for number in range(1, clusters + 1)
        ),
        spares=tuple(AgentConfig() for _ in range(spares)),
    )


def cluster_of(known):
    """Name a cluster by the first agent of each zone."""
    first = {agent["zone"]: agent for agent in reversed(known["agents"])}
    return ClusterSpec(
        endpoints=tuple(joined_address(a["ip"], a["port"]) for a in first.values()),
        password=SecretName(env="OBSCALE_TEST_ROOT"),
        name=known["name"],
        id=known["id"],
    )


def last_of(known, zone):
    """Give the agent of the last server of a zone."""
    agent = [each for each in known["agents"] if each["zone"] == zone][-1]
    return AgentInfoSpec(ip=agent["ip"], port=agent["port"])


def removals_of(scene):
    """Take the second server of zone2 out of each cluster."""
    return [
        RemovalSpec(
            cluster=cluster_of(known),
            remove=(LeavingNode(agentInfo=last_of(known, "zone2"), zone="zone2"),),
            profile="lab",
        )
        for known in scene.ready["clusters"]
    ]


async def run(asked: Any, **changes: Any) -> Any:
    """Run the batch; its report, also where it is incomplete."""
    reports = []

    def hear(event) -> None:
        if isinstance(event, BatchEnded):
            reports.append(event.report)

    with listening(hear), suppress(BatchIncompleteError):
        await batch(**({"clusters": asked, "time_limits": QUICK} | changes))
    return reports[-1]


TWO = BatchPolicies(max_removals=2)


async def test_nodes_leave_two_clusters_by_the_word_given_with_the_run(stage):
    """Each asked for once and proved gone; the page says how hosts are cleaned; again: nothing."""
    scene = await stage(world_of(), speed=60)
    asked = removals_of(scene)

    report = await run(asked, policies=TWO, confirm="Remove 2 nodes")
    again = await run(asked, policies=TWO, confirm="remove 2 nodes")

    assert report.summary == "2 of 2 removals verified", report.rows
    assert {row.submitted_how for row in report.rows} == {"posted"}
    assert all("admin stop" in " ".join(row.host_steps) for row in report.rows)
    assert report.clusters[0].zones_after == {"zone1": 2, "zone2": 1, "zone3": 2}
    assert {(row.state, row.why) for row in again.rows} == {(RowState.VERIFIED, "already gone")}
    assert scene.posts(SCALE_IN) == 2
    key = artifact_key("batch-report", report.key)
    async with get_client() as client:
        pages = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        )
    assert any("Hosts of nodes that have left (2)" in str(page.data) for page in pages)


async def test_an_empty_word_is_asked_for_with_what_preflight_found(stage, asked):
    """The run pauses once for the whole batch; another word ends it, and nothing was touched."""
    scene = await stage(world_of(), speed=60)

    running = asyncio.create_task(
        batch(clusters=removals_of(scene), policies=TWO, time_limits=QUICK)
    )
    paused, schema, page = await asked(running)
    async with get_client() as client:
        form = ConfirmForm(confirm="yes", name="Li Wei", reason="CHG-7")
        await client.resume_flow_run(paused.id, run_input=form.model_dump(mode="json"))
    with pytest.raises(RejectedError, match="Li Wei typed something else than remove 2 nodes"):
        await running

    assert "confirm" in schema["properties"]
    assert "remove 2 nodes from c1, c2?" in str(page)
    assert scene.posts(SCALE_IN) == 0


@pytest.mark.e2e
async def test_the_right_word_lets_a_paused_batch_begin(stage, asked):
    """As answered in Prefect's page."""
    scene = await stage(world_of(1), speed=60)

    running = asyncio.create_task(
        batch(clusters=removals_of(scene), policies=TWO, time_limits=QUICK)
    )
    paused, _, _ = await asked(running)
    async with get_client() as client:
        form = ConfirmForm(confirm="remove 1 node", name="Li Wei", reason="CHG-7")
        await client.resume_flow_run(paused.id, run_input=form.model_dump(mode="json"))
    report = await running

    assert report.is_verified
    assert scene.posts(SCALE_IN) == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"policies": BatchPolicies(), "confirm": "remove 2 nodes"}, "max_removals: missing"),
        ({"policies": BatchPolicies(max_removals=1)}, "too many are 127.0"),
        ({"policies": TWO, "confirm": "remove 3 nodes"}, "is not what this batch does"),
    ],
    ids=["no-limit", "too-many", "another-word"],
)
async def test_what_is_asked_wrongly_is_refused_before_anybody_is_asked(stage, changes, told):
    """One error, and no question reached an agent."""
    scene = await stage(world_of(), speed=60)

    with pytest.raises(SpecError, match=told):
        await batch(clusters=removals_of(scene), time_limits=QUICK, **changes)

    assert scene.world.requests == []


def replacements_of(scene):
    """Replace the founder of zone2 of each cluster by a spare."""
    spares = iter(scene.ready["spares"])
    return [
        ReplacementSpec(
            cluster=cluster_of(known),
            replace=(
                ReplacedNode(
                    dead=LeavingNode(agentInfo=last_of(known, "zone2"), zone="zone2"),
                    by=NodeSpec(
                        agentInfo=AgentInfoSpec(ip=spare["ip"], port=spare["port"]),
                        zone="zone2",
                        obConfigs=scene.sample,
                    ),
                ),
            ),
            profile="lab",
        )
        for known, spare in zip(scene.ready["clusters"], spares, strict=False)
    ]


def kill(scene):
    """Let the observers that are to be replaced die."""
    for known in scene.ready["clusters"]:
        where = last_of(known, "zone2")
        scene.world.play(Fault.observer_down(joined_address(where.ip, where.port)))


async def test_dead_nodes_of_two_clusters_are_replaced_addition_first(stage):
    """A host that carried several: one addition and one removal each; again: nothing."""
    scene = await stage(world_of(servers=1, spares=2), speed=60)
    kill(scene)
    asked = replacements_of(scene)

    report = await run(asked, policies=TWO, confirm="replace 2 nodes")
    again = await run(asked, policies=TWO, confirm="replace 2 nodes")

    assert report.summary == "2 of 2 replacements verified", report.rows
    assert {row.kind for row in report.rows} == {"replace"}
    for cluster in report.clusters:
        assert cluster.zones_before == cluster.zones_after == {"zone1": 1, "zone2": 1, "zone3": 1}
    assert {(row.state, row.why) for row in again.rows} == {
        (RowState.VERIFIED, "already replaced")
    }, again.rows
    assert (scene.posts(), scene.posts(SCALE_IN)) == (2, 2)


@pytest.mark.e2e
async def test_what_stays_half_replaced_is_told_and_done_by_the_next_run(stage):
    """Another one fails between: a healthy node more, said so; the next run does the rest alone."""
    scene = await stage(world_of(1, servers=1, spares=1), speed=60)
    kill(scene)
    asked = replacements_of(scene)
    third = last_of(scene.ready["clusters"][0], "zone3")
    other = joined_address(third.ip, third.port)

    def fail_between(event) -> None:
        if isinstance(event, HalfBegun) and event.half == "remove":
            scene.world.play(Fault.observer_down(other))

    with listening(fail_between):
        report = await run(asked, policies=TWO, confirm="replace 1 node")
    half = report.rows[0]
    scene.world.play(Fault.observer_up(other))
    again = await run(asked, policies=TWO, confirm="replace 1 node")

    assert (half.state, half.error_kind) == (RowState.FAILED, "half-replaced")
    assert "a healthy node more than before" in half.why
    assert report.clusters[0].zones_after["zone2"] == 2
    assert again.is_verified, again.rows
    assert again.clusters[0].zones_after["zone2"] == 1
    assert (scene.posts(), scene.posts(SCALE_IN)) == (1, 1)


def uses_of(scene):
    """Give the tenant of each cluster two units a zone."""
    return [
        UseSpec(
            cluster=cluster_of(known),
            use=(TenantUnits(tenant="app", unit_num=2),),
            profile="lab",
        )
        for known in scene.ready["clusters"]
    ]


async def test_tenants_of_two_clusters_get_more_units(stage):
    """One PATCH each, without a word to type; again: nothing."""
    scene = await stage(world_of(), speed=60)
    asked = uses_of(scene)

    report = await run(asked)
    again = await run(asked)

    assert report.summary == "2 of 2 tenants verified", report.rows
    assert {row.level for row in report.rows} == {"BALANCED"}
    assert {row.why for row in again.rows} == {"units already 2"}
    assert sum(r.method == "PATCH" and r.target == REPLICAS for r in scene.world.requests) == 2
