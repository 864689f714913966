"""Tests that bad requests raise exactly their findings when read over HTTP.

tests/unit/test_preflight_oracle.py judges facts that are written down. Here the same cases are
simulated agents, asked over their API as a user's are: what a refused or a missing answer makes of
the facts counts too.
"""

import pytest
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import AgentEndpoint, ScaleOutRequest
from obscale.connect.connections import Connections
from obscale.preflight.read import survey
from obscale.preflight.registry import judge
from obscale.request.scale_out import ScaleOut
from obscale.sandbox import Fault, in_process
from tests.contract.plan_scenes import ENTRY, ROOT, SAMPLE, Scene

BASE = {"agent-tls-scheme", "disk-same-mount", "zone-balance"}
"""Of the sample itself: these agents speak plain http."""
IN_PASSING = {"duty-window", "clock-precision"}
"""Depends on when the test runs, and on how busy the machine is that runs it."""
BLOCK, WARN, BLOCK_OR_WARN = ("block", "block"), ("warn", "info"), ("block", "warn")
UNKNOWN = ("unknown", "unknown")
ZONES = [{"name": f"cn-{x}", "agents": [{"ip": f"10.0.0.{n}"}]} for n, x in enumerate("abc", 1)]
WITHOUT_SIZES = {"datafile_size": None, "log_disk_size": None}


def root_disk(**sizes):
    return {"host": {"disks": [{"mount": "/", "device": "/dev/vda1"} | sizes]}}


def disks(*mounts):
    rows = [{"mount": "/", "device": "/dev/vda1"}]
    rows += [dict(zip(("mount", "device", "total", "used"), row, strict=True)) for row in mounts]
    return {"host": {"disks": rows}}


def fail_another(world):
    """Somebody else's scale-out fails in the middle and keeps the lock."""
    world.play(Fault.fail_stage(5))


# name: (scene, raised beside the base, gone from the base)
ROWS = {
    "the sample": (Scene(), {}, set()),
    "three disks": (
        Scene({"data_dir": "/data/ob", "redo_dir": "/redo/ob"},
              disks(("/data", "/dev/vdb1", "466G", "3G"), ("/redo", "/dev/vdc1", "466G", "3G"))),
        {}, {"disk-same-mount"},
    ),
    "16 GiB machine": (
        Scene(spare={"host": {"memory_total": "15G", "memory_available": "14G"}}),
        {"mem-fits-total": BLOCK_OR_WARN, "mem-available": BLOCK_OR_WARN}, set(),
    ),
    "24 GiB machine": (
        Scene(spare={"host": {"memory_total": "23G", "memory_available": "22G"}}), {}, set(),
    ),
    "400G used": (Scene(spare=root_disk(used="400G")), {"disk-fits": WARN}, set()),
    "a 70G disk": (Scene(spare=root_disk(total="70G", used="13G")), {"disk-fits": WARN}, set()),
    "a 55G disk": (Scene(spare=root_disk(total="55G", used="10G")), {"disk-fits": BLOCK}, set()),
    "6": (
        Scene({"log_disk_size": None, "log_disk_sise": "24G"}),
        {"cfg-key-known": BLOCK, "disk-default-percent-trap": WARN}, set(),
    ),
    "7 where it is allowed": (Scene({"syslog_level": "INFO,SQL.*:WARN"}), {}, set()),
    "13": (
        Scene({"memory_limit": "6G", "system_memory": "2G"}),
        {"mem-tenant-headroom": BLOCK, "mem-production-floor": WARN, "spec-drift": WARN}, set(),
    ),
    "14": (
        Scene({"memory_limit": "6G", "system_memory": "2G",
               "__min_full_resource_pool_memory": "2147483648"}),
        {"mem-production-floor": WARN, "spec-drift": WARN}, set(),
    ),
    "15": (
        Scene({"memory_limit": "3G", "system_memory": None}),
        {"mem-floor": BLOCK, "mem-tenant-headroom": BLOCK, "mem-production-floor": WARN,
         "spec-drift": WARN, "units-fit": WARN}, set(),
    ),
    "16": (
        Scene({"system_memory": "16G"}),
        {"mem-tenant-headroom": BLOCK, "mem-system-ratio": BLOCK, "units-fit": WARN}, set(),
    ),
    "17": (
        Scene({"system_memory": "512M"}),
        {"mem-system-vs-hidden": BLOCK, "log-disk-ratio": WARN, "spec-drift": WARN}, set(),
    ),
    "18": (
        Scene({"memory_limit": "80G"}),
        {"mem-fits-total": BLOCK_OR_WARN, "mem-available": BLOCK_OR_WARN, "log-disk-ratio": WARN},
        set(),
    ),
    "19": (
        Scene({"log_disk_size": "24M"}),
        {"log-disk-min": BLOCK_OR_WARN, "log-disk-ratio": WARN, "units-fit": WARN,
         "spec-drift": WARN}, set(),
    ),
    "20": (Scene({"datafile_size": "500G"}), {"disk-fits": BLOCK}, set()),
    "21": (
        Scene(WITHOUT_SIZES, root_disk(used="60G")),
        {"disk-fits": BLOCK, "disk-default-percent-trap": WARN}, set(),
    ),
    "22": (
        Scene(WITHOUT_SIZES | {"datafile_disk_percentage": "70", "log_disk_percentage": "40"}),
        {"disk-percent-sum": BLOCK, "disk-fits": BLOCK}, set(),
    ),
    "23": (Scene({"datafile_disk_percentage": "60"}), {"cfg-mutual-precedence": WARN}, set()),
    "24": (
        Scene(zone="Zone2"),
        {"zone-case-near-miss": BLOCK_OR_WARN, "new-zone-intent": BLOCK_OR_WARN,
         "new-zone-region": WARN}, {"zone-balance"},
    ),
    "25": (
        Scene(zone="zone4"),
        {"new-zone-intent": BLOCK_OR_WARN, "new-zone-region": WARN}, {"zone-balance"},
    ),
    "26": (
        Scene(zone="zone-4", allow_new_zone=True),
        {"zone-name-syntax": BLOCK_OR_WARN, "new-zone-region": WARN}, {"zone-balance"},
    ),
    "27": (Scene(zone="cn-b", cluster={"zones": ZONES}), {}, set()),
    "28 version": (
        Scene(spare={"ob_version": "4.3.5.1-102000092025042111"}),
        {"ob-version-equal": BLOCK}, set(),
    ),
    "28 build": (
        Scene(spare={"ob_version": "4.3.5.2-102000092025042112"}),
        {"ob-version-equal": BLOCK}, set(),
    ),
    "29 3 s": (Scene(spare={"clock_offset_seconds": 3.0}), {"clock-skew": BLOCK}, set()),
    "30": (
        Scene({"mysql_port": "3881", "rpc_port": "3882"}, {"ip": "10.0.0.1", "port": 3886}),
        {"duplicate-host": BLOCK_OR_WARN}, set(),
    ),
    # What nobody may read of the target's machine is not judged, and agent-auth says so.
    "32": (
        Scene(spare={"agent_password": "Spare#1"}), {"agent-auth": BLOCK}, {"disk-same-mount"},
    ),
    "a wrong password": (
        Scene(spare={"agent_password": "Spare#1"}, password="Spare#2"),
        {"agent-auth": BLOCK}, {"disk-same-mount"},
    ),
    "34": (
        Scene({"data_dir": "/data/ob", "redo_dir": "/redo/ob"},
              disks(("/data", "tmpfs", "64G", "0"))),
        {"disk-fs-type": BLOCK_OR_WARN, "disk-home-shared": WARN}, {"disk-same-mount"},
    ),
    "35": (
        Scene(spare={"obshell_version": "4.2.6.0-1"}),
        {"host-facts-missing": UNKNOWN, "agent-version-equal": WARN,
         "agent-binary-arch": UNKNOWN}, {"disk-same-mount"},
    ),
}  # fmt: skip


