"""Tests that docs/removal-rules.md says what the rules of a removal say."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

from obscale.preflight.catalogue import grouped
from obscale.preflight.judge import may_be_overridden
from obscale.removal.catalogue import GROUPS, RULES, page

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_what_make_docs_writes():
    """A rule that changed without `make docs` is told here."""
    written = (ROOT / "docs" / "removal-rules.md").read_text(encoding="utf-8")

    assert written == page(), "run `make docs`"


def test_the_module_prints_the_page():
    """`make docs` runs the module for the Chinese one; it prints the page and nothing else."""
    done = subprocess.run(
        [sys.executable, "-m", "obscale.removal.catalogue", "zh"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert (done.stdout, done.stderr) == (page("zh"), "")


def test_every_rule_has_one_row_below_one_heading():
    """A printed id leads to its row, with its severities and whether it may be accepted."""
    below = Counter(module for modules in GROUPS.values() for module in modules)
    rows = {line.split("`")[1]: line for line in page().splitlines() if line.startswith("| <a ")}

    assert set(below.values()) == {1}
    assert set(below) == {rule.judge.__module__.rpartition(".")[2] for rule in RULES}
    assert sum(len(rules) for _, rules in grouped(RULES, GROUPS)) == len(RULES) == len(rows)
    for rule in RULES:
        cells = [cell.strip() for cell in rows[rule.id].split("|")[2:-1]]
        told = "no" if not may_be_overridden(rule) else "its warnings" if rule.softens else "yes"
        assert cells[:6] == [
            rule.title,
            rule.prod,
            rule.lab,
            rule.otherwise or "—",
            told,
            rule.source,
        ]
