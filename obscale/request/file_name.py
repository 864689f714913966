"""Names a cluster as the next command has to: by its connection, or by the request's file."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from obscale.request.models import ClusterSpec

NO_NAME: Final = "SPEC"
"""Stands in a command for a file that nobody knows."""
_FILE: Final = ContextVar("file of the request", default="")


@contextmanager
def read_from(source: str) -> Iterator[None]:
    """Carry out inside what was read from this file; empty: none is known."""
    token = _FILE.set(source)
    try:
        yield
    finally:
        _FILE.reset(token)


def request_file() -> str:
    """Give the file that the current run was read from; empty: none is known."""
    # A file's name may hold bytes of another encoding, and no report may hold half a character.
    return _FILE.get().encode(errors="backslashreplace").decode()


def command_name(cluster: str | ClusterSpec) -> str:
    """Give what stands for CLUSTER in a command."""
    return cluster if isinstance(cluster, str) else request_file() or NO_NAME
