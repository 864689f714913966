"""Tests of a batch's plan: order, rows that begin, and rows that do not."""

import tracemalloc
from datetime import UTC, datetime

import pytest
from rich.console import Console

from obscale.batch.ledger import ledger_of
from obscale.batch.plan import plan_of
from obscale.batch.schedule import RowState
from obscale.cli.batch_view import show_batch_plan
from obscale.errors import AgentUnreachableError, PreflightError
from obscale.preflight.facts import TargetProgress
from obscale.request.models import AgentInfoSpec, NodeSpec, ScaleOutSpec
from obscale.request.policies import BatchPolicies, Window
from obscale.spec.batch import BatchSpec, read_batch

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
EVEN = {"zone1": 1, "zone2": 1}


def nodes_of(count, net=1):
    """Give nodes of two zones, each zone's together."""
    return tuple(
        NodeSpec(
            agentInfo=AgentInfoSpec(ip=f"10.{net}.{n // 250}.{n % 250 + 1}", port=2886),
            zone="zone1" if n < count / 2 else "zone2",
        )
        for n in range(count)
    )


def looked_at(count=4, **policies):
    """Give the ledger of two clusters that preflight found nothing against."""
    spec = BatchSpec(
        clusters=tuple(
            ScaleOutSpec(cluster=name, nodes=nodes_of(count, net))
            for net, name in enumerate(("east", "west"), start=1)
        ),
        policies=BatchPolicies(**policies),
    )
    ledger = ledger_of(spec)
    ledger.sizes = {"east": dict(EVEN), "west": dict(EVEN)}
    return ledger


def shown(made, width):
    """Give what a terminal of that width shows."""
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        show_batch_plan(console, made)
    return capture.get()


def test_every_row_has_its_turn_and_zones_take_turns():
    """In each cluster, counted from 1; and the zones stand even after it."""
    made = plan_of(looked_at(), NOON)

    assert made.ready
    assert made.summary == "8 of 8 nodes ready"
    assert [row.turn for row in made.rows if row.cluster == "east"] == [1, 3, 2, 4]
    assert made.clusters[0].order == tuple(f"10.1.0.{last}:2886" for last in (1, 3, 2, 4))
    assert made.clusters[0].zones_after == {"zone1": 3, "zone2": 3}
    assert made.opens_at is None


def test_a_blocked_row_tells_who_is_not_begun_because_of_it():
    """With the defaults its cluster is not begun, so nothing of it is promised."""
    ledger = looked_at()
    ledger.entries[1].refuse(PreflightError("mem-fits-total: 80G", "lower memory_limit"))

    made = plan_of(ledger, NOON)

    assert not made.ready
    assert made.summary == "4 of 8 nodes ready, 1 blocked, 3 not begun because of that"
    assert [row.ready for row in made.rows] == [False] * 4 + [True] * 4
    assert "10.1.0.2:2886 was blocked" in made.rows[0].why
    assert (made.rows[1].why, made.rows[1].next) == ("mem-fits-total: 80G", "lower memory_limit")
    assert (made.clusters[0].blocked, made.clusters[0].not_begun) == (1, 3)
    assert made.clusters[0].zones_after == EVEN


def test_what_is_there_or_under_way_is_told_apart():
    """It is looked at and taken up, not added."""
    ledger = looked_at()
    ledger.entries[0].progress = TargetProgress.MEMBER
    ledger.entries[4].progress = TargetProgress.UNDER_WAY

    made = plan_of(ledger, NOON)

    assert made.summary == "8 of 8 nodes ready, 1 under way already, 1 member already"
    assert made.clusters[0].zones_after == {"zone1": 2, "zone2": 3}


def test_outside_the_window_the_plan_says_when_it_opens():
    """And nothing is less ready for that."""
    made = plan_of(looked_at(window=Window(start="02:00", end="06:00", time_zone="UTC")), NOON)

    assert made.ready
    assert made.opens_at == datetime(2026, 11, 29, 2, tzinfo=UTC)
    assert "nothing new may start before 2026-11-29 02:00 UTC" in shown(made, 80)


@pytest.mark.parametrize("width", [80, 140])
def test_a_narrow_terminal_cuts_the_order_and_no_name(width):
    """Two clusters never look alike, and no line is wider than the screen."""
    ledger = looked_at(count=30)
    for entry in ledger.entries:
        entry.cluster = f"{entry.cluster}-of-the-north-shop"
        entry.lane = entry.cluster.partition("-")[0]

    text = shown(plan_of(ledger, NOON), width)

    assert "east-of-the-north-shop" in text
    assert "west-of-the-north-shop" in text
    assert "zone1 1, zone2 1" in text
    assert max(map(len, text.splitlines())) <= width


def test_a_cluster_that_does_not_answer_is_told_once():
    """Its rows share their reason and a line; the first few of them are named."""
    ledger = looked_at(count=50)
    lost = AgentUnreachableError("no connection", agent="10.9.9.9:2886")
    for entry in ledger.entries[:50]:
        entry.refuse(lost, RowState.BLOCKED)

    text = shown(plan_of(ledger, NOON), 140)

    assert text.count("blocked: ") == 1
    assert "10.1.0.3:2886 → zone1 and 47 more of east" in text


@pytest.mark.parametrize("clusters", [50, 1])
def test_a_batch_takes_memory_by_its_rows_and_not_by_their_square(tmp_path, clusters):
    """Opened and put in order, ten times the rows take about ten times the memory.

    With a list of all nodes for each node it would be fifty times, and ten thousand nodes of one
    cluster would take a gigabyte.
    """

    def bytes_of(rows):
        table = tmp_path / f"{rows}.csv"
        lines = (
            f"c{n % clusters},10.{n // 62500}.{n // 250 % 250}.{n % 250 + 1},zone{n % 3},16G"
            for n in range(rows)
        )
        table.write_text("\n".join(["cluster,ip,zone,memory_limit", *lines]))
        spec = read_batch(table)
        tracemalloc.start()
        made = plan_of(ledger_of(spec), NOON)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(made.rows) == rows
        return peak

    assert bytes_of(3_000) < 20 * bytes_of(300)
