"""Tests of a batch on workers: it ends as one that does all itself.

The runs go to `obscale.deployments.serve`, a process of its own that starts one more for each run.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterName,
    FlowRunFilterTags,
)
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.states import Cancelling

from obscale.batch.report import render_batch
from obscale.batch.schedule import RowState
from obscale.errors import DispatchError
from obscale.events import BatchBegun, BatchWaits, RowChanged
from obscale.request.policies import BatchPolicies, Window, WorkersPolicy
from obscale.sandbox import Fault
from obscale.tasks.dispatch.dispatcher import Dispatch
from obscale.tasks.runtime.journal import listening
from tests.flow.test_batch import fleet, states  # noqa: F401 - a fixture
from tests.flow.test_batch_of_others import SCALE_IN, removals_of, uses_of
from tests.flow.test_batch_of_others import run as run_others
from tests.flow.test_batch_of_others import world_of as world_of_others

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

LOOKS = 1800
NAME = "batch-part/batch-part-served"
DISPATCHED = BatchPolicies(dispatch="deployment", workers=WorkersPolicy(deployment=NAME))


async def until(holds, what):
    """Wait for a condition, generously; gives what it gave."""
    for _ in range(LOOKS):
        found = holds()
        if found := (await found if asyncio.iscoroutine(found) else found):
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"never: {what}")


class Server:
    """The process that serves the deployment, and the runs below it."""

    def __init__(self, process):
        self.process = process

    def runs(self) -> list[int]:
        """Processes of runs."""
        pid = self.process.pid
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest_asyncio.fixture(loop_scope="session")
async def serving():
    """Give a function that serves what `obscale.deployments.serve` offers."""
    started = []

    async def serve():
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "obscale.deployments.serve"),
            env=os.environ
            | {
                "PREFECT_API_URL": get_current_settings().api.url,
                "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            },
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
            start_new_session=True,
        )
        started.append(process)

        async def is_offered():
            assert process.returncode is None, "serve ended"
            async with get_client() as client:
                with suppress(ObjectNotFound):
                    return (await client.read_deployment_by_name(NAME)).status == "READY"

        await until(is_offered, "the deployment")
        return Server(process)

    yield serve
    for process in started:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 60)
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def parts_of(report):
    """All runs a batch had on workers."""
    async with get_client() as client:
        tagged = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[f"batch:{report.key}"]))
        )
    # The batch's own run has the tag too.
    return [run for run in tagged if run.deployment_id]


async def ended_parts_of(report):
    """The same, once all of them have ended: their batch does not wait for that."""

    async def ended():
        runs = await parts_of(report)
        return runs if all(run.state.is_final() for run in runs) else None

    return await until(ended, "all runs have ended")


async def test_a_dispatched_batch_ends_as_one_in_a_single_process(fleet, serving):  # noqa: F811
    """One run a cluster, linked and named; one DAG a node; the report as good as ever."""
    fleet = await fleet(clusters=2, nodes=3)
    await serving()

    report = await fleet.run(policies=DISPATCHED)

    runs = await parts_of(report)
    assert report.is_verified, render_batch(report)
    assert fleet.posts == fleet.dags == 6
    assert {run.name for run in runs} == {"rows of c1: 3 nodes", "rows of c2: 3 nodes"}
    assert all(run.parent_task_run_id for run in runs)
    assert all(row.dag_id and row.submitted_how == "posted" for row in report.rows)
    assert {row.level for row in report.rows} <= {"CONFORMING", "BALANCED"}
    assert fleet.joined("c1") == ["zone1", "zone2", "zone3"]
    assert "dispatched to workers" in report.policies


async def test_a_failure_stops_its_cluster_and_says_why_as_ever(fleet, serving):  # noqa: F811
    """Failed, blocked and skipped rows have reason and next step; the other cluster goes on."""
    fleet = await fleet(clusters=2, nodes=2)
    fleet.stage.world.play(Fault.fail_stage(5, target=fleet.asked[0].nodes[0].address))
    await serving()

    report = await fleet.run(policies=DISPATCHED)

    async def are_named():
        names = {run.name: run.state.name for run in await parts_of(report)}
        return names == {"rows of c1: 2 nodes": "Incomplete", "rows of c2: 2 nodes": "Completed"}

    failed, skipped, *_ = report.rows
    # Prefect calls it Failed first; a hook gives the ending its own name.
    await until(are_named, "both runs have ended, and are named by how")
    assert states(report) == {
        "c1": [RowState.FAILED, RowState.SKIPPED],
        "c2": [RowState.VERIFIED, RowState.VERIFIED],
    }
    assert failed.error_kind == "dag-failed"
    assert "stage 5/9" in failed.why
    assert "obscale recover" in failed.next
    assert failed.dag_id
    assert failed.target in skipped.why
    assert fleet.posts == 3


async def test_a_canary_holds_every_cluster_back_and_no_more_run_than_may(fleet, serving):  # noqa: F811
    """The second node of no cluster begins before the first of each is verified."""
    fleet = await fleet(clusters=3, nodes=2)
    await serving()
    policies = DISPATCHED.model_copy(update={"canary": "node", "max_clusters_at_once": 2})

    report = await fleet.run(policies=policies)

    firsts, seconds = [], []
    for cluster in ("c1", "c2", "c3"):
        mine = sorted((r for r in report.rows if r.cluster == cluster), key=lambda r: r.started_at)
        firsts.append(mine[0])
        seconds.append(mine[1])
    assert report.is_verified, render_batch(report)
    assert max(row.ended_at for row in firsts) <= min(row.started_at for row in seconds)
    for row in report.rows:
        others = [r for r in report.rows if r.started_at <= row.started_at < r.ended_at]
        assert len(others) <= 2
    assert fleet.posts == fleet.dags == 6


async def test_a_run_whose_process_is_killed_is_replaced(fleet, serving):  # noqa: F811
    """Crashed, as its worker says: another run takes up the DAG; one DAG a node."""
    fleet = await fleet(clusters=1, nodes=2, speed=6)
    server = await serving()
    run = asyncio.create_task(fleet.run(policies=DISPATCHED))
    await until(lambda: fleet.dags == 1, "the first DAG")

    for pid in server.runs():
        os.kill(pid, signal.SIGKILL)
    report = await run

    runs = await ended_parts_of(report)
    assert report.is_verified, render_batch(report)
    assert fleet.posts == fleet.dags == 2
    assert sorted(r.state.name for r in runs) == ["Completed", "Crashed"]


async def test_a_worker_that_dies_with_its_run_is_noticed_by_their_silence(fleet, serving):  # noqa: F811
    """Nobody tells Prefect: the batch marks the run Crashed, and another worker goes on."""
    fleet = await fleet(clusters=1, nodes=2, speed=6)
    server = await serving()
    workers = WorkersPolicy(deployment=NAME, silence_seconds=45)
    policies = DISPATCHED.model_copy(update={"workers": workers})
    run = asyncio.create_task(fleet.run(policies=policies))
    await until(lambda: fleet.dags == 1, "the first DAG")

    for pid in (server.process.pid, *server.runs()):
        os.kill(pid, signal.SIGKILL)
    await server.process.wait()
    await serving()
    report = await run

    runs = {r.state.name: r for r in await ended_parts_of(report)}
    assert report.is_verified, render_batch(report)
    assert fleet.posts == fleet.dags == 2
    assert set(runs) == {"Completed", "Crashed"}
    assert "no sign of life for" in runs["Crashed"].state.message


async def test_a_batch_that_is_ended_stops_its_runs_and_says_what_goes_on(fleet, serving):  # noqa: F811
    """Rows at work are left with their DAG and stage; nothing new begins; again, it ends whole."""
    fleet = await fleet(clusters=2, nodes=2, speed=1)
    await serving()
    ledgers = []

    def hear(event) -> None:
        if isinstance(event, BatchBegun):
            ledgers.append(event.ledger)

    def both_grow():
        return ledgers and sum(bool(entry.dag_id) for entry in ledgers[0].entries) == 2

    with listening(hear):
        run = asyncio.create_task(fleet.run(policies=DISPATCHED))
        await until(both_grow, "both clusters grow, and the batch has heard of it")
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    cut = fleet.reports[-1]
    left = [row for row in cut.rows if row.state is RowState.LEFT]

    assert [run.state.name for run in await ended_parts_of(cut)] == ["Cancelled"] * 2
    assert {row.state for row in cut.rows} == {RowState.LEFT, RowState.SKIPPED}
    assert len(left) == 2
    assert all(f"DAG {row.dag_id} goes on by itself: " in row.why for row in left)
    assert fleet.dags == 2
    again = await fleet.run(policies=DISPATCHED)
    assert again.is_verified, render_batch(again)
    assert fleet.posts == fleet.dags == 4


async def test_a_batch_begun_again_follows_the_runs_a_dead_one_left(
    fleet,  # noqa: F811
    serving,
    monkeypatch,
):
    """One that is killed tells its runs nothing; the next one finds them, and starts no other."""
    fleet = await fleet(clusters=2, nodes=2, speed=2)
    await serving()
    run = asyncio.create_task(fleet.run(policies=DISPATCHED))
    await until(lambda: fleet.dags == 2, "both clusters grow")

    async def says_nothing(_self):
        pass

    with monkeypatch.context() as patched:
        patched.setattr(Dispatch, "stop", says_nothing)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
    before = {part.id for part in await parts_of(fleet.reports[-1])}
    again = await fleet.run(policies=DISPATCHED)

    assert again.is_verified, render_batch(again)
    assert len(before) == 2
    assert {part.id for part in await ended_parts_of(again)} == before
    assert fleet.posts == fleet.dags == 4


async def test_a_run_somebody_cancels_is_not_begun_anew(fleet, serving):  # noqa: F811
    """A person said no: its row fails with what stands, its cluster stops, the other goes on."""
    fleet = await fleet(clusters=2, nodes=2, speed=2)
    await serving()
    run = asyncio.create_task(fleet.run(policies=DISPATCHED))
    await until(lambda: fleet.dags == 2, "both clusters grow")

    async with get_client() as client:
        [part] = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=["rows of c1: 2 nodes"])),
            sort="START_TIME_DESC",
            limit=1,
        )
        await client.set_flow_run_state(part.id, Cancelling())
    report = await run

    first = report.rows[0]
    assert states(report) == {
        "c1": [RowState.FAILED, RowState.SKIPPED],
        "c2": [RowState.VERIFIED, RowState.VERIFIED],
    }
    assert first.error_kind == "run-lost"
    assert "goes on by itself" in first.why
    assert fleet.posts == 3


async def test_a_worker_submits_nothing_outside_the_window_it_was_told(
    fleet,  # noqa: F811
    serving,
    monkeypatch,
):
    """The batch's clock says open, the worker's shut: the row is put back, and nothing is sent."""
    fleet = await fleet(clusters=1, nodes=1)
    await serving()
    now = datetime.now(UTC)
    window = Window(
        start=f"{now - timedelta(hours=3):%H:%M}", end=f"{now - timedelta(hours=1):%H:%M}"
    )
    clock = [now - timedelta(hours=2)]
    monkeypatch.setattr("obscale.tasks.batch.utc_now", lambda: clock[0])
    put_back, waits = asyncio.Event(), asyncio.Event()

    def hear(event) -> None:
        if isinstance(event, RowChanged) and event.row.state is RowState.WAITING:
            clock[0] = now
            put_back.set()
        if isinstance(event, BatchWaits):
            waits.set()

    with listening(hear):
        policies = DISPATCHED.model_copy(update={"window": window})
        running = asyncio.create_task(fleet.run(policies=policies))
        await asyncio.wait_for(waits.wait(), 300)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    assert put_back.is_set()
    assert fleet.posts == 0
    assert fleet.reports[-1].rows[0].state is RowState.SKIPPED


async def test_a_failure_that_stops_all_holds_what_another_worker_has_not_sent(fleet, serving):  # noqa: F811
    """Begun on its worker, not submitted yet: it is put back, and skipped with the reason."""
    fleet = await fleet(clusters=2, nodes=1)
    await serving()
    first, second = (asked.nodes[0].address for asked in fleet.asked)
    fleet.stage.world.play(Fault.fail_stage(1, target=first))
    fleet.stage.world.play(Fault.delay_answer(18, to="host-info", target=second, times=0))

    report = await fleet.run(policies=DISPATCHED.model_copy(update={"stop_batch_after": 1}))

    assert states(report) == {"c1": [RowState.FAILED], "c2": [RowState.SKIPPED]}
    assert first in report.rows[1].why
    assert fleet.posts == 1


async def test_without_a_worker_the_batch_ends_in_one_clear_line(fleet, serving):  # noqa: F811
    """After a bounded wait; nothing was begun, and no run is left to be taken up later."""
    fleet = await fleet(clusters=2, nodes=1)
    server = await serving()
    os.killpg(server.process.pid, signal.SIGKILL)
    await server.process.wait()
    workers = WorkersPolicy(deployment=NAME, wait_seconds=3)

    with pytest.raises(DispatchError) as caught:
        await fleet.run(policies=DISPATCHED.model_copy(update={"workers": workers}))

    report = fleet.reports[-1]
    runs = await parts_of(report)
    assert "no worker has taken a run of batch-part/batch-part-served for" in caught.value.message
    assert "python -m obscale.deployments.serve" in caught.value.hint
    assert {row.state for row in report.rows} == {RowState.SKIPPED}
    assert {r.state.name for r in runs} == {"Cancelled"}
    assert fleet.posts == 0


async def test_an_unknown_deployment_is_named_before_anything_is_asked(fleet):  # noqa: F811
    """With the command that makes it."""
    fleet = await fleet(clusters=1, nodes=1)
    workers = WorkersPolicy(deployment="batch-part/nobody")

    with pytest.raises(DispatchError) as caught:
        await fleet.run(policies=BatchPolicies(dispatch="deployment", workers=workers))

    assert "no deployment batch-part/nobody" in caught.value.message
    assert "prefect --no-prompt deploy" in caught.value.hint
    assert not fleet.stage.world.requests
    assert {row.state for row in fleet.reports[-1].rows} == {RowState.SKIPPED}


async def test_removals_and_uses_are_carried_out_on_workers_too(stage, serving):
    """Each cluster's rows by a run of its own; the report has what the runs have told."""
    scene = await stage(world_of_others(), speed=60)
    await serving()
    two = DISPATCHED.model_copy(update={"max_removals": 2})

    uses = await run_others(uses_of(await stage(world_of_others(), speed=60)), policies=DISPATCHED)
    report = await run_others(removals_of(scene), policies=two, confirm="remove 2 nodes")

    assert uses.summary == "2 of 2 tenants verified", uses.rows
    assert report.summary == "2 of 2 removals verified", report.rows
    assert scene.posts(SCALE_IN) == 2
    assert all(row.host_steps for row in report.rows)
    assert len(await parts_of(report)) == 2
