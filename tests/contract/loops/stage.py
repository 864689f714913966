"""A simulated cluster, its spares and the open link to them, in one process and on virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import Dag, Operator
from obscale.agent.silence import remembering_silence
from obscale.connect.connections import Connections
from obscale.errors import ObscaleError
from obscale.events import Event, LevelReached, WaitsForProofs, text_of
from obscale.follow.progress import Change
from obscale.follow.run import follow
from obscale.preflight.facts import Facts
from obscale.preflight.judge import judge_with_overrides
from obscale.preflight.read import survey
from obscale.preflight.result import Preflight, conclude
from obscale.recovery.read import diagnose_now, error_of
from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, SecretName
from obscale.request.scale_out import ScaleOut
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault, World, WorldConfig, default_config, in_process
from obscale.spec import request_body
from obscale.submit.result import Submitted
from obscale.submit.run import CalledOff, CalledOffError, begin_once, never
from obscale.verify.observation import Before
from obscale.verify.run import Verification, verify_node
from tests.conftest import SAMPLE
from tests.contract.kept_here import KeptHere
from tests.virtual_time import virtual_clock

__all__ = ["CalledOffError", "Stage", "stage"]

SCALE_OUT = "/api/v1/ob/scale_out"
MOST_TURNS = 1000
"""Of the event loop, between one pause of the product's and the next."""


@dataclass
class Stage:
    """A world, the link of one order into it, and what its loops have told.

    Attributes:
        world: Whose time is the loop's.
        link: Of the order.
        order: The documented sample request.
        lines: What was said, each with the second it was said at.
        looks: At which second each look at a DAG was had.
        changed: At which second a look has last shown a change.
        acts: What is to be done at which line.
    """

    world: World
    link: Connections
    order: ScaleOut
    lines: list[tuple[float, str]] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    changed: float = 0.0
    acts: list[tuple[str, Callable[[], None]]] = field(default_factory=list)

    @property
    def now(self) -> float:
        """Seconds since the world began."""
        return self.world.clock.now()

    @property
    def members(self) -> list[str]:
        """Addresses of the cluster's agents."""
        return [agent.address for agent in self.world.clusters[0].agents]

    @property
    def target(self) -> str:
        """Address of the agent that is to join."""
        return str(self.link.target.address)

    @property
    def dag(self) -> Any:
        """The cluster's newest DAG, as the simulated cluster holds it."""
        return self.world.clusters[0].dags[-1]

    def play(self, *faults: Fault) -> None:
        """Play cards."""
        for fault in faults:
            self.world.play(fault)

    def at(self, words: str, act: Callable[[], None]) -> None:
        """Do something once, as soon as a line is said that begins with these words."""
        self.acts.append((words, act))

    def say(self, line: str) -> None:
        """Keep a line, and do what is to be done at it."""
        self.lines.append((self.now, line))
        for due in [each for each in self.acts if line.startswith(each[0])]:
            self.acts.remove(due)
            due[1]()

    def publish(self, event: Event) -> None:
        """Keep an event as its line, or in fewer words where only its kind matters."""
        match event:
            case LevelReached(levels=levels):
                self.say(f"reached {levels.level.name}")
            case WaitsForProofs(what=what):
                self.say(f"waits {what}")
            case _:
                self.say(text_of(event))

    def said(self, words: str) -> list[str]:
        """Lines that begin with these words."""
        return [line for _, line in self.lines if line.startswith(words)]

    async def saw(self, _dag: Dag, changes: tuple[Change, ...]) -> None:
        """Keep when a look was had."""
        self.looks.append(self.now)
        self.changed = self.now if changes else self.changed

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Let the others go on until something holds, without any time passing."""
        for _ in range(MOST_TURNS):
            if holds():
                return
            await asyncio.sleep(0)
        raise AssertionError(f"nobody gets there without time passing: {what}")

    def posts(self, path: str = SCALE_OUT) -> list[float]:
        """At which seconds POSTs reached an agent."""
        return [
            record.at
            for record in self.world.requests
            if record.method == "POST" and record.target.startswith(path)
        ]

    async def post(self) -> str:
        """Post the request as anybody would; gives the DAG's id."""
        own = self.link.target_password
        body = request_body(self.order.node, own.get_secret_value() if own else None)
        return (await self.link.cluster.current.submit_scale_out(body)).id

    async def follow(
        self, dag_id: str, *, unended_seconds: float = 0.0, first_look_seconds: float = 0.0
    ) -> Dag:
        """Follow a DAG; as seldom as a batch does where it is told how."""
        return await follow(
            self.link.cluster,
            dag_id,
            self.order.time_limits,
            saw=self.saw,
            say=self.say,
            unended_seconds=unended_seconds,
            first_look_seconds=first_look_seconds,
        )

    async def operate(self, operator: Operator) -> None:
        """Have somebody else operate the newest DAG."""
        dag_id = self.dag.generic_id()
        await self.link.cluster.ask(lambda agent: agent.operate_dag(dag_id, operator))

    async def error_of(self, dag: Dag) -> ObscaleError | None:
        """Give the error a run tells of a DAG that ended so, with its diagnosis."""
        return error_of(dag, await diagnose_now(self.link, dag.id), self.order.cluster)

    async def survey(self) -> Facts:
        """Read what preflight reads; no port of a simulated host is tried."""
        return await survey(self.link, self.order, probing=False)

    async def preflight(self) -> Preflight:
        """Look as a run does before it submits."""
        facts = await self.survey()
        return conclude(facts, judge_with_overrides(facts, self.order.profile))

    async def begin(
        self,
        seen: Preflight | None = None,
        *,
        called_off: CalledOff = never,
        records: Callable[[str, str], Any] = KeptHere,
    ) -> Submitted:
        """Begin the scale-out as a run does, after a preflight of its own where none is given."""
        seen = seen or await self.preflight()
        return await begin_once(
            self.link, self.order, seen, called_off, records=records, publish=self.publish
        )

    async def carried_out(self) -> Dag:
        """Have the DAG posted, and followed to its end."""
        return await self.follow(await self.post())

    async def verify_node(self, dag: Dag | None, before: Before | None = None) -> Verification:
        """Prove the node; each level and each line that is told is kept."""
        return await verify_node(
            self.link,
            self.order,
            dag,
            before or Before(),
            publish=self.publish,
        )


