"""A sheet for shapes and words that becomes one SVG, held by a Markdown page itself.

An SVG in an <img> loads nothing, runs nothing, and follows the reader's light or dark scheme. Its
ground is its own, so that it also holds on a page of the other scheme. Each picture says the same
in words, for whoever cannot see it and for every number in it.
"""

from base64 import b64encode
from dataclasses import dataclass
from typing import Final
from unicodedata import combining, east_asian_width
from xml.etree import ElementTree as ET

from obscale.language import for_page
from obscale.text import Markdown, for_terminal, image, markdown

WIDTH: Final = 700
"""Of every picture, in pixels of the page; the smallest words are 12 high."""
EDGE: Final = 16
"""Free on all four sides."""
LINE: Final = 20
"""From one line of words to the next."""
MAX_BYTES: Final = 60_000
"""Of one picture in its page: `![words](data:…)`. What cannot fit is told in words alone."""
LONGEST_NAME: Final = 128
"""Characters of a name in words and titles; OceanBase allows no longer ones."""
ELLIPSIS: Final = "…"

_NARROW: Final = frozenset("iljtfrI.,:;|!'()[]/ ")
_BROAD: Final = frozenset("mwMW@%")
_WIDE: Final = frozenset("WF")
_BOLD: Final = 1.25
"""Times as wide: bold, and a pixel higher."""
_STYLE: Final = """
.card{fill:#fff;stroke:#d0d7de}
text{font:13px sans-serif;fill:#1f2328}
.head{font-weight:600;font-size:14px}.small{font-size:12px}.quiet{fill:#59636e;font-size:12px}
.ground{fill:#eaeef2}.line{stroke:#8c959f;fill:none}
.good{fill:#2da44e}.bad{fill:#cf222e}.warn{fill:#d4a72c}.busy{fill:#218bff}.idle{fill:#8c959f}
.box{fill:#f6f8fa;stroke:#8c959f}.box.good{fill:#dafbe1;stroke:#2da44e}
.box.warn{fill:#fff8c5;stroke:#bf8700}.new{stroke-width:2.5}.dashed{stroke-dasharray:4 3}
.next{fill:none;stroke:#218bff;stroke-dasharray:3 2}.over{fill:none;stroke:#cf222e;stroke-width:2}
.shut{fill:#8c959f;fill-opacity:.25}.mark{fill:#1f2328}
@media(prefers-color-scheme:dark){
.card{fill:#0d1117;stroke:#3d444d}text{fill:#e6edf3}.quiet{fill:#9198a1}.ground{fill:#2a313c}
.good{fill:#3fb950}.bad{fill:#f85149}.warn{fill:#d29922}.busy{fill:#388bfd}.idle{fill:#656c76}
.box{fill:#151b23;stroke:#656c76}.box.good{fill:#12261e;stroke:#3fb950}
.box.warn{fill:#272115;stroke:#d29922}.next{stroke:#79c0ff}.over{stroke:#ff7b72}
.mark{fill:#e6edf3}}
"""
"""Colours are never alone: what they say stands beside in words."""


