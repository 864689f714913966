"""Tests of a plan: what is asked, what stands after, and what to do next."""

import io
import re
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from obscale.agent.models import Identity
from obscale.cli.plan_view import merged, show_plan
from obscale.plan import plan_of
from obscale.preflight.finding import otherwise
from obscale.preflight.registry import RULES
from obscale.reading import Unread
from obscale.request.models import ClusterSpec, DefaultsSpec, OverrideSpec
from obscale.request.scale_out import ScaleOut

GIB = 1 << 30
PROD = ClusterSpec(endpoints=("https://10.0.0.1:2886",), name="obcluster", id=1)


def planned(world, *, profile="prod", overrides=(), defaults=None, more=()):
    """The plan of a world, and of other worlds of the same cluster."""
    facts = [world.facts(), *(each.facts() for each in more)]
    orders = [
        ScaleOut(cluster=PROD, node=each.node, profile=profile, overrides=overrides)
        for each in facts
    ]
    return plan_of(orders, facts, defaults=defaults or DefaultsSpec(), source=["request.yaml"])


def printed(plan, width=100):
    page = io.StringIO()
    show_plan(Console(file=page, width=width, force_terminal=False), plan)
    return page.getvalue()


def test_each_value_is_told_as_sent_with_its_bytes_and_its_origin(world):
    """Byte for byte, capacities in bytes too, and what the defaults supplied or lost."""
    defaults = DefaultsSpec(obConfigs={"memory_limit": "16G", "log_disk_size": "48G"})

    plan = planned(world, defaults=defaults)

    request = plan.rows[0].request
    sent = {value.key: (value.value, value.size_bytes, value.origin) for value in request.sent}
    assert sent["memory_limit"] == ("16G", 16 * GIB, "defaults")
    assert sent["log_disk_size"] == ("24G", 24 * GIB, "node, instead of 48G of the defaults")
    assert sent["mysql_port"] == ("2881", None, "node")
    assert request.body == {
        "agentInfo": {"ip": "10.0.0.4", "port": 2886},
        "zone": "zone2",
        "obConfigs": world.configs,
    }


def test_what_is_not_sent_is_told_with_what_the_observer_takes(world):
    """A key left out is a decision too."""
    world.drop("mysql_port", "system_memory", "datafile_size", "log_disk_size", "memory_limit")

    left = {value.key: value.value for value in planned(world).rows[0].request.left}

    assert left["mysql_port"] == "2881"
    assert left["memory_limit"] == "50.2G"
    assert left["system_memory"] == "7G"
    assert left["datafile_size"] == "60 %"
    assert left["data_dir"] == "/home/admin/oceanbase/store"


def test_the_cluster_after_is_the_cluster_before_and_the_new_node(world, make_zone):
    """Per zone and in all: observers, cores, memory for units, data disk."""
    stats = {
        "memory_in_bytes_total": 8 * GIB,
        "cpu_core_total": 16,
        "disk_in_bytes_total": 24 * GIB,
    }
    for number in (1, 2, 3):
        told = type(world.zones[0].servers[0].stats).model_validate(stats)
        world.change_server(number, stats=told)

    forecast = planned(world.ask(datafile_maxsize="40G", datafile_next="4G")).forecast

    zone2 = forecast.zones[1]
    assert (zone2.before.servers, zone2.after.servers) == (1, 2)
    assert zone2.joining == ("10.0.0.4:2882",)
    assert (forecast.after.cpu, forecast.after.memory_bytes) == (64, 32 * GIB)
    assert forecast.after.data_disk_bytes == (3 * 24 + 40) * GIB


def test_a_sum_with_something_untold_is_untold(world):
    """A server that has not reported does not count as nothing."""
    forecast = planned(world).forecast

    assert forecast.after.servers == 4
    assert forecast.after.memory_bytes is None
    assert "? " in printed(planned(world))


def test_the_first_line_of_a_ready_plan_is_the_verdict_and_the_next_command(world):
    """Nothing has to be searched for."""
    first = printed(planned(world)).splitlines()[0]

    assert first == "READY WITH 2 WARNINGS (prod)  next: obscale apply request.yaml"


