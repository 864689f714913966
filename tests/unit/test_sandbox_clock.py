"""Tests of the clock that runs by itself: a change of pace, and seconds that pass at once."""

import time

import pytest

from obscale.sandbox import ScaledClock


@pytest.fixture
def real(monkeypatch):
    """Let real time pass by hand."""
    passed = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: passed[0])
    monkeypatch.setattr(time, "time", lambda: passed[0] + 5e8)

    def go_on(seconds):
        passed[0] += seconds

    return go_on


def test_a_change_of_pace_counts_from_now_on(real):
    """Two seconds at ten, then three at a tenth."""
    clock = ScaledClock(10)
    real(2)
    clock.change_speed(0.1)
    real(3)

    assert clock.now() == pytest.approx(20.3)
    assert [clock.wall_at(at) - 5e8 for at in (0, 10, 20, 20.3)] == pytest.approx(
        [1000, 1001, 1002, 1005]
    )


def test_what_is_skipped_passes_at_once(real):
    """The instants of the skipped seconds never lie behind those that follow."""
    clock = ScaledClock(1)
    real(1)
    clock.skip(30)
    real(2)

    assert clock.now() == pytest.approx(33)
    walls = [clock.wall_at(at) for at in (0, 1, 5, 30, 31, 33)]
    assert walls == sorted(walls)
    assert walls[-1] - walls[0] == pytest.approx(3)


@pytest.mark.parametrize("speed", [0, -1])
def test_time_neither_stands_nor_runs_backwards(speed):
    """A clock that never goes on would let a run wait for ever."""
    clock = ScaledClock()

    with pytest.raises(ValueError, match="must be positive"):
        clock.change_speed(speed)
    with pytest.raises(ValueError, match="must be positive"):
        ScaledClock(speed)
    with pytest.raises(ValueError, match="backwards"):
        clock.skip(-0.1)
