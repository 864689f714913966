"""Tests of each file's first line: one plain sentence that says what the file gives."""

import ast
from pathlib import Path

HOUSE = Path(__file__).parents[2]
FOLDERS = ("benchmarks", "deployments", "flows", "obscale", "tasks", "tests")


def first_line(path):
    """Give the first line of a file's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def test_every_file_says_in_its_first_line_what_it_gives():
    """A sentence that ends on its line, and no question: who looks for a file reads answers."""
    files = [path for folder in FOLDERS for path in (HOUSE / folder).rglob("*.py")]
    lines = {str(path.relative_to(HOUSE)): first_line(path) for path in files}

    assert len(files) > 200
    assert not {path: line for path, line in lines.items() if not line.endswith((".", ":"))}
    assert not {path: line for path, line in lines.items() if "?" in line}
