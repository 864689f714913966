"""Counts what a batch of joining nodes asks agents, by the step of its rows, on virtual time."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from obscale.agent import transport
from obscale.agent.cluster import ClusterClient
from obscale.agent.silence import remembering_silence
from obscale.batch.connections import SEEN_SECONDS, ConnectionCache, Kept
from obscale.batch.ledger import Ledger, ledger_of
from obscale.batch.preflight import judge_all
from obscale.batch.preflight_others import look_at_rows
from obscale.connect.connections import (
    ClusterAccess,
    ClusterConnection,
    EnvironmentSecrets,
    entries,
)
from obscale.events import DagMoved, Event, Judged, Posting, SubmitSettled
from obscale.preflight.facts import ClusterFacts
from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, ScaleOutSpec, SecretName
from obscale.request.policies import BatchPolicies
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import World, WorldConfig, in_process
from obscale.sandbox.config import AgentConfig, ClusterConfig, ZoneConfig
from obscale.spec.batch import BatchSpec
from obscale.tasks import batch, batch_row
from obscale.tasks.batch import LocalRunner, run_batch
from obscale.tasks.runtime import journal
from obscale.tasks.runtime.journal import listening
from tests.conftest import SAMPLE
from tests.contract.kept_here import KeptHere, SlowlyKept, SlowServer
from tests.virtual_time import on_virtual_time, virtual_clock

PASSWORD = "OBSCALE_TEST_BATCH_PASSWORD"
ZONES = 3
TO_THE_TARGET = {
    "info",
    "status",
    "ob/info",
    "agent/host-info",
    "task/dag/agent/unfinish",
    "task/dag/maintain/agent",
}
BEFORE_THE_POST = Counter(
    {
        ("member", "ob/info"): 1,
        ("member", "task/dag/ob/unfinish"): 1,
        ("member", "task/dag/maintain/ob"): 1,
        ("target", "info"): 1,
        ("target", "task/dag/maintain/agent"): 1,
        ("member", "time"): 1,
    }
)
"""Who are the members, which DAG runs or ran last, and how the target is; and the agent's clock."""
OF_A_PROOF = Counter(
    {
        ("member", "ob/info"): 1,
        ("member", "obcluster/info"): 1,
        ("member", "obcluster/parameters"): 1,
        ("member", "task/dag/ob/unfinish"): 1,
        ("target", "info"): 1,
        ("target", "status"): 1,
        ("target", "secret"): 1,
        ("target", "task/dag/agent/unfinish"): 1,
        ("target", "agent/host-info"): 1,
    }
)
Question = tuple[str, str]
"""`member` or `target`, and the path below `/api/v1/`."""


@dataclass
class Heard:
    """A batch that was played, and what agents were asked in each step of each row.

    Attributes:
        world: It was played in.
        ledger: Its rows.
        asked: Questions of each step, in their order, by cluster; a step is `preflight`, or its
            row's place in its cluster with `judge`, `look`, `post`, `follow` or `proof`.
        order: All questions, with the agent asked.
    """

    world: World
    ledger: Ledger
    asked: dict[tuple[str, str], list[Question]] = field(default_factory=dict)
    order: list[tuple[str, str]] = field(default_factory=list)
    first_post_seconds: float = 0.0
    """From the beginning."""

    @property
    def each(self) -> float:
        """Questions a node."""
        return len(self.world.requests) / len(self.ledger.entries)

    def note(self, agent: str, path: str) -> None:
        """Take down one question, and when the first POST came."""
        if path == "ob/scale_out" and not self.first_post_seconds:
            self.first_post_seconds = virtual_clock().now()
        self.order.append((agent, path))

    def of(self, step: str) -> list[Counter[Question]]:
        """Give how often was asked what in a step, for each row that had it."""
        return [Counter(asked) for (_, at), asked in self.asked.items() if at.endswith(step)]


class Requests(list[Any]):
    """A list that tells of what is added to it."""

    def __init__(self, told: Callable[[Any], None]) -> None:
        super().__init__()
        self._told = told

    def append(self, record: Any) -> None:
        """Add it, and tell."""
        super().append(record)
        self._told(record)


def world_of(clusters: int, nodes: int) -> WorldConfig:
    """Give clusters of one server a zone, with so many spares each."""
    return WorldConfig(
        clusters=tuple(
            ClusterConfig(
                name=f"c{number}",
                id=number,
                zones=tuple(ZoneConfig(name=f"zone{zone + 1}") for zone in range(ZONES)),
            )
            for number in range(1, clusters + 1)
        ),
        spares=tuple(AgentConfig(start_seconds=3.0) for _ in range(clusters * nodes)),
        service_start_delay_seconds=0.0,
    )


