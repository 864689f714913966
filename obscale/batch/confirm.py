"""The word a person types before a batch takes nodes out, and the question it answers.

It says what is done and to how many nodes, as `remove 3 nodes`: nobody hits that by a habit of
answering y, nobody types a dozen addresses, and a key that is copied proves that nothing was read.
It is the same whenever the same batch is run again, and counts what the request names, as
`max_removals` does.
"""

from collections import Counter
from collections.abc import Iterator

from obscale.batch.kinds import WORDS, already_of
from obscale.batch.ledger import Entry, Ledger
from obscale.batch.schedule import FAILURES, RowState, decide_wave
from obscale.clock import utc_now
from obscale.errors import SpecError
from obscale.preflight.facts import ALREADY_SO, AT_WORK, TargetProgress
from obscale.request.asked import LEAVING
from obscale.text import Markdown, bullets, markdown, paragraphs

MOST_SHOWN = 100
"""Rows told one by one where a run asks; its findings and log have all."""


def word_of(ledger: Ledger) -> str:
    """Give the word to type, e.g. `remove 3 nodes`; empty: no node leaves, y or n will do."""
    if ledger.kind not in LEAVING:
        return ""
    count, words = len(ledger.entries), WORDS[ledger.kind]
    return f"{words.does.lower()} {count} {words.node if count == 1 else words.nodes}"


def is_confirmed(ledger: Ledger, typed: str) -> bool:
    """Whether what was typed is the word; blanks and case do not matter."""
    return " ".join(typed.split()).lower() == word_of(ledger)


def check_confirmed(ledger: Ledger, confirm: str) -> None:
    """See that a word given beforehand is that of this batch; an empty one is asked for later.

    Raises:
        SpecError: It is another one.
    """
    word = word_of(ledger)
    if word and confirm and not is_confirmed(ledger, confirm):
        raise SpecError(
            f"confirm: {confirm!r} is not what this batch does, {word}",
            f"type {word}, or leave it empty and answer the paused run",
        )


def would_leave(ledger: Ledger) -> list[Entry]:
    """Give the rows by which a node would leave, as things stand now."""
    stopped = decide_wave(ledger.rows(), ledger.sizes, ledger.policies, utc_now()).skip
    return [
        entry
        for entry in ledger.entries
        if entry.state is RowState.WAITING
        and entry.progress is TargetProgress.NEW
        and entry.number not in stopped
    ]


def question_of_batch(ledger: Ledger) -> str:
    """Ask whether a judged batch may begin, e.g. `remove 2 of 3 nodes from c1 (1 gone already)?`.

    Args:
        ledger: Judged.
    """
    leave, words = would_leave(ledger), WORDS[ledger.kind]
    names = list(dict.fromkeys(entry.cluster for entry in leave))
    where = ", ".join(names) if len(names) <= 3 else f"{len(names)} clusters"  # noqa: PLR2004
    total = len(ledger.entries)
    count = str(total) if len(leave) == total else f"{len(leave)} of {total}"
    beside = ", ".join(_beside(ledger))
    return (
        f"{words.does.lower()} {count} {words.node if total == 1 else words.nodes} "
        f"{'from' if ledger.kind == 'remove' else 'of'} {where}{f' ({beside})' if beside else ''}?"
    )


def _beside(ledger: Ledger) -> Iterator[str]:
    """Say what becomes of the other rows."""
    waiting = [e for e in ledger.entries if e.state is RowState.WAITING]
    done = Counter(already_of(e.order) for e in waiting if e.progress in ALREADY_SO)
    if under_way := sum(e.progress in AT_WORK for e in waiting):
        yield f"{under_way} under way"
    for words, count in done.items():
        yield f"{count} {words}"
    if blocked := sum(entry.state in FAILURES for entry in ledger.entries):
        yield f"{blocked} blocked"


def page_of_question(ledger: Ledger) -> Markdown:
    """Write what a paused run shows: the question, and what preflight says of each row."""
    rows = [
        markdown("{} of {}: {}", entry.what, entry.cluster, "; ".join(_told(entry)))
        for entry in ledger.entries[:MOST_SHOWN]
    ]
    return paragraphs(
        [
            markdown("## {}", question_of_batch(ledger)),
            bullets(rows),
            markdown("Type **{}**.", word_of(ledger)),
        ]
    )


def _told(entry: Entry) -> Iterator[str]:
    yield entry.verdict or entry.state.value
    if entry.note:
        yield entry.note
    yield from entry.warnings
