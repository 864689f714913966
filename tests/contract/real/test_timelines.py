"""Tests of the simulator against runs of a real obshell: node by node, in order, line by line.

Seconds are not compared, nor which of two snapshots a poller of 0.3 s has caught. What differs
between any two runs goes by the rules of `timelines.py` and `dags.py`, each for one thing.
"""

import pytest

from obscale.sandbox import request
from obscale.sandbox.agents import Agent
from obscale.sandbox.dags import cluster_scale_out, local_scale_out
from obscale.sandbox.dags.engine import Engine
from tests.contract.real.dags import read_dag, shape
from tests.contract.real.runs import PLAYS
from tests.contract.real.timelines import (
    RECORDED,
    Seen,
    disagreements,
    read_recording,
    without,
)

TIMELINES = [(name, play) for play, each in PLAYS.items() for name in each.timelines]
DAGS = [(name, play) for play, each in PLAYS.items() for name in each.dags]


def rows(recordings):
    """Parameters whose ids are the table: recording, and how it was played."""
    return [
        pytest.param(name, play, id=f"{name} played by {play}: {PLAYS[play].docs}")
        for name, play in recordings
    ]


@pytest.fixture(scope="module")
def played():
    """Plays a run when it is first asked for."""
    done = {}

    async def play(name):
        if name not in done:
            done[name] = await PLAYS[name].act()
        return done[name]

    return play


def told_apart(recording, play, stage):
    """Where a recorded timeline is not the played one."""
    spoilt = PLAYS[play].spoilt
    recorded = read_recording(recording, PLAYS[play].timelines[recording])
    return disagreements(without(spoilt, recorded), without(spoilt, stage.seen[recording]))


def test_every_recording_is_played():
    """None is left out, and none counts twice."""
    timelines = [path.stem for path in (RECORDED / "timelines").iterdir()]
    dags = [path.stem for path in (RECORDED / "dags").iterdir()]

    assert sorted(name for name, _ in TIMELINES) == sorted(timelines)
    assert sorted(name for name, _ in DAGS) == sorted(dags)
    assert (len(timelines), len(dags)) == (14, 16)


@pytest.mark.parametrize(("recording", "play"), rows(TIMELINES))
async def test_timeline(played, recording, play):
    """Order of nodes, states, operators, execute counts, identities, obState, ports and locks."""
    assert told_apart(recording, play, await played(play)) == []


@pytest.mark.parametrize(("recording", "play"), rows(DAGS))
async def test_dag(played, recording, play):
    """Every node with its sub task, who executed it, and every line of its log."""
    stage = await played(play)

    assert shape(stage.dags[recording]) == shape(read_dag(recording))


def _swap_last_nodes(monkeypatch):
    server, agent, check = cluster_scale_out._LAST_STEPS
    monkeypatch.setattr(cluster_scale_out, "_LAST_STEPS", (agent, server, check))


def _hold_no_lock(monkeypatch):
    monkeypatch.setattr(Agent, "under_maintenance", False)


def _call_itself_a_member(monkeypatch):
    monkeypatch.setattr(local_scale_out, "SCALING_OUT", "CLUSTER AGENT")


def _count_twice(monkeypatch):
    begin = Engine._begin

    def counted(engine, scene):
        scene.task.execute_times += 1
        begin(engine, scene)

    monkeypatch.setattr(Engine, "_begin", counted)


def _connect_early(monkeypatch):
    monkeypatch.setattr(Agent, "ob_state", 3)


def _let_gates_open(monkeypatch):
    monkeypatch.setattr(local_scale_out, "DEPLOY_STAGE", 1)


def _write_in_an_instant(monkeypatch):
    monkeypatch.setattr(request, "as_found", lambda dag, _seconds: dag)


@pytest.mark.parametrize(
    ("change", "noticed"),
    [
        (_swap_last_nodes, "Add server for scale_out"),
        (_hold_no_lock, "maint=True"),
        (_call_itself_a_member, "SCALING OUT"),
        (_count_twice, " x1 "),
        (_connect_early, "obState=0"),
        (_let_gates_open, "Start preparations"),
        (_write_in_an_instant, "sub PENDING/RUN x0"),
    ],
)
async def test_a_change_of_the_simulator_is_noticed(monkeypatch, change, noticed):
    """An order, a lock, an identity, a count: each alone makes the recorded run another one."""
    change(monkeypatch)
    stage = await PLAYS["new zone"].act()

    found = told_apart("newzone", "new zone", stage)

    assert any(noticed in line for line in found), found


async def test_a_changed_line_of_a_log_is_noticed(monkeypatch):
    """Not only how many there are."""
    monkeypatch.setattr(local_scale_out, "TRY_TO_CONNECT", "get ocs instance failed")
    stage = await PLAYS["existing zone"].act()

    recorded = shape(read_dag("dag-local-succeed"))
    differ = set(shape(stage.dags["dag-local-succeed"])) ^ set(recorded)

    assert sorted(differ) == [
        "  get ocs instance failed",
        "  get ocs instance failed: Agent is not holding OceanBase, try to connect",
    ]


class TestComparing:
    """What counts as the same run."""

    PLAYED = (
        Seen(0.0, {"info": "a", "status": "locked"}),
        Seen(3.0, {"info": "b", "status": "locked"}),
        Seen(6.0, {"info": "c", "status": "free"}),
        Seen(9.0, {"info": "d", "status": "free"}),
    )

    def test_what_is_short_may_be_missed(self):
        """A poller comes too late for it."""
        recorded = [Seen(0.0, {"info": "a"}), Seen(1.0, {"info": "c"}), Seen(2.0, {"info": "d"})]

        assert disagreements(recorded, self.PLAYED) == []

    def test_an_order_must_be_the_played_one(self):
        """The same texts the other way round are another run."""
        recorded = [Seen(0.0, {"info": "c"}), Seen(1.0, {"info": "b"})]

        assert disagreements(recorded, self.PLAYED) == ["1.0 info: 'b' is not played after 'c'"]

    def test_what_lasts_must_have_been_recorded(self):
        """Else it was not there."""
        lasting = [*self.PLAYED[:2], Seen(5.0, {"info": "b", "status": "locked"}), *self.PLAYED[2:]]
        recorded = [Seen(0.0, {"info": "a"}), Seen(1.0, {"info": "c"})]

        assert disagreements(recorded, lasting) == ["played 3.0 info: 'b' was not recorded"]

    def test_what_is_told_together_must_be_true_together(self):
        """The lock was held until the third text came."""
        recorded = [
            Seen(0.0, {"info": "a", "status": "locked"}),
            Seen(1.0, {"info": "b", "status": "free"}),
        ]

        assert disagreements(recorded, self.PLAYED) == [
            "1.0: 'b' and 'free' are played 3.0 s apart"
        ]

    def test_lines_of_a_log_come_one_after_another(self):
        """While a sub task runs any number between two is true, and no other."""
        text = "RUNNING/RUN 4/9 | Wait RUNNING/RUN | sub {} x1 logs={}"
        played = [
            Seen(0.0, {"cluster": text.format("RUNNING/RUN", 1)}),
            Seen(1.0, {"cluster": text.format("SUCCEED/RUN", 5)}),
        ]

        found = [
            disagreements([Seen(0.0, {"cluster": text.format(state, logs)})], played)
            for state, logs in (("RUNNING/RUN", 3), ("RUNNING/RUN", 6), ("SUCCEED/RUN", 3))
        ]

        assert [bool(each) for each in found] == [False, True, True]
