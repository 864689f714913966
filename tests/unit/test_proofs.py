"""Tests of the proofs: sizes, disks, clocks, settings and units."""

import pytest

from obscale.agent.clock import ClockReading
from obscale.preflight.parameters import same_value
from obscale.reading import Unread
from obscale.request.models import AgentInfoSpec, NodeSpec
from obscale.verify.levels import Look, still_waiting
from obscale.verify.observation import Before, Level, ProofAnswer
from tests.unit.joined_node import (
    GIB,
    NEW,
    NODE,
    NOT_THERE,
    STARTED,
    aftermath,
    answer,
    around,
    asked,
    cluster,
    host,
    info,
    judge,
    line,
    listed,
    parameter,
    parameters,
    server,
    stats,
    zone,
    zones,
)

SILENT = Unread("no answer")
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
    levels = judge(seen_around=around(**changes))

    assert answer(levels, proof) is wanted
    good = {ProofAnswer.PASS, ProofAnswer.INFO, ProofAnswer.NOT_APPLICABLE}
    assert levels.is_verified is (wanted in good)


@pytest.mark.parametrize(
    ("mine", "said"),
    [
        (ClockReading(0.0, 0.04), "none is further off"),
        (ClockReading(0.09, 0.04), "none is further off, as far as 41 ms show"),
        (ClockReading(0.0, 0.12), "none is further off, as far as 121 ms show"),
    ],
    ids=["surely near", "perhaps farther", "read badly"],
)
def test_an_offset_that_is_not_ruled_out_is_told(mine, said):
    """Whether it may be more than is warned of, not how well each clock was read."""
    levels = judge(seen_around=around(clock=mine))

    assert line(levels, "pv-clock-after").found == f"of 1 asked, {said}"


@pytest.mark.parametrize(
    ("before", "proof", "wanted"),
    [
        (Before(), "pv-capacity-cluster", ProofAnswer.NOT_APPLICABLE),
        (Before(), "pv-disk-after", ProofAnswer.NOT_APPLICABLE),
        (Before(), "pv-no-collateral", ProofAnswer.PASS),
        (Before(), "pv-zone-active:region", ProofAnswer.NOT_APPLICABLE),
        (Before(zones(server(NEW))), "pv-capacity-cluster", ProofAnswer.NOT_APPLICABLE),
        (Before(zones(server(NEW))), "pv-disk-after", ProofAnswer.NOT_APPLICABLE),
    ],
)
def test_without_a_view_of_before_nothing_is_compared(before, proof, wanted):
    """A node verified alone, or one that was a member already, still conforms."""
    levels = judge(before=before)

    assert answer(levels, proof) is wanted
    assert levels.is_verified


def test_totals_that_moved_for_other_reasons_are_told():
    """Where another server changed as well, the difference says nothing of the new one."""
    grown = server("10.0.0.1", stats=stats(2))
    changed = cluster(total=4).model_copy(update={"zones": zones(server(NEW), first=grown)})

    levels = judge(seen_around=around(cluster=changed))

    found = line(levels, "pv-capacity-cluster")
    assert found.answer is ProofAnswer.INFO
    assert "other servers changed" in found.found
    assert levels.is_verified


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
    levels = judge(aftermath(zones=zones(server(NEW, stats=new))), node=asked(**configs))

    assert answer(levels, "pv-capacity-server") is wanted


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
    levels = judge(aftermath(zones=zones(server(NEW, **changes))))

    assert answer(levels, "pv-dirs") is wanted
    assert levels.is_verified


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

    levels = judge(joined, node=node)

    found = line(levels, "pv-zone-active:region")
    assert found.answer is wanted
    cure = "ALTER SYSTEM ALTER ZONE zone4 SET REGION 'sys_region'"
    assert (cure in found.found) is (wanted is ProofAnswer.INFO)
    assert levels.is_verified


def test_a_parameter_that_was_set_back_says_so():
    """What was as asked at first and is not any more fails, and is told from what never was."""
    reverted = aftermath(parameters=parameters(parameter("memory_limit", "12G")))
    never = [Look(31.0, 3, None, False)]
    back = [Look(0.0, 3, None, True), *never]

    found = line(judge(reverted, looks=back), "pv-params-effective:memory_limit")

    assert found.answer is ProofAnswer.FAIL
    assert "set back" in found.found
    assert "set back" not in line(judge(reverted, looks=never), found.id).found


def test_a_hidden_parameter_is_said_to_be_hidden():
    """Obshell lists no parameter that begins with an underscore."""
    levels = judge(node=asked(__min_full_resource_pool_memory="2147483648"))

    name = "pv-params-effective:__min_full_resource_pool_memory"
    assert answer(levels, name) is ProofAnswer.INFO
    assert levels.is_verified


