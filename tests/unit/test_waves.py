"""Tests of the order in which a batch starts rows."""

from collections import Counter
from datetime import UTC, datetime
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obscale.batch.schedule import (
    ENDED,
    FAILURES,
    Row,
    RowState,
    decide_wave,
    is_called_off,
    next_of,
    order_of,
)
from obscale.preflight.facts import TargetProgress
from obscale.request.policies import BatchPolicies, Window

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
"""A Saturday."""
NIGHT = Window(start="02:00", end="06:00", days=("sat",))
PLAIN = BatchPolicies()
ZONES = ("zone1", "zone2", "zone3")

row_lists = st.lists(
    st.tuples(
        st.sampled_from(("east", "west", "north")),
        st.sampled_from(ZONES),
        st.sampled_from(
            (*(TargetProgress.NEW,) * 4, TargetProgress.MEMBER, TargetProgress.UNDER_WAY)
        ),
        st.sampled_from((*(RowState.WAITING,) * 8, RowState.BLOCKED)),
        st.booleans(),
    ),
    min_size=1,
    max_size=10,
).map(
    lambda told: [
        Row(
            number,
            lane,
            zone,
            f"10.0.0.{number}:2886",
            state,
            progress,
            progress is TargetProgress.UNDER_WAY and failed,
        )
        for number, (lane, zone, progress, state, failed) in enumerate(told, start=1)
    ]
)
zone_sizes = st.dictionaries(st.sampled_from(ZONES), st.integers(0, 4))
size_maps = st.fixed_dictionaries(dict.fromkeys(("east", "west", "north"), zone_sizes))
policies = st.builds(
    BatchPolicies,
    max_clusters_at_once=st.integers(1, 4),
    canary=st.sampled_from(("none", "node", "cluster")),
    stop_cluster_after=st.integers(1, 3),
    stop_batch_after=st.none() | st.integers(1, 4),
    window=st.none() | st.just(NIGHT),
)


def rows_of(*zones: str, lane: str = "east", first: int = 1) -> list[Row]:
    return [
        Row(number, lane, zone, f"10.0.0.{number}:2886")
        for number, zone in enumerate(zones, start=first)
    ]


def now_in(rows, number, state):
    """Give the rows with one of them in another state."""
    return [Row(**(vars(r) | {"state": state})) if r.number == number else r for r in rows]


class Played:
    """A batch played to its end: what started when, and what stood then."""

    def __init__(self, rows, sizes, rules, choose, when=NOON) -> None:
        self.rows = rows
        self.starts: list[tuple[Row, list[Row], datetime]] = []
        self.skipped: dict[int, str] = {}
        self.moment = when
        for _ in range(8 * len(rows) + 8):
            wave = decide_wave(self.rows, sizes, rules, self.moment)
            self.skipped |= wave.skip
            for number in wave.skip:
                self.rows = now_in(self.rows, number, RowState.SKIPPED)
            before = self.rows
            for number in wave.start:
                self.starts.append((before[number - 1], before, self.moment))
                self.rows = now_in(self.rows, number, RowState.RUNNING)
            running = [row for row in self.rows if row.state is RowState.RUNNING]
            if running:
                ending, state = choose(running)
                self.rows = now_in(self.rows, ending.number, state)
            elif wave.wait_until is not None:
                assert wave.wait_until > self.moment
                self.moment = wave.wait_until
            elif not wave.skip:
                break

    @property
    def stuck(self) -> list[Row]:
        """Rows that wait or run for ever."""
        return [row for row in self.rows if row.state not in ENDED]


def drawn(data):
    """Choose what ends next, and how."""

    def choose(running):
        states = st.sampled_from((RowState.VERIFIED, RowState.VERIFIED, RowState.FAILED))
        return data.draw(st.sampled_from(running)), data.draw(states)

    return choose


