"""With which exit code, and which words, does a command end?"""

import json
import sys
from enum import IntEnum
from typing import NoReturn

import typer

from obscale.errors import (
    AgentProtocolError,
    AgentRefusedError,
    AgentUnreachableError,
    DatabaseDownError,
    NotAuthorizedError,
    NotSupportedError,
    ObscaleError,
    SpecError,
)


class Exit(IntEnum):
    """Exit codes scripts rely on; docs: README, "Exit codes"."""

    DONE = 0
    """Ready, or verified."""
    REFUSED = 1
    """Blocked by preflight, or failed on the way."""
    BAD_INPUT = 2
    """The request is wrong; nothing was sent."""
    OUT_OF_REACH = 3
    """No agent could be asked."""


_OUT_OF_REACH = (
    AgentUnreachableError,
    AgentProtocolError,
    NotAuthorizedError,
    DatabaseDownError,
    NotSupportedError,
)


def exit_code_of(error: BaseException) -> Exit:
    """Give the exit code of an error."""
    if isinstance(error, SpecError):
        return Exit.BAD_INPUT
    if isinstance(error, _OUT_OF_REACH):
        return Exit.OUT_OF_REACH
    return Exit.REFUSED


def end_with(error: ObscaleError, *, as_json: bool = False) -> NoReturn:
    """Say an error in one line per problem and exit with its code."""
    code = exit_code_of(error)
    if as_json:
        typer.echo(json.dumps({"error": error_object(error)}, ensure_ascii=False))
    else:
        typer.echo(f"obscale: {error}", err=True)
        if isinstance(error, SpecError):
            for problem in error.problems[1:]:
                typer.echo(f"obscale: {problem}", err=True)
    sys.exit(code)


def error_object(error: ObscaleError) -> dict[str, object]:
    """Give an error as data: kind, message, hint, and the agent where there is one."""
    data: dict[str, object] = {
        "kind": error.kind,
        "message": str(error),
        "hint": error.hint,
        "exit_code": int(exit_code_of(error)),
    }
    if isinstance(error, SpecError):
        data["problems"] = list(error.problems)
    for name in ("agent", "step", "trace_id"):
        if value := getattr(error, name, ""):
            data[name] = value
    if isinstance(error, AgentRefusedError):
        data["code"] = error.code
    return data