@asynccontextmanager
async def stage(
    *faults: Fault,
    config: WorldConfig | None = None,
    endpoints: tuple[tuple[int, int], ...] = ((0, 0), (0, 1), (0, 2)),
    time_limits: TimeLimits | None = None,
    world: World | None = None,
    number: int = 0,
    spec: ClusterSpec | None = None,
    **order: Any,
) -> AsyncIterator[Stage]:
    """Open a link into a new world.

    Args:
        faults: Played at once.
        config: Of the world; the default one has three members and three spares.
        endpoints: Entry agents as `(cluster, agent)` numbers.
        time_limits: Instead of the limits that production has.
        world: One that is there already, for another order in it.
        number: Of the spare that is to join.
        spec: The cluster as the request names it, instead of `endpoints`.
        order: Other fields of the order.
    """
    world = world or World(config or default_config(), clock=virtual_clock())
    for fault in faults:
        world.play(fault)
    cluster, spare = world.clusters[0], world.spares[number]
    spec = spec or ClusterSpec(
        endpoints=tuple(
            world.clusters[number].agents[place].address for number, place in endpoints
        ),
        password=SecretName(env="X"),
        name=cluster.name,
        id=cluster.id,
    )
    where = AgentInfoSpec(ip=spare.ip, port=spare.port)
    zone = order.pop("zone", "zone2")
    node = NodeSpec(agentInfo=where, zone=zone, obConfigs=dict(SAMPLE))
    root, transport = SecretStr(cluster.root_password), in_process(world)
    own = SecretStr(spare.agent_password) if spare.agent_password else None
    async with AsyncExitStack() as stack:
        stack.enter_context(remembering_silence())
        clients = [
            AgentClient(AgentAddress.parse(each), root_password=root, transport=transport)
            for each in spec.endpoints
        ]
        entries = await stack.enter_async_context(ClusterClient(clients))
        target = await stack.enter_async_context(
            AgentClient(AgentAddress(spare.ip, spare.port), agent_password=own, transport=transport)
        )
        yield Stage(
            world,
            Connections(entries, target, spec, own, root),
            ScaleOut(
                cluster=spec,
                node=node,
                batch=(node,),
                time_limits=time_limits or TimeLimits(),
                **order,
            ),
        )
