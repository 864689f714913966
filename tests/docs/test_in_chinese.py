"""Tests that the pages in Chinese are kept in step with the English ones they were made from.

The first line of each names its source and the first digits of that file's SHA-256. Who changes a
source looks at its translation, and then lets this file write the digits anew:
`python -m tests.docs.test_in_chinese`.
"""

import hashlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = re.compile(r"\A<!-- source: (?P<file>\S+) sha256:(?P<digits>[0-9a-f]{12}) -->\n")
MADE = {"docs/zh/preflight.md", "docs/zh/removal-rules.md"}
"""Written by `make docs` from the rules; tests/docs/test_chinese_pages.py holds it to them."""
PAGES = {
    "README.zh-CN.md",
    *(f"docs/zh/{path.name}" for path in (ROOT / "docs/zh").glob("*.md")),
} - MADE
HAN = re.compile(r"[\u4e00-\u9fff]")


def digits_of(file: str) -> str:
    """The first digits of a file's SHA-256."""
    return hashlib.sha256((ROOT / file).read_bytes()).hexdigest()[:12]


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def outdated(texts: dict[str, str]) -> list[str]:
    """Name the pages whose source has changed since they were made, or that name none."""
    found = {page: SOURCE.match(text) for page, text in texts.items()}
    return [
        f"{page} ({source['file'] if source else 'names no source'})"
        for page, source in sorted(found.items())
        if source is None or source["digits"] != digits_of(source["file"])
    ]


def test_no_page_is_older_than_its_source():
    """Each page whose source changed is named."""
    assert outdated({page: text_of(page) for page in PAGES}) == []


def test_a_page_whose_source_changed_is_named():
    """So is one that names no source."""
    old = "<!-- source: README.md sha256:000000000000 -->\n# obscale\n"

    assert outdated(
        {"a.md": old, "b.md": "# obscale\n", "README.zh-CN.md": text_of("README.zh-CN.md")}
    ) == [
        "a.md (README.md)",
        "b.md (names no source)",
    ]


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_page_has_the_headings_of_its_source_in_chinese(page):
    """As many of each rank, so nothing was left out; and each says something in Chinese."""
    source = SOURCE.match(text_of(page))
    assert source

    def headings(text: str) -> list[tuple[str, str]]:
        bare = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        return re.findall(r"^(#+) (.+)$", bare, flags=re.MULTILINE)

    ours, theirs = headings(text_of(page)), headings(text_of(source["file"]))

    assert [rank for rank, _ in ours] == [rank for rank, _ in theirs]
    assert [words for _, words in ours if not HAN.search(words) and words != "obscale"] == []


if __name__ == "__main__":
    for each in PAGES:
        was = text_of(each)
        if source := SOURCE.match(was):
            line = f"<!-- source: {source['file']} sha256:{digits_of(source['file'])} -->\n"
            (ROOT / each).write_text(line + was[source.end() :], encoding="utf-8")
