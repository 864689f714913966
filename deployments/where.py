"""`python -m obscale.deployments.where`: the folder of these files, in checkout or wheel."""

from pathlib import Path

if __name__ == "__main__":
    print(Path(__file__).resolve().parent)  # noqa: T201 - that is its answer
