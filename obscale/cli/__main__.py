"""Runs the command line as `python -m obscale.cli`."""

from obscale.cli import main

main()
