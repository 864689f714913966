"""Tests that each rule fires, and is unknown without its evidence."""

import pytest

from obscale.agent.clock import ClockReading
from obscale.agent.models import Dag, Identity, ListedAgent, UnitConfigLimit
from obscale.preflight.facts import AGENT_REACHABLE, HOST_FACTS_MISSING
from obscale.preflight.registry import RULES, judge_request
from obscale.reading import CLUSTER_FACTS_MISSING, Unread
from obscale.request.models import AgentInfoSpec, NodeSpec
from tests.unit.test_preflight_progress import serve_with

GAP = Unread("it did not answer")
HOST_GAP = Unread("no host-info", covered_by=HOST_FACTS_MISSING)
CLUSTER_GAP = Unread("no parameters", supported=False, covered_by=CLUSTER_FACTS_MISSING)


def other(ip="10.0.0.4", port=3886, zone="zone2", **configs):
    return NodeSpec(agentInfo=AgentInfoSpec(ip=ip, port=port), zone=zone, obConfigs=configs)


def without(world, *, ports="3881 3882"):
    mysql, rpc = ports.split()
    return world.ask(mysql_port=mysql, rpc_port=rpc).set(ip="10.0.0.1", port=3886)


def container(world, **configs):
    basic = world.host.basic.model_copy(update={"host_type": "docker"})
    return world.change("host", basic=basic).ask(**configs)


def left(kind, name="Scale in tenant replicas", stage=1):
    return Dag(
        id="15",
        dag_id=5,
        name=name,
        maintenance_type=kind,
        state="FAILED",
        stage=stage,
        max_stage=5,
    )


def limits(world, **values):
    return world.change("host", ulimit=world.host.ulimit.model_copy(update=values))


def cores(world, count):
    return world.change(
        "host", cpu_info=world.host.cpu_info.model_copy(update={"logical_cores": count})
    )


