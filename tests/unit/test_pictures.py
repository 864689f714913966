"""Tests of the pictures: what is drawn is what their words say, harmless and small."""

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest

from obscale.pictures.batch_timeline import Lane, Run, draw_batch
from obscale.pictures.capacity import Bars, Held, draw_capacity
from obscale.pictures.disk_fit import Disk, draw_disk_fit
from obscale.pictures.sheet import (
    EDGE,
    LONGEST_NAME,
    MAX_BYTES,
    WIDTH,
    Picture,
    fitting,
    width_of,
)
from obscale.pictures.stages import Stage, draw_stages
from obscale.pictures.unit_room import MOST_CELLS, UnitCells, ZoneCells, draw_unit_room
from obscale.pictures.words import BYTES, CORES, told_seconds
from obscale.pictures.zones import Observer, ZoneBoxes, draw_zones
from obscale.sizes import GIB
from obscale.text import for_terminal
from tests.hostile_text import HOSTILE, LONG, faults_of_lines, faults_of_page, reader

SVG = "{http://www.w3.org/2000/svg}"
AT = datetime(2026, 11, 28, 2, 0, 5, tzinfo=UTC)
CHINESE = "北京一区等待远端节点启动完成并且确认没有任何问题"
NAMES = ["zone1", CHINESE, HOSTILE, HOSTILE * 20, "&lt;]]>\"'", "z" * LONG, "\ud800\uffff\x00"]


def after(seconds):
    """Give a moment so many seconds after the first."""
    return None if seconds is None else AT + timedelta(seconds=seconds)


def stages(name="Start observer"):
    """One of each kind."""
    return [
        Stage(1, "Integrate server config", "SUCCEED", after(0), after(1)),
        Stage(2, name, "SUCCEED", after(2), after(12)),
        Stage(3, name, "FAILED", after(13), after(33)),
        Stage(4, name, "undone", after(35), after(36)),
        Stage(5, name, "RUNNING", after(38), None),
        Stage(6, name, "SUCCEED", None, None),
        Stage(7, name, "PENDING", None, None),
    ]


def zones(name="zone1", server="10.0.0.1:2882", state="RUNNING"):
    """One that grows, one that is made, one whose observer has gone."""
    return [
        ZoneBoxes(
            name, (Observer(server, state, state), Observer("10.0.0.4:2882", None, "RUNNING"))
        ),
        ZoneBoxes(f"{name}2", (Observer("10.0.0.5:2882", None, ""),)),
        ZoneBoxes("zone3", (Observer(server, "UNAVAILABLE", None),)),
    ]


def bars():
    """All four."""
    return [
        Bars("cpu", CORES, Held(48, 18), Held(64, 18), 4),
        Bars("memory", BYTES, Held(90 * GIB, 60 * GIB), Held(120 * GIB, 60 * GIB), 8 * GIB),
        Bars("data disk", BYTES, Held(1536 * GIB, 1400 * GIB), Held(2048 * GIB, 1400 * GIB)),
        Bars("log disk", BYTES, Held(None), Held(300.5 * GIB)),
    ]


def disks(path="/data/1"):
    """One too small, one too close to call."""
    parts = (("data", 300 * GIB), ("log", 200 * GIB), ("slog", 4 * GIB))
    return [
        Disk(path, 458 * GIB, 338 * GIB, parts),
        Disk(path, 458 * GIB, 238 * GIB, parts[1:], is_sure=False),
    ]


def run(state, begin, end, *, is_canary=False):
    """Give a run by minutes."""
    ended = None if end is None else after(60 * end)
    return Run("10.0.0.4:2886", state, after(60 * begin), ended, is_canary)


def lanes(name="prod-east"):
    """One verified with its canary, one stopped, one that never began."""
    return [
        Lane(name, (run("verified", 0, 4, is_canary=True), run("verified", 20, 24))),
        Lane(
            "prod-west", (run("verified", 0, 6), run("failed", 20, 23)), (("not started", 3),), True
        ),
        Lane(f"{name}2", (run("left running", 30, None),), (("blocked", 2), ("waiting", 1))),
        Lane(name, (), (("not started", 2),)),
    ]


