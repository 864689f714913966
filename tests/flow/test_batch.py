"""Tests of a batch: order, stop rules, window, report, and nothing done twice."""

import asyncio
import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowRunFilter
from prefect.client.schemas.sorting import FlowRunSort

from obscale.agent import transport
from obscale.agent.aiohttp_transport import AiohttpTransport
from obscale.agent.models import joined_address
from obscale.batch.report import BatchIncompleteError, BatchReport, render_batch
from obscale.batch.schedule import FAILURES, RowState
from obscale.errors import SpecError
from obscale.events import BatchEnded, BatchWaits, RowChanged, SubmitSettled
from obscale.flows.batch import batch
from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, ScaleOutSpec, SecretName
from obscale.request.policies import BatchPolicies, Window
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault, WorldConfig
from obscale.sandbox.config import AgentConfig, ClusterConfig, ZoneConfig
from obscale.spec.batch import read_batch
from obscale.tasks import batch_row
from obscale.tasks.runtime.journal import artifact_key, listening
from tests.conftest import SAMPLE

pytestmark = pytest.mark.asyncio(loop_scope="session")
UNAUTHORIZED = 401
QUICK = TimeLimits(
    deadline_seconds=240,
    silence_seconds=60,
    verify_seconds=120,
    steady_seconds=0,
    poll_seconds=0.2,
    lost_answer_seconds=10,
)


def world_of(clusters: int, nodes: int, *, zones: int = 3, faults: tuple[Fault, ...] = ()):
    """Describe clusters of one observer a zone, and spares for them."""
    return WorldConfig(
        clusters=tuple(
            ClusterConfig(
                name=f"c{number}",
                id=number,
                zones=tuple(ZoneConfig(name=f"zone{zone + 1}") for zone in range(zones)),
            )
            for number in range(1, clusters + 1)
        ),
        spares=tuple(AgentConfig() for _ in range(clusters * nodes)),
        faults=faults,
    )


@dataclass
class Fleet:
    """A served world, and a batch for it."""

    stage: Any
    asked: list[ScaleOutSpec]
    reports: list[BatchReport]
    settled: int = 0
    """Rows that have heard which DAG is theirs."""

    async def run(self, **changes: Any) -> BatchReport:
        """Run the batch; its report, also where it is incomplete."""

        def hear(event) -> None:
            if isinstance(event, BatchEnded):
                self.reports.append(event.report)
            self.settled += isinstance(event, SubmitSettled)

        with listening(hear), suppress(BatchIncompleteError):
            await batch(**({"clusters": self.asked, "time_limits": QUICK} | changes))
        return self.reports[-1]

    def change(self, cluster: int, node: int, **fields: Any) -> None:
        """Change one row; both counted from 0."""
        spec = self.asked[cluster]
        nodes = list(spec.nodes)
        nodes[node] = nodes[node].model_copy(update=fields)
        self.asked[cluster] = spec.model_copy(update={"nodes": tuple(nodes)})

    def joined(self, cluster: str) -> list[str]:
        """Zones in the order in which DAGs added a node to them."""
        mine = [row for row in self.reports[-1].rows if row.dag_id and row.cluster == cluster]
        return [row.zone for row in sorted(mine, key=lambda row: row.started_at)]

    @property
    def posts(self) -> int:
        """POSTs that reached any cluster."""
        return self.stage.posts()

    @property
    def dags(self) -> int:
        """Scale-outs of all clusters."""
        return self.stage.world.count_dags("Cluster scale out")


@pytest.fixture
def fleet(stage):
    """Give a function that serves clusters, and asks for nodes in zones that take turns."""

    async def open_fleet(clusters: int = 2, nodes: int = 2, *, speed: float = 60, **world: Any):
        scene = await stage(world_of(clusters, nodes, **world), speed=speed)
        spares = iter(scene.ready["spares"])
        asked = [
            ScaleOutSpec(
                cluster=ClusterSpec(
                    endpoints=tuple(joined_address(a["ip"], a["port"]) for a in known["agents"]),
                    password=SecretName(env="OBSCALE_TEST_ROOT"),
                    name=known["name"],
                    id=known["id"],
                ),
                nodes=tuple(
                    NodeSpec(
                        agentInfo=AgentInfoSpec(ip=spare["ip"], port=spare["port"]),
                        zone=f"zone{at % 3 + 1}",
                        obConfigs=scene.sample,
                    )
                    for at, spare in zip(range(nodes), spares, strict=False)
                ),
            )
            for known in scene.ready["clusters"]
        ]
        return Fleet(scene, asked, [])

    return open_fleet


