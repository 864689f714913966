"""Does each rung hold only when its proofs hold, and does each proof say what it found?"""

import dataclasses
import itertools
from datetime import UTC, datetime

import pytest

from obscale.agent.clock import ClockReading
from obscale.agent.models import (
    AgentInfo,
    AgentStatus,
    ClusterInfo,
    Dag,
    HostInfo,
    ListedAgent,
    Parameter,
    Stats,
    Zone,
)
from obscale.rules.aftermath import Aftermath, Before, ProofAnswer, Rung, Surroundings
from obscale.rules.asked import AgentInfoSpec, NodeSpec
from obscale.rules.ladder import (
    PROOFS,
    Look,
    judge_ladder,
    needs_surroundings,
    only_has_to_hold,
    shortfall,
    still_waiting,
)
from obscale.rules.preflight.facts import Unread
from obscale.rules.preflight.layout import mount_hash
from obscale.rules.proofs.parameters import same_value

GIB = 1 << 30
VERSION = "4.3.5.2_102000092025042111"
OBSHELL = "4.5.0.0-12026050815"
ASKED = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "datafile_size": "24G",
    "log_disk_size": "24G",
    "data_dir": "/data/1",
}
NODE = NodeSpec(agentInfo=AgentInfoSpec(ip="10.0.0.4", port=2886), zone="zone2", obConfigs=ASKED)
STARTED = "2026-05-01T10:00:00+08:00"
STEADY = tuple(Look(at, 3, None, True) for at in (0.0, 15.0, 31.0))
CATALOGUE = {
    "pv-dag-forward-success",
    "pv-local-dag-finished",
    "pv-lock-released",
    "pv-agent-identity",
    "pv-agent-listed",
    "pv-topology-registered",
    "pv-status-active",
    "pv-service-started",
    "pv-obshell-status",
    "pv-ob-state",
    "pv-version-equal",
    "pv-zone-active",
    "pv-params-effective",
    "pv-params-vs-peers",
    "pv-dirs",
    "pv-capacity-server",
    "pv-capacity-cluster",
    "pv-no-collateral",
    "pv-clock-after",
    "pv-rebalance-observed",
    "pv-disk-after",
    "pv-restart-safety",
}
"""Everything that shall be proved after a node has joined."""


def server(ip, **changes):
    row = {
        "ip": ip,
        "svr_port": 2882,
        "sql_port": 2881,
        "version": VERSION,
        "status": "RUNNING",
        "ob_status": 3,
        "inner_status": "ACTIVE",
        "with_rootserver": ip == "10.0.0.1",
        "start_time": STARTED,
        "stop_time": "0001-01-01T00:00:00Z",
        "stats": stats(),
        "data_dir": "/data/1",
        "redo_dir": "/data/1/clog",
        "log_dir": "/home/admin/oceanbase/log",
    }
    return row | changes


def stats(servers=1, **changes):
    row = {
        "memory_in_bytes_total": servers * 8 * GIB,
        "cpu_core_total": servers * 16,
        "disk_in_bytes_total": servers * 24 * GIB,
    }
    return row | changes


def zone(name, *servers, **changes):
    row = {"name": name, "inner_status": "ACTIVE", "region_name": "sys_region", "servers": servers}
    return Zone.model_validate(row | changes)


def zones(new=None, first=None):
    second = [server("10.0.0.2")] + ([new] if new else [])
    return zone("zone1", first or server("10.0.0.1")), zone("zone2", *second)


def parameter(name, value, others=None, **changes):
    values = {"10.0.0.4": value} | dict.fromkeys(("10.0.0.1", "10.0.0.2"), others or value)
    rows = [{"svr_ip": ip, "svr_port": 2882, "value": told} for ip, told in values.items() if told]
    basis = {"name": name, "scope": "CLUSTER", "edit_level": "DYNAMIC_EFFECTIVE"}
    return Parameter.model_validate(basis | {"ob_parameters": rows} | changes)


def parameters(*changed):
    names = {row.name for row in changed}
    plain = [parameter(k, v) for k, v in ASKED.items() if k.endswith(("_size", "memory", "limit"))]
    return (*changed, *(row for row in plain if row.name not in names))