def test_what_differs_from_the_peers_is_named():
    """Parameters other than sizes that differ are listed; sizes and places are left out."""
    odd = parameter("syslog_level", "INFO", "WDIAG")
    size = parameter("memory_limit", "16G", "32G")
    place = parameter("devname", "eth0", "bond0")
    levels = judge(aftermath(parameters=parameters(odd, size, place)))

    found = line(levels, "pv-params-vs-peers")
    assert found.answer is ProofAnswer.INFO
    assert found.found == "syslog_level INFO, others WDIAG"
    assert levels.is_verified


PINNED = [
    (parameter("memory_limit", "16G", "12G"), "memory_limit='16G'"),
    (parameter("memory_limit", "16G", "16384M"), None),
    (parameter("memory_limit", "16G", "12G", scope="TENANT"), None),
    (parameter("memory_limit", "16G", "12G", edit_level="READONLY"), None),
    (parameter("memory_limit", "12G", "12G"), "memory_limit='16G'"),
]


@pytest.mark.parametrize(
    ("row", "statement"),
    PINNED,
    ids=["differs", "same by bytes", "of tenants", "read only", "set back already"],
)
def test_what_may_revert_at_a_restart_is_told_with_the_statement_that_persists_it(row, statement):
    """One statement for each requested setting the other servers do not share, for this server."""
    levels = judge(aftermath(parameters=parameters(row)))

    wanted = (f"ALTER SYSTEM SET {statement} SERVER='10.0.0.4:2882';",) if statement else ()
    assert levels.persist_statements == wanted
    safe = answer(levels, "pv-restart-safety")
    assert safe is (ProofAnswer.INFO if statement else ProofAnswer.PASS)


def test_nothing_is_pinned_for_a_server_that_is_not_there():
    """A statement for an unknown server would only be refused."""
    rows = parameters(parameter("memory_limit", None, "12G"))

    assert judge(aftermath(parameters=rows, zones=zones())).persist_statements == ()


def test_a_statement_quotes_values_and_brackets_ipv6():
    """A quote or backslash in a value stays inside its text; an IPv6 server has brackets."""
    node = NodeSpec(
        agentInfo=AgentInfoSpec(ip="fd00::4", port=2886),
        zone="zone2",
        obConfigs={"rpc_port": "3882", "leak_mod_to_check": "O'Brien\\"},
    )
    rows = (parameter("leak_mod_to_check", "NONE"),)

    there = zones(server("fd00::4", svr_port=3882))

    levels = judge(aftermath(parameters=rows, zones=there), node=node)

    assert levels.persist_statements == (
        "ALTER SYSTEM SET leak_mod_to_check='O''Brien\\\\' SERVER='[fd00::4]:3882';",
    )


POOL = {"zone_list": "zone1;zone2", "observer_list": "10.0.0.1:2882,10.0.0.4:2882"}
ASSIGNED = server(NEW, stats=stats(cpu_core_assigned=2, memory_in_bytes_assigned=4 * GIB))


@pytest.mark.parametrize(
    ("pools", "new", "level", "said"),
    [
        ([POOL], ASSIGNED, Level.BALANCED, "1 unit: 2 cores, 4G taken"),
        ([POOL, POOL], ASSIGNED, Level.BALANCED, "2 units"),
        ([POOL | {"observer_list": None}], ASSIGNED, Level.BALANCED, "some units"),
        ([POOL | {"observer_list": "10.0.0.1:2882"}], None, Level.CONFORMING, "0 units yet"),
        (
            [{"zone_list": "zone1", "observer_list": "10.0.0.1:2882"}],
            None,
            Level.CONFORMING,
            "no tenant has units in zone2",
        ),
    ],
    ids=["one", "two", "not counted", "none yet", "none here"],
)
def test_balanced_is_told_and_never_waited_for(pools, new, level, said):
    """Units that have arrived lift a verified node to BALANCED; none keep it verified."""
    after = aftermath(zones=zones(new or server(NEW)))

    levels = judge(after, seen_around=around(cluster=cluster(tenants=pools)))

    assert levels.level is level
    assert said in line(levels, "pv-rebalance-observed").found
    assert levels.is_verified
    assert still_waiting(levels) == ()


def test_units_lift_no_node_that_does_not_conform():
    """BALANCED stands above CONFORMING, not beside it."""
    after = aftermath(zones=zones(ASSIGNED), parameters=parameters()[1:])

    levels = judge(after, seen_around=around(cluster=cluster(tenants=[POOL])))

    assert levels.level is Level.SERVING


