"""Lines, tables and JSON for whoever typed a command: nothing in them is obeyed by a terminal.

Every other module of the command line writes through this one; a test finds the one that does not.
"""

import os
from collections.abc import Mapping

import typer
from rich.console import Console
from rich.text import Text

from obscale.cli.loudness import LOUDNESS
from obscale.errors import ObscaleError, SpecError
from obscale.language import for_reader
from obscale.text import Markdown, for_lines, for_terminal, json_document


def say(line: str, *, err: bool = False) -> None:
    """Write one line, in the reader's language.

    Args:
        line: May hold what others said.
        err: Whether to standard error.
    """
    typer.echo(readable(line), err=err)


def readable(text: str) -> str:
    """Give a text as one harmless line in the reader's language."""
    return for_terminal(for_reader(text))


def label(text: str) -> str:
    """Give a text nobody else has made, a single word too, in the reader's language."""
    return for_reader(text, is_ours=True)


def complain(line: str) -> None:
    """Write one line to standard error, in obscale's name."""
    typer.echo(f"obscale: {readable(line)}", err=True)


def complain_of(error: ObscaleError) -> None:
    """Write an error to standard error: a line for each problem, or for each choice there is."""
    first, *choices = error.lines
    complain(first)
    for line in choices:
        typer.echo(f"  {readable(line)}", err=True)
    if isinstance(error, SpecError):
        for problem in error.problems[1:]:
            complain(problem)


def say_json(told: Mapping[str, object], *, indent: int | None = 2) -> None:
    """Write one JSON object with its `schema_version`; values stay what they are.

    Args:
        told: By field, in the order they are written.
        indent: Blanks a level; None for one line.
    """
    typer.echo(json_document(told, indent=indent))


def say_page(page: Markdown) -> None:
    """Write a page that ends with a line break."""
    typer.echo(page, nl=False)


def say_lines(text: str) -> None:
    """Write a text of several lines that ends with a line break, a request say."""
    typer.echo(for_lines(text), nl=False)


def as_text(text: str, style: str = "") -> Text:
    """Give a text in the reader's language to a console, or a cell of its table; without markup."""
    return Text(readable(text), style=style)


def open_console(*, stderr: bool = False) -> Console:
    """Give a console that takes a text for nothing but itself.

    With NO_COLOR it styles nothing at all, where Rich itself goes on with bold and dim. A terminal
    can move nothing (TERM=dumb) is written to like a pipe. With --quiet
    nothing is printed but inside of `aloud`.
    """
    plain = bool(os.environ.get("NO_COLOR"))
    is_dumb = os.environ.get("TERM", "").lower() in {"dumb", "unknown"}
    return Console(
        stderr=stderr,
        markup=False,
        emoji=False,
        highlight=False,
        color_system=None if plain else "auto",
        force_terminal=False if is_dumb else None,
        quiet=LOUDNESS.is_quiet,
    )