def listed(number, **changes):
    row = {
        "ip": f"10.0.0.{number}",
        "port": 2886,
        "zone": "zone2" if number == 4 else f"zone{number}",
        "identity": "CLUSTER AGENT",
        "version": OBSHELL,
    }
    return ListedAgent.model_validate(row | changes)


def info(**changes):
    row = {
        "ip": "10.0.0.4",
        "port": 2886,
        "identity": "CLUSTER AGENT",
        "zone": "zone2",
        "version": OBSHELL,
        "home_path": "/home/admin/oceanbase",
    }
    return AgentInfo.model_validate(row | changes)


def host(used="13G", data="0"):
    """A machine with its home on `/` and one disk for data and log."""
    return HostInfo.model_validate(
        {
            "cpuInfo": {"logicalCores": 16},
            "memoryInfo": {"total": "65808488 kB"},
            "disks": [
                {"total": "458G", "used": used, "mountHash": mount_hash("/"), "deviceName": "/a"},
                {
                    "total": "500G",
                    "used": data,
                    "mountHash": mount_hash("/data/1"),
                    "deviceName": "/b",
                },
            ],
        }
    )


def cluster(*, total=3, new=None, tenants=()):
    return ClusterInfo.model_validate(
        {
            "stats": stats(total),
            "zones": [z.model_dump() for z in zones(new or server("10.0.0.4"))],
            "tenants": [{"tenant_name": "app", "pools": list(tenants)}] if tenants else None,
        }
    )


BEFORE = Before(zones(), Stats.model_validate(stats(2)), host())
AROUND = Surroundings(
    cluster=cluster(),
    host=host(data="49G"),
    clock=ClockReading(0.004, 0.001),
    clocks={"10.0.0.1:2886": ClockReading(0.001, 0.001)},
)


def aftermath(**changes):
    """A node that joined, serves and conforms, changed where a test says so."""
    whole = Aftermath(
        target="10.0.0.4:2886",
        target_info=info(),
        target_status=AgentStatus.model_validate({"agent": {}, "obState": 3}),
        target_unfinished=(),
        members=tuple(listed(number) for number in (1, 2, 4)),
        zones=zones(server("10.0.0.4")),
        parameters=parameters(),
        unfinished=(),
        ob_version="4.3.5.2",
    )
    return dataclasses.replace(whole, **changes)


def around(**changes):
    return dataclasses.replace(AROUND, **changes)


def done_dag(**changes):
    row = {"id": "17", "dag_id": 7, "state": "SUCCEED", "stage": 9, "max_stage": 9}
    return Dag.model_validate(row | changes)


def judge(
    after=None,
    *,
    node=NODE,
    dag=None,
    looks=STEADY,
    before=BEFORE,
    seen_around=AROUND,
    steady=30,
    alone=False,
):
    return judge_ladder(
        node,
        dag=None if alone else dag or done_dag(),
        before=before,
        after=after or aftermath(),
        around=seen_around,
        looks=looks,
        steady_seconds=steady,
    )


def line(ladder, name):
    return next(line for line in ladder.lines if line.id == name)


def answer(ladder, name):
    return line(ladder, name).answer


def asked(**configs):
    return NODE.model_copy(update={"obConfigs": ASKED | configs})


def test_a_whole_node_conforms():
    """Everything as asked: CONFORMING, verified, and nothing left to wait for."""
    ladder = judge()

    assert ladder.rung is Rung.CONFORMING, [line for line in ladder.lines if line.hinders]
    assert ladder.is_verified
    assert still_waiting(ladder) == ()
    quiet = {"pv-rebalance-observed"}
    assert {row.id for row in ladder.lines if row.answer is ProofAnswer.INFO} == quiet


def test_every_proof_has_its_line():
    """Each id that shall be proved has a line, on the rung it belongs to, and none is unknown."""
    ladder = judge()

    assert {row.id.partition(":")[0] for row in ladder.lines} == CATALOGUE
    assert {name.partition(":")[0] for name, _, _ in PROOFS} | {"pv-params-effective"} == CATALOGUE
    assert [row.rung for row in ladder.lines] == sorted(row.rung for row in ladder.lines)


