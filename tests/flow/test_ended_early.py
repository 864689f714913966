"""Tests of runs that are cancelled, killed or broken: they tell and can go on.

The flow runs in a process of its own, started by `obscale.deployments.serve` from a run made
over the API.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
import pytest_asyncio
from prefect import Task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.exceptions import ObjectNotFound, TerminationSignal
from prefect.settings import get_current_settings
from prefect.states import AwaitingRetry, Cancelling

from obscale.errors import DagStalledError
from obscale.events import DagMoved
from obscale.sandbox import Fault
from obscale.tasks.runtime.journal import listening
from tests.flow.conftest import QUICK, SAMPLE, is_posted

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOOKS = 1800
NAME = "scale-out/scale-out-served"


async def until(holds, what):
    """Wait for a condition, generously; gives what it gave."""
    for _ in range(LOOKS):
        if found := await holds():
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"never: {what}")


class Served:
    """Runs of the deployment, each in a process of its own below the server's."""

    def __init__(self, scene, client, process):
        self.scene, self.client, self.process = scene, client, process

    async def start(self):
        """Make a run over the API, as a portal would."""
        cluster, spare = self.scene.ready["clusters"][0], self.scene.ready["spares"][0]
        deployment = await self.client.read_deployment_by_name(NAME)
        run = await self.client.create_flow_run_from_deployment(
            deployment.id,
            parameters={
                "cluster": {
                    "endpoints": [f"{a['ip']}:{a['port']}" for a in cluster["agents"]],
                    "password": {"env": "OBSCALE_TEST_ROOT"},
                    "name": cluster["name"],
                    "id": cluster["id"],
                },
                "agentInfo": {"ip": spare["ip"], "port": spare["port"]},
                "zone": "zone2",
                "obConfigs": SAMPLE,
                "time_limits": QUICK.model_dump(),
            },
        )
        return run.id

    async def reaches(self, run_id, *names):
        """Wait until the run is in one of these states."""

        async def holds():
            run = await self.client.read_flow_run(run_id)
            return run if run.state.name in names else None

        return await until(holds, f"{run_id} {names}")

    async def at_stage(self, number):
        """Wait until the newest scale-out is at this stage."""

        async def holds():
            dags = self.scene.world.clusters[0].dags
            return any(d.name == "Cluster scale out" and d.stage >= number for d in dags)

        await until(holds, f"stage {number}")

    async def newest(self, run_id, kind):
        """Give the newest artifact of a kind that this run made; wait for it."""

        async def holds():
            found = await self.client.read_artifacts(
                artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
            )
            return [a for a in found if a.key.startswith(f"{kind}-")]

        return max(await until(holds, kind), key=lambda artifact: artifact.updated)

    async def task_runs(self, run_id):
        """All task runs of a run, each with its state: Prefect records it a moment later."""
        found = []
        for _ in range(100):
            found = await self.client.read_task_runs(
                flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
            )
            if all(task.state for task in found):
                break
            await asyncio.sleep(0.1)
        return found

    def kill(self):
        """SIGKILL the flow's own process, and nothing else."""
        pid = self.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)


@pytest_asyncio.fixture(loop_scope="session")
async def served(stage, tmp_path):
    """Give a function that serves the deployment beside a simulated cluster."""
    started, clients = [], AsyncExitStack()

    async def open_served(*faults, speed=6):
        scene = await stage(speed=speed)
        for fault in faults:
            scene.world.play(fault)
        environment = os.environ | {
            "PREFECT_API_URL": get_current_settings().api.url,
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        }
        said = tmp_path / "serve.err"
        with said.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "obscale.deployments.serve"),
                env=environment,
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=stderr,
            )
        started.append(process)
        client = await clients.enter_async_context(get_client())

        async def is_offered():
            assert process.returncode is None, said.read_text()
            with suppress(ObjectNotFound):
                return await client.read_deployment_by_name(NAME)

        await until(is_offered, "the deployment")
        return Served(scene, client, process)

    yield open_served
    await clients.aclose()
    for process in started:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 60)
        except TimeoutError:
            process.kill()
            await process.wait()


@pytest.mark.e2e
async def test_a_run_cancelled_from_prefect_leaves_a_report_of_what_stands_where(served):
    """Cancel ends the run; report and bar say that the DAG goes on, at which stage, and how on."""
    prefect = await served()
    run_id = await prefect.start()
    await prefect.at_stage(4)

    await prefect.client.set_flow_run_state(run_id, Cancelling())
    run = await prefect.reaches(run_id, "Cancelled")

    report = (await prefect.newest(run_id, "report")).data
    bar = await prefect.newest(run_id, "progress")
    assert run.state.is_cancelled()
    assert "of obcluster: cancelled" in report
    assert "DAG 11 is at stage" in report
    assert "goes on by itself" in report
    assert "is 'SCALING OUT'" in report
    assert "Next: obscale watch SPEC 11" in report
    assert bar.description.startswith("not followed any more: DAG 11 is at stage")
    assert prefect.scene.posts() == 1

    second = await prefect.start()
    await prefect.reaches(second, "Completed")
    assert "verified" in (await prefect.newest(second, "report")).data
    assert prefect.scene.world.count_dags("Cluster scale out") == 1


