"""The Prefect tasks, one for each step, with limits, retries, log lines and artifact."""

if __name__ == "tasks":
    # Loaded under two names, a block or an error would not be an instance of its own class.
    raise ImportError(
        "its name is obscale.tasks: write that after python -m, import or from", name=__name__
    )