def test_a_rolled_back_dag_never_joins():
    """SUCCEED with operator ROLLBACK fails the first proof."""
    ladder = judge(dag=done_dag(operator="ROLLBACK", stage=1))

    assert ladder.rung is Rung.NONE
    assert answer(ladder, "pv-dag-forward-success") is ProofAnswer.FAIL


NEW = "10.0.0.4"
WAITS = [
    ({"members": (listed(1),)}, "pv-agent-listed", Rung.NONE),
    ({"members": (listed(1), listed(4), listed(4))}, "pv-agent-listed", Rung.NONE),
    (
        {"members": (listed(1), listed(4, identity="SCALING OUT"))},
        "pv-agent-listed",
        Rung.NONE,
    ),
    ({"target_info": info(identity="SCALING OUT")}, "pv-agent-identity", Rung.NONE),
    ({"target_info": info(version="4.4.1.0-1")}, "pv-agent-identity", Rung.NONE),
    ({"zones": zones()}, "pv-topology-registered", Rung.NONE),
    ({"target_unfinished": (done_dag(state="RUNNING"),)}, "pv-local-dag-finished", Rung.NONE),
    ({"unfinished": (done_dag(state="RUNNING"),)}, "pv-lock-released", Rung.NONE),
    (
        {"zones": zones(server(NEW, start_time="0001-01-01T00:00:00Z"))},
        "pv-service-started",
        Rung.JOINED,
    ),
    ({"zones": zones(server(NEW, inner_status="INACTIVE"))}, "pv-status-active", Rung.JOINED),
    ({"zones": zones(server(NEW, status="STARTING"))}, "pv-obshell-status", Rung.JOINED),
    ({"zones": zones(server(NEW, ob_status=2))}, "pv-obshell-status", Rung.JOINED),
    (
        {"zones": (zones()[0], zone("zone2", server(NEW), inner_status="INACTIVE"))},
        "pv-zone-active",
        Rung.JOINED,
    ),
    ({"zones": zones(server(NEW, stats={}))}, "pv-capacity-server", Rung.SERVING),
    (
        {"zones": zones(server(NEW), first=server("10.0.0.1", status="UNAVAILABLE"))},
        "pv-no-collateral",
        Rung.SERVING,
    ),
    (
        {"zones": zones(server(NEW), first=server("10.0.0.1", stop_time=STARTED))},
        "pv-no-collateral",
        Rung.SERVING,
    ),
    (
        {"zones": zones(server(NEW), first=server("10.0.0.1", with_rootserver=False))},
        "pv-no-collateral",
        Rung.SERVING,
    ),
    ({"zones": zones(server(NEW))[1:]}, "pv-no-collateral", Rung.SERVING),
    (
        {"parameters": parameters(parameter("memory_limit", None, "16G"))},
        "pv-params-effective:memory_limit",
        Rung.SERVING,
    ),
]


@pytest.mark.parametrize(
    ("changes", "proof", "rung"),
    [pytest.param(*case, id=f"{case[1]}-{number}") for number, case in enumerate(WAITS)],
)
def test_what_is_not_there_yet_waits_on_its_rung(changes, proof, rung):
    """A missing proof holds its rung back, and may still turn."""
    ladder = judge(aftermath(**changes))

    assert answer(ladder, proof) is ProofAnswer.WAITING
    assert ladder.rung is rung
    assert proof in {line.id for line in still_waiting(ladder)}


@pytest.mark.parametrize(
    "changes",
    [{"members": (listed(1),)}, {"zones": zones()}, {"target_info": info(identity="SINGLE")}],
    ids=["not listed", "no server", "SINGLE"],
)
def test_what_nobody_is_at_work_on_is_not_waited_for(changes):
    """Without any DAG, at the cluster or at the target, a missing row does not come by itself."""
    idle = judge(aftermath(**changes), alone=True)
    busy = judge(aftermath(**changes, unfinished=(done_dag(state="RUNNING"),)), alone=True)

    assert (idle.rung, still_waiting(idle)) == (Rung.NONE, ())
    assert still_waiting(busy)