def test_the_first_line_of_a_blocked_plan_is_the_first_cure(world):
    """The gravest finding's remedy, not a list."""
    plan = planned(world.ask(memory_limit="80G"))

    assert not plan.ready
    assert printed(plan, 140).splitlines()[0] == (
        "BLOCKED (prod)  next: lower memory_limit to 56G or less, then plan again"
    )


@pytest.mark.parametrize("width", [80, 140])
def test_a_healthy_plan_fits_one_screen(world, width):
    """24 to 42 lines, one of them for each tenant, none wider than the terminal."""
    lines = printed(planned(world), width).splitlines()

    assert 24 <= len(lines) <= 42
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [80, 140])
def test_every_telling_finding_is_printed_with_its_id(world, width):
    """Also where many are; one line says how to learn more of one."""
    world.ask(memory_limit="80G", datafile_size="500G", log_disk_sise="24G")

    plan = planned(world)
    page = printed(plan, width)

    loud = {f.rule for f in plan.rows[0].findings if f.answer not in {"pass", "n-a"}}
    assert len(loud) > 6
    for rule in loud:
        assert rule in page
    assert "obscale explain RULE" in page


def test_an_override_is_printed_with_reason_and_day_and_an_idle_one_is_named(world):
    """Who reads the plan sees what was accepted, and what could go."""
    until = datetime.now(UTC).date() + timedelta(days=3)
    wanted = tuple(
        OverrideSpec(rule=rule, reason="two more follow", until=until)
        for rule in ("zone-balance", "mem-fits-total")
    )

    plan = planned(world, overrides=wanted)
    page = printed(plan)

    assert plan.verdict == "ready with 1 warning and 1 override"
    assert f"overridden until {until}: two more follow" in page
    assert "the override of mem-fits-total is not needed" in page


def test_several_nodes_share_what_they_have_in_common(world):
    """Same values and same findings once; the rest with its node."""
    other = type(world)(ip="10.0.0.5", zone="zone3").change("info", ip="10.0.0.5")
    other.ask(memory_limit="80G")

    plan = planned(world, more=(other,))
    page = printed(plan, 140)

    assert plan.verdict == "blocked: 1 of 2 nodes"
    assert page.count("disk-same-mount") == 1
    assert page.count('"24G"') == 2
    assert "(10.0.0.5:2886), then plan again" in page
    assert sum(told.finding.rule == "disk-same-mount" for told in merged(plan.rows)) == 1


def test_a_request_of_many_nodes_is_told_in_a_screen_or_two(world):
    """Whom it is about is named for a few and counted for the rest; no rule is told twice."""
    nodes = [
        type(world)(ip=f"10.0.1.{n}", zone=f"zone{n % 3 + 1}").change("info", ip=f"10.0.1.{n}")
        for n in range(30)
    ]
    nodes[7].ask(memory_limit="80G")
    for at, each in enumerate(nodes):
        each.set(
            before=[other.node() for other in nodes[:at]],
            others=[other.node() for other in nodes[at + 1 :]],
        )

    plan = planned(nodes[0], more=nodes[1:])
    page = printed(plan, 140)

    assert plan.verdict == "blocked: 1 of 30 nodes"
    assert len(page.splitlines()) < 70
    assert "and 18 more; --json lists them" in page
    assert page.count("batch-stop-on") == 1
    assert "10.0.0.1:2882 + 10.0.1.0:2882, 10.0.1.3:2882 and 8 more" in page
    (quiet,) = re.findall(r"(\d+) rules pass", page)
    assert int(quiet) < len(RULES)


def test_what_obshell_does_not_show_is_listed_once(world):
    """With the target's own home and port, ready to be pasted."""
    page = printed(planned(world), 140)

    assert page.count("Not visible to obshell") == 1
    assert "ls -A /home/admin/oceanbase/{store,etc,log}" in page
    assert "nc -zv HOST 2882, both ways" in page