# rule: list of (change, answer in prod, answer in lab). `d` builds disks.
FIRES = {
    "cfg-key-known": [
        (lambda w, d: w.ask(nonsense="1"), "block", "block"),
        (lambda w, d: w.ask(freeze_trigger_percentage="20"), "warn", "info"),
        (lambda w, d: w.ask(_hidden="1"), "info", "info"),
    ],
    "cfg-key-charset": [(lambda w, d: w.ask(**{"mysql-port": "1"}), "block", "block")],
    "cfg-key-reserved": [
        (lambda w, d: w.ask(cluster="other"), "block", "block"),
        (lambda w, d: w.ask(cluster="obcluster", cluster_id="1", zone="zone2"), "info", "info"),
        (lambda w, d: w.ask(homePath="/home/admin/oceanbase"), "info", "info"),
        (lambda w, d: w.ask(local_ip="10.0.0.9"), "block", "block"),
        (lambda w, d: w.ask(local_ip="10.0.0.4"), "info", "info"),
        (lambda w, d: w.ask(devname="eth0"), "warn", "info"),
        (lambda w, d: w.ask(all_server_list="x"), "block", "block"),
        (lambda w, d: w.ask(root_password="x"), "block", "block"),
    ],
    "cfg-value-delimiters": [
        (lambda w, d: w.ask(leak_mod_to_check="a\nb"), "block", "block"),
        (lambda w, d: w.ask(leak_mod_to_check="a\0b"), "block", "block"),
        (lambda w, d: w.ask(syslog_level="a\rb"), "block", "block"),
        (lambda w, d: w.ask(syslog_level="\x1b[2J"), "block", "block"),
        (lambda w, d: w.ask(rpc_port=""), "block", "block"),
        (lambda w, d: w.ask(data_dir=""), "warn", "info"),
    ],
    "cfg-capacity-syntax": [
        (lambda w, d: w.ask(memory_limit="16"), "block", "block"),
        (lambda w, d: w.ask(rootservice_memory_limit="2"), "block", "block"),
    ],
    "cfg-int-range": [
        (lambda w, d: w.ask(cpu_count="-1"), "block", "block"),
        (lambda w, d: w.ask(cpu_count="08"), "block", "block"),
        (lambda w, d: w.ask(net_thread_count="0x8"), "block", "block"),
        (lambda w, d: w.ask(log_disk_percentage="100"), "block", "block"),
        (lambda w, d: w.ask(__min_full_resource_pool_memory="1073741823"), "block", "block"),
        (lambda w, d: w.ask(cpu_count="9" * 5000), "block", "block"),
    ],
    "cfg-mutual-precedence": [
        (lambda w, d: w.ask(log_disk_percentage="30"), "warn", "info"),
    ],
    "cfg-port-range": [
        (lambda w, d: w.ask(mysql_port="1024"), "block", "block"),
        (lambda w, d: w.ask(mysql_port="65536"), "block", "block"),
        (lambda w, d: w.ask(rpc_port="abc"), "block", "block"),
        (lambda w, d: w.ask(rpcPort="2883"), "block", "block"),
        (lambda w, d: w.set(port=80), "block", "block"),
    ],
    "cfg-port-distinct": [
        (lambda w, d: w.drop("mysql_port").ask(rpc_port="2881"), "block", "block"),
        (lambda w, d: w.set(port=2881), "block", "block"),
    ],
    "cfg-paths-absolute": [
        (lambda w, d: w.ask(data_dir="data"), "block", "block"),
        (lambda w, d: w.ask(data_dir="/d" * 2048), "block", "block"),
        (lambda w, d: w.ask(data_dir="/" + "d" * 256), "block", "block"),
        (lambda w, d: w.ask(redo_dir="/data/../etc"), "block", "block"),
        (lambda w, d: w.ask(clog_dir="/data/o b"), "block", "block"),
        (lambda w, d: w.ask(slog_dir="/data/$(id)"), "block", "block"),
    ],
    "cfg-dirs-nesting": [
        (lambda w, d: w.ask(redo_dir="/home/admin"), "block", "block"),
        (lambda w, d: w.ask(data_dir="/d/x", clog_dir="/d"), "block", "block"),
    ],
    "cfg-dir-not-mount-root": [
        (lambda w, d: w.ask(data_dir="/data").disks(d("/"), d("/data", "/dev/vdb")),
         "warn", "info"),
    ],
    "cfg-dir-not-system": [
        (lambda w, d: w.ask(data_dir="/tmp"), "block", "warn"),
        (lambda w, d: w.ask(data_dir="/dev/shm/ob"), "block", "warn"),
        (lambda w, d: w.ask(data_dir="/home/admin/oceanbase"), "block", "warn"),
        (lambda w, d: w.ask(data_dir="/home/admin"), "block", "warn"),
        (lambda w, d: without(w).ask(redo_dir="/home/admin/oceanbase/store/x"), "block", "warn"),
        (lambda w, d: without(w.change_server(1, data_dir="/data/1/store")).ask(data_dir="/data"),
         "block", "warn"),
    ],
    "cfg-no-cross-contamination": [
        (lambda w, d: w.set(others=[other(mysql_port="3881", rpc_port="2882")]), "block", "block"),
        (lambda w, d: w.set(others=[other(port=2886)]), "block", "block"),
        (lambda w, d: w.ask(data_dir="/d/1").set(
            others=[other(mysql_port="3881", rpc_port="3882", redo_dir="/d/1/")]),
         "block", "block"),
    ],
    "agent-reachable": [(lambda w, d: w.set(info=GAP), "block", "block")],
    "agent-tls-scheme": [
        (lambda w, d: w.set(schemes=("https", "http")), "block", "block"),
        (lambda w, d: w.set(schemes=("http", "http")), "warn", "info"),
    ],
    "agent-identity-single": [
        (lambda w, d: w.change("info", identity=Identity.SCALING_OUT), "block", "block"),
        (lambda w, d: w.change("info", identity=Identity.CLUSTER_AGENT), "block", "block"),
        (lambda w, d: w.change("info", identity=Identity("NEW WORD")), "block", "block"),
    ],
    "agent-address-matches": [
        (lambda w, d: w.change("info", ip="10.0.0.5"), "block", "block"),
        (lambda w, d: w.change("info", port=2887), "block", "block"),
        (lambda w, d: w.set(ip="127.0.0.4").change("info", ip="127.0.0.4"), "block", "block"),
        (lambda w, d: w.set(ip="169.254.0.4").change("info", ip="169.254.0.4"), "block", "block"),
        (lambda w, d: w.change("info", ip="nowhere"), "block", "block"),
    ],
    "agent-not-obproxy": [
        (lambda w, d: w.change("info", is_obproxy_agent=True), "block", "block"),
    ],
    "agent-running": [
        (lambda w, d: w.change("status", state=1), "block", "warn"),
        (lambda w, d: w.change("status", start_at=w.info.start_at + 1), "block", "warn"),
    ],
    "agent-auth": [
        (lambda w, d: w.change("info", security=True), "block", "block"),
        (lambda w, d: w.set(password=True, signed_read="refused: wrong password"),
         "block", "block"),
        (lambda w, d: w.set(password=True), "info", "info"),
    ],
    "agent-not-busy": [
        (lambda w, d: w.change("status", under_maintenance=True), "block", "block"),
        (lambda w, d: w.set(local_unfinished=(Dag(id="2", dag_id=1, name="Join"),)),
         "block", "block"),
    ],
    "target-observer-not-running": [
        (lambda w, d: w.change("status", ob_state=1), "block", "block"),
    ],
    "agent-already-in-cluster": [
        (lambda w, d: w.change("ob_info", agent_info=(
            *w.ob_info.agent_info, ListedAgent(ip="10.0.0.4", port=2886, zone="zone1"))),
         "block", "block"),
    ],
    "server-already-registered": [
        (lambda w, d: w.change_server(2, ip="10.0.0.4"), "block", "block"),
        (lambda w, d: w.change_server(2, ip="10.0.0.4", inner_status="DELETING"),
         "block", "block"),
    ],
    "member-as-asked": [
        (lambda w, d: serve_with(w.ask(memory_limit="80G")), "warn", "warn"),
    ],
    "same-ip-port-reuse": [
        (lambda w, d: without(w, ports="2881 3882"), "block", "block"),
        (lambda w, d: without(w).set(port=2886), "block", "block"),
    ],
    "duplicate-host": [
        (lambda w, d: without(w), "block", "warn"),
        (lambda w, d: without(w).set(zone="zone1"), "warn", "info"),
        (lambda w, d: w.set(others=[other(zone="zone3")]), "block", "warn"),
    ],
    "ip-family": [
        (lambda w, d: w.set(ip="fd00::4").change("info", ip="fd00::4"), "block", "block"),
    ],
    "ip-literal": [(lambda w, d: w.set(ip="db4"), "block", "block")],
    "ob-version-equal": [
        (lambda w, d: w.change("info", ob_version="4.3.5.1-1"), "block", "block"),
        (lambda w, d: w.change("info", ob_version=""), "block", "block"),
    ],
    "ob-version-cluster-uniform": [
        (lambda w, d: w.change_server(3, version="4.3.5.1_1"), "block", "warn"),
    ],
    "agent-version-order": [
        (lambda w, d: w.change("info", version="4.10.0.0-1"), "block", "block"),
        (lambda w, d: w.change("info", version="4.2.4.0-1"), "block", "block"),
    ],
    "agent-version-equal": [(lambda w, d: w.change("info", version="4.4.2.0-1"), "warn", "info")],
    "agent-binary-arch": [
        (lambda w, d: w.change("info", version="4.4.2.0-1", architecture="aarch64"),
         "block", "warn"),
    ],
    "arch-match": [(lambda w, d: w.change("info", architecture="aarch64"), "warn", "info")],
    "cluster-agent-identity": [
        (lambda w, d: w.change("entry", identity=Identity.SINGLE), "block", "block"),
    ],
    "cluster-identity-pinned": [
        (lambda w, d: w.set(expected=("other", 1)), "block", "warn"),
        (lambda w, d: w.set(expected=("obcluster", 2)), "block", "warn"),
        (lambda w, d: w.set(expected=(None, None)), "warn", "info"),
    ],
    "cluster-maintenance": [
        (lambda w, d: w.set(unfinished=(Dag(id="15", dag_id=5, maintenance_type=3),)),
         "block", "block"),
        (lambda w, d: w.set(unfinished=(left(2, "Restore tenant app"),)), "warn", "warn"),
        (lambda w, d: w.set(unfinished=(left(None),)), "warn", "warn"),
    ],
    "cluster-unfinished-dag": [
        (lambda w, d: w.set(unfinished=(left(2, "Cluster scale in", stage=3),)), "block", "block"),
        (lambda w, d: w.set(unfinished=(Dag(id="15", dag_id=5, maintenance_type=1),)),
         "warn", "info"),
        (lambda w, d: w.set(unfinished=(left(3),)), "warn", "info"),
        (lambda w, d: w.set(unfinished=(left(2, "Cluster scale in"),)), "warn", "info"),
        (lambda w, d: w.set(unfinished=(left(None),)), "warn", "info"),
    ],
    "cluster-view-degraded": [
        (lambda w, d: w.change("cluster_info", ob_version=""), "block", "warn"),
        (lambda w, d: w.set(cluster_info=CLUSTER_GAP).change(
            "ob_info", obcluster_info=w.ob_info.obcluster_info.model_copy(
                update={"topology": None})), "block", "warn"),
    ],
    "cluster-rootservice-present": [
        (lambda w, d: w.set(zones=tuple(
            z.model_copy(update={"root_server": w.zones[1].root_server, "servers": ()})
            for z in w.zones)), "block", "block"),
        (lambda w, d: w.set(zones=tuple(
            z.model_copy(update={"root_server": w.zones[0].root_server}) for z in w.zones)),
         "block", "block"),
    ],
    "cluster-members-healthy": [
        (lambda w, d: w.change_server(3, inner_status="INACTIVE"), "warn", "warn"),
        (lambda w, d: w.change_server(3, status="UNAVAILABLE"), "warn", "warn"),
        (lambda w, d: w.change_server(3, stop_time=w.zones[0].servers[0].start_time),
         "warn", "warn"),
        (lambda w, d: w.change_server(3, start_time=w.zones[0].servers[0].stop_time),
         "warn", "warn"),
        (lambda w, d: w.change_server(3, inner_status="INACTIVE").change_server(
            2, inner_status="INACTIVE"), "block", "warn"),
    ],
    "rebalance-impact": [
        (lambda w, d: w.parameter("enable_rebalance", "True"), "info", "info"),
        (lambda w, d: w.parameter("enable_rebalance", "False"), "info", "info"),
    ],
    "zone-name-syntax": [
        (lambda w, d: w.set(zone="z" * 129), "block", "block"),
        (lambda w, d: w.set(zone="zone-4"), "block", "warn"),
        (lambda w, d: w.set(zone="zo'ne"), "block", "block"),
        (lambda w, d: w.rename_zones("zone1", "a\\b", "zone3").set(zone="a\\b"), "block", "block"),
        (lambda w, d: w.set(zone=""), "block", "block"),
    ],
    "zone-case-near-miss": [
        (lambda w, d: w.set(zone="zone_2"), "block", "warn"),
        (lambda w, d: w.set(zone="zone02"), "block", "warn"),
        (lambda w, d: w.set(zone="zoen2"), "block", "warn"),
        (lambda w, d: w.set(zone="zonne2"), "block", "warn"),
        (lambda w, d: w.set(zone="Zone2", allow_new_zone=True), "warn", "info"),
    ],
    "zone-exists-active": [
        (lambda w, d: w.set(zones=tuple(
            z.model_copy(update={"inner_status": "INACTIVE"}) for z in w.zones)),
         "block", "block"),
    ],
    "new-zone-intent": [
        (lambda w, d: w.set(zone="east"), "block", "warn"),
        (lambda w, d: w.set(zone="east", allow_new_zone=True), "info", "info"),
    ],
    "new-zone-region": [(lambda w, d: w.set(zone="east"), "warn", "info")],
    "zone-balance": [
        (lambda w, d: w, "warn", "info"),
        (lambda w, d: w.set(others=[other("10.0.0.5", zone="zone1")]), "warn", "info"),
        (lambda w, d: w.set(zones=(
            w.zones[0].model_copy(update={"servers": w.zones[0].servers * 2}), *w.zones[1:])),
         "info", "info"),
    ],
    "mem-floor": [(lambda w, d: w.ask(memory_limit="3G"), "block", "block")],
    "mem-tenant-headroom": [
        (lambda w, d: w.ask(memory_limit="12G"), "block", "block"),
        (lambda w, d: w.ask(memory_limit="8G"), "block", "block"),
    ],
    "mem-system-vs-hidden": [(lambda w, d: w.ask(system_memory="1000M"), "block", "block")],
    "mem-system-ratio": [
        (lambda w, d: w.ask(system_memory="13G"), "warn", "info"),
        (lambda w, d: w.ask(system_memory="16G"), "block", "block"),
        (lambda w, d: w, "info", "info"),
    ],
    "mem-production-floor": [
        (lambda w, d: w.ask(memory_limit="15G"), "warn", "info"),
        (lambda w, d: w.ask(__min_full_resource_pool_memory="1073741824"), "warn", "info"),
    ],
    "mem-fits-total": [
        (lambda w, d: w.ask(memory_limit="63G"), "block", "warn"),
        (lambda w, d: w.ask(memory_limit="58G"), "warn", "info"),
        (lambda w, d: w.set(others=[other(memory_limit="48G")]), "block", "warn"),
    ],
    "mem-available": [
        (lambda w, d: w.memory("65808488 kB", "14680064 kB"), "block", "warn"),
        (lambda w, d: w.ask(memory_limit="61G"), "warn", "warn"),
        (lambda w, d: w.ask(memory_limit="55G"), "info", "info"),
    ],
    "mem-start-minimum": [(lambda w, d: w.memory("65808488 kB", "2097152 kB"), "block", "warn")],
    "mem-percentage-range": [
        (lambda w, d: w.drop("memory_limit").ask(memory_limit_percentage="96"), "block", "block"),
    ],
    "mem-container": [
        (lambda w, d: container(w), "info", "info"),
        (lambda w, d: container(w, memory_limit="0M"), "warn", "info"),
    ],
    "cpu-floor": [
        (lambda w, d: cores(w, 2), "block", "info"),
        (lambda w, d: cores(w, 4), "info", "info"),
    ],
    "cpu-count-overcommit": [(lambda w, d: w.ask(cpu_count="32"), "warn", "info")],
    "disk-fits": [
        (lambda w, d: w.ask(datafile_size="430G"), "block", "block"),
        (lambda w, d: w.ask(datafile_size="400G"), "warn", "info"),
        (lambda w, d: w.ask(data_dir="/data/ob", redo_dir="/redo").disks(
            d("/", "/dev/sdb", "40G", "2G"), d("/data", "/dev/sdb", "40G", "2G")),
         "warn", "info"),
    ],
    "disk-growth-fits": [
        (lambda w, d: w.ask(datafile_maxsize="500G", datafile_next="10G"), "warn", "info"),
    ],
    "disk-default-percent-trap": [
        (lambda w, d: w.drop("datafile_size"), "warn", "info"),
        (lambda w, d: w.drop("datafile_size").ask(data_dir="/data/ob").disks(
            d("/"), d("/data", "/dev/vdb", "400G", "1G")), "info", "info"),
        (lambda w, d: w.drop("datafile_size").ask(data_dir="/data/ob").disks(
            d("/"), d("/data", "/dev/vdb", "400G", "40G")), "warn", "info"),
    ],
    "disk-percent-sum": [
        (lambda w, d: w.drop("datafile_size", "log_disk_size").ask(
            datafile_disk_percentage="61"), "warn", "info"),
        (lambda w, d: w.drop("datafile_size", "log_disk_size").ask(
            datafile_disk_percentage="71"), "block", "block"),
    ],
    "disk-same-mount": [
        (lambda w, d: w, "warn", "info"),
        (lambda w, d: w.ask(data_dir="/data/ob").disks(d("/"), d("/data", "/dev/vdb")),
         "warn", "info"),
    ],
    "disk-home-shared": [
        (lambda w, d: w.ask(redo_dir="/redo/ob").disks(d("/"), d("/redo", "/dev/vdb")),
         "warn", "info"),
        (lambda w, d: w.ask(data_dir="/data/ob").disks(
            d("/", used="445G"), d("/data", "/dev/vdb")), "warn", "info"),
    ],
    "disk-fs-type": [
        (lambda w, d, device=device: w.disks(d("/", device)), "block", "warn")
        for device in ("tmpfs", "overlay", "nas:/export", "//nas/share", "fuse-overlayfs")
    ],
    "log-disk-min": [
        (lambda w, d: w.ask(log_disk_size="24M"), "block", "warn"),
        (lambda w, d: w.ask(log_disk_size="13G"), "warn", "info"),
    ],
    "log-disk-ratio": [
        (lambda w, d: w.ask(log_disk_size="23G"), "warn", "info"),
        (lambda w, d: w.ask(log_disk_size="31G"), "info", "info"),
    ],
    "datafile-min": [(lambda w, d: w.ask(datafile_size="24M"), "block", "warn")],
    "datafile-ratio": [(lambda w, d: w.ask(datafile_size="47G"), "info", "info")],
    "datafile-autoextend-consistent": [
        (lambda w, d: w.ask(datafile_maxsize="50G"), "warn", "info"),
        (lambda w, d: w.ask(datafile_next="1G"), "warn", "info"),
        (lambda w, d: w.ask(datafile_maxsize="20G", datafile_next="1G"), "warn", "info"),
        (lambda w, d: w.ask(datafile_maxsize="50G", datafile_next="512M"), "info", "info"),
    ],
    "ulimit-nofile": [
        (lambda w, d: limits(w, nofile_soft="1024"), "block", "warn"),
        (lambda w, d: limits(w, nofile_soft="65536"), "warn", "info"),
    ],
    "ulimit-nproc": [
        (lambda w, d: limits(w, max_user_processes_soft="4095"), "block", "warn"),
        (lambda w, d: limits(w.set(others=[other()]), max_user_processes_soft="4096"),
         "warn", "info"),
    ],
    "clock-skew": [
        (lambda w, d: w.set(clock=ClockReading(-0.7, 0.001)), "block", "warn"),
        (lambda w, d: w.set(clock=ClockReading(0.2, 0.001)), "warn", "info"),
        (lambda w, d: w.set(clock=ClockReading(0.05, 0.001)), "info", "info"),
        (lambda w, d: w.set(clock=ClockReading(11, 0.001)), "block", "block"),
        (lambda w, d: w.set(clock=ClockReading(1.2, 0.001)).change("entry", version="4.3.0.0-1"),
         "block", "block"),
    ],
}  # fmt: skip
NEVER_FIRES = {
    "cfg-values-are-strings": "the model lets nothing else in; see the reading of requests",
    "host-facts-missing": "it is unknown or passes",
    "cluster-facts-missing": "it is unknown or passes",
    "disk-path-resolvable": "it is unknown or passes",
    "clock-precision": "it is unknown or passes",
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


# Each change takes away what its rule needs.
UNKNOWN = {
    "agent-tls-scheme": lambda w: w.set(info=GAP),
    "agent-identity-single": lambda w: w.set(info=GAP),
    "agent-address-matches": lambda w: w.set(info=GAP),
    "agent-not-obproxy": lambda w: w.set(info=GAP),
    "agent-running": lambda w: w.set(status=GAP),
    "agent-auth": lambda w: w.set(signed_read=GAP),
    "agent-not-busy": lambda w: w.set(local_unfinished=GAP),
    "target-observer-not-running": lambda w: w.set(status=GAP),
    "host-facts-missing": lambda w: w.set(host=HOST_GAP),
    "agent-already-in-cluster": lambda w: w.set(ob_info=GAP),
    "server-already-registered": lambda w: w.set(zones=GAP),
    "member-as-asked": lambda w: serve_with(w).set(parameters=GAP),
    "same-ip-port-reuse": lambda w: w.set(zones=GAP),
    "duplicate-host": lambda w: w.set(zones=GAP),
    "ip-family": lambda w: w.set(zones=GAP, ob_info=GAP),
    "ob-version-cluster-uniform": lambda w: w.set(zones=GAP),
    "agent-version-order": lambda w: w.set(entry=GAP),
    "agent-version-equal": lambda w: w.change("info", version=""),
    "agent-binary-arch": lambda w: w.change("info", version="4.2.6.0", architecture=""),
    "arch-match": lambda w: w.change("info", architecture=""),
    "cluster-agent-identity": lambda w: w.set(entry=GAP),
    "cluster-identity-pinned": lambda w: w.set(cluster_info=GAP, ob_info=GAP),
    "cluster-maintenance": lambda w: w.set(unfinished=GAP),
    "cluster-unfinished-dag": lambda w: w.set(unfinished=GAP),
    "cluster-facts-missing": lambda w: w.set(parameters=CLUSTER_GAP),
    "cluster-view-degraded": lambda w: w.set(cluster_info=GAP),
    "cluster-rootservice-present": lambda w: w.set(zones=GAP),
    "cluster-members-healthy": lambda w: w.set(zones=GAP),
    "zone-name-syntax": lambda w: w.set(zones=GAP, zone="cn-b"),
    "zone-case-near-miss": lambda w: w.set(zones=GAP),
    "zone-exists-active": lambda w: w.set(zones=GAP),
    "new-zone-region": lambda w: w.set(zones=GAP),
    "zone-balance": lambda w: w.set(zones=GAP),
    "mem-fits-total": lambda w: w.memory("", "1 kB"),
    "mem-available": lambda w: w.memory("65808488 kB", "?"),
    "mem-start-minimum": lambda w: w.memory("65808488 kB", "?"),
    "mem-floor": lambda w: w.drop("memory_limit").memory("", ""),
    "mem-tenant-headroom": lambda w: w.drop("memory_limit").memory("", ""),
    "mem-system-vs-hidden": lambda w: w.drop("memory_limit", "system_memory").memory("", ""),
    "mem-system-ratio": lambda w: w.drop("memory_limit").memory("", ""),
    "mem-production-floor": lambda w: w.drop("memory_limit").memory("", ""),
    "log-disk-ratio": lambda w: w.drop("memory_limit").memory("", ""),
    "datafile-ratio": lambda w: w.drop("memory_limit").memory("", ""),
    "cpu-floor": lambda w: cores(w, 0),
    "cpu-count-overcommit": lambda w: cores(w.ask(cpu_count="8"), 0),
    "disk-path-resolvable": lambda w: w.disks(),
    "ulimit-nofile": lambda w: limits(w, nofile_soft="viele"),
    "ulimit-nproc": lambda w: limits(w, max_user_processes_soft=""),
    "clock-skew": lambda w: w.set(clock=GAP),
    "clock-precision": lambda w: w.set(clock=ClockReading(0.0, 2.3)),
}


@pytest.mark.parametrize(("rule", "change"), UNKNOWN.items(), ids=UNKNOWN)
def test_without_its_evidence_a_rule_is_unknown_and_never_passes(world, rule, change):
    """Unknown weighs as a warning in production and is told in the lab."""
    change(world)

    prod, lab = world.finding(rule, "prod"), world.finding(rule, "lab")

    assert (prod.answer, prod.weight) == ("unknown", "warn")
    assert (lab.answer, lab.weight) == ("unknown", "info")


COVERED = {
    HOST_FACTS_MISSING: (
        lambda w: w.set(host=HOST_GAP).drop("memory_limit", "datafile_size").ask(
            data_dir="/d/1", datafile_maxsize="9G", cpu_count="4"),
        {"mem-container", "mem-percentage-range", "cfg-dir-not-mount-root", "disk-fits",
         "disk-growth-fits", "disk-default-percent-trap", "disk-same-mount", "disk-home-shared",
         "disk-fs-type", "datafile-min", "datafile-ratio", "mem-floor", "cpu-count-overcommit"},
    ),
    CLUSTER_FACTS_MISSING: (
        lambda w: w.set(parameters=CLUSTER_GAP, cluster_info=CLUSTER_GAP).ask(anything="1"),
        {"rebalance-impact", "cfg-key-known"},
    ),
    "disk-path-resolvable": (
        lambda w: w.disks().drop("datafile_size", "log_disk_size"),
        {"disk-fits", "disk-percent-sum", "disk-same-mount", "log-disk-min"},
    ),
    "cfg-capacity-syntax": (
        lambda w: w.ask(memory_limit="16", log_disk_size="24"),
        {"mem-floor", "mem-tenant-headroom", "disk-fits", "log-disk-min"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("cover", "case"), COVERED.items(), ids=COVERED)
def test_one_finding_reports_a_gap_for_all_rules_that_need_it(world, cover, case):
    """The covered rules are named there and say nothing themselves; none of them passes."""
    change, silent = case
    change(world)

    findings = world.judge()

    told = " ".join(finding.measured for finding in findings.of_rule(cover))
    for rule in silent - {"mem-percentage-range"}:
        assert rule in told
        assert not [f for f in findings.of_rule(rule) if f.answer == "pass"]


def test_an_unreachable_target_is_one_block_that_names_what_was_not_judged(world):
    """Nothing about a silent target is shown as passed."""
    gap = Unread("connection refused", covered_by=AGENT_REACHABLE)
    world.set(info=gap, status=gap, host=gap, local_unfinished=gap, clock=gap, signed_read=gap)

    findings = world.judge()

    told = findings.of_rule(AGENT_REACHABLE)[0]
    assert told.answer == "block"
    assert told.measured.startswith("connection refused; not judged: ")
    for rule in ("agent-identity-single", "ob-version-equal", "mem-fits-total", "clock-skew"):
        assert rule in told.measured
        assert not findings.of_rule(rule)


def test_not_knowing_is_a_block_in_production_where_that_is_too_dangerous(world):
    """A build nobody told, and a zone nobody could look for."""
    world.change("info", version="4.2.3.0-1", ob_version="").set(zones=GAP)

    prod, lab = world.judge("prod"), world.judge("lab")

    for rule in ("ob-version-equal", "new-zone-intent"):
        assert prod.of_rule(rule)[0].answer == "block"
        assert lab.of_rule(rule)[0].answer == "unknown"


def test_endpoints_a_version_does_not_have_are_one_reason(world):
    """Seven gaps of one cause are named once; a silent one keeps its own words."""
    old = Unread("10.0.0.1:2886: read x: no such endpoint (trace 1)", supported=False)
    world.set(parameters=old, cluster_info=old, units=old, pools=Unread("no answer within 5 s"))

    told = world.finding(CLUSTER_FACTS_MISSING).measured

    assert told.count("no such endpoint") == 1
    assert "trace" not in told
    assert "no answer within 5 s" in told


def test_a_build_told_on_one_side_only_is_unknown(world):
    """Equal up to the build is not equal."""
    world.change("info", ob_version="4.3.5.2")

    assert world.finding("ob-version-equal").answer == "unknown"


ELSEWHERE = {"batch", "clocks", "cluster_mode", "drift", "hints", "host", "new_zone", "ports",
             "units"}  # fmt: skip
"""Modules whose rules are held to the same by test_preflight_surroundings.py."""


@pytest.mark.parametrize(
    "rule", [r.id for r in RULES if r.judge.__module__.rpartition(".")[2] not in ELSEWHERE]
)
def test_every_rule_has_a_case_that_fires_and_one_that_is_unknown(rule):
    """A new rule cannot be added without both; rules of the request need no evidence."""
    static = {r.id for r in RULES if r.is_static}
    covered = {rule for _, silent in COVERED.values() for rule in silent}
    always_told = {"agent-reachable", "ob-version-equal", "new-zone-intent",
                   "datafile-autoextend-consistent"}  # fmt: skip

    assert rule in FIRES or rule in NEVER_FIRES
    assert rule in UNKNOWN or rule in static or rule in covered or rule in always_told


def test_every_rule_can_pass_or_does_not_apply(world):
    """In a world without fault no rule is unknown and none blocks."""
    answers = {finding.rule: finding.answer.value for finding in world.judge()}

    assert set(answers) == {rule.id for rule in RULES}
    assert set(answers.values()) <= {"pass", "n-a", "info", "warn"}


def test_a_rule_id_is_unique():
    """Ids are what reports and overrides refer to."""
    ids = [rule.id for rule in RULES]

    assert len(ids) == len(set(ids))


def test_a_block_of_ground_a_cannot_be_overridden(world):
    """What is certain to be refused stays refused; a judgement may be overruled."""
    world.ask(memory_limit="3G").set(zone="east")

    assert not world.finding("mem-floor").overridable
    assert world.finding("new-zone-intent").overridable


def test_what_is_certain_in_one_case_cannot_be_overridden_there(world):
    """Half a second may be accepted, two seconds may not."""
    world.set(clock=ClockReading(0.7, 0.001))
    assert world.finding("clock-skew").overridable

    world.set(clock=ClockReading(2.1, 0.001))
    assert not world.finding("clock-skew").overridable


def test_the_request_alone_is_judged_by_the_rules_that_need_nothing_else(world):
    """The reader of files uses the same rules, and never asks anybody."""
    findings = judge_request(world.ask(memory_limit="16", data_dir="/tmp").facts())

    assert {finding.rule for finding in findings} == {rule.id for rule in RULES if rule.is_static}
    assert {finding.rule for finding in findings.blockers} == {"cfg-capacity-syntax"}


def test_the_proposed_unit_is_the_clusters_own(world):
    """The cluster tells its smallest unit in GiB; the key wants bytes without a unit."""
    world.ask(memory_limit="6G", system_memory="2G").set(limit=UnitConfigLimit(min_memory=3))

    assert "'3221225472'" in world.finding("mem-tenant-headroom").remedy


def test_zones_that_end_up_even_pass_and_no_worse_is_told(world):
    """The whole batch counts."""
    world.set(others=[other("10.0.0.5", zone="zone1"), other("10.0.0.6", zone="zone3")])
    assert world.finding("zone-balance").answer == "pass"

    worse = world.zones[0].model_copy(update={"servers": world.zones[0].servers * 2})
    world.set(zones=(worse, *world.zones[1:]), others=[])
    assert world.finding("zone-balance").answer == "info"


def test_a_cluster_simulated_on_one_host_may_be_on_loopback(world):
    """A rehearsal on a laptop is judged as what it is."""
    for number in (1, 2, 3):
        world.change_server(number, ip="127.0.0.1", svr_port=2882 + 100 * number)
    rows = tuple(r.model_copy(update={"ip": "127.0.0.1"}) for r in world.ob_info.agent_info)
    world.change("ob_info", agent_info=rows).set(ip="127.0.0.1").change("info", ip="127.0.0.1")

    assert world.finding("agent-address-matches").answer == "pass"
    assert world.finding("duplicate-host").answer == "info"