FAILS = [
    ({"zones": zones(server(NEW, sql_port=3881))}, "pv-topology-registered", Rung.NONE),
    ({"zones": zones(server(NEW, stop_time=STARTED))}, "pv-service-started", Rung.JOINED),
    ({"zones": zones(server(NEW, version="4.3.5.1_1"))}, "pv-version-equal", Rung.SERVING),
    ({"ob_version": "4.3.5.3"}, "pv-version-equal", Rung.SERVING),
    (
        {"zones": zones(server(NEW, stats=stats(memory_in_bytes_total=GIB)))},
        "pv-capacity-server",
        Rung.SERVING,
    ),
    (
        {"zones": zones(server(NEW, stats=stats(disk_in_bytes_total=GIB)))},
        "pv-capacity-server",
        Rung.SERVING,
    ),
    (
        {"parameters": parameters(parameter("memory_limit", "12G"))},
        "pv-params-effective:memory_limit",
        Rung.SERVING,
    ),
    (
        {"parameters": parameters()[1:]},
        "pv-params-effective:memory_limit",
        Rung.SERVING,
    ),
    (
        {"parameters": parameters(parameter("memory_limit", "16G", scope="TENANT"))},
        "pv-params-effective:memory_limit",
        Rung.SERVING,
    ),
]


@pytest.mark.parametrize(
    ("changes", "proof", "rung"),
    [pytest.param(*case, id=f"{case[1]}-{number}") for number, case in enumerate(FAILS)],
)
def test_what_is_wrong_for_good_fails_and_ends_the_waiting(changes, proof, rung):
    """A contradiction fails its rung at once; the rungs below stand."""
    ladder = judge(aftermath(**changes))

    assert answer(ladder, proof) is ProofAnswer.FAIL
    assert ladder.rung is rung
    assert not ladder.is_verified
    assert still_waiting(ladder) == ()


@pytest.mark.parametrize(
    "field",
    [
        *("target_info", "target_status", "target_unfinished", "members", "zones"),
        *("unfinished", "parameters"),
    ],
)
def test_evidence_that_cannot_be_read_is_never_a_pass(field):
    """Without its evidence no rung at or above it is reached."""
    ladder = judge(aftermath(**{field: None}))

    assert ladder.rung < Rung.CONFORMING
    assert any(line.answer is ProofAnswer.UNKNOWN for line in ladder.lines)
    assert still_waiting(ladder)


SILENT = Unread("no answer")
NOT_THERE = Unread("older than 4.3.0.0", supported=False)
SURROUNDINGS = [
    ({"cluster": SILENT}, "pv-capacity-cluster", ProofAnswer.UNKNOWN),
    ({"cluster": NOT_THERE}, "pv-capacity-cluster", ProofAnswer.INFO),
    ({"cluster": cluster(total=0)}, "pv-capacity-cluster", ProofAnswer.UNKNOWN),
    ({"cluster": cluster(total=2)}, "pv-capacity-cluster", ProofAnswer.WAITING),
    (
        {"cluster": cluster(new=server(NEW, stats={}))},
        "pv-capacity-cluster",
        ProofAnswer.WAITING,
    ),
    ({"host": SILENT}, "pv-disk-after", ProofAnswer.UNKNOWN),
    ({"host": NOT_THERE}, "pv-disk-after", ProofAnswer.INFO),
    ({"host": host(data="5G")}, "pv-disk-after", ProofAnswer.INFO),
    ({"host": host(data="100G")}, "pv-disk-after", ProofAnswer.INFO),
    ({"clock": SILENT}, "pv-clock-after", ProofAnswer.UNKNOWN),
    ({"clocks": {"10.0.0.1:2886": SILENT}}, "pv-clock-after", ProofAnswer.UNKNOWN),
    ({"clocks": {}}, "pv-clock-after", ProofAnswer.NOT_APPLICABLE),
    ({"clock": ClockReading(0.3, 0.001)}, "pv-clock-after", ProofAnswer.INFO),
    ({"clock": ClockReading(0.3, 0.25)}, "pv-clock-after", ProofAnswer.PASS),
    ({"clock": ClockReading(-3.0, 0.001)}, "pv-clock-after", ProofAnswer.FAIL),
]


