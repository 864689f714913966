"""Tests of rules about peers, modes, new zones, ports and whole requests."""

from copy import deepcopy
from datetime import UTC, datetime, timedelta

import pytest

from obscale.agent.clock import ClockReading
from obscale.agent.models import Dag, HostBasics, OsRelease
from obscale.agent.resources import License, ObserverStatistics, Statistics, TenantOverview
from obscale.preflight.facts import HOST_FACTS_MISSING, PortState
from obscale.preflight.registry import RULES
from obscale.reading import CLUSTER_FACTS_MISSING, Unread
from obscale.request.models import AgentInfoSpec, NodeSpec

GAP = Unread("it did not answer")
HOST_GAP = Unread("no host-info", covered_by=HOST_FACTS_MISSING)
HERE = {
    "batch",
    "clock",
    "drift",
    "evidence",
    "expansion",
    "machine",
    "operation",
    "ports",
    "units",
}
"""Modules of the rules judged here; test_preflight_rules.py has all others."""
GIB = 1 << 30
NEXT_YEAR = datetime.now(UTC) + timedelta(days=365)
NO_ROUTE = "[POST]10.0.0.4:2886 to /rpc/v1/ob/scale_out failed: dial tcp 10.0.0.4:2886: i/o timeout"


def other(number, zone, **configs):
    """One more node of the request, on a machine of its own."""
    where = AgentInfoSpec(ip=f"10.0.0.{number}", port=2886)
    sizes = {"memory_limit": "16G", "system_memory": "8G"}
    return NodeSpec(agentInfo=where, zone=zone, obConfigs=sizes | configs)


def licence(world, **fields):
    return world.set(license=License(**({"expired_time": NEXT_YEAR, "node_num": 9} | fields)))


def tenant_dag(world, kind=3):
    return world.set(unfinished=(Dag(id="15", dag_id=5, name="Modify", maintenance_type=kind),))


def last_dag(world, log):
    node = {"name": "two", "sub_tasks": [{"task_logs": [log]}]}
    dag = {"id": "16", "dag_id": 6, "name": "Cluster scale out", "nodes": [node]}
    return world.set(last_dag=Dag.model_validate(dag))


def told(world, part, **fields):
    """Change one part of the target's machine."""
    return world.change("host", **{part: getattr(world.host, part).model_copy(update=fields)})


def peers_disks(world, *disks):
    hosts = tuple(host.model_copy(update={"disks": disks}) for host in world.statistics.hosts)
    return world.change("statistics", hosts=hosts)


def peers_told(world, memory_gib):
    """Let the servers report what they offer."""
    for server in (1, 2, 3):
        zone = world.zones[server - 1]
        stats = zone.servers[0].stats.model_copy(
            update={"memory_in_bytes_total": memory_gib * GIB, "cpu_core_total": 16}
        )
        world.change_server(server, stats=stats)
    return world


def unit(world, **sizes):
    """One more unit, of a pool in all zones."""
    grown = world.units[1].model_copy(update={"unit_config_id": 1002, "name": "u_big"} | sizes)
    pool = world.pools[1].model_copy(update={"id": 1002, "unit_config_id": 1002})
    return world.set(units=(*world.units, grown), pools=(*world.pools, pool))


def merge_at(world, minutes_from_now):
    """Set the daily merge so far from now, in the cluster's own time zone."""
    at = world.now + timedelta(hours=8, minutes=minutes_from_now)
    return world.parameter("major_freeze_duty_time", f"{at:%H:%M}")


def shared_storage(world, **parts):
    world.change("cluster_info", startup_mode="SHARED_STORAGE", is_shared_storage=True)
    return world.set(**parts)


def many_servers(world, count):
    servers = tuple(
        world.zones[0].servers[0].model_copy(update={"ip": f"10.1.{n // 250}.{n % 250 + 1}"})
        for n in range(count)
    )
    return world.set(zones=(world.zones[0].model_copy(update={"servers": servers}),
                            *world.zones[1:]))  # fmt: skip


def many_zones(world, count):
    zones = (world.zones[1].model_copy(update={"name": f"z{n}", "servers": ()})
             for n in range(count))  # fmt: skip
    return world.set(zones=(*world.zones, *zones))


