"""Tests that each rule passes in some world."""

from datetime import UTC, datetime, timedelta

import pytest

from obscale.agent.models import Dag
from obscale.agent.resources import License
from obscale.preflight.facts import PortState
from obscale.preflight.registry import RULES
from obscale.request.models import AgentInfoSpec, NodeSpec
from tests.unit.test_preflight_progress import serve_with

GIB = 1 << 30
SIZES = {"memory_limit": "16G", "system_memory": "8G"}


def other(number, zone, ip=None, port=2886, **configs):
    where = AgentInfoSpec(ip=ip or f"10.0.0.{number}", port=port)
    return NodeSpec(agentInfo=where, zone=zone, obConfigs=SIZES | configs)


def own_dirs(world):
    return world.ask(data_dir="/data/ob", redo_dir="/redo/ob")


def on_loopback(world):
    for number in (1, 2, 3):
        world.change_server(number, ip="127.0.0.1", svr_port=2882 + 100 * number)
    rows = tuple(row.model_copy(update={"ip": "127.0.0.1"}) for row in world.ob_info.agent_info)
    return world.change("ob_info", agent_info=rows)


def even(world):
    """A request that makes 1-1-1 to 2-2-2, and servers that tell what they have."""
    for number in (1, 2, 3):
        stats = world.zones[number - 1].servers[0].stats
        world.change_server(
            number, stats=stats.model_copy(update={"memory_in_bytes_total": 8 * GIB})
        )
    return world.set(zone="zone1", others=[other(5, "zone2"), other(6, "zone3")])


def regions(world, name):
    zones = tuple(zone.model_copy(update={"region_name": name}) for zone in world.zones)
    return world.set(zones=zones, zone="east")


def located(world, zone):
    tenants = tuple(t.model_copy(update={"locality": f"FULL{{1}}@{zone}"}) for t in world.tenants)
    return world.set(tenants=tenants, zone=zone)


# Rules that do not pass in the documented world: what makes them pass.
PASSES = {
    "cfg-mutual-precedence": lambda w, d: w.ask(datafile_disk_percentage="0"),
    "cfg-paths-absolute": lambda w, d: own_dirs(w),
    "cfg-dirs-nesting": lambda w, d: own_dirs(w),
    "cfg-dir-not-mount-root": lambda w, d: own_dirs(w),
    "cfg-dir-not-system": lambda w, d: own_dirs(w),
    "cfg-no-cross-contamination": lambda w, d: w.set(
        others=[other(0, "zone2", "10.0.0.4", 3886, mysql_port="3881", rpc_port="3882")]
    ),
    "agent-reachable-from-cluster": lambda w, d: on_loopback(w),
    "member-as-asked": lambda w, d: serve_with(w),
    "port-free-probe": lambda w, d: w.set(ports={2881: PortState.FREE, 2882: PortState.FREE}),
    "agent-binary-arch": lambda w, d: w.change("info", version="4.4.2.0-1"),
    "startup-mode-match": lambda w, d: w.change(
        "cluster_info", startup_mode="NORMAL", is_shared_storage=False
    ),
    "license-valid": lambda w, d: w.set(
        license=License(expired_time=datetime.now(UTC) + timedelta(days=9), node_num=4)
    ),
    "new-zone-region": lambda w, d: regions(w, "default_region"),
    "zone-balance": lambda w, d: even(w),
    "new-zone-unused": lambda w, d: located(w, "east"),
    "even-zone-count": lambda w, d: w.set(zone="east", others=[other(5, "west")]),
    "batch-zone-order": lambda w, d: even(w),
    "batch-preflight-all-first": lambda w, d: even(w),
    "batch-capacity-final": lambda w, d: even(w),
    "batch-stop-on": lambda w, d: w.set(before=[other(5, "zone1")]),
    "preflight-freshness": lambda w, d: w.set(judged_before=w.now - timedelta(minutes=15)),
    "mem-system-ratio": lambda w, d: w.ask(system_memory="5G"),
    "mem-percentage-range": lambda w, d: w.drop("memory_limit").ask(memory_limit_percentage="95"),
    "disk-growth-fits": lambda w, d: w.ask(datafile_maxsize="50G", datafile_next="2G"),
    "disk-percent-sum": lambda w, d: w.drop("datafile_size", "log_disk_size"),
    "disk-same-mount": lambda w, d: own_dirs(w).disks(
        d("/"), d("/data", "/dev/vdb"), d("/redo", "/dev/vdc")
    ),
    "disk-home-shared": lambda w, d: own_dirs(w).disks(
        d("/"), d("/data", "/dev/vdb"), d("/redo", "/dev/vdc")
    ),
    "log-disk-ratio": lambda w, d: w.ask(log_disk_size="32G"),
    "datafile-ratio": lambda w, d: w.ask(datafile_size="48G"),
    "datafile-autoextend-consistent": lambda w, d: w.ask(
        datafile_maxsize="50G", datafile_next="2G"
    ),
    "disk-recent-usage": lambda w, d: w.set(host_before=w.host),
}
NEVER_PASSES = {
    "target-home-clean": "obshell shows no emptiness, only what speaks against it",
    "ob-edition": "a spare does not tell its edition",
    "mem-container": "a container is worth a word in any case",
    "disk-default-percent-trap": "a default is told where it is the documented one, too",
    "new-zone-rollback-risk": "the risk is there with every new zone",
    "rebalance-impact": "on and off are both worth a word",
    "standby-note": "the roles of tenants are not told",
    "arbitration-note": "a server of normal size is no arbitration server",
    "batch-serial-per-cluster": "that it takes its time is worth a word",
}


@pytest.mark.parametrize("rule", [rule.id for rule in RULES if rule.id not in NEVER_PASSES])
def test_every_rule_passes_where_it_is_kept(world, make_disk, rule):
    """In the documented world, or in one that differs where the rule looks."""
    PASSES.get(rule, lambda w, _: w)(world, make_disk)

    assert {finding.answer.value for finding in world.judge().of_rule(rule)} == {"pass"}


@pytest.mark.parametrize("rule", NEVER_PASSES)
def test_a_rule_without_a_pass_says_nothing_loud_where_nothing_is_wrong(world, rule):
    """It does not apply, or is worth a word."""
    assert world.finding(rule).answer in {"n-a", "info"}


def test_a_young_dag_of_another_kind_is_no_tenants(world):
    """Only what works on a tenant counts here."""
    world.set(unfinished=(Dag(id="15", dag_id=5, maintenance_type=1),))

    assert world.finding("tenant-dag-running").answer == "pass"