@pytest.mark.parametrize(
    ("changes", "proof", "wanted"),
    [
        pytest.param(*case, id=f"{case[1]}-{case[2]}-{number}")
        for number, case in enumerate(SURROUNDINGS)
    ],
)
def test_surroundings_are_judged_by_what_they_tell(changes, proof, wanted):
    """Totals, disk and clock: unread is unknown, never told is said, and only proof is a pass."""
    ladder = judge(seen_around=around(**changes))

    assert answer(ladder, proof) is wanted
    good = {ProofAnswer.PASS, ProofAnswer.INFO, ProofAnswer.NOT_APPLICABLE}
    assert ladder.is_verified is (wanted in good)


def test_the_surroundings_are_looked_at_last():
    """While anything else is missing they are not asked for; then they are all that is missing."""
    missing = judge(aftermath(members=(listed(1),)), seen_around=None)
    else_whole = judge(seen_around=None)

    assert not needs_surroundings(missing)
    assert needs_surroundings(else_whole)
    assert else_whole.rung is Rung.SERVING


@pytest.mark.parametrize(
    ("before", "proof", "wanted"),
    [
        (Before(), "pv-capacity-cluster", ProofAnswer.NOT_APPLICABLE),
        (Before(), "pv-disk-after", ProofAnswer.NOT_APPLICABLE),
        (Before(), "pv-no-collateral", ProofAnswer.NOT_APPLICABLE),
        (Before(), "pv-zone-active:region", ProofAnswer.NOT_APPLICABLE),
        (Before(zones(server(NEW))), "pv-capacity-cluster", ProofAnswer.NOT_APPLICABLE),
        (Before(zones(server(NEW))), "pv-disk-after", ProofAnswer.NOT_APPLICABLE),
    ],
)
def test_without_a_view_of_before_nothing_is_compared(before, proof, wanted):
    """A node verified alone, or one that was a member already, still conforms."""
    ladder = judge(before=before)

    assert answer(ladder, proof) is wanted
    assert ladder.is_verified


def test_totals_that_moved_for_other_reasons_are_told():
    """Where another server changed as well, the difference says nothing of the new one."""
    grown = server("10.0.0.1", stats=stats(2))
    changed = cluster(total=4).model_copy(update={"zones": zones(server(NEW), first=grown)})

    ladder = judge(seen_around=around(cluster=changed))

    found = line(ladder, "pv-capacity-cluster")
    assert found.answer is ProofAnswer.INFO
    assert "other servers changed" in found.found
    assert ladder.is_verified


@pytest.mark.parametrize(
    ("configs", "new", "wanted"),
    [
        ({"cpu_count": "16"}, stats(), ProofAnswer.PASS),
        ({"cpu_count": "8"}, stats(), ProofAnswer.FAIL),
        ({}, stats(cpu_core_total=8), ProofAnswer.INFO),
        ({"datafile_maxsize": "48G"}, stats(disk_in_bytes_total=48 * GIB), ProofAnswer.PASS),
        ({"memory_limit": "", "system_memory": ""}, stats(), ProofAnswer.INFO),
    ],
    ids=["cpu asked", "cpu asked, not got", "cpu of the machine", "grows", "memory by percentage"],
)
def test_what_was_asked_for_binds_and_what_the_machine_suggests_is_told(configs, new, wanted):
    """Capacity that contradicts the request fails; one the request left open is only told."""
    ladder = judge(aftermath(zones=zones(server(NEW, stats=new))), node=asked(**configs))

    assert answer(ladder, "pv-capacity-server") is wanted


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, ProofAnswer.PASS),
        ({"data_dir": "/mnt/disk7"}, ProofAnswer.INFO),
        ({"data_dir": "", "redo_dir": "", "log_dir": ""}, ProofAnswer.INFO),
        ({"redo_dir": "/elsewhere/clog"}, ProofAnswer.INFO),
        ({"log_dir": ""}, ProofAnswer.PASS),
    ],
    ids=["as asked", "through a link", "never told", "other redo", "no log_dir told"],
)
def test_directories_are_compared_where_they_are_told(changes, wanted):
    """A difference may be a link, so it is told and does not hold the node back."""
    ladder = judge(aftermath(zones=zones(server(NEW, **changes))))

    assert answer(ladder, "pv-dirs") is wanted
    assert ladder.is_verified


