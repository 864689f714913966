"""Tests of what is drawn of a batch."""

from datetime import timedelta

import pytest

from obscale.batch.pictures import pictures_of
from obscale.batch.report import BatchReport, render_batch, report_of
from obscale.batch.schedule import RowState
from obscale.request.policies import Window
from tests.hostile_text import HOSTILE, MARK, faults_of_page
from tests.unit.test_batch_plan import NOON, looked_at
from tests.unit.test_pictures_of_runs import words_of


def ended(ledger, *runs):
    """Let rows, by number, run from a minute to another, and end in a state."""
    ledger.begun, ledger.ended = NOON, NOON + timedelta(minutes=40)
    for number, begin, end, state in runs:
        entry = ledger.entries[number - 1]
        entry.state, entry.started = state, NOON + timedelta(minutes=begin)
        entry.ended = NOON + timedelta(minutes=end)
    return ledger


def of_two_clusters(**policies):
    """East is verified; west fails after its canary, and stops."""
    ledger = ended(
        looked_at(2, **policies),
        (1, 0, 5, RowState.VERIFIED),
        (3, 0, 6, RowState.VERIFIED),
        (2, 6, 10, RowState.VERIFIED),
        (4, 6, 8, RowState.FAILED),
    )
    ledger.entries[3].note = "DAG 11 failed"
    return ledger


def test_a_batch_is_drawn_by_its_clusters():
    """Each with its counts, and when it was."""
    (words,) = words_of(pictures_of(report_of(of_two_clusters())))

    assert words == (
        "2 clusters, 12:00 to 12:40 UTC, 40 min 0 s. east: 2 verified. west: 1 failed, 1 verified."
    )


def test_canary_stop_and_window_are_drawn():
    """As the policies have it, and as it came."""
    ledger = of_two_clusters(canary="node", window=Window(start="11:00", end="12:07"))
    ledger.entries[3].state, ledger.entries[3].started = RowState.SKIPPED, None

    (words,) = words_of(pictures_of(report_of(ledger)))

    assert "window 11:00-12:07 UTC, open 12:00 to 12:07" in words
    assert "east: 2 verified, with a canary" in words
    assert "west: 1 verified, 1 not started, with a canary, stopped" in words


@pytest.mark.parametrize(
    ("canary", "first", "expected"),
    [
        ("none", RowState.VERIFIED, []),
        ("node", RowState.VERIFIED, [1, 3]),
        ("node", RowState.FAILED, [1, 2, 3]),
        ("cluster", RowState.VERIFIED, [1, 2]),
    ],
)
def test_a_row_is_a_canary_where_others_waited_for_it(canary, first, expected):
    """In each cluster until one is verified, or all of the first cluster."""
    ledger = of_two_clusters(canary=canary)
    ledger.entries[0].state = first

    rows = report_of(ledger).rows

    assert [row.number for row in rows if row.is_canary] == expected


def test_a_batch_that_began_nothing_is_no_picture():
    """All blocked."""
    ledger = looked_at(2)
    for entry in ledger.entries:
        entry.state = RowState.BLOCKED

    assert pictures_of(report_of(ledger)) == []


def test_a_batch_that_goes_on_is_drawn_up_to_what_is_known():
    """A report made meanwhile, and one stored before it knew of canaries."""
    ledger = of_two_clusters()
    ledger.ended, ledger.entries[3].ended = None, None
    ledger.entries[3].state = RowState.RUNNING
    stored = report_of(ledger).model_dump(exclude={"canary", "window"})
    for row in stored["rows"]:
        del row["is_canary"]

    (words,) = words_of(pictures_of(BatchReport.model_validate(stored)))

    assert "12:00 to 12:10 UTC" in words
    assert "west: 1 verified, 1 running" in words


def test_a_hostile_cluster_means_nothing_on_the_page_of_a_batch():
    """Neither in the picture nor around it."""
    ledger = of_two_clusters()
    for entry in ledger.entries:
        entry.cluster = HOSTILE
    report = report_of(ledger)

    page = render_batch(report, pictures=pictures_of(report))

    assert MARK in page
    assert faults_of_page(page) == []
