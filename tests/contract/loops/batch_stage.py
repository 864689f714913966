"""Simulated clusters and a batch that takes nodes out of them or uses them, on virtual time."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.agent.silence import remembering_silence
from obscale.batch.carry import carry_removal, carry_use
from obscale.batch.connections import ConnectionCache
from obscale.batch.ledger import Entry, Ledger, ledger_of
from obscale.batch.links import Links
from obscale.batch.preflight import judge_all
from obscale.batch.preflight_others import look_at_others
from obscale.batch.report import BatchReport, report_of
from obscale.batch.slots import JUDGING_SECONDS, SUBMITTING_SECONDS
from obscale.connect.connections import (
    ClusterAccess,
    ClusterConnection,
    Connections,
    EnvironmentSecrets,
)
from obscale.events import Event, text_of
from obscale.request.models import ClusterSpec, SecretName
from obscale.request.policies import BatchPolicies
from obscale.request.removal import Removal
from obscale.request.scale_out import ScaleOut
from obscale.request.use import Use
from obscale.sandbox import Fault, World, WorldConfig, in_process
from obscale.sandbox.config import (
    AgentConfig,
    ClusterConfig,
    TenantConfig,
    UnitConfig,
    ZoneConfig,
)
from obscale.spec.batch import BatchSpec
from obscale.submit.result import CalledOff
from obscale.tasks.batch import run_batch
from obscale.tasks.batch_row import Gates, RowRun
from tests.contract.kept_here import KeptHere, SlowlyKept, SlowServer
from tests.virtual_time import virtual_clock

ZONES = ("zone1", "zone2", "zone3")


def world_config(
    clusters: int = 2, servers: int = 2, spares: int = 0, tenants: tuple[str, ...] = ("app", "web")
) -> WorldConfig:
    """Give clusters of three zones with so many servers each, tenants with one unit a zone."""
    unit = UnitConfig(name="u_app")
    return WorldConfig(
        clusters=tuple(
            ClusterConfig(
                name=f"c{number}",
                id=number,
                zones=tuple(
                    ZoneConfig(name=name, agents=tuple(AgentConfig() for _ in range(servers)))
                    for name in ZONES
                ),
                tenants=tuple(TenantConfig(name=name, unit=unit) for name in tenants),
            )
            for number in range(1, clusters + 1)
        ),
        spares=tuple(AgentConfig() for _ in range(spares)),
    )


@dataclass
class BatchStage:
    """A world, the batch for it, and what its rows have told.

    Attributes:
        world: Whose time is the loop's.
        spec: Asked for.
        lines: Cluster and line of each event.
        kept: Where records are kept, for all runs of the batch.
    """

    world: World
    spec: BatchSpec
    lines: list[tuple[str, str]] = field(default_factory=list)
    kept: dict[tuple[str, str, str], KeptHere] = field(default_factory=dict)
    at_work: dict[str, int] = field(default_factory=dict)
    most_at_work: dict[str, int] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)
    """Targets, in the order in which their requests were sent."""
    gates: Gates = field(default_factory=Gates)
    server: SlowServer | None = None
    """Keeps the records; None: they are kept at once."""

    @property
    def links(self) -> Links:
        """Give connections into the world."""
        return Links(self._adding, self._removing, self._using)

    async def judged(self) -> Ledger:
        """Open a ledger and judge it, as a run does before it begins anything."""
        ledger = ledger_of(self.spec)

        async def looking(_name: str, entries: Any) -> Any:
            orders = [entry.order for entry in entries]
            return await look_at_others(orders, self.links, will_be_asked=False), None

        await judge_all(ledger, looking)
        return ledger

    async def run(self) -> BatchReport:
        """Judge and carry out the batch; what has run before it is taken up."""
        ledger = await self.judged()
        await run_batch(ledger, self)
        return report_of(ledger)

    async def take_up(self) -> None:
        """Nothing is at work elsewhere."""

    async def hold(self) -> None:
        """Each row asks by itself."""

    async def release(self) -> None:
        """Connections are closed with their row."""

    async def add(self, entry: Entry, called_off: CalledOff) -> None:
        """Carry one row out, as the task does, but for Prefect."""
        order, name = entry.order, entry.cluster

        def publish(event: Event) -> None:
            entry.hear(event)
            line = text_of(event)
            self.lines.append((name, line))
            if line.startswith("submit.posting"):
                self.begun.append(f"{name} {entry.target}")

        def records(cluster: str, target: str, settling: Any) -> KeptHere:
            key = type(order).__name__, cluster, target
            slow = self.server and SlowlyKept(self.server, (cluster, target), settling)
            return self.kept.setdefault(key, slow or KeptHere(cluster, target))

        run = RowRun(entry, self.gates, called_off, ConnectionCache(EnvironmentSecrets()), "")
        gates = run.looking(JUDGING_SECONDS), run.submitting(SUBMITTING_SECONDS)
        given = {"records": run.records(records), "publish": publish}
        with self._counted(name):
            match order:
                case Removal():
                    async with self.links.removal(order) as link:
                        await carry_removal(link, order, called_off, *gates, **given)
                case Use():
                    async with self.links.use(order) as cluster:
                        await carry_use(cluster, order, called_off, *gates, **given)

    @contextmanager
    def _counted(self, name: str) -> Any:
        self.at_work[name] = self.at_work.get(name, 0) + 1
        self.most_at_work[name] = max(self.most_at_work.get(name, 0), self.at_work[name])
        try:
            yield
        finally:
            self.at_work[name] -= 1

    def dags(self, name: str) -> int:
        """How many DAGs of that name all clusters have had."""
        return self.world.count_dags(name)

    def requests(self, method: str, path: str) -> int:
        """How many such requests reached an agent."""
        return sum(
            record.method == method and record.target.startswith(path)
            for record in self.world.requests
        )

    def agents(self, cluster: int) -> list[str]:
        """Agents a cluster lists, by its number from 1."""
        return [agent.address for agent in self.world.clusters[cluster - 1].agents]

    @asynccontextmanager
    async def _cluster(
        self, spec: ClusterSpec | str
    ) -> AsyncIterator[tuple[ClusterClient, ClusterSpec, SecretStr]]:
        assert isinstance(spec, ClusterSpec)
        known = next(each for each in self.world.clusters if each.name == spec.name)
        root, way = SecretStr(known.root_password), in_process(self.world)
        clients = [
            AgentClient(AgentAddress.parse(each), root_password=root, transport=way)
            for each in spec.endpoints
        ]
        async with ClusterClient(clients) as opened:
            yield opened, spec, root

    @asynccontextmanager
    async def _removing(self, order: Removal) -> AsyncIterator[Connections]:
        async with AsyncExitStack() as stack:
            opened, spec, root = await stack.enter_async_context(self._cluster(order.cluster))
            where = AgentAddress.parse(order.target)
            client = AgentClient(where, transport=in_process(self.world))
            leaving = await stack.enter_async_context(client)
            yield Connections(opened, leaving, spec, None, root)

    @asynccontextmanager
    async def _adding(self, order: ScaleOut) -> AsyncIterator[Connections]:
        async with AsyncExitStack() as stack:
            opened, spec, root = await stack.enter_async_context(self._cluster(order.cluster))
            where = AgentAddress.parse(order.target)
            client = AgentClient(where, transport=in_process(self.world))
            target = await stack.enter_async_context(client)
            yield Connections(opened, target, spec, None, root)

    @asynccontextmanager
    async def _using(self, order: Use) -> AsyncIterator[ClusterConnection]:
        async with self._cluster(order.cluster) as (opened, spec, root):
            yield ClusterConnection(opened, ClusterAccess(spec, root))


@contextmanager
def batch_stage(
    asked: Any, *faults: Fault, config: WorldConfig | None = None, **policies: Any
) -> Any:
    """Open a new world, and a batch for it.

    Args:
        asked: Gives of a cluster of the world what is asked of it, its number from 1 first and the
            cluster as a request names it second.
        faults: Played at once.
        config: Of the world.
        policies: Of the batch.
    """
    world = World(config or world_config(), clock=virtual_clock())
    for fault in faults:
        world.play(fault)
    specs = []
    for number, cluster in enumerate(world.clusters, start=1):
        named = ClusterSpec(
            endpoints=tuple(agent.address for agent in cluster.agents[::2]),
            password=SecretName(env="X"),
            name=cluster.name,
            id=cluster.id,
        )
        specs.append(asked(number, named))
    spec = BatchSpec(clusters=tuple(specs), policies=BatchPolicies(**policies))
    with ExitStack() as stack:
        stack.enter_context(remembering_silence())
        yield BatchStage(world, spec)
