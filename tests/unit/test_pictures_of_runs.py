"""Tests of what is drawn of plans, approvals, reports, and in a terminal."""

import base64
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from obscale.agent.models import Dag, State
from obscale.cli.bars import show_capacity, show_stages
from obscale.cli.output import Outlet
from obscale.cli.plan_view import show_plan
from obscale.pictures.capacity import TITLE, Bars, Held
from obscale.pictures.stages import draw_stages
from obscale.pictures.words import BYTES, CORES
from obscale.plan import plan_of
from obscale.preflight.capacity import capacity_of
from obscale.preflight.disk_room import disk_rooms_of
from obscale.preflight.pictures import capacity_bars, disks_of
from obscale.preflight.pictures import pictures_of as pictures_of_preflight
from obscale.preflight.result import conclude
from obscale.reading import Unread
from obscale.report.page import render_markdown
from obscale.report.pictures import bars_of, pictures_of, stages_of
from obscale.report.report import ScaleOutReport, stage_rows
from obscale.report.servers import server_rows
from obscale.request.models import ClusterSpec
from obscale.request.scale_out import ScaleOut
from obscale.sizes import GIB
from obscale.tasks.approval import render_question
from tests.conftest import disk, server, zone
from tests.hostile_text import HOSTILE, MARK, faults_of_lines, faults_of_page, reader
from tests.unit.test_pictures import SVG, rects, stages

DAGS = Path(__file__).parents[1] / "data" / "real-obshell" / "dags"
STATS = {
    "cpu_core_total": 16,
    "cpu_core_assigned": 6,
    "memory_in_bytes_total": 8 * GIB,
    "memory_in_bytes_assigned": 5 * GIB,
    "disk_in_bytes_total": 24 * GIB,
    "disk_in_bytes_assigned": 3 * GIB,
}


def told(world):
    """Let every server of a world report."""
    world.zones = tuple(zone(f"zone{n}", n, servers=[server(n, stats=STATS)]) for n in (1, 2, 3))
    return world


def recorded(name):
    """Give a DAG as a real agent has shown it."""
    return Dag.model_validate(json.loads((DAGS / f"dag-{name}.json").read_text())["json"]["data"])


def report(**fields):
    """Give a report of a run."""
    given = {
        "outcome": "verified",
        "cluster": "prod-east",
        "target": "10.0.0.4:2886",
        "zone": "zone2",
        "obConfigs": {},
        "dag_id": "11",
    }
    return ScaleOutReport.model_validate(given | fields)


def words_of(pictures):
    """Give what a reader of a page is told of each picture."""
    return [
        "".join(part.content for part in token.children[0].children)
        for token in reader().parse("\n\n".join(pictures))
        if token.type == "inline"
    ]


def test_capacity_is_the_sum_of_the_servers_and_of_what_joins(world):
    """By hand: three servers of 16 cores, 8G for units and 24G of data, and one like them."""
    found = capacity_of((told(world).facts(),))

    assert found.cpu.model_dump() == {
        "total_before": 48,
        "used_before": 18,
        "total_after": 64,
        "used_after": 18,
        "unit": 2,
    }
    memory, data, log = found.memory_bytes, found.data_disk_bytes, found.log_disk_bytes
    assert (memory.total_before, memory.used_before, memory.total_after) == (
        *(24 * GIB, 15 * GIB, 32 * GIB),
    )
    assert (data.total_before, data.used_before, data.total_after) == (
        *(72 * GIB, 9 * GIB, 96 * GIB),
    )
    assert (log.total_before, log.total_after) == (72 * GIB, 96 * GIB)
    assert log.used_before == sum(
        unit.log_disk_size * pool.unit_num * len(pool.zones)
        for pool in world.pools
        for unit in world.units
        if unit.unit_config_id == pool.unit_config_id
    )


def test_what_is_not_told_is_not_known_and_not_nothing(world):
    """A server that has not reported, no parameters, no pools, no topology."""
    told(world)
    world.zones = (*world.zones[:2], zone("zone3", 3))
    world.parameters = world.pools = Unread("no answer")

    found = capacity_of((world.facts(),))

    assert found.cpu.total_before is found.cpu.used_before is found.cpu.total_after is None
    assert found.log_disk_bytes.total_before is found.log_disk_bytes.used_after is None
    assert found.cpu.unit is None
    world.zones = world.cluster_info = Unread("no answer")
    assert capacity_of((world.facts(),)) is None


def test_a_member_adds_nothing(world):
    """Planned again, its capacity is there already."""
    told(world)
    joined = zone("zone2", 2, servers=[server(2, stats=STATS), server(4, stats=STATS)])
    world.zones = (world.zones[0], joined, world.zones[2])

    found = capacity_of((world.facts(),))

    assert found.cpu.total_before == found.cpu.total_after == 64


