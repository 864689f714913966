"""Starts the command line: `main` is what `obscale` runs."""

import gc
import sys
from typing import Final, NoReturn

from obscale.cli.first_line import FIRST_LINE
from obscale.cli.stopping import PROGRAM, Stopped

OBJECTS_A_SEARCH: Final = 20_000
"""New objects after which the youngest are searched for garbage; Python's own 700 suits small
programs. What is imported lives as long as the program: searching it took a tenth of its start."""


def main() -> NoReturn:
    """Run the command line, in a program of its own; see `obscale.cli.commands`."""
    try:
        gc.set_threshold(OBJECTS_A_SEARCH, *gc.get_threshold()[1:])
        PROGRAM.listen(as_json="--json" in sys.argv[1:])
        FIRST_LINE.show(sys.argv[1:])
        from obscale.cli.commands import main as run  # noqa: PLC0415 - the commands take a second

        run()
    except Stopped as stop:
        PROGRAM.end(stop)