async def test_every_node_of_every_cluster_is_verified(fleet):
    """One DAG a node, one node at a time in a cluster, clusters side by side, one report."""
    fleet = await fleet(clusters=2, nodes=3)

    report = await fleet.run()

    assert report.is_verified, render_batch(report)
    assert report.summary == "6 of 6 nodes verified"
    assert fleet.posts == fleet.dags == 6
    assert {row.level for row in report.rows} <= {"CONFORMING", "BALANCED"}
    for cluster in ("c1", "c2"):
        mine = [row for row in report.rows if row.cluster == cluster]
        mine.sort(key=lambda row: row.started_at)
        for earlier, later in pairwise(mine):
            assert earlier.ended_at <= later.started_at
    first, second = (min(r.started_at for r in report.rows if r.cluster == c) for c in ("c1", "c2"))
    assert max(first, second) < min(r.ended_at for r in report.rows)
    assert report.clusters[0].zones_after == {"zone1": 2, "zone2": 2, "zone3": 2}


@pytest.mark.parametrize("many", [True, False])
async def test_many_nodes_are_asked_over_aiohttp(fleet, monkeypatch, many):
    """Where its import pays; a few are not, and both come to the same."""
    fleet = await fleet(clusters=2, nodes=2)
    asked, ask = [], AiohttpTransport.handle_async_request

    async def counting(transport, request):
        asked.append((request.method, request.url.raw_path.decode("ascii")))
        return await ask(transport, request)

    monkeypatch.setattr(AiohttpTransport, "handle_async_request", counting)
    monkeypatch.setattr(transport, "MANY_NODES", 4 if many else 5)

    report = await fleet.run()

    assert report.is_verified, render_batch(report)
    assert fleet.posts == fleet.dags == 4
    if many:
        # All that arrived came this way; a question that was given up may not have arrived.
        arrived = Counter((each.method, each.target) for each in fleet.stage.world.requests)
        assert arrived
        assert not arrived - Counter(asked)
    else:
        assert asked == []


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_row_with_unknowns_is_begun_only_where_they_are_accepted(fleet, allowed):
    """Row by row: the cluster whose agents tell everything is not held up by the other."""
    fleet = await fleet(clusters=2, nodes=1)
    silent = fleet.asked[0].nodes[0].address
    fleet.stage.world.play(Fault.panic(to="host-info", target=silent))
    fleet.asked[0] = fleet.asked[0].model_copy(update={"allow_unknown": allowed})

    report = await fleet.run()

    first, second = report.rows
    assert second.state is RowState.VERIFIED, render_batch(report)
    assert first.state is (RowState.VERIFIED if allowed else RowState.BLOCKED)
    assert ("mem-fits-total" in first.why, "allow_unknown: true" in first.next) == (
        *(not allowed, not allowed),
    )
    assert fleet.posts == 1 + allowed


async def test_no_agent_refuses_a_question_of_a_batch(fleet):
    """A node that has joined wants the cluster's password: each refusal is a failed login there."""
    fleet = await fleet(clusters=1, nodes=2)

    report = await fleet.run()

    assert report.is_verified, render_batch(report)
    assert [r for r in fleet.stage.world.requests if r.status == UNAUTHORIZED] == []


async def test_rows_are_judged_a_few_at_a_time_and_followed_all_at_once(fleet, monkeypatch):
    """However many clusters grow side by side: questions that wait for each other come late."""
    fleet = await fleet(clusters=3, nodes=1)
    monkeypatch.setattr("obscale.tasks.batch_row.LOOKING_AT_ONCE", 1)
    monkeypatch.setattr("obscale.tasks.batch_row.MOST_LOOKING_AT_ONCE", 1)
    monkeypatch.setattr("obscale.batch.ledger.is_stale", lambda *_: True)
    inside, most = 0, 0
    judge_now = batch_row.judge_now

    async def judged(*row):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        try:
            return await judge_now(*row)
        finally:
            inside -= 1

    monkeypatch.setattr(batch_row, "judge_now", judged)

    report = await fleet.run()

    assert report.is_verified, render_batch(report)
    assert most == 1
    assert max(r.started_at for r in report.rows) < min(r.ended_at for r in report.rows)


