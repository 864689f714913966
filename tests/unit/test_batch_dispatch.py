"""Tests of the decisions about a batch's runs on workers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obscale.batch.dispatch import (
    ALIVE,
    SETTLED,
    PermitInbox,
    RowStatus,
    RunState,
    SilenceTimer,
    Step,
    WorkerRun,
    decide_part,
    read_status_rows,
)
from obscale.batch.dispatch_rows import (
    PermitState,
    WorkerAssignment,
    apply_result,
    apply_status,
    part_in,
    status_rows,
    take_up_row,
)
from obscale.batch.ledger import ledger_of
from obscale.batch.schedule import RowState
from obscale.preflight.facts import TargetProgress
from obscale.request.policies import BatchPolicies, WorkersPolicy
from obscale.spec.batch import parse_batch

MINE, OTHER = "10.0.0.4:2886", "10.0.0.5:2886"
WORD = "obscale-row-1"
BATCH = """
policies: {dispatch: deployment, on_failure: retry}
connections:
  written: {endpoints: ["10.0.9.1:2886"], password: {env: OB_ROOT}}
defaults: {obConfigs: {memory_limit: 16G, log_disk_size: 24G, datafile_size: 24G}}
clusters:
  - cluster: prod-east
    allow_new_zone: true
    nodes:
      - {agentInfo: {ip: 10.0.0.4}, zone: zone1}
      - {agentInfo: {ip: 10.0.0.5}, zone: zone2, targetAgentPassword: {block: spare}}
  - cluster: written
    nodes: [{agentInfo: {ip: 10.0.0.6}, zone: zone1}]
