"""Reads size texts as bytes, and writes bytes as size texts.

Three spellings meet here: capacities of the observer's command line (OceanBase
src/share/config/ob_config_helper.cpp, 4.3.5), rounded rows of `df -h` and lines of /proc/meminfo
as obshell passes them on (ob/agent/executor/host/info.go, 4.5.0.0). All count in powers of 1024.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

MAX_BYTES: Final = 1 << 63
"""The observer keeps a capacity in a signed 64-bit number and does not notice an overflow."""
MAX_QUOTED_LENGTH: Final = 40
"""Characters of a bad value an error repeats."""

_SHIFTS: Final = {
    **dict.fromkeys(("B", "BYTE"), 0),
    **dict.fromkeys(("K", "KB"), 10),
    **dict.fromkeys(("M", "MB"), 20),
    **dict.fromkeys(("G", "GB"), 30),
    **dict.fromkeys(("T", "TB"), 40),
    **dict.fromkeys(("P", "PB"), 50),
}
_LETTERS: Final = (("P", 50), ("T", 40), ("G", 30), ("M", 20), ("K", 10))
_DF_SHIFTS: Final = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}

_CAPACITY = re.compile(r"(?P<digits>0|[1-9][0-9]*)(?P<unit>[A-Za-z]+)", re.ASCII)
_MEANT = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>[0-9]+)(?:\.(?P<part>[0-9]+))?(?P<unit>[A-Za-z]*)(?P<rest>%?)",
    re.ASCII,
)
_HEX = re.compile(r"0[xX][0-9A-Fa-f]*[A-Za-z]*", re.ASCII)
_DF = re.compile(r"(?P<number>[0-9]+(?P<point>\.[0-9]+)?)(?P<unit>[KMGTPE]?)", re.ASCII)
_MEMINFO = re.compile(r"\s*(?P<number>[0-9]+)\s*(?P<unit>kB)?\s*", re.ASCII)


class SizeError(ValueError):
    """A text the observer would refuse, or read as another size than its writer meant."""


@dataclass(frozen=True)
class Interval:
    """What a rounded size may truly be: more than `low`, at most `high`, in bytes.

    An exact size has `low == high`.
    """

    low: int
    high: int


def parse_capacity(text: str) -> int:
    """Read a capacity such as `16G` as the observer's command line reads it.

    Args:
        text: Digits without leading zero and a unit in any letter case: B, K, M, G, T, P, each
            also with a B behind, or BYTE. Powers of 1024.

    Returns:
        Bytes.

    Raises:
        SizeError: Anything else; the text says what is wrong and, where it can be guessed, how to
            write it. That includes what the observer reads in a surprising way (`010G` is 8 GiB
            to it).
    """
    match = _CAPACITY.fullmatch(text)
    shift = _SHIFTS.get(match["unit"].upper()) if match else None
    if match is None or shift is None:
        raise SizeError(f"{quoted(text)} is not a size: {_advice(text)}")
    # Python refuses texts of thousands of digits with another error; 19 are enough for 2**63.
    if len(match["digits"]) > len(str(MAX_BYTES)) or int(match["digits"]) << shift >= MAX_BYTES:
        raise SizeError(
            f"{quoted(text)} is not a size: it is beyond 8 EiB, a slip of the keyboard?"
        )
    return int(match["digits"]) << shift


def render_bytes(size_bytes: float) -> str:
    """Write a number of bytes for a reader: `16G`, `15.5G`, `512M`, `0`.

    One decimal where it is not whole; not meant to be parsed again.
    """
    if size_bytes < 0:
        return f"-{render_bytes(-size_bytes)}"
    # Sizes of machines are spoken of in G up to the tens of thousands.
    for letter, shift in (("G", 30), ("M", 20), ("K", 10)):
        if size_bytes >= 1 << shift:
            tenths = round(size_bytes * 10 / (1 << shift))
            whole, part = divmod(tenths, 10)
            return f"{whole}.{part}{letter}" if part else f"{whole}{letter}"
    return f"{size_bytes:.0f}B" if size_bytes else "0"


def render_capacity(size_bytes: int) -> str:
    """Write a number of bytes so that `parse_capacity` reads exactly it again, e.g. `1536G`."""
    for letter, shift in _LETTERS:
        if size_bytes and size_bytes % (1 << shift) == 0:
            return f"{size_bytes >> shift}{letter}"
    return f"{size_bytes}B" if size_bytes else "0M"


@lru_cache(maxsize=1024)
def parse_df(text: str) -> Interval | None:
    """Read a size of `df -h`, which rounds up to two or three digits.

    Args:
        text: E.g. `458G`, `3.3G`, `0`; no letter means bytes.

    Returns:
        The interval the true size lies in; None for anything that is no size, e.g. `-` or a column
        title of another language.
    """
    match = _DF.fullmatch(text)
    if match is None:
        return None
    number = Decimal(match["number"])
    if number == 0:
        return Interval(0, 0)
    unit = 1 << _DF_SHIFTS[match["unit"]]
    step = Decimal("0.1") if match["point"] else Decimal(1)
    return Interval(int((number - step) * unit), int(number * unit))


def parse_meminfo(text: str) -> int | None:
    """Read a value of /proc/meminfo, e.g. `65808488 kB`, whose kB are KiB.

    Returns:
        Bytes; None where it is no such value.
    """
    match = _MEMINFO.fullmatch(text)
    if match is None:
        return None
    return int(match["number"]) * (KIB if match["unit"] else 1)


def quoted(text: str) -> str:
    """Repeat a value in an error: in quotes, control characters escaped, shortened."""
    shown = text if len(text) <= MAX_QUOTED_LENGTH else f"{text[:MAX_QUOTED_LENGTH]}…"
    return repr(shown)


def _advice(text: str) -> str:
    if text == "":
        return "it is empty; write e.g. '16G', or leave the key out"
    squeezed = "".join(text.split())
    if _HEX.fullmatch(squeezed):
        return "it is hexadecimal; write it in decimal digits"
    match = _MEANT.fullmatch(squeezed)
    if match is None:
        return "write digits and a unit, e.g. '16G'"
    if match["rest"]:
        return "a percentage is another parameter, e.g. memory_limit_percentage"
    if match["sign"] == "-":
        return f"it is negative; {_meant(match) or 'write digits and a unit'}"
    return _meant(match) or "the unit must be B, K, M, G, T or P, e.g. '16G'"


def _meant(match: re.Match[str]) -> str:
    """Offer the exact rewriting; empty where none can be guessed."""
    whole = match["whole"].lstrip("0") or "0"
    unit = _short_unit(match["unit"])
    if len(whole) > len(str(MAX_BYTES)):
        return ""
    if not match["unit"] and match["part"] is None:
        return (
            "write zero as '0M'"
            if whole == "0"
            else f"the unit is missing; '{whole}M' or '{whole}G'?"
        )
    if unit is None:
        return ""
    if match["part"] is None:
        why = "a leading zero would be read as octal; " if whole != match["whole"] else ""
        return f"{why}write '{whole}{unit}'"
    exact = Decimal(f"{whole}.{match['part']}") * (1 << _SHIFTS[unit])
    if exact != int(exact):
        return f"decimals are not allowed; write whole numbers, e.g. '{whole}{unit}'"
    return f"decimals are not allowed; write '{render_capacity(int(exact))}'"


def _short_unit(unit: str) -> str | None:
    """What a pasted unit means: `GiB`, `Gi`, `GB` and `g` are all `G`."""
    upper = unit.upper()
    if upper in _SHIFTS:
        return upper[0]
    letter = upper[:1]
    return letter if upper[1:] in {"I", "IB"} and letter in {"K", "M", "G", "T", "P"} else None