@pytest.mark.parametrize(
    ("region", "wanted"),
    [("sys_region", ProofAnswer.PASS), ("default_region", ProofAnswer.INFO)],
)
def test_a_new_zone_outside_its_peers_region_is_told_with_its_cure(region, wanted):
    """Obshell names no region; the line has the statement that mends it."""
    node = NODE.model_copy(update={"zone": "zone4"})
    fourth = zone("zone4", server(NEW), region_name=region)
    joined = aftermath(
        zones=(*zones(), fourth),
        members=(listed(1), listed(4, zone="zone4")),
        target_info=info(zone="zone4"),
    )

    ladder = judge(joined, node=node)

    found = line(ladder, "pv-zone-active:region")
    assert found.answer is wanted
    cure = "ALTER SYSTEM ALTER ZONE zone4 SET REGION 'sys_region'"
    assert (cure in found.found) is (wanted is ProofAnswer.INFO)
    assert ladder.is_verified


@pytest.mark.parametrize(
    "looks",
    [
        [Look(0.0, 3, None, True)],
        [Look(0.0, 3), Look(31.0, 3)],
        [Look(0.0, 3), Look(31.0, 1), Look(32.0, 3), Look(33.0, 3)],
        [Look(0.0, 3), Look(1.0, 3), Look(31.0, None)],
        [
            Look(0.0, 3, datetime(2026, 5, 1, 10, tzinfo=UTC)),
            Look(29.0, 3, datetime(2026, 5, 1, 10, tzinfo=UTC)),
            Look(31.0, 3, datetime(2026, 5, 1, 11, tzinfo=UTC)),
        ],
    ],
    ids=["one lucky look", "two", "a crash in between", "no answer at last", "a restart unseen"],
)
def test_serving_wants_a_steady_observer(looks):
    """A connectable observer has to hold, over several looks and one service, up to now."""
    ladder = judge(looks=looks)

    assert answer(ladder, "pv-ob-state") is ProofAnswer.WAITING
    assert ladder.rung is Rung.JOINED


def test_a_look_that_missed_the_topology_does_not_break_the_steadiness():
    """Only another start of service does."""
    started = datetime(2026, 5, 1, 10, tzinfo=UTC)
    seen = (started, None, started)
    looks = [Look(at, 3, when, True) for at, when in zip((0.0, 15.0, 31.0), seen, strict=True)]

    assert answer(judge(looks=looks), "pv-ob-state") is ProofAnswer.PASS


def test_requested_parameters_have_to_hold_as_long():
    """A value counts once it was as asked at looks the steady time apart; unread ones between."""
    key = "pv-params-effective:memory_limit"
    young = [Look(0.0, 3), Look(15.0, 3, None, True), Look(31.0, 3, None, True)]
    old = [Look(0.0, 3, None, True), Look(15.0, 3, None, None), Look(31.0, 3, None, True)]

    assert answer(judge(looks=young), key) is ProofAnswer.WAITING
    assert answer(judge(looks=old), key) is ProofAnswer.PASS
    assert answer(judge(looks=young, steady=0), key) is ProofAnswer.PASS


def test_a_parameter_that_was_set_back_says_so():
    """What was as asked at first and is not any more fails, and is told from what never was."""
    reverted = aftermath(parameters=parameters(parameter("memory_limit", "12G")))
    never = [Look(31.0, 3, None, False)]
    back = [Look(0.0, 3, None, True), *never]

    found = line(judge(reverted, looks=back), "pv-params-effective:memory_limit")

    assert found.answer is ProofAnswer.FAIL
    assert "set back" in found.found
    assert "set back" not in line(judge(reverted, looks=never), found.id).found


def test_looks_are_spread_only_while_all_is_well():
    """Fewer questions while nothing is missing; more where the observer is not there."""
    holding, broken = STEADY[:2], [Look(0.0, 3, None, True), Look(15.0, 1, None, True)]

    assert only_has_to_hold(judge(looks=holding, seen_around=None), holding)
    assert not only_has_to_hold(judge(looks=broken, seen_around=None), broken)
    missing = judge(aftermath(members=(listed(1),)), looks=holding, seen_around=None)
    assert not only_has_to_hold(missing, holding)


