"""Tests of the offset of an agent's clock."""

from datetime import UTC, datetime, timedelta, timezone

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from obscale.agent.clock import (
    MOST_READINGS,
    NEAR_SECONDS,
    SAMPLING_SECONDS,
    WARN_SECONDS,
    ClockReading,
    asks_again,
    best_reading,
    compare_clocks,
    farthest_apart,
    is_too_coarse,
)

SECONDS = st.floats(0, 1e6, allow_nan=False)


def moment(seconds: float) -> datetime:
    """Unix seconds as an aware time; to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC)


def test_offset_is_server_minus_midpoint():
    """Sent at 100, received at 104, the agent says 162: it is 60 ahead, give or take 2."""
    assert compare_clocks(100.0, 104.0, moment(162.0)) == ClockReading(60.0, 2.0)


def test_the_zone_is_read_with_the_time():
    """An agent eight hours east of Greenwich tells the same instant."""
    east = moment(162.0).astimezone(timezone(timedelta(hours=8)))

    assert compare_clocks(100.0, 104.0, east) == ClockReading(60.0, 2.0, 8 * 3600.0)


@given(sent=SECONDS, there=SECONDS, back=SECONDS, true_offset=st.floats(-1e6, 1e6))
def test_true_offset_lies_within_the_error(sent, there, back, true_offset):
    """However the way is split between there and back, the error covers it."""
    agent = sent + there + true_offset

    reading = compare_clocks(sent, sent + there + back, moment(agent))

    assert abs(reading.offset_seconds - true_offset) <= reading.error_seconds + 2e-6


def test_quickest_answer_counts():
    """Of several readings the one with the smallest error is taken."""
    readings = [ClockReading(5.0, 0.5), ClockReading(1.0, 0.1), ClockReading(9.0, 0.1)]

    assert best_reading(readings) == ClockReading(1.0, 0.1)


def test_no_reading_is_no_clock():
    """Without readings there is nothing to choose from."""
    with pytest.raises(ValueError):
        best_reading([])


def test_a_quick_answer_needs_no_second_one():
    """Two clocks read to 5 ms are compared to 10 ms, the least that is ever told."""
    assert not asks_again([ClockReading(120.0, 0.005)], 1, 0.0)
    assert asks_again([ClockReading(120.0, 0.0051)], 1, 0.0)


@pytest.mark.parametrize("offset", [0.008, -0.008])
def test_a_clock_that_is_surely_near_needs_no_second_answer(offset):
    """Answers of a process that looks at many clusters come some 50 ms late; 25 of them count."""
    assert not asks_again([ClockReading(offset, 0.025)], 1, 0.0)
    assert not asks_again([ClockReading(offset, 0.037)], 1, 0.0)
    assert asks_again([ClockReading(offset, 0.0371)], 1, 0.0)


def test_two_clocks_that_are_surely_near_are_not_as_far_apart_as_is_warned_of():
    """Nor are they compared less closely than that, so no rule would warn by surer readings."""
    ahead, behind = ClockReading(0.02, 0.025), ClockReading(-0.02, 0.025)

    assert ahead.is_near
    assert behind.is_near
    assert farthest_apart(ahead, behind) == pytest.approx(2 * NEAR_SECONDS)
    assert 2 * NEAR_SECONDS < WARN_SECONDS
    assert not is_too_coarse(ahead, [behind])


@pytest.mark.parametrize("offset", [0.13, -0.13])
def test_a_near_clock_is_read_surely_beside_one_that_may_be_too_far_off(offset):
    """Of 130 ms only 100 would be proved; what is sure, or far off itself, was asked enough."""
    near, off = ClockReading(0.0, 0.03), ClockReading(offset, 0.002)

    assert is_too_coarse(near, [ClockReading(0.01, 0.03), off])
    assert asks_again([near], 1, 0.0, surely=True)
    assert not is_too_coarse(ClockReading(0.0, 0.004), [off])
    assert not is_too_coarse(off, [near])
    assert not is_too_coarse(near, [ClockReading(0.0, 0.06)])
    assert not is_too_coarse(near, [])


def test_an_older_reading_is_less_sure():
    """A hundred seconds later two clocks may have drifted 10 ms further apart."""
    assert ClockReading(1.0, 0.002, 3600.0).after(100) == ClockReading(1.0, 0.012, 3600.0)


def test_two_readings_that_cannot_both_be_true_contradict_each_other():
    """Within their errors they may; beyond, somebody has set the clock in between."""
    assert ClockReading(1.0, 0.1).contradicts(ClockReading(1.3, 0.1))
    assert not ClockReading(1.0, 0.1).contradicts(ClockReading(1.15, 0.1))


@pytest.mark.parametrize("late", [0.0, 0.2, 0.5, 1.0, 2.0, 30.0])
@pytest.mark.parametrize("is_known", [False, True], ids=["stranger", "heard before"])
def test_a_clock_is_read_from_late_answers_too(late, is_known):
    """On virtual time: always a reading, its error half the way, two seconds beside one answer."""
    readings = [ClockReading(0.0, late / 2)] if is_known else []
    now = since = 0.0
    asked = 0
    while asks_again(readings, asked, now - since):
        now += late
        since = since if readings else now
        readings.append(compare_clocks(now - late, now, moment(now - late / 2)))
        asked += 1

    assert best_reading(readings).error_seconds == pytest.approx(late / 2)
    assert now <= SAMPLING_SECONDS + (0 if is_known else late)
    assert asked <= MOST_READINGS


def test_an_answer_that_was_slow_by_chance_is_asked_for_again():
    """While quicker ones are to be had, five questions sharpen the reading."""
    slow, quick = ClockReading(0.0, 0.4), ClockReading(0.0, 0.1)

    assert asks_again([slow], 1, 0.0)
    assert asks_again([slow, quick], 2, 0.2)
    assert not asks_again([slow, quick], MOST_READINGS, 0.8)
    assert not asks_again([slow, quick], 3, SAMPLING_SECONDS)


def test_answers_that_take_as_long_as_each_other_are_asked_for_no_more():
    """Of a far agent all take as long: that is the way, and a third one could be no surer."""
    first, alike, quick = (ClockReading(0.06, half) for half in (0.06, 0.07, 0.02))

    assert asks_again([first, alike], 1, 0.1)
    assert not asks_again([first, alike], 2, 0.2)
    assert asks_again([first, alike], 2, 0.2, surely=True)
    assert asks_again([first, ClockReading(0.06, 0.08)], 2, 0.2)
    assert asks_again([first, alike, quick], 3, 0.3)


async def test_a_reading_stands_where_the_next_answer_never_comes(make_agent):
    """What was read is not thrown away for an answer that would only have sharpened it."""
    times = iter([True, False])

    def script(_agent, seen):
        if seen.path.endswith("/time") and not next(times):
            raise httpx.ReadTimeout("late")

    agent = make_agent(clock=lambda: datetime.now(UTC) + timedelta(seconds=60), script=script)
    agent_clock = "obscale.agent.clock.GOOD_ENOUGH_SECONDS"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agent_clock, -1.0)
        async with agent.client() as client:
            reading = await client.read_clock()

    assert reading.offset_seconds == pytest.approx(60, abs=5)
    assert next(times, "all asked") == "all asked"
