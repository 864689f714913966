"""Every command a person, or a script, can type: one per file; here the list and the door."""

import os
import sys
from typing import Annotated, Final, NoReturn

import typer

from obscale import __version__
from obscale.cli import (
    apply,
    check_agent,
    connect,
    demo,
    evidence,
    plan,
    recover,
    rehearse,
    sandbox,
    verify,
    watch,
)
from obscale.cli.exits import Exit, end_early, end_stopped, end_with, leave, write
from obscale.cli.output import sure_output
from obscale.cli.stopping import PROGRAM, Stopped
from obscale.cli.terminal import say, say_lines
from obscale.errors import ObscaleError

TRACEBACK_VARIABLE: Final = "OBSCALE_TRACEBACK"

app = typer.Typer(
    name="obscale",
    help="Grow OceanBase clusters through obshell; try it on simulated ones first.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
app.command("demo", short_help="See a simulated cluster grow.")(demo.demo)
app.command("sandbox", short_help="Serve simulated clusters until Ctrl-C.")(sandbox.sandbox)
app.command("plan", short_help="Say what would go wrong; write nothing.")(plan.plan)
app.command("apply", short_help="Add the nodes of a request.")(apply.apply)
app.command("verify", short_help="Prove the nodes of a request; submit nothing.")(verify.verify)
app.command("watch", short_help="Follow a scale-out, whoever started it.")(watch.watch)
app.command("connect", short_help="Prove a connection and store it.")(connect.connect)
app.command("check-agent", short_help="Compare an agent's obshell with the recorded one.")(
    check_agent.check_agent
)
app.command("rehearse", short_help="Play a request on a simulated double.")(rehearse.rehearse)
app.command("recover", short_help="Retry or roll back a failed scale-out.")(recover.recover)
app.command("evidence", short_help="Export a run: who, what, why, when.")(evidence.evidence)


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
    with sure_output(as_json=as_json):
        try:
            _main(as_json=as_json)
        except SystemExit as ended:
            leave(ended)


def _main(*, as_json: bool) -> NoReturn:
    try:
        code = app(standalone_mode=False)
    except ObscaleError as error:
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


def _end_unforeseen(error: Exception, *, as_json: bool) -> NoReturn:
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