def test_an_older_version_that_shows_no_parameters_can_still_conform():
    """What a version never shows is said, and does not hold the rung back."""
    ladder = judge(aftermath(parameters=None, parameters_supported=False))

    for name in ("pv-params-effective:memory_limit", "pv-params-vs-peers", "pv-restart-safety"):
        assert answer(ladder, name) is ProofAnswer.INFO
    assert ladder.rung is Rung.CONFORMING


def test_a_hidden_parameter_is_said_to_be_hidden():
    """Obshell lists no parameter that begins with an underscore."""
    ladder = judge(node=asked(__min_full_resource_pool_memory="2147483648"))

    name = "pv-params-effective:__min_full_resource_pool_memory"
    assert answer(ladder, name) is ProofAnswer.INFO
    assert ladder.is_verified


def test_a_version_that_only_lists_servers_can_still_conform():
    """Below 4.3.0.0 start of service, zone state and capacity are never told: said, not held."""
    bare = server("10.0.0.4", start_time=None, stats={}, ob_status=None, status="")
    plain = tuple(zone.model_copy(update={"inner_status": ""}) for zone in zones(bare))

    blind = around(cluster=NOT_THERE, host=NOT_THERE)
    untold = judge(aftermath(zones=plain, is_detailed=False), seen_around=blind)
    should_tell = judge(aftermath(zones=plain), seen_around=blind)

    assert answer(untold, "pv-service-started") is ProofAnswer.INFO
    assert untold.rung is Rung.CONFORMING
    assert answer(should_tell, "pv-service-started") is ProofAnswer.UNKNOWN
    assert should_tell.rung is Rung.JOINED


def test_another_dag_after_ours_is_no_fault_of_the_node():
    """Somebody else's lock after our end is said, not held against the node."""
    other = done_dag(id="18", dag_id=8, state="RUNNING", name="Create tenant", maintenance_type=3)

    ladder = judge(aftermath(unfinished=(other,)))

    assert answer(ladder, "pv-lock-released") is ProofAnswer.INFO
    assert ladder.rung is Rung.CONFORMING


def test_what_differs_from_the_peers_is_named():
    """Parameters other than sizes that differ are listed; sizes and places are left out."""
    odd = parameter("syslog_level", "INFO", "WDIAG")
    size = parameter("memory_limit", "16G", "32G")
    place = parameter("devname", "eth0", "bond0")
    ladder = judge(aftermath(parameters=parameters(odd, size, place)))

    found = line(ladder, "pv-params-vs-peers")
    assert found.answer is ProofAnswer.INFO
    assert found.found == "syslog_level INFO, others WDIAG"
    assert ladder.is_verified


PINNED = [
    (parameter("memory_limit", "16G", "12G"), "memory_limit='16G'"),
    (parameter("memory_limit", "16G", "16384M"), None),
    (parameter("memory_limit", "16G", "12G", scope="TENANT"), None),
    (parameter("memory_limit", "16G", "12G", edit_level="READONLY"), None),
    (parameter("memory_limit", "12G", "12G"), "memory_limit='16G'"),
]


@pytest.mark.parametrize(
    ("row", "pin"),
    PINNED,
    ids=["differs", "same by bytes", "of tenants", "read only", "set back already"],
)
def test_what_may_revert_at_a_restart_is_told_with_the_statement_that_pins_it(row, pin):
    """One statement for each requested setting the other servers do not share, for this server."""
    ladder = judge(aftermath(parameters=parameters(row)))

    wanted = (f"ALTER SYSTEM SET {pin} SERVER='10.0.0.4:2882';",) if pin else ()
    assert ladder.pins == wanted
    safe = answer(ladder, "pv-restart-safety")
    assert safe is (ProofAnswer.INFO if pin else ProofAnswer.PASS)


def test_nothing_is_pinned_for_a_server_that_is_not_there():
    """A statement for an unknown server would only be refused."""
    rows = parameters(parameter("memory_limit", None, "12G"))

    assert judge(aftermath(parameters=rows, zones=zones())).pins == ()