async def look(scene, *, before=None):
    """Ask the cluster and the target of a scene; gives the facts a plan is judged by.

    Time passes in its world as it does here: the clocks of its agents are compared.
    """
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
        if before is not None:
            await before(world, cluster)
        link = Connections(cluster, agent, scene.cluster_spec, password, root)
        order = ScaleOut(
            cluster=scene.cluster_spec,
            node=node,
            batch=(node,),
            allow_new_zone=scene.allow_new_zone,
        )
        return await survey(link, order, probing=False)


def loud(findings):
    told = (*findings.blockers, *findings.warnings)
    return {finding.rule for finding in told} - IN_PASSING


def assert_raises(facts, raised, gone):
    """The named rules answer as printed; no other rule warns or blocks."""
    prod, lab = judge(facts, "prod"), judge(facts, "lab")

    assert loud(prod) == (BASE - gone) | set(raised)
    for rule, answers in raised.items():
        both = [next(f.answer for f in s.by_weight() if f.rule == rule) for s in (prod, lab)]
        assert tuple(both) == answers, rule
    assert bool(prod.blockers) is any(answer == "block" for answer, _ in raised.values())
    assert bool(lab.blockers) is any(answer == "block" for _, answer in raised.values())


@pytest.mark.parametrize(("scene", "raised", "gone"), ROWS.values(), ids=ROWS)
async def test_a_row_of_the_oracle_raises_the_same_when_it_is_read(scene, raised, gone):
    """From the wire to the verdict."""
    facts = await look(scene)

    assert_raises(facts, raised, gone)


async def test_row_31_a_failed_scale_out_of_another_target_is_read_as_the_lock_it_is():
    """Two findings block: the DAG, and the lock it keeps."""
    scene = Scene(world={"spares": [{"ip": "10.0.0.4"}, {"ip": "10.0.0.5"}]}, prepare=fail_another)

    async def fail(world, cluster):
        other = AgentEndpoint(ip="10.0.0.5", port=2886)
        request = ScaleOutRequest(agent_info=other, zone="zone1", ob_configs=SAMPLE)
        await cluster.current.submit_scale_out(request)
        world.advance(600.0)

    facts = await look(scene, before=fail)

    assert_raises(facts, {"cluster-unfinished-dag": BLOCK, "cluster-maintenance": BLOCK}, set())
