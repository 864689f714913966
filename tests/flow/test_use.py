"""Tests of the flow use: tasks, report, artifacts, events, and what a later run takes up."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import FlowRunSort

from obscale.errors import DagFailedError, PreflightError
from obscale.events import UseReported, UseSettled
from obscale.flows.use import use
from obscale.sandbox import Fault
from obscale.tasks.runtime.journal import listening
from obscale.tasks.runtime.use_report import PREFIX
from tests.contract.loops.use_stage import grown_config

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOOKS = 300


class Using:
    """A stage whose cluster has grown, and the means to run the flow against it."""

    def __init__(self, scene):
        self.scene = scene
        self.events = []

    def asked(self, **changes):
        """The flow's parameters."""
        told = self.scene.asked()
        asked = {key: told[key] for key in ("cluster", "time_limits")}
        return asked | {"tenant": "app", "unit_num": 2} | changes

    async def run(self, flow=use, **changes):
        """Run the flow; each event is kept."""
        with listening(self.events.append):
            return await flow(**self.asked(**changes))

    @property
    def report(self):
        """Of the last run, also of a failed one."""
        return [e.report for e in self.events if isinstance(e, UseReported)][-1]

    @property
    def settled(self):
        """How each run came by its DAG."""
        return [e.submitted.how for e in self.events if isinstance(e, UseSettled)]

    @property
    def patches(self):
        """How many PATCHes reached the cluster."""
        return sum(r.method == "PATCH" for r in self.scene.world.requests)


@pytest.fixture
def using(stage):
    """Give a function that opens a cluster of two servers a zone, with a tenant of one unit."""

    async def opened(*faults, **config):
        # A spare, because the stage asks for one; it stays where it is.
        grown = grown_config(**config)
        spare = type(grown.clusters[0].zones[0].agents[0])()
        scene = await stage(grown.model_copy(update={"spares": (spare,)}))
        for fault in faults:
            scene.world.play(fault)
        return Using(scene)

    return opened


async def newest_run():
    """The newest run, as Prefect has it."""
    async with get_client() as client:
        (run,) = await client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
        return run


async def page(prefix, run):
    """The one page of a run whose key begins so."""
    wanted = ArtifactFilter(key=ArtifactFilterKey(like_=prefix))
    async with get_client() as client:
        found = await client.read_artifacts(artifact_filter=wanted, limit=50)
        (own,) = (each for each in found if each.flow_run_id == run.id)
        return own.data


async def events_of(run, last):
    """Names of the events a run has sent, once the last of them is recorded."""
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    wanted = {
        "filter": {
            "event": {"prefix": [PREFIX]},
            "occurred": {"since": since},
            "any_resource": {"id": [f"prefect.flow-run.{run.id}"]},
            "order": "ASC",
        },
        "limit": 50,
    }
    async with get_client() as client:
        for _ in range(LOOKS):
            answer = await client._client.post("/events/filter", json=wanted)
            found = answer.raise_for_status().json()["events"]
            if any(event["event"] == PREFIX + last for event in found):
                return [event["event"].removeprefix(PREFIX) for event in found]
            await asyncio.sleep(0.1)
    raise AssertionError(f"no {last} among {[e['event'] for e in found]}")


async def test_a_run_that_goes_well_reports_shows_and_announces_it(using):
    """One PATCH; report, pages, tags, name and events are those of this tenant."""
    scene = await using()
    report = await scene.run()
    run = await newest_run()

    assert (report.outcome, report.balance) == ("verified", "BALANCED")
    assert (report.unit_num_before, report.unit_num, report.submitted_how) == (1, 2, "posted")
    assert report.placed.startswith("units placed: zone1 2/2, zone2 2/2, zone3 2/2")
    assert scene.patches == 1
    assert run.name == "use 2 units for tenant app of obcluster"
    assert {"cluster:obcluster", "tenant:app"} <= set(run.tags)
    assert "BALANCED: unit_num 1 → 2" in await page("report-", run)
    assert "All rules pass." in await page("findings-", run)
    assert "All proofs hold." in await page("verification-", run)
    assert await events_of(run, "verified") == [
        "planned",
        "submitted",
        "stage-changed",
        "verified",
    ]


async def test_a_blocked_run_sends_nothing_and_says_what_to_do(using, refused):
    """Its state is named, and its page begins with the cure."""
    scene = await using(Fault.tenant_rebalance_off("app"))
    error = await refused(scene.run())
    run = await newest_run()

    assert isinstance(error, PreflightError)
    assert (scene.patches, scene.report.outcome) == (0, "blocked")
    assert run.state.name == "Blocked"
    told = await page("report-", run)
    assert "obscale use SPEC --tenant app --unit-num 2" in told
    assert await events_of(run, "blocked") == ["blocked"]


async def test_a_failed_job_is_held(using, refused):
    """A person looks; the cause is named."""
    scene = await using(Fault.tenant_job_fails())
    error = await refused(scene.run())
    run = await newest_run()

    assert isinstance(error, DagFailedError)
    assert run.state.name == "Held"
    assert "tenant-job-failed" in scene.report.error
    assert scene.report.stages[0].state == "FAILED"
    assert (await events_of(run, "held"))[-1] == "held"


async def test_what_was_refused_is_retried_as_asked(using):
    """A retried DAG proves nothing: the tenant is steady."""
    scene = await using(Fault.tenant_job_fails(text="Error 1146 (42S02): no such table"))
    report = await scene.run(on_failure="retry")

    assert report.balance == "BALANCED (steady, not proved)"
    assert scene.patches == 1


async def test_a_run_after_one_that_was_ended_takes_its_dag_up(using):
    """Whoever ended it, the record of before is read back from Prefect, and nothing is sent."""
    scene = await using(Fault.tenant_job_slow(400))
    first = asyncio.create_task(scene.run())
    for _ in range(600):
        if scene.settled:
            break
        await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    ended = scene.report.outcome
    report = await scene.run()

    assert ended == "cancelled"
    assert scene.settled == ["posted", "adopted"]
    assert (report.unit_num_before, report.balance) == (1, "BALANCED")
    assert scene.patches == 1


async def test_a_second_attempt_confirms_what_its_first_has_begun(using):
    """Prefect's own retry of the same run: the DAG is taken from its record, and followed on."""
    scene = await using(Fault.tenant_job_slow(120))
    limits = scene.asked()["time_limits"].model_copy(update={"deadline_seconds": 2})
    again = use.with_options(retries=1, retry_delay_seconds=0)
    report = await scene.run(again, time_limits=limits)

    assert (report.outcome, report.attempt) == ("verified", 2)
    assert scene.settled == ["posted", "adopted"]
    assert scene.patches == 1


async def test_a_tenant_that_is_not_there_is_a_bad_request(using, refused):
    """And nothing is sent."""
    scene = await using()
    await refused(scene.run(tenant="nope"))

    assert (await newest_run()).state.name == "BadRequest"
    assert scene.patches == 0