async def test_a_row_preflight_has_just_seen_is_not_judged_twice(fleet, monkeypatch):
    """The first of each cluster; every later one is judged anew, when the one before has joined.

    What lasts of the cluster is known to it from preflight.
    """
    fleet = await fleet(clusters=2, nodes=2)
    monkeypatch.setattr("obscale.batch.ledger.is_stale", lambda *_: False)
    judged: list[str] = []
    judge_now = batch_row.judge_now

    async def noted(link, order, kept, publish):
        judged.append(order.target)
        assert kept.lasting is not None
        return await judge_now(link, order, kept, publish)

    monkeypatch.setattr(batch_row, "judge_now", noted)

    report = await fleet.run()

    assert report.is_verified, render_batch(report)
    rows = sorted(report.rows, key=lambda row: row.started_at)
    assert sorted(judged) == sorted(row.target for row in rows[2:])
    assert fleet.posts == 4


async def test_a_row_whose_look_is_old_is_judged_again(fleet, monkeypatch):
    """Its target has come up in another cluster meanwhile: it is blocked, and nothing is sent."""
    fleet = await fleet(clusters=1, nodes=1)
    monkeypatch.setattr("obscale.batch.ledger.is_stale", lambda *_: True)

    def hear(event) -> None:
        if isinstance(event, RowChanged) and event.row.state is RowState.RUNNING:
            spare = fleet.stage.world.spares[0]
            spare.identity = "CLUSTER AGENT"

    with listening(hear):
        report = await fleet.run()

    assert states(report) == {"c1": [RowState.BLOCKED]}
    assert fleet.posts == 0


async def test_running_it_again_does_only_what_is_missing(fleet):
    """Members are looked at, nothing is posted twice, and the row that failed is taken up."""
    fleet = await fleet(clusters=2, nodes=2)
    fleet.stage.world.play(Fault.fail_stage(5, target=fleet.asked[0].nodes[0].address))
    first = await fleet.run()
    posts = fleet.posts

    second = await fleet.run()

    assert states(first) == {
        "c1": [RowState.FAILED, RowState.SKIPPED],
        "c2": [RowState.VERIFIED, RowState.VERIFIED],
    }
    assert states(second) == states(first)
    assert fleet.posts == posts == 3
    adopted, skipped, *members = second.rows
    assert adopted.submitted_how == "adopted"
    assert adopted.dag_id == first.rows[0].dag_id
    assert "stage 5/9" in adopted.why
    assert adopted.target in skipped.why
    assert {row.why for row in members} == {"was a member already"}


async def test_run_again_a_failure_that_stopped_everything_is_known_before_anything_begins(fleet):
    """A killed batch that is run again finds the FAILED DAG first; no other cluster is begun."""
    fleet = await fleet(clusters=2, nodes=1)
    fleet.stage.world.play(Fault.fail_stage(5, target=fleet.asked[0].nodes[0].address))
    await fleet.run(clusters=fleet.asked[:1])

    report = await fleet.run(policies=BatchPolicies(stop_batch_after=1))

    assert states(report) == {"c1": [RowState.FAILED], "c2": [RowState.SKIPPED]}
    assert report.rows[0].submitted_how == "adopted"
    assert report.rows[0].target in report.rows[1].why
    assert fleet.posts == 1


async def test_a_server_that_a_failed_dag_has_listed_is_not_there_before_the_batch(fleet):
    """Else its zone would count it twice, and zones would not take turns when it is run again."""
    fleet = await fleet(clusters=1, nodes=1)
    fleet.stage.world.play(Fault.fail_stage(8, target=fleet.asked[0].nodes[0].address))
    await fleet.run()

    report = await fleet.run()

    assert len(fleet.stage.world.clusters[0].servers) == 4
    assert report.clusters[0].zones_before == {"zone1": 1, "zone2": 1, "zone3": 1}