# rule: list of (change, answer in prod, answer in lab). `d` builds disks.
FIRES = {
    "agent-reachable-from-cluster": [(lambda w, d: last_dag(w, NO_ROUTE), "info", "info")],
    "target-home-clean": [
        (lambda w, d: w.change("status", ob_state=1), "block", "block"),
        (lambda w, d: w.set(listed=w.ob_info), "block", "block"),
        (lambda w, d: w.set(listed=w.ob_info.model_copy(update={
            "obcluster_info": w.ob_info.obcluster_info.model_copy(update={"name": ""})})),
         "block", "block"),
        (lambda w, d: w.set(local_dag=Dag(id="2", dag_id=1, name="Local scale out")),
         "info", "info"),
    ],
    "ob-edition": [
        (lambda w, d: w.change("statistics", instances=(
            ObserverStatistics(type="oceanbase"), ObserverStatistics(type="oceanbase-ce"))),
         "info", "info"),
    ],
    "cpu-instructions": [
        (lambda w, d: told(w, "cpu_info", model_name="Common KVM processor"), "info", "info"),
        (lambda w, d: told(w, "cpu_info", model_name="QEMU Virtual CPU version 2.5+"),
         "info", "info"),
    ],
    "port-free-probe": [
        (lambda w, d: w.set(ports={2881: PortState.FREE, 2882: PortState.TAKEN}),
         "block", "block"),
        (lambda w, d: w.set(ports={2881: PortState.FREE, 2882: PortState.SILENT}),
         "info", "info"),
    ],
    "port-open-probe": [
        (lambda w, d: w.set(clocks=w.clocks | {"10.0.0.3:2886": GAP}), "info", "info"),
    ],
    "tenant-dag-running": [(lambda w, d: tenant_dag(w), "block", "block")],
    "upgrade-mode": [
        (lambda w, d: w.parameter("enable_upgrade_mode", "True"), "block", "warn"),
        (lambda w, d: w.parameter("enable_upgrade_mode", "1"), "block", "warn"),
    ],
    "startup-mode-match": [
        (lambda w, d: shared_storage(w), "warn", "info"),
        (lambda w, d: shared_storage(w, zone="east"), "block", "block"),
    ],
    "license-valid": [
        (lambda w, d: licence(w, expired_time=datetime(2020, 1, 1, tzinfo=UTC)), "block", "warn"),
        (lambda w, d: licence(w, node_num=3), "block", "warn"),
        (lambda w, d: licence(w, node_num=4).set(others=[other(5, "zone1")]), "block", "warn"),
    ],
    "duty-window": [
        (lambda w, d: merge_at(w, 59), "warn", "info"),
        (lambda w, d: merge_at(w, -59), "warn", "info"),
    ],
    "standby-note": [(lambda w, d: w, "info", "info")],
    "arbitration-note": [
        (lambda w, d: w.ask(memory_limit="1G"), "info", "info"),
        (lambda w, d: w.ask(memory_limit="3G"), "info", "info"),
    ],
    "new-zone-unused": [
        (lambda w, d: w.set(zone="east"), "info", "info"),
        (lambda w, d: w.set(zone="zone"), "info", "info"),
        (lambda w, d: w.set(zone="zone22").rename_zones("zone1", "zone222", "zone3"),
         "info", "info"),
    ],
    "new-zone-rollback-risk": [(lambda w, d: w.set(zone="east"), "info", "info")],
    "even-zone-count": [
        (lambda w, d: w.set(zone="east"), "info", "info"),
        (lambda w, d: w.set(zone="east", others=[other(5, "east")]), "info", "info"),
    ],
    "server-count-limits": [
        (lambda w, d: many_servers(w, 1022), "warn", "info"),
        (lambda w, d: many_zones(w, 61).set(zone="east"), "warn", "info"),
        (lambda w, d: many_servers(w, 1021).set(others=[other(5, "zone1")]), "warn", "info"),
    ],
    "batch-serial-per-cluster": [
        (lambda w, d: w.set(others=[other(5, "zone1")]), "info", "info"),
    ],
    "batch-zone-order": [
        (lambda w, d: w.set(others=[other(5, "zone2"), other(6, "zone1")]), "warn", "info"),
        (lambda w, d: w.set(others=[other(5, "east")]), "warn", "info"),
    ],
    "batch-preflight-all-first": [
        (lambda w, d: w.set(others=[other(5, "zone1", rpc_port="80")]), "block", "block"),
        (lambda w, d: w.set(others=[other(5, "zo'ne")]), "block", "block"),
    ],
    "batch-capacity-final": [
        (lambda w, d: peers_told(w, 8).set(others=[other(5, "zone1")]), "info", "info"),
    ],
    "batch-stop-on": [(lambda w, d: w.set(others=[other(5, "zone1")]), "info", "info")],
    "preflight-freshness": [
        (lambda w, d: w.set(judged_before=w.now - timedelta(minutes=16)), "warn", "info"),
    ],
    "os-match": [
        (lambda w, d: w.change("host", os=OsRelease(os="centos", version="8")), "info", "info"),
        (lambda w, d: w.change("host", os=OsRelease(os="ubuntu", version="7")), "info", "info"),
    ],
    "virt-type": [
        (lambda w, d, kind=kind: told(w, "basic", host_type=kind), "info", "info")
        for kind in ("docker", "lxc", "podman", "systemd-nspawn", "openvz", "wsl")
    ],
    "disk-drift": [(lambda w, d: peers_disks(w, d("/", total="600G")), "info", "info")],
    "disk-recent-usage": [
        (lambda w, d: w.set(host_before=w.host).disks(d("/", used="40G")), "warn", "info"),
    ],
    "spec-drift": [
        (lambda w, d: w.ask(memory_limit="14G"), "warn", "info"),
        (lambda w, d: w.ask(datafile_size="21G"), "warn", "info"),
        (lambda w, d: peers_told(w, 8).ask(cpu_count="8"), "warn", "info"),
        (lambda w, d: w.ask(memory_limit="32G"), "info", "info"),
        (lambda w, d: w.set(zone="east").ask(memory_limit="8G"), "warn", "info"),
    ],
    "param-override-drift": [
        (lambda w, d: w.parameter("cpu_count", "8").ask(cpu_count="16"), "warn", "info"),
        (lambda w, d: w.ask(memory_limit="32G"), "info", "info"),
    ],
    "param-omitted-vs-peers": [
        (lambda w, d: w.parameter("net_thread_count", "8"), "info", "info"),
    ],
    "units-fit": [
        (lambda w, d: w.ask(log_disk_size="11G"), "warn", "info"),
        (lambda w, d: w.ask(memory_limit="11G"), "warn", "info"),
        (lambda w, d: w.ask(cpu_count="1"), "warn", "info"),
        (lambda w, d: unit(w, memory_size=9 * GIB), "info", "info"),
    ],
    "signer-clock": [
        (lambda w, d: w.set(clocks={f"10.0.0.{n}:2886": ClockReading(-2.5, 0.1)
                                    for n in (1, 2, 3)}), "info", "info"),
        (lambda w, d: w.set(clocks={}, clock=ClockReading(3.0, 0.1)), "info", "info"),
    ],
    "tz-match": [
        (lambda w, d: w.set(utc_offset=0.0), "warn", "info"),
        (lambda w, d: w.set(utc_offset=-12_600.0), "warn", "info"),
    ],
}  # fmt: skip
# Each change takes away what its rule needs.
UNKNOWN = {
    "target-home-clean": lambda w: w.set(listed=GAP),
    "port-open-probe": lambda w: w.set(clocks={}),
    "tenant-dag-running": lambda w: w.set(unfinished=GAP),
    "upgrade-mode": lambda w: w.set(
        parameters=tuple(r for r in w.parameters if r.name != "enable_upgrade_mode")
    ),
    "startup-mode-match": lambda w: shared_storage(w, zones=GAP),
    "license-valid": lambda w: w.set(license=GAP),
    "duty-window": lambda w: w.set(utc_offsets={}),
    "new-zone-unused": lambda w: w.set(zones=GAP),
    "new-zone-rollback-risk": lambda w: w.set(zones=GAP),
    "even-zone-count": lambda w: w.set(zones=GAP),
    "server-count-limits": lambda w: w.set(zones=GAP),
    "batch-zone-order": lambda w: w.set(zones=GAP, others=[other(5, "zone1")]),
    "batch-capacity-final": lambda w: w.set(others=[other(5, "zone1")]),
    "preflight-freshness": lambda w: w.set(now=None, judged_before=NEXT_YEAR),
    "os-match": lambda w: w.change("host", os=OsRelease()),
    "disk-drift": lambda w: w.change("statistics", hosts=()),
    "spec-drift": lambda w: w.set(zones=GAP),
    "signer-clock": lambda w: w.set(clocks={"10.0.0.1:2886": GAP}, clock=GAP),
    "tz-match": lambda w: w.set(utc_offset=GAP),
}
COVERED = {
    HOST_FACTS_MISSING: (
        lambda w: w.set(host=HOST_GAP, host_before=w.host),
        {"os-match", "virt-type", "disk-drift", "cpu-instructions", "disk-recent-usage"},
    ),
    CLUSTER_FACTS_MISSING: (
        lambda w: w.set(
            parameters=GAP, cluster_info=GAP, statistics=GAP, units=GAP, pools=GAP, tenants=GAP,
            others=[other(5, "zone1")],
        ),
        {"upgrade-mode", "startup-mode-match", "duty-window", "standby-note", "ob-edition",
         "cpu-instructions", "os-match", "disk-drift", "spec-drift", "param-override-drift",
         "param-omitted-vs-peers", "units-fit", "batch-capacity-final"},
    ),
    "cfg-capacity-syntax": (
        lambda w: w.ask(memory_limit="16"),
        {"spec-drift", "units-fit"},
    ),
}  # fmt: skip
NO_EVIDENCE_NEEDED = {
    "agent-reachable-from-cluster": "without a trace it does not apply",
    "port-free-probe": "an untried port is no answer that is missing",
    "arbitration-note": "the request alone, or it does not apply",
    "batch-serial-per-cluster": "the request alone",
    "batch-preflight-all-first": "the request alone",
    "batch-stop-on": "the request alone",
}
CASES = [(rule, *case) for rule, cases in FIRES.items() for case in cases]


