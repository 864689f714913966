"""Tests of what is made from a run's events: by their fields, whatever the words of a line say."""

from datetime import UTC, datetime

import pytest
from rich.console import Console

from obscale import events
from obscale.agent.models import State
from obscale.batch.ledger import Entry
from obscale.cli.batch_view import LiveBatch
from obscale.cli.interrupted import RunPosition
from obscale.cli.run_view import LiveRun
from obscale.events import (
    AgentNotice,
    BaselineFound,
    BatchWaits,
    DagMoved,
    Diagnosed,
    Judged,
    LevelReached,
    Line,
    LookedAgain,
    PersonAnswered,
    PersonAsked,
    Posting,
    PrefectNotice,
    ProofNotice,
    ProofsHold,
    RemedyDecided,
    RowChanged,
    SubmitSettled,
    Verified,
    WaitsForAnswer,
    WaitsForLock,
    WaitsForProofs,
    WaitsForWindow,
)
from obscale.follow.progress import describe_progress
from obscale.recovery.consequences import Remedy
from obscale.report.report import Decided
from obscale.request.models import AgentInfoSpec, NodeSpec
from obscale.request.policies import Window
from obscale.request.scale_out import ScaleOut
from obscale.submit.result import Submitted
from obscale.tasks.runtime.events import Heard, signals_of
from obscale.tasks.runtime.report import ReportBuilder
from tests.conftest import scale_out_dag, zone
from tests.unit.joined_node import judge
from tests.unit.test_batch_plan import looked_at
from tests.unit.test_rules_recovery import SAFE, found

NOW = datetime(2026, 11, 29, 2, tzinfo=UTC)
ORDER = ScaleOut(
    cluster="east",
    node=NodeSpec(
        agentInfo=AgentInfoSpec(ip="10.0.0.4", port=2886),
        zone="zone2",
        obConfigs={"mysql_port": "2881", "rpc_port": "2882"},
    ),
)
LOG = "create local scale out dag success, genericID:20167772164028867"


def whole_run(world):
    """Give a run that is approved, fails, is retried and ends well, with all that may be told."""
    growing, failed = scale_out_dag(LOG, state="RUNNING"), scale_out_dag(LOG)
    done = failed.model_copy(update={"state": State.SUCCEED})
    submitted = Submitted(dag_id=growing.id, how="posted", why="no DAG for this target", at=NOW)
    moves = [*zip((None, growing, failed), (growing, failed, done), strict=True)]
    first, second, third = [
        [DagMoved(step="poll", dag=now, change=each) for each in describe_progress(then, now)]
        for then, now in moves
    ]
    decided = Decided(at=NOW, about="approval", choice="approve", who="kim", why="planned")
    old, new = (zone("zone1", 1),), (zone("zone1", 1), zone("zone2", 4))
    return (
        Judged(findings=world.judge(), zones=old, versions={"obshell": "4.5.0.0"}),
        PersonAsked(step="approval", about="approval", choices=("approve", "reject"), seconds=60),
        PersonAnswered(step="approval", decided=decided),
        AgentNotice(line="agent.silent agent=10.0.0.2:2886"),
        WaitsForWindow(window=Window(start="02:00", end="04:00"), opens=NOW),
        LookedAgain(zones=old),
        WaitsForLock(what="DAG 16 'Restore tenant app' holds the lock", seconds=10),
        Posting(newest_dag=16, agent="10.0.0.1:2886"),
        WaitsForAnswer(agent="10.0.0.1:2886", seconds=5),
        SubmitSettled(submitted=submitted, dag=growing),
        *first,
        *second,
        Diagnosed(diagnosis=found(SAFE, SAFE)),
        RemedyDecided(remedy=Remedy.RETRY, why="it is safe"),
        *third,
        WaitsForProofs(what="pv-service-started: not yet", seconds=3),
        ProofsHold(seconds=12, wanted=30),
        LevelReached(levels=judge(), zones=new),
        ProofNotice(line="verify.against proof=pv-no-collateral found='10.0.0.2:2882 INACTIVE'"),
        PrefectNotice(line="prefect.away since=02:00:00Z", words="Prefect does not answer"),
        Verified(levels=judge(), zones=new),
    )


class Listeners:
    """All that is made from the events of a run."""

    def __init__(self):
        self.console = Console(width=200, force_terminal=False, record=True, quiet=False)
        self.builder, self.entry = ReportBuilder(ORDER), Entry(1, "east", ORDER)
        self.where = RunPosition(["r.yaml"])
        self.where.begin(ORDER.target)
        self.live = LiveRun(self.console, "run", attached=True)
        self.heard, self.signals = Heard(), []

    def hear(self, told):
        """Take one event."""
        for listener in (self.builder, self.entry, self.where, self.live):
            listener.hear(told)
        self.heard, sent = signals_of(self.heard, told)
        self.signals += sent

    def state(self):
        """Give all that was made so far, but for the words of the report's timeline."""
        report = self.builder.report().model_dump(exclude={"timeline"})
        return (
            *(report, vars(self.entry).copy(), self.where.words(), tuple(self.signals)),
            self.console.export_text(clear=False),
        )


