"""A simulated cluster and the open link of one removal in it, in one process, on virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import AgentEndpoint, Dag, Operator, ScaleOutRequest
from obscale.agent.silence import remembering_silence
from obscale.connect.connections import Connections
from obscale.events import Event, LevelReached, WaitsForProofs, text_of
from obscale.removal.follow import follow_removal
from obscale.removal.prove import RemovalProved, prove_removed
from obscale.removal.result import RemovalPreflight
from obscale.removal.run import before_known, look_before, remove_once
from obscale.request.models import AgentInfoSpec, ClusterSpec, SecretName
from obscale.request.removal import LeavingNode, Removal
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault, World, WorldConfig, default_config, in_process
from obscale.submit.result import Submitted
from tests.conftest import SAMPLE
from tests.contract.kept_here import KeptHere
from tests.virtual_time import virtual_clock

SCALE_IN = "/api/v1/ob/scale_in"
GROWN_SECONDS = 120


@dataclass
class RemovalStage:
    """A world, the link of one removal into it, and what its loops have told."""

    world: World
    link: Connections
    order: Removal
    lines: list[tuple[float, str]] = field(default_factory=list)
    shown: list[tuple[float, str]] = field(default_factory=list)
    acts: list[tuple[str, Callable[[], None]]] = field(default_factory=list)
    kept: dict[tuple[str, str], KeptHere] = field(default_factory=dict)

    @property
    def now(self) -> float:
        """Seconds since the world began."""
        return self.world.clock.now()

    @property
    def cluster(self) -> Any:
        """The simulated cluster."""
        return self.world.clusters[0]

    @property
    def dag(self) -> Any:
        """Its newest DAG."""
        return self.cluster.dags[-1]

    def records(self, cluster: str, target: str) -> KeptHere:
        """Give where the records of a target are kept: here, for all runs of the test."""
        return self.kept.setdefault((cluster, target), KeptHere(cluster, target))

    def play(self, *faults: Fault) -> None:
        """Play cards."""
        for fault in faults:
            self.world.play(fault)

    def at(self, words: str, act: Callable[[], None]) -> None:
        """Do something once, as soon as a line is said that begins with these words."""
        self.acts.append((words, act))

    def publish(self, event: Event) -> None:
        """Keep an event as its line, or in fewer words where only its kind matters."""
        line = text_of(event)
        if isinstance(event, LevelReached):
            line = f"reached {event.levels.level.name}"
        if isinstance(event, WaitsForProofs):
            line = f"waits {event.what}"
        self.lines.append((self.now, line))
        for due in [each for each in self.acts if line.startswith(each[0])]:
            self.acts.remove(due)
            due[1]()

    def said(self, words: str) -> list[str]:
        """Lines that begin with these words."""
        return [line for _, line in self.lines if line.startswith(words)]

    async def show(self, percent: float, words: str) -> None:
        """Keep what the bar shows."""
        self.shown.append((percent, words))

    def posts(self, path: str = SCALE_IN) -> int:
        """How many requests for a removal reached an agent."""
        return sum(
            record.method in {"POST", "DELETE"} and record.target.startswith(path)
            for record in self.world.requests
        )

    def removals(self) -> int:
        """How many removals the cluster has had."""
        names = ("Cluster scale in", "Delete zone")
        return sum(self.world.count_dags(name) for name in names)

    async def preflight(self) -> RemovalPreflight:
        """Look as a run does before it asks for anything."""
        return await look_before(self.link, self.order, self.publish)

    async def begin(self, seen: RemovalPreflight | None = None) -> Submitted:
        """Begin the removal as a run does."""
        seen = seen or await self.preflight()
        return await remove_once(
            self.link, self.order, seen, records=self.records, publish=self.publish
        )

    async def follow(self, submitted: Submitted) -> Dag:
        """Follow its DAG as a run does."""
        assert submitted.dag_id
        return await follow_removal(
            self.link,
            self.order,
            submitted.dag_id,
            before_known(submitted),
            publish=self.publish,
            show=self.show,
        )

    async def prove(self, submitted: Submitted, dag: Dag | None) -> RemovalProved:
        """Prove it as a run does."""
        return await prove_removed(
            self.link, self.order, dag, before_known(submitted), publish=self.publish
        )

    async def whole(self) -> tuple[Submitted, RemovalProved]:
        """Begin, follow and prove."""
        submitted = await self.begin()
        dag = await self.follow(submitted) if submitted.how != "already gone" else None
        return submitted, await self.prove(submitted, dag)

    async def operate(self, operator: Operator) -> None:
        """Have somebody else operate the newest DAG."""
        dag_id = self.dag.generic_id()
        await self.link.cluster.ask(lambda agent: agent.operate_dag(dag_id, operator))


async def grow(world: World, link: Connections, number: int = 0, zone: str = "zone2") -> None:
    """Let a spare join."""
    spare = world.spares[number]
    await link.cluster.current.submit_scale_out(
        ScaleOutRequest(
            agent_info=AgentEndpoint(ip=spare.ip, port=spare.port),
            zone=zone,
            ob_configs=dict(SAMPLE),
        )
    )


@asynccontextmanager
async def removal_stage(
    *faults: Fault,
    target: str | None = "127.0.1.4:2886",
    zone: str = "zone2",
    grown: tuple[int, ...] = (0,),
    config: WorldConfig | None = None,
    time_limits: TimeLimits | None = None,
    force_kill: bool = False,
    **order: Any,
) -> AsyncIterator[RemovalStage]:
    """Open a link into a new world that has grown.

    Args:
        faults: Played once it has grown.
        target: Agent that leaves; None: the whole zone.
        zone: It is in, and the spares have joined.
        grown: Numbers of the spares that have joined.
        config: Of the world.
        time_limits: Instead of the limits that production has.
        force_kill: As asked for.
        order: Other fields of the order.
    """
    world = World(config or default_config(), clock=virtual_clock())
    cluster = world.clusters[0]
    entries = tuple(agent.address for agent in cluster.agents if agent.address != target)
    spec = ClusterSpec(
        endpoints=entries, password=SecretName(env="X"), name=cluster.name, id=cluster.id
    )
    node = None
    if target:
        ip, _, port = target.rpartition(":")
        node = LeavingNode(
            agentInfo=AgentInfoSpec(ip=ip, port=int(port)), zone=zone, force_kill=force_kill
        )
    root, transport = SecretStr(cluster.root_password), in_process(world)
    where = AgentAddress.parse(target or entries[0])
    async with AsyncExitStack() as stack:
        stack.enter_context(remembering_silence())
        clients = [
            AgentClient(AgentAddress.parse(each), root_password=root, transport=transport)
            for each in entries
        ]
        opened = await stack.enter_async_context(ClusterClient(clients))
        leaving = await stack.enter_async_context(AgentClient(where, transport=transport))
        link = Connections(opened, leaving, spec, None, root)
        for number in grown:
            await grow(world, link, number, zone)
            await sleep_until_grown(world)
        for fault in faults:
            world.play(fault)
        yield RemovalStage(
            world,
            link,
            Removal(
                cluster=spec,
                zone=zone,
                node=node,
                time_limits=time_limits or TimeLimits(),
                **order,
            ),
        )


async def sleep_until_grown(world: World) -> None:
    """Let the newest scale-out end."""
    await asyncio.sleep(GROWN_SECONDS)
    world.sync()
    assert world.clusters[0].dags[-1].state == "SUCCEED"