@pytest.mark.parametrize(
    ("rule", "change", "prod", "lab"), CASES, ids=[f"{c[0]}-{n}" for n, c in enumerate(CASES)]
)
def test_a_rule_fires_on_what_it_is_for(world, make_disk, rule, change, prod, lab):
    """The gravest finding of the rule, in both profiles."""
    change(world, make_disk)

    found = [world.finding(rule, profile) for profile in ("prod", "lab")]

    assert [finding.answer.value for finding in found] == [prod, lab]
    assert all(finding.measured for finding in found)


@pytest.mark.parametrize(("rule", "change"), UNKNOWN.items(), ids=UNKNOWN)
def test_without_its_evidence_a_rule_is_unknown_and_never_passes(world, rule, change):
    """Unknown weighs as a warning in production and is told in the lab."""
    change(world)

    prod, lab = world.finding(rule, "prod"), world.finding(rule, "lab")

    assert (prod.answer, prod.weight) == ("unknown", "warn")
    assert (lab.answer, lab.weight) == ("unknown", "info")


@pytest.mark.parametrize(("cover", "case"), COVERED.items(), ids=COVERED)
def test_one_finding_reports_a_gap_for_all_rules_that_need_it(world, cover, case):
    """The covered rules are named there and say nothing themselves."""
    change, silent = case
    change(world)

    findings = world.judge()

    told_there = " ".join(finding.measured for finding in findings.of_rule(cover))
    for rule in silent:
        assert rule in told_there
        assert not findings.of_rule(rule)


