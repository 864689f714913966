"""Tests of the flows that look after a scale-out from the UI: verify, watch and recover."""

import asyncio
import json
from urllib.parse import parse_qs, urlsplit

import pytest
from prefect import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort

from obscale.deployments.serve import offered
from obscale.errors import DagFailedError, SpecError, VerifyError
from obscale.flows.recover import recover
from obscale.flows.verify import verify
from obscale.flows.watch import watch
from obscale.request.models import AgentInfoSpec
from obscale.request.start_options import ObConfigs
from obscale.sandbox import Fault, default_config
from obscale.tasks.runtime.journal import listening
from tests.flow.conftest import QUICK
from tests.flow.test_recover import TIME_LIMITS, is_free, main_dag, operated, target_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def held(scene, refused, fault=None):
    """Let a run end Held; give its error."""
    scene.world.play(fault or Fault.observer_dies())
    return await refused(scene.scale_out())


def named(scene, **more):
    """Give the parameters of watch and recover for the world's only scale-out."""
    dag = main_dag(scene).generic_id()
    return {"cluster": scene.asked()["cluster"], "dag": dag, "time_limits": TIME_LIMITS} | more


async def heard(scene, run):
    """Await a run of one of these flows, and hear what it tells."""
    with listening(scene._hear):
        return await run


async def newest_run():
    """The run that began last."""
    async with get_client() as client:
        found = await client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
        return await client.read_flow_run(found[0].id)


async def pages_of(run):
    """The artifacts of a run, by the first word of their keys."""
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(exists_=True)),
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
        )
    return {each.key.split("-")[0]: each.data for each in found}


@pytest.fixture
async def offering():
    """Offer a flow on the test's server as the deployments do; gives its id."""
    async with get_client() as client:
        made = []

        async def offer(flow):
            # Applied where an event loop runs, it is a coroutine.
            made.append(await (await _value(offered(flow, "of a test"))).aapply())
            return made[-1]

        yield offer
        for deployment in made:
            await client.delete_deployment(deployment)


async def _value(found):
    return await found if asyncio.iscoroutine(found) else found


async def test_a_held_run_is_retried_from_its_form_to_verified_with_one_post(
    stage, refused, offering
):
    """Failed DAG, Held, the form its message links with retry filled in, verified: one POST."""
    scene = await stage()
    deployment = await offering(recover)
    await held(scene, refused)
    run = await newest_run()

    link = next(word for word in run.state.message.split() if "/run?" in word)
    [filled] = parse_qs(urlsplit(link).query)["parameters"]
    parameters = json.loads(filled)
    report = await heard(scene, recover(**parameters, time_limits=TIME_LIMITS))

    assert run.state.name == "Held"
    assert "In Prefect: recover/recover-served http" in run.state.message
    assert urlsplit(link).path.endswith(f"/deployments/deployment/{deployment}/run")
    assert parameters["decision"] == "retry"
    assert parameters["dag"] == main_dag(scene).generic_id()
    assert f"[recover/recover-served]({link})" in (await pages_of(run))["report"]
    assert report.outcome == "verified"
    assert report.obConfigs == scene.sample, "proved by what was asked, as the held run kept it"
    assert scene.posts() == 1
    assert len(operated(scene)) == 1
    again = await newest_run()
    assert again.name == f"recover DAG {parameters['dag']} of {report.cluster}"
    assert f"target:{report.target}" in again.tags


async def test_a_rollback_chosen_in_the_form_is_a_run_that_did_as_asked(stage, refused):
    """Completed, called RolledBack, with a report that says what stands now."""
    scene = await stage()
    await held(scene, refused)

    await heard(scene, recover(**named(scene, decision="roll-back")))
    run = await newest_run()

    assert is_free(scene)
    assert (run.state.type, run.state.name) == (StateType.COMPLETED, "RolledBack")
    assert "the cluster's lock is free" in run.state.message
    assert scene.report.outcome == "rolled-back"
    page = (await pages_of(run))["report"]
    assert "was rolled back, as decided" in page.split("##")[0]
    assert scene.posts() == 1