async def test_a_row_is_put_back_where_the_window_closes_before_its_post(fleet, monkeypatch):
    """Its preflight took too long: it waits for the next opening, and is posted once, inside."""
    fleet = await fleet(clusters=1, nodes=1)
    clock = [datetime(2026, 11, 28, 3, tzinfo=UTC)]
    monkeypatch.setattr("obscale.tasks.batch.utc_now", lambda: clock[0])
    posts_while_shut: list[int] = []

    opens = datetime(2026, 11, 29, 2, tzinfo=UTC)

    def hear(event) -> None:
        is_started = isinstance(event, RowChanged) and event.row.state is RowState.RUNNING
        if is_started and not posts_while_shut:
            clock[0] = datetime(2026, 11, 28, 5, tzinfo=UTC)
        if isinstance(event, BatchWaits) and event.until == opens:
            posts_while_shut.append(fleet.posts)
            clock[0] = opens

    with listening(hear):
        report = await fleet.run(policies=BatchPolicies(window=Window(start="02:00", end="04:00")))

    assert report.is_verified, render_batch(report)
    assert posts_while_shut == [0]
    assert fleet.posts == 1


async def test_what_a_batch_retries_by_policy_goes_on(fleet):
    """With on_failure retry a DAG that failed once is carried through, and its cluster goes on."""
    fleet = await fleet(clusters=1, nodes=2)
    fleet.stage.world.play(
        Fault.fail_stage(5, target=fleet.asked[0].nodes[0].address, text="observer start timeout")
    )
    time_limits = QUICK.model_copy(update={"retry_pause_seconds": 0})

    report = await fleet.run(policies=BatchPolicies(on_failure="retry"), time_limits=time_limits)

    assert report.is_verified, render_batch(report)
    assert fleet.posts == 2


async def test_a_blocked_row_is_known_before_anything_is_sent(fleet):
    """Its cluster is not begun, another one is, and no POST is older than the last judgement."""
    fleet = await fleet(clusters=2, nodes=2)
    too_much = fleet.stage.sample | {"memory_limit": "80G"}
    fleet.change(0, 1, obConfigs=too_much)

    report = await fleet.run()

    assert states(report) == {
        "c1": [RowState.SKIPPED, RowState.BLOCKED],
        "c2": [RowState.VERIFIED, RowState.VERIFIED],
    }
    assert "mem-fits-total: 80G; needed ≤ 62.8G" in report.rows[1].why
    assert report.rows[1].target in report.rows[0].why
    assert fleet.posts == 2


async def test_a_batch_that_stops_at_one_failure_begins_nothing_when_one_row_is_blocked(fleet):
    """stop_batch_after: 1 is all or nothing, as far as preflight can see."""
    fleet = await fleet(clusters=2, nodes=1)
    fleet.change(0, 0, obConfigs=fleet.stage.sample | {"datafile_size": "900G"})

    report = await fleet.run(policies=BatchPolicies(stop_batch_after=1))

    assert states(report) == {"c1": [RowState.BLOCKED], "c2": [RowState.SKIPPED]}
    assert fleet.posts == 0


async def test_nothing_is_begun_outside_the_window(fleet):
    """A batch started too early waits, and says until when; ended meanwhile, it began nothing."""
    fleet = await fleet(clusters=1, nodes=1)
    later = datetime.now(UTC) + timedelta(hours=2)
    window = Window(start=f"{later:%H:%M}", end=f"{later + timedelta(hours=1):%H:%M}")
    told: list[datetime] = []
    waits = asyncio.Event()

    def hear(event) -> None:
        if isinstance(event, BatchWaits):
            told.append(event.until)
            waits.set()

    with listening(hear):
        run = asyncio.create_task(fleet.run(policies=BatchPolicies(window=window)))
        await asyncio.wait_for(waits.wait(), 120)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert later.replace(second=0, microsecond=0) in told
    assert states(fleet.reports[-1]) == {"c1": [RowState.SKIPPED]}
    assert fleet.posts == 0


async def test_a_batch_that_is_ended_says_what_goes_on_and_is_taken_up_again(fleet):
    """Nothing new starts; the report names the DAGs; run again, each node has had one DAG.

    Again at once: the DAGs do not name their targets yet, and block no row of their own batch.
    """
    fleet = await fleet(clusters=2, nodes=2, speed=2)
    run = asyncio.create_task(fleet.run())
    # Where the answer to a POST has not come yet, a row may say less.
    await until(lambda: fleet.settled == 2)

    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    cut = fleet.reports[-1]
    assert {row.state for row in cut.rows} == {RowState.LEFT, RowState.SKIPPED}
    assert fleet.dags == 2
    assert "Still running in the clusters (2)" in render_batch(cut)
    assert all("goes on by itself" in row.why for row in cut.rows if row.state is RowState.LEFT)
    again = await fleet.run()
    assert again.is_verified, render_batch(again)
    assert fleet.posts == fleet.dags == 4


