"""`python -m pages`: writes the pages of docs/ that are made of the code."""

from pathlib import Path

from pages.reference import written

if __name__ == "__main__":
    for path, text in written(Path(__file__).resolve().parents[1] / "docs"):
        path.write_text(text, encoding="utf-8")
