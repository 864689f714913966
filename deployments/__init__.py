"""Ways to start a run, smallest first; docs/deployments.md says which is for whom."""

if __name__ == "deployments":
    # Loaded under two names, a block or an error would not be an instance of its own class.
    raise ImportError(
        "its name is obscale.deployments: write that after python -m, import or from",
        name=__name__,
    )