def units(name="zone1"):
    """One that grows, one of which nobody knows, one of many zones."""
    told = "0 → 2 more tenants of one unit a zone"
    ends = f"memory in {name}: 2G free on 10.0.0.1:2882, 4G a unit"
    grows = (ZoneCells(name, 0, 0), ZoneCells("zone2", 1, 3), ZoneCells("zone3", None, None))
    many = tuple(ZoneCells(f"zone{n}", n, 90 + n) for n in range(20))
    return [
        UnitCells(f"{name} (2 cores, 4G, log 12G)", grows, told, ends),
        UnitCells("u_big", many, "not known more tenants of one unit a zone"),
        *(UnitCells(f"u{n}", (), "0 more") for n in range(4)),
    ]


WINDOW = [(after(0), after(1500)), (after(1800), after(2000))]
WHOLE = (after(0), after(2400))


def drawings(name="zone1"):
    """Every kind of picture, each name in it being this one."""
    return {
        "stages": draw_stages(f"DAG 11 of {name}", stages(name)),
        "zones": draw_zones(zones(name, name, name), "found"),
        "zones as planned": draw_zones(zones(name), "expected"),
        "zones left as they were": draw_zones(zones(name, name, name), "none"),
        "capacity": draw_capacity(bars(), ("before", "after")),
        "disk fit": draw_disk_fit(disks(name)),
        "unit room": draw_unit_room(units(name)),
        "batch": draw_batch(lanes(name), WHOLE, window=f"02:00 {name}", open_spans=WINDOW),
    }


KINDS = sorted(drawings())


def texts_of(picture):
    """Every line a reader sees, and the titles of what was cut."""
    root = ET.fromstring(picture.svg)
    seen, titles = [], []
    for each in root.iter(f"{SVG}text"):
        title = each.find(f"{SVG}title")
        seen.append(each.text or title.tail)
        titles += [] if title is None else [title.text]
    return seen, titles


def rects(picture, style):
    """Give x and width of each rectangle of a class, in order."""
    return [
        (float(each.get("x")), float(each.get("width")))
        for each in ET.fromstring(picture.svg).iter(f"{SVG}rect")
        if each.get("class") == style
    ]


def numbers(text):
    """Give every number of a text, as it is written."""
    return set(re.findall(r"\d+(?:\.\d+)?", text))


@pytest.mark.parametrize("kind", KINDS)
def test_each_number_and_name_that_is_drawn_is_in_the_words_too(kind):
    """Whoever hears the words knows what whoever sees the picture knows."""
    picture = drawings()[kind]
    seen, titles = texts_of(picture)

    assert len(seen) > 4
    drawn = set().union(*map(numbers, (*seen, *titles)))
    assert drawn <= numbers(picture.words)
    for name in ("zone1", "prod-west", "Start observer", "10.0.0.1:2882", "/data/1"):
        if any(name in text for text in seen):
            assert name in picture.words


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:8]))
@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_name_means_nothing_in_any_picture(kind, name):
    """Neither in its XML, nor in its words, nor in the page around it."""
    picture = drawings(name)[kind]
    root = ET.fromstring(picture.svg)
    tags = {each.tag.removeprefix(SVG) for each in root.iter()}
    attributes = {name for each in root.iter() for name in each.attrib}

    assert tags <= {"svg", "title", "style", "rect", "text", "path"}
    assert attributes <= {
        *("role", "width", "height", "viewBox", "class", "x", "y", "rx", "d", "text-anchor"),
    }
    seen, titles = texts_of(picture)
    for text in (picture.words, *seen, *titles):
        assert faults_of_lines(text) == []
        assert "\n" not in text
    page = f"before\n\n{picture.markdown}\n\nafter"
    assert faults_of_page(page) == []
    inline = reader().parse(page)[4].children
    assert [each.type for each in inline] == ["image"]
    assert inline[0].attrs["src"].startswith("data:image/svg+xml;base64,")
    assert inline[0].content.replace("\\", "") != ""