@pytest.mark.parametrize(
    ("total", "used", "answer"),
    [
        ("458G", "13G", "pass"),
        ("80G", "20G", "warn"),
        ("55G", "20G", "block"),
        ("30G", "5G", "block"),
    ],
)
def test_a_disk_is_drawn_as_the_rule_judges_it(world, total, used, answer):
    """None where it fits; the numbers are those of the finding."""
    world.disks(disk("/", total=total, used=used))
    if answer == "warn":
        world.disks(disk("/", total="72G", used="20G"))

    rooms = disk_rooms_of(world.facts())
    finding = world.finding("disk-fits")

    assert finding.answer == answer
    assert len(rooms) == (answer != "pass")
    for each in disks_of(rooms):
        size = f"{each.needed / GIB:g}G"
        assert finding.measured.startswith(size)
        assert f"{each.free / GIB:g}G" in finding.needed
        assert (answer == "block") is each.is_sure
        assert each.missing or not each.is_sure


def test_what_a_person_is_asked_shows_disks_observers_and_capacity(world):
    """In this order, with the words of the same numbers."""
    told(world).disks(disk("/", total="55G", used="20G"))
    seen = conclude(world.facts(), world.judge())

    first, second, third, fourth = words_of(pictures_of_preflight(seen, "zone2", "10.0.0.4:2882"))

    assert first.startswith("Disks that do not fit. /: needed 48G, at most ")
    assert "zone zone2, 1 → 2 observers: 10.0.0.2:2882 RUNNING, 10.0.0.4:2882 new, joins" in second
    assert "cpu: now 18 of 48 cores used, as planned 18 of 64 cores used, unit 2" in third
    assert "u_app (2 cores, 4G, log 12G): zone1 0, zone2 0 → 2, zone3 0" in fourth
    order = ScaleOut(cluster="prod-east", node=world.facts().node)
    page = render_question(order, seen)
    assert page.count("](data:image/svg+xml;base64,") == 4
    assert faults_of_page(page) == []


def test_a_node_for_a_new_zone_and_one_that_has_joined_are_drawn_once(world):
    """In the zone asked for."""
    seen = conclude(told(world).facts(), world.judge())

    new = words_of(pictures_of_preflight(seen, "zone9", "10.0.0.4:2882"))[0]
    member = words_of(pictures_of_preflight(seen, "zone2", "10.0.0.2:2882"))[0]

    assert "zone zone9, 0 → 1 observer: 10.0.0.4:2882 new, joins" in new
    assert "zone zone2, 1 observer: 10.0.0.2:2882 RUNNING" in member


def test_stages_are_drawn_by_the_times_an_agent_has_recorded():
    """A failure at stage 5: what waits behind it bears times too, and is not drawn."""
    dag = recorded("scaleout-failed-stage5")
    drawn = stages_of(stage_rows(dag))
    picture = draw_stages("DAG 11", drawn)

    for stage, node in zip(drawn, dag.nodes, strict=True):
        if node.state is State.PENDING:
            assert stage.started is stage.ended is None
        else:
            assert (stage.started, stage.ended) == (node.start_time, node.end_time)
    (failed,) = rects(picture, "bad")
    deploy = rects(picture, "good")[3]
    assert failed[1] / deploy[1] == pytest.approx(7.0968 / 7.4349, rel=0.02)
    assert "5 Wait remote start finish: FAILED 7.1 s, begun after 15 s" in picture.words
    assert "6 Prev check for scale_out: not begun" in picture.words


def test_stages_that_were_undone_say_so():
    """Recorded too; the last one was undone first."""
    rows = stage_rows(recorded("scaleout-maintainer-killed-rolledback"))
    picture = draw_stages("DAG 11", stages_of(rows))

    assert len(rects(picture, "warn")) == 5
    assert "5 Wait remote start finish: undone 2.0 s, begun after 0.0 s" in picture.words


def test_times_that_say_nothing_are_not_taken_for_times():
    """1970 after a RETRY, year 1, an end before the beginning; what runs has no end."""
    dag = recorded("scaleout-failed-stage5")
    epoch, year_one = datetime(1970, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)
    running, undone, odd, unset, *rest = dag.nodes
    begun = running.start_time
    dag = dag.model_copy(
        update={
            "nodes": (
                running.model_copy(update={"state": State.RUNNING, "end_time": begun}),
                undone.model_copy(update={"start_time": epoch, "end_time": epoch}),
                odd.model_copy(update={"end_time": odd.start_time.replace(year=2025)}),
                unset.model_copy(update={"start_time": year_one, "end_time": None}),
                *rest,
            )
        }
    )

    times = [(row.started_at, row.ended_at) for row in stage_rows(dag)[:4]]

    assert times == [(begun, None), (None, None), (odd.start_time, None), (None, None)]


