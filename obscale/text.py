"""Text of others, made fit for a terminal or a log (one line, no controls) and for Markdown.

Agents, requests and Prefect say what they like. Facts keep it exactly; where it is written down for
people, it passes here. JSON needs none of it but `for_json`: there a text stays what it was.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape, unescape
from math import isfinite
from typing import Any, Final
from unicodedata import category

from obscale.language import for_page, page_translations

_MEANS_SOMETHING: Final = re.compile(
    r"[\\`*\[|~<]"
    # Inside a word, as in memory_limit, or alone it is only itself.
    r"|(?<![^\W_])_(?=\S)|(?<=\S)_(?![^\W_])"
    # Character references.
    r"|&(?=#|\w+;)"
    # Headings, lists, quotations, underlines of headings.
    r"|^[#+=>-]"
)
"""What begins code, emphasis, a link, a picture, a cell, a tag or a block of Markdown."""
_NUMBERED: Final = re.compile(r"^(\d+)([.)])(?=\s|$)")
_ENTITIES: Final = {"<": "&lt;", "&": "&amp;"}
_ESCAPED: Final = re.compile(r"\\([\\`*\[|~_#+=>.)-])|&(lt|amp);")
_SHORTEST_FENCE: Final = 3
SCHEMA_VERSION: Final = 1
"""Of what commands write with --json: raised when a field changes its meaning or goes away.

Plans, reports and evidence, which are kept too, carry a number of their own. See docs/json.md.
"""
_PRE: Final = "<pre>"
_END_PRE: Final = "</pre>"


def for_terminal(text: str) -> str:
    r"""Give a text as one line that moves no cursor and hides nothing.

    Control characters, line breaks, marks of writing direction, what has no width, and what is no
    character at all are shown as Python writes them. All else stays.

    >>> for_terminal("zone1\x1b[2J\nERROR all is lost")
    'zone1\\x1b[2J\\nERROR all is lost'
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def for_lines(text: str) -> str:
    """As `for_terminal`, of a text that is meant to have several lines, a traceback say."""
    return "\n".join(map(for_terminal, text.split("\n")))


def for_json(document: str) -> str:
    """Give a JSON document in which the same characters are escaped as JSON does; values stay."""
    return "\n".join(
        line if line.isprintable() else "".join(map(_json_shown, line))
        for line in document.split("\n")
    )


