"""Tests of the flows recover and watch where the DAG is a removal."""

import asyncio

import pytest
from prefect.client.schemas.objects import StateType

from obscale.errors import DagFailedError, DagRolledBackError, SpecError
from obscale.events import DagMoved
from obscale.flows.recover import recover
from obscale.flows.remove import remove
from obscale.flows.watch import watch
from obscale.sandbox import Fault
from obscale.tasks.runtime.journal import listening
from tests.flow.test_look_after import heard, newest_run
from tests.flow.test_recover import TIME_LIMITS
from tests.flow.test_remove import removal_of, state_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
SCALE_IN = "/api/v1/ob/scale_in"


def newest_removal(scene):
    """The world's newest removal."""
    dags = scene.world.clusters[0].dags
    return next(dag for dag in reversed(dags) if dag.name == "Cluster scale in")


def named(scene, **more):
    """Give the parameters of watch and recover for the newest removal."""
    dag = newest_removal(scene).generic_id()
    return {"cluster": scene.asked()["cluster"], "dag": dag, "time_limits": TIME_LIMITS} | more


async def held(scene, refused):
    """Let a removal fail at its first stage; gives how the cluster stood before."""
    await scene.scale_out()
    before = state_of(scene.world)
    scene.world.play(Fault.delete_refused(text="not allowed"))
    with listening(scene._hear):
        error = await refused(remove(**removal_of(scene)))
    assert isinstance(error, DagFailedError), error
    return before


@pytest.mark.e2e
async def test_a_removal_is_followed_by_its_dag_and_proved(stage):
    """Whoever has begun it; nothing is sent."""
    scene = await stage()
    await scene.scale_out()
    with listening(scene._hear):
        first = await remove(**removal_of(scene))
        sent = len([each for each in scene.world.requests if each.method == "POST"])
        with pytest.raises(SpecError, match="nothing tells which server it removes"):
            # All that named it is gone with it.
            await watch(**named(scene))

    assert first.outcome == "verified"
    assert len([each for each in scene.world.requests if each.method == "POST"]) == sent


async def test_a_failed_removal_goes_on_by_its_form(stage, refused):
    """Retry: it is followed to its end, and what leaves is proved gone."""
    scene = await stage()
    await held(scene, refused)

    report = await heard(scene, recover(**named(scene, decision="retry")))

    assert (report.outcome, report.operation, report.level) == ("verified", "removal", "CONFORMING")
    assert scene.posts(SCALE_IN) == 1


async def test_a_failed_removal_is_undone_by_its_form(stage, refused):
    """roll-back: the node stays, and the cluster is as before."""
    scene = await stage()
    before = await held(scene, refused)

    state = await heard(scene, recover(**named(scene, decision="roll-back"), return_state=True))

    assert (state.type, state.name) == (StateType.COMPLETED, "RolledBack")
    assert "stays a member" in state.message
    assert scene.report.outcome == "rolled-back"
    assert state_of(scene.world) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decision": "stop"}, "is not what DAG"),
        ({"decision": "stop", "confirm": "10.9.9.9"}, "is not what DAG"),
        ({"decision": "ask"}, "ask is for a scale-out"),
    ],
)
async def test_a_stop_is_typed_and_nothing_else_is_sent(stage, refused, changes, words):
    """What a person has not said word for word is not done."""
    scene = await stage()
    await held(scene, refused)
    sent = len([each for each in scene.world.requests if each.method == "POST"])

    error = await refused(recover(**named(scene, **changes)))

    assert isinstance(error, SpecError)
    assert words in str(error)
    assert (await newest_run()).state.name == "BadRequest"
    assert len([each for each in scene.world.requests if each.method == "POST"]) == sent


@pytest.mark.e2e
async def test_a_running_removal_is_stopped_and_its_node_stays(stage):
    """CANCEL, then ROLLBACK, as one act; the run that followed it ends and says that."""
    scene = await stage()
    await scene.scale_out()
    before = state_of(scene.world)
    agent = removal_of(scene)["agentInfo"]
    # Its server stays DELETING for long enough to be stopped.
    scene.world.play(Fault.unit_stuck(f"{agent.ip}:{agent.port}"))
    begun = asyncio.Event()

    def heard(event):
        scene._hear(event)
        if isinstance(event, DagMoved):
            begun.set()

    with listening(heard):
        run = asyncio.create_task(remove(**removal_of(scene)))
        await asyncio.wait_for(begun.wait(), 120)
        stopping = recover(**named(scene, decision="stop", confirm=agent.ip), return_state=True)
        state = await stopping
        with pytest.raises((DagFailedError, DagRolledBackError)):
            await run

    assert (state.type, state.name) == (StateType.COMPLETED, "RolledBack")
    assert state_of(scene.world) == before
    assert scene.posts(SCALE_IN) == 1


@pytest.mark.e2e
async def test_stop_is_no_word_about_a_scale_out(stage, refused):
    """The one decision that is of removals only is refused before anything is sent."""
    scene = await stage()
    scene.world.play(Fault.observer_dies())
    await refused(scene.scale_out())
    dag = scene.world.clusters[0].dags[-1]
    where = {"cluster": scene.asked()["cluster"], "dag": dag.generic_id()}

    error = await refused(recover(**where, decision="stop", time_limits=TIME_LIMITS))

    assert isinstance(error, SpecError)
    assert "stop is for a removal" in str(error)
