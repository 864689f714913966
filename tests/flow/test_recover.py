"""Tests of recovery in a run: it does what was decided, and nothing else."""

import asyncio
import json

import pytest
from prefect import get_client
from prefect.client.schemas.objects import StateType

from obscale.errors import DagFailedError, DagRolledBackError
from obscale.recovery.consequences import Remedy
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault, default_config

pytestmark = pytest.mark.asyncio(loop_scope="session")

TIME_LIMITS = TimeLimits(
    deadline_seconds=120,
    silence_seconds=20,
    verify_seconds=60,
    steady_seconds=0.2,
    poll_seconds=0.1,
    undo_seconds=60,
    retry_pause_seconds=0.1,
    ask_seconds=120,
)


def target_of(scene):
    """The simulated target of a scene."""
    spare = scene.ready["spares"][0]
    return scene.world.agent(f"{spare['ip']}:{spare['port']}")


def operated(scene):
    """What was posted to DAGs, in order: (agent asked, id of the DAG)."""
    return [
        (record.agent, record.target.rsplit("/", 1)[1])
        for record in scene.world.requests
        if record.method == "POST" and record.target.startswith("/api/v1/task/dag/")
    ]


def main_dag(scene):
    """The cluster's scale-out, as the simulated cluster holds it."""
    return next(d for d in scene.world.clusters[0].dags if d.name == "Cluster scale out")


def is_free(scene):
    """Target SINGLE and unlocked, lock free, three servers."""
    cluster, target = scene.world.clusters[0], target_of(scene)
    return (
        (target.identity, target.under_maintenance) == ("SINGLE", False)
        and not any(dag.is_unfinished for dag in cluster.dags)
        and len(cluster.servers) == 3
    )


async def test_a_slow_observer_is_retried_to_verified_with_one_dag(stage):
    """Policy retry cures a slow start: one POST, one DAG, one RETRY at least, verified."""
    scene = await stage(speed=60)
    scene.world.play(Fault.slow_observer(seconds=150))

    report = await scene.scale_out(on_failure="retry", time_limits=TIME_LIMITS)

    assert report.outcome == "verified"
    assert report.diagnosis.cause == "slow-observer"
    assert scene.posts() == 1
    assert scene.world.count_dags("Cluster scale out") == 1
    assert {dag for _, dag in operated(scene)} == {"11"}
    assert scene.world.undrawn() == []


async def test_retry_gives_up_after_three_and_leaves_the_dag_to_a_person(stage, refused):
    """A stage that fails every time is retried three times, then held with its diagnosis."""
    scene = await stage(speed=60)
    scene.world.play(Fault.fail_stage(7, times=9))

    error = await refused(scene.scale_out(on_failure="retry", time_limits=TIME_LIMITS))

    assert isinstance(error, DagFailedError)
    assert "[add-server-timeout]" in str(error)
    assert len(operated(scene)) == 3
    assert main_dag(scene).state == "FAILED"
    assert any("RETRY was tried 3 times" in moment.text for moment in scene.report.timeline)


async def test_an_observer_that_dies_is_rolled_back_to_the_real_end(stage, refused):
    """Policy roll-back: target SINGLE and unlocked, lock free, three servers as before."""
    scene = await stage()
    scene.world.play(Fault.observer_dies())

    error = await refused(scene.scale_out(on_failure="roll-back", time_limits=TIME_LIMITS))

    assert isinstance(error, DagRolledBackError)
    assert "[observer-died]" in str(error)
    assert is_free(scene)
    assert scene.report.diagnosis.cause == "observer-died"
    assert [dag for _, dag in operated(scene)] == ["11"]


@pytest.mark.parametrize("policy", ["retry", "roll-back"])
async def test_after_dir_not_empty_no_policy_deletes_anything(stage, refused, policy):
    """Both operators would delete somebody's data: neither is sent, nothing is deleted."""
    config = default_config()
    spare = config.spares[0].model_copy(
        update={"dirs": {"/home/admin/oceanbase/store": ["somebody-s-data"]}}
    )
    scene = await stage(config.model_copy(update={"spares": (spare, *config.spares[1:])}))

    error = await refused(scene.scale_out(on_failure=policy, time_limits=TIME_LIMITS))

    assert isinstance(error, DagFailedError)
    assert "[directory-not-empty]" in str(error)
    assert "rm -rf of /home/admin/oceanbase/store" in str(error)
    assert operated(scene) == []
    assert target_of(scene).files.deleted == []
    assert target_of(scene).files.dirs["/home/admin/oceanbase/store"] == ["somebody-s-data"]


async def test_hold_leaves_the_dag_untouched_and_says_what_each_choice_does(stage, refused):
    """The default: nothing is operated; error, log and report carry diagnosis and consequences."""
    scene = await stage()
    scene.world.play(Fault.observer_dies())

    error = await refused(scene.scale_out())

    assert operated(scene) == []
    assert (main_dag(scene).state, main_dag(scene).operator) == ("FAILED", "RUN")
    assert "Diagnosis [observer-died]" in str(error)
    assert "destroys: the observer process" in str(error)
    assert f"obscale recover SPEC {main_dag(scene).generic_id()}" in str(error)
    report = scene.report
    assert report.diagnosis.recommended is Remedy.HAND_OVER
    assert {c.operator for c in report.diagnosis.choices} == set(Remedy)
    said = [moment.text for moment in report.timeline]
    assert any(text.startswith("diagnosis.made cause=observer-died") for text in said)


