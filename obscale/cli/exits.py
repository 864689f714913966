"""The exit code and the last words of every command."""

import os
import sys
from collections.abc import Mapping
from enum import IntEnum
from typing import Final, NoReturn

from obscale.cli.stopping import ENDINGS, PROGRAM, Stopped
from obscale.cli.terminal import complain, complain_of, say_json
from obscale.errors import (
    AgentProtocolError,
    AgentRefusedError,
    AgentUnreachableError,
    DatabaseDownError,
    HalfReplacedError,
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
    """Exit codes scripts rely on; docs/exit-codes.md is made of them."""

    DONE = 0
    """Ready, or verified."""
    REFUSED = 1
    """Blocked by preflight, or failed on the way."""
    BAD_INPUT = 2
    """The request is wrong; nothing was sent."""
    OUT_OF_REACH = 3
    """No agent could be asked, or Prefect is needed and does not answer; nothing was sent."""
    HALF_DONE = 4
    """Of a replacement: the new node is verified, the old one is still there."""
    INTERRUPTED = 130
    """Ended by Ctrl-C, for which shells expect this number, or cancelled in Prefect."""
    TERMINATED = 143
    """Ended by SIGTERM or SIGHUP; shells expect this number of the first."""


MEANINGS: Final = {
    Exit.DONE: "ready, verified, or whatever else was asked for is done",
    Exit.REFUSED: "blocked by preflight, failed on the way, or not confirmed; the last line says "
    "what to do",
    Exit.BAD_INPUT: "the request or the command line is wrong; nothing was sent",
    Exit.OUT_OF_REACH: "no agent could be asked, or Prefect is needed and does not answer; nothing "
    "was sent",
    Exit.HALF_DONE: "of a replacement: the new node is verified, the old one is still there; the "
    "last line says why, and how to go on or back",
    Exit.INTERRUPTED: "ended by Ctrl-C, or cancelled in Prefect; the last line says what goes on "
    "without it",
    Exit.TERMINATED: "ended by SIGTERM or SIGHUP; the last line says what goes on without it",
}
"""What `obscale explain` tells of each."""
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
    if isinstance(error, HalfReplacedError):
        return Exit.HALF_DONE
    if isinstance(error, OUT_OF_REACH):
        return Exit.OUT_OF_REACH
    return Exit.REFUSED


def end_with(error: ObscaleError, *, as_json: bool = False) -> NoReturn:
    """Say an error, a line for each problem and choice, and exit with its code."""
    if as_json:
        write(error_object(error), as_json)
    else:
        complain_of(error)
    sys.exit(exit_code_of(error))


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
        stop: Of a signal, or how a cancelling in Prefect has ended the run.
        stands: What stands now.
        hint: The next step, may be empty.
        as_json: As for `end_early`.
    """
    match stop:
        case Stopped():
            kind, code = ENDINGS[stop.number]
            words = kind
        case KeyboardInterrupt():
            kind, words, code = "interrupted", "interrupted", Exit.INTERRUPTED
        case _ if _is_cancelled_in_prefect(stop):
            kind, words, code = "cancelled", "cancelled in Prefect", Exit.INTERRUPTED
        case _:
            kind, words, code = "terminated", "terminated", Exit.TERMINATED
    if not PROGRAM.claim():
        sys.exit(code)  # the line is told
    end_early(kind, f"{words}; {stands}", hint, Exit(code), as_json=as_json)


def _is_cancelled_in_prefect(stop: BaseException) -> bool:
    # Whoever has imported nothing of Prefect was not cancelled there; the import takes a second.
    termination = sys.modules.get("obscale.tasks.runtime.sigterm")
    return termination is not None and isinstance(stop, termination.CancelledInPrefect)


def leave(ended: SystemExit) -> NoReturn:
    """End the program; at once where a signal ended it with nothing left to be recorded.

    So too where Prefect is away, for which its threads would wait at exit; what they have left of
    events gets some seconds.
    """
    run = sys.modules.get("obscale.tasks.runtime.own_process")
    PROGRAM.over()
    if PROGRAM.code is not None:
        ended = SystemExit(PROGRAM.code)
    is_away = run is not None and run.is_prefect_away()
    if PROGRAM.is_hasty or is_away:
        if run and is_away and PROGRAM.code is None:
            run.send_last_events()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code if isinstance(ended.code, int) else Exit.REFUSED)
    own_server = sys.modules.get("obscale.cli.own_server")
    if own_server and ended.code not in {code for _, code in ENDINGS.values()}:
        # Where a signal ended it, its last line stays the last.
        own_server.show_the_end()
    raise ended


def write(told: Mapping[str, object], as_json: bool) -> None:
    """Write the ending of a command: a line on standard error, or an object on standard output."""
    if as_json:
        say_json({"error": told}, indent=None)
    else:
        complain(str(told["message"]))


def _end(told: Mapping[str, object], *, as_json: bool) -> NoReturn:
    write(told, as_json)
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