"""


def seen(state=RunState.RUNNING, *rows, silent=0.0, is_heard=True):
    return WorkerRun(state, "", is_heard, {row.target: row for row in rows}, silent)


def row(state=RowState.WAITING, target=MINE, **words):
    return RowStatus(target=target, state=state, **words)


def ledger(tmp_path, text=BATCH):
    made = ledger_of(parse_batch(text, "batch.yaml", tmp_path))
    for entry in made.entries:
        entry.lane = entry.cluster
    return made


@pytest.mark.parametrize(
    ("run", "word", "step"),
    [
        (seen(RunState.SCHEDULED, is_heard=False), "", Step.WAIT),
        (seen(RunState.SCHEDULED, is_heard=False, silent=9999), "", Step.WAIT),
        (seen(RunState.PENDING, is_heard=False), "", Step.WAIT),
        (seen(RunState.PENDING, is_heard=False, silent=599), "", Step.WAIT),
        (seen(RunState.PENDING, is_heard=False, silent=601), "", Step.SILENT),
        (seen(RunState.RUNNING, is_heard=False), "", Step.WAIT),
        (seen(RunState.RUNNING, row()), "", Step.GRANT),
        (seen(RunState.RUNNING, row()), WORD, Step.WAIT),
        (seen(RunState.RUNNING, row(declined=WORD)), WORD, Step.GRANT),
        (seen(RunState.RUNNING, row(declined="old")), WORD, Step.WAIT),
        (seen(RunState.RUNNING, row(), row(RowState.RUNNING, OTHER)), "", Step.WAIT),
        (seen(RunState.RUNNING, row(RowState.RUNNING, word=WORD)), WORD, Step.WAIT),
        (seen(RunState.RUNNING, row(RowState.RUNNING, word=WORD), silent=121), WORD, Step.SILENT),
        (seen(RunState.RUNNING, row(RowState.VERIFIED, word=WORD)), WORD, Step.SETTLED),
        (seen(RunState.CRASHED, row(RowState.VERIFIED, word=WORD)), WORD, Step.SETTLED),
        (seen(RunState.RUNNING, row(RowState.FAILED, word="of another time")), "", Step.GRANT),
        (seen(RunState.RUNNING, row(RowState.FAILED, word="of another time")), WORD, Step.WAIT),
        (seen(RunState.RUNNING, row(word=WORD, called_off=WORD)), WORD, Step.PUT_BACK),
        (seen(RunState.CRASHED, row(word=WORD, called_off=WORD)), WORD, Step.PUT_BACK),
        (seen(RunState.RUNNING, row(word="old", called_off="old")), WORD, Step.WAIT),
        (seen(RunState.RUNNING, row(word="old", called_off="old")), "", Step.GRANT),
        (seen(RunState.COMPLETED, row()), WORD, Step.GONE),
        (seen(RunState.FAILED, row(RowState.LEFT, word=WORD)), WORD, Step.GONE),
        (seen(RunState.CRASHED, is_heard=False), "", Step.GONE),
        (seen(RunState.CANCELLED, row(RowState.LEFT, word=WORD)), WORD, Step.CANCELLED),
        (seen(RunState.CANCELLING, row(RowState.RUNNING, word=WORD)), WORD, Step.CANCELLED),
    ],
)
def test_each_sight_of_a_run_leads_to_one_step(run, word, step):
    """The table of decisions."""
    assert decide_part(run, MINE, word, 120, 600).step is step


runs = st.builds(
    WorkerRun,
    state=st.sampled_from(RunState),
    is_heard=st.booleans(),
    silent_seconds=st.sampled_from((0.0, 60.0, 600.0)),
    told=st.lists(
        st.builds(
            RowStatus,
            target=st.sampled_from((MINE, OTHER)),
            state=st.sampled_from(RowState),
            word=st.sampled_from(("", WORD, "old")),
            declined=st.sampled_from(("", WORD, "old")),
            called_off=st.sampled_from(("", WORD, "old")),
        )
    ).map(lambda rows: {each.target: each for each in rows}),
)


@given(runs, st.sampled_from(("", WORD)))
def test_a_word_is_given_only_to_a_run_that_listens_and_is_at_no_row(run, word):
    """So no two rows of a cluster begin at once, and none in a run that is dead."""
    if decide_part(run, MINE, word, 120, 600).step is Step.GRANT:
        assert run.state in ALIVE
        assert run.is_heard
        assert run.state is RunState.RUNNING
        assert run.silent_seconds <= 120
        assert all(each.state is not RowState.RUNNING for each in run.told.values())


@given(runs, st.sampled_from(("", WORD)))
def test_an_ending_counts_only_for_the_word_it_was_begun_by(run, word):
    """What a run did at another time, for a batch that died, is no answer."""
    if decide_part(run, MINE, word, 120, 600).step is Step.SETTLED:
        assert run.told[MINE].word == word != ""
        assert run.told[MINE].state in SETTLED


def test_silence_is_counted_only_while_somebody_looks():
    """A server that was away for an hour makes no worker dead."""
    signs = SilenceTimer(longest_step_seconds=15)

    assert signs.look("a", at=100.0) == 0
    assert signs.look("a", at=110.0) == 10
    assert signs.look("a", at=4000.0) == 25
    assert signs.look("b", at=4001.0) == 0


def test_a_word_that_lay_there_at_the_first_look_is_declined():
    """A run that begins a day late starts nothing by yesterday's word."""
    inbox = PermitInbox(fresh_seconds=30)

    assert inbox.sort(["old"], at=0.0) == ([], ["old"])
    assert inbox.sort(["old", "new"], at=1.0) == (["new"], [])
    assert inbox.sort(["old", "new"], at=2.0) == ([], [])


def test_a_word_found_after_a_long_pause_is_declined():
    """So is what was said to a run that slept, was cut off, or was at work on another row."""
    inbox = PermitInbox(fresh_seconds=30)
    inbox.sort([], at=0.0)

    assert inbox.sort(["late"], at=31.0) == ([], ["late"])
    inbox.forget()
    assert inbox.sort(["late", "unasked"], at=31.5) == ([], ["unasked"])
    assert inbox.sort(["asked"], at=32.0) == (["asked"], [])


