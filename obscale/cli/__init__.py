"""Starts the command line: `main` is what `obscale` runs."""

import sys
from typing import NoReturn

from obscale.cli.first_line import FIRST_LINE
from obscale.cli.stopping import PROGRAM, Stopped


def main() -> NoReturn:
    """Run the command line, in a program of its own; see `obscale.cli.commands`."""
    try:
        PROGRAM.listen(as_json="--json" in sys.argv[1:])
        FIRST_LINE.show(sys.argv[1:])
        from obscale.cli.commands import main as run  # noqa: PLC0415 - the commands take a second

        run()
    except Stopped as stop:
        PROGRAM.end(stop)
