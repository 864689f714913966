"""Tests of the second question before what leaves takes the root service along."""

import pytest
import typer
from rich.console import Console

from obscale.cli.remove import ask_again
from obscale.removal.judge import before_of, judge
from obscale.removal.result import RemovalPreflight
from obscale.removal.words import leads_rootservice
from tests.unit.removal_facts import NOW, Case


def judged(profile, *, leads):
    """An order, and what preflight says of a node that leads the root service, or does not."""
    case = Case()
    if leads:
        case.alter(1, with_rootserver=False).alter(4, with_rootserver=True)
    facts = case.facts()
    seen = RemovalPreflight(judge(facts, profile), before_of(facts), NOW)
    return case.order.model_copy(update={"profile": profile}), seen


@pytest.fixture
def answering(monkeypatch):
    """Give what was asked; every question is answered with no."""
    asked = []

    def confirm(text, **_):
        asked.append(text)
        raise typer.Abort

    monkeypatch.setattr(typer, "confirm", confirm)
    return asked


def test_in_production_a_no_keeps_the_leader(answering):
    """It says what moves, and that statements pause."""
    order, seen = judged("prod", leads=True)

    with pytest.raises(typer.Abort):
        ask_again(order, seen, Console())

    (question,) = answering
    assert "10.0.0.4:2882 leads, and leaves" in question
    assert "statements pause for seconds" in question


@pytest.mark.parametrize(("profile", "leads"), [("prod", False), ("lab", True)])
def test_nobody_else_is_asked_twice(answering, profile, leads):
    """Neither where another server leads nor in the lab."""
    order, seen = judged(profile, leads=leads)

    ask_again(order, seen, Console())

    assert answering == []
    assert bool(leads_rootservice(seen.findings)) is leads
