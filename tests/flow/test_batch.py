"""Does a batch end as promised: order, stop rules, window, report, and nothing done twice?"""

from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from flows.batch import batch
from obscale.agent.models import joined_address
from obscale.batch.report import BatchIncompleteError, BatchReport, render_batch
from obscale.rules.asked import AgentInfoSpec, ClusterSpec, NodeSpec, ScaleOutSpec, SecretName
from obscale.sandbox import Fault, WorldConfig
from obscale.sandbox.config import AgentConfig, ClusterConfig, ZoneConfig
from obscale.settings import Patience
from tasks.notes import listening

pytestmark = pytest.mark.asyncio(loop_scope="session")
QUICK = Patience(
    deadline_seconds=240,
    silence_seconds=60,
    verify_seconds=120,
    steady_seconds=0,
    poll_seconds=0.2,
    lost_answer_seconds=1,
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

    async def run(self, **changes: Any) -> BatchReport:
        """Run the batch; its report, also where it is incomplete."""

        def hear(happening) -> None:
            if report := happening.facts.get("batch_report"):
                self.reports.append(report)

        with listening(hear), suppress(BatchIncompleteError):
            await batch(**({"clusters": self.asked, "patience": QUICK} | changes))
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
                profile="lab",
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
    assert {row.rung for row in report.rows} <= {"CONFORMING", "BALANCED"}
    for cluster in ("c1", "c2"):
        mine = [row for row in report.rows if row.cluster == cluster]
        mine.sort(key=lambda row: row.started_at)
        for earlier, later in pairwise(mine):
            assert earlier.ended_at <= later.started_at
    first, second = (min(r.started_at for r in report.rows if r.cluster == c) for c in ("c1", "c2"))
    assert max(first, second) < min(r.ended_at for r in report.rows)
    assert report.clusters[0].zones_after == {"zone1": 2, "zone2": 2, "zone3": 2}
