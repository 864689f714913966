"""Tests of thresholds and texts of the rules."""

import pytest

from obscale.agent.clock import ClockReading
from obscale.agent.models import Identity
from obscale.cleaning import CLEAN_BY_HAND
from obscale.preflight.rules.versions import parse_agent_version, parse_ob_version
from obscale.reading import CLUSTER_FACTS_MISSING, Unread

ON_THE_BORDER = {
    "mem-floor": (lambda w, d: w.ask(memory_limit="4G"), "pass"),
    "mem-tenant-headroom": (lambda w, d: w.ask(memory_limit="13G"), "pass"),
    "mem-system-vs-hidden": (lambda w, d: w.ask(system_memory="1G"), "pass"),
    "mem-system-ratio": (lambda w, d: w.ask(system_memory="5G"), "pass"),
    "mem-fits-total": (lambda w, d: w.memory("16777216 kB", "16777216 kB"), "warn"),
    "mem-available": (lambda w, d: w.memory("18874368 kB", "16777216 kB"), "info"),
    "mem-start-minimum": (lambda w, d: w.memory("65808488 kB", "3145728 kB"), "pass"),
    "cpu-count-overcommit": (lambda w, d: w.ask(cpu_count="16"), "pass"),
    "log-disk-min": (lambda w, d: w.ask(log_disk_size="14G"), "pass"),
    "log-disk-ratio": (lambda w, d: w.ask(log_disk_size="32G"), "pass"),
    "datafile-min": (lambda w, d: w.ask(datafile_size="2G"), "pass"),
    "datafile-ratio": (lambda w, d: w.ask(datafile_size="48G"), "pass"),
    "datafile-autoextend-consistent": (
        lambda w, d: w.ask(datafile_maxsize="24G", datafile_next="1G"),
        "pass",
    ),
    "disk-growth-fits": (
        lambda w, d: w.ask(datafile_maxsize="417G", datafile_next="1G"),
        "pass",
    ),
    "disk-percent-sum": (lambda w, d: w.drop("datafile_size", "log_disk_size"), "pass"),
    "cfg-int-range": (
        lambda w, d: w.ask(
            __min_full_resource_pool_memory="1073741824", log_disk_percentage="99", cpu_count="0"
        ),
        "pass",
    ),
    "cfg-port-range": (lambda w, d: w.ask(mysql_port="1025", rpc_port="65535"), "pass"),
    "agent-version-order": (lambda w, d: w.change("info", version="4.2.4.1-9"), "pass"),
    "ulimit-nproc": (
        lambda w, d: w.change(
            "host", ulimit=w.host.ulimit.model_copy(update={"max_user_processes_soft": "4096"})
        ),
        "pass",
    ),
    "ulimit-nofile": (
        lambda w, d: w.change(
            "host", ulimit=w.host.ulimit.model_copy(update={"nofile_soft": "unlimited"})
        ),
        "pass",
    ),
    "agent-auth": (lambda w, d: w.change("info", security=True).set(password=True), "pass"),
    "duplicate-host": (lambda w, d: w.set(ip="10.0.0.9").change("info", ip="10.0.0.9"), "pass"),
    "cluster-rootservice-present": (
        lambda w, d: w.set(
            zones=tuple(
                z.model_copy(update={"root_server": w.zones[2].root_server}) for z in w.zones
            )
        ),
        "pass",
    ),
}


@pytest.mark.parametrize(
    ("rule", "change", "answer"),
    [(rule, *case) for rule, case in ON_THE_BORDER.items()],
    ids=ON_THE_BORDER,
)
def test_the_border_itself_belongs_to_the_better_side(world, make_disk, rule, change, answer):
    """What is just enough is enough."""
    change(world, make_disk)

    assert world.finding(rule).answer == answer


def test_half_of_the_zones_without_a_healthy_server_is_a_majority_at_risk(world):
    """Two zones, one of them dead."""
    world.set(zones=world.zones[:2]).change_server(2, inner_status="INACTIVE")

    assert world.finding("cluster-members-healthy").answer == "block"


