"""The words in which a batch speaks of its rows, by what becomes of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from obscale.request.asked import Kind, Order
from obscale.request.removal import Removal
from obscale.request.replacement import Replacement
from obscale.request.use import Use

EFFECTS: Final[Mapping[Kind, int]] = {"nodes": 1, "remove": -1, "replace": 0, "use": 0}
"""Servers that a row adds to its zone."""


@dataclass(frozen=True)
class KindWords:
    """How rows of one kind are spoken of.

    Args:
        row: One row, e.g. `1 of 2 removals verified`.
        rows: Several.
        request: What is asked of obshell for it.
        node: What the row is about.
        nodes: Several.
        does: What is done with it, as a command.
    """

    row: str
    rows: str
    request: str
    node: str
    nodes: str
    does: Literal["Add", "Remove", "Replace", "Set"]


WORDS: Final[Mapping[Kind, KindWords]] = {
    "nodes": KindWords("node", "nodes", "scale-out", "node", "nodes", "Add"),
    "remove": KindWords("removal", "removals", "removal", "node", "nodes", "Remove"),
    "replace": KindWords("replacement", "replacements", "replacement", "node", "nodes", "Replace"),
    "use": KindWords("tenant", "tenants", "change of units", "tenant", "tenants", "Set"),
}


def counted(kind: Kind, count: int) -> str:
    """Count rows, e.g. `3 removals`."""
    words = WORDS[kind]
    return f"{count} {words.row if count == 1 else words.rows}"


def what_of(order: Order) -> str:
    """Name a row by what becomes of it, e.g. `10.0.0.4:2886 → zone2`."""
    match order:
        case Removal():
            return f"{order.target} ← {order.zone}"
        case Replacement():
            return f"{order.target} by {order.joining} in {order.zone}"
        case Use():
            return f"{order.target} → {_units(order.unit_num)}"
        case _:
            return f"{order.target} → {order.zone}"


def plain_of(order: Order) -> str:
    """Name a row without an arrow, which the font of Prefect's run graph has not."""
    match order:
        case Removal():
            return f"{order.target} out of {order.zone}"
        case Replacement():
            return what_of(order)
        case Use():
            return f"{order.target} to {_units(order.unit_num)}"
        case _:
            return f"{order.target} to {order.zone}"


def already_of(order: Order) -> str:
    """Say what stands where nothing of a row is left to do."""
    match order:
        case Removal():
            return "already gone"
        case Replacement():
            return "already replaced"
        case Use():
            return f"units already {order.unit_num}"
        case _:
            return "was a member already"


def _units(count: int) -> str:
    return f"{count} unit{'s' if count > 1 else ''}"
