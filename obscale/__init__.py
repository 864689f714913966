"""obscale grows OceanBase clusters through obshell: planned, watched, verified."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("obscale")
