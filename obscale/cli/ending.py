"""The exit code and the last words of every command."""

import json
import os
import sys
from collections.abc import Mapping
from enum import IntEnum
from typing import Final, NoReturn

import typer

from obscale.errors import (
    AgentProtocolError,
    AgentRefusedError,
    AgentUnreachableError,
    DatabaseDownError,
    NotAuthorizedError,
    NotSupportedError,
    ObscaleError,
    PlanChangedError,
    PrefectUnreachableError,
    RecordError,
    SpecError,
    UntrustedKeyError,
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
    """No agent could be asked, or Prefect is needed and does not answer; nothing was sent."""
    INTERRUPTED = 130
    """Ended by Ctrl-C, for which shells expect this number, or cancelled in Prefect."""
    TERMINATED = 143
    """Ended by SIGTERM; shells expect this number."""


OUT_OF_REACH: Final = (
    AgentUnreachableError,
    AgentProtocolError,
    NotAuthorizedError,
    DatabaseDownError,
    NotSupportedError,
    UntrustedKeyError,
    RecordError,
    PrefectUnreachableError,
)


def exit_code_of(error: BaseException) -> Exit:
    """Give the exit code of an error."""
    if isinstance(error, SpecError):
        return Exit.BAD_INPUT
    if isinstance(error, OUT_OF_REACH):
        return Exit.OUT_OF_REACH
    return Exit.REFUSED


def end_with(error: ObscaleError, *, as_json: bool = False) -> NoReturn:
    """Say an error in one line per problem and exit with its code."""
    if not as_json and isinstance(error, SpecError):
        for at, problem in enumerate(error.problems):
            typer.echo(f"obscale: {problem if at else error}", err=True)
        sys.exit(exit_code_of(error))
    _end(error_object(error), as_json=as_json)


def end_early(kind: str, message: str, hint: str, code: Exit, *, as_json: bool = False) -> NoReturn:
    """Say in one line why a command ends that no error of obscale's ended, and exit.

    Args:
        kind: Stable text for machines.
        message: What happened, without a full stop at the end.
        hint: The next step, may be empty.
        code: To exit with.
        as_json: One JSON object on standard output instead of the line on standard error.
    """
    said = f"{message}. Next: {hint}" if hint else message
    _end({"kind": kind, "message": said, "hint": hint, "exit_code": int(code)}, as_json=as_json)


def end_stopped(stop: BaseException, stands: str, hint: str, *, as_json: bool) -> NoReturn:
    """Say in one line that somebody ended the command, and what goes on without it, and exit.

    Args:
        stop: Ctrl-C, or how SIGTERM or a cancelling in Prefect has ended the run.
        stands: What stands now.
        hint: The next step, may be empty.
        as_json: As for `end_early`.
    """
    from tasks.termination import CancelledInPrefect  # noqa: PLC0415 - Prefect takes a second

    match stop:
        case KeyboardInterrupt():
            kind, words, code = "interrupted", "interrupted", Exit.INTERRUPTED
        case CancelledInPrefect():
            kind, words, code = "cancelled", "cancelled in Prefect", Exit.INTERRUPTED
        case _:
            kind, words, code = "terminated", "terminated", Exit.TERMINATED
    end_early(kind, f"{words}; {stands}", hint, code, as_json=as_json)


def leave(ended: SystemExit) -> NoReturn:
    """End the program; at once where Prefect is away, for which its threads would wait at exit."""
    run = sys.modules.get("tasks.own_process")
    if run and run.is_prefect_away():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code if isinstance(ended.code, int) else Exit.REFUSED)
    raise ended


def _end(told: Mapping[str, object], *, as_json: bool) -> NoReturn:
    if as_json:
        typer.echo(json.dumps({"error": told}, ensure_ascii=False))
    else:
        typer.echo(f"obscale: {told['message']}", err=True)
    sys.exit(told["exit_code"])  # type: ignore[arg-type]  # always an int, see the two callers


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
    if isinstance(error, PlanChangedError):
        data["changes"] = list(error.changes)
    for name in ("agent", "step", "trace_id"):
        if value := getattr(error, name, ""):
            data[name] = value
    if isinstance(error, AgentRefusedError):
        data["code"] = error.code
    return data
