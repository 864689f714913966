"""Names a cluster as the next command has to: by its connection, or by the request's file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from obscale.request.models import ClusterSpec

NO_NAME: Final = "SPEC"
"""Stands in a command for a file that nobody knows."""
_WORDS: Final[ContextVar[tuple[str, ...]]] = ContextVar("words of the request", default=())
_COMMAND: Final[ContextVar[str]] = ContextVar("command of the request", default="apply")


@contextmanager
def read_from(source: Sequence[str], command: str = "apply") -> Iterator[None]:
    """Carry out inside what these words of a command name, a file first; empty: none is known.

    Args:
        source: The words.
        command: That is run with them.
    """
    token, typed = _WORDS.set(tuple(source)), _COMMAND.set(command)
    try:
        yield
    finally:
        _WORDS.reset(token)
        _COMMAND.reset(typed)


def request_command() -> str:
    """Give the command that carries out the current run's request."""
    return _COMMAND.get()


def request_words() -> tuple[str, ...]:
    """Give the words that name the current run's request in a command; empty: none are known."""
    # A file's name may hold bytes of another encoding, and no report may hold half a character.
    return tuple(word.encode(errors="backslashreplace").decode() for word in _WORDS.get())


def request_file() -> str:
    """Give the file that the current run was read from; empty: none is known."""
    return next(iter(request_words()), "")


def command_name(cluster: str | ClusterSpec) -> str:
    """Give what stands for CLUSTER in a command."""
    return cluster if isinstance(cluster, str) else request_file() or NO_NAME
