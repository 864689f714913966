"""Tests of the look before the POST: harm is told by it, whoever looks later."""

import asyncio
import json

import httpx
import pytest
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowRunFilter
from prefect.client.schemas.sorting import FlowRunSort
from pydantic import SecretStr
from typer.testing import CliRunner

import obscale.cli.verify
import obscale.tasks.runtime.baselines
import obscale.tasks.runtime.journal
from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.batch.report import BatchIncompleteError
from obscale.cli.commands import app
from obscale.cli.exits import Exit, exit_code_of
from obscale.errors import RecordError, VerifyError
from obscale.events import Posting, ProofNotice, WaitsForProofs
from obscale.flows.batch import batch
from obscale.request.models import NodeSpec, ScaleOutSpec
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault
from obscale.spec import request_body
from obscale.tasks.runtime.cluster_block import ObshellCluster
from tests.flow.conftest import QUICK, SAMPLE

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOON = QUICK.model_copy(update={"against_seconds": 1.0, "verify_seconds": 120})
"""What stands against the request ends it after a second; the time limit would be long after."""


def address_of(scene, number):
    """Give `ip:port` of a member's agent."""
    agent = scene.ready["clusters"][0]["agents"][number]
    return f"{agent['ip']}:{agent['port']}"


def observer_of(scene, number):
    """Give `ip:2882` of a member's observer, as the proofs name it."""
    return f"{scene.ready['clusters'][0]['agents'][number]['ip']}:2882"


def harm(scene, number=2, stage=9):
    """Let a member die while the last stage of the DAG runs."""
    scene.world.play(Fault.observer_down(address_of(scene, number), stage=stage))


def collateral(report):
    """Give the line about the other members."""
    return next(line for line in report.proofs if line.id == "pv-no-collateral")


async def task_names():
    """Names of the task runs of the newest flow run."""
    async with get_client() as client:
        [run] = await client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
        for _ in range(100):
            rows = await client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [run.id]}))
            names = {row.name for row in rows}
            if any(name.startswith("verify") for name in names):
                return names
            await asyncio.sleep(0.1)
    raise AssertionError(names)


async def test_a_member_dead_since_the_post_stays_red_however_often_it_is_looked_at(stage, refused):
    """The second run compares with the look before the first one's POST; it is red, then green."""
    scene = await stage()
    harm(scene)

    first = await refused(scene.scale_out(time_limits=SOON))
    one = scene.report
    second = await refused(scene.scale_out(time_limits=SOON))
    two = scene.report

    assert isinstance(first, VerifyError)
    assert isinstance(second, VerifyError)
    for report in (one, two):
        # Ended by what had held for long enough, not by the limit of the verification.
        assert not any(moment.text.startswith("verify.deadline") for moment in report.timeline)
        assert (report.outcome, report.level) == ("failed", "SERVING")
        assert f"{observer_of(scene, 2)} INACTIVE PROCESS_STOPPED" in collateral(report).found
        assert "unknown" not in collateral(report).found
    assert two.submitted_how == "already a member"
    assert two.before == one.before, "not the look of its own preflight"
    assert two.before_at == one.before_at
    assert (two.dag_id, one.dag_id) == ("11", "11")
    assert (two.posted, two.posted.run_id) == (one.posted, one.run_id)
    assert "poll DAG 11" in await task_names()

    scene.world.play(Fault.observer_up(address_of(scene, 2)))
    third = await scene.scale_out(time_limits=SOON)

    assert (third.outcome, third.exceptions) == ("verified", ())
    assert [end.outcome for end in third.earlier] == ["failed", "failed"]
    assert one.run_name in third.earlier[0].words
    assert "reached SERVING, not CONFORMING: pv-no-collateral" in third.follows
    assert scene.posts() == 1


async def test_a_member_dead_before_already_is_an_exception_the_verdict_names(stage):
    """No harm of this scale-out: verified, and the verdict says whom it leaves out."""
    scene = await stage()
    scene.world.play(Fault.observer_down(address_of(scene, 2)))

    report = await scene.scale_out(time_limits=SOON)
    again = await scene.scale_out(time_limits=SOON)

    excepted = f"{observer_of(scene, 2)} INACTIVE PROCESS_STOPPED (dead before already)"
    for each in (report, again):
        assert each.outcome == "verified"
        assert each.exceptions == (excepted,)
        assert each.verdict_reached == f"CONFORMING, except {excepted}"


