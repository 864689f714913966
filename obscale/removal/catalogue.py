"""`python -m obscale.removal.catalogue`: prints all rules of a removal as a page; `zh`: in Chinese.

The page is made of the rules, so it cannot drift; a test compares it with docs/removal-rules.md and
docs/zh/removal-rules.md.
"""

import sys
from typing import Any, Final

from obscale.language.choice import language_of
from obscale.language.translations import translations_of
from obscale.preflight.catalogue import grouped, sections
from obscale.preflight.rule import Rule
from obscale.removal.judge import RULES as OF_REMOVAL
from obscale.replacement.judge import RULES as OF_REPLACEMENT

GROUPS: Final = {
    "Who leaves, and who is asked": ("leaver", "cluster"),
    "Who is at work in the cluster": ("work",),
    "What must stay alive": ("majority",),
    "Room for the units on the servers that stay": ("room",),
    "A whole zone": ("whole_zone",),
    "What nobody can judge from here": ("hints",),
    "Where another node takes its place": ("rules",),
}
"""Headings in the order an operator asks, with the modules whose rules stand below them."""

RULES: Final[tuple[Rule[Any], ...]] = (*OF_REMOVAL, *OF_REPLACEMENT)
"""Those of a removal, and those that a replacement has beside them."""

_INTRO: Final = """# Rules of a removal

Made by `make docs` from the rules themselves; do not edit.

Before a node, or a whole zone, is taken out of a cluster every rule below is judged. Answers,
profiles and overrides mean what they mean [before a scale-out](preflight.md).

What OceanBase refuses by itself costs nothing: all is as it was. What it does not refuse costs
most: a unit or replica that cannot move leaves the server DELETING for good, and the cluster's lock
held.

A server is *dead* where OceanBase says INACTIVE, or DELETING without a start of service. The units
of a server are known only where each pool of its zone says where its units are, belongs to a tenant
that is listed, and nothing more is assigned on the server; else all rules about units are
*unknown*, and a server is never taken for empty. Rules with *no* in the column "override" cannot be
accepted: the refusal is certain, or data would be lost.

The last group is judged only where a node is [replaced](replacing.md). Its plan judges the removal
as it will be once the new node serves, and judges it again when it does.
"""


def page(locale: str = "en") -> str:
    """Give docs/removal-rules.md, or in Chinese docs/zh/removal-rules.md."""
    known = translations_of(language_of(locale))

    def said(text: str) -> str:
        return known.text(text, is_ours=True) if known else text

    return "\n".join([said(_INTRO), *sections(grouped(RULES, GROUPS), said)])


if __name__ == "__main__":
    sys.stdout.write(page(*sys.argv[1:2]))
