"""Rules about sizes and numbers: the observer reads them as they are meant.

Sources: OceanBase src/share/config/ob_config_helper.cpp and ob_server_config.cpp,
src/share/parameter/ob_parameter_seed.ipp, 4.3.5.
"""

import re
from collections.abc import Iterator
from typing import Final

from obscale.preflight.facts import Facts
from obscale.preflight.finding import Verdict, blocks, fires, not_applicable
from obscale.preflight.rule import BLOCK, INFO, WARN, rule
from obscale.preflight.rules.start_options import (
    CAPACITY_KEYS,
    PORT_KEYS,
    RANGES,
    or_pass,
    where_is,
)
from obscale.preflight.sizing import MIN_POOL_KEY, number_of, size_of
from obscale.reading import Unread
from obscale.sizes import GIB, SizeError, parse_capacity, quoted, render_bytes

PAIRS: Final = (
    ("memory_limit", "memory_limit_percentage"),
    ("datafile_size", "datafile_disk_percentage"),
    ("log_disk_size", "log_disk_percentage"),
)
_WHOLE = re.compile(r"0|[1-9][0-9]*", re.ASCII)
_SIGNED = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)


def _types(facts: Facts) -> dict[str, str]:
    """Data type of each parameter the cluster knows, by name."""
    if isinstance(facts.cluster.parameters, Unread):
        return {}
    return {row.name: row.data_type.upper() for row in facts.cluster.parameters}


@rule(
    "cfg-capacity-syntax",
    "sizes are digits and a unit",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 5, or SILENT for a leading 0",
    ground="A",
    only_new=False,
    is_static=True,
    source="src/share/config/ob_config_helper.cpp, 4.3.5",
)
def capacity_syntax(facts: Facts) -> list[Verdict]:
    """What the observer refuses at its start, or reads as another size."""
    types = _types(facts)
    keys = [k for k in facts.configs if k in CAPACITY_KEYS or types.get(k) == "CAPACITY"]
    sizes = [f"{key} {facts.configs[key]}" for key in keys]
    return or_pass(_bad_sizes(facts, keys), ", ".join(sizes) or "none given")


def _bad_sizes(facts: Facts, keys: list[str]) -> Iterator[Verdict]:
    for key in keys:
        try:
            parse_capacity(facts.configs[key])
        except SizeError as error:
            said, _, advice = str(error).partition(": ")
            yield blocks(said, "digits and a unit, e.g. 16G", advice, subject=where_is(key))


@rule(
    "cfg-int-range",
    "numbers are plain and in range",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 5",
    ground="A",
    only_new=False,
    is_static=True,
    source="src/share/parameter/ob_parameter_seed.ipp, 4.3.5",
)
def int_range(facts: Facts) -> list[Verdict]:
    """Numbers are read with automatic base: a leading zero means octal."""
    return or_pass(_bad_numbers(facts), "in range")


def _bad_numbers(facts: Facts) -> Iterator[Verdict]:
    types = _types(facts)
    for key, value in facts.configs.items():
        if key in RANGES:
            yield from _out_of_range(key, value, *RANGES[key])
        elif types.get(key) == "INT" and key not in PORT_KEYS and not _SIGNED.fullmatch(value):
            yield blocks(
                f"{quoted(value)} is not a plain whole number",
                "decimal digits, no leading zero",
                "write the digits only",
                subject=where_is(key),
            )


def _out_of_range(key: str, value: str, low: int, high: int) -> Iterator[Verdict]:
    wanted = f"{low} to {high}" if high < 1 << 62 else f"{low} or more"
    if not _WHOLE.fullmatch(value) or len(value) > len(str(high)):
        advice = "write the digits only"
        if key == MIN_POOL_KEY:
            size = size_of({key: value}, key)
            advice = f"it is a number of bytes without a unit: '{size or 2 * GIB}'"
        yield blocks(
            f"{quoted(value)} is not a plain whole number", wanted, advice, subject=where_is(key)
        )
    elif not low <= int(value) <= high:
        yield blocks(f"{value} is out of range", wanted, f"write {wanted}", subject=where_is(key))


@rule(
    "cfg-mutual-precedence",
    "a size and its percentage are not both given",
    prod=WARN,
    lab=INFO,
    otherwise="SILENT",
    only_new=False,
    is_static=True,
    source="src/share/config/ob_server_config.cpp, 4.3.5",
)
def mutual_precedence(facts: Facts) -> list[Verdict]:
    """A size above zero makes its percentage dead weight."""
    found = (
        fires(
            f"{size} {render_bytes(size_of(facts.configs, size) or 0)} is given too",
            "one of both",
            f"remove it: {size} takes precedence",
            subject=where_is(percentage),
        )
        for size, percentage in PAIRS
        if size_of(facts.configs, size) and number_of(facts.configs, percentage)
    )
    if not any(percentage in facts.configs for _, percentage in PAIRS):
        return [not_applicable("no percentage given")]
    return or_pass(found, "no size beside a percentage")


RULES: Final = (capacity_syntax, int_range, mutual_precedence)