@pytest.mark.parametrize(
    "rule", [r.id for r in RULES if r.judge.__module__.rpartition(".")[2] in HERE]
)
def test_every_rule_here_has_a_case_that_fires_and_one_that_is_unknown(rule):
    """A new rule cannot be added without both."""
    covered = {rule for _, silent in COVERED.values() for rule in silent}

    assert rule in FIRES
    assert rule in UNKNOWN or rule in covered or rule in NO_EVIDENCE_NEEDED


def test_what_an_old_version_does_not_know_does_not_apply(world):
    """No endpoint for licences, no kinds of DAGs: nothing is missing."""
    world.set(license=Unread("older than 4.4.0.0", supported=False))
    tenant_dag(world, kind=None)

    assert world.finding("license-valid").answer == "n-a"
    assert world.finding("tenant-dag-running").answer == "n-a"


def test_a_merge_on_a_simulated_cluster_is_only_told(world):
    """A rehearsal at two in the morning ends like one at noon."""
    merge_at(world, 0)
    for number in (1, 2, 3):
        world.change_server(number, ip=f"127.0.0.{number}")
    rows = tuple(
        row.model_copy(update={"ip": f"127.0.0.{n}"})
        for n, row in enumerate(world.ob_info.agent_info, start=1)
    )
    world.change("ob_info", agent_info=rows)

    assert world.finding("duty-window").answer == "info"


