"""Tests of runs whose every line is only the name of its event: they end as with all words."""

import asyncio

import pytest

from obscale.errors import DagFailedError
from obscale.events import BatchEnded, DagMoved
from obscale.sandbox import Fault
from obscale.tasks.runtime.journal import listening
from tests.flow.test_batch import fleet  # noqa: F401 - a fixture

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("wordless")]


async def test_a_node_is_added_and_proved_without_words(stage):
    """All that the report says of a run that goes well, but for its timeline."""
    scene = await stage()

    report = await scene.scale_out()

    assert (report.outcome, report.submitted_how, report.level) == (
        "verified",
        "posted",
        "CONFORMING",
    )
    assert report.before
    assert len(report.after) == len(report.before) + 1
    assert {moment.text for moment in report.timeline} >= {"Judged", "Posting", "DagMoved"}
    assert scene.posts() == 1


async def test_a_failed_dag_is_diagnosed_and_retried_without_words(stage):
    """What has failed is named, and by policy put right."""
    scene = await stage()
    scene.world.play(Fault.observer_dies())

    report = await scene.scale_out(on_failure="retry")

    assert report.diagnosis.cause == "observer-died"
    assert report.outcome == "verified"


async def test_a_held_dag_is_held_without_words(stage, refused):
    """The error, and the report's place of the failure."""
    scene = await stage()
    scene.world.play(Fault.observer_dies())

    error = await refused(scene.scale_out())

    assert isinstance(error, DagFailedError)
    assert (scene.report.outcome, scene.report.dag_id) == ("failed", "11")
    assert scene.report.diagnosis.cause == "observer-died"


async def test_a_run_that_is_cut_off_says_what_it_leaves_without_words(stage):
    """A POST was sent, and its DAG goes on by itself."""
    scene = await stage(speed=6)
    run = asyncio.create_task(scene.scale_out())
    while not any(isinstance(event, DagMoved) for event in scene.events):
        assert not run.done()
        await asyncio.sleep(0.05)
    scene.crawl()

    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    remains = scene.report.remains
    assert (scene.report.outcome, remains.was_sent, remains.is_moving) == ("cancelled", True, True)
    assert remains.dag_id == "11"


async def test_a_batch_keeps_its_rows_without_words(fleet):  # noqa: F811
    """How each row came by its DAG, how far it came, and its cause, are in the batch's report."""
    fleet = await fleet(clusters=1, nodes=2)
    told = []

    with listening(told.append):
        report = await fleet.run()

    assert report.is_verified
    assert {(row.submitted_how, row.level) for row in report.rows} == {("posted", "CONFORMING")}
    assert all(row.dag_id for row in report.rows)
    assert isinstance(told[-1], BatchEnded)