@pytest.mark.e2e
async def test_a_killed_run_is_tried_again_from_prefect_and_nothing_seems_to_run_on(served):
    """After SIGKILL a retry of the same run adopts the DAG; the first attempt's task is Crashed."""
    prefect = await served()
    run_id = await prefect.start()
    await prefect.at_stage(3)
    await until(lambda: named(prefect, run_id, "poll"), "poll is known to Prefect")
    prefect.kill()
    await prefect.reaches(run_id, "Crashed")
    left = [t for t in await prefect.task_runs(run_id) if t.state.is_running()]

    await try_again(prefect, run_id)
    run = await prefect.reaches(run_id, "Completed", "Failed")

    # Prefect tells of task runs later than of their flow run.
    await until(lambda: none_runs(prefect, run_id), "no task run seems to run on")
    settled = {task.id: task.state for task in await prefect.task_runs(run_id)}
    assert left, "Prefect settles them by itself now: drop tasks/runtime/attempts.py"
    assert run.state.is_completed()
    assert run.run_count == 2
    assert all(settled[task.id].is_crashed() for task in left)
    assert "a later attempt took over" in settled[left[0].id].message
    assert (await prefect.newest(run_id, "progress")).data == 100
    assert "verified" in (await prefect.newest(run_id, "report")).data
    assert prefect.scene.posts() == 1


@pytest.mark.e2e
async def test_a_killed_run_is_taken_up_by_a_new_one(served):
    """Started anew after SIGKILL, another run adopts the DAG and proves the node."""
    prefect = await served()
    run_id = await prefect.start()
    await prefect.at_stage(3)
    prefect.kill()
    await prefect.reaches(run_id, "Crashed")

    second = await prefect.start()
    await prefect.reaches(second, "Completed")

    assert "verified" in (await prefect.newest(second, "report")).data
    assert prefect.scene.posts() == 1
    assert prefect.scene.world.count_dags("Cluster scale out") == 1


async def test_a_run_cancelled_before_its_post_says_that_nothing_was_sent(stage):
    """Cancelled during preflight, the report says so, and gives no command to run."""
    scene = await stage()
    scene.world.play(Fault.delay_answer(20, times=0))
    run = asyncio.create_task(scene.scale_out())

    async def asked():
        return scene.world.requests

    await until(asked, "a first question")
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)

    assert scene.report.outcome == "cancelled"
    assert scene.report.remains.was_sent is False
    assert scene.posts() == 0


async def test_the_last_look_gives_up_on_agents_that_swallow_it(stage):
    """With every agent a black hole the report still comes, with what was seen last."""
    scene = await stage(speed=6)
    run = asyncio.create_task(scene.scale_out())
    await scene.dag_created()

    async def followed():
        return any(isinstance(event, DagMoved) for event in scene.events)

    await until(followed, "the DAG is followed")
    scene.crawl()
    for agent in scene.world.agents:
        scene.world.play(Fault.black_hole(agent.address))
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)

    left = scene.report.remains
    assert scene.report.outcome == "cancelled"
    assert left.dag_id == "11"
    assert left.stands.startswith("stage ")
    assert "no answer within 5 s" in left.unread
    # The line it stands in names the next step itself.
    assert "Next:" not in left.unread


@pytest.mark.parametrize("where", ["callback", "engine"])
async def test_a_signal_that_strikes_no_code_of_the_run_ends_it(stage, monkeypatch, where):
    """The loop's own code, for which an error is a bug, and Prefect's between two tasks."""
    scene, passed_on, create = await stage(speed=6), [], Task.create_local_run
    before = signal.signal(signal.SIGTERM, lambda number, _frame: passed_on.append(number))

    def terminate():
        os.kill(os.getpid(), signal.SIGTERM)

    def struck(*words, **names):
        terminate()
        return create(*words, **names)

    def hear(event):
        if is_posted(event):
            if where == "callback":
                asyncio.get_running_loop().call_soon(terminate)
            else:
                monkeypatch.setattr(Task, "create_local_run", struck)

    try:
        with listening(hear), pytest.raises(TerminationSignal):
            await scene.scale_out()
    finally:
        signal.signal(signal.SIGTERM, before)

    assert passed_on == [signal.SIGTERM]
    assert scene.report.outcome == "cancelled"
    assert scene.report.remains.dag_id == "11"
    assert scene.report.remains.is_moving


async def test_a_run_that_stalls_says_where_and_whether_it_goes_on(stage, refused):
    """The deadline of the request ends the run, not the DAG: the report says both."""
    scene = await stage(speed=1)
    short = QUICK.model_copy(update={"deadline_seconds": 2})

    error = await refused(scene.scale_out(time_limits=short))

    left = scene.report.remains
    assert isinstance(error, DagStalledError)
    assert left.is_moving
    assert left.dag_id == "11"
    assert left.identity in {"SINGLE", "SCALING OUT"}


async def named(prefect, run_id, name):
    """Whether Prefect knows a running task run of this name."""
    return [
        task
        for task in await prefect.task_runs(run_id)
        if task.name.startswith(name) and task.state.is_running()
    ]


async def none_runs(prefect, run_id):
    """Whether every task run of a run is settled."""
    return not [task for task in await prefect.task_runs(run_id) if task.state.is_running()]


async def try_again(prefect, run_id):
    """Retry a crashed run as `prefect flow-run retry` does, and see that it took.

    The runner reports a crash more than once; a retry in between is overwritten.
    """

    async def took():
        run = await prefect.client.read_flow_run(run_id)
        if run.state.is_crashed():
            await prefect.client.set_flow_run_state(run_id, AwaitingRetry(), force=True)
            await asyncio.sleep(3)
        run = await prefect.client.read_flow_run(run_id)
        return run.run_count == 2

    await until(took, "the second attempt begins")
