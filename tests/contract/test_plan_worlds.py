"""Tests that what a rule predicts happens where it is overridden.

obshell accepts each request below. The rule says so before; begun all the same, with the rule
overridden in the request wherever that is allowed, the DAG fails at the stage the rule names, or
succeeds and leaves the damage nobody reports.
"""

import re
from collections import Counter
from datetime import timedelta

import pytest
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import Operator
from obscale.connect.connections import Connections
from obscale.preflight.facts import PreviousReading
from obscale.preflight.judge import judge_with_overrides
from obscale.preflight.read import survey
from obscale.preflight.registry import RULES
from obscale.preflight.result import conclude
from obscale.request.models import OverrideSpec
from obscale.request.scale_out import ScaleOut
from obscale.sandbox import Fault, in_process
from obscale.sandbox.agents import Observer
from obscale.sandbox.dags.dag import Step
from obscale.submit.run import begin_once
from tests.contract.kept_here import KeptHere, unheard
from tests.contract.plan_scenes import ENTRY, ROOT, Scene, end_of, look_and_post

GIB = 1 << 30
ROOT_DISK = {"mount": "/", "device": "/dev/vda1"}


def newest(world):
    """The cluster's newest DAG."""
    return world.cluster().dags[-1]


def busy(world):
    """Let somebody else's local DAG run on the spare."""

    def work(_scene):
        yield 10_000.0

    spare = world.spares[0]
    step = Step("Upgrade agent", work, work)
    world.create_dag("Upgrade agent", [step], owner=spare, executor=spare, maintenance_type=2)


def inhabited(world):
    """Let an observer of another cluster live in the spare's home."""
    spare = world.spares[0]
    spare.observer = Observer(3881, 3882, f"{spare.home}/store", f"{spare.home}/store/clog")
    spare.files.make(f"{spare.home}/store", "sstable")


def stop_zone2(world):
    """Somebody stopped the zone the node shall join."""
    world.cluster().zone("zone2").active = False


def with_disk(mount, device="/dev/vdb1", total="466G", used="3G", **root):
    disks = [ROOT_DISK | root, {"mount": mount, "device": device, "total": total, "used": used}]
    return {"host": {"disks": disks}}


BESIDE_A_SURE_REFUSAL = {"disk-default-percent-trap": "disk-fits proves that it cannot fit"}
# rule: (scene, stage of the cluster's DAG at which it fails)
FAILS_LATE = {
    "cfg-port-range": (Scene({"mysql_port": "80"}), 1),
    "agent-auth": (Scene(spare={"agent_password": "Spare#1"}), 2),
    "agent-not-busy": (Scene(prepare=busy), 2),
    "clock-skew": (
        Scene(spare={"agent_password": "Spare#1", "clock_offset_seconds": 11.0},
              password="Spare#1"), 2,
    ),
    "target-home-clean": (Scene(prepare=inhabited), 4),
    "target-observer-not-running": (Scene(prepare=inhabited), 4),
    "cfg-dir-not-mount-root": (
        Scene({"data_dir": "/data"}, with_disk("/data") | {"dirs": {"/data": ["lost+found"]}}), 4,
    ),
    "cfg-dir-not-system": (
        Scene({"data_dir": "/tmp"}, {"dirs": {"/tmp": ["systemd-private"]}}), 4,
    ),
    "cfg-dirs-nesting": (Scene({"data_dir": "/data/ob", "redo_dir": "/data"}), 4),
    "cfg-capacity-syntax": (Scene({"memory_limit": "16"}), 5),
    "cfg-int-range": (Scene({"__min_full_resource_pool_memory": "2G"}), 5),
    "cfg-port-distinct": (Scene({"mysql_port": "2882"}), 5),
    "mem-system-vs-hidden": (Scene({"system_memory": "512M"}), 5),
    "mem-percentage-range": (
        Scene({"memory_limit": None, "system_memory": None, "memory_limit_percentage": "5"}), 5,
    ),
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
    "zone-exists-active": (Scene(prepare=stop_zone2), 7),
    "server-already-registered": (
        Scene(spare={"ip": "10.0.0.1", "port": 3886}, world={"obshell_version": "4.2.4.3-1"}), 7,
    ),
}  # fmt: skip


