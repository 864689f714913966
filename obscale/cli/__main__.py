"""Lets `python -m obscale.cli` do what `obscale` does."""

from obscale.cli import main

main()
