"""Tests that the Chinese pages say what the English ones, and the rules, say."""

import hashlib
import re
from pathlib import Path

from obscale.language.translations import translations_of
from obscale.preflight.catalogue import page
from obscale.preflight.registry import RULES
from obscale.recovery.causes import CAUSES
from obscale.removal.catalogue import RULES as OF_REMOVAL
from obscale.removal.catalogue import page as page_of_removal

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r'^\| <a id="([a-z0-9-]+)"></a>(.+) \| (.+) \| (.+) \|$', re.MULTILINE)
CHINESE = re.compile("[\u4e00-\u9fff]")
CODE = re.compile(r"`([^`]+)`")


def read(name):
    """Give a page of docs."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_the_page_of_rules_is_what_make_docs_writes():
    """A rule or translation that changed without `make docs` is told here."""
    assert read("zh/preflight.md") == page("zh"), "run `make docs`"
    assert read("zh/removal-rules.md") == page_of_removal("zh"), "run `make docs`"


def test_every_rule_has_its_title_in_chinese_and_its_id():
    """Severities and sources stay."""
    rows = {line.split("`")[1]: line for line in page("zh").splitlines() if line[:4] == "| <a"}

    assert list(rows) == [
        line.split("`")[1] for line in page().splitlines() if line.startswith("| <a")
    ]
    untold = [rule.id for rule in RULES if not CHINESE.search(rows[rule.id].split(" | ")[1])]
    assert untold == []
    of_removal = page_of_removal("zh")
    for rule in OF_REMOVAL:
        (row,) = [line for line in of_removal.splitlines() if f"`{rule.id}`" in line]
        assert CHINESE.search(row.split(" | ")[1]), rule.id
    assert all(f" | {rule.prod} | {rule.lab} | " in rows[rule.id] for rule in RULES)


def test_the_runbook_is_made_of_the_english_one_as_it_is():
    """Its first line names the page it says, and what that page was."""
    source = (ROOT / "docs" / "operations.md").read_bytes()
    first = read("zh/operations.md").splitlines()[0]

    digest = hashlib.sha256(source).hexdigest()[:12]
    assert first == f"<!-- source: docs/operations.md sha256:{digest} -->", "say what has changed"


def test_the_runbook_has_the_same_rows_in_the_same_order():
    """Each id leads to its row in both; each cell has Chinese words."""
    english, chinese = (ROW.findall(read(name)) for name in ("operations.md", "zh/operations.md"))

    assert [row[0] for row in chinese] == [row[0] for row in english]
    bare = [row[0] for row in chinese if not (CHINESE.search(row[2]) and CHINESE.search(row[3]))]
    assert bare == []


def test_causes_are_told_in_the_runbook_as_on_a_terminal():
    """Cause and what a person does, in the catalogue's words; two causes may share an id."""
    known = translations_of("zh")
    rows = {row[0]: row[2:] for row in ROW.findall(read("zh/operations.md"))}
    told = {}
    for cause in CAUSES:
        said = known.text(cause.title), known.text(cause.by_hand)
        told.setdefault(f"cause-{cause.id}", []).append(said)

    assert [name for name, said in told.items() if rows[name] not in said] == []