def test_devices_with_a_common_name_prove_nothing_about_sharing(world, make_disk):
    """Two tmpfs are two disks; two mounts of one device, or one export, may be one."""
    world.ask(data_dir="/data/ob", redo_dir="/redo/ob")

    def answer(device):
        rows = [make_disk(path, device, "40G", "2G") for path in ("/data", "/redo")]
        world.disks(make_disk("/", "/dev/vda"), *rows)
        return world.finding("disk-fits").answer

    assert answer("tmpfs") == "pass"
    assert answer("/dev/vdb") == "warn"
    assert answer("nas:/export") == "warn"


def test_data1_is_not_below_data(world, make_disk):
    """Mount points are compared by whole components, and the longest wins."""
    world.ask(data_dir="/data1/ob").disks(make_disk("/"), make_disk("/data", "/dev/vdb"))
    assert "/data1/ob on /," in world.finding("disk-path-resolvable").measured

    world.ask(data_dir="/data/1/ob").disks(
        make_disk("/"), make_disk("/data", "/dev/vdb"), make_disk("/data/1", "/dev/vdc")
    )
    assert "/data/1/ob on /data/1" in world.finding("disk-path-resolvable").measured


def test_the_last_row_of_a_mount_point_wins_and_strange_rows_are_skipped(world, make_disk):
    """Later mounts cover earlier ones; a column title of another language is no disk."""
    title = make_disk("auf", "Dateisystem", "Größe", "Benutzt")
    world.disks(title, make_disk("/", total="30G"), make_disk("/", total="458G"))

    assert world.finding("disk-fits").answer == "pass"


def test_a_disk_whose_sizes_cannot_be_read_is_a_doubt(world, make_disk):
    """A row that stands where a directory lies, but reads as an error."""
    world.disks(make_disk("/", total="-", used="-"))

    finding = world.finding("disk-path-resolvable")

    assert finding.answer == "unknown"
    assert "'-'" in finding.measured


def test_whether_data_moves_is_read_from_the_cluster(world):
    """On and off say different things."""
    assert "True" in world.finding("rebalance-impact").measured

    world.parameter("enable_rebalance", "False")

    assert "stays empty" in world.finding("rebalance-impact").measured


def test_a_foreign_lock_names_only_the_foreign_dag(world, make_dag):
    """The remedy is about the DAG that must go, not about our own."""
    ours = "create local scale out dag success, genericID:20167772164028863"
    theirs = "create local scale out dag success, genericID:20167772165028863"
    world.set(unfinished=(make_dag(ours), make_dag(theirs, number=8)))

    remedy = world.finding("cluster-unfinished-dag").remedy

    assert "18" in remedy
    assert "17" not in remedy


def test_documented_names_are_known_without_the_list_of_parameters(world):
    """Where the list cannot be read, the sample passes and only strange names are unknown."""
    world.set(parameters=Unread("too old", supported=False, covered_by=CLUSTER_FACTS_MISSING))

    assert world.finding("cfg-key-known").answer == "pass"


def test_a_documented_name_that_this_version_does_not_list_is_refused(world):
    """The cluster's own list decides where it can be read."""
    world.set(parameters=tuple(row for row in world.parameters if row.name != "log_disk_size"))

    assert world.finding("cfg-key-known").answer == "block"


def test_a_lifetime_of_one_second_counts_where_either_agent_is_old(world):
    """Before 4.3.2.0 calls between agents expire after a second."""
    world.set(clock=ClockReading(1.5, 0.001))
    assert world.finding("clock-skew", "lab").answer == "warn"

    world.change("info", version="4.3.1.0-1")
    assert world.finding("clock-skew", "lab").answer == "block"


def test_an_offset_within_the_round_trip_is_not_proved(world):
    """A slow line is no wrong clock."""
    world.set(clock=ClockReading(0.09, 0.085))

    skew = world.finding("clock-skew")

    assert skew.answer == "pass"
    assert skew.measured.startswith("no offset is proved")


@pytest.mark.parametrize(
    ("offset", "error", "said"),
    [
        (0.0, 0.001, "within 100 ms"),
        (0.02, 0.04, "within 100 ms"),
        (0.03, 0.04, "no offset is proved, to 80 ms"),
    ],
)
def test_two_clocks_are_said_to_be_no_nearer_than_their_readings_show(world, offset, error, said):
    """Half the way counts on both sides."""
    theirs = ClockReading(0.0, error)
    world.set(clock=ClockReading(offset, error), clocks=dict.fromkeys(world.clocks, theirs))

    assert world.finding("clock-skew").measured == said


