"""Tests of size texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obscale.sizes import (
    Interval,
    SizeError,
    parse_capacity,
    parse_df,
    parse_meminfo,
    render_bytes,
    render_capacity,
)

GIB = 1 << 30
UNITS = {"B": 0, "BYTE": 0, "K": 10, "KB": 10, "M": 20, "MB": 20, "G": 30, "GB": 30,
         "T": 40, "TB": 40, "P": 50, "PB": 50}  # fmt: skip


@given(st.integers(0, 4095), st.sampled_from(sorted(UNITS)), st.booleans())
def test_digits_and_a_unit_are_powers_of_1024_in_any_letter_case(number, unit, lower):
    """Every unit the observer knows, and no other base."""
    written = f"{number}{unit.lower() if lower else unit}"

    assert parse_capacity(written) == number << UNITS[unit]


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("16", "'16M' or '16G'?"),
        ("0", "write zero as '0M'"),
        ("16GiB", "write '16G'"),
        ("16Gi", "write '16G'"),
        ("16 G", "write '16G'"),
        (" 16G", "write '16G'"),
        ("+16G", "write '16G'"),
        ("-1G", "negative"),
        ("1.5T", "write '1536G'"),
        ("1.5GiB", "write '1536M'"),
        ("0.5G", "write '512M'"),
        ("1.3G", "decimals"),
        ("010G", "write '10G'"),
        ("0x10G", "hexadecimal"),
        ("80%", "memory_limit_percentage"),
        ("16X", "the unit must be"),
        ("16E", "the unit must be"),
        ("16GX", "the unit must be"),
        ("G", "write digits and a unit"),
        ("", "it is empty"),
        ("16G\n", "write '16G'"),
        ("１６G", "write digits and a unit"),
        ("1_0G", "write digits and a unit"),
        ("8192P", "beyond 8 EiB"),
        ("9" * 5000 + "G", "beyond 8 EiB"),
        ("9" * 5000, "unit must be"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_the_exact_rewriting(text, advice):
    """One line: what is wrong, and how to write what was meant."""
    with pytest.raises(SizeError) as caught:
        parse_capacity(text)

    assert advice in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@given(st.text(max_size=20))
def test_no_text_breaks_the_parser(text):
    """A size, or a SizeError."""
    try:
        size = parse_capacity(text)
    except SizeError:
        return

    assert 0 <= size < 1 << 63


@given(st.integers(0, (1 << 63) - 1))
def test_a_rendered_capacity_reads_back_exactly(size):
    """What is proposed to be written means what was meant."""
    assert parse_capacity(render_capacity(size)) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (3, "3B"),
        (512 << 20, "512M"),
        (16 * GIB, "16G"),
        (int(15.5 * GIB), "15.5G"),
        (65808488 * 1024, "62.8G"),
        (1536 * GIB, "1536G"),
        (-2 * GIB, "-2G"),
    ],
)
def test_sizes_are_written_as_operators_speak(size, text):
    """At most one decimal, gigabytes up to any size."""
    assert render_bytes(size) == text


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("458G", 457 * GIB, 458 * GIB),
        ("1.8T", 1.7 * (1 << 40), 1.8 * (1 << 40)),
        ("10M", 9 << 20, 10 << 20),
        ("0", 0, 0),
        ("512", 511, 512),
    ],
)
def test_a_row_of_df_is_an_interval_because_it_was_rounded_up(text, low, high):
    """The true size is above the last step and at most what is printed."""
    found = parse_df(text)

    assert found == Interval(int(low), int(high))


@given(st.integers(1, 1 << 60))
def test_the_true_size_lies_inside_what_df_prints(size):
    """Rounded up, to one decimal below ten and to whole units above."""
    shift = max((size.bit_length() - 1) // 10 * 10, 0)
    letter = ["", "K", "M", "G", "T", "P", "E"][shift // 10]
    unit = 1 << shift
    tenths, whole = -(-size * 10 // unit), -(-size // unit)
    printed = f"{tenths // 10}.{tenths % 10}" if letter and tenths < 100 else str(whole)

    interval = parse_df(printed + letter)

    assert interval is not None
    assert interval.low <= size <= interval.high


@pytest.mark.parametrize("text", ["-", "", "Size", "4,5G", "12 G", "1.2X", "Größe"])
def test_what_is_no_size_of_df_is_skipped(text):
    """Column titles of other languages and error lines are no disks."""
    assert parse_df(text) is None


def test_meminfo_counts_in_kib():
    """Its kB means KiB; anything else is no value."""
    assert parse_meminfo("65808488 kB") == 65808488 * 1024
    assert parse_meminfo("17") == 17
    assert parse_meminfo("") is None
    assert parse_meminfo("12 MB") is None
