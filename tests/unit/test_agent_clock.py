"""Is the offset of an agent's clock computed right?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obscale.agent.clock import ClockReading, best_reading, compare_clocks

SECONDS = st.floats(0, 1e6, allow_nan=False)


def test_offset_is_server_minus_midpoint():
    """Sent at 100, received at 104, the agent says 162: it is 60 ahead, give or take 2."""
    assert compare_clocks(100.0, 104.0, 162.0) == ClockReading(60.0, 2.0)


@given(sent=SECONDS, there=SECONDS, back=SECONDS, true_offset=st.floats(-1e6, 1e6))
def test_true_offset_lies_within_the_error(sent, there, back, true_offset):
    """However the way is split between there and back, the error covers it."""
    agent = sent + there + true_offset

    reading = compare_clocks(sent, sent + there + back, agent)

    assert abs(reading.offset_seconds - true_offset) <= reading.error_seconds + 1e-6


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
    assert ClockReading(120.0, 0.005).is_good_enough
    assert not ClockReading(120.0, 0.0051).is_good_enough


@pytest.mark.parametrize("offset", [0.008, -0.008])
def test_a_clock_that_is_surely_near_needs_no_second_answer(offset):
    """Of two clocks within 20 ms of ours none is the 100 ms off that would be warned of."""
    assert ClockReading(offset, 0.012).is_good_enough
    assert not ClockReading(offset, 0.0121).is_good_enough