@given(row_lists, size_maps, policies, st.data())
def test_every_batch_comes_to_an_end(rows, sizes, rules, data):
    """Whatever fails, no row is left waiting: each is tried, or skipped with a reason."""
    played = Played(rows, sizes, rules, drawn(data))

    assert played.stuck == []
    assert all(played.skipped.values())


@given(row_lists, size_maps, policies, st.data())
def test_never_two_rows_of_one_cluster_and_never_too_many_clusters(rows, sizes, rules, data):
    """Its lock lets one in at a time; the policy says how many clusters side by side."""

    def choose(running):
        lanes = [row.lane for row in running]
        assert len(lanes) == len(set(lanes)) <= rules.max_clusters_at_once
        return drawn(data)(running)

    assert Played(rows, sizes, rules, choose).stuck == []


@given(row_lists, size_maps, policies, st.data())
def test_nothing_new_starts_outside_the_window_or_after_a_stop(rows, sizes, rules, data):
    """The clock, the failures of a cluster and those of the batch each forbid a new row."""
    played = Played(rows, sizes, rules, drawn(data))

    for row, before, moment in played.starts:
        if row.progress is not TargetProgress.NEW:
            continue
        assert rules.window is None or rules.window.is_open(moment)
        failed = [other for other in before if other.state in FAILURES]
        assert len([f for f in failed if f.lane == row.lane]) < rules.stop_cluster_after
        assert rules.stop_batch_after is None or len(failed) < rules.stop_batch_after


@given(row_lists, size_maps, policies, st.data())
def test_what_an_earlier_run_left_is_judged_before_it_could_have_stopped_anything(
    rows, sizes, rules, data
):
    """No new row starts while FAILED DAGs and unproven members may still come to the limit."""
    played = Played(rows, sizes, rules, drawn(data))

    for row, before, _ in played.starts:
        if row.progress is not TargetProgress.NEW or rules.stop_batch_after is None:
            continue
        counted = [other for other in before if other.is_doubtful or other.state in FAILURES]
        assert len(counted) < rules.stop_batch_after


@given(row_lists, size_maps, policies, st.data())
def test_a_row_that_may_start_is_not_called_off_in_the_same_instant(rows, sizes, rules, data):
    """Else it would be put back and started again for ever."""
    played = Played(rows, sizes, rules, drawn(data))

    for row, before, moment in played.starts:
        if row.progress is TargetProgress.NEW:
            assert not is_called_off(now_in(before, row.number, RowState.RUNNING), rules, moment)


@given(row_lists, size_maps, policies, st.data())
def test_the_first_node_of_a_new_zone_goes_first_and_alone(rows, sizes, rules, data):
    """No second node of it before one is verified, and none of another zone before it began."""
    played = Played(rows, sizes, rules, drawn(data))

    for row, before, _ in played.starts:
        mine = [other for other in before if other.lane == row.lane]
        mates = [other for other in mine if other.zone == row.zone]
        if row.progress is TargetProgress.NEW and not sizes[row.lane].get(row.zone, 0):
            failed = [m for m in mates if m.state is RowState.FAILED]
            verified = [m for m in mates if m.state is RowState.VERIFIED]
            assert verified or not failed
        if row.progress is TargetProgress.NEW and sizes[row.lane].get(row.zone, 0):
            fresh = {
                other.zone
                for other in mine
                if other.state is RowState.WAITING
                and other.progress is TargetProgress.NEW
                and not sizes[row.lane].get(other.zone, 0)
            }
            begun = {other.zone for other in mine if other.state is RowState.VERIFIED}
            assert fresh <= begun


@given(
    st.lists(st.sampled_from(ZONES), min_size=1, max_size=6),
    st.fixed_dictionaries({zone: st.integers(0, 3) for zone in ZONES}),
)
def test_stopping_anywhere_leaves_the_zones_as_even_as_any_order_could(zones, sizes):
    """After each step the spread is the least that any order of the same rows has there."""
    mine = [row.zone for row in order_of(rows_of(*zones), sizes)]

    orders = [list(order) for order in set(permutations(zones))]
    for step in range(1, len(zones) + 1):
        least = min(spread(order[:step], sizes) for order in orders)
        assert spread(mine[:step], sizes) == least


