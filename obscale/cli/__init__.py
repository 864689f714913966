"""Starts the command line: `main` is what `obscale` runs."""

from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; see `obscale.cli.commands`."""
    from obscale.cli.commands import main as run  # noqa: PLC0415 - the commands take a second

    run()
