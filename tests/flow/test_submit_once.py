"""Tests that a run that was cut off leaves one DAG, which the next run takes up."""

import asyncio

import pytest

from tests.flow.conftest import is_adopted

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_run_cut_off_after_its_post_is_taken_up_by_the_next(stage):
    """Cancelled in the middle of the poll; the next run adopts the DAG and ends verified."""
    scene = await stage(speed=15)
    run = asyncio.create_task(scene.scale_out())
    await scene.dag_created()
    scene.reach(4)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    scene.at(is_adopted, scene.hurry)

    report = await scene.scale_out()

    assert report.outcome == "verified"
    assert report.submitted_how == "adopted"
    assert scene.posts() == 1