def spread(zones, sizes):
    counts = Counter(sizes)
    counts.update(zones)
    return max(counts.values()) - min(counts.values())


@given(row_lists, zone_sizes)
def test_the_order_shown_is_the_order_carried_out(rows, sizes):
    """What is planned for one cluster is what happens when all goes well."""
    rows = [Row(**(vars(r) | {"lane": "east", "state": RowState.WAITING})) for r in rows]

    planned = [row.number for row in order_of(rows, sizes)]

    played = Played(rows, {"east": sizes}, PLAIN, lambda running: (running[0], RowState.VERIFIED))
    assert [row.number for row, _, _ in played.starts] == planned


def test_zones_take_turns():
    """Two, two and one of three even zones are not done zone by zone."""
    rows = rows_of("zone1", "zone1", "zone2", "zone2", "zone3")

    order = [row.zone for row in order_of(rows, {"zone1": 1, "zone2": 1, "zone3": 1})]

    assert order == ["zone1", "zone2", "zone3", "zone1", "zone2"]


def test_a_dag_under_way_goes_first_because_it_holds_the_lock():
    """Before members, which are only looked at, and before any new row."""
    new, member, under_way = rows_of("zone1", "zone1", "zone1")
    member = Row(**(vars(member) | {"progress": TargetProgress.MEMBER}))
    under_way = Row(**(vars(under_way) | {"progress": TargetProgress.UNDER_WAY}))

    assert [r.number for r in order_of([new, member, under_way], {})] == [3, 2, 1]
    assert next_of([new, member], {}) == member


def test_the_canary_node_of_every_cluster_is_verified_before_any_second_node():
    """Three clusters try one node each; the rest waits for the slowest of them."""
    rules = BatchPolicies(canary="node")
    rows = [
        *rows_of("zone1", "zone2"),
        *rows_of("zone1", "zone2", lane="west", first=3),
    ]

    first = decide_wave(rows, {}, rules, NOON)
    rows = now_in(now_in(rows, 1, RowState.VERIFIED), 3, RowState.RUNNING)
    second = decide_wave(rows, {}, rules, NOON)
    third = decide_wave(now_in(rows, 3, RowState.VERIFIED), {}, rules, NOON)

    assert first.start == (1, 3)
    assert second.start == ()
    assert third.start == (2, 4)


@pytest.mark.parametrize(
    ("rules", "healed"),
    [(BatchPolicies(stop_batch_after=1), (2, 3)), (BatchPolicies(canary="node"), (3,))],
)
def test_run_again_a_failed_dag_is_taken_up_before_another_cluster_begins(rules, healed):
    """Its failure had stopped everything; the run that is killed and run again must know it too."""
    failed, later = rows_of("zone1", "zone2")
    failed = Row(**(vars(failed) | {"progress": TargetProgress.UNDER_WAY, "stands_failed": True}))
    rows = [failed, later, *rows_of("zone1", lane="west", first=3)]

    first = decide_wave(rows, {}, rules, NOON)
    meanwhile = decide_wave(now_in(rows, 1, RowState.RUNNING), {}, rules, NOON)
    after = decide_wave(now_in(rows, 1, RowState.FAILED), {}, rules, NOON)

    assert (first.start, dict(first.skip)) == ((1,), {})
    assert (meanwhile.start, dict(meanwhile.skip)) == ((), {})
    assert after.start == ()
    assert set(after.skip) == {2, 3}
    # Carried through after all, as a policy may: then the others get their turn.
    assert decide_wave(now_in(rows, 1, RowState.VERIFIED), {}, rules, NOON).start == healed