@pytest.mark.parametrize("kind", KINDS)
def test_the_words_stand_in_the_page_as_they_are(kind):
    """Read back as the reader of a page reads them."""
    picture = drawings("zone[1]_*2*")[kind]

    (image,) = reader().parse(picture.markdown)[1].children
    assert "".join(each.content for each in image.children) == picture.words


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_asks_for_nothing_from_anywhere(kind):
    """No address, no font by name; light and dark."""
    svg = drawings(HOSTILE)[kind].svg
    root = ET.fromstring(svg)
    style = root.find(f"{SVG}style").text

    assert "url(" not in style
    assert "@import" not in style
    assert set(re.findall(r"\d+px ([^;}]+)", style)) == {"sans-serif"}
    assert "prefers-color-scheme:dark" in style
    assert "href" not in {name for each in root.iter() for name in each.attrib}


@pytest.mark.parametrize("name", ["zone1", CHINESE, "W" * 60, HOSTILE], ids=lambda n: ascii(n[:8]))
@pytest.mark.parametrize("kind", KINDS)
def test_everything_stands_inside_of_the_picture(kind, name):
    """Words by their guessed width, shapes by their own."""
    picture = drawings(name)[kind]
    root = ET.fromstring(picture.svg)
    height = float(root.get("height"))

    assert float(root.get("width")) == WIDTH
    for each in root.iter(f"{SVG}rect"):
        x, y, wide, high = (float(each.get(key)) for key in ("x", "y", "width", "height"))
        assert x >= 0
        assert x + wide <= WIDTH - (0 if each.get("class") == "card" else EDGE) + 0.6
        assert y >= 0
        assert y + high <= height
    for each in root.iter(f"{SVG}text"):
        title = each.find(f"{SVG}title")
        wide = width_of(each.text or title.tail)
        x = float(each.get("x")) - (wide if each.get("text-anchor") else 0)
        assert x >= EDGE - 1
        assert x + wide <= WIDTH - EDGE + 1
        assert 0 < float(each.get("y")) < height


@pytest.mark.parametrize(
    "name", ["zone1", CHINESE * 6, HOSTILE, "<" * 200], ids=lambda n: ascii(n[:8])
)
def test_no_picture_is_too_large(name):
    """A hundred nodes in fifty zones, two hundred clusters: what is left out is counted."""
    cluster = [
        ZoneBoxes(f"{at}{name}", tuple(Observer(f"{name}{n}", "RUNNING", "") for n in range(9)))
        for at in range(50)
    ]
    batch = [
        Lane(
            f"{at}{name}",
            tuple(run("failed" if n % 2 else "verified", n, n + 1) for n in range(40)),
            (("not started", 2),),
            stopped=True,
        )
        for at in range(200)
    ]
    pictures = [
        draw_zones(cluster, "found"),
        draw_zones([ZoneBoxes(name, cluster[0].observers * 12)], "found"),
        draw_batch(batch, WHOLE, window=name, open_spans=WINDOW * 20),
        draw_stages(name, stages(name) * 20),
        draw_disk_fit(disks(name) * 9),
    ]

    for picture in pictures:
        assert len(picture.markdown.encode()) <= MAX_BYTES
        assert picture.markdown.startswith("![")
        assert re.search(r"and \d+ more", picture.words)


def test_what_would_be_too_large_all_the_same_is_told_in_words():
    """Whatever is drawn, a page stays a page."""
    picture = Picture("x" * MAX_BYTES, f"many {HOSTILE}")

    assert picture.markdown.startswith("many h0stile")
    assert faults_of_page(picture.markdown) == []


def test_what_stands_still_is_no_picture():
    """Nothing to see, nothing drawn."""
    assert draw_stages("DAG 1", [Stage(1, "Start observer", "PENDING", None, None)]) is None
    assert draw_stages("DAG 1", []) is None
    assert draw_zones([], "found") is None
    assert draw_capacity([Bars("cpu", CORES, Held(None), Held(None))], ("now", "then")) is None
    assert draw_disk_fit([]) is None
    assert draw_batch([Lane("a", (), (("blocked", 1),))], WHOLE) is None


