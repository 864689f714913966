"""Tests of maintenance windows against the wall clock."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from obscale.request.policies import WEEK, BatchPolicies, Window, told_policies

BERLIN = "Europe/Berlin"
hours = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
windows = (
    st.builds(
        dict,
        start=hours,
        end=hours,
        days=st.sets(st.sampled_from(WEEK), min_size=1).map(tuple),
        time_zone=st.sampled_from(("UTC", BERLIN, "America/New_York", "Asia/Kolkata")),
    )
    .filter(lambda told: told["start"] != told["end"])
    .map(lambda told: Window(**told))
)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
moments = st.integers(0, 366 * 24 * 60).map(lambda count: NEW_YEAR + timedelta(minutes=count))


def berlin(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(BERLIN), fold=fold)


@given(windows, moments)
def test_it_opens_at_the_first_open_minute_and_not_before(window, now):
    """No minute between now and the announced opening is open; that one is."""
    opens = window.opens(now)

    assert window.is_open(opens)
    assert opens >= now
    step = timedelta(minutes=1)
    for back in range(1, 240):
        earlier = opens - back * step
        assert earlier <= now or not window.is_open(earlier) or window.is_open(now)


@given(windows, moments, st.integers(1, 3 * 24 * 60))
def test_its_spans_are_the_minutes_in_which_it_is_open(window, begin, minutes):
    """All of them, and no other; one after the other."""
    end = begin + timedelta(minutes=minutes)
    spans = list(window.spans(begin, end))

    assert all(begin <= one < other <= end for one, other in spans)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    for count in range(0, minutes, 7):
        now = begin + timedelta(minutes=count)
        assert window.is_open(now) is any(one <= now < other for one, other in spans)


@pytest.mark.parametrize(
    ("now", "is_open"),
    [
        ("2026-11-27T23:00", True),  # Friday night
        ("2026-11-28T03:59", True),  # the same night, Saturday by date
        ("2026-11-28T04:00", False),
        ("2026-11-28T23:00", False),
        ("2026-11-27T21:59", False),
    ],
)
def test_a_night_belongs_to_the_day_it_begins_on(now, is_open):
    """22:00 to 04:00 on Fridays ends on Saturday morning."""
    window = Window(start="22:00", end="04:00", days=("fri",), time_zone=BERLIN)

    assert window.is_open(berlin(now)) is is_open


def test_an_hour_the_clocks_jump_over_is_not_there():
    """On the last Sunday of March there is no 02:30 in Berlin; the next day has one again."""
    window = Window(start="02:00", end="03:00", time_zone=BERLIN)

    opens = window.opens(berlin("2026-03-29T00:00"))

    assert opens == berlin("2026-03-30T02:00")


def test_a_window_that_begins_in_that_hour_opens_when_it_is_over():
    """From 02:30 the clock shows 03:00 next."""
    window = Window(start="02:30", end="04:00", time_zone=BERLIN)

    assert window.opens(berlin("2026-03-29T00:00")) == berlin("2026-03-29T03:00")


def test_an_hour_that_comes_twice_is_open_twice():
    """In October a person reads 02:30 twice, and both times the window is open."""
    window = Window(start="02:30", end="02:45", time_zone=BERLIN)

    assert window.is_open(berlin("2026-10-25T02:30"))
    assert window.is_open(berlin("2026-10-25T02:30", fold=1))
    between = berlin("2026-10-25T02:50")
    assert window.opens(between) - between.astimezone(UTC) == timedelta(minutes=40)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"start": "2:00", "end": "06:00"}, "must be an hour in quotes, e.g. '02:00'"),
        ({"start": 120, "end": "06:00"}, "must be an hour in quotes"),
        ({"start": "02:00", "end": "24:00"}, "must be an hour in quotes"),
        ({"start": "02:00", "end": "02:00"}, "start and end are the same"),
        ({"start": "02:00", "end": "06:00", "time_zone": "Berlin"}, "no time zone is named"),
        ({"start": "02:00", "end": "06:00", "time_zone": "Europe"}, "no time zone is named"),
        ({"start": "02:00", "end": "06:00", "time_zone": "../etc/passwd"}, "no time zone is named"),
        ({"start": "02:00", "end": "06:00", "days": []}, "at least 1 item"),
        ({"start": "02:00", "end": "06:00", "days": ["someday"]}, "'mon'"),
    ],
)
def test_a_wrong_window_says_what_is_wrong(wrong, said):
    """Nobody finds out on Saturday night."""
    with pytest.raises(ValidationError, match=said):
        Window(**wrong)


def test_days_may_be_written_out():
    """`Saturday` and one day without a list are understood."""
    window = Window(start="02:00", end="06:00", days="Saturday")

    assert window.days == ("sat",)
    assert told_policies(BatchPolicies(window=window))[-1] == "window 02:00-06:00 UTC on sat"