def test_answers_a_second_late_are_noted_not_warned_of(world):
    """Half of it for each clock: further apart than OceanBase bears they are certainly not."""
    world.set(
        clock=ClockReading(0.0, 0.5),
        clocks={agent: ClockReading(0.01, 0.5) for agent in world.clocks},
    )

    precision, skew = world.finding("clock-precision"), world.finding("clock-skew")

    assert (precision.answer, precision.weight) == ("info", "info")
    assert "compared to 1000 ms only: they are no further than 1010 ms apart" in precision.measured
    assert (skew.answer, skew.measured) == ("pass", "no offset is proved, to 1000 ms")


def test_what_a_late_answer_does_not_rule_out_stays_unknown(world):
    """Two seconds late, two clocks may be two seconds apart; an older OceanBase bears 100 ms."""
    late = ClockReading(0.0, 1.001)
    world.set(clock=late, clocks=dict.fromkeys(world.clocks, late))
    assert world.finding("clock-precision").answer == "unknown"

    near = ClockReading(0.0, 0.06)
    world.set(clock=near, clocks=dict.fromkeys(world.clocks, near))
    assert world.finding("clock-precision").answer == "info"
    world.change("entry", version="4.3.0.0-1")
    assert world.finding("clock-precision").answer == "info"


def test_old_observers_stand_a_tenth_of_a_second_only(world):
    """Before OceanBase 4.1."""
    world.set(clock=ClockReading(0.3, 0.001))
    assert world.finding("clock-skew").answer == "warn"

    for part in ("info", "entry"):
        world.change(part, ob_version="4.0.0.0-1")
    for number in (1, 2, 3):
        world.change_server(number, version="4.0.0.0_1")
    world.change("cluster_info", ob_version="4.0.0.0")
    assert world.finding("clock-skew").answer == "block"


def test_before_4_2_only_the_certain_part_of_the_headroom_blocks(world):
    """Older observers check less."""
    for part in ("info", "entry"):
        world.change(part, ob_version="4.1.0.0-1")
    world.change("cluster_info", ob_version="4.1.0.0")

    world.ask(memory_limit="12G", system_memory="8G")
    assert world.finding("mem-tenant-headroom").answer == "warn"

    world.ask(memory_limit="8G")
    assert world.finding("mem-tenant-headroom").answer == "block"

    world.drop("system_memory")
    assert world.finding("mem-tenant-headroom").answer == "unknown"


@pytest.mark.parametrize(
    ("text", "version", "build"),
    [
        ("4.3.5.2-102000092025042111", "4.3.5.2", "102000092025042111"),
        ("4.3.5.2_102000092025042111-abc(Apr 21 2025 11:11:11)", "4.3.5.2", "102000092025042111"),
        ("4.3.5.2", "4.3.5.2", ""),
    ],
)
def test_a_version_is_read_from_each_place_that_tells_it(text, version, build):
    """Agents, servers and the database spell it in their own ways."""
    parsed = parse_ob_version(text)

    assert parsed is not None
    assert (parsed.version, parsed.build) == (version, build)


def test_versions_are_numbers_part_by_part():
    """4.10 is newer than 4.9; what is no version is none."""
    assert parse_agent_version("4.10.0.0-1") > parse_agent_version("4.9.9.9-12")
    assert parse_ob_version("OceanBase") is None
    assert parse_agent_version("") is None


def test_the_build_may_be_told_by_the_only_version_the_servers_have(world):
    """A connected agent tells no build; its server's row does, or the row all share."""
    world.change("entry", ip="10.9.9.9", ob_version="")

    assert world.finding("ob-version-equal").answer == "pass"


def test_before_4_2_one_finding_tells_that_system_memory_is_not_known(world):
    """What such an observer chooses itself is judged by no rule, and none of them passes."""
    for part in ("info", "entry"):
        world.change(part, ob_version="4.1.0.0-1")
    world.change("cluster_info", ob_version="4.1.0.0").drop("system_memory")

    findings = world.judge()

    (told,) = findings.of_rule("mem-tenant-headroom")
    assert told.answer == "unknown"
    for rule in ("mem-system-vs-hidden", "mem-system-ratio", "log-disk-ratio", "units-fit"):
        assert rule in told.measured
        assert not findings.of_rule(rule)
    assert world.finding("mem-floor").answer == "pass"