@pytest.mark.parametrize("acknowledged", [False, True])
async def test_a_dead_end_is_refused_whatever_the_form_says(stage, refused, acknowledged):
    """Rolled back while its observer starts, the target would be stranded: nothing is sent."""
    scene = await stage(speed=60)
    await held(scene, refused, Fault.slow_observer(seconds=2000))
    wish = named(scene, decision="roll-back", acknowledge_data_loss=acknowledged)

    error = await refused(heard(scene, recover(**wish)))

    assert isinstance(error, DagFailedError)
    assert "ROLLBACK is a dead end" in str(error)
    assert operated(scene) == []
    assert main_dag(scene).state == "FAILED"


async def test_somebodys_data_is_deleted_only_where_that_is_acknowledged(stage, refused):
    """Both ways would delete what was there before: the form's own field has to say yes."""
    config = default_config()
    spare = config.spares[0].model_copy(
        update={"dirs": {"/home/admin/oceanbase/store": ["somebody-s-data"]}}
    )
    scene = await stage(config.model_copy(update={"spares": (spare, *config.spares[1:])}))
    await refused(scene.scale_out())

    error = await refused(heard(scene, recover(**named(scene, decision="roll-back"))))
    untouched = (operated(scene), list(target_of(scene).files.deleted))
    wish = named(scene, decision="roll-back", acknowledge_data_loss=True)
    await heard(scene, recover(**wish))

    assert "may destroy data this scale-out did not make" in str(error)
    assert untouched == ([], [])
    assert is_free(scene)


async def test_ask_shows_what_each_way_deletes_and_carries_out_the_answer(stage, refused, asked):
    """A paused run; Resume with a choice, a name and a reason retries it to verified."""
    scene = await stage()
    await held(scene, refused)
    run = asyncio.create_task(heard(scene, recover(**named(scene, decision="ask"))))

    paused, schema, page = await asked(run)
    async with get_client() as client:
        await client.resume_flow_run(
            paused.id, run_input={"choice": "RETRY", "name": "Ana", "reason": "CHG-9"}
        )
    report = await run

    assert set(schema["properties"]["choice"]["enum"]) == {"RETRY", "ROLLBACK", "HAND_OVER"}
    assert "rm -rf of" in page
    assert report.outcome == "verified"
    assert [(d.who, d.why) for d in report.decisions] == [("Ana", "CHG-9")]
    assert scene.posts() == 1


async def test_who_answers_to_leave_it_finds_it_as_it_was(stage, refused, asked):
    """HAND_OVER: nothing is operated, and the run is Held."""
    scene = await stage()
    await held(scene, refused)
    run = asyncio.create_task(heard(scene, recover(**named(scene, decision="ask"))))

    paused, _, _ = await asked(run)
    async with get_client() as client:
        await client.resume_flow_run(
            paused.id, run_input={"choice": "HAND_OVER", "name": "Ana", "reason": "look first"}
        )
    error = await refused(run)

    assert "was left as it stands" in str(error)
    assert operated(scene) == []
    assert (await newest_run()).state.name == "Held"


async def test_a_dag_that_goes_on_cannot_be_rolled_back_from_the_form(stage, refused):
    """What is under way is no failure: nothing is sent, and the run does not say it was undone."""
    scene = await stage()
    going = asyncio.create_task(scene.scale_out())
    await scene.dag_created()
    scene.reach(3)

    error = await refused(recover(**named(scene, decision="roll-back")))
    untouched = operated(scene)
    scene.hurry()
    report = await going

    assert isinstance(error, DagFailedError)
    assert "was not touched: ROLLBACK is no choice here" in str(error)
    assert untouched == []
    assert report.outcome == "verified"