@dataclass(frozen=True)
class Picture:
    """A picture.

    Args:
        svg: Whole, as XML.
        words: The same in words: every number and every name in it.
    """

    svg: str
    words: str

    @property
    def markdown(self) -> Markdown:
        """Give it as one line of Markdown; the words alone where it would be too large."""
        address = f"data:image/svg+xml;base64,{b64encode(self.svg.encode()).decode()}"
        shown = image(self.words, address)
        if len(shown.encode()) <= MAX_BYTES:
            return shown
        return markdown("{}", self.words[: MAX_BYTES // 8])


class Sheet:
    """What is drawn so far, from the top down."""

    def __init__(self) -> None:
        self._root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img"})
        self._title = ET.SubElement(self._root, "title")
        ET.SubElement(self._root, "style").text = _STYLE.strip()
        self._card = ET.SubElement(self._root, "rect", {"class": "card", "x": ".5", "y": ".5"})
        self.y = EDGE
        """Where the next line begins."""

    def line(self, height: int = LINE) -> int:
        """Take a line of this height; gives where words stand in it."""
        self.y += height
        return self.y - height // 2 + 4

    def head(self, text: str) -> None:
        """Write the heading, which takes its line."""
        self.text(EDGE, self.line(LINE + 4), text, "head", room=WIDTH - 2 * EDGE)

    def text(
        self, x: float, y: float, text: str, style: str = "", *, room: float, at_end: bool = False
    ) -> None:
        """Write words, cut in their middle where they need more room; then the title has all.

        Args:
            x: Where they begin, or end.
            y: Their base line.
            text: May hold what others said.
            style: Class of the style sheet.
            room: Pixels they may take.
            at_end: Whether they end at `x`.
        """
        whole = named(for_page(text))
        shown = fitting(whole, room, is_bold=style == "head")
        given = {"x": _number(x), "y": _number(y)}
        if style:
            given["class"] = style
        if at_end:
            given["text-anchor"] = "end"
        made = ET.SubElement(self._root, "text", given)
        made.text = shown
        if shown != whole:
            title = ET.SubElement(made, "title")
            title.text, title.tail, made.text = whole, shown, None

    def rect(
        self, x: float, y: float, width: float, height: float, style: str, title: str = ""
    ) -> None:
        """Draw a rectangle; a title says what it is."""
        given = dict(zip(("x", "y", "width", "height"), map(_number, (x, y, width, height))))  # noqa: B905
        made = ET.SubElement(self._root, "rect", given | {"class": style})
        if title:
            ET.SubElement(made, "title").text = named(title)

    def path(self, commands: str, style: str) -> None:
        """Draw what a path says."""
        ET.SubElement(self._root, "path", {"d": commands, "class": style})

    def picture(self, title: str, words: str) -> Picture:
        """Close the sheet below what was drawn last.

        Args:
            title: What it shows, in a few words.
            words: All of it.
        """
        height = self.y + EDGE
        self._title.text = named(for_page(title))
        size = {"width": str(WIDTH), "height": str(height), "viewBox": f"0 0 {WIDTH} {height}"}
        for name, value in size.items():
            self._root.set(name, value)
        inner = {"width": str(WIDTH - 1), "height": str(height - 1), "rx": "8"}
        for name, value in inner.items():
            self._card.set(name, value)
        return Picture(ET.tostring(self._root, encoding="unicode"), for_terminal(words))


def named(text: str, most: int = LONGEST_NAME) -> str:
    """Give a text of others as one harmless line, of a name's length at most."""
    shown = for_terminal(text[: 2 * most].strip())
    return shown if len(shown) <= most else f"{shown[: most - 1]}{ELLIPSIS}"


def fitting(text: str, room: float, *, is_bold: bool = False) -> str:
    """Cut a text in its middle until it fits: names differ at their ends.

    Args:
        text: One line.
        room: Pixels.
        is_bold: As headings are.
    """
    if is_bold:
        room /= _BOLD
    if width_of(text) <= room:
        return text
    # Signs are taken from both ends in turn, for as long as there is room beside the ellipsis.
    room -= _advance(ELLIPSIS)
    head = tail = 0
    while True:
        is_head = head <= tail
        room -= _advance(text[head] if is_head else text[-1 - tail])
        if room < 0:
            return f"{text[:head]}{ELLIPSIS}{text[len(text) - tail :]}"
        head, tail = head + is_head, tail + (not is_head)


def width_of(text: str) -> float:
    """Guess how wide words of 13 px are, rather too wide: the reader's font is not known."""
    return sum(map(_advance, text))


def _advance(sign: str) -> float:
    if combining(sign):
        return 0.0
    if east_asian_width(sign) in _WIDE or sign == ELLIPSIS:
        return 13.5
    if sign in _NARROW:
        return 4.6
    if sign in _BROAD:
        return 12.5
    return 9.4 if sign.isupper() else 8.0


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