def test_nodes_that_have_joined_take_no_memory_twice(world):
    """Of two nodes on one machine the first runs already; what is available has it left out."""
    first = world.node().model_copy(update={"obConfigs": world.configs | {"rpc_port": "3882"}})
    world.set(others=[first]).memory("25165824 kB", "20971520 kB")
    assert world.finding("mem-available").answer == "block"

    running = world.zones[1].servers[0].model_copy(update={"ip": "10.0.0.4", "svr_port": 3882})
    grown = world.zones[1].model_copy(update={"servers": (*world.zones[1].servers, running)})
    world.set(zones=(world.zones[0], grown, world.zones[2]))

    assert world.finding("mem-available").answer == "pass"
    assert world.finding("mem-available").measured == "16G"


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("4.2.1.3", "92G"),
        ("4.2.1.4", "62G"),
        ("4.2.2.1", "92G"),
        ("4.2.3.0", "62G"),
        ("4.3.5.2", "62G"),
    ],
)
def test_some_versions_keep_four_files_of_log_for_one_that_is_asked(world, version, wanted):
    """40 files of 256 MiB are 10 GiB, or 40; beside 24 of data, 24 of log and 4 of slog."""
    for part in ("info", "entry"):
        world.change(part, ob_version=f"{version}-1")
    for number in (1, 2, 3):
        world.change_server(number, version=f"{version}_1")
    world.change("cluster_info", ob_version=version).ask(max_syslog_file_count="40")

    assert world.finding("disk-fits").measured.startswith(f"{wanted} in all")


def test_the_standalone_edition_is_content_with_smaller_units(world):
    """1 GiB there, 2 GiB elsewhere."""
    world.ask(__min_full_resource_pool_memory="1073741824")
    assert world.finding("mem-production-floor").answer == "warn"

    world.change("cluster_info", is_standalone=True)

    assert world.finding("mem-production-floor").answer == "pass"


def test_another_zone_that_is_stopped_is_told(world):
    """Its servers may still say ACTIVE; the zone that is to grow is judged elsewhere."""
    stopped = world.zones[2].model_copy(update={"inner_status": "INACTIVE"})
    world.set(zones=(*world.zones[:2], stopped))

    assert world.finding("cluster-members-healthy").measured == "zone zone3 INACTIVE"

    world.set(zone="zone3")

    assert world.finding("cluster-members-healthy").answer == "pass"
    assert world.finding("zone-exists-active").answer == "block"


@pytest.mark.parametrize("rule", ["target-observer-not-running", "target-home-clean"])
def test_nobody_is_told_to_empty_a_member(world, rule):
    """Asked for the wrong zone of a member: its observer holds data, so it is left alone."""
    world.change("status", ob_state=3)
    assert CLEAN_BY_HAND.replace("<home>", "/home/admin/oceanbase") in world.finding(rule).remedy

    world.change("info", identity=Identity.CLUSTER_AGENT)

    assert world.finding(rule).answer == "block"
    assert "leave its observer alone" in world.finding(rule).remedy


@pytest.mark.parametrize("rule", ["target-observer-not-running", "target-home-clean"])
def test_nobody_is_told_to_empty_what_a_fresh_agent_stands_beside(world, rule):
    """SINGLE, but at the address of a server of the cluster; or on its way into another one."""
    world.change("status", ob_state=3).change_server(2, ip="10.0.0.4")
    assert "leave its observer alone" in world.finding(rule).remedy

    world.change_server(2, ip="10.0.0.3").change("info", identity=Identity.SCALING_OUT)
    assert "roll back the scale-out" in world.finding(rule).remedy


def test_nobody_is_told_to_empty_what_believes_to_be_in_a_cluster(world):
    """Whatever its agent calls itself, what it lists may be served by its observer."""
    world.set(listed=world.ob_info)

    assert "leave its observer alone" in world.finding("target-home-clean").remedy


@pytest.mark.parametrize(
    ("status", "words"), [("ACTIVE", "leave it alone"), ("INACTIVE", "gone for good")]
)
def test_only_a_dead_server_is_to_be_deleted(world, status, words):
    """A fresh agent on the address of one that serves is no reason to delete what serves."""
    world.change_server(2, ip="10.0.0.4", inner_status=status)

    assert words in world.finding("server-already-registered").remedy
