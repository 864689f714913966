"""Text that would deceive a terminal, a log or a reader of Markdown, and what finds that it did."""

import re
from collections import Counter
from itertools import pairwise

from markdown_it import MarkdownIt

MARK = "h0stile"
LONG = 10_000
HOSTILE = (
    f"{MARK}\x1b[2J\x1b[31m\x1b]8;;http://10.0.0.9/\x07link\x1b]8;;\x07\x9b1A\x00\x7f"
    f"\r\nERROR forged by {MARK}\x85\u2028ERROR forged\x0b"
    "\u202edesrever\u2066\u200bnarrow\ufeff"
    "<script>alert(1)</script><img src=x onerror=alert(1)>"
    "[click](javascript:alert(1))![seen](http://10.0.0.9/seen)<javascript:alert(1)>"
    "|cell|`span`*loud*__louder__\n# forged heading\n\n```\nfence\n```\n- item\n1. one\n"
    "[bold red]MRKP[/bold red][link=http://10.0.0.9]there[/link]:warning:"
)
SHORT = (
    f"{MARK}\x1b[31m\r\nERROR forged\u202e<img src=x>[x](javascript:1)|`y`[bold red]MRKP[/bold red]"
)
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)
_FORGED = re.compile(r"^\W*(ERROR forged|# forged|forged heading|fence\b|item$|one$)", re.MULTILINE)
_FORGED_LINE = re.compile(r"^[\s│┃|]*(ERROR|#) forged", re.MULTILINE)
_READ_MARKUP = re.compile(r"(?<!\[bold red\])(?<!\[bold red\\\])MRKP|MRKP(?!\\*\[/bold red\\?\])")
_BAR = re.compile(r"(?<!\\)\|")
_FOLD = re.compile(
    r"<details><summary>[^<>\n]*</summary>"
    r"(<ul>\n(<li>[^<>\n]*</li>\n)+</ul>|<pre>[^<>]*</pre>)</details>\n?"
)
"""What `folded` and `folded_document` make; no tag of others can stand in it."""
OURS = "data:image/svg+xml;base64,"
"""How the address of a picture begins that a page holds itself; no other is ours."""
_READ = {"link_open", "image", "html_inline", "html_block", "code_inline", "code_block", "em_open"}


def reader(*, html=False):
    """Give a reader of Markdown that shows a picture a page holds itself, as Prefect's UIs do."""
    made = MarkdownIt("commonmark", {"html": html})
    others = made.validateLink
    made.validateLink = lambda url: url.startswith(OURS) or others(url)
    return made


def faults_of_lines(text):
    """What a terminal or a reader of lines would be deceived by; empty: nothing.

    A narrow terminal breaks long lines, so that any word may begin one: give what a wide one shows.
    """
    found = [f"obeyed {sign!r}" for sign in sorted(set(_OBEYED.findall(text)))]
    if _FORGED_LINE.search(text):
        found.append("forged a line")
    if _READ_MARKUP.search(text):
        found.append("read as markup")
    return found


def faults_of_page(page, *, allowed=()):
    """What a reader of Markdown would be deceived by; empty: nothing."""
    found = [f"obeyed {sign!r}" for sign in sorted(set(_OBEYED.findall(page)))]
    tokens = reader(html=True).enable(["table", "strikethrough"]).parse(page)
    flat = [
        child
        for token in tokens
        for child in (token, *(token.children or ()))
        if not (child.type == "image" and child.attrs["src"].startswith(OURS))
        and not (child.type == "html_block" and _FOLD.fullmatch(child.content))
    ]
    kinds = Counter(token.type for token in flat)
    found += [f"read {kind}" for kind in sorted(_READ & kinds.keys()) if kind not in allowed]
    for before, token in pairwise(flat):
        if before.type == "heading_open" and token.content.startswith("forged"):
            found.append("forged heading")
        if before.type in {"list_item_open", "paragraph_open"} and _FORGED.match(token.content):
            found.append(f"forged block {token.content[:20]!r}")
    width = 0
    for line in page.splitlines():
        if not line.startswith("| "):
            width = 0
            continue
        cells = len(_BAR.split(line))
        if width not in {0, cells}:
            found.append(f"broken row {line[:60]!r}")
        width = width or cells
    return found
