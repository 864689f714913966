"""`python -m obscale.preflight.catalogue`: prints all rules as a page; with `zh` in Chinese.

The page is made of the registry, so it cannot drift; a test compares it with docs/preflight.md
and docs/zh/preflight.md.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from obscale.language.choice import language_of
from obscale.language.translations import translations_of
from obscale.preflight.checklist import CHECKLIST
from obscale.preflight.judge import may_be_overridden
from obscale.preflight.registry import RULES
from obscale.preflight.rule import Rule
from obscale.text import Markdown, table

R = TypeVar("R", bound=Rule[Any])

GROUPS: Final = {
    "What the request says": ("start_options", "values", "layout", "batch"),
    "The agent and host that are to join": (
        *("target", "members", "host", "ulimits", "clocks", "ports", "hints"),
    ),
    "Versions and platform": ("versions",),
    "The cluster, and who is at work in it": ("cluster", "cluster_mode"),
    "Zones": ("zones", "new_zone"),
    "Memory and CPU": ("memory", "units", "drift"),
    "Disks": ("disk", "file_sizes"),
}
"""Headings in the order an operator asks, with the modules whose rules stand below them."""
RPC_PORT: Final = 2882
"""Shown where a plan shows its own."""

_INTRO: Final = """# Preflight rules

Made by `make docs` from the rules themselves; do not edit.

`obscale plan` and the flow's first task judge every rule below before anything is sent. A rule
answers

- **block**: do not submit. **warn**: submit only if you know why. **info**: worth knowing.
- **pass** or **n-a**: nothing to say. **unknown**: the evidence should have been there and was not;
  it weighs like a warning in production and is never taken for a pass.

The profile decides how strictly they weigh: `prod` is the default, `lab` is for what may break. The
columns show a rule's usual severities; one that looks at several things may answer more mildly, or
more gravely, for some of them.

## Accepting a finding

A finding somebody answers for is accepted in the request, for a reason and until a day (UTC, that
day included):

```yaml
overrides:
  - {rule: mem-fits-total, reason: "memory is doubled on Friday, ticket 1234", until: 2026-12-31}
```

It keeps its answer, weighs as information, and carries the reason into plan, log, table and report.
Rules with *no* in the column "override" cannot be accepted: obshell or the observer would refuse
the request anyway, only later; of those with *its warnings* a block cannot. The same holds for
single findings of other rules where refusal is certain, such as a clock beyond the life of a
signature.

## Accepting what is unknown

A verdict counts the rules that could block and could not be judged: `READY, 4 UNKNOWN`; the plan
names them. What a version of obshell never tells is not counted. Who is shown the plan and says yes
to `obscale apply`, or approves a paused run, accepts them. A run nobody is asked about (`--yes`, a
batch, a deployment) is held back by them in production, and says so, unless the request accepts
them: by an override of the rule that reports the gap, as above, or whatever they are:

```yaml
allow_unknown: true
```

In the lab they are told, and hold nothing back.
"""
HEAD: Final = (
    *("rule", "asks whether", "prod", "lab", "otherwise fails at", "override", "rests on"),
)
_UNSEEN: Final = """## What obshell does not show

No rule can answer these. A plan lists them once; in production whoever applies it acknowledges
them.
"""


def page(locale: str = "en") -> str:
    """Give docs/preflight.md, or in Chinese docs/zh/preflight.md.

    Ids, severities and sources are the same in both.
    """
    known = translations_of(language_of(locale))

    def said(text: str) -> str:
        return known.text(text, is_ours=True) if known else text

    parts = [said(_INTRO), *sections(grouped(RULES), said)]
    unseen = [(said(each.claim), _command(said(each.told("HOME", RPC_PORT)))) for each in CHECKLIST]
    columns = [said(name) for name in ("must be true", "how to see it on the host")]
    parts.append(f"{said(_UNSEEN)}\n{table(columns, unseen)}\n")
    return "\n".join(parts)


def sections(
    grouped_rules: Sequence[tuple[str, Sequence[Rule[Any]]]], said: Callable[[str], str]
) -> list[str]:
    """Give a table of rules below each heading.

    Args:
        grouped_rules: See `grouped`.
        said: Puts a text into the page's language.
    """
    head = [said(name) for name in HEAD]
    return [
        f"## {said(heading)}\n\n{table(head, [row_of(rule, said) for rule in rules])}\n"
        for heading, rules in grouped_rules
    ]


def grouped(
    rules: Sequence[R], groups: Mapping[str, tuple[str, ...]] = GROUPS
) -> list[tuple[str, list[R]]]:
    """Put rules below their headings, in their own order; a heading without rules is left out.

    Args:
        rules: All of one page.
        groups: The page's headings, with the modules whose rules stand below them.

    Raises:
        KeyError: A rule stands in a module that no heading names.
    """
    headings = {module: heading for heading, modules in groups.items() for module in modules}
    found: dict[str, list[R]] = {heading: [] for heading in groups}
    for rule in rules:
        found[headings[rule.judge.__module__.rpartition(".")[2]]].append(rule)
    return [(heading, members) for heading, members in found.items() if members]


def row_of(rule: Rule[Any], said: Callable[[str], str]) -> tuple[str, ...]:
    """Give the row of a rule, below `HEAD`."""
    return (
        Markdown(f'<a id="{rule.id}"></a>`{rule.id}`'),
        said(rule.title),
        rule.prod.value,
        rule.lab.value,
        said(rule.otherwise) or "—",
        said(_openness(rule)),
        rule.source,
    )


def _openness(rule: Rule[Any]) -> str:
    if not may_be_overridden(rule):
        return "no"
    return "its warnings" if rule.softens else "yes"


def _command(text: str) -> Markdown:
    # A cell ends at each bar, inside of code too.
    return Markdown("`{}`".format(text.replace("|", "\\|")))


if __name__ == "__main__":
    sys.stdout.write(page(*sys.argv[1:2]))
