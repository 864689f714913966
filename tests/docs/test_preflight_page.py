"""Tests that docs/preflight.md says what the rules say."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

from obscale.preflight.catalogue import GROUPS, grouped, page
from obscale.preflight.checklist import CHECKLIST
from obscale.preflight.registry import RULES

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_of_rules_is_what_make_docs_writes():
    """A rule that changed without `make docs` is told here."""
    written = (ROOT / "docs" / "preflight.md").read_text(encoding="utf-8")

    assert written == page(), "run `make docs`"


def test_the_module_prints_the_page():
    """`make docs` runs the module; it prints the page and nothing else."""
    done = subprocess.run(
        [sys.executable, "-m", "obscale.preflight.catalogue"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout == page()
    assert done.stderr == ""


def test_every_rule_has_one_row_and_one_anchor():
    """A printed id leads to its row."""
    text = page()

    assert [text.count(f'<a id="{rule.id}"></a>') for rule in RULES] == [1] * len(RULES)
    assert sum(len(rules) for _, rules in grouped(RULES)) == len(RULES)


def test_every_module_of_rules_stands_below_one_heading():
    """An operator looks below what a rule is about; no heading gathers what is left over."""
    below = Counter(module for modules in GROUPS.values() for module in modules)

    assert set(below) == {rule.judge.__module__.rpartition(".")[2] for rule in RULES}
    assert set(below.values()) == {1}
    assert [f"## {heading}" in page() for heading in GROUPS] == [True] * len(GROUPS)


def test_a_row_says_severity_place_override_and_source():
    """All of what the registry knows, in one line."""
    rows = {line.split("`")[1]: line for line in page().splitlines() if line.startswith("| <a ")}

    for rule in RULES:
        cells = [cell.strip() for cell in rows[rule.id].replace("\\|", "¦").split("|")[2:-1]]
        assert cells == [
            rule.title,
            rule.prod,
            rule.lab,
            rule.otherwise or "—",
            {("A", False): "no", ("A", True): "its warnings"}.get(
                (rule.ground, rule.softens), "yes"
            ),
            rule.source.replace("|", "¦"),
        ]


def test_the_page_ends_with_what_no_rule_can_see():
    """Each line of the checklist, with the command that shows it."""
    text = page()

    for line in CHECKLIST:
        assert f"| {line.claim} |" in text
        assert f"`{line.told('HOME', 2882)}`" in text.replace("\\|", "|")