def test_a_stage_is_as_long_as_it_took():
    """By the times of the agent, one scale for all."""
    picture = draw_stages("DAG 11", stages())

    (one, ten), (twenty,) = rects(picture, "good"), rects(picture, "bad")
    assert ten[1] == pytest.approx(10 * one[1], rel=0.05)
    assert twenty[1] == pytest.approx(2 * ten[1], rel=0.02)
    assert twenty[0] - one[0] == pytest.approx(13 / 10 * ten[1], rel=0.02)
    seen, _ = texts_of(picture)
    assert "10 s" in seen
    assert "FAILED 20 s" in seen
    assert "undone 1.0 s" in seen
    assert "not begun" in seen
    assert "time not told" in seen
    assert "3 Start observer: FAILED 20 s, begun after 13 s" in picture.words


def test_a_bar_of_capacity_is_as_long_as_what_it_stands_for():
    """Total, used and the next unit, one scale a thing."""
    picture = draw_capacity(bars(), ("before", "after"))

    ground, used, unit = (rects(picture, style) for style in ("ground", "busy", "next"))
    for at, each in enumerate(bars()[:3]):
        before, after_ = ground[2 * at], ground[2 * at + 1]
        assert before[1] / after_[1] == pytest.approx(
            each.before.total / each.after.total, rel=0.01
        )
        assert used[2 * at][1] / before[1] == pytest.approx(each.before.share, rel=0.01)
        assert used[2 * at + 1][1] / after_[1] == pytest.approx(each.after.share, rel=0.01)
    assert [width / ground[2 * at + 1][1] for at, (_, width) in enumerate(unit)] == pytest.approx(
        [4 / 64, 8 / 120], rel=0.02
    )
    assert "cpu: before 18 of 48 cores used, after 18 of 64 cores used, unit 4" in picture.words
    assert "log disk: before not known, after 300.5G" in picture.words


def test_a_unit_that_no_longer_fits_is_not_drawn():
    """What is free is too little for it."""
    picture = draw_capacity([Bars("cpu", CORES, Held(4, 2), Held(8, 6), 4)], ("now", "then"))

    assert rects(picture, "next") == []
    assert "unit 4" in picture.words


def test_a_cell_stands_for_a_unit_that_fits():
    """Filled now, dashed once grown; more than have room are told in numbers alone."""
    picture = draw_unit_room(units()[:1])
    many = draw_unit_room([UnitCells("u", (ZoneCells("z", 70, 90),), "70 → 90 more")])

    assert len(rects(picture, "good")) == 1
    assert len(rects(picture, "next")) == 2
    assert "zone1 0, zone2 1 → 3, zone3 not known" in picture.words
    assert len(rects(many, "good")) == MOST_CELLS
    assert "z 70 → 90" in many.words


def test_a_disk_shows_what_is_missing_as_long_as_it_is():
    """Held and needed side by side, in bytes of one scale."""
    small, close = disks()
    picture = draw_disk_fit([small])

    (total,), (held, *_) = rects(picture, "ground"), rects(picture, "idle")
    (data, *_), (over,) = rects(picture, "busy"), rects(picture, "over")
    for (_, width), size in ((held, small.held), (data, 300 * GIB), (over, small.missing)):
        assert width / total[1] == pytest.approx(size / small.total, rel=0.01)
    assert over[0] == pytest.approx(total[0] + total[1], abs=0.2)
    assert "needed 504G, at most 338G of 458G free: 166G too little" in picture.words
    assert "held at least 120G, data 300G, log 200G, slog 4G" in picture.words
    doubt = draw_disk_fit([close])
    assert rects(doubt, "over") == []
    assert "too close to call" in doubt.words


def test_what_is_new_or_does_not_serve_is_never_left_out():
    """Of a zone of many, what somebody looks for is drawn."""
    many = [Observer(f"10.0.0.{at}:2882", "RUNNING", "RUNNING") for at in range(60)]
    odd = [
        Observer("10.0.1.1:2882", "RUNNING", "UNAVAILABLE"),
        Observer("10.0.1.2:2882", None, "RUNNING"),
    ]
    picture = draw_zones([ZoneBoxes("zone1", (*many, *odd))], "found")
    seen, _ = texts_of(picture)

    assert "10.0.1.1:2882" in seen
    assert "new, RUNNING" in seen
    assert "61 → 62 observers" in seen
    assert "and 46 more, 46 of them serve" in seen