def json_document(told: Mapping[str, object], *, indent: int | None = None) -> str:
    """Write what a command tells with --json, its `schema_version` first; all of them pass here.

    Args:
        told: By field; may hold a `schema_version` of its own.
        indent: Blanks a level; None for one line.
    """
    whole = {"schema_version": SCHEMA_VERSION} | dict(told)
    try:
        document = json.dumps(whole, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        document = json.dumps(_finite(whole), indent=indent, ensure_ascii=False)
    return for_json(document)


def _finite(value: Any) -> Any:
    """Write null for what JSON has no number for, as pydantic does."""
    if isinstance(value, float) and not isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def _shown(sign: str) -> str:
    return sign if _is_seen(sign) else repr(sign)[1:-1]


def _is_seen(sign: str) -> bool:
    # Wide and narrow blanks are harmless, and usual in Chinese.
    return sign.isprintable() or category(sign) == "Zs"


def _json_shown(sign: str) -> str:
    if _is_seen(sign):
        return sign
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


class Markdown(str):
    """Markdown of ours: what stands in it of others was escaped, see `markdown`."""

    __slots__ = ()


def for_markdown(text: str) -> Markdown:
    """Give a text as one line of Markdown that shows it, and means nothing else.

    No tags, links, pictures, code, emphasis, headings or cells come of it; Markdown stays as it is.
    """
    if isinstance(text, Markdown):
        return text
    plain = _NUMBERED.sub(r"\1\\\2", _MEANS_SOMETHING.sub(_escape, for_terminal(text.strip())))
    return Markdown(plain)


def _escape(found: re.Match[str]) -> str:
    return _ENTITIES.get(found[0], f"\\{found[0]}")


def from_markdown(text: str) -> str:
    """Give what `for_markdown` was given; controls stay shown."""
    return _ESCAPED.sub(
        lambda found: found[1] or {"lt": "<", "gt": ">", "amp": "&"}[found[2]], text
    )


def markdown(pattern: str, *values: object) -> Markdown:
    r"""Put values into a pattern of ours, as `str.format` does; of values only Markdown is read.

    Pattern and values are said in the language of this deployment's pages.

    >>> markdown("**{}** into {}", "node", "zone|2")
    '**node** into zone\\\\|2'
    """
    told = (value if isinstance(value, str) else str(value) for value in values)
    known = page_translations()
    if known is None:
        return Markdown(pattern.format(*map(for_markdown, told)))

    def shown(value: str, mark: str) -> Markdown:
        if isinstance(value, Markdown) or mark == "v":
            return for_markdown(value)
        return for_markdown(known.text(value, is_ours=mark == "w"))

    return Markdown(known.filled(pattern, tuple(told), shown))


def paragraphs(parts: Iterable[str]) -> Markdown:
    """Put paragraphs below one another; empty ones are left out."""
    return Markdown("\n\n".join(_said(part) for part in parts if part))


def bullets(lines: Iterable[str]) -> Markdown:
    """Make a list."""
    return Markdown("\n".join(f"- {_said(line)}" for line in lines))


def _said(text: str) -> Markdown:
    return text if isinstance(text, Markdown) else for_markdown(for_page(text))


def folded(title: str, lines: Iterable[str]) -> Markdown:
    """Make a list that opens at a click on its title; without lines it is empty.

    It is HTML, so the lines are plain text. No line of it is blank: Prefect's older UI reads each
    block of a page by itself, and would show what comes after a blank line unfolded.
    """
    items = [f"<li>{_as_html(for_page(line))}</li>" for line in lines]
    if not items:
        return Markdown()
    return Markdown(
        "\n".join([f"<details><summary>{_title(title)}</summary><ul>", *items, "</ul></details>"])
    )


def folded_document(title: str, document: str) -> Markdown:
    """Fold a text of several lines as it stands; `from_folded` gives it back.

    Args:
        title: To be clicked at.
        document: Without blank lines and controls, as JSON from `for_json` is.
    """
    told = escape(document, quote=False)
    return Markdown(f"<details><summary>{_title(title)}</summary>{_PRE}{told}{_END_PRE}</details>")


def from_folded(page: str) -> str:
    """Give the document that was folded into a page; empty where there is none."""
    return unescape(page.partition(_PRE)[2].rpartition(_END_PRE)[0])


def _title(text: str) -> str:
    return _as_html(for_page(text, is_ours=True))


def _as_html(text: str) -> str:
    return escape(for_terminal(text), quote=False)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Markdown:
    """Make a table; without rows it is empty."""
    lines = [f"| {' | '.join(map(for_markdown, row))} |" for row in rows]
    if not lines:
        return Markdown()
    return Markdown("\n".join([f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *lines]))


def code(lines: Iterable[str], language: str = "") -> Markdown:
    """Make a block of code, whose fence is longer than any that stands in it."""
    told = [for_terminal(line) for line in lines]
    longest = max((len(found) for line in told for found in re.findall("`+", line)), default=0)
    fence = "`" * max(_SHORTEST_FENCE, longest + 1)
    return Markdown("\n".join([f"{fence}{language}", *told, fence]))


def image(words: str, address: str) -> Markdown:
    """Make a picture.

    Args:
        words: What a reader who cannot see it is told; may hold what others said.
        address: Ours: a `data:` address.
    """
    # Here a bracket that closes means something too: it would end the words.
    told = for_markdown(for_page(words)).replace("]", r"\]")
    return Markdown(f"![{told}]({address})")


def each_text(value: Any, change: Callable[[str], str]) -> Any:
    """Change every text inside of lists and mappings."""
    match value:
        case str():
            return change(value)
        case dict():
            return {key: each_text(held, change) for key, held in value.items()}
        case list() | tuple():
            return [each_text(held, change) for held in value]
        case _:
            return value
