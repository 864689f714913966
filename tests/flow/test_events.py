"""Tests of the events: each important change is announced once."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from prefect import get_client
from prefect.client.schemas.sorting import FlowRunSort

from obscale.events import Line
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault
from obscale.tasks.runtime import events
from obscale.tasks.runtime.events import PREFIX, Heard, signals_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOOKS = 300


async def events_of(scene, last):
    """Events the newest run has sent, oldest first, once the last of them is recorded."""
    async with get_client() as client:
        [run] = await client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
        wanted = {
            "filter": {
                "event": {"prefix": [PREFIX]},
                "occurred": {"since": (datetime.now(UTC) - timedelta(hours=1)).isoformat()},
                "any_resource": {"id": [f"prefect.flow-run.{run.id}"]},
                "order": "ASC",
            },
            "limit": 50,
        }
        for _ in range(LOOKS):
            answer = await client._client.post("/events/filter", json=wanted)
            found = answer.raise_for_status().json()["events"]
            if any(event["event"] == PREFIX + last for event in found):
                return found
            await asyncio.sleep(0.1)
    raise AssertionError(f"no {last} among {[e['event'] for e in found]}")


def names(found):
    """Names without their prefix, in order, each run of equal ones once."""
    told = [event["event"].removeprefix(PREFIX) for event in found]
    return [name for at, name in enumerate(told) if at == 0 or told[at - 1] != name]


async def test_a_run_that_goes_well_announces_its_way(stage):
    """Planned, submitted, each stage once, joined, verified; about the cluster and its target."""
    scene = await stage()

    report = await scene.scale_out()

    found = await events_of(scene, "verified")
    assert names(found) == ["planned", "submitted", "stage-changed", "joined", "verified"]
    stages = [e["payload"]["stage"] for e in found if e["event"].endswith("stage-changed")]
    assert stages == sorted(set(stages))
    assert stages[-1] == len(report.stages)
    for event in found:
        assert event["resource"]["prefect.resource.id"] == "obscale.cluster.obcluster"
        roles = {
            each["prefect.resource.role"]: each["prefect.resource.id"] for each in event["related"]
        }
        assert roles["target"] == f"obscale.agent.{report.target}"
        assert event["payload"]["zone"] == "zone2"
    assert found[-1]["payload"]["level"] == "CONFORMING"
    assert found[1]["payload"] | {"dag": report.dag_id, "how": "posted"} == found[1]["payload"]


async def test_a_blocked_run_announces_the_rules_that_block(stage, refused):
    """One event names the blocking rules; nothing is called planned."""
    scene = await stage()

    await refused(scene.scale_out(obConfigs={**scene.sample, "memory_limit": "80G"}))

    [event] = await events_of(scene, "blocked")
    assert event["payload"]["blockers"] == ["mem-fits-total", "mem-available"]


async def test_a_held_dag_is_announced_with_cause_and_remedy(stage, refused):
    """Whoever is called at night gets cause, remedy, stage and DAG without opening anything."""
    scene = await stage()
    scene.world.play(Fault.observer_dies())

    await refused(scene.scale_out())

    found = await events_of(scene, "held")
    assert names(found) == ["planned", "submitted", "stage-changed", "held"]
    told = found[-1]["payload"]
    assert (told["cause"], told["error_kind"]) == ("observer-died", "dag-failed")
    assert (told["remedy"], told["dag"]) == ("HAND_OVER", scene.report.dag_id)


@pytest.mark.parametrize(
    ("policy", "remedy", "last"),
    [("retry", "RETRY", "verified"), ("roll-back", "ROLLBACK", "failed")],
)
async def test_a_recovery_is_announced_with_its_remedy(stage, policy, remedy, last):
    """A DAG that failed and was put right is announced as recovered, once."""
    scene = await stage()
    scene.world.play(Fault.observer_dies())
    time_limits = TimeLimits(
        steady_seconds=0.2, poll_seconds=0.1, retry_pause_seconds=0.1, undo_seconds=60
    )

    await asyncio.gather(
        scene.scale_out(on_failure=policy, time_limits=time_limits), return_exceptions=True
    )

    found = await events_of(scene, last)
    recovered = [e["payload"]["remedy"] for e in found if e["event"] == f"{PREFIX}recovered"]
    assert recovered == [remedy]


async def test_a_run_whose_events_nobody_takes_goes_on_and_says_so_once(stage, monkeypatch, caplog):
    """Without any way to send events the node joins all the same; the log says it in one line."""
    scene = await stage()
    monkeypatch.setattr(events, "emit_event", lambda *_args, **_more: None)

    report = await scene.scale_out()

    assert report.outcome == "verified"
    said = [r.getMessage() for r in caplog.records if "event.not_sent" in r.getMessage()]
    assert len(said) == 1
    assert "event=planned" in said[0]


async def test_a_line_that_says_nothing_new_is_not_announced():
    """Most log lines are nothing to Prefect's events."""
    heard = Heard()

    assert signals_of(heard, Line(step="poll", words="poll.no_answer")) == (heard, ())
