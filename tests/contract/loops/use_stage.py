"""A simulated cluster with two servers a zone, and the open link to it, on virtual time."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import Dag
from obscale.agent.silence import remembering_silence
from obscale.connect.connections import ClusterAccess, ClusterConnection
from obscale.events import Event, text_of
from obscale.request.models import ClusterSpec, SecretName
from obscale.request.time_limits import TimeLimits
from obscale.request.use import Use
from obscale.sandbox import Fault, World, WorldConfig, in_process
from obscale.sandbox.config import (
    AgentConfig,
    ClusterConfig,
    TenantConfig,
    UnitConfig,
    ZoneConfig,
)
from obscale.use.follow import follow_use
from obscale.use.proofs import Balance
from obscale.use.result import UsePreflight, UseSubmitted
from obscale.use.run import begin_use, look_before
from obscale.use.verify import prove_balance
from tests.contract.kept_here import KeptHere
from tests.virtual_time import virtual_clock

ZONES = ("zone1", "zone2", "zone3")
REPLICAS = "/api/v1/tenant/app/replicas"


def grown_config(servers: int = 2, **tenant: Any) -> WorldConfig:
    """Give a cluster that has grown: so many servers a zone, and a tenant with one unit in each."""
    unit = UnitConfig(name="u_app")
    app = TenantConfig(**({"name": "app", "unit": unit} | tenant))
    zones = tuple(
        ZoneConfig(name=name, agents=tuple(AgentConfig() for _ in range(servers))) for name in ZONES
    )
    return WorldConfig(clusters=(ClusterConfig(zones=zones, tenants=(app,)),), spares=())


@dataclass
class UseStage:
    """A world, the link of one order into it, and what its steps have told.

    Attributes:
        world: Whose time is the loop's.
        link: To its cluster.
        order: What is asked for.
        lines: What was said.
        kept: Where records are kept, by cluster and target; shared by all attempts.
        acts: What is to be done at which line.
    """

    world: World
    link: ClusterConnection
    order: Use
    lines: list[str] = field(default_factory=list)
    kept: dict[tuple[str, str], KeptHere] = field(default_factory=dict)
    acts: list[tuple[str, Callable[[], None]]] = field(default_factory=list)

    def publish(self, event: Event) -> None:
        """Keep an event as its line, and do what is to be done at it."""
        line = text_of(event)
        self.lines.append(line)
        for due in [each for each in self.acts if line.startswith(each[0])]:
            self.acts.remove(due)
            due[1]()

    def at(self, words: str, act: Callable[[], None]) -> None:
        """Do something once, as soon as a line is said that begins with these words."""
        self.acts.append((words, act))

    def records(self, cluster: str, target: str) -> KeptHere:
        """Give where the records of a target are kept."""
        return self.kept.setdefault((cluster, target), KeptHere(cluster, target))

    def said(self, words: str) -> list[str]:
        """Lines that begin with these words."""
        return [line for line in self.lines if line.startswith(words)]

    @property
    def patches(self) -> list[int]:
        """How the world answered each PATCH of the tenant."""
        return [
            record.status
            for record in self.world.requests
            if record.method == "PATCH" and record.target == REPLICAS
        ]

    @property
    def dags(self) -> list[str]:
        """State and operator of each DAG of the cluster."""
        return [f"{dag.state}/{dag.operator}" for dag in self.world.clusters[0].dags]

    def units(self, tenant: str = "app") -> int:
        """How many units a tenant has."""
        cluster = self.world.clusters[0]
        found = cluster.tenant(tenant)
        assert found is not None
        return sum(unit.pool in found.pools for unit in cluster.units)

    async def look(self) -> UsePreflight:
        """Judge, as a run does before it sends anything."""
        return await look_before(self.link, self.order)

    async def begin(self, seen: UsePreflight | None = None) -> UseSubmitted:
        """Begin the change as a run does, after a look of its own where none is given."""
        return await begin_use(
            self.link,
            self.order,
            seen or await self.look(),
            records=self.records,
            publish=self.publish,
        )

    async def follow(self, dag_id: str | None) -> Dag:
        """Follow a DAG as a run does."""

        async def moved(_percent: float, _words: str) -> None:
            pass

        assert dag_id is not None
        return await follow_use(
            self.link.client, self.order, dag_id, publish=self.publish, moved=moved
        )

    async def prove(self, dag: Dag | None) -> Balance:
        """Prove the tenant as a run does."""
        client = self.link.client
        return await prove_balance(client, self.order, dag, publish=self.publish)


@asynccontextmanager
async def use_stage(
    *faults: Fault,
    config: WorldConfig | None = None,
    world: World | None = None,
    unit_num: int = 2,
    time_limits: TimeLimits | None = None,
    transport: Any = None,
    **order: Any,
) -> AsyncIterator[UseStage]:
    """Open a link into a new world.

    Args:
        faults: Played at once.
        config: Of the world; else two servers in each of three zones, one unit of app in each.
        world: One that is there already.
        unit_num: Asked for.
        time_limits: Instead of those that production has.
        transport: Makes of the way into the world another one.
        order: Other fields of the order.
    """
    world = world or World(config or grown_config(), clock=virtual_clock())
    for fault in faults:
        world.play(fault)
    cluster = world.clusters[0]
    spec = ClusterSpec(
        endpoints=tuple(agent.address for agent in cluster.agents[:3]),
        password=SecretName(env="X"),
        name=cluster.name,
        id=cluster.id,
    )
    root, way = SecretStr(cluster.root_password), in_process(world)
    async with AsyncExitStack() as stack:
        stack.enter_context(remembering_silence())
        clients = [
            AgentClient(
                AgentAddress.parse(each),
                root_password=root,
                transport=transport(way) if transport else way,
            )
            for each in spec.endpoints
        ]
        client = await stack.enter_async_context(ClusterClient(clients))
        made = {"tenant": "app", "unit_num": unit_num, "time_limits": time_limits or TimeLimits()}
        yield UseStage(
            world,
            ClusterConnection(client, ClusterAccess(spec, root)),
            Use(cluster=spec, **(made | order)),
        )
