"""Scenes in which a request is posted in spite of what preflight says of it.

A `Scene` is a world and a request. It goes through the doors a user has: the reader of requests,
with an override of each finding that may be overridden, then preflight, then submit. Where none of
that lets it pass it is posted past them, as somebody with curl would.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import Dag
from obscale.connect.connections import Connections
from obscale.errors import SpecError
from obscale.follow.run import follow
from obscale.preflight.finding import Findings
from obscale.preflight.judge import judge_with_overrides
from obscale.preflight.read import survey
from obscale.preflight.result import conclude
from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, SecretName
from obscale.request.scale_out import ScaleOut, scale_outs_of
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import ManualClock, World, WorldConfig, in_process
from obscale.sandbox.clock import Clock
from obscale.spec import parse_spec, request_body
from obscale.submit.run import begin_once
from tests.contract.kept_here import KeptHere, unheard

SAMPLE = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
ROOT = "sandbox-root"
LONGEST_DAG_SECONDS = 900
ENTRY = AgentAddress("10.0.0.1")


class RunningClock(ManualClock):
    """Runs as time does here, and can be moved forward.

    The clocks of a world's agents are compared: in one that stands still, an agent that is asked
    some seconds after the others, on a busy machine, would be behind them.
    """

    def __init__(self) -> None:
        super().__init__(time.time())
        self._started = time.monotonic()

    def now(self) -> float:
        """Seconds since the world began, and those it was moved forward."""
        return super().now() + time.monotonic() - self._started


@dataclass
class Scene:
    """One world with hosts of their own, and one request to its cluster.

    Attributes:
        asks: Start options beside, or instead of, those of the sample; None leaves one out.
        spare: What the joining agent is.
        cluster: What the cluster is.
        world: What the whole world is.
        zone: Asked for.
        expected: Name the cluster must have.
        password: Of the joining agent.
        allow_new_zone: Whether the request lets its zone be created.
        prepare: Changes the world before anybody looks.
    """

    asks: dict[str, str | None] = field(default_factory=dict)
    spare: dict[str, Any] = field(default_factory=dict)
    cluster: dict[str, Any] = field(default_factory=dict)
    world: dict[str, Any] = field(default_factory=dict)
    zone: str = "zone2"
    expected: str = "obcluster"
    password: str | None = None
    allow_new_zone: bool = False
    prepare: Callable[[World], None] = lambda _world: None

    def make(self, clock: Clock | None = None) -> World:
        """Build the world; its time passes as it does here unless a clock is given."""
        zones = [{"name": f"zone{n}", "agents": [{"ip": f"10.0.0.{n}"}]} for n in (1, 2, 3)]
        app = {"name": "app", "unit": {"name": "u_app"}}
        world = World(
            WorldConfig.model_validate(
                {
                    "clusters": [{"zones": zones, "tenants": [app]} | self.cluster],
                    "spares": [{"ip": "10.0.0.4"} | self.spare],
                }
                | self.world
            ),
            clock=clock or RunningClock(),
        )
        self.prepare(world)
        return world

    @property
    def node(self) -> NodeSpec:
        """The node asked for."""
        configs = {key: value for key, value in (SAMPLE | self.asks).items() if value is not None}
        ip, port = self.spare.get("ip", "10.0.0.4"), self.spare.get("port", 2886)
        where = AgentInfoSpec(ip=ip, port=port)
        return NodeSpec(agentInfo=where, zone=self.zone, obConfigs=configs)

    @property
    def cluster_spec(self) -> ClusterSpec:
        """The cluster as the request names it."""
        return ClusterSpec(
            endpoints=("10.0.0.1:2886",), password=SecretName(env="X"), name=self.expected, id=1
        )

    def request(self, accepted: set[str]) -> str:
        """Write the request as a file would hold it, with an override of each of these rules."""
        today = datetime.now(UTC).date()
        return json.dumps(
            {
                "cluster": self.cluster_spec.model_dump(mode="json", exclude_none=True),
                "nodes": [self.node.model_dump(mode="json", exclude_none=True)],
                "overrides": [
                    {"rule": rule, "reason": "to see what happens", "until": str(today)}
                    for rule in sorted(accepted)
                ],
            }
        )


Door = Literal["submit", "reader", "preflight"]
"""Which let the request pass, or, of the other two, which refused it for good."""


@dataclass(frozen=True)
class Ending:
    """What became of a request.

    Attributes:
        findings: Of preflight, in production, before anything was accepted.
        door: `submit`: with its overrides the request went the user's own way. `reader`, or
            `preflight`: it was refused there whatever was overridden, and posted past them.
        refusal: What the reader said, where it refused.
        world: Afterwards.
        dag: The cluster's, as its agent shows it.
    """

    findings: Findings
    door: Door
    refusal: str
    world: World
    dag: Dag

    @property
    def agent(self):
        """The agent that was to join."""
        return self.world.spares[0]

    @property
    def values(self):
        """Parameters of its observer as they are in force."""
        return self.agent.observer.values

    @property
    def root_disk(self):
        """Its disk at `/`."""
        return self.agent.host.disk_of("/")


async def look_and_post(scene: Scene) -> Ending:
    """Look, accept what may be accepted, submit; follow the DAG to its end."""
    world, node = scene.make(), scene.node
    transport = in_process(world)
    password = SecretStr(scene.password) if scene.password else None

    def client(address, **passwords):
        return AgentClient(address, **passwords, transport=transport)

    root = SecretStr(ROOT)
    target = AgentAddress(node.agentInfo.ip, node.agentInfo.port)
    async with (
        ClusterClient([client(ENTRY, root_password=root)]) as cluster,
        client(target, agent_password=password) as agent,
    ):
        link = Connections(cluster, agent, scene.cluster_spec, password, root)
        order = ScaleOut(cluster=scene.cluster_spec, node=node, batch=(node,))
        facts = await survey(link, order, probing=False)
        findings = judge_with_overrides(facts, "prod")
        loud = (*findings.blockers, *findings.warnings)
        refusal = ""
        try:
            (order,) = scale_outs_of(
                parse_spec(scene.request({f.rule for f in loud if f.overridable}), "request.json")
            )
        except SpecError as error:
            door: Door = "reader"
            refusal = " ".join(error.problems)
        else:
            blocked = judge_with_overrides(facts, "prod", order.overrides).blockers
            door = "preflight" if blocked else "submit"
        if door == "submit":
            seen = conclude(facts, findings)
            dag_id = (await begin_once(link, order, seen, records=KeptHere, publish=unheard)).dag_id
        else:
            dag_id = (await cluster.current.submit_scale_out(request_body(node, scene.password))).id
        assert dag_id is not None
        dag = await end_of(world, cluster, dag_id)
    return Ending(findings, door, refusal, world, dag)


async def end_of(world: World, cluster: ClusterClient, dag_id: str) -> Dag:
    """Let the world's time pass until the DAG has ended, and see it as a user does."""

    async def saw(*_seen):
        pass

    passed = 0
    dag = await cluster.ask(lambda agent: agent.read_dag(dag_id))
    while not dag.is_terminal and passed < LONGEST_DAG_SECONDS:
        world.advance(5.0)
        passed += 5
        dag = await cluster.ask(lambda agent: agent.read_dag(dag_id))
    return await follow(cluster, dag_id, TimeLimits(), saw=saw, say=lambda _line: None)