def test_a_part_holds_just_what_its_cluster_was_asked_for(tmp_path):
    """Rows, switches, the written connection and the policy; secrets stay names."""
    made = ledger(tmp_path)

    east = WorkerAssignment.of(made.key, made.entries[:2])
    written = WorkerAssignment.of(made.key, made.entries[2:])

    assert east.name == "rows of prod-east: 2 nodes"
    assert east.tags[:2] == (f"batch:{made.key}", "cluster:prod-east")
    assert set(east.tags[2:]) == {f"zone:{entry.zone}" for entry in made.by_cluster()["prod-east"]}
    assert east.parameters["connections"] == {}
    assert east.parameters["on_failure"] == "retry"
    [asked] = east.parameters["clusters"]
    assert asked["allow_new_zone"] is True
    assert asked["nodes"][1]["targetAgentPassword"] == {"block": "spare"}
    assert written.name == "rows of written: 1 node"
    assert written.parameters["connections"]["written"]["password"] == {"env": "OB_ROOT"}
    again = ledger_of(parse_batch("clusters: " + repr([asked]), "part", tmp_path))
    assert [entry.order.node for entry in again.entries] == [
        entry.order.node for entry in made.entries[:2]
    ]


def test_the_same_rows_have_the_same_key_and_any_change_another(tmp_path):
    """So a batch begun again finds its runs, and never one that does something else."""
    first, again = ledger(tmp_path), ledger(tmp_path)
    other = ledger(tmp_path, BATCH.replace("memory_limit: 16G", "memory_limit: 32G"))

    one, same, changed = (
        WorkerAssignment.of(each.key, each.entries[:2]) for each in (first, again, other)
    )

    assert one.key(1) == same.key(1) != one.key(2)
    assert changed.batch == one.batch
    assert changed.key(1) != one.key(1)
    assert part_in(one.key(7)) == one.id
    assert part_in(changed.key(1)) != one.id
    assert part_in(changed.key(12)) == changed.id
    assert [part_in(key) for key in (None, "", "somebody-s")] == ["", "", ""]


def test_rows_told_are_read_back(tmp_path):
    """What one side writes into its table the other side reads; what it cannot read it leaves."""
    made = ledger(tmp_path)
    made.entries[0].begin()

    told = read_status_rows(
        [*status_rows(made, {MINE: PermitState(WORD)}), {"target": 7}, "nonsense"]
    )

    assert len(told) == 3
    assert (told[MINE].state, told[MINE].word) == (RowState.RUNNING, WORD)
    assert read_status_rows(None) == read_status_rows("text") == {}


def test_a_row_keeps_the_dag_a_lost_run_has_begun(tmp_path):
    """Although the run after that one found a member and knows of no DAG."""
    entry = ledger(tmp_path).entries[0]
    entry.begin()
    apply_status(entry, row(RowState.RUNNING, dag_id="11", how="posted", stage="stage 3/9"))

    apply_result(
        entry,
        row(
            RowState.VERIFIED,
            how="already a member",
            why="was a member already",
            level="CONFORMING",
        ),
    )

    assert (entry.dag_id, entry.how, entry.level) == ("11", "posted", "CONFORMING")
    assert entry.note == "the run that began it was lost; another one proved it"
    assert entry.state is RowState.VERIFIED


@pytest.mark.parametrize(
    ("state", "progress"),
    [(RowState.WAITING, TargetProgress.UNDER_WAY), (RowState.BLOCKED, TargetProgress.UNDER_WAY)],
)
def test_a_row_that_is_at_work_already_is_followed_whatever_preflight_said(
    tmp_path, state, progress
):
    """It goes first, and no window or stop rule keeps it from being followed."""
    entry = ledger(tmp_path).entries[0]
    entry.state, entry.note = state, "something"

    take_up_row(entry)

    assert (entry.state, entry.progress) == (RowState.WAITING, progress)


@pytest.mark.parametrize(
    "name", ["scale-out/scale-out-workers", "batch-part", "batch-part/", "a/b/c", ""]
)
def test_a_deployment_of_another_flow_is_refused_with_what_to_write(name):
    """A batch's rows handed to another flow would be lost."""
    with pytest.raises(ValueError, match=r"write e\.g\. batch-part/batch-part-workers"):
        WorkersPolicy(deployment=name)


def test_the_form_explains_each_field_of_dispatching():
    """Title, description, choices, and the order they are written in."""
    schema = BatchPolicies.model_json_schema()
    fields = schema["properties"] | schema["$defs"]["WorkersPolicy"]["properties"]

    for name in ("dispatch", "workers", "deployment", "silence_seconds", "wait_seconds"):
        assert fields[name]["title"]
        assert fields[name]["description"]
    assert schema["properties"]["dispatch"]["enum"] == ["process", "deployment"]
