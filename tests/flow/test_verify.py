"""Tests of verification in a run: its error, its report and its artifacts."""

import json

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from obscale.errors import VerifyError
from obscale.events import LevelReached
from obscale.tasks.runtime.journal import listening

pytestmark = pytest.mark.asyncio(loop_scope="session")


def lines(report):
    """Give the proofs of a report by id."""
    return {line.id: line for line in report.proofs}


def at_first_look(act):
    """Give a listener that acts on the world once, at the first look of the verification."""
    done = []

    def hear(event):
        if isinstance(event, LevelReached) and not done:
            done.append(event)
            act()

    return listening(hear)


async def test_a_parameter_that_is_set_back_fails_the_run(stage, refused):
    """What was as asked at the first look and is not at the second is told as set back."""
    scene = await stage()
    spare = scene.world.spares[0]

    def set_back():
        spare.observer.values["memory_limit"] = "12G"

    with at_first_look(set_back):
        error = await refused(scene.scale_out())

    assert isinstance(error, VerifyError)
    line = lines(scene.report)["pv-params-effective:memory_limit"]
    assert (line.answer, line.expected) == ("fail", "16G")
    assert line.found.startswith("12G")
    assert "set back" in line.found
    assert "looked at again" not in str(error), "what only had to hold is no reason"
    assert scene.report.outcome == "failed"


async def test_what_may_revert_at_a_restart_is_pinned_in_report_and_artifacts(stage):
    """The statement for this one server stands in the report, its page and that of the proofs."""
    scene = await stage()

    report = await scene.scale_out(obConfigs={**scene.sample, "cpu_count": "8"})

    statement = f"ALTER SYSTEM SET cpu_count='8' SERVER='{report.target.split(':')[0]}:2882';"
    assert report.outcome == "verified", "it is a recommendation"
    assert report.persist_statements == (statement,)
    assert json.loads(report.model_dump_json())["persist_statements"] == [statement]
    key = report.target.replace(".", "-").replace(":", "-")
    async with get_client() as client:
        shown = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(like_=key))
        )
    pages = {artifact.key.split("-")[0]: artifact.data for artifact in shown}
    assert statement in pages["report"]
    assert statement in pages["verification"].splitlines()