def test_a_merge_shortly_after_midnight_is_near_shortly_before_it(world):
    """The day is a circle."""
    world.set(now=world.now.replace(hour=15, minute=50)).parameter(
        "major_freeze_duty_time", "00:10"
    )

    assert world.finding("duty-window").answer == "warn"


def test_a_merge_that_is_switched_off_is_never_near(world):
    """`disable` is no time of day."""
    world.parameter("major_freeze_duty_time", "disable")

    assert world.finding("duty-window").answer == "n-a"


def test_one_member_with_a_wrong_clock_says_nothing_of_ours(world):
    """What half of the members agree on counts."""
    world.set(clocks=world.clocks | {"10.0.0.3:2886": ClockReading(60.0, 0.001)})

    assert world.finding("signer-clock").answer == "pass"


def test_a_log_of_another_target_is_no_evidence(world):
    """The address counts, not the trouble alone."""
    last_dag(world, NO_ROUTE.replace("10.0.0.4", "10.0.0.9"))

    assert world.finding("agent-reachable-from-cluster").answer == "n-a"


def test_the_better_order_is_written_out(world):
    """What to write instead can be copied; the first node of a new zone comes first."""
    world.set(others=[other(5, "zone2"), other(6, "zone1"), other(7, "east")])

    assert world.finding("batch-zone-order").needed == "east, zone1, zone2, zone2"


def test_a_node_that_has_joined_counts_once(world):
    """Running a request again judges what is still missing."""
    grown = world.zones[0].model_copy(
        update={"servers": (*world.zones[0].servers,
                            world.zones[0].servers[0].model_copy(update={"ip": "10.0.0.5"}))}
    )  # fmt: skip
    world.set(zones=(grown, *world.zones[1:]), others=[other(5, "zone1"), other(6, "zone3")])

    assert world.finding("zone-balance").answer == "pass"
    assert world.finding("batch-serial-per-cluster").measured == "2 nodes for one cluster"


def test_the_refused_node_of_the_request_is_named_with_its_rule(world):
    """Where to mend it."""
    world.set(others=[other(5, "zone1", rpc_port="80")])

    assert world.finding("batch-preflight-all-first").measured == "10.0.0.5:2886: cfg-port-range"


def test_a_request_of_many_nodes_costs_each_of_them_little(world):
    """Its nodes are judged once, with the first; not each of them with each."""
    world.set(others=[other(5, "zone1", rpc_port="80")])
    second = deepcopy(world).set(ip="10.0.0.5", zone="zone1", before=[world.node()], others=[])

    assert world.finding("batch-preflight-all-first").answer == "block"
    assert second.finding("batch-preflight-all-first").measured.startswith("told with 10.0.0.4")


def test_peers_are_matched_by_the_hash_of_their_ip(world):
    """A machine nobody can name is nobody's peer."""
    stranger = world.host.model_copy(update={"basic": HostBasics(host_hash="0" * 40)})
    world.set(statistics=Statistics(hosts=(stranger,)))

    assert world.finding("os-match").answer == "unknown"


def test_a_new_zone_that_a_locality_names_is_used(world):
    """Somebody has prepared it."""
    world.set(zone="east", tenants=(TenantOverview(
        tenant_id=1002, tenant_name="app", locality="FULL{1}@zone1, FULL{1}@east"),))  # fmt: skip

    assert world.finding("new-zone-unused").answer == "pass"


def test_a_refused_new_zone_of_shared_storage_cannot_be_overridden(world):
    """The refusal is certain there, and only a doubt in an existing zone."""
    shared_storage(world)
    assert world.finding("startup-mode-match").overridable

    world.set(zone="east")
    assert not world.finding("startup-mode-match").overridable


def test_servers_without_configured_sizes_are_compared_by_what_they_report(world):
    """A size of zero means that the observer chose it."""
    peers_told(world, 8).parameter("datafile_size", "0M")
    for number in (1, 2, 3):
        stats = world.zones[number - 1].servers[0].stats
        world.change_server(
            number, stats=stats.model_copy(update={"disk_in_bytes_total": 100 * GIB})
        )

    assert "datafile_size 24G" in world.finding("spec-drift").measured
    assert world.finding("spec-drift").answer == "warn"
