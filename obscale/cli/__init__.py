"""What can a person, or a script, type? One command per file; here only the list of them."""

from typing import Annotated, NoReturn

import typer

from obscale import __version__
from obscale.cli import apply, demo, plan, recover, sandbox, watch
from obscale.cli.ending import end_with
from obscale.errors import ObscaleError

app = typer.Typer(
    name="obscale",
    help="Grow OceanBase clusters through obshell; try it on simulated ones first.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
app.command("demo")(demo.demo)
app.command("sandbox")(sandbox.sandbox)
app.command("plan")(plan.plan)
app.command("apply")(apply.apply)
app.command("watch", short_help="Follow a scale-out, whoever started it.")(watch.watch)
app.command("recover", short_help="Retry or roll back a failed scale-out.")(recover.recover)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"obscale {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Take the options before the command."""


def main() -> NoReturn:
    """Run the command line; every error of obscale's ends as one clear line and its exit code."""
    try:
        app()
    except ObscaleError as error:
        end_with(error)
    raise SystemExit(0)
