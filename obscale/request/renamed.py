"""The names that fields had in earlier versions, and the ones they have now.

Who writes an old name, in a request, a batch, a plan file or a flow's parameters, is told the new
one. What an earlier version has stored itself, a run's report say, is read with either.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic_core import PydanticCustomError

RENAMED: Final = {
    "asking": "request",
    "outlook": "forecast",
    "patience": "time_limits",
    "pins": "persist_statements",
    "rung": "level",
    "standing": "progress",
    "standpoint": "snapshot",
}
"""Old name to new name; no field has an old one any more."""
KIND: Final = "renamed"
"""Of the error a model gives; its context holds `old` and `new`."""


def told_renamed(names: Iterable[str]) -> str:
    """Say which of some names are old ones, e.g. `outlook is called forecast now`; empty: none."""
    return ", ".join(f"{name} is called {RENAMED[name]} now" for name in names if name in RENAMED)


def refuse_old_names(data: Any, fields: Iterable[str]) -> Any:
    """Give back what a model is to be made of, unless it names a field as it was called before.

    Args:
        data: As it was given to the model; what is no mapping is left to the model.
        fields: Of the model. A name that has become another model's field is simply unknown.

    Raises:
        PydanticCustomError: Of the kind `renamed`; it names the old field and the new one.
    """
    if isinstance(data, Mapping):
        known = frozenset(fields)
        for old, new in RENAMED.items():
            if old in data and old not in known and new in known:
                told = {"old": old, "new": new}
                raise PydanticCustomError(KIND, "{old} is called {new} now", told)
    return data


def with_new_names(data: Any, fields: Iterable[str]) -> Any:
    """Give a stored record with the names its fields have now; a new name stands above an old one.

    Args:
        data: As it was read; what is no mapping is given back.
        fields: Of the model.
    """
    if not isinstance(data, Mapping):
        return data
    known = frozenset(fields)
    old = {name for name in RENAMED.keys() & data.keys() if name not in known}
    if not old:
        return data
    return {RENAMED[name]: data[name] for name in old} | {
        name: value for name, value in data.items() if name not in old
    }
