"""Tests of the maintenance lock: held, free or unknown beside another DAG."""

import asyncio

import pytest
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.connect.connections import Connections
from obscale.errors import ForeignDagError
from obscale.events import Line
from obscale.preflight.judge import judge_with_overrides
from obscale.preflight.read import survey
from obscale.preflight.result import conclude
from obscale.request.scale_out import ScaleOut
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault, in_process
from obscale.sandbox.dags.dag import GLOBAL_MAINTENANCE, Step, StepFailed
from obscale.submit.run import begin_once
from tests.contract.plan_scenes import ENTRY, ROOT, KeptHere, Scene, look_and_post

LOCK_RULES = ("cluster-maintenance", "cluster-unfinished-dag", "tenant-dag-running")


def failed(card):
    """A world in which such a DAG failed some seconds ago."""

    def prepare(world):
        world.play(Fault(card=card))
        world.advance(5)

    return prepare


def restore_keeps_the_lock(world):
    """A DAG of which reading cannot tell whether it gave the lock up: it did not."""

    def fail(_scene):
        yield 0.0
        raise StepFailed("ERROR: [Common.Unexpected]: Unexpected error: no backup")

    cluster = world.cluster()
    world.create_dag(
        "Restore tenant app",
        [Step("Restore", fail, fail)],
        executor=cluster.agents[0],
        maintenance_type=GLOBAL_MAINTENANCE,
        cluster=cluster,
    )
    world.advance(5)


@pytest.mark.parametrize("card", ["tenant_task_fails", "scale_in_fails"])
async def test_beside_a_dag_without_the_lock_a_scale_out_goes_its_own_way(card):
    """Recorded from the real server: such a DAG is listed, and the POST is taken all the same."""
    ending = await look_and_post(Scene(prepare=failed(card)))

    told = {rule: ending.findings.of_rule(rule)[0] for rule in LOCK_RULES}
    assert not ending.findings.blockers
    assert {rule: finding.answer.value for rule, finding in told.items()} == {
        "cluster-maintenance": "pass",
        "cluster-unfinished-dag": "warn",
        "tenant-dag-running": "pass",
    }
    assert "holds no lock" in told["cluster-unfinished-dag"].measured
    assert (ending.door, ending.dag.state, ending.dag.operator) == ("submit", "SUCCEED", "RUN")


@pytest.mark.parametrize(("seconds", "posts"), [(0, 2), (1, 3)], ids=["no wait", "a second"])
async def test_a_lock_nobody_can_see_ends_the_submit_by_its_name(seconds, posts):
    """A warning, then obshell's own refusals: counted, spaced, and named; nothing is created."""
    scene = Scene(prepare=restore_keeps_the_lock)
    world = scene.make()
    transport = in_process(world)
    said = []

    def client(address):
        return AgentClient(address, root_password=SecretStr(ROOT), transport=transport)

    async with ClusterClient([client(ENTRY)]) as cluster, client(AgentAddress("10.0.0.4")) as agent:
        link = Connections(cluster, agent, scene.cluster_spec, None)
        time_limits = TimeLimits(lock_wait_seconds=seconds)
        order = ScaleOut(
            cluster=scene.cluster_spec,
            node=scene.node,
            batch=(scene.node,),
            time_limits=time_limits,
        )
        facts = await survey(link, order, probing=False)
        findings = judge_with_overrides(facts, "prod")
        seen = conclude(facts, findings)
        with pytest.raises(ForeignDagError) as caught:
            async with asyncio.timeout(30):
                await begin_once(link, order, seen, records=KeptHere, publish=said.append)

    sent = [r for r in world.requests if (r.method, r.target) == ("POST", "/api/v1/ob/scale_out")]
    assert not findings.blockers
    assert findings.of_rule("cluster-maintenance")[0].answer == "warn"
    assert "Restore tenant app" in str(caught.value)
    assert "Restore tenant app 11 FAILED" in str(caught.value)
    assert len(sent) == posts
    assert world.count_dags("Cluster scale out") == 0


async def test_a_lock_that_was_not_seen_and_is_let_go_of_is_waited_for():
    """Refused once and again; as soon as its owner has rolled it back the next POST is taken."""
    scene = Scene(prepare=restore_keeps_the_lock)
    world = scene.make()
    transport = in_process(world)

    def client(address):
        return AgentClient(address, root_password=SecretStr(ROOT), transport=transport)

    def hear(event):
        is_refused = isinstance(event, Line) and event.words.startswith("submit.refused")
        if is_refused and world.cluster().lock_holder:
            world.cluster().dags[0].state = "SUCCEED"

    async with ClusterClient([client(ENTRY)]) as cluster, client(AgentAddress("10.0.0.4")) as agent:
        link = Connections(cluster, agent, scene.cluster_spec, None)
        order = ScaleOut(cluster=scene.cluster_spec, node=scene.node, batch=(scene.node,))
        facts = await survey(link, order, probing=False)
        seen = conclude(facts, judge_with_overrides(facts, "prod"))
        submitted = await begin_once(link, order, seen, records=KeptHere, publish=hear)

    assert submitted.how == "posted"
    assert world.count_dags("Cluster scale out") == 1