def states_of(told):
    """Give what was made after each event: a run may be cut off after any."""
    listeners, states = Listeners(), []
    for each in told:
        listeners.hear(each)
        states.append(listeners.state())
    return states


def test_observers_the_last_look_could_not_read_stay_in_the_report():
    """Else the report of a batch's row looks as if all servers were gone."""
    builder = ReportBuilder(ORDER)
    builder.hear(LevelReached(levels=judge(), zones=(zone("zone1", 1), zone("zone2", 4))))
    seen = builder.report().after

    builder.hear(Verified(levels=judge(), zones=()))

    assert len(seen) == 2
    assert builder.report().after == seen


@pytest.fixture
def wordless(monkeypatch):
    """Give what takes the words from every line, but for the name of its event."""
    return lambda: monkeypatch.setattr(events, "text_of", lambda told: type(told).__name__)


def test_a_run_is_reported_and_shown_the_same_whatever_its_lines_say(world, wordless):
    """Report, row, screen, place of an interrupted run and Prefect's events after each event."""
    told = whole_run(world)
    with_words = states_of(told)
    wordless()

    assert states_of(told) == with_words

    builder = ReportBuilder(ORDER)
    builder.hear(told[0])
    assert [moment.text for moment in builder.report().timeline] == ["Judged"]


def test_nothing_follows_from_words_alone(world):
    """Lines with the same words as the events of a whole run are for people only."""
    listeners = Listeners()
    untouched = listeners.state()

    for each in whole_run(world):
        listeners.hear(Line(step=each.step, words=events.text_of(each), severity=each.severity))

    assert listeners.state() == untouched


def test_each_event_is_taken_where_it_counts(world):
    """What is made of a whole run, and where it stood when only the POST was told."""
    listeners = Listeners()
    told = whole_run(world)
    at = next(number for number, each in enumerate(told) if isinstance(each, Posting))
    for each in told[:at]:
        listeners.hear(each)
    assert listeners.where.words() == ("nothing was sent", "")
    assert not listeners.entry.is_posted

    listeners.hear(told[at])
    assert "no scale-out of 10.0.0.4:2886 is known" in listeners.where.words()[0]
    assert listeners.entry.is_posted

    for each in told[at + 1 :]:
        listeners.hear(each)
    report, entry = listeners.builder.report(), listeners.entry
    assert (report.outcome, report.dag_id, report.submitted_how) == ("verified", "17", "posted")
    assert (report.level, report.diagnosis.cause) == ("CONFORMING", "observer-died")
    assert [each.who for each in report.decisions] == ["kim"]
    assert len(report.before) < len(report.after)
    assert len(report.timeline) == len(told)
    assert (entry.dag_id, entry.how, entry.level) == ("17", "posted", "CONFORMING")
    assert entry.cause == "the observer died [observer-died]"
    assert listeners.builder.versions["obshell"] == "4.5.0.0"
    names = [signal.name for signal in listeners.signals]
    assert names[:3] == ["planned", "asking", "submitted"]
    assert names[-1] == "joined"
    page = listeners.console.export_text()
    for words in (
        "submit: waits for the window",
        "submit: waits for DAG 16",
        "submit: waits for the answer of 10.0.0.1:2886 to the POST (for 5 s now)",
        "submit: posted, DAG 17",
        "verify: waits for pv-service-started",
        "agent.silent",
        "verify.against",
        "Prefect does not answer",
    ):
        assert words in page


def test_a_dag_that_was_there_brings_what_stood_before_it():
    """Nobody knows it: then nothing is reported as from before, whatever preflight saw."""
    listeners = Listeners()
    listeners.hear(LookedAgain(zones=(zone("zone1", 1),)))
    assert listeners.builder.report().before

    listeners.hear(BaselineFound(baseline=None))

    assert not listeners.builder.report().before


def test_a_batch_is_shown_the_same_whatever_its_lines_say(wordless):
    """Where nobody watches: a line for a wait, and one for each row that has ended."""
    wordless()
    ledger = looked_at()
    console = Console(width=120, force_terminal=False, record=True)
    live = LiveBatch(console)
    row = ledger.entries[0]
    row.begin()
    row.end(None)

    live.hear(AgentNotice(line="agent.silent agent=10.0.0.2:2886"))
    live.hear(ProofNotice(line="verify.against of one row among many"))
    live.hear(Line(step="batch", words="batch.waiting until=2026-11-29T02:00Z why='window'"))
    live.hear(BatchWaits(ledger=ledger, until=NOW))
    live.hear(RowChanged(ledger=ledger, row=row, what="verified"))

    said = console.export_text().splitlines()
    assert said[:2] == [
        "agent.silent agent=10.0.0.2:2886",
        "nothing new may start before 2026-11-29 02:00 UTC",
    ]
    assert len(said) == 3
    assert said[2].startswith(f"{row.target} → {row.zone} of east: verified")
