"""Tests that the comparison with the recordings sees what changes, and that no rule hides it."""

import asyncio
import copy
from contextlib import contextmanager
from dataclasses import replace
from functools import reduce
from operator import getitem

import pytest

from obscale.sandbox import api, errors
from obscale.sandbox.agents import Agent
from obscale.sandbox.answers import agent as agent_answers
from obscale.sandbox.answers import cluster as cluster_answers
from obscale.sandbox.dags.dag import Dag, DagPrinter
from tests.contract.real.comparing import NEVER_RULED, RULES, compare, judged, kind_of
from tests.contract.real.recordings import STATES, recordings
from tests.contract.real.replay import all_asked, ask_scene
from tests.contract.real.worlds import SCENES

BY_FOLDER = {scene.folder: scene for scene in reversed(SCENES)}


def without(function, key):
    """The same answer without a key."""
    return lambda *a: {name: value for name, value in function(*a).items() if name != key}


def with_more(function, **more):
    """The same answer with a key more."""
    return lambda *a: function(*a) | more


def another_code(monkeypatch):
    told = errors.no_database
    monkeypatch.setattr(
        "obscale.sandbox.answers.task.no_database",
        lambda agent, prefix="": errors.Refusal(
            500, "Agent.OceanBase.Useless", told(agent, prefix).message
        ),
    )


def another_type(monkeypatch):
    monkeypatch.setattr(agent_answers, "RUNNING", "2")


def a_key_more(monkeypatch):
    more = with_more(agent_answers._printed_status, obPort=2882)
    monkeypatch.setattr(agent_answers, "_printed_status", more)


def a_key_less(monkeypatch):
    less = without(agent_answers._printed_status, "underMaintenance")
    monkeypatch.setattr(agent_answers, "_printed_status", less)


def another_identity(monkeypatch):
    monkeypatch.setattr(cluster_answers, "_row_identity", lambda *_: "FOLLOWER")


def another_lock(monkeypatch):
    monkeypatch.setattr(Agent, "under_maintenance", property(lambda _agent: False))


def another_order(monkeypatch):
    told = DagPrinter.dag

    def printed(self, dag: Dag, *, details=True):
        content = told(self, dag, details=details)
        return content | {"nodes": content["nodes"] and content["nodes"][::-1]}

    monkeypatch.setattr(DagPrinter, "dag", printed)


def another_header(monkeypatch):
    monkeypatch.setattr(api, "JSON_TYPE", "application/json; charset=utf-8")


@pytest.mark.parametrize(
    ("change", "folder", "seen_at"),
    [
        (another_code, "cluster-observer-down", "dag-maintain-ob"),
        (another_type, "single", "open-status"),
        (a_key_more, "single", "open-status"),
        (a_key_less, "single", "open-status"),
        (another_identity, "cluster", "ob-info"),
        (another_lock, "scaling-out", "open-status"),
        (another_order, "scaling-out", "dag-maintain-agent"),
        (another_header, "cluster", "hostinfo"),
    ],
)
def test_a_change_of_the_simulated_agents_is_seen(monkeypatch, change, folder, seen_at):
    """Each of these would be a simulated agent that is no obshell any more."""
    change(monkeypatch)

    asked = asyncio.run(ask_scene(BY_FOLDER[folder]))

    assert seen_at in {each.recording.short for each in asked if each.unnamed}


def leaves(value, path=()):
    """Every plain value of an answer, with the way to it."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from leaves(each, (*path, place))
    else:
        yield path, value


@contextmanager
def changed(body, path, value):
    """An answer with one value replaced, for a while."""
    place = reduce(getitem, path[:-1], body)
    told, place[path[-1]] = place[path[-1]], value
    yield
    place[path[-1]] = told


def fields_of(body):
    """One place for each field of an answer: rows of a list have the same fields."""
    rows = {tuple(key for key in path if isinstance(key, str)): path for path, _ in leaves(body)}
    return rows.values()


@pytest.mark.parametrize("folder", STATES)
def test_no_rule_hides_another_type_or_a_word_that_decides(folder):
    """Each value of each kind of answer, replaced by one of another type: always a difference."""
    hidden, kinds = [], set()
    for recording in recordings(folder):
        kind, told = kind_of(recording), recording.answer
        if kind in kinds or not isinstance(told.body, dict):
            continue
        kinds.add(kind)
        broken = replace(told, body=copy.deepcopy(told.body))
        for path in fields_of(told.body):
            other = 1 if isinstance(reduce(getitem, path, told.body), str) else "1"
            with changed(broken.body, path, other):
                if not compare(kind, told, broken):
                    hidden.append((recording.name, path))

    assert hidden == []
    assert kinds


def test_no_rule_is_about_what_decides():
    """Status, codes, identities, states: no rule has such a field, and each is about one field."""
    for rule in RULES:
        last = rule.field.rpartition(".")[2]
        assert last not in NEVER_RULED
        assert last != "*" or rule.field.endswith("task_logs.*")


def test_every_rule_is_needed():
    """A rule that covers no difference any more is taken away."""
    used = {
        rule
        for each in all_asked()
        for _, rule in judged(kind_of(each.recording), each.recording.answer, each.answer)
        if rule is not None
    }

    assert [(rule.name, rule.kind, rule.field) for rule in RULES if rule not in used] == []
