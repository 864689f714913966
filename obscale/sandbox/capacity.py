"""Reads sizes as an observer does, and prints them as `df` and obshell do.

Sources: OceanBase src/share/config/ob_config_helper.cpp, 4.3.5; GNU coreutils df; obshell
ob/agent/repository/model/bo/obcluster.go, 4.5.0.0.
"""

import re
from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
UNIT_SHIFTS: Final = {
    **dict.fromkeys(("B", "BYTE"), 0),
    **dict.fromkeys(("K", "KB"), 10),
    **dict.fromkeys(("M", "MB"), 20),
    **dict.fromkeys(("G", "GB"), 30),
    **dict.fromkeys(("T", "TB"), 40),
    **dict.fromkeys(("P", "PB"), 50),
}
CAPACITY: Final = re.compile(r"(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*|[1-9][0-9]*))([a-zA-Z]+)")
"""Hexadecimal, octal or decimal digits and a unit: the bases strtoll detects."""
DF_LETTERS: Final = "KMGTPE"
DF_ONE_DECIMAL_BELOW: Final = 10
HUMAN_UNITS: Final = ("bytes", "KB", "MB", "GB", "TB", "EB")
"""obshell's own labels, the wrong one for petabytes included."""


def read_capacity(text: str) -> int:
    """Bytes of a capacity as the observer's command line accepts it: digits and a unit.

    Units are powers of 1024 in any letter case; a leading `0` means octal and `0x` hexadecimal,
    as in the observer.

    Raises:
        ValueError: The observer would refuse it (no unit, decimals, `GiB`, sign, blank).
    """
    match = CAPACITY.fullmatch(text)
    shift = UNIT_SHIFTS.get(match.group(3).upper()) if match else None
    if match is None or shift is None:
        raise ValueError(f"'{text}' is not a capacity")
    hexadecimal, decimal, _ = match.groups()
    if hexadecimal:
        return int(hexadecimal, 16) << shift
    base = 8 if decimal.startswith("0") else 10
    return int(decimal, base) << shift


def read_integer(text: str) -> int:
    """An INT parameter as the observer reads it: base by prefix, a leading zero means octal.

    Raises:
        ValueError: Not an integer.
    """
    digits = text.removeprefix("-")
    return int(text, 8) if digits.startswith("0") and digits.isdigit() else int(text, 0)


def print_capacity(size_bytes: int) -> str:
    """The shortest exact capacity text, e.g. `16G`, `1536M`, `7B`."""
    for letter, shift in (("T", 40), ("G", 30), ("M", 20), ("K", 10)):
        if size_bytes and size_bytes % (1 << shift) == 0:
            return f"{size_bytes >> shift}{letter}"
    return "0M" if size_bytes == 0 else f"{size_bytes}B"


def df_size(size_bytes: int) -> str:
    """A size as `df -h` prints it: rounded up to two or three digits, powers of 1024."""
    if size_bytes < KIB:
        return str(size_bytes)
    for power, letter in enumerate(DF_LETTERS, start=1):
        unit = KIB**power
        tenths = -(-size_bytes * 10 // unit)
        if tenths < DF_ONE_DECIMAL_BELOW * 10:
            return f"{tenths // 10}.{tenths % 10}{letter}"
        whole = -(-size_bytes // unit)
        if whole < KIB:
            return f"{whole}{letter}"
    raise ValueError(f"{size_bytes} bytes is more than df can print")


def human_size(size_bytes: int) -> str:
    """A size as obshell prints it for people, e.g. `60.00 GB`, `512 bytes`."""
    if size_bytes < KIB:
        return f"{size_bytes} bytes"
    power = min((size_bytes.bit_length() - 1) // 10, len(HUMAN_UNITS) - 1)
    return f"{size_bytes / KIB**power:.2f} {HUMAN_UNITS[power]}"
