"""Tests of a lost answer to the POST while nobody can be asked."""

import asyncio

import pytest

from obscale.errors import OutcomeUnknownError
from obscale.sandbox import Fault
from tests.flow.conftest import QUICK, is_adopted

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_lost_answer_nobody_can_settle_ends_by_name_and_the_next_run_takes_it_up(
    stage, refused
):
    """Every agent goes away with the answer; once they are back, the next run finds the DAG."""
    scene, limits = await stage(), QUICK.model_copy(update={"silence_seconds": 3})
    scene.world.play(Fault.drop_answer(to="scale_out"))
    run = asyncio.create_task(refused(scene.scale_out(time_limits=limits)))
    await scene.dag_created()
    scene.reach(4)
    members = [f"{a['ip']}:{a['port']}" for a in scene.ready["clusters"][0]["agents"]]
    for address in members:
        scene.world.play(Fault.agent_down(address))

    error = await run

    assert isinstance(error, OutcomeUnknownError)
    assert scene.report.outcome == "failed"
    assert scene.posts() == 1

    for address in members:
        scene.world.play(Fault.agent_up(address))
    scene.at(is_adopted, scene.hurry)
    report = await scene.scale_out()

    assert report.outcome == "verified"
    assert report.submitted_how == "adopted"
    assert scene.posts() == 1
    assert scene.world.count_dags("Cluster scale out") == 1