def test_run_again_a_failed_dag_keeps_nobody_waiting_where_it_stops_its_own_cluster_only():
    """By the defaults other clusters grow beside it."""
    failed, later = rows_of("zone1", "zone2")
    failed = Row(**(vars(failed) | {"progress": TargetProgress.UNDER_WAY, "stands_failed": True}))

    wave = decide_wave([failed, later, *rows_of("zone1", lane="west", first=3)], {}, PLAIN, NOON)

    assert wave.start == (1, 3)


@pytest.mark.parametrize(
    ("rules", "west", "called_off"),
    [
        (PLAIN, RowState.FAILED, False),
        (BatchPolicies(stop_batch_after=1), RowState.FAILED, True),
        (BatchPolicies(stop_batch_after=2), RowState.FAILED, False),
        (BatchPolicies(canary="node"), RowState.FAILED, True),
        (BatchPolicies(canary="node"), RowState.VERIFIED, False),
        (BatchPolicies(window=NIGHT), RowState.WAITING, True),
    ],
)
def test_a_row_is_called_off_before_its_post_where_nothing_may_begin_any_more(
    rules, west, called_off
):
    """A failure elsewhere, or the end of the window, reaches a row that was already started."""
    mine = now_in(rows_of("zone1", "zone2"), 1, RowState.RUNNING)
    theirs = now_in([*mine, *rows_of("zone1", lane="west", first=3)], 3, west)

    assert is_called_off(theirs, rules, NOON) is called_off


@pytest.mark.parametrize("canary", ["node", "cluster"])
def test_a_failed_canary_stops_everything(canary):
    """And every row left says which canary it was."""
    rows = [*rows_of("zone1", "zone2"), *rows_of("zone1", lane="west", first=3)]

    wave = decide_wave(now_in(rows, 1, RowState.FAILED), {}, BatchPolicies(canary=canary), NOON)

    assert wave.start == ()
    assert wave.skip == dict.fromkeys((2, 3), "the canary 10.0.0.1:2886 failed")


def test_the_canary_cluster_is_whole_before_any_other_begins():
    """The first one of the request."""
    rules = BatchPolicies(canary="cluster")
    rows = [*rows_of("zone1", "zone2"), *rows_of("zone1", lane="west", first=3)]

    assert decide_wave(rows, {}, rules, NOON).start == (1,)
    rows = now_in(rows, 1, RowState.VERIFIED)
    assert decide_wave(rows, {}, rules, NOON).start == (2,)
    assert decide_wave(now_in(rows, 2, RowState.VERIFIED), {}, rules, NOON).start == (3,)


def test_a_cluster_stops_at_its_first_failure_and_the_others_go_on():
    """Each skipped row names the node that failed."""
    rows = [*rows_of("zone1", "zone2"), *rows_of("zone1", lane="west", first=3)]

    wave = decide_wave(now_in(rows, 1, RowState.FAILED), {}, PLAIN, NOON)

    assert wave.start == (3,)
    assert wave.skip == {2: "10.0.0.1:2886 failed, and the cluster stops after that"}


def test_outside_the_window_the_batch_waits_for_its_opening():
    """Saturday noon waits for the next Saturday, 02:00; what is under way is followed meanwhile."""
    rules = BatchPolicies(window=NIGHT)
    new, under_way = rows_of("zone1", "zone2")
    under_way = Row(**(vars(under_way) | {"lane": "west", "progress": TargetProgress.UNDER_WAY}))

    wave = decide_wave([new, under_way], {}, rules, NOON)

    assert wave.start == (2,)
    assert wave.wait_until == datetime(2026, 12, 5, 2, tzinfo=UTC)


def test_clusters_that_have_begun_are_finished_before_others_begin():
    """With one place, a half-grown cluster is not left for a larger one."""
    rules = BatchPolicies(max_clusters_at_once=1)
    rows = [
        *rows_of("zone1", "zone2"),
        *rows_of("zone1", "zone2", "zone3", lane="west", first=3),
    ]

    assert decide_wave(rows, {}, rules, NOON).start == (3,), "the one with the most to do"
    assert decide_wave(now_in(rows, 1, RowState.VERIFIED), {}, rules, NOON).start == (2,)
