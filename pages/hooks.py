"""What `make site` adds to mkdocs: pages of the files at the root, links that hold, a language.

In the repository a link leads from file to file, from README.md to docs/batch.md say. The site has
all pages in one folder, so that links to and from the files at the root are written anew there.
"""

import posixpath
import re
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]
AT_THE_ROOT: Final = {
    "README.md": "index.md",
    "README.zh-CN.md": "zh/index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""File at the root → page of the site."""
_LINK: Final = re.compile(r"(?<=\]\()(?!\w+:|#)(?P<path>[^)#\s]+)(?P<rest>[^)\s]*)(?=\))")
_TABLE: Final = re.compile(r"<table>.*?</table>", re.DOTALL)
_ROW: Final = re.compile(r"<tr>.*?</tr>", re.DOTALL)
_HEAD: Final = re.compile(r"<th\b[^>]*>(.*?)</th>", re.DOTALL)
_CELL: Final = re.compile(r"<td\b")
_TAG: Final = re.compile(r"<[^>]+>")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file at the root that is one."""
    for name, page in AT_THE_ROOT.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_others: Any) -> str:
    """Write a page's links as the site has its pages."""
    return relinked(markdown, page.file.src_uri)


def on_page_content(html: str, **_others: Any) -> str:
    """Tell each cell of a table what stands above it, for windows too narrow for columns."""
    return _TABLE.sub(_labelled, html)


def _labelled(table: re.Match[str]) -> str:
    heads = [_TAG.sub("", head) for head in _HEAD.findall(table[0])]

    def label(row: re.Match[str]) -> str:
        names = iter(heads)
        return _CELL.sub(lambda _: f'<td data-label="{next(names, "")}"', row[0])

    return _ROW.sub(label, table[0])


def on_page_context(
    context: dict[str, Any], page: Page, config: MkDocsConfig, **_others: Any
) -> dict[str, Any]:
    """Say in which language a page is, for its own words and for those of the theme around it."""
    config.theme["language"] = "zh" if page.file.src_uri.startswith("zh/") else "en"
    return context


def relinked(markdown: str, page: str) -> str:
    """Give a page's Markdown with links that hold in the site.

    Args:
        markdown: With links that hold in the repository.
        page: Of the site, e.g. `zh/index.md`.
    """
    files = {name: file for file, name in AT_THE_ROOT.items()}
    here = posixpath.dirname(files.get(page, f"docs/{page}"))

    def anew(found: re.Match[str]) -> str:
        file = posixpath.normpath(posixpath.join(here, found["path"]))
        leads_to = AT_THE_ROOT.get(file, file.removeprefix("docs/"))
        return posixpath.relpath(leads_to, posixpath.dirname(page) or ".") + found["rest"]

    return _LINK.sub(anew, markdown)
