"""Tests of cluster agents without a database: the next is asked, nothing done twice."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import Operator
from obscale.connect.connections import Connections
from obscale.errors import DatabaseDownError
from obscale.preflight.read import survey
from obscale.preflight.registry import judge
from obscale.reading import Unread
from obscale.recovery.read import diagnose_now
from obscale.recovery.run import retry
from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, SecretName
from obscale.request.scale_out import ScaleOut
from obscale.sandbox import Fault, in_process
from obscale.submit.run import begin_once
from tests.contract.kept_here import KeptHere, seen_at, unheard

MEMBERS = ("127.0.1.1:2886", "127.0.1.2:2886", "127.0.1.3:2886")
TARGET = "127.0.1.4:2886"
ROOT = SecretStr("sandbox-root")
SAMPLE = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
ORDER = ScaleOut(
    cluster=ClusterSpec(endpoints=MEMBERS, password=SecretName(env="X")),
    node=NodeSpec(agentInfo=AgentInfoSpec(ip="127.0.1.4"), zone="zone2", obConfigs=SAMPLE),
)


@pytest.fixture
def link_to():
    """Gives a function that opens the connections of the order to a world, in process."""

    @asynccontextmanager
    async def opened(world):
        transport = in_process(world)

        def client(address):
            return AgentClient(AgentAddress.parse(address), root_password=ROOT, transport=transport)

        async with (
            ClusterClient([client(member) for member in MEMBERS]) as cluster,
            client(TARGET) as target,
        ):
            yield Connections(cluster, target, ORDER.cluster, None)

    return opened


def posted(world, path):
    """Who was posted to, and what each answered."""
    return [
        (record.agent, record.status)
        for record in world.requests
        if record.method == "POST" and record.target == path
    ]


async def failed_scale_out(world, ask):
    """A scale-out that stands FAILED; gives its id."""
    world.play(Fault.observer_dies())
    dag_id = (await ask.scale_out()).json()["data"]["id"]
    world.advance(60)
    assert world.clusters[0].dags[-1].state == "FAILED"
    return dag_id


@pytest.mark.parametrize("when", ["before the diagnosis", "before the operation"])
async def test_an_operation_goes_to_the_next_agent_where_the_first_has_no_database(
    world, ask, link_to, when
):
    """The first still shows the DAG, by asking others, but cannot operate it: the second does."""
    dag_id = await failed_scale_out(world, ask)
    lost = Fault.observer_down(MEMBERS[0])

    async with link_to(world) as link:
        if when == "before the diagnosis":
            world.play(lost)
        found = await diagnose_now(link, dag_id)
        if when == "before the operation":
            world.play(lost)
        await retry(link, found, lambda _line: None)

    sent = posted(world, f"/api/v1/task/dag/{dag_id}")
    refused = [(MEMBERS[0], 500)] if when == "before the operation" else []
    assert sent == [*refused, (MEMBERS[1], 200)]


async def test_a_lost_answer_of_an_operation_is_sent_to_no_other_agent(world, ask, link_to):
    """The first has no database; the second takes it, its answer is lost: the look settles it."""
    dag_id = await failed_scale_out(world, ask)
    told = []

    def say(line):
        told.append(line)
        if line.startswith("recover.operate"):
            world.play(Fault.observer_down(MEMBERS[0]))
            world.play(Fault.drop_answer(to=dag_id, target=MEMBERS[1]))

    async with link_to(world) as link:
        found = await diagnose_now(link, dag_id)
        await retry(link, found, say)

    assert posted(world, f"/api/v1/task/dag/{dag_id}") == [(MEMBERS[0], 500), (MEMBERS[1], 200)]
    assert any("recover.answer_lost" in line for line in told)


async def test_an_operation_no_agent_has_a_database_for_is_named_with_all_of_them(
    world, ask, link_to
):
    """It ends as the refusal it is, after bounded sendings."""
    dag_id = await failed_scale_out(world, ask)

    async with link_to(world) as link:
        for member in MEMBERS:
            world.play(Fault.observer_down(member))
        with pytest.raises(DatabaseDownError):
            await link.cluster.operate(lambda agent: agent.operate_dag(dag_id, Operator.RETRY))

    assert {agent for agent, _ in posted(world, f"/api/v1/task/dag/{dag_id}")} == set(MEMBERS)


async def test_the_post_goes_to_an_agent_with_a_database_after_another_look(world, link_to):
    """Its database is lost between look and POST: refused, looked again, posted to the next."""

    async def lost_right_before():
        if not posted(world, "/api/v1/ob/scale_out"):
            world.play(Fault.observer_down(MEMBERS[0]))
        return False

    async with link_to(world) as link:
        submitted = await begin_once(
            link,
            ORDER,
            seen_at(datetime.now(UTC)),
            lost_right_before,
            records=KeptHere,
            publish=unheard,
        )

    assert submitted.how == "posted"
    assert posted(world, "/api/v1/ob/scale_out") == [(MEMBERS[0], 500), (MEMBERS[1], 200)]
    between = [r.target.partition("?")[0] for r in world.requests if r.agent == MEMBERS[1]]
    assert between.index("/api/v1/task/dag/maintain/ob") < between.index("/api/v1/ob/scale_out")
    assert world.count_dags("Cluster scale out") == 1


async def test_the_post_never_goes_to_an_agent_that_only_reads_in_the_name_of_others(
    world, link_to
):
    """Without database from the start: the look finds another agent, and it is posted to."""
    world.play(Fault.observer_down(MEMBERS[0]))

    async with link_to(world) as link:
        await begin_once(link, ORDER, seen_at(datetime.now(UTC)), records=KeptHere, publish=unheard)

    assert posted(world, "/api/v1/ob/scale_out") == [(MEMBERS[1], 200)]


@pytest.mark.parametrize("lost", [Fault.observer_down, Fault.database_down])
async def test_a_plan_is_made_by_an_entry_agent_with_a_database(world, link_to, lost):
    """The first one named has none: everything is known all the same, from the second."""
    world.play(lost(MEMBERS[0]))

    async with link_to(world) as link:
        facts = await survey(link, ORDER, probing=False)

    cluster = facts.cluster
    told = [cluster.ob_info, cluster.cluster_info, cluster.topology, cluster.parameters]
    told += [cluster.unit_config_limit, cluster.unit_configs, cluster.pools, cluster.tenants]
    told += [cluster.unfinished, cluster.last_dag, cluster.statistics]
    assert cluster.entry == MEMBERS[1]
    assert not [fact for fact in told if isinstance(fact, Unread)]
    findings = judge(facts, "prod")
    assert not {f.rule for f in findings if f.answer == "unknown"} - {"clock-precision"}


async def test_a_plan_without_any_database_is_still_told_by_the_first_entry_agent(world, link_to):
    """Nobody knows more, so the gaps are findings, not an error."""
    for member in MEMBERS:
        world.play(Fault.database_down(member))

    async with link_to(world) as link:
        facts = await survey(link, ORDER, probing=False)

    assert facts.cluster.entry in MEMBERS
    assert isinstance(facts.cluster.topology, Unread) or isinstance(facts.cluster.tenants, Unread)
    assert judge(facts, "prod").blockers
