"""obscale grows OceanBase clusters through obshell: planned, watched, verified."""

__version__: str


def __getattr__(name: str) -> str:
    # Looked up where it is asked for: reading it takes longer than the rest of a command's start,
    # and until then nobody would answer a Ctrl-C.
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # noqa: PLC0415

    return version("obscale")
