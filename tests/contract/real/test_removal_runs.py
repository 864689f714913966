"""Tests of the simulator against the recorded evening in which members and zones leave.

As `test_timelines.py` does it: order, not seconds; logs line by line.
"""

import pytest

from obscale.sandbox.dags import removal
from tests.contract.real.dags import read_dag, shape
from tests.contract.real.evening import FOLDER, evening
from tests.contract.real.recordings import REAL, is_dag_alone, recordings
from tests.contract.real.timelines import disagreements, read_recording, without

SAID_BY_OBSCALE = {"blocked-obscale-plan", "blocked-obscale-verify"}
"""What an earlier obscale printed: no look at an agent."""
OTHER_LOGS = {
    "force-held": "the stand-ins had no log streams but those of sys, and founders have no logs",
    "force-held-rolledback": "the stand-ins had no log streams but those of sys",
    "maintainer": "founders have no logs",
    "job-retried": "a line came a third of a second after the state it belongs to",
}
"""Runs in which the number of lines is not compared, each with its reason."""
TIMELINES = sorted(path.stem for path in (REAL / FOLDER).glob("*.txt"))
DAGS = sorted(path.stem for path in (REAL / FOLDER).glob("*.json") if is_dag_alone(path))


def told_apart(name):
    """Where a recorded timeline is not the played one."""
    spoilt = {"logs"} if name in OTHER_LOGS else set()
    return disagreements(
        without(spoilt, read_recording(name, 4, FOLDER)), without(spoilt, evening().seen[name])
    )


def test_everything_recorded_is_played():
    """No answer, DAG or timeline of that evening is left out, and none is played twice."""
    played = [each.recording.short for each in evening().asked]

    assert sorted(played) == sorted(each.short for each in recordings(FOLDER))
    assert sorted(evening().dags) == DAGS
    assert sorted(evening().seen) == sorted(set(TIMELINES) - SAID_BY_OBSCALE)
    assert (len(played), len(DAGS), len(TIMELINES)) == (147, 24, 27)


@pytest.mark.parametrize("name", sorted(set(TIMELINES) - SAID_BY_OBSCALE))
def test_timeline(name):
    """Nodes, states, operators, identities, obState, locks and who is listed, in their order."""
    assert told_apart(name) == []


@pytest.mark.parametrize("name", sorted(OTHER_LOGS))
def test_uncompared_lines_are_needed(name):
    """A reason that has gone is taken away."""
    assert disagreements(read_recording(name, 4, FOLDER), evening().seen[name]) != []


@pytest.mark.parametrize("name", DAGS)
def test_dag(name):
    """Every node with its sub task, who executed it, and every line of its log."""
    assert shape(evening().dags[name]) == shape(read_dag(name, FOLDER))


@pytest.fixture
def another_evening():
    """Plays the evening anew, and forgets it afterwards."""
    evening.cache_clear()
    yield
    evening.cache_clear()


def _never_broadcast(monkeypatch):
    monkeypatch.setattr(removal, "BROADCAST_SECONDS", 1000.0)


def _keep_the_row(monkeypatch):
    monkeypatch.setattr(removal, "SCALING_IN", "CLUSTER AGENT")


@pytest.mark.parametrize(
    ("change", "run", "noticed"),
    [
        (_never_broadcast, "held", "SCALING IN"),
        (_keep_the_row, "maintainer", "SCALING IN"),
    ],
)
def test_a_change_of_the_simulator_is_noticed(monkeypatch, another_evening, change, run, noticed):
    """An identity that comes never, or is another one, makes the recorded run another one."""
    change(monkeypatch)

    assert any(noticed in line for line in told_apart(run))
