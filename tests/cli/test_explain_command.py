"""Tests of `obscale explain`: whatever a plan, report or error names is told, offline."""

import json

import pytest

from obscale.cli.exits import Exit
from obscale.cli.explain import topics
from obscale.errors import SpecError
from obscale.preflight.registry import RULES
from obscale.recovery.causes import CAUSES
from obscale.removal.judge import RULES as OF_REMOVAL
from obscale.sandbox.faults.cards import CARDS
from obscale.verify.levels import PROOFS
from obscale.verify.proofs.titles import TITLES


def test_everything_that_can_be_named_is_explained():
    """Each with a sentence of its own."""
    known = {topic.word: topic for topic in topics()}
    named = [*(rule.id for rule in (*RULES, *OF_REMOVAL)), *(cause.id for cause in CAUSES), *CARDS]
    named += [*(row[0] for row in PROOFS), *(str(int(code)) for code in Exit), SpecError.kind]

    assert not [word for word in named if word not in known or not known[word].title]


def test_no_proof_is_explained_that_there_is_not():
    """But for the one with a line for each parameter."""
    assert TITLES.keys() == {row[0] for row in PROOFS} | {"pv-params-effective"}


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("disk-fits", "asks whether"),
        ("rm-units-fit", "asks whether the units fit on the servers of the zone that stay"),
        ("rm-majority", "cannot be: data could be lost"),
        ("[directory-not-empty]", "a directory meant for the observer holds something"),
        ("pv-params-effective:memory_limit", "start option is in effect"),
        ("3", "no agent could be asked, or Prefect is needed and does not answer"),
        ("under-maintenance", "A DAG holds the maintenance lock."),
        ("fail_stage", "--fault fail_stage:stage=…"),
    ],
)
def test_a_word_is_told_as_it_was_copied(run_here, word, told):
    """With the brackets and parameters that stand around it on a screen."""
    ended = run_here("explain", word)

    assert ended.code == 0
    assert told in " ".join(ended.out.split())


@pytest.mark.parametrize(
    ("word", "guess"),
    [("disk-fit", "disk-fits"), ("observer-dead", "observer-died"), ("zzz", "lists all")],
)
def test_an_unknown_word_is_answered_with_those_like_it(run_here, word, guess):
    """Exit 2, in one line."""
    ended = run_here("explain", word)

    assert ended.code == 2
    assert f"{word!r} is no rule" in ended.err
    assert guess in ended.err


def test_a_program_gets_all_of_them(run_here):
    """By kind, each with its lines."""
    data = json.loads(run_here("explain", "--json").out)

    assert data["schema_version"] == 1
    assert {topic["kind"] for topic in data["topics"]} == {
        *(
            "rule",
            "rule of a removal",
            "rule of a replacement",
            "proof",
            "cause",
            "exit code",
            "kind of error",
            "fault card",
        )
    }
    (one,) = json.loads(run_here("explain", "disk-fits", "--json").out)["topics"]
    assert one["lines"]["in production"] == "block"