def ledger_for(world: World) -> Ledger:
    """Open the ledger of a batch that deals a world's spares out to its clusters."""
    count = len(world.clusters)
    specs = [
        ScaleOutSpec(
            cluster=ClusterSpec(
                endpoints=tuple(agent.address for agent in cluster.agents),
                password=SecretName(env=PASSWORD),
                name=cluster.name,
                id=cluster.id,
            ),
            nodes=tuple(
                NodeSpec(
                    agentInfo=AgentInfoSpec(ip=spare.ip, port=spare.port),
                    zone=f"zone{place % ZONES + 1}",
                    obConfigs=dict(SAMPLE),
                )
                for place, spare in enumerate(world.spares[at::count])
            ),
            time_limits=TimeLimits(steady_seconds=0),
        )
        for at, cluster in enumerate(world.clusters)
    ]
    policies = BatchPolicies(max_clusters_at_once=count)
    return ledger_of(BatchSpec(clusters=tuple(specs), policies=policies))


class Late(httpx.AsyncBaseTransport):
    """A way to agents that takes so long there, and so long back."""

    def __init__(self, way: httpx.AsyncBaseTransport, seconds: float) -> None:
        self._way = way
        self._seconds = seconds

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Ask late, and answer late."""
        await asyncio.sleep(self._seconds)
        response = await self._way.handle_async_request(request)
        await asyncio.sleep(self._seconds)
        return response


def kept_here(
    kept: dict[tuple[str, ...], KeptHere],
    server: SlowServer | None,
    *names: str,
    settling: Any,
) -> KeptHere:
    """Give where the records of a node are kept, by cluster and target; the same each time."""
    mine = SlowlyKept(server, names, settling) if server else KeptHere(*names)
    return kept.setdefault(names, mine)


async def play(
    monkeypatch: pytest.MonkeyPatch,
    clusters: int,
    nodes: int,
    late_seconds: float = 0.0,
    server: SlowServer | None = None,
) -> Heard:
    """Judge a batch and carry it out, as its flow does but for Prefect."""
    world = World(world_of(clusters, nodes), clock=virtual_clock())
    way = transport._Borrowed(Late(in_process(world), late_seconds))
    monkeypatch.setattr(transport, "_open_transports", lambda *_: (way, way))
    monkeypatch.setattr(journal, "run_logger", lambda: logging.getLogger(__name__))
    monkeypatch.setenv(PASSWORD, world.clusters[0].root_password)
    heard = Heard(world, ledger_for(world))
    rows = heard.ledger.entries
    targets = {entry.target for entry in rows}
    cluster_of = {a.address: c.name for c in world.clusters for a in c.agents} | {
        entry.target: entry.cluster for entry in rows
    }
    steps = {entry.cluster: "preflight" for entry in rows}
    begun: Counter[str] = Counter()

    def note(record: Any) -> None:
        name, path = cluster_of[record.agent], record.target.partition("?")[0]
        path = path.removeprefix("/api/v1/")
        who = "target" if record.agent in targets else "member"
        heard.asked.setdefault((name, steps[name]), []).append((who, path))
        heard.note(record.agent, path)

    async def carry(run: Any) -> None:
        name = run.entry.cluster
        begun[name] += 1
        row = begun[name]
        steps[name] = f"{row} judge"

        def hear(event: Event) -> None:
            run.entry.hear(event)
            match event:
                case Judged():
                    steps[name] = f"{row} look"
                case Posting():
                    steps[name] = f"{row} post"
                case SubmitSettled():
                    steps[name] = f"{row} follow"
                case DagMoved(dag=dag) if dag.is_done:
                    steps[name] = f"{row} proof"
                case _:
                    pass

        with listening(hear):
            await batch_row._run_row(run.entry.order, run)

    monkeypatch.setattr(batch, "carry_row", carry)
    monkeypatch.setattr(batch_row, "Records", partial(kept_here, {}, server))
    world.requests = Requests(note)
    store = EnvironmentSecrets()
    async with ConnectionCache(store) as cache:

        async def looking(name: str, entries: Any) -> Any:
            orders = [entry.order for entry in entries]
            async with cache.cluster(name, orders[0]) as opened:
                return await look_at_rows(orders, store, will_be_asked=False, opened=opened)

        with remembering_silence():
            await judge_all(heard.ledger, looking)
            await run_batch(heard.ledger, LocalRunner(heard.ledger, cache))
    return heard


@pytest.mark.parametrize(("clusters", "nodes", "most"), [(2, 5, 42), (5, 1, 47)])
@on_virtual_time
async def test_a_node_of_a_batch_takes_no_more_questions_than(monkeypatch, clusters, nodes, most):
    """Several nodes a cluster share its preflight; one alone pays for all of it."""
    heard = await play(monkeypatch, clusters, nodes)

    assert all(entry.level == "CONFORMING" for entry in heard.ledger.entries)
    assert len([path for _, path in heard.order if path == "ob/scale_out"]) == clusters * nodes
    assert heard.each <= most


@on_virtual_time
async def test_answers_that_are_late_are_no_more_questions(monkeypatch):
    """A process that looks at two hundred clusters hears each answer some 50 ms late."""
    heard = await play(monkeypatch, 2, 5, late_seconds=0.025)

    assert all(entry.level == "CONFORMING" for entry in heard.ledger.entries)
    assert heard.each <= 44


@on_virtual_time
async def test_clocks_of_agents_that_are_far_away_are_asked_for_twice_not_five_times(monkeypatch):
    """Each answer takes 200 ms: no further one would make a clock surer."""
    heard = await play(monkeypatch, 2, 5, late_seconds=0.1)

    assert all(entry.level == "CONFORMING" for entry in heard.ledger.entries)
    assert heard.each <= 56


@on_virtual_time
async def test_more_clusters_are_judged_at_once_where_answers_are_late(monkeypatch):
    """Forty clusters by four at a time would be 27 s until the first POST."""
    heard = await play(monkeypatch, 40, 1, late_seconds=0.1)

    assert all(entry.level == "CONFORMING" for entry in heard.ledger.entries)
    assert heard.first_post_seconds < 15


@on_virtual_time
async def test_a_server_that_takes_records_slowly_has_nobody_look_twice(monkeypatch):
    """Twenty clusters at once, six seconds for all their records: no look grows old meanwhile."""
    server = SlowServer(0.3)
    heard = await play(monkeypatch, 20, 1, server=server)

    assert heard.of(" look") == [BEFORE_THE_POST - Counter({("member", "time"): 1})] * 20
    assert server.most_waiting <= batch_row.SUBMITTING_AT_ONCE
    assert server.taken == ["record"] * 20 + ["dag"] * 20


@on_virtual_time
async def test_what_is_looked_at_right_before_each_post_is_left_out_for_no_row(monkeypatch):
    """However fresh the judgement is: each of it once, after that, and before the POST."""
    heard = await play(monkeypatch, 2, 3)

    looks = [asked + post for asked, post in zip(heard.of(" look"), heard.of(" post"), strict=True)]
    assert looks == [BEFORE_THE_POST + Counter({("member", "ob/scale_out"): 1})] * 6
    for (_, step), asked in heard.asked.items():
        if step.endswith(" post"):
            assert asked == [("member", "time"), ("member", "ob/scale_out")]


@on_virtual_time
async def test_no_post_is_sent_before_every_target_was_asked_all_there_is_to_judge(monkeypatch):
    """All rows are judged before the first one is begun."""
    heard = await play(monkeypatch, 2, 3)

    first = [path for _, path in heard.order].index("ob/scale_out")
    for entry in heard.ledger.entries:
        before = [path for agent, path in heard.order[:first] if agent == entry.target]
        assert set(before) >= TO_THE_TARGET


@on_virtual_time
async def test_a_later_row_is_judged_by_a_target_asked_anew_and_a_cluster_just_seen(monkeypatch):
    """The proof of the row before has read all of the cluster; the target may have changed."""
    heard = await play(monkeypatch, 2, 3)

    assert heard.of(" judge") == [Counter({("target", path): 1 for path in TO_THE_TARGET})] * 4


@on_virtual_time
async def test_every_row_is_proved_by_the_cluster_and_by_the_node_itself(monkeypatch):
    """Each of it is asked after the DAG, and the key of the node that is trusted now."""
    heard = await play(monkeypatch, 2, 3)

    proofs = heard.of(" proof")
    assert len(proofs) == 6
    for proof in proofs:
        del proof["member", "time"], proof["target", "time"]
        assert proof == OF_A_PROOF


@on_virtual_time
async def test_what_the_row_before_has_seen_counts_for_seconds_only_and_once():
    """Then, and where it was not enough, the cluster is asked."""
    facts = ClusterFacts("127.0.0.1:2886", "http")
    spec = ClusterSpec(endpoints=("http://127.0.0.1:2886",), password=SecretName(env=PASSWORD))
    known = ClusterAccess(spec, SecretStr(""))
    async with AsyncExitStack() as closing, ClusterClient(entries(known)) as client:
        kept = Kept(ClusterConnection(client, known), closing, 0.0)

        kept.prove(facts)
        await asyncio.sleep(SEEN_SECONDS - 1)
        assert kept.take_seen() == (facts, pytest.approx(SEEN_SECONDS - 1))
        assert kept.take_seen() == (None, 0.0)

        kept.prove(facts)
        await asyncio.sleep(SEEN_SECONDS + 1)
        assert kept.take_seen() == (None, 0.0)

        kept.prove(None)
        assert kept.take_seen() == (None, 0.0)
