"""A text for a console that breaks where Chinese may be broken."""

import re
from typing import Final

from rich.cells import cell_len
from rich.console import Console, JustifyMethod, OverflowMethod
from rich.containers import Lines
from rich.text import Text

_WIDE: Final = re.compile(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")
_UNBROKEN: Final = re.compile(
    r"\s*(?:[（“《]*[\u4e00-\u9fff][，。；：？！、）”》]*|[^\s\u4e00-\u9fff]+)\s*"
)
"""What stays in one line: a sign of Chinese with what belongs to it, or a word of other writing."""


class ReaderText(Text):
    """A text that may go on in the next line behind each sign of Chinese, which has no blanks."""

    def wrap(
        self,
        console: Console,
        width: int,
        *,
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        tab_size: int = 8,
        no_wrap: bool | None = None,
    ) -> Lines:
        """Break it into lines of this width in cells."""
        if no_wrap or self.no_wrap or not _WIDE.search(self.plain):
            return super().wrap(
                console,
                width,
                justify=justify,
                overflow=overflow,
                tab_size=tab_size,
                no_wrap=no_wrap,
            )
        lines = Lines()
        for line in self.split(allow_blank=True):
            for part in line.divide(_breaks(line.plain, width)):
                if part.cell_len > width:
                    part.rstrip()
                lines.extend(
                    part.wrap(console, width, justify=justify, overflow=overflow)
                    if part.cell_len > width
                    else [part]
                )
        return lines


def _breaks(text: str, width: int) -> list[int]:
    """Give where lines begin, so that none is wider than this; a longer word stays whole."""
    begins, taken = list[int](), 0
    for found in _UNBROKEN.finditer(text):
        word = cell_len(found[0].rstrip())
        if taken and taken + word > width:
            begins.append(found.start())
            taken = 0
        taken += cell_len(found[0])
    return begins