async def test_a_scale_out_that_named_no_node_is_undone_from_the_form(stage, refused):
    """Failed at its first stage it keeps the lock and tells no target; only roll-back frees it."""
    scene = await stage()
    await held(scene, refused, Fault.fail_stage(1))

    error = await refused(recover(**named(scene, decision="retry")))
    untouched = operated(scene)
    await recover(**named(scene, decision="roll-back"))
    run = await newest_run()

    assert "it can be rolled back, and no more" in str(error)
    assert untouched == []
    assert run.state.name == "RolledBack"
    assert not any(dag.is_unfinished for dag in scene.world.clusters[0].dags)
    assert "rolled-back" in (await pages_of(run))["report"]


async def test_watch_follows_what_somebody_else_began_and_operates_nothing(stage):
    """The newest scale-out without being named; proved by the zone and ports the cluster shows."""
    scene = await stage()
    going = asyncio.create_task(scene.scale_out())
    await scene.dag_created()
    scene.reach(3)
    following = asyncio.create_task(
        watch(cluster=scene.asked()["cluster"], time_limits=TIME_LIMITS)
    )
    await asyncio.sleep(1)
    scene.hurry()

    report, own = await following, await going

    assert report.outcome == own.outcome == "verified"
    assert report.zone == "zone2"
    assert report.dag_id == own.dag_id
    assert report.before_at is not None, "the look from before the POST is found again"
    assert scene.posts() == 1
    assert operated(scene) == []


async def test_watch_of_a_failed_dag_is_held_with_its_diagnosis(stage, refused, offering):
    """It says why and names the form that mends it, and does nothing about it."""
    scene = await stage()
    await offering(recover)
    await held(scene, refused)

    await refused(heard(scene, watch(**named(scene))))
    run = await newest_run()

    assert run.state.name == "Held"
    assert "recover/recover-served" in run.state.message
    assert scene.report.diagnosis.cause == "observer-died"
    assert operated(scene) == []


async def test_verify_proves_a_node_and_posts_nothing(stage):
    """With what is asked in the form; the report is the same as after the scale-out."""
    scene = await stage()
    await scene.scale_out()
    before = len([r for r in scene.world.requests if r.method == "POST"])
    spare = scene.ready["spares"][0]

    report = await verify(
        cluster=scene.asked()["cluster"],
        agentInfo=AgentInfoSpec(ip=spare["ip"], port=spare["port"]),
        zone="zone2",
        obConfigs=ObConfigs(**scene.sample),
        time_limits=QUICK,
    )
    after = len([r for r in scene.world.requests if r.method == "POST"])

    assert report.outcome == "verified"
    assert report.submitted_how == "verified alone"
    assert report.before_at is not None
    assert after == before
    assert (await newest_run()).name.startswith(f"verify {spare['ip']} in zone2 of ")


async def test_verify_of_what_is_no_member_names_the_proof_and_itself(stage, refused, offering):
    """A node that never joined: NotVerified, and nothing was sent to make it one."""
    scene = await stage()
    await offering(verify)
    spare = scene.ready["spares"][0]
    short = QUICK.model_copy(update={"verify_seconds": 1, "against_seconds": 0})

    error = await refused(
        verify(
            cluster=scene.asked()["cluster"],
            agentInfo=AgentInfoSpec(ip=spare["ip"], port=spare["port"]),
            zone="zone2",
            time_limits=short,
        )
    )
    run = await newest_run()

    assert isinstance(error, VerifyError)
    assert run.state.name == "NotVerified"
    assert "verify/verify-served" in run.state.message
    assert scene.posts() == 0


async def test_a_dag_that_is_no_scale_out_is_refused(stage, refused):
    """Only scale-outs are looked after; what nobody knows ends in one line."""
    scene = await stage()

    error = await refused(watch(cluster=scene.asked()["cluster"], time_limits=TIME_LIMITS))

    assert isinstance(error, SpecError)
    assert "no scale-out" in str(error)
    assert "report" in await pages_of(await newest_run())
