"""`obscale explain WORD`: tells what a word of a plan, report or error means, without a network.

The words are those of the rules, causes, proofs and errors themselves, of which the pages are made.
"""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from obscale.cli.exits import MEANINGS, Exit, end_with, exit_code_of
from obscale.cli.options import AsJson
from obscale.cli.terminal import as_text, label, open_console, say_json
from obscale.errors import ObscaleError, SpecError
from obscale.sizes import quoted

if TYPE_CHECKING:
    from obscale.preflight.rule import Rule

MOST_GUESSES: Final = 5


@dataclass(frozen=True)
class Topic:
    """One word and what it means.

    Args:
        word: As plans, reports and errors write it.
        kind: What it is: rule, proof, cause, exit code, kind of error, fault card.
        title: What it says, in a sentence.
        lines: What else is known, by its label.
    """

    word: str
    kind: str
    title: str
    lines: Mapping[str, str] = field(default_factory=dict)


def _completed(incomplete: str) -> list[tuple[str, str]]:
    return [(t.word, t.kind) for t in topics() if t.word.startswith(incomplete.lstrip("["))]


def explain(
    word: Annotated[
        str | None,
        typer.Argument(
            metavar="WORD",
            help="Id of a rule, proof or cause, an exit code, a kind of error, or a fault card.",
            autocompletion=_completed,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a rule, proof, cause, exit code, kind of error or fault card means; offline.

    Without a word all of them are listed.

    Exit: 0 told, 2 no such word.
    """
    try:
        found = topics() if word is None else _named(word)
    except ObscaleError as error:
        end_with(error, as_json=as_json)
    if as_json:
        say_json({"topics": [{**vars(topic), "lines": dict(topic.lines)} for topic in found]})
    elif word is None:
        _list(found)
    else:
        _tell(found)


def topics() -> list[Topic]:
    """Give every word there is, by kind."""
    return [
        *_rules(),
        *_removal_rules(),
        *_replacement_rules(),
        *_proofs(),
        *_removal_proofs(),
        *_removal_causes(),
        *_causes(),
        *_exits(),
        *_errors(),
        *_cards(),
    ]


def _named(word: str) -> list[Topic]:
    """Find a word as somebody copied it, from a line with brackets say.

    Raises:
        SpecError: There is none like it.
    """
    wanted = word.strip().strip("[]`'\"#,.").lower()
    known = topics()
    for name in (wanted, wanted.partition(":")[0]):
        if found := [topic for topic in known if topic.word.lower() == name]:
            return found
    names = [topic.word for topic in known]
    near = [name for name in names if wanted and wanted in name.lower()]
    near += [name for name in get_close_matches(wanted, names, MOST_GUESSES) if name not in near]
    told = (
        f"did you mean {', '.join(near[:MOST_GUESSES])}?" if near else "obscale explain lists all"
    )
    raise SpecError(
        f"explain: {quoted(word)} is no rule, proof, cause, exit code, kind of error or fault card",
        told,
    )


def _rules() -> Iterator[Topic]:
    from obscale.preflight.registry import RULES  # noqa: PLC0415 - only where it is asked

    for rule in RULES:
        yield _topic(rule.id, "rule", f"asks whether {rule.title}", _of_rule(rule))


def _removal_rules() -> Iterator[Topic]:
    from obscale.preflight.registry import RULES as SHARED  # noqa: PLC0415 - as above
    from obscale.removal.judge import RULES  # noqa: PLC0415

    shared = {rule.id for rule in SHARED}
    for rule in RULES:
        if rule.id not in shared:
            yield _topic(rule.id, "rule of a removal", f"asks whether {rule.title}", _of_rule(rule))


def _replacement_rules() -> Iterator[Topic]:
    from obscale.replacement.judge import RULES  # noqa: PLC0415 - only where it is asked

    for rule in RULES:
        title = f"asks whether {rule.title}"
        yield _topic(rule.id, "rule of a replacement", title, _of_rule(rule))


def _use_rules() -> Iterator[Topic]:
    from obscale.use.rules import RULES  # noqa: PLC0415 - only where it is asked

    for rule in RULES:
        yield _topic(rule.id, "rule of a use", f"asks whether {rule.title}", _of_rule(rule))


def _of_rule(rule: "Rule[Any]") -> dict[str, str]:
    from obscale.preflight.finding import otherwise  # noqa: PLC0415 - only where it is asked
    from obscale.preflight.judge import may_be_overridden  # noqa: PLC0415

    accepted = "with `overrides` in the request, for a reason and until a day"
    if rule.is_final:
        accepted = "cannot be: data could be lost, or another node be taken"
    elif not may_be_overridden(rule):
        accepted = "cannot be: obshell or the observer would refuse the request anyway"
    elif rule.softens:
        accepted = f"{accepted}; a block cannot be"
    return {
        "looks at": inspect.getdoc(rule.judge) or "",
        "in production": rule.prod.value,
        "in the lab": rule.lab.value,
        "without it": otherwise(rule.otherwise),
        "accepted": accepted,
        "rests on": rule.source,
    }


def _proofs() -> Iterator[Topic]:
    from obscale.use.proofs import TITLES as USE_TITLES  # noqa: PLC0415
    from obscale.verify.levels import PROOFS  # noqa: PLC0415 - only where it is asked
    from obscale.verify.observation import Level  # noqa: PLC0415
    from obscale.verify.proofs.titles import TITLES  # noqa: PLC0415

    levels = {word: level for word, level, _ in PROOFS}
    for word, title in TITLES.items():
        level = levels.get(word, Level.CONFORMING)
        lines = {"level": f"{level.name}, which holds when its proofs and those below it hold"}
        yield _topic(word, "proof", title, lines)
    for word, title in USE_TITLES.items():
        lines = {"level": f"{Level.BALANCED.name} of a tenant, which holds when all of these hold"}
        yield _topic(word, "proof", title, lines)


def _removal_proofs() -> Iterator[Topic]:
    from obscale.removal.titles import TITLES  # noqa: PLC0415 - only where it is asked
    from obscale.replacement.proofs import TITLES as MORE  # noqa: PLC0415

    for word, (level, title) in (*TITLES.items(), *MORE.items()):
        lines = {"level": f"{level.name}, which holds when its proofs and those below it hold"}
        yield _topic(word, "proof", title, lines)


def _removal_causes() -> Iterator[Topic]:
    from obscale.removal.failure import TITLES  # noqa: PLC0415 - only where it is asked

    for word, title in TITLES.items():
        yield _topic(word, "cause", title, {})


def _causes() -> Iterator[Topic]:
    from obscale.recovery.causes import CAUSES  # noqa: PLC0415 - only where it is asked
    from obscale.recovery.consequences import Remedy  # noqa: PLC0415
    from obscale.use.causes import CAUSES as USE_CAUSES  # noqa: PLC0415

    words = {
        Remedy.RETRY: "obscale recover … --retry, where it is safe",
        Remedy.ROLLBACK: "obscale recover … --roll-back, where it is safe",
        Remedy.HAND_OVER: "a person acts, on the host or in the database",
    }
    for cause in CAUSES:
        lines = {"cured by": words[cause.cure], "by hand": cause.by_hand, "rests on": cause.source}
        yield _topic(cause.id, "cause", cause.title, lines)
    for each in USE_CAUSES:
        does = (
            "on_failure: retry, where nothing was changed" if each.is_retried else "a person acts"
        )
        yield _topic(each.id, "cause", each.title, {"cured by": does, "by hand": each.by_hand})


def _exits() -> Iterator[Topic]:
    for code in Exit:
        yield _topic(str(int(code)), "exit code", MEANINGS[code], {})


def _errors() -> Iterator[Topic]:
    from obscale import errors  # noqa: PLC0415 - its classes are looked through

    for each in vars(errors).values():
        if inspect.isclass(each) and issubclass(each, ObscaleError) and each is not ObscaleError:
            first = (inspect.getdoc(each) or "").partition("\n\n")[0]
            code = exit_code_of(each.__new__(each))
            yield _topic(
                each.kind, "kind of error", first, {"exit code": f"{int(code)}: {MEANINGS[code]}"}
            )


def _cards() -> Iterator[Topic]:
    from obscale.sandbox.faults.cards import CARDS  # noqa: PLC0415 - only where it is asked

    for name, card in CARDS.items():
        lines = {
            "needs": ", ".join(card.needs),
            "takes": ", ".join(sorted(card.fields - {*card.needs})),
            "played by": f"obscale rehearse SPEC --fault {name}"
            + (":" + ",".join(f"{key}=…" for key in card.needs) if card.needs else ""),
        }
        yield _topic(name, "fault card", card.docs, lines)


def _topic(word: str, kind: str, title: str, lines: Mapping[str, str]) -> Topic:
    told = {name: " ".join(text.split()) for name, text in lines.items() if text}
    return Topic(word, kind, " ".join(title.split()), told)


def _tell(found: list[Topic]) -> None:
    console = open_console()
    for topic in found:
        head = as_text(topic.word, style="bold")
        head.append_text(as_text(f"  {label(topic.kind)}", style="dim not bold"))
        console.print(head)
        console.print(as_text(f"  {topic.title}"))
        rows = Table.grid(padding=(0, 2))
        rows.add_column(no_wrap=True)
        rows.add_column(overflow="fold")
        for name, text in topic.lines.items():
            rows.add_row(as_text(f"  {label(name)}", style="dim"), as_text(text))
        console.print(rows)


def _list(found: list[Topic]) -> None:
    console = open_console()
    width = max(len(topic.word) for topic in found)
    kind = ""
    for topic in found:
        if topic.kind != kind:
            kind = topic.kind
            console.print(as_text(label(kind), style="bold"))
        line = as_text(f"  {topic.word:<{width}}  ")
        line.append_text(as_text(topic.title, style="dim"))
        console.print(line, no_wrap=True, overflow="ellipsis")
