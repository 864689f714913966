"""The OceanBase parameters of a simulated server, with their defaults.

A realistic part of `GV$OB_PARAMETERS`: what capacity planning, start options and upgrades touch.
Source: OceanBase src/share/parameter/ob_parameter_seed.ipp, 4.3.5.
"""

import csv
from importlib.resources import files
from typing import Final, NamedTuple


class Parameter(NamedTuple):
    """One parameter; the field order is that of the table."""

    name: str
    default: str
    scope: str
    data_type: str
    edit_level: str
    section: str
    info: str


def _read() -> tuple[Parameter, ...]:
    text = files("obscale.sandbox").joinpath("parameters.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="|")
    return tuple(Parameter(**row) for row in rows)


PARAMETERS: Final = _read()
"""All of them, sorted by name."""