async def test_a_member_that_restarts_in_time_is_told_and_not_failed(stage):
    """Away for some seconds while the node is proved: a line when it goes, one when it is back."""
    scene = await stage()
    time_limits = SOON.model_copy(update={"against_seconds": 30.0})
    harm(scene)
    lost = []

    def bring_back(event):
        if isinstance(event, ProofNotice) and not lost:
            lost.append(event)
            scene.world.play(Fault.observer_up(address_of(scene, 2)))

    with obscale.tasks.runtime.journal.listening(bring_back):
        report = await scene.scale_out(time_limits=time_limits)

    assert report.outcome == "verified"
    told = [moment.text for moment in report.timeline]
    peer = observer_of(scene, 2)
    assert any(t.startswith("verify.against proof=pv-no-collateral") and peer in t for t in told)
    assert any(t.startswith("verify.passed proof=pv-no-collateral") and peer in t for t in told)


async def test_a_wait_is_told_by_what_it_waits_for(stage, refused):
    """An observer that does not start its service is named while it is waited for."""
    scene = await stage()
    scene.world.play(Fault.slow_service(1e6))

    await refused(scene.scale_out(time_limits=SOON.model_copy(update={"verify_seconds": 3})))

    waits = [event for event in scene.events if isinstance(event, WaitsForProofs)]
    assert "pv-service-started: not yet" in waits[0].what
    assert len(waits) < 6, "on change and then seldom, not at every look"


async def another_posts(scene):
    """Have somebody else add the node the test asks for, through obshell itself."""
    asked = scene.asked()
    node = NodeSpec(agentInfo=asked["agentInfo"], zone="zone2", obConfigs=SAMPLE)
    cluster = scene.ready["clusters"][0]
    entry = cluster["agents"][0]
    async with AgentClient(
        AgentAddress(entry["ip"], entry["port"]), root_password=SecretStr(cluster["root_password"])
    ) as agent:
        await agent.submit_scale_out(request_body(node, None))


@pytest.mark.parametrize("when", ["under way", "joined"])
async def test_of_anothers_dag_what_was_before_is_unknown(stage, refused, when):
    """A member dead now is held against it, and the words say that nobody looked before."""
    scene = await stage(speed=20)
    harm(scene)
    await another_posts(scene)
    if when == "joined":
        await joined(scene)

    error = await refused(scene.scale_out(time_limits=SOON))

    assert isinstance(error, VerifyError)
    assert exit_code_of(error) == Exit.REFUSED
    assert f"{observer_of(scene, 2)} INACTIVE PROCESS_STOPPED (dead now, before unknown)" in str(
        error
    )
    assert scene.report.before == ()
    assert scene.report.dag_id == "11"
    scene.world.play(Fault.observer_up(address_of(scene, 2)))
    assert (await scene.scale_out(time_limits=SOON)).outcome == "verified"
    assert scene.posts() == 1


async def joined(scene):
    """Wait until the scale-out has ended."""
    for _ in range(1200):
        if any(d.state == "SUCCEED" for d in scene.world.clusters[0].dags):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("no scale-out has ended")


async def test_a_batchs_row_is_compared_with_before_its_post_too(stage):
    """A batch that is run again finds its row a member, and is as red as the first time."""
    scene = await stage()
    harm(scene)
    asked = scene.asked()
    node = NodeSpec(agentInfo=asked["agentInfo"], zone="zone2", obConfigs=SAMPLE)
    spec = ScaleOutSpec(cluster=asked["cluster"], nodes=(node,))

    for _ in range(2):
        with pytest.raises(BatchIncompleteError) as caught:
            await batch(clusters=[spec], time_limits=SOON)
        assert f"pv-no-collateral: {observer_of(scene, 2)} INACTIVE" in str(caught.value)
        assert "unknown" not in str(caught.value)

    scene.world.play(Fault.observer_up(address_of(scene, 2)))
    report = await batch(clusters=[spec], time_limits=SOON)

    assert "was a member already; follows a failed attempt: " in report.rows[0].why
    assert scene.posts() == 1


