"""The flows that Prefect can run."""

if __name__ == "flows":
    # Loaded under two names, a block or an error would not be an instance of its own class.
    raise ImportError(
        "its name is obscale.flows: write that after python -m, import or from", name=__name__
    )
