"""Tests of approval and window: nothing is sent before a person and the clock agree."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from prefect import get_client
from prefect.client.schemas.objects import StateType

from obscale.errors import NotApprovedError, PreflightError, RejectedError
from obscale.request.policies import Window
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault

pytestmark = pytest.mark.asyncio(loop_scope="session")

HALF_A_MINUTE = 30
TIME_LIMITS = TimeLimits(
    steady_seconds=0.2, poll_seconds=0.1, verify_seconds=60, approval_seconds=120
)


def written(scene):
    """What was posted to any agent."""
    return [record.target for record in scene.world.requests if record.method == "POST"]


async def answer(run, **words):
    """Answer a paused run as the UI does."""
    async with get_client() as client:
        await client.resume_flow_run(run.id, run_input=words)


async def state_of(run):
    async with get_client() as client:
        return (await client.read_flow_run(run.id)).state


async def test_an_approved_run_goes_on_and_reports_who_approved_it_and_why(stage, asked):
    """The question shows plan and findings; name and reason stand in the report."""
    scene = await stage()
    run = asyncio.create_task(scene.scale_out(approval="ask", time_limits=TIME_LIMITS))

    paused, schema, page = await asked(run)
    posted_before = written(scene)
    await answer(paused, decision="approve", name="Ana Ruiz", reason="CHG-4711")
    report = await run

    assert posted_before == []
    assert set(schema["properties"]["decision"]["enum"]) == {"approve", "reject"}
    assert set(schema["required"]) == {"decision", "name", "reason"}
    for words in ("zone2: 1 → 2", "**ready with", "zone-balance", "**memory_limit** 16G"):
        assert words in page
    assert report.outcome == "verified"
    [decided] = report.decisions
    assert (decided.choice, decided.who, decided.why) == ("approve", "Ana Ruiz", "CHG-4711")
    assert any("by='Ana Ruiz' reason='CHG-4711'" in moment.text for moment in report.timeline)


async def test_whoever_approves_accepts_what_is_unknown(stage, asked):
    """The question names the rules that could block and could not be judged; a yes is enough."""
    scene = await stage()
    scene.world.play(Fault.panic(to="host-info"))
    run = asyncio.create_task(scene.scale_out(approval="ask", time_limits=TIME_LIMITS))

    paused, _, page = await asked(run)
    await answer(paused, decision="approve", name="Ana", reason="seen on the host")
    report = await run

    assert "Could block, and could not be judged: mem-fits-total, " in page
    assert "Approving accepts that." in page
    assert report.outcome == "verified"


async def test_a_rejected_run_touches_nothing_and_says_who_and_why(stage, asked):
    """No POST, a state called Rejected, an error with the person's own words."""
    scene = await stage()
    run = asyncio.create_task(scene.scale_out(approval="ask", time_limits=TIME_LIMITS))

    paused, _, _ = await asked(run)
    await answer(paused, decision="reject", name="Ana", reason="month-end closing")
    [error] = await asyncio.gather(run, return_exceptions=True)

    assert isinstance(error, RejectedError)
    assert "Ana rejected" in str(error)
    assert "month-end closing" in str(error)
    assert written(scene) == []
    assert (await state_of(paused)).name == "Rejected"
    assert scene.report.decisions[0].choice == "reject"


async def test_an_answer_without_a_name_is_refused_and_the_run_stays_paused(stage, asked):
    """Prefect itself refuses half an answer; the next, whole one counts."""
    scene = await stage()
    run = asyncio.create_task(scene.scale_out(approval="ask", time_limits=TIME_LIMITS))

    paused, _, _ = await asked(run)
    for half in ({"decision": "approve"}, {"decision": "approve", "name": " ", "reason": "x"}):
        async with get_client() as client:
            told = await client._client.post(
                f"/flow_runs/{paused.id}/resume", json={"run_input": half}
            )
        assert told.json()["status"] == "REJECT"
    assert (await state_of(paused)).type is StateType.PAUSED
    await answer(paused, decision="reject", name="Ana", reason="enough")

    assert isinstance((await asyncio.gather(run, return_exceptions=True))[0], RejectedError)


async def test_a_run_nobody_approves_ends_untouched(stage, refused):
    """After its time it ends as NotApproved; nothing was posted."""
    scene = await stage()
    short = TIME_LIMITS.model_copy(update={"approval_seconds": 1})

    error = await refused(scene.scale_out(approval="ask", time_limits=short))

    assert isinstance(error, NotApprovedError)
    assert written(scene) == []


async def test_what_is_blocked_is_not_asked_about(stage, refused):
    """Preflight's no needs no second opinion."""
    scene = await stage()

    error = await refused(
        scene.scale_out(approval="ask", obConfigs={**scene.sample, "memory_limit": "80G"})
    )

    assert isinstance(error, PreflightError)
    assert not [event for event in scene.events if event.step == "approval"]


async def test_a_node_that_is_there_already_is_verified_without_asking(stage):
    """Running it again asks nobody, since nothing would be submitted."""
    scene = await stage()
    await scene.scale_out()

    report = await scene.scale_out(approval="ask")

    assert report.outcome == "verified"
    assert any("approval.not_needed" in moment.text for moment in report.timeline)


@pytest.mark.e2e
async def test_nothing_is_submitted_before_the_window_opens(stage):
    """The run says until when it waits, and posts after that moment."""
    scene = await stage()
    now = datetime.now(UTC)
    # Windows open at full minutes; preflight has to be over by then.
    begins = now + timedelta(minutes=1 if now.second < HALF_A_MINUTE else 2)
    ends = begins + timedelta(hours=1)

    report = await scene.scale_out(window=Window(start=f"{begins:%H:%M}", end=f"{ends:%H:%M}"))

    assert report.outcome == "verified"
    waited = next(m for m in report.timeline if m.text.startswith("submit.waiting_for_window"))
    posted = next(m for m in report.timeline if m.text.startswith("submit.posting"))
    opens = begins.replace(second=0, microsecond=0)
    assert f"until={opens:%Y-%m-%dT%H:%M}Z" in waited.text
    assert waited.at < opens <= posted.at


async def test_inside_its_window_a_run_does_not_wait(stage):
    """A window that is open changes nothing."""
    scene = await stage()
    now = datetime.now(UTC)
    hours = [f"{now + timedelta(hours=by):%H:00}" for by in (-1, 2)]

    report = await scene.scale_out(window=Window(start=hours[0], end=hours[1]))

    assert report.outcome == "verified"
    assert not any("waiting_for_window" in moment.text for moment in report.timeline)
