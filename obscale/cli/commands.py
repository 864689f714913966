"""Every command a person, or a script, can type: one per file; here the list and the door."""

import os
import sys
from importlib import import_module
from typing import Annotated, Any, Final, NoReturn, cast

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from obscale import __version__
from obscale.cli.exits import Exit, end_early, end_stopped, end_with, leave, write
from obscale.cli.first_line import FIRST_LINE
from obscale.cli.loudness import LOUDNESS
from obscale.cli.output import sure_output
from obscale.cli.stopping import PROGRAM, Stopped
from obscale.cli.terminal import say, say_lines
from obscale.errors import ObscaleError, SpecError

TRACEBACK_VARIABLE: Final = "OBSCALE_TRACEBACK"
COMMANDS: Final = {
    "demo": "See a simulated cluster grow.",
    "sandbox": "Serve simulated clusters until Ctrl-C.",
    "suggest": "Print a request for a host.",
    "plan": "Say what would go wrong; write nothing.",
    "apply": "Add the nodes of a request.",
    "remove": "Take nodes or a zone out of a cluster.",
    "replace": "Replace a dead node by another one.",
    "verify": "Prove the nodes of a request; submit nothing.",
    "pin": "Set what a restart may take back.",
    "use": "Give a tenant more units, or fewer.",
    "watch": "Follow a scale-out, whoever started it.",
    "show": "Show a cluster, its DAG and its runs; change nothing.",
    "connect": "Prove a connection and store it.",
    "check-agent": "Compare an agent's obshell with the recorded one.",
    "rehearse": "Play a request on a simulated double.",
    "recover": "Retry or roll back a failed scale-out.",
    "schema": "Print the JSON Schema of request files.",
    "explain": "Say what a rule, cause or exit code means.",
    "evidence": "Export a run: who, what, why, when.",
}
"""Each command with what it does; its function and its file have its name."""


class Later(TyperCommand):
    """A command whose file is imported when it is typed: help and completion import no other."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Begin the command itself."""
        try:
            command = load(str(self.name))
        finally:
            FIRST_LINE.erase()
        return command.make_context(*args, **extra)


class Commands(TyperGroup):
    """All commands, in the order of the help."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, does in COMMANDS.items():
            self.add_command(Later(name, short_help=does, rich_markup_mode=None))


def load(name: str) -> TyperCommand:
    """Give a command itself, from its file."""
    function = name.replace("-", "_")
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(getattr(import_module(f"obscale.cli.{function}"), function))
    return cast("TyperCommand", typer.main.get_command(single))


app = typer.Typer(
    name="obscale",
    cls=Commands,
    help="Grow OceanBase clusters through obshell; try it on simulated ones first.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"obscale {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Take the options before the command."""
    if context.invoked_subcommand is None:
        say_lines(f"{context.get_help()}\n")
        raise typer.Exit(Exit.BAD_INPUT)


def main() -> NoReturn:
    """Run the command line; whatever happens ends as clear lines and an exit code.

    A traceback is only shown where the environment variable OBSCALE_TRACEBACK is set to 1.
    """
    as_json = "--json" in sys.argv[1:]
    PROGRAM.tell_by(write)
    LOUDNESS.reset()
    with sure_output(as_json=as_json):
        try:
            _main(as_json=as_json)
        except SystemExit as ended:
            leave(ended)


def _main(*, as_json: bool) -> NoReturn:
    try:
        _refuse_old_words(sys.argv[1:])
        code = app(standalone_mode=False)
    except ObscaleError as error:
        FIRST_LINE.erase()
        end_with(error, as_json=as_json)
    except Stopped as stop:
        end_stopped(stop, *PROGRAM.words(), as_json=as_json)
    except typer.Abort:
        end_early(
            "not-confirmed", "not confirmed; nothing was sent", "", Exit.REFUSED, as_json=as_json
        )
    except Exception as error:  # noqa: BLE001 - the one door: nothing may leave it as a traceback
        _end_unforeseen(error, as_json=as_json)
    if code == Exit.INTERRUPTED:
        end_early("interrupted", "interrupted", "", Exit.INTERRUPTED, as_json=as_json)
    raise SystemExit(code)


def _refuse_old_words(words: list[str]) -> None:
    """Answer what is another command with its name.

    Raises:
        SpecError: It is one.
    """
    if words[:1] == ["plan"] and "--suggest" in words:
        raise SpecError(
            "plan --suggest: is a command of its own now",
            "obscale suggest IP:PORT --cluster NAME; its other options are as they were",
        )
    if words[:1] == ["apply"] and any(word.partition("=")[0] == "--grow" for word in words):
        raise SpecError(
            "apply --grow: nothing is chosen while it is applied",
            "obscale plan --grow N --spares FILE --out-request FILE, then obscale apply FILE",
        )


def _end_unforeseen(error: Exception, *, as_json: bool) -> NoReturn:
    FIRST_LINE.erase()
    if callable(say := getattr(error, "format_message", None)):
        # A wrong option or argument. Typer has kept the class, but not its name, since 0.15.
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "obscale"
        said = " ".join(str(say()).split()).rstrip(".")
        end_early("usage", said, f"{command} --help", Exit.BAD_INPUT, as_json=as_json)
    if os.environ.get(TRACEBACK_VARIABLE) == "1":
        raise error
    # Its own words stay untold: nobody knows what they hold.
    stands = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    end_early(
        "unforeseen",
        f"ended by an unforeseen {type(error).__name__}{stands}",
        f"{TRACEBACK_VARIABLE}=1 shows the traceback",
        Exit.REFUSED,
        as_json=as_json,
    )