def test_disabled_rebalancing_is_named():
    """Why no unit has come is said where a parameter tells it."""
    off = parameter("enable_rebalance", "False", scope="TENANT")
    tenants = [POOL | {"observer_list": "10.0.0.1:2882"}]

    levels = judge(
        aftermath(parameters=parameters(off)), seen_around=around(cluster=cluster(tenants=tenants))
    )

    assert "enable_rebalance is off" in line(levels, "pv-rebalance-observed").found


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


def test_a_peer_that_recovered_is_no_harm():
    """Who was down before and serves now is better off, whichever words this version has."""
    for words in ({"inner_status": "ACTIVE"}, {"inner_status": "ACTIVE", "status": ""}):
        down = Before(zones(first=server("10.0.0.1", inner_status="INACTIVE", status="")))
        well = aftermath(zones=zones(server(NEW), first=server("10.0.0.1", **words)))

        assert answer(judge(well, before=down), "pv-no-collateral") is ProofAnswer.PASS


DEAD = {"inner_status": "INACTIVE", "status": "UNAVAILABLE"}


def dead(ip="10.0.0.1", **changes):
    """A member that does not serve; it leads the root service, so that it alone is at fault."""
    return server(ip, **{**DEAD, "with_rootserver": True, **changes})


def test_a_member_dead_now_is_held_against_a_node_of_which_nobody_saw_before():
    """Without a look from before the POST a dead member is no exception, and no pass."""
    levels = judge(aftermath(zones=zones(server(NEW), first=dead())), before=Before())

    found = line(levels, "pv-no-collateral")
    assert found.answer is ProofAnswer.AGAINST
    assert found.found == "10.0.0.1:2882 INACTIVE UNAVAILABLE (dead now, before unknown)"
    assert not levels.is_verified
    assert levels.exceptions == ()


def test_a_member_dead_before_already_is_excepted_by_name():
    """CONFORMING, and the verdict names whom it leaves out; the other members are judged."""
    after = aftermath(zones=zones(server(NEW), first=dead()))
    before = Before(zones(first=dead()))

    levels = judge(after, before=before)
    other = judge(
        aftermath(zones=(zone("zone1", dead()), zone("zone2", dead("10.0.0.2"), server(NEW)))),
        before=before,
    )

    assert answer(levels, "pv-no-collateral") is ProofAnswer.INFO
    assert levels.is_verified
    excepted = "10.0.0.1:2882 INACTIVE UNAVAILABLE (dead before already)"
    assert levels.verdict == f"CONFORMING, except {excepted}"
    assert line(other, "pv-no-collateral").found == "10.0.0.2:2882 INACTIVE UNAVAILABLE"
    assert (other.is_verified, other.exceptions) == (False, ())


@pytest.mark.parametrize(
    ("was", "now", "wanted"),
    [
        ({}, DEAD, ProofAnswer.AGAINST),
        (DEAD, {"inner_status": "DELETING", "status": "UNAVAILABLE"}, ProofAnswer.INFO),
        (DEAD, {"stop_time": STARTED, **DEAD}, ProofAnswer.AGAINST),
        ({"stop_time": STARTED}, {"stop_time": STARTED}, ProofAnswer.INFO),
        (DEAD, {}, ProofAnswer.PASS),
        ({"status": ""}, {"status": ""}, ProofAnswer.PASS),
        ({}, {"inner_status": "", "status": ""}, ProofAnswer.AGAINST),
    ],
    ids=[
        "died",
        "being deleted",
        "stopped too",
        "stopped before",
        "back",
        "older",
        "tells nothing",
    ],
)
def test_a_member_is_compared_with_what_it_was(was, now, wanted):
    """Only who did not serve before is excepted, unless somebody has stopped it since."""
    before = Before(zones(first=server("10.0.0.1", **was)))
    after = aftermath(zones=zones(server(NEW), first=server("10.0.0.1", **now)))

    assert answer(judge(after, before=before), "pv-no-collateral") is wanted


def test_a_dead_member_that_came_after_the_look_is_no_exception():
    """Somebody else's new node that does not serve is told as not there before."""
    after = (zones()[0], zone("zone2", server("10.0.0.2"), dead("10.0.0.5"), server(NEW)))

    found = line(judge(aftermath(zones=after)), "pv-no-collateral")

    assert found.answer is ProofAnswer.AGAINST
    assert found.found == "10.0.0.5:2882 INACTIVE UNAVAILABLE (not there before)"