async def test_a_rollback_that_is_a_dead_end_is_refused_whatever_the_policy(stage, refused):
    """Roll-back while the observer starts would strand the target: held, and named."""
    scene = await stage(speed=60)
    scene.world.play(Fault.slow_observer(seconds=500))

    error = await refused(scene.scale_out(on_failure="roll-back", time_limits=TIME_LIMITS))

    assert "ROLLBACK is a dead end" in str(error)
    assert operated(scene) == []


@pytest.mark.parametrize(
    ("choice", "ends"), [("RETRY", "verified"), ("ROLLBACK", "failed"), ("HAND_OVER", "failed")]
)
async def test_a_paused_run_is_resumed_through_the_api(stage, asked, choice, ends):
    """The form offers exactly the safe choices; the answer is carried out, and nothing else."""
    scene = await stage()
    scene.world.play(Fault.observer_dies())
    run = asyncio.create_task(scene.scale_out(on_failure="ask", time_limits=TIME_LIMITS))
    paused, schema, page = await asked(run)

    async with get_client() as client:
        await client.resume_flow_run(
            paused.id, run_input={"choice": choice, "name": "Ana", "reason": "CHG-7"}
        )
    ending = (await asyncio.gather(run, return_exceptions=True))[0]

    assert set(schema["properties"]["choice"]["enum"]) == {"RETRY", "ROLLBACK", "HAND_OVER"}
    assert set(schema["required"]) == {"choice", "name", "reason"}
    assert "the observer died at its start" in page
    assert scene.report.outcome == ends
    [decided] = scene.report.decisions
    assert (decided.about, decided.choice) == ("recovery", choice)
    assert (decided.who, decided.why) == ("Ana", "CHG-7")
    assert len(operated(scene)) == (0 if choice == "HAND_OVER" else 1)
    match choice:
        case "RETRY":
            assert ending.outcome == "verified"
        case "ROLLBACK":
            assert isinstance(ending, DagRolledBackError)
            assert is_free(scene)
        case _:
            assert isinstance(ending, DagFailedError)
            assert main_dag(scene).state == "FAILED"


async def test_the_form_says_first_what_each_choice_deletes(stage, asked):
    """One list item for each choice, of what the real form shows; no table that is cut off."""
    scene = await stage()
    scene.world.play(Fault.observer_dies())
    run = asyncio.create_task(scene.scale_out(on_failure="ask", time_limits=TIME_LIMITS))

    paused, _, page = await asked(run)
    async with get_client() as client:
        await client.resume_flow_run(
            paused.id, run_input={"choice": "HAND_OVER", "name": "Ana", "reason": "look first"}
        )
    await asyncio.gather(run, return_exceptions=True)

    items = json.loads(page).partition("### What can be done")[2].strip().splitlines()
    by_name = {name: line for line in items for name in Remedy if f"**{name}**" in line}
    assert len(items) == len(by_name) == 3
    assert all(line.startswith("- **deletes") for line in items)
    assert "rm -rf of" in by_name["ROLLBACK"].partition("**ROLLBACK**")[0]
    assert by_name["ROLLBACK"].endswith("(safe)")
    assert by_name["HAND_OVER"].startswith("- **deletes nothing**:")
    assert by_name["HAND_OVER"].endswith("(safe, **recommended**)")
    assert "| " not in page


async def test_a_recovery_without_name_or_reason_is_refused_and_the_run_stays_paused(stage, asked):
    """As for an approval: Prefect refuses half an answer, nothing is operated; the whole counts."""
    scene = await stage()
    scene.world.play(Fault.observer_dies())
    run = asyncio.create_task(scene.scale_out(on_failure="ask", time_limits=TIME_LIMITS))

    paused, _, _ = await asked(run)
    async with get_client() as client:
        for half in ({}, {"name": "Ana"}, {"name": "Ana", "reason": " "}, {"reason": "CHG-7"}):
            told = await client._client.post(
                f"/flow_runs/{paused.id}/resume", json={"run_input": {"choice": "RETRY"} | half}
            )
            assert told.json()["status"] == "REJECT"
        untouched = operated(scene)
        state = (await client.read_flow_run(paused.id)).state
        await client.resume_flow_run(
            paused.id, run_input={"choice": "HAND_OVER", "name": "Ana", "reason": "enough"}
        )
    await asyncio.gather(run, return_exceptions=True)

    assert untouched == []
    assert state.type is StateType.PAUSED
    assert scene.report.decisions[0].why == "enough"


async def test_the_form_offers_no_dead_end(stage, asked):
    """While the observer starts, ROLLBACK is no choice of the form."""
    scene = await stage(speed=60)
    scene.world.play(Fault.slow_observer(seconds=2000))
    run = asyncio.create_task(scene.scale_out(on_failure="ask", time_limits=TIME_LIMITS))

    paused, schema, page = await asked(run)

    async with get_client() as client:
        await client.resume_flow_run(
            paused.id, run_input={"choice": "HAND_OVER", "name": "Ana", "reason": "look first"}
        )
    await asyncio.gather(run, return_exceptions=True)
    assert schema["properties"]["choice"]["enum"] == ["RETRY", "HAND_OVER"]
    assert "dead end" in page
    assert operated(scene) == []


async def test_a_pause_nobody_answers_holds(stage, refused):
    """After its time the run fails as with hold; the DAG is untouched."""
    scene = await stage()
    scene.world.play(Fault.observer_dies())
    short = TIME_LIMITS.model_copy(update={"ask_seconds": 1})

    error = await refused(scene.scale_out(on_failure="ask", time_limits=short))

    assert isinstance(error, DagFailedError)
    assert operated(scene) == []
    assert any("recover.not_answered" in moment.text for moment in scene.report.timeline)
