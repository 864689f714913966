"""Tests of a run's final state and tags."""

import asyncio
from contextlib import nullcontext
from uuid import uuid4

import pytest
from prefect import get_client, tags
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ParameterTypeError
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry

from obscale.batch.report import BatchIncompleteError
from obscale.errors import DagFailedError, ObscaleError, PreflightError
from obscale.flows.plan import plan
from obscale.flows.scale_out import scale_out
from obscale.sandbox import Fault
from obscale.tasks.runtime.run_state import (
    MOST_ATTEMPTS,
    RERUN_TAG,
    STATE_NAMES,
    check_attempts,
    state_name,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def newest():
    """The flow run that was started last."""
    async with get_client() as client:
        [run] = await client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
        return run


def kinds(error=ObscaleError):
    """Kinds of all errors below one."""
    return {error.kind}.union(*(kinds(each) for each in error.__subclasses__()))


async def test_every_kind_of_error_has_a_name_or_stays_failed():
    """No error that says what happened is called merely Failed, and no name is for nothing."""
    assert BatchIncompleteError.kind in kinds()
    assert set(STATE_NAMES) == kinds() - {"error", "agent"}
    assert state_name(ValueError("a bug")) is None


async def test_a_blocked_run_is_called_blocked_and_still_raises(stage, refused):
    """The name is kept by the server, type and message are Failed's, the error reaches callers."""
    scene = await stage()

    error = await refused(scene.scale_out(obConfigs={**scene.sample, "memory_limit": "80G"}))

    assert isinstance(error, PreflightError)
    run = await newest()
    assert (run.state_type, run.state_name) == (StateType.FAILED, "Blocked")
    assert "mem-fits-total" in run.state.message


@pytest.mark.parametrize(
    ("policy", "name"), [("hold", "Held"), ("roll-back", "RolledBack")], ids=["held", "rolled back"]
)
async def test_a_failed_dag_is_called_by_what_was_done_about_it(stage, refused, policy, name):
    """Held where it is left to a person, RolledBack where it was undone."""
    scene = await stage()
    scene.world.play(Fault.observer_dies())

    await refused(scene.scale_out(on_failure=policy))

    assert (await newest()).state_name == name


async def test_the_caller_in_this_process_sees_the_name_too(stage):
    """Asked for its state instead of its result, the flow gives the named one with its error."""
    scene = await stage()

    state = await scene.scale_out(
        obConfigs={**scene.sample, "memory_limit": "80G"}, return_state=True
    )

    assert state.name == "Blocked"
    assert isinstance(await state.aresult(raise_on_failure=False), PreflightError)


async def test_a_held_run_can_be_tried_again_through_the_api(stage, refused):
    """A named state is as good as Failed: scheduled again it runs, and is named again."""
    scene = await stage()
    scene.world.play(Fault.fail_stage(5))
    deployment = await scale_out.ato_deployment("endings")
    async with get_client() as client:
        run = await client.create_flow_run_from_deployment(
            await deployment.aapply(), parameters=scene.asked()
        )
    first = await refused(run_flow(scale_out, flow_run=run, parameters=run.parameters))

    async with get_client() as client:
        answer = await client.set_flow_run_state(run.id, AwaitingRetry())
        again = await client.read_flow_run(run.id)
    second = await refused(run_flow(scale_out, flow_run=again, parameters=again.parameters))

    assert isinstance(first, DagFailedError)
    assert answer.status.value == "ACCEPT"
    assert str(second) == str(first)
    ended = await newest()
    assert (ended.id, ended.state_name, ended.run_count) == (run.id, "Held", 2)
    assert scene.posts() == 1


async def test_a_run_that_was_cut_off_keeps_prefects_own_name(stage):
    """What Prefect itself says of a cancelled process is not renamed."""
    scene = await stage(speed=2)
    run = asyncio.create_task(scene.scale_out())
    await scene.dag_created()

    run.cancel()
    await asyncio.gather(run, return_exceptions=True)

    ended = await newest()
    assert ended.state_type in {StateType.CRASHED, StateType.CANCELLED}
    assert ended.state_name == ended.state_type.value.capitalize()


async def test_a_run_is_tagged_by_cluster_zone_and_target_beside_the_users_tags(stage):
    """The run is found by what it is about, and what the user wrote stays."""
    scene = await stage()

    with tags("change-4711"):
        report = await scene.scale_out()

    assert set((await newest()).tags) == {
        "change-4711",
        "cluster:obcluster",
        "zone:zone2",
        f"target:{report.target}",
    }


@pytest.mark.parametrize(
    ("tagged", "attempt", "ends"),
    [(True, MOST_ATTEMPTS, False), (True, MOST_ATTEMPTS + 1, True), (False, 99, False)],
)
async def test_a_run_is_not_run_again_by_itself_for_ever(tagged, attempt, ends):
    """After five attempts the circle of crash and rerun ends; runs run by hand are not counted."""
    run = FlowRun(flow_id=uuid4(), run_count=attempt, tags=[RERUN_TAG] if tagged else [])

    with pytest.raises(ObscaleError) if ends else nullcontext():
        check_attempts(run)


async def test_a_plan_that_finds_a_blocker_is_called_blocked(stage, refused):
    """The plan-only flow is named by the same words."""
    scene = await stage()
    asked = scene.asked(obConfigs={**scene.sample, "memory_limit": "80G"})
    del asked["time_limits"]

    await refused(plan(**asked))

    assert (await newest()).state_name == "Blocked"


async def reports_of(run):
    """Keys and pages of the reports a run has left."""
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(like_="report-")),
            flow_run_filter=FlowRunFilter(id={"any_": [run.id]}),
        )
    return {artifact.key: artifact.data for artifact in found}


async def test_a_run_of_bad_parameters_leaves_a_report_that_tells_all_of_them(stage, refused):
    """What our rules refuse, and what Prefect does; a password written there is not repeated."""
    scene = await stage()
    asked = scene.asked()
    password = "canary-in-a-parameter"
    cluster = asked["cluster"].model_dump(mode="json") | {"password": password}

    await refused(scene.scale_out(obConfigs={"memory_limit": "16X", "cpu_count": "many"}))
    by_rules = await newest()
    with pytest.raises(ParameterTypeError):
        await scale_out(**asked | {"cluster": cluster})
    by_prefect = await newest()

    assert by_rules.state_name == "BadRequest"
    [(key, page)] = (await reports_of(by_rules)).items()
    assert key == "report-refused-scale-out"
    assert page.startswith(f"# {by_rules.name}: refused\n")
    assert "memory_limit" in page
    assert "cpu_count" in page
    [page] = (await reports_of(by_prefect)).values()
    assert "a secret never stands here itself" in page
    assert password not in page
    assert not scene.world.requests


async def test_a_run_that_has_a_report_gets_no_other_one(stage, refused):
    """A connection that nobody has stored is found out when the run has begun."""
    scene = await stage()

    await refused(scene.scale_out(cluster="no-such"))

    run = await newest()
    assert run.state_name == "BadRequest"
    [key] = await reports_of(run)
    assert key.startswith("report-no-such-")
