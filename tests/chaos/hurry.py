"""Shortens what the product waits by the clock on the wall and no request can set.

Worlds run at many times the real pace here; a minute of the product's own would be an hour of
theirs, and most of a night's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import obscale.removal.follow
import obscale.removal.proofs
import obscale.removal.prove
import obscale.removal.read
import obscale.removal.rules.majority

LOOKS_APART: Final = timedelta(seconds=1)
SHORTER: Final[tuple[tuple[Any, str, Any], ...]] = (
    (obscale.removal.read, "LOOKS_APART", LOOKS_APART),
    (obscale.removal.rules.majority, "LOOKS_APART", LOOKS_APART),
    (obscale.removal.follow, "DRAIN_LOOK_SECONDS", 0.3),
    (obscale.removal.proofs, "STOPPED_SECONDS", 1.0),
    (obscale.removal.prove, "HELD_SECONDS", 8.0),
)
"""Module, name and what it is here; whoever reads one of them reads it there."""


def hurry() -> None:
    """Shorten them in this process for good."""
    for module, name, value in SHORTER:
        assert hasattr(module, name), f"{module.__name__} has no {name} any more"
        setattr(module, name, value)


@contextmanager
def hurried() -> Iterator[None]:
    """Shorten them until the end of this block."""
    were = [(module, name, getattr(module, name)) for module, name, _ in SHORTER]
    hurry()
    try:
        yield
    finally:
        for module, name, value in were:
            setattr(module, name, value)
