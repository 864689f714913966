"""Tests of the flow `remove`: the undo of a growth, its report, and what it refuses."""

import asyncio

import pytest
from prefect import get_client

from obscale.errors import RejectedError, SpecError
from obscale.flows.remove import remove
from obscale.sandbox import Fault
from obscale.tasks.removal import ConfirmForm
from obscale.tasks.runtime.journal import listening

pytestmark = pytest.mark.asyncio(loop_scope="session")
SCALE_IN = "/api/v1/ob/scale_in"


def removal_of(scene, **changes):
    """Give the parameters that take back the documented scale-out."""
    grown = scene.asked()
    agent = grown["agentInfo"]
    kept = {name: grown[name] for name in ("cluster", "zone", "agentInfo", "time_limits")}
    return kept | {"confirm": agent.ip, "profile": "lab"} | changes


def state_of(world):
    """Give what of a cluster a growth and its undo must leave as it was."""
    cluster = world.clusters[0]
    servers = sorted(
        (server.zone, server.agent.address, server.observer.alive, str(server.observer.values))
        for server in cluster.servers
    )
    units = sorted((unit.pool.name, unit.server.agent.address) for unit in cluster.units)
    agents = sorted((agent.address, agent.identity) for agent in cluster.agents)
    return servers, units, agents, [zone.name for zone in cluster.zones], cluster.lock_holder


async def test_a_growth_is_taken_back_and_the_cluster_is_as_before(stage):
    """Grown, CONFORMING, removed by the command the report names: topology, units, parameters."""
    scene = await stage()
    before = state_of(scene.world)
    grown = await scene.scale_out()
    assert grown.outcome == "verified"
    command = f"{grown.target} --zone {grown.zone}"
    assert any(each.endswith(command) for each in grown.undo), grown.undo

    with listening(scene._hear):
        report = await remove(**removal_of(scene))

    assert (report.outcome, report.level, report.operation) == (
        "verified",
        "CONFORMING",
        "removal",
    )
    assert scene.posts(SCALE_IN) == 1
    assert state_of(scene.world) == before
    assert any("admin stop" in step for step in report.host_steps), report.host_steps
    assert {proof.id for proof in report.proofs} >= {"pl-server-gone", "pl-units", "pl-lock"}


async def test_something_else_typed_begins_nothing(stage):
    """The address given with the run must be that of what leaves."""
    scene = await stage()

    with pytest.raises(SpecError, match="is not what is to leave"):
        await remove(**removal_of(scene, confirm="10.9.9.9"))

    assert scene.posts(SCALE_IN) == 0


async def test_force_kill_wants_words_of_its_own(stage):
    """What confirms a removal does not cover it."""
    scene = await stage()

    with pytest.raises(SpecError, match="nobody says that this"):
        await remove(**removal_of(scene, force_kill=True))

    assert scene.posts(SCALE_IN) == 0


async def test_an_empty_confirmation_is_asked_for_with_the_findings(stage, asked):
    """The run pauses; another word ends it, and nothing was touched."""
    scene = await stage()
    await scene.scale_out()

    with listening(scene._hear):
        run = asyncio.create_task(remove(**removal_of(scene, confirm="")))
        paused, schema, page = await asked(run)
        async with get_client() as client:
            form = ConfirmForm(confirm="zone9", name="Li Wei", reason="CHG-7")
            await client.resume_flow_run(paused.id, run_input=form.model_dump(mode="json"))
        with pytest.raises(RejectedError):
            await run

    assert "confirm" in schema["properties"]
    assert "remove 127.0" in str(page)
    assert scene.posts(SCALE_IN) == 0
    assert scene.report.outcome == "failed"
    assert scene.report.operation == "removal"


async def test_a_lost_answer_in_a_run_leads_to_one_dag(stage):
    """The record is in Prefect before the request, so that a later run knows how things stood."""
    scene = await stage()
    await scene.scale_out()
    scene.world.play(Fault.drop_answer(to="scale_in"))

    with listening(scene._hear):
        first = await remove(**removal_of(scene))
        again = await remove(**removal_of(scene))

    assert (first.outcome, first.submitted_how) == ("verified", "adopted")
    assert (again.outcome, again.submitted_how) == ("verified", "already gone")
    assert again.host_steps == first.host_steps
    assert scene.posts(SCALE_IN) == 1
