"""Counts what a batch of joining nodes asks agents, by the step of its row, on virtual time."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from obscale.agent import transport
from obscale.agent.silence import remembering_silence
from obscale.batch.connections import ConnectionCache
from obscale.batch.ledger import Entry, Ledger, ledger_of
from obscale.batch.preflight import judge_all
from obscale.batch.preflight_others import look_at_rows
from obscale.batch.report import BatchReport, report_of
from obscale.connect.connections import EnvironmentSecrets
from obscale.events import Event, text_of
from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, ScaleOutSpec, SecretName
from obscale.request.policies import BatchPolicies
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import World, WorldConfig, in_process
from obscale.sandbox.config import AgentConfig, ClusterConfig, ZoneConfig
from obscale.spec.batch import BatchSpec
from obscale.tasks import batch, batch_row
from obscale.tasks.batch import LocalRunner, run_batch
from tests.conftest import SAMPLE
from tests.contract.kept_here import KeptHere
from tests.virtual_time import on_virtual_time, virtual_clock

ZONES = 3


@dataclass
class Asked:
    world: World
    marks: list[tuple[int, str, str]] = field(default_factory=list)


def world_of(clusters, nodes):
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


async def play(monkeypatch, clusters, nodes):
    world = World(world_of(clusters, nodes), clock=virtual_clock())
    way = in_process(world)
    monkeypatch.setattr(transport, "_open_transports", lambda _a, _t: (transport._Borrowed(way),transport._Borrowed(way)))
    monkeypatch.setenv("OBSCALE_TEST_PASSWORD", world.clusters[0].root_password)
    specs = []
    for at, cluster in enumerate(world.clusters):
        named = ClusterSpec(
            endpoints=tuple(agent.address for agent in cluster.agents),
            password=SecretName(env="OBSCALE_TEST_PASSWORD"),
            name=cluster.name, id=cluster.id,
        )
        spares = world.spares[at::clusters]
        specs.append(ScaleOutSpec(cluster=named, nodes=tuple(
            NodeSpec(agentInfo=AgentInfoSpec(ip=s.ip, port=s.port), zone=f"zone{n % ZONES + 1}", obConfigs=dict(SAMPLE))
            for n, s in enumerate(spares)), time_limits=TimeLimits(steady_seconds=0)))
    spec = BatchSpec(clusters=tuple(specs), policies=BatchPolicies(max_clusters_at_once=clusters))
    ledger = ledger_of(spec)
    store = EnvironmentSecrets()
    kept = {}
    marks = []
    cluster_of = {}
    for c in world.clusters:
        for a in c.agents: cluster_of[a.address] = c.name
    for e in ledger.entries: cluster_of[e.target] = e.cluster
    def hear(event):
        pass
    monkeypatch.setattr(batch_row, "Records", lambda c, t: kept.setdefault((c, t), KeptHere(c, t)))
    state = {}
    for e in ledger.entries:
        state[e.cluster] = "preflight"
    counts = Counter()
    async def carry(run):
        entry = run.entry
        n = sum(1 for e in ledger.entries if e.cluster == entry.cluster and e.started)
        state[entry.cluster] = f"row{'1' if n == 1 else 'N'} judge"
        def publish(event):
            text = text_of(event)
            entry.hear(event)
            name = type(event).__name__
            row = state[entry.cluster].split()[0]
            if entry.cluster=="c1": print("%7.2f"%world.clock.now(), text[:150])
            if name == "Judged": state[entry.cluster] = f"{row} look"
            if name == "Posting": state[entry.cluster] = f"{row} post"
            if name == "SubmitSettled": state[entry.cluster] = f"{row} follow"
            if name == "DagMoved" and event.dag.is_done: state[entry.cluster] = f"{row} proof"
        from obscale.tasks.runtime.journal import listening
        with listening(publish):
            await batch_row._run_row(entry.order, run)
    monkeypatch.setattr(batch, "carry_row", carry)
    import obscale.tasks.runtime.journal as j
    monkeypatch.setattr(batch_row, "publish", j.publish)
    orig = world.requests.append
    class L(list):
        def append(self, r):
            super().append(r)
            c = cluster_of[r.agent]
            who = "target" if r.agent in {e.target for e in ledger.entries} else "member"
            counts[(state[c], who, r.method, r.target.split('?')[0].removeprefix('/api/v1/'))] += 1
    world.requests = L()
    def orders_look(name, entries): ...
    cache = ConnectionCache(store)
    async def looking(n, entries):
        async with cache.cluster(n, entries[0].order) as opened:
            return await look_at_rows([e.order for e in entries], store, will_be_asked=False, opened=opened)
    import obscale.tasks.runtime.journal
    with remembering_silence():
        await judge_all(ledger, looking)
        async with cache:
            await run_batch(ledger, LocalRunner(ledger, cache))
    report = report_of(ledger)
    return world, report, counts


@pytest.mark.parametrize(("clusters","nodes"), [(2, 5), (5, 1), (5,5)])
def test_count(monkeypatch, clusters, nodes):
    monkeypatch.setattr(batch, "publish", lambda e: None)
    import obscale.tasks.runtime.journal as j
    import logging
    monkeypatch.setattr(j, "run_logger", lambda: logging.getLogger("x"))
    async def go():
        world, report, counts = await play(monkeypatch, clusters, nodes)
        print(report.summary, [r.why for r in report.rows][:3])
        total = clusters*nodes
        by = Counter()
        import re
        for (st, who, m, t), n in sorted(counts.items()):
            t = re.sub(r"task/dag/(?!ob|agent|maintain|unfinish).*", "task/dag/ID", t)
            by[(st, who, m, t)] += n
        ph = Counter()
        for k, n in by.items(): ph[k[0]] += n
        for (st, who, m, t), n in sorted(by.items()):
            print(f"{st:14} {who:7} {m:5} {t:40} {n:5} {n/total:.2f}")
        for p, n in sorted(ph.items()): print("==", p, n, round(n/total,2))
        print("TOTAL per node", sum(counts.values())/total, world.clock.now())
    on_virtual_time(go)()