def test_a_verified_run_is_drawn_before_and_after(world):
    """Stages, observers, and the capacity that was measured then."""
    told(world)
    after = (zone("zone2", 2, servers=[server(n, stats=STATS) for n in (2, 4)]), world.zones[0])
    made = report(
        stages=stage_rows(recorded("executor-crash")),
        before=server_rows(world.zones),
        after=server_rows((*after, world.zones[2])),
        capacity=capacity_of((world.facts(),)),
    )

    stages_told, zones_told, capacity, units = words_of(pictures_of(made))

    assert "DAG 11 for 10.0.0.4:2886: 47 s, 15:39:53 to 15:40:40 UTC" in stages_told
    assert (
        "zone zone2, 1 → 2 observers: 10.0.0.2:2882 RUNNING, 10.0.0.4:2882 new, RUN" in zones_told
    )
    assert "cpu: before 18 of 48 cores used, after 24 of 64 cores used, unit 2" in capacity
    assert "memory: before 15G of 24G used, after 20G of 32G used, unit 4G" in capacity
    assert "log disk: before 42G of 72G used, after 42G of 96G used, unit 12G" in capacity
    assert "0 more tenants of one unit a zone; ends first: memory in zone1: " in units
    page = render_markdown(made, pictures=pictures_of(made))
    assert faults_of_page(page) == []
    assert "data:" not in render_markdown(made)


def test_a_blocked_run_shows_no_after(world):
    """Neither stages nor capacity, and no server as if it were gone."""
    world.disks(disk("/", total="55G", used="20G"))
    made = report(
        outcome="blocked",
        dag_id=None,
        before=server_rows(world.zones),
        capacity=capacity_of((world.facts(),)),
        disk_rooms=disk_rooms_of(world.facts()),
    )

    disks_told, zones_told = words_of(pictures_of(made))

    assert disks_told.startswith("Disks that do not fit")
    assert zones_told.startswith("Observers, before anything was done. zone zone1, 1 observer: ")
    assert "gone" not in zones_told


def test_a_log_disk_counts_as_grown_only_where_the_node_is_verified(world):
    """Nobody measures it."""
    told(world)
    fields = {
        "before": server_rows(world.zones),
        "after": server_rows(world.zones),
        "capacity": capacity_of((world.facts(),)),
    }

    assert bars_of(report(**fields))[-1].after.total == 96 * GIB
    assert bars_of(report(outcome="failed", **fields))[-1].after.total is None


def test_a_report_stored_before_is_read_and_drawn():
    """Without times, capacity and disks; then only the observers are seen."""
    row = {"zone": "z", "server": "a:1", "status": "ACTIVE", "memory_bytes": 1, "cpu": 0}
    stage = {"stage": 1, "node": "Start observer", "state": "SUCCEED"}
    stage |= {"operator": "RUN", "agent": "", "last_log": ""}
    made = report(before=[row], after=[row], stages=[stage])

    zones_told, capacity = words_of(pictures_of(made))

    assert "zone z, 1 observer: a:1 ACTIVE" in zones_told
    assert "memory: before 0 of 1B used, after 0 of 1B used" in capacity


def test_hostile_names_mean_nothing_in_the_pictures_of_a_report_or_an_approval(world):
    """Zone, observer, state, node."""
    told(world)
    world.zones = (
        *world.zones,
        zone(HOSTILE, 7, servers=[server(7, ip=HOSTILE, status=HOSTILE, stats=STATS)]),
    )
    dag = recorded("executor-crash")
    first = dag.nodes[0].model_copy(update={"name": HOSTILE})
    dag = dag.model_copy(update={"nodes": (first, *dag.nodes[1:])})
    made = report(
        target=HOSTILE,
        zone=HOSTILE,
        dag_id=HOSTILE,
        stages=stage_rows(dag),
        before=server_rows(world.zones),
        after=server_rows(world.zones),
    )
    seen = conclude(world.facts(), world.judge())

    pictures = [*pictures_of(made), *pictures_of_preflight(seen, HOSTILE, HOSTILE)]

    assert len(pictures) == 6
    assert sum(MARK in words for words in words_of(pictures)) == 4
    page = render_markdown(made, pictures=pictures)
    assert faults_of_page(page) == []


def printed(show, *told, width=80, colour=False):
    """Give what a terminal shows."""
    page = io.StringIO()
    show(Console(file=page, width=width, force_terminal=colour), *told)
    return page.getvalue()