def test_a_member_is_not_asked_for_again(world):
    """The plan of a request that is done names no request that would be sent."""
    member = world.zones[1].servers[0].model_copy(update={"ip": "10.0.0.4"})
    zone = world.zones[1].model_copy(update={"servers": (member,)})
    row = world.ob_info.agent_info[0].model_copy(update={"ip": "10.0.0.4"})
    world.set(zones=(world.zones[0], zone, world.zones[2]))
    world.change("ob_info", agent_info=(*world.ob_info.agent_info, row))
    world.change("info", identity=Identity.CLUSTER_AGENT)

    page = printed(planned(world))

    assert page.startswith("ALREADY A MEMBER")
    assert "Nothing is asked of 10.0.0.1:2886 again" in page
    assert "To be asked" not in page


def test_a_blocked_plan_asks_nobody_to_look_at_the_host_yet(world):
    """What a person must look at is listed once there is something to apply."""
    plan = planned(world.ask(memory_limit="80G"))

    page = printed(plan)

    assert "7 things are not visible to obshell; asked once this is ready" in page
    assert "ls -A" not in page
    assert len(plan.checklist) == 7


@pytest.mark.parametrize(("height", "times"), [(60, 1), (20, 2)])
def test_a_plan_that_scrolls_away_ends_with_its_verdict(world, height, times):
    """Whoever looks at the end of a long page sees what to do next; a pipe gets it once."""
    plan, page = planned(world), io.StringIO()

    show_plan(Console(file=page, width=100, height=height, force_terminal=True), plan)

    assert page.getvalue().count("READY WITH 2 WARNINGS") == times
    assert printed(plan).count("READY WITH 2 WARNINGS") == 1
    assert times == 1 or "obscale apply request.yaml" in page.getvalue().splitlines()[-1]


def test_nothing_that_was_found_is_cut_in_a_narrow_terminal(world):
    """Of what is only worth knowing the needed goes before anything of the measured does."""
    world.set(zone="zone4", allow_new_zone=True).ask(memory_limit="32G", datafile_size="96G")

    page = printed(planned(world), 80)

    assert "…" not in page
    told = " ".join(page.split())
    for finding in planned(world).rows[0].findings:
        if finding.answer not in {"pass", "n-a"}:
            assert " ".join(finding.measured.split()) in told


def test_a_terminal_is_not_made_to_obey_what_is_printed(world):
    """Neither by a start option, nor by what an agent calls its disk."""
    evil = "\x1b[2J\x1b[1mREADY\x9b"
    world.ask(syslog_level=evil)
    disk = world.host.disks[0].model_copy(update={"device_name": f"fuse{evil}"})

    page = printed(planned(world.disks(disk)))

    assert not {"\x1b", "\x9b"} & set(page)
    assert r"\x1b[2J\x1b[1mREADY\x9b" in page


def test_what_is_far_too_long_is_cut_and_its_length_told(world):
    """A slip of the clipboard leaves the rest of the plan readable."""
    world.ask(syslog_level="X" * 20_000, **{"k" * 3_000: "1"})

    page = printed(planned(world), 80)

    assert re.search(r"X…\s+\(20,000\s+characters\)", page)
    assert '"24G"' in page
    assert len(page.splitlines()) < 80
    assert "17,179,869,184 B" in page


def test_an_unread_topology_leaves_the_forecast_out_and_says_so(world):
    """No guess of a cluster nobody saw."""
    plan = planned(world.set(zones=Unread("down")))

    assert plan.forecast is None
    assert "the topology could not be read" in printed(plan)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("stage 5", "otherwise fails at stage 5"),
        ("SILENT: a new zone is created", "otherwise nothing reports it: a new zone is created"),
        ("RUNTIME", "otherwise it shows under load"),
        ("uneven units", "otherwise: uneven units"),
        ("POST or stage 2", "otherwise fails at POST or stage 2"),
        ("stage 7 or SILENT before", "otherwise fails at stage 7 or unreported before"),
        ("", ""),
    ],
)
def test_the_place_of_failure_is_said_in_words(place, words):
    """The catalogue's short marks mean nothing at night."""
    assert otherwise(place) == words