def went_the_way_it_may(ending, finding):
    """With its override in the request it was submitted; where none may help it was not."""
    (rule,) = (each for each in RULES if each.id == finding.rule)
    if finding.overridable and rule.id not in BESIDE_A_SURE_REFUSAL:
        return ending.door == "submit"
    return ending.door != "submit" and (not rule.is_static or f"[{rule.id}]" in ending.refusal)


@pytest.mark.parametrize(("rule", "case"), FAILS_LATE.items(), ids=FAILS_LATE)
async def test_what_a_rule_forbids_fails_late_where_it_says(rule, case):
    """The request is accepted, takes the lock, and fails at that stage."""
    scene, stage = case

    ending = await look_and_post(scene)

    finding = next(f for f in ending.findings.by_weight() if f.rule == rule)
    assert finding.weight in {"block", "warn"}
    assert f"stage {stage}" in finding.otherwise
    assert went_the_way_it_may(ending, finding)
    assert (ending.dag.state, ending.dag.stage) == ("FAILED", stage)
    assert ending.world.cluster().lock_holder.generic_id() == ending.dag.id


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
    "agent-version-order": (
        Scene(spare={"obshell_version": "4.2.6.0-1"}, world={"obshell_version": "4.2.4.3-1"}),
        lambda ending: ending.agent.version.startswith("4.2.6.0"),
    ),
    "ob-version-cluster-uniform": (
        Scene(cluster={"zones": [
            {"name": f"zone{n}", "agents": [{"ip": f"10.0.0.{n}"} | more]}
            for n, more in ((1, {}), (2, {}), (3, {"ob_version": "4.3.5.1-1"}))]}),
        lambda ending: len({s.agent.ob_version for s in ending.world.cluster().servers}) == 2,
    ),
    "zone-name-syntax": (
        Scene(zone="zone-4"),
        lambda ending: [zone.name for zone in ending.world.cluster().zones][3:] == ["zone-4"],
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
    assert went_the_way_it_may(ending, finding)
    assert (ending.dag.state, ending.dag.operator) == ("SUCCEED", "RUN")
    assert is_damaged(ending)


async def test_nothing_fails_late_where_all_rules_are_kept():
    """The other side: the same world and the sample request, judged ready, go through."""
    ending = await look_and_post(Scene())

    assert not ending.findings.blockers
    assert ending.door == "submit"
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
    transport = in_process(ending.world)

    states = []
    async with AgentClient(ENTRY, root_password=SecretStr(ROOT), transport=transport) as client:
        for _ in range(2):
            await client.operate_dag(ending.dag.id, Operator.ROLLBACK)
            ending.world.advance(400.0)
            states.append(newest(ending.world).state)

    assert told.answer == "info"
    assert states == ["FAILED", "SUCCEED"]
    assert [zone.name for zone in ending.world.cluster().zones] == ["zone1", "zone2", "zone3"]


async def test_a_strange_name_of_a_new_zone_leaves_a_rollback_that_cannot_end():
    """It was accepted; then a stage fails, and DELETE ZONE chokes on the name however often."""
    scene = Scene(zone="zone-4", prepare=lambda world: world.play(Fault.fail_stage(10)))
    ending = await look_and_post(scene)
    told = ending.findings.of_rule("zone-name-syntax")[0]
    transport = in_process(ending.world)

    async with AgentClient(ENTRY, root_password=SecretStr(ROOT), transport=transport) as client:
        for _ in range(2):
            await client.operate_dag(ending.dag.id, Operator.ROLLBACK)
            ending.world.advance(400.0)
            assert newest(ending.world).state == "FAILED"

    assert (told.answer, ending.door) == ("block", "submit")
    assert "rollback that cannot end" in told.otherwise
    assert [zone.name for zone in ending.world.cluster().zones][3:] == ["zone-4"]


async def test_a_disk_that_keeps_filling_up_fails_the_start_as_told():
    """Between plan and preflight somebody wrote to it; it still fitted, and soon it did not."""
    scene = Scene()
    world, node = scene.make(), scene.node
    transport = in_process(world)
    spare = world.spares[0]

    def client(address, root=None):
        return AgentClient(address, root_password=root, transport=transport)

    root, target = SecretStr(ROOT), AgentAddress("10.0.0.4")
    async with ClusterClient([client(ENTRY, root)]) as cluster, client(target) as agent:
        link = Connections(cluster, agent, scene.cluster_spec, None, root)
        order = ScaleOut(cluster=scene.cluster_spec, node=node, batch=(node,))
        first = await survey(link, order, probing=False)
        spare.host.allocate("/dump", 200 * GIB)
        minutes_ago = PreviousReading(first.now - timedelta(minutes=5), first.look().host)
        facts = await survey(link, order, earlier=minutes_ago, probing=False)
        accepted = OverrideSpec(rule="disk-recent-usage", reason="a dump", until=facts.now.date())
        findings = judge_with_overrides(facts, "prod", (accepted,))
        begun = await begin_once(
            link, order, conclude(facts, findings), records=KeptHere, publish=unheard
        )
        spare.host.allocate("/dump", 420 * GIB)
        dag = await end_of(world, cluster, begun.dag_id)

    (told,) = findings.of_rule("disk-recent-usage")
    assert (told.answer, told.overridden_by.reason) == ("warn", "a dump")
    assert not findings.blockers
    assert "stage 5" in told.otherwise
    assert (dag.state, dag.stage) == ("FAILED", 5)


# rule: why no simulated world shows what comes of it
NOT_PLAYED = {
    "cfg-paths-absolute": "no shell stands between the simulated agent and its directories",
    "cfg-no-cross-contamination": "it needs two nodes of one host; refused by the reader",
    "agent-tls-scheme": "a world speaks one scheme",
    "agent-address-matches": "a simulated agent knows itself by the address it is asked at",
    "agent-not-obproxy": "no simulated agent is an obproxy's",
    "agent-running": "no simulated agent is about to stop",
    "agent-binary-arch": "the simulated binary store has every architecture",
    "ob-edition": "the simulation has one edition",
    "cpu-instructions": "simulated CPUs have no instructions",
    "same-ip-port-reuse": "simulated observers do not listen",
    "port-free-probe": "simulated observers do not listen",
    "ip-family": "the simulated observer speaks both families",
    "ip-literal": "an address that is none is refused by the reader",
    "cluster-unfinished-dag": "the POST refuses it",
    "cluster-view-degraded": "the POST refuses it: the agent holds no database",
    "cluster-rootservice-present": "a simulated cluster always has its leader",
    "cluster-members-healthy": "stage 7 may succeed, and does in the simulation",
    "startup-mode-match": "no simulated cluster has shared storage",
    "standby-note": "nothing goes wrong in this cluster",
    "server-count-limits": "the limits of the engine are not simulated",
    "batch-zone-order": "it needs several nodes, one of which fails",
    "batch-capacity-final": "it needs several nodes",
    "preflight-freshness": "time alone breaks nothing; what changed meanwhile is other rules'",
    "mem-start-minimum": "simulated memory is not used up",
    "datafile-min": "the simulated data file may be as small as one likes",
    "ulimit-nofile": "simulated observers open no files",
}
OF_THEIR_OWN = {"new-zone-rollback-risk", "disk-recent-usage"}
"""Played by tests of their own."""


def test_every_rule_that_names_a_stage_or_silence_is_played_or_says_why_not():
    """No prediction stands unproved without a word."""
    played = {*FAILS_LATE, *GOES_WRONG_SILENTLY, *OF_THEIR_OWN}
    late = {rule.id for rule in RULES if re.search("stage|SILENT", rule.otherwise)}

    assert late - played == set(NOT_PLAYED)
    assert not played & set(NOT_PLAYED)