def test_the_reasons_told_are_those_of_the_lowest_rung():
    """What fails further up mostly follows from it, and only having to hold is no reason."""
    ladder = judge(aftermath(zones=zones()), looks=STEADY[:1])

    said = shortfall(ladder.rung.name, ladder.lines)

    assert said == (
        "reached NONE, not CONFORMING: pv-topology-registered: no such server in the zone, "
        "expected 10.0.0.4:2882 in zone2"
    )


def test_a_statement_quotes_values_and_brackets_ipv6():
    """A quote or backslash in a value stays inside its text; an IPv6 server has brackets."""
    node = NodeSpec(
        agentInfo=AgentInfoSpec(ip="fd00::4", port=2886),
        zone="zone2",
        obConfigs={"rpc_port": "3882", "leak_mod_to_check": "O'Brien\\"},
    )
    rows = (parameter("leak_mod_to_check", "NONE"),)

    there = zones(server("fd00::4", svr_port=3882))

    ladder = judge(aftermath(parameters=rows, zones=there), node=node)

    assert ladder.pins == (
        "ALTER SYSTEM SET leak_mod_to_check='O''Brien\\\\' SERVER='[fd00::4]:3882';",
    )


POOL = {"zone_list": "zone1;zone2", "observer_list": "10.0.0.1:2882,10.0.0.4:2882"}
ASSIGNED = server(NEW, stats=stats(cpu_core_assigned=2, memory_in_bytes_assigned=4 * GIB))


@pytest.mark.parametrize(
    ("pools", "new", "rung", "said"),
    [
        ([POOL], ASSIGNED, Rung.BALANCED, "1 unit: 2 cores, 4G taken"),
        ([POOL, POOL], ASSIGNED, Rung.BALANCED, "2 units"),
        ([POOL | {"observer_list": None}], ASSIGNED, Rung.BALANCED, "some units"),
        ([POOL | {"observer_list": "10.0.0.1:2882"}], None, Rung.CONFORMING, "0 units yet"),
        (
            [{"zone_list": "zone1", "observer_list": "10.0.0.1:2882"}],
            None,
            Rung.CONFORMING,
            "no tenant has units in zone2",
        ),
    ],
    ids=["one", "two", "not counted", "none yet", "none here"],
)
def test_balanced_is_told_and_never_waited_for(pools, new, rung, said):
    """Units that have arrived lift a verified node to BALANCED; none keep it verified."""
    after = aftermath(zones=zones(new or server(NEW)))

    ladder = judge(after, seen_around=around(cluster=cluster(tenants=pools)))

    assert ladder.rung is rung
    assert said in line(ladder, "pv-rebalance-observed").found
    assert ladder.is_verified
    assert still_waiting(ladder) == ()


def test_units_lift_no_node_that_does_not_conform():
    """BALANCED stands above CONFORMING, not beside it."""
    after = aftermath(zones=zones(ASSIGNED), parameters=parameters()[1:])

    ladder = judge(after, seen_around=around(cluster=cluster(tenants=[POOL])))

    assert ladder.rung is Rung.SERVING


def test_disabled_rebalancing_is_named():
    """Why no unit has come is said where a parameter tells it."""
    off = parameter("enable_rebalance", "False", scope="TENANT")
    tenants = [POOL | {"observer_list": "10.0.0.1:2882"}]

    ladder = judge(
        aftermath(parameters=parameters(off)), seen_around=around(cluster=cluster(tenants=tenants))
    )

    assert "enable_rebalance is off" in line(ladder, "pv-rebalance-observed").found


@pytest.mark.parametrize(
    ("asked", "found", "same"),
    [
        ("16G", "16384M", True),
        ("0M", "0", True),
        ("True", "true", True),
        ("16G", "8G", False),
        ("10", "10", True),
    ],
)
def test_values_are_compared_by_meaning(asked, found, same):
    """Capacities by bytes, words without case; a bare number is no capacity."""
    assert same_value(asked, found) is same


def test_no_single_gap_makes_a_node_verified():
    """Of everything seen at once, two gaps at a time: never verified by accident."""
    fields = ("target_info", "target_status", "members", "zones", "parameters", "unfinished")
    for pair in itertools.combinations(fields, 2):
        assert not judge(aftermath(**dict.fromkeys(pair))).is_verified, pair
