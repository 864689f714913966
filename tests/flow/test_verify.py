"""Tests of verification: it believes the node, not the DAG."""

import json

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from obscale.errors import VerifyError
from obscale.events import LevelReached
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault, WorldConfig, default_config
from tasks.runtime.journal import listening
from tests.flow.conftest import QUICK

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOON_OVER = TimeLimits(
    deadline_seconds=120,
    silence_seconds=20,
    verify_seconds=4,
    steady_seconds=0.2,
    poll_seconds=0.1,
    lost_answer_seconds=1,
)
"""As quick as the other runs, and soon tired of waiting for what does not come."""


def world(**changes) -> WorldConfig:
    """The default world, changed where a test says so."""
    return WorldConfig.model_validate(default_config().model_dump() | changes)


def lines(report):
    """Give the proofs of a report by id."""
    return {line.id: line for line in report.proofs}


def at_first_look(act):
    """Give a listener that acts on the world once, when the climb has looked for the first time."""
    done = []

    def hear(event):
        if isinstance(event, LevelReached) and not done:
            done.append(event)
            act()

    return listening(hear)


async def test_a_whole_run_proves_everything_it_could_read(stage):
    """Every proof passes or does not apply; only what is informative by nature is info."""
    scene = await stage()

    report = await scene.scale_out()

    answers = {name: line.answer for name, line in lines(report).items()}
    loud = {name for name, answer in answers.items() if answer not in {"pass", "n-a"}}
    assert loud == {"pv-rebalance-observed"}, report.proofs
    for name in ("pv-capacity-cluster", "pv-disk-after", "pv-clock-after", "pv-no-collateral"):
        assert answers[name] == "pass", name
    assert "0 units" in lines(report)["pv-rebalance-observed"].found
    assert report.persist_statements == ()


async def test_a_dag_that_succeeds_without_a_serving_observer_fails_the_run(stage, refused):
    """SUCCEED at stage 9/9 is not believed: the run ends at JOINED, and names the missing start."""
    scene = await stage(world(service_start_delay_seconds=1e6))

    error = await refused(scene.scale_out(time_limits=SOON_OVER))

    assert isinstance(error, VerifyError)
    assert "reached JOINED, not CONFORMING" in str(error)
    assert "pv-service-started: not yet" in str(error)
    assert (scene.report.outcome, scene.report.level) == ("failed", "JOINED")
    assert [row.state for row in scene.report.stages] == ["SUCCEED"] * 9
    assert lines(scene.report)["pv-dag-forward-success"].answer == "pass"


async def test_answers_half_a_second_late_change_nothing_but_the_time(stage):
    """Every answer of every agent: read, judged and proved as at once, without a word more."""
    scene = await stage()
    scene.world.play(Fault.delay_answer(0.5, times=0))

    report = await scene.scale_out()

    assert report.level in {"CONFORMING", "BALANCED"}
    answers = {line.id: line.answer for line in report.proofs}
    assert answers["pv-clock-after"] == "pass"
    assert "unknown" not in answers.values()
    warned = [line for line in scene.lines if line.startswith("preflight.warn")]
    assert {text.split()[1].strip(":") for text in warned} == {"disk-same-mount", "zone-balance"}
    assert not [
        text for text in scene.lines if text.startswith(("preflight.unknown", "verify.unread"))
    ]


async def test_what_can_never_be_read_is_told_and_does_not_hold_a_node_back(stage):
    """A target that tells nothing of its machine any more; before, the run waited for its end."""
    scene = await stage()
    scene.world.play(Fault.panic(to="host-info", phase="verify", times=0))

    report = await scene.scale_out(time_limits=QUICK.model_copy(update={"unread_seconds": 1.0}))

    assert report.level in {"CONFORMING", "BALANCED"}
    line = next(line for line in report.proofs if line.id == "pv-disk-after")
    assert (line.answer, line.found.startswith("not read for ")) == ("info", True)
    told = [line for line in scene.lines if line.startswith("verify.unread")]
    assert len(told) == 1
    assert told[0].startswith("verify.unread proof=pv-disk-after found='not read for ")
    assert "read agent/host-info" in told[0]


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


async def test_a_peer_harmed_meanwhile_fails_the_run_and_is_named(stage, refused):
    """The new node conforms in itself, but another server is no longer as it was."""
    scene = await stage()
    harmed = scene.world.cluster().servers[2]

    def harm():
        harmed.observer.alive = False

    with at_first_look(harm):
        error = await refused(scene.scale_out(time_limits=SOON_OVER))

    assert isinstance(error, VerifyError)
    line = lines(scene.report)["pv-no-collateral"]
    assert f"{harmed.agent.ip}:2882 INACTIVE UNAVAILABLE" in line.found
    assert scene.report.level == "SERVING"


async def test_a_new_zone_is_proved_and_its_region_told(stage):
    """The zone is ACTIVE, which verifies; that it is in another region is told with the cure."""
    scene = await stage()

    report = await scene.scale_out(zone="zone4", allow_new_zone=True)

    assert report.outcome == "verified"
    assert lines(report)["pv-zone-active"].answer == "pass"
    region = lines(report)["pv-zone-active:region"]
    assert (region.answer, region.expected) == ("info", "sys_region")
    assert region.found.startswith("default_region")
    assert "ALTER SYSTEM ALTER ZONE zone4 SET REGION 'sys_region';" in region.found
    assert "no tenant has units in zone4" in lines(report)["pv-rebalance-observed"].found


async def test_units_that_arrive_lift_the_node_to_balanced(stage):
    """A pool with two units a zone places one on the new server: BALANCED, still verified."""
    config = default_config().model_dump()
    config["clusters"][0]["tenants"][0]["unit_num"] = 2
    scene = await stage(WorldConfig.model_validate(config))

    report = await scene.scale_out()

    assert (report.outcome, report.level) == ("verified", "BALANCED")
    assert lines(report)["pv-rebalance-observed"].found.startswith("1 unit:")


async def test_what_may_revert_at_a_restart_is_pinned_in_report_and_artifacts(stage):
    """The statement for this one server stands in the report, its page and the table artifact."""
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
    assert statement in [row["expected"] for row in json.loads(pages["verification"])]
