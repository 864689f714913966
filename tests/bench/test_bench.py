"""Tests of the benchmark: each part runs and prints a table of the promised form.

No figure is judged here: what is fast enough is for the reader of the benchmark to say.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.figures import HEAD, Row, percentile, render, short

ROOT = Path(__file__).resolve().parents[2]
LONGEST_SECONDS = 420


def table_of(page):
    """The rows of the page's table, each a list of cells."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(
    ("parts", "letters"),
    [
        (["a", "b", "f"], {"a", "b", "d", "f"}),
        (["c"], {"c", "d"}),
        (["e"], {"e", "f"}),
        (["g"], {"g"}),
        (["h"], {"h"}),
        (["i"], {"i"}),
        (["j"], {"j"}),
        (["k"], {"k"}),
        (["l"], {"l"}),
    ],
    ids=[
        "without Prefect",
        "with Prefect",
        "batches",
        "hostile agents",
        "silent agents",
        "starting",
        "transports",
        "plans of many rows",
        "several workers",
    ],
)
def test_the_smallest_run_prints_the_whole_table(parts, letters, tmp_path):
    """Each part gives its rows; machine, versions and pace stand above; the file says the same."""
    page = tmp_path / "page.md"

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *parts, "--smallest", "--out", str(page)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    head, _, *rows = table_of(done.stdout)
    assert tuple(head) == HEAD
    assert {row[0] for row in rows} == letters
    assert all(len(row) == len(HEAD) for row in rows)
    assert all(row[1] and row[2] for row in rows), "every row has a measure and our figure"
    assert all(bool(row[6]) == bool(row[7]) for row in rows), "a bound is always judged"
    for named in ("cores", "Python", "obshell 0.0.9", "× real pace"):
        assert named in done.stdout
    assert page.read_text(encoding="utf-8") == done.stdout


def test_a_bound_that_is_missed_stands_out():
    """A ratio above its bound is said to miss it; one without a bound is not judged."""
    missed = Row(part="b", measure="delay", ours="1", ratio=0.3, at_most=0.25)
    kept = Row(part="a", measure="sealing", ours="1", ratio=16.0, at_least=15)
    free = Row(part="f", measure="agents", ours="1", ratio=2.0)

    cells = table_of(render([missed, kept, free]))[2:]

    assert [row[6:] for row in cells] == [["≤ 0.25", "**no**"], ["≥ 15", "yes"], ["", ""]]


def test_percentiles_are_values_that_were_measured():
    """The 50th of an even number is the lower middle one; the 95th of twenty is the nineteenth."""
    values = [float(number) for number in range(20, 0, -1)]

    assert percentile(values, 50) == 10
    assert percentile(values, 95) == 19
    assert percentile([7.0], 95) == 7


@pytest.mark.parametrize(
    ("value", "text"), [(42600.9, "42,601"), (152.3, "152"), (15.26, "15.3"), (0.0234, "0.023")]
)
def test_figures_have_three_digits_or_so(value, text):
    """Nobody reads more digits than were measured."""
    assert short(value) == text
