"""Is what a rule predicts what happens, where the request is posted all the same?

obshell accepts each request below. The rule says so before; posted anyway, the DAG fails at the
stage the rule names, or succeeds and leaves the damage nobody reports.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import Operator
from obscale.link import Link
from obscale.order import Order
from obscale.rules.asked import AgentInfoSpec, ClusterSpec, NodeSpec, SecretName
from obscale.rules.preflight.registry import judge
from obscale.sandbox import Fault, ManualClock, World, WorldConfig, in_process
from obscale.sandbox.dag import Step
from obscale.spec import request_body
from obscale.survey import survey

SAMPLE = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
GIB = 1 << 30
ROOT = "sandbox-root"
LONGEST_DAG_SECONDS = 900
ROOT_DISK = {"mount": "/", "device": "/dev/vda1"}


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
        prepare: Changes the world before anybody looks.
    """

    asks: dict[str, str | None] = field(default_factory=dict)
    spare: dict[str, Any] = field(default_factory=dict)
    cluster: dict[str, Any] = field(default_factory=dict)
    world: dict[str, Any] = field(default_factory=dict)
    zone: str = "zone2"
    expected: str = "obcluster"
    prepare: Callable[[World], None] = lambda _world: None

    def make(self) -> World:
        """Build the world; time stands still in it."""
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
            clock=ManualClock(),
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


@dataclass(frozen=True)
class Ending:
    """What became of a request.

    Attributes:
        findings: Of preflight, in production.
        world: Afterwards.
        dag: The cluster's.
    """

    findings: Any
    world: World
    dag: Any

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
    """Survey, judge, and post whatever was found; follow the DAG to its end."""
    world = scene.make()
    transport = in_process(world)

    def client(address):
        return AgentClient(address, root_password=SecretStr(ROOT), transport=transport)

    node = scene.node
    spec = ClusterSpec(
        endpoints=("10.0.0.1:2886",), password=SecretName(env="X"), name=scene.expected, id=1
    )
    target = AgentAddress(node.agentInfo.ip, node.agentInfo.port)
    async with (
        ClusterClient([client(AgentAddress("10.0.0.1"))]) as cluster,
        client(target) as agent,
    ):
        link = Link(cluster, agent, spec, None)
        order = Order(cluster=spec, node=node, batch=(node,))
        findings = judge(await survey(link, order, knocking=False), "prod")
        created = await cluster.current.submit_scale_out(request_body(node, None))
    dag = next(d for d in world.cluster().dags if d.generic_id() == created.id)
    passed = 0
    while dag.is_unfinished and dag.state != "FAILED" and passed < LONGEST_DAG_SECONDS:
        world.advance(1.0)
        passed += 1
    return Ending(findings, world, dag)


def busy(world):
    """Let somebody else's local DAG run on the spare."""

    def work(_scene):
        yield 10_000.0

    spare = world.spares[0]
    step = Step("Upgrade agent", work, work)
    world.create_dag("Upgrade agent", [step], owner=spare, executor=spare, maintenance_type=2)


def with_disk(mount, device="/dev/vdb1", total="466G", used="3G", **root):
    disks = [ROOT_DISK | root, {"mount": mount, "device": device, "total": total, "used": used}]
    return {"host": {"disks": disks}}