def test_a_zone_that_changes_is_never_left_out():
    """Of many zones the one that grows is drawn, in its place."""
    same = [ZoneBoxes(f"zone{at}", (Observer("a", "ACTIVE", "ACTIVE"),)) for at in range(20)]
    grows = ZoneBoxes("zone20", (Observer("b", None, "ACTIVE"),))
    picture = draw_zones([*same, grows], "found")
    seen, _ = texts_of(picture)

    assert "zone20" in seen
    assert "and 13 more zones with 13 observers" in seen


def test_a_lane_shows_its_runs_where_they_were():
    """On the scale of the whole batch, with canary, stop and closed window."""
    picture = draw_batch(lanes(), WHOLE, window="02:00-02:25 UTC", open_spans=WINDOW)

    verified, (failed, _) = rects(picture, "good"), rects(picture, "bad")
    assert verified[1][0] - verified[0][0] == pytest.approx(failed[0] - verified[0][0], abs=0.2)
    assert failed[1] + 1 == pytest.approx((verified[0][1] + 1) * 3 / 4, abs=0.3)
    shut = rects(picture, "shut")
    assert shut[0][1] == pytest.approx((verified[0][1] + 1) * 300 / 240, abs=0.3)
    assert shut[1][1] == pytest.approx((verified[0][1] + 1) * 400 / 240, abs=0.3)
    assert "prod-east: 2 verified, with a canary" in picture.words
    assert "prod-west: 1 failed, 1 verified, 3 not started, stopped" in picture.words
    assert "open 02:00 to 02:25, 02:30 to 02:33" in picture.words
    seen, _ = texts_of(picture)
    assert {"canary", "stopped", "window closed", "verified", "failed"} <= set(seen)


def test_a_batch_of_many_clusters_shows_those_somebody_should_look_at():
    """The rest is counted."""
    fine = [Lane(f"c{at}", (run("verified", 0, 1),)) for at in range(200)]
    sick = [Lane("sick", (run("failed", 0, 1),)), Lane("held", (), (("not started", 1),), True)]
    picture = draw_batch([*fine, *sick], WHOLE)
    seen, _ = texts_of(picture)

    assert {"sick", "held"} <= set(seen)
    assert "and 178 more clusters: 178 verified" in seen
    assert "202 clusters" in picture.words


def test_a_name_is_cut_in_its_middle_and_told_whole():
    """Its ends tell it apart; the title and the words have all of it."""
    name = "production-cluster-of-the-north-" * 3 + "0001"
    picture = draw_batch([Lane(name, (run("verified", 0, 1),))], WHOLE)
    seen, titles = texts_of(picture)

    (cut,) = [text for text in seen if text.startswith("prod")]
    assert "…" in cut
    assert cut.endswith("0001")
    assert titles == [name]
    assert name in picture.words
    assert len(name) <= LONGEST_NAME


@pytest.mark.parametrize("text", ["", "a", CHINESE, "W" * 99, HOSTILE[:90]], ids=ascii)
@pytest.mark.parametrize("room", [1, 20, 100, 300])
def test_what_is_fitted_needs_no_more_than_its_room(text, room):
    """Down to the sign that says something is missing."""
    shown = fitting(for_terminal(text), room)

    assert shown == "…" or width_of(shown) <= room
    assert "…" in shown or shown == for_terminal(text)


def test_what_is_written_in_chinese_takes_the_room_it_needs():
    """Twice as wide as a figure, about."""
    assert width_of("北京") > 1.5 * width_of("12")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *[(0, "0.0 s"), (0.94, "0.9 s"), (9.9, "9.9 s"), (59.4, "59 s"), (59.6, "1 min 0 s")],
        *[(60, "1 min 0 s"), (3599, "59 min 59 s"), (3599.6, "1 h 0 min"), (7384, "2 h 3 min")],
    ],
)
def test_a_length_of_time_is_written_so_that_it_can_be_compared(seconds, said):
    """Tenths where it is short."""
    assert told_seconds(seconds) == said
