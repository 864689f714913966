"""Who asked for a run: a person at a command line, or whatever Prefect knows of its making.

Prefect keeps no user of a run that a program starts by itself. So the command line names
`user@host`, and a tag keeps it with the run.
"""

import getpass
import os
import shlex
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from prefect.client.schemas.objects import FlowRun

from obscale.request.file_name import read_from, request_command, request_words

TAG: Final = "asked-by:"
_PERSON: ContextVar[str | None] = ContextVar("obscale_person", default=None)
NOBODY: Final = "not told: started by hand or through the API"


def person_here() -> str:
    """Give `user@host` of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"  # a container without an entry for its user
    return f"{user}@{socket.gethostname()}"


@contextmanager
def asking(source: Sequence[str] = (), command: str = "apply") -> Iterator[None]:
    """Let the runs that are started inside this block be asked for by whoever runs this program.

    Args:
        source: The words that name the request in the next command, its file first; empty: none
            are known.
        command: That is run with them.
    """
    token = _PERSON.set(person_here())
    try:
        with read_from(source, command):
            yield
    finally:
        _PERSON.reset(token)


def command_again(run: FlowRun | None) -> str:
    """Give the command that runs the same request again; empty where there is none."""
    if source := request_words():
        return shlex.join(["obscale", request_command(), *source])
    return f"prefect flow-run retry {run.id}" if run and run.deployment_id else ""


Answering = Callable[[str, str], Awaitable[str]]
"""Asks a person who is at the terminal of this process: the question, and what is to be typed."""
_ANSWERING: ContextVar[Answering | None] = ContextVar("obscale_answering", default=None)


@contextmanager
def answering(ask: Answering | None) -> Iterator[None]:
    """Let a run inside this block ask at the terminal, instead of pausing; None: nobody is there.

    Args:
        ask: Asks; gives what was typed.
    """
    token = _ANSWERING.set(ask)
    try:
        yield
    finally:
        _ANSWERING.reset(token)


def person_at_terminal() -> Answering | None:
    """Give what asks the person at the terminal of this process; None where nobody is."""
    return _ANSWERING.get()


def own_tags() -> frozenset[str]:
    """Give the tag that keeps who asks for the current run; none where Prefect knows it itself."""
    person = _PERSON.get()
    return frozenset({f"{TAG}{person}"} if person else ())


def asked_by(run: FlowRun) -> str:
    """Say who or what made a run, as far as it is known."""
    tags = {*run.tags, *own_tags()}
    told = [tag.removeprefix(TAG) for tag in sorted(tags) if tag.startswith(TAG)]
    by = run.created_by
    if by:
        told.append(f"{by.type or 'unknown'} {by.display_value or ''}".strip())
    return ", ".join(told) or NOBODY
