"""Lines, tables and JSON for whoever typed a command: nothing in them is obeyed by a terminal.

Every other module of the command line writes through this one; a test finds the one that does not.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from obscale.cli.loudness import LOUDNESS
from obscale.errors import ObscaleError, SpecError
from obscale.language import for_reader
from obscale.text import Markdown, for_lines, for_terminal, json_document

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def say(line: str, *, err: bool = False) -> None:
    """Write one line, in the reader's language.

    Args:
        line: May hold what others said.
        err: Whether to standard error.
    """
    typer.echo(reader_line(line), err=err)


def reader_line(text: str) -> str:
    """Give a text as one harmless line in the reader's language."""
    return for_terminal(for_reader(text))


def label(text: str) -> str:
    """Give a text nobody else has made, a single word too, in the reader's language."""
    return for_reader(text, is_ours=True)


def complain(line: str) -> None:
    """Write one line to standard error, in obscale's name."""
    typer.echo(f"obscale: {reader_line(line)}", err=True)


def complain_of(error: ObscaleError) -> None:
    """Write an error to standard error: a line for each problem, or for each choice there is."""
    first, *choices = error.lines
    complain(first)
    for line in choices:
        typer.echo(f"  {reader_line(line)}", err=True)
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


def as_text(text: str, style: str = "", *, is_said: bool = False) -> "Text":
    """Give a text to a console, or a cell of its table; nothing in it is markup.

    Args:
        text: May hold what others said.
        style: As Rich has it.
        is_said: Whether it is in the reader's language already, by `reader_line` or `label`.
    """
    from obscale.cli.reader_text import ReaderText  # noqa: PLC0415 - a command's help draws nothing

    return ReaderText(text if is_said else reader_line(text), style=style)


def open_console(*, stderr: bool = False) -> "Console":
    """Give a console that takes a text for nothing but itself.

    With NO_COLOR it styles nothing at all, where Rich itself goes on with bold and dim. A terminal
    can move nothing (TERM=dumb) is written to like a pipe. With --quiet
    nothing is printed but inside of `aloud`.
    """
    from rich.console import Console  # noqa: PLC0415 - a command's help draws nothing

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