async def test_verify_looks_into_prefect_only_where_the_request_needs_it(
    stage, refused, monkeypatch, tmp_path
):
    """With a stored connection it compares with before; written out, before is unknown: exit 1."""
    time_limits = TimeLimits(verify_seconds=20, steady_seconds=0.2, against_seconds=1)
    monkeypatch.setattr(obscale.cli.verify, "VERIFY_LIMITS", time_limits)
    scene = await stage()
    known = scene.ready["clusters"][0]
    endpoints = [f"{a['ip']}:{a['port']}" for a in known["agents"]]
    await ObshellCluster(
        endpoints=endpoints, root_password=SecretStr(known["root_password"])
    ).asave("before", overwrite=True)
    harm(scene)
    await refused(scene.scale_out(time_limits=SOON))
    spare = scene.ready["spares"][0]
    node = {"agentInfo": {"ip": spare["ip"], "port": spare["port"]}, "zone": "zone2"}
    node["obConfigs"] = SAMPLE
    written_out = {"endpoints": endpoints, "password": {"env": "OBSCALE_TEST_ROOT"}}
    found = {}

    for name, cluster in (("stored", "before"), ("written", written_out)):
        spec = tmp_path / f"{name}.json"
        spec.write_text(json.dumps({"cluster": cluster, "nodes": [node]}))
        ended = await asyncio.to_thread(CliRunner().invoke, app, ["verify", str(spec), "--json"])
        assert ended.exit_code == Exit.REFUSED, ended.output
        [run] = json.loads(ended.stdout)["runs"]
        found[name] = next(p for p in run["report"]["proofs"] if p["id"] == "pv-no-collateral")

    dead = f"{observer_of(scene, 2)} INACTIVE PROCESS_STOPPED"
    assert found["stored"]["found"].startswith(dead)
    assert "unknown" not in found["stored"]["found"]
    assert f"{dead} (dead now, before unknown)" in found["written"]["found"]


async def test_what_cannot_be_written_down_is_not_posted(stage, refused, monkeypatch):
    """Prefect takes no record: some tries, then one clear error, exit 3, and nothing was sent."""
    scene = await stage()
    create, tries = PrefectClient.create_artifact, []

    async def refusing(client, artifact):
        if artifact.key.startswith("baseline-"):
            tries.append(artifact.key)
            raise httpx.ConnectError("All connection attempts failed")
        return await create(client, artifact)

    monkeypatch.setattr(PrefectClient, "create_artifact", refusing)
    monkeypatch.setattr(obscale.tasks.runtime.baselines, "TRIES", ((10.0, 0.0),) * 4)

    error = await refused(scene.scale_out())

    assert isinstance(error, RecordError)
    assert exit_code_of(error) == Exit.OUT_OF_REACH
    assert "nothing was sent" in str(error)
    assert len(tries) == 4
    assert scene.posts() == 0

    monkeypatch.undo()
    monkeypatch.setenv("OBSCALE_TEST_ROOT", scene.ready["clusters"][0]["root_password"])
    assert (await scene.scale_out()).outcome == "verified"


async def test_the_record_stands_before_the_post_arrives(stage):
    """Held on its way, the POST has left a record already; once answered it names the DAG."""
    scene = await stage()
    scene.world.play(Fault.delay_answer(8, to="scale_out"))
    run = asyncio.create_task(scene.scale_out())
    while not any(isinstance(event, Posting) for event in scene.events):
        assert not run.done()
        await asyncio.sleep(0.02)

    early = await records(scene)
    report = await run
    late = await records(scene)

    assert [(row.newest_dag, row.dag_id) for row in early] == [(0, None)]
    assert len(early[0].zones) == 3
    assert [(row.newest_dag, row.dag_id, row.run_id) for row in late] == [(0, "11", report.run_id)]


async def records(scene):
    """Give the records of the first spare."""
    spare = scene.ready["spares"][0]
    key = obscale.tasks.runtime.journal.artifact_key(
        "baseline", "obcluster/1", f"{spare['ip']}:{spare['port']}"
    )
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        )
    return [
        obscale.tasks.runtime.baselines.read_page(
            obscale.tasks.runtime.baselines.Baseline, each.data
        )
        for each in found
    ]