async def test_two_names_of_one_cluster_share_its_one_place(fleet):
    """Their rows never run at the same time, because their lock is one."""
    fleet = await fleet(clusters=1, nodes=2)
    (asked,) = fleet.asked
    one = asked.model_copy(update={"cluster": "one", "nodes": asked.nodes[:1]})
    two = asked.model_copy(update={"cluster": "two", "nodes": asked.nodes[1:]})
    fleet.asked = [one, two]

    report = await fleet.run(connections={"one": asked.cluster, "two": asked.cluster})

    assert report.is_verified, render_batch(report)
    first, second = sorted(report.rows, key=lambda row: row.started_at)
    assert first.ended_at <= second.started_at


async def test_names_that_resolve_to_nothing_are_all_told_before_anything_is_asked(fleet):
    """An unknown cluster and a missing secret are bad input, not failures on the way."""
    fleet = await fleet(clusters=2, nodes=1)
    fleet.asked[0] = fleet.asked[0].model_copy(update={"cluster": "nowhere"})
    fleet.change(1, 0, targetAgentPassword=SecretName(env="OBSCALE_TEST_NOT_SET"))

    with pytest.raises(SpecError) as caught:
        await fleet.run()

    unknown, unset = caught.value.problems
    assert "of cluster nowhere: cluster: no connection is stored under the name" in unknown
    assert "environment variable OBSCALE_TEST_NOT_SET is not set" in unset
    assert not fleet.stage.world.requests
    assert {row.state for row in fleet.reports[-1].rows} == {RowState.SKIPPED}


async def test_parameters_that_contradict_each_other_are_told_by_their_place(fleet):
    """From the UI and the API a batch has no file; the fault names cluster, node and field."""
    fleet = await fleet(clusters=2, nodes=1)
    taken = fleet.asked[0].nodes[0].agentInfo
    fleet.change(1, 0, agentInfo=taken)

    with pytest.raises(SpecError) as caught:
        await batch(clusters=fleet.asked, time_limits=QUICK)

    (said,) = caught.value.problems
    assert said.startswith(f"clusters[1]: nodes[0]: {taken.ip}:{taken.port} is asked for of c2, ")
    assert "and of c1 at clusters[0]: nodes[0]; a node joins one cluster: remove one" in said
    assert not fleet.stage.world.requests


async def test_a_cluster_that_does_not_answer_blocks_its_own_rows_only(fleet):
    """Its rows name the cause; the other cluster grows."""
    fleet = await fleet(clusters=2, nodes=1)
    for agent in fleet.stage.ready["clusters"][0]["agents"]:
        fleet.stage.world.play(Fault.agent_down(f"{agent['ip']}:{agent['port']}"))

    report = await fleet.run()

    assert states(report) == {"c1": [RowState.BLOCKED], "c2": [RowState.VERIFIED]}
    assert report.rows[0].error_kind == "unreachable"


async def test_forty_rows_of_a_spreadsheet_three_of_them_broken(fleet, tmp_path):
    """A manager reads how many are done, which three are not and why, and what was not begun."""
    fleet = await fleet(clusters=8, nodes=5, speed=120)
    connections = {f"c{n}": spec.cluster for n, spec in enumerate(fleet.asked, start=1)}
    rows = ["cluster;ip;port;zone;" + ";".join(fleet.stage.sample)]
    for name, spec in zip(connections, fleet.asked, strict=True):
        rows += [
            f"{name};{n.agentInfo.ip};{n.agentInfo.port};{n.zone};{';'.join(n.obConfigs.values())}"
            for n in spec.nodes
        ]
    rows[8] = rows[8].replace("16G", "80G")  # the third node of c2
    (tmp_path / "nodes.csv").write_bytes("\r\n".join(["\ufeff" + rows[0], *rows[1:]]).encode())
    (tmp_path / "batch.json").write_text(
        json.dumps(
            {
                "rows": "nodes.csv",
                "connections": {n: c.model_dump(mode="json") for n, c in connections.items()},
            }
        )
    )
    fails, dead = fleet.asked[3].nodes[1].address, fleet.asked[6].nodes[4].address
    fleet.stage.world.play(Fault.fail_stage(5, target=fails, text="observer died of thirst"))
    fleet.stage.world.play(Fault.agent_down(dead))
    spec = read_batch(tmp_path / "batch.json")

    report = await fleet.run(clusters=list(spec.clusters), connections=spec.connections)

    page = render_batch(report)
    assert page.startswith("# 26 of 40 nodes verified, 1 failed, 2 blocked, 11 not started\n"), page
    assert "## What to do (3)" in page
    broken = {row.target: row for row in report.rows if row.state in FAILURES}
    assert len(broken) == 3
    assert "observer died of thirst" in broken[fails].why
    assert broken[fails].why.endswith("the observer could not be started [observer-not-started]")
    assert "obscale recover" in broken[fails].next
    assert "agent-reachable" in broken[dead].why
    assert all(row.next and len(row.why) < 500 for row in broken.values())
    assert Counter(row.cluster for row in report.rows if row.state is RowState.SKIPPED) == {
        "c2": 4,
        "c4": 3,
        "c7": 4,
    }
    assert fleet.posts == 27