# rule: (scene, stage of the cluster's DAG at which it fails)
FAILS_LATE = {
    "cfg-port-range": (Scene({"mysql_port": "80"}), 1),
    "agent-auth": (Scene(spare={"agent_password": "Spare#1"}), 2),
    "agent-not-busy": (Scene(prepare=busy), 2),
    "cfg-dir-not-mount-root": (
        Scene({"data_dir": "/data"}, with_disk("/data") | {"dirs": {"/data": ["lost+found"]}}), 4,
    ),
    "cfg-dir-not-system": (
        Scene({"data_dir": "/tmp"}, {"dirs": {"/tmp": ["systemd-private"]}}), 4,
    ),
    "cfg-capacity-syntax": (Scene({"memory_limit": "16"}), 5),
    "cfg-int-range": (Scene({"__min_full_resource_pool_memory": "2G"}), 5),
    "mem-floor": (Scene({"memory_limit": "3G", "system_memory": None}), 5),
    "mem-tenant-headroom": (Scene({"memory_limit": "6G", "system_memory": "2G"}), 5),
    "mem-system-ratio": (Scene({"system_memory": "16G"}), 5),
    "disk-fits": (Scene({"datafile_size": "500G"}), 5),
    "disk-percent-sum": (
        Scene({"datafile_size": None, "log_disk_size": None,
               "datafile_disk_percentage": "70", "log_disk_percentage": "40"}), 5,
    ),
    "disk-default-percent-trap": (
        Scene({"datafile_size": None, "log_disk_size": None},
              {"host": {"disks": [ROOT_DISK | {"total": "457G", "used": "60G"}]}}), 5,
    ),
    "server-already-registered": (
        Scene(spare={"ip": "10.0.0.1", "port": 3886}, world={"obshell_version": "4.2.4.3-1"}), 7,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("rule", "case"), FAILS_LATE.items(), ids=FAILS_LATE)
async def test_what_a_rule_forbids_fails_late_where_it_says(rule, case):
    """The request is accepted, takes the lock, and fails at that stage."""
    scene, stage = case

    ending = await look_and_post(scene)

    finding = next(f for f in ending.findings.by_weight() if f.rule == rule)
    assert finding.weight in {"block", "warn"}
    assert f"stage {stage}" in finding.otherwise
    assert (ending.dag.state, ending.dag.stage) == ("FAILED", stage)
    assert ending.world.cluster().lock_holder is ending.dag


def reads(name, value):
    return lambda ending: ending.values[name] == value


# rule: (scene, what nobody reports afterwards)
GOES_WRONG_SILENTLY = {
    "cfg-key-known": (
        Scene({"log_disk_size": None, "log_disk_sise": "24G"}), reads("log_disk_size", "137G"),
    ),
    "cfg-key-charset": (
        Scene({"log_disk_size": None, "log-disk-size": "24G"}), reads("log_disk_size", "137G"),
    ),
    "cfg-value-delimiters": (
        Scene({"leak_mod_to_check": "A,B"}), reads("leak_mod_to_check", "A"),
    ),
    "cfg-key-reserved": (
        Scene({"rootservice_list": "10.0.0.9:2882:2881"}),
        reads("rootservice_list", "10.0.0.9:2882:2881"),
    ),
    "cfg-capacity-syntax": (
        Scene({"datafile_size": "024G"}),
        # Octal: 20 GiB are allocated where 24 were meant, beside 24 for the log pool.
        lambda ending: ending.root_disk.used == 44 * GIB + 12 * GIB + GIB // 2,
    ),
    "cfg-mutual-precedence": (
        Scene({"datafile_disk_percentage": "60"}), reads("datafile_size", "24G"),
    ),
    "datafile-autoextend-consistent": (
        Scene({"datafile_maxsize": "50G"}), reads("datafile_next", "0M"),
    ),
    "mem-fits-total": (
        Scene({"memory_limit": "80G", "log_disk_size": "216G"}),
        lambda ending: ending.agent.host.config.memory_total < 80 * GIB
        and reads("memory_limit", "80G")(ending),
    ),
    "mem-available": (
        Scene(spare={"host": {"memory_available": "10G"}}),
        lambda ending: ending.agent.host.config.memory_available < 16 * GIB,
    ),
    "zone-case-near-miss": (
        Scene(zone="Zone2"),
        lambda ending: [zone.name for zone in ending.world.cluster().zones][3:] == ["Zone2"],
    ),
    "new-zone-intent": (
        Scene(zone="zone4"),
        lambda ending: [zone.name for zone in ending.world.cluster().zones][3:] == ["zone4"],
    ),
    "new-zone-region": (
        Scene(zone="zone4"),
        lambda ending: {zone.region for zone in ending.world.cluster().zones}
        == {"sys_region", "default_region"},
    ),
    "new-zone-unused": (
        Scene(zone="zone4"),
        lambda ending: not ending.world.cluster().units_on(ending.world.cluster().servers[3]),
    ),
    "even-zone-count": (
        Scene(zone="zone4"), lambda ending: len(ending.world.cluster().zones) % 2 == 0,
    ),
    "zone-balance": (
        Scene(),
        lambda ending: sorted(Counter(s.zone for s in ending.world.cluster().servers).values())
        == [1, 1, 2],
    ),
    "duplicate-host": (
        Scene({"mysql_port": "3881", "rpc_port": "3882"}, {"ip": "10.0.0.1", "port": 3886}),
        lambda ending: {s.zone for s in ending.world.cluster().servers
                        if s.agent.ip == "10.0.0.1"} == {"zone1", "zone2"},
    ),
    "cluster-identity-pinned": (
        Scene(expected="another"), lambda ending: ending.agent.cluster.name == "obcluster",
    ),
    "ob-version-equal": (
        Scene(spare={"ob_version": "4.2.1.0-1"},
              world={"obshell_version": "4.2.3.1-1", "ob_version": "4.2.2.0-1"}),
        lambda ending: {s.agent.ob_version for s in ending.world.cluster().servers}
        == {"4.2.1.0-1", "4.2.2.0-1"},
    ),
    "disk-fs-type": (
        Scene({"data_dir": "/data/ob"}, with_disk("/data", "tmpfs", total="64G", used="0")),
        lambda ending: ending.agent.host.disk_of("/data/ob").device == "tmpfs",
    ),
    "units-fit": (
        Scene({"log_disk_size": "11G"}), reads("log_disk_size", "11G"),
    ),
    "log-disk-ratio": (
        Scene({"log_disk_size": "20G"}), reads("log_disk_size", "20G"),
    ),
    "spec-drift": (
        Scene({"memory_limit": "14G"}),
        lambda ending: [s.observer.values["memory_limit"]
                        for s in ending.world.cluster().servers] == ["16G"] * 3 + ["14G"],
    ),
    "param-omitted-vs-peers": (
        Scene(cluster={"ob_configs": {
            "memory_limit": "16G", "system_memory": "8G", "log_disk_size": "24G",
            "datafile_size": "24G", "net_thread_count": "12"}}),
        reads("net_thread_count", "0"),
    ),
    "os-match": (
        Scene(spare={"host": {"os": "ubuntu", "os_version": "22.04"}}),
        lambda ending: {s.agent.host.config.os for s in ending.world.cluster().servers}
        == {"centos", "ubuntu"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("rule", "case"), GOES_WRONG_SILENTLY.items(), ids=GOES_WRONG_SILENTLY)
async def test_what_a_rule_tells_goes_wrong_without_a_word(rule, case):
    """The DAG succeeds, and the damage is there."""
    scene, is_damaged = case

    ending = await look_and_post(scene)

    finding = next(f for f in ending.findings.by_weight() if f.rule == rule)
    assert finding.answer not in {"pass", "n-a"}
    assert (ending.dag.state, ending.dag.operator) == ("SUCCEED", "RUN")
    assert is_damaged(ending)


async def test_nothing_fails_late_where_all_rules_are_kept():
    """The other side: the same world and the sample request, judged ready, go through."""
    ending = await look_and_post(Scene())

    assert not ending.findings.blockers
    assert (ending.dag.state, ending.dag.operator) == ("SUCCEED", "RUN")
    assert ending.world.cluster().lock_holder is None


async def test_undoing_a_new_zone_fails_at_first_as_told():
    """The zone cannot be deleted while its server still is; once it is gone, it can."""
    scene = Scene(
        zone="zone4",
        prepare=lambda world: world.play(Fault.fail_stage(10)),
        world={"delete_server_seconds": 60},
    )
    ending = await look_and_post(scene)
    told = ending.findings.of_rule("new-zone-rollback-risk")[0]
    address = AgentAddress("10.0.0.1")
    transport = in_process(ending.world)

    states = []
    async with AgentClient(address, root_password=SecretStr(ROOT), transport=transport) as client:
        for _ in range(2):
            await client.operate_dag(ending.dag.generic_id(), Operator.ROLLBACK)
            ending.world.advance(400.0)
            states.append(ending.dag.state)

    assert told.answer == "info"
    assert states == ["FAILED", "SUCCEED"]
    assert [zone.name for zone in ending.world.cluster().zones] == ["zone1", "zone2", "zone3"]