BARS = [
    Bars("cpu", CORES, Held(48, 18), Held(64, 18), 4),
    Bars("memory", BYTES, Held(90 * GIB, 60 * GIB), Held(120 * GIB, 60 * GIB), 8 * GIB),
    Bars("data disk", BYTES, Held(None), Held(None)),
    Bars("log disk", BYTES, Held(None), Held(300.5 * GIB), 24 * GIB),
]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_bars_of_capacity_fit_a_terminal_and_are_true(width):
    """Nothing is folded; each bar is as long as its part."""
    lines = printed(show_capacity, BARS, TITLE, width=width).splitlines()

    assert len(lines) == 4
    assert max(map(len, lines)) <= width
    cpu, memory, log = lines[1:]
    used, free, added = (cpu.count(sign) for sign in "█░▓")
    room = used + free + added
    assert room >= 20
    assert used == pytest.approx(18 / 64 * room, abs=1)
    assert used + free == pytest.approx(48 / 64 * room, abs=1)
    assert cpu.startswith("  cpu ")
    assert cpu.endswith("18 of 48 → 64 cores used, unit 4")
    assert memory.endswith("60G of 90G → 120G used, unit 8G")
    assert log.endswith("not known → 300.5G, unit 24G")
    assert log.count("▓") == room


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (Held(48, 18), Held(64, 24), "18 of 48 cores used → 24 of 64 cores used"),
        (Held(48, 18), Held(48, 18), "18 of 48 cores used"),
        (Held(48, 18), Held(None), "18 of 48 cores used → not known"),
        (Held(48), Held(64), "48 cores → 64 cores"),
    ],
)
def test_what_changes_is_said_from_and_to(before, after, said):
    """And what stays, once."""
    assert (
        printed(show_capacity, [Bars("cpu", CORES, before, after)]).rstrip().endswith(f"  {said}")
    )


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize(
    "name", ["Start observer", "北京一区等待远端节点启动完成并且确认", HOSTILE]
)
def test_bars_of_stages_fit_a_terminal_and_are_true(width, name):
    """Also with names of double width, and with names that would deceive."""
    text = printed(show_stages, stages(name), width=width)
    lines = text.splitlines()

    assert faults_of_lines(text) == []
    assert len(lines) == 8
    console = Console(width=width)
    assert all(console.render_str(line, markup=False).cell_len <= width for line in lines)
    assert "38 s by the agent's clock" in lines[0]
    ten, twenty = lines[2].count("█"), lines[3].count("█")
    assert twenty == pytest.approx(2 * ten, abs=1)
    assert lines[3].endswith("FAILED 20 s")
    assert lines[7].endswith("not begun")


def test_bars_are_plain_signs_where_the_terminal_knows_no_others():
    """ASCII; and what is used is told from what is not without a colour."""
    page = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    outlet = Outlet(page, "standard output", is_json=False, tell=None)
    show_capacity(Console(file=outlet, width=80), BARS)
    show_stages(Console(file=outlet, width=80), stages())
    outlet.flush()
    text = page.buffer.getvalue().decode("ascii")

    assert "\\u" not in text
    assert re.search(r"#{9,}\.{9,}\+{7,}  18 of 48 -> 64 cores used", text)


def test_bars_have_no_colour_where_nobody_wants_one(monkeypatch):
    """NO_COLOR; else they have."""
    assert "\x1b[3" in printed(show_stages, stages(), colour=True)
    monkeypatch.setenv("NO_COLOR", "1")
    for show, *told_ in ((show_capacity, BARS), (show_stages, stages())):
        assert "\x1b[3" not in printed(show, *told_, colour=True)


def test_the_least_that_is_used_is_seen():
    """One sign, as long as anything is."""
    little = printed(show_capacity, [Bars("cpu", CORES, Held(64, 0.1), Held(64, 0.1))])
    none = printed(show_capacity, [Bars("cpu", CORES, Held(64, 0), Held(64, 0))])

    assert (little.count("█"), none.count("█")) == (1, 0)


def test_nothing_known_prints_nothing():
    """No heading without a bar."""
    assert printed(show_capacity, BARS[2:3], TITLE) == ""
    assert printed(show_stages, stages()[5:]) == ""


def test_a_plan_shows_the_bars_of_its_own_numbers(world):
    """In its JSON too."""
    facts = told(world).facts()
    cluster = ClusterSpec(endpoints=("https://10.0.0.1:2886",), name="obcluster", id=1)
    made = plan_of([ScaleOut(cluster=cluster, node=facts.node)], [facts])

    text = printed(show_plan, made, width=100)

    for bars in capacity_bars(made.capacity):
        assert f"  {bars.name} " in text
    assert "18 of 48 → 64 cores used, unit 2" in text
    assert json.loads(made.model_dump_json())["capacity"]["cpu"]["total_after"] == 64


def test_the_picture_of_a_page_is_whole_xml(world):
    """What the page holds is what was drawn."""
    seen = conclude(told(world).facts(), world.judge())
    for picture in pictures_of_preflight(seen, "zone2", "10.0.0.4:2882"):
        _, _, data = picture.rpartition("base64,")
        root = ET.fromstring(base64.b64decode(data.removesuffix(")")))
        assert root.tag == f"{SVG}svg"