async def test_a_row_is_one_task_run_and_a_batch_one_table_and_one_report(fleet):
    """What Prefect shows, and how little it is asked for it."""
    fleet = await fleet(clusters=2, nodes=2)

    report = await fleet.run()

    async with get_client() as client:
        (run, *_) = await client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
        mine = FlowRunFilter(id={"any_": [run.id]})
        tasks: list[Any] = []

        async def recorded() -> bool:
            tasks[:] = await client.read_task_runs(flow_run_filter=mine)
            # Prefect records a task run before its state.
            return len(tasks) == 6 and all(t.state and t.state.is_completed() for t in tasks)

        await until(recorded)
        shown = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(exists_=True)),
            flow_run_filter=mine,
        )
    assert run.name == "batch of 2 clusters"
    assert {f"batch:{report.key}", "cluster:c1", "cluster:c2", "zone:zone1"} <= set(run.tags)
    tagged = {task.name: set(task.tags) for task in tasks}
    for row in report.rows:
        wanted = {f"batch:{report.key}", f"cluster:{row.cluster}", f"zone:{row.zone}"}
        name = f"{row.target} to {row.zone} of {row.cluster}"
        assert tagged[name] == wanted | {f"target:{row.target}"}
    assert Counter(task.name for task in tasks) == Counter(
        [f"{row.target} to {row.zone} of {row.cluster}" for row in report.rows]
        + ["preflight 2 nodes for c1", "preflight 2 nodes for c2"]
    )
    before = [
        artifact_key("baseline", f"{row.cluster}/{row.cluster[1:]}", row.target)
        for row in report.rows
    ]
    assert sorted(artifact.key for artifact in shown) == sorted(
        (f"batch-{report.key}", f"batch-report-{report.key}", *before)
    )
    table = next(json.loads(a.data) for a in shown if a.key == f"batch-{report.key}")
    assert [row["state"] for row in table] == ["verified"] * 4


def states(report: BatchReport) -> dict[str, list[RowState]]:
    """How each row of each cluster stands, as written."""
    found: dict[str, list[RowState]] = {}
    for row in report.rows:
        found.setdefault(row.cluster, []).append(row.state)
    return found


async def until(holds) -> None:
    """Wait for something that happens elsewhere."""
    for _ in range(1200):
        found = holds()
        if await found if asyncio.iscoroutine(found) else found:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("not within two minutes")


async def test_a_batch_of_many_clusters_comes_to_its_end_in_prefect_too():
    """Its server can tell no change of a run that has a hundred tags; here it is a refusal."""
    nobody = [
        ScaleOutSpec(
            cluster=ClusterSpec(
                endpoints=("http://127.0.0.1:9",),
                password=SecretName(env="OBSCALE_TEST_NOWHERE"),
                name=f"c{number}",
            ),
            nodes=(
                NodeSpec(
                    agentInfo=AgentInfoSpec(ip=f"127.9.0.{number + 1}", port=2886),
                    zone="zone1",
                    obConfigs=dict(SAMPLE),
                ),
            ),
        )
        for number in range(120)
    ]

    with pytest.raises(SpecError, match="OBSCALE_TEST_NOWHERE is not set"):
        await batch(clusters=nobody, time_limits=QUICK)

    async with get_client() as client:
        (run,) = await client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)
    assert run.name == "batch of 120 clusters"
    assert (run.state_name, run.state_type.value) == ("BadRequest", "FAILED")
    assert {tag.partition(":")[0] for tag in run.tags} >= {"batch", "zone"}
    assert "cluster:c0" not in run.tags
