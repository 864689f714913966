"""Tests that simulated agents answer what a real obshell answered, question by question."""

from collections import Counter

import pytest

from tests.contract.real.asking import SEALINGS
from tests.contract.real.meant import MEANT, MOST
from tests.contract.real.recordings import STATES, recordings
from tests.contract.real.replay import all_asked, counts, table

AGREE = {
    "single": (127, 127, 0),
    "cluster": (127, 116, 11),
    "cluster-observer-down": (73, 69, 4),
    "scaling-out": (80, 80, 0),
    "answers": (33, 32, 1),
    "removal": (147, 142, 5),
}
"""By folder: answers, those that agree, those that differ on purpose."""


@pytest.mark.parametrize("folder", STATES)
def test_every_answer_is_the_real_one_or_differs_on_purpose(folder):
    """Status line, headers, keys, types, codes, messages and order; nothing else is left open."""
    differ = {
        each.recording.name: each.unnamed
        for each in all_asked()
        if each.recording.name.startswith(f"{folder}/") and each.unnamed
    }

    assert differ == {}


def test_so_many_answers_agree():
    """The counts by folder; a run of `python -m tests.contract.real.replay` prints this table."""
    told = table()

    assert counts() == AGREE
    assert all(folder in told for folder in AGREE)


def test_every_recording_is_asked_once():
    """No recording is left out, none asked twice."""
    asked = Counter(each.recording.name for each in all_asked())

    assert asked == Counter(each.name for folder in STATES for each in recordings(folder))


def test_what_is_meant_to_differ_does():
    """At most so many, each with a recording that really differs, in each place that is named."""
    differ = {each.recording.name: each.differences for each in all_asked()}

    assert len(MEANT) <= MOST
    assert [name for name in MEANT if not differ.get(name)] == []


def test_every_odd_sealing_belongs_to_a_recording():
    """A recording that is gone takes its entry along."""
    known = {each.short for folder in STATES for each in recordings(folder)}

    assert set(SEALINGS) <= known


def test_parameters_are_listed_with_the_keys_of_the_real_ones():
    """Their names differ on purpose; a row is as the real one of its scope."""
    (asked,) = (e for e in all_asked() if e.recording.name == "cluster/obcluster-parameters")

    def keys(answer):
        return {
            row["scope"]: (row.keys(), *(each.keys() for each in row["ob_parameters"][:1]))
            for row in answer.body["data"]["contents"]
        }

    assert keys(asked.answer) == keys(asked.recording.answer)
