"""Tests of what the soak judges: what grows is named, and what is kept on purpose is not."""

from dataclasses import replace

import pytest

from benchmarks.soak import FEWEST_SAMPLES, MIB, Sample, judge

MINUTES = 60


def samples(**grows):
    """An hour of a process that stands still, but for what grows by so much each minute."""
    steady = Sample(
        at=0.0,
        runs=0,
        nodes=0,
        failed=0,
        memory=170 * MIB,
        files=15,
        tasks=1,
        threads=4,
        server_memory=200 * MIB,
        rows={"flow_run": 0, "variable": 2},
        database=9 * MIB,
    )
    return [
        replace(
            steady,
            at=60.0 * minute,
            runs=14 * minute,
            rows=steady.rows
            | {"flow_run": 14 * minute, "log": 300 * minute}
            | {name: by(minute) for name, by in grows.items() if name not in vars(steady)},
            **{
                name: getattr(steady, name) + by(minute)
                for name, by in grows.items()
                if name in vars(steady)
            },
        )
        for minute in range(MINUTES)
    ]


def grown(made):
    return {verdict.what for verdict in judge(made) if not verdict.holds}


def test_what_is_kept_on_purpose_may_grow_with_the_runs():
    """Runs and their log lines do; everything else stands still."""
    assert grown(samples()) == set()


@pytest.mark.parametrize(
    ("what", "by", "named"),
    [
        ("memory", lambda minute: minute * MIB // 2, "resident memory"),
        ("files", lambda minute: minute // 10, "open files"),
        ("tasks", lambda minute: minute // 10, "open tasks"),
        ("threads", lambda minute: minute // 10, "open threads"),
        ("variable", lambda minute: 2 + minute // 20, "rows of variable"),
        ("log", lambda minute: 10 * minute * minute, "rows of log"),
    ],
)
def test_each_growth_is_named(what, by, named):
    """Slow ones too; and rows that should be there, but of which each run leaves more."""
    assert grown(samples(**{what: by})) == {named}


def test_the_warm_up_and_the_steps_of_an_allocator_are_no_growth():
    """What is there after a fifth of the time, and a few MiB that come and go."""
    warming = samples(memory=lambda minute: 30 * MIB * min(minute, 11) // 11)
    stepping = samples(memory=lambda minute: 3 * MIB * (minute % 7 == 0))

    assert grown(warming) == set()
    assert grown(stepping) == set()
    assert len(warming) >= FEWEST_SAMPLES
