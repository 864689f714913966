"""Tests of a report's page: its first screen, its width, and what is folded."""

from datetime import UTC, datetime

import pytest

from obscale.batch.report import BatchReport, ClusterReport, RowReport, render_batch
from obscale.batch.schedule import RowState
from obscale.preflight.finding import Answer, Finding, Findings
from obscale.recovery.consequences import Choice, Remedy
from obscale.recovery.diagnosis import Diagnosis, Place
from obscale.recovery.interrupted import InterruptedState
from obscale.report.audit import KeptReport, render_kept
from obscale.report.page import recover_commands, render_markdown
from obscale.report.report import (
    Decided,
    EarlierEnd,
    Moment,
    Posted,
    ScaleOutReport,
    StageRow,
)
from obscale.report.servers import ServerRow
from obscale.tasks.runtime.baselines import folded_page_of, page_of, read_page
from obscale.text import Markdown, folded
from obscale.verify.baseline import Baseline
from obscale.verify.observation import Level, ProofAnswer, ProofLine
from tests.hostile_text import HOSTILE, MARK, faults_of_page

AT = datetime(2026, 11, 29, 2, tzinfo=UTC)


def finding(rule, answer, **changes):
    """Give a finding whose remedy and measure name its rule."""
    told = {
        "rule": rule,
        "answer": answer,
        "weight": answer,
        "subject": "",
        "measured": f"measured-{rule}",
        "needed": f"needed-{rule}",
        "remedy": f"remedy-{rule}",
        "otherwise": "POST",
        "overridable": False,
        "source": "",
        "title": "",
    }
    return Finding(**(told | changes))


FINDINGS = (
    finding("too-big", Answer.BLOCK),
    finding("too-far", Answer.BLOCK),
    finding("one-disk", Answer.WARN),
    finding("quiet-hour", Answer.INFO),
    finding("fine", Answer.PASS),
    finding("not-here", Answer.NOT_APPLICABLE),
)
BEFORE = tuple(
    ServerRow(zone=f"zone{n}", server=f"10.0.0.{n}:2882", status="RUNNING", memory_bytes=1, cpu=1)
    for n in (1, 2)
)
JOINED = ServerRow(
    zone="zone2", server="10.0.0.4:2882", status="RUNNING", memory_bytes=2**33, cpu=1
)
DIAGNOSIS = Diagnosis(
    cause="observer-died",
    title="the observer died at its start",
    dag_id="17",
    target="10.0.0.4:2886",
    place=Place(stage=5, max_stage=9, node="Wait", agent="10.0.0.1:2886"),
    evidence=("its last line: no memory",),
    choices=(
        Choice(operator=Remedy.RETRY, safe=True, does="repeats it"),
        Choice(operator=Remedy.ROLLBACK, safe=False, does="undoes it", destroys="a directory"),
        Choice(operator=Remedy.HAND_OVER, safe=True, does="read the log"),
    ),
    recommended=Remedy.HAND_OVER,
)
PROOFS = (
    ProofLine(
        id="pv-seen", level=Level.JOINED, answer=ProofAnswer.PASS, expected="seen", found="seen"
    ),
    ProofLine(
        id="pv-peers", level=Level.CONFORMING, answer=ProofAnswer.FAIL, expected="a", found="b"
    ),
    ProofLine(
        id="pv-late", level=Level.CONFORMING, answer=ProofAnswer.WAITING, expected="a", found="b"
    ),
)


def report(outcome="verified", **changes):
    """Give a report of a node that is added to zone2 of two zones."""
    told = {
        "outcome": outcome,
        "cluster": "east",
        "target": "10.0.0.4:2886",
        "zone": "zone2",
        "obConfigs": {"memory_limit": "16G"},
        "level": "CONFORMING" if outcome == "verified" else "NONE",
        "before": BEFORE,
        "before_at": AT,
        "command_name": "east",
        "run_id": "run-1",
    }
    return ScaleOutReport(**(told | changes))


def first_screen(page):
    """Give what stands above the folds."""
    return page.partition("<details>")[0]


def headings(page):
    """Give the titles of a page, in order."""
    return [line.lstrip("# ") for line in page.splitlines() if line.startswith("#")]


def test_a_verified_run_says_so_and_shows_each_zone_before_and_after():
    """Verdict, picture, zones; nothing that is green stands above the folds."""
    picture = Markdown("![zones](data:image/svg+xml;base64,AAAA)")
    page = render_markdown(
        report(
            after=(*BEFORE, JOINED),
            dag_id="17",
            submitted_how="posted",
            proofs=PROOFS[:1],
            findings=FINDINGS[3:],
            stages=(
                StageRow(stage=1, node="a", state="SUCCEED", operator="RUN", agent="", last_log=""),
            ),
        ),
        pictures=[picture],
    )

    assert first_screen(page).split("\n\n") == [
        "# 10.0.0.4:2886 into zone2 of east: verified",
        "**Verified up to CONFORMING (DAG 17 posted): 1 proofs hold; nothing is left to do.**",
        picture,
        "## Before and after",
        (
            "- **zone1**: 1 observer\n"
            "- **zone2**: 1 → 2 observers; new 10.0.0.4:2882 RUNNING, 8.0 GiB for units"
        ),
        "Before is as of 2026-11-29 02:00:00 UTC.",
        "",
    ]
    for told in ("remedy-quiet-hour", "1 SUCCEED", "JOINED pass pv-seen", "memory_limit 16G"):
        assert told.split()[-1] in page.partition("<details>")[2]
    assert "measured-fine" not in page
    assert "1 rules pass, 1 do not apply" in page
    assert page.endswith("```\nobscale evidence run-1\n```\n")


def test_a_blocked_run_lists_every_remedy_and_loses_no_server():
    """All blockers with measured and needed; no empty heading; the observers are still there."""
    page = render_markdown(
        report(
            "blocked",
            findings=FINDINGS,
            before_at=None,
            error="blocked by preflight: …. Next: remedy-too-big",
            error_kind="blocked",
            next="remedy-too-big",
            again="obscale apply east.yaml",
        )
    )

    assert headings(page)[1:] == ["What to do", "Before and after", "Findings"]
    assert "**Blocked by 2 of 6 rules; nothing was sent to the cluster.**" in page
    assert (
        "- **remedy-too-big** (too-big: measured measured-too-big, needed needed-too-big)\n"
        "- **remedy-too-far** (too-far: measured measured-too-far, needed needed-too-far)\n"
    ) in page
    assert "```\nobscale apply east.yaml\n```" in page
    assert "Nothing was sent: all stands as before." in page
    assert "—" not in page
    assert "- **warn** one-disk: measured measured-one-disk; needed needed-one-disk. Remedy" in page


def test_a_failed_dag_is_told_with_its_choices_and_their_commands():
    """Commands for what is safe only, each on its own line; stages that are done are folded."""
    stages = [
        StageRow(
            stage=number,
            node=f"node {number}",
            state=state,
            operator="RUN",
            agent="10.0.0.1:2886",
            last_log=log,
        )
        for number, state, log in (
            (1, "SUCCEED", "well"),
            (2, "FAILED", "no memory"),
            (3, "PENDING", ""),
            (4, "PENDING", ""),
        )
    ]
    page = render_markdown(
        report(
            "failed",
            dag_id="17",
            submitted_how="posted",
            diagnosis=DIAGNOSIS,
            stages=tuple(stages),
            error="DAG 17 failed",
            error_kind="dag-failed",
        )
    )

    assert "failed at stage 5/9 'Wait' on 10.0.0.1:2886: the observer died at its start" in page
    assert "```\nobscale recover east 17 --retry\n```" in page
    assert "Since then they were not read." in page
    assert "- **FAILED** 2 node 2 on 10.0.0.1:2886: no memory\n- **PENDING** 3 to 4" in page
    assert "node 1" not in first_screen(page)


def test_what_an_agent_says_is_one_word_of_a_command():
    """A command is there to be pasted into a shell."""
    found = DIAGNOSIS.model_copy(update={"dag_id": "17; rm -rf /"})

    assert recover_commands(found, "my file.yaml") == [
        "obscale recover 'my file.yaml' '17; rm -rf /' --retry"
    ]


def test_a_node_that_does_not_conform_is_told_by_what_failed():
    """What still waits is said further down; no command is needed beside the one that runs it."""
    page = render_markdown(
        report(
            "failed",
            level="JOINED",
            proofs=PROOFS,
            dag_id="17",
            submitted_how="posted",
            error_kind="verify",
            again="prefect flow-run retry run-1",
        )
    )

    assert "reached JOINED, not CONFORMING (DAG 17 posted): 1 of 3 proofs do not hold." in page
    above, _, below = page.partition("## Before and after")
    assert "- **fail** pv-peers (CONFORMING): expected a; found b" in above
    assert "prefect flow-run retry run-1" in above
    assert "pv-late" in first_screen(below)


def test_an_interrupted_run_says_what_goes_on_and_how_to_follow_it():
    """Ended before its DAG; for a cluster without a stored name the request's file stands."""
    left = InterruptedState(
        target="10.0.0.4:2886", was_sent=True, dag_id="17", stands="stage 1/9 a (RUNNING)"
    )
    told = report("cancelled", remains=left, error="the run was cancelled", error_kind="cancelled")

    page = render_markdown(told.model_copy(update={"command_name": "SPEC"}))

    assert "DAG 17 is at stage 1/9 a (RUNNING) and goes on by itself." in page
    told = "SPEC is a file that holds the request, or a stored connection."
    assert f"```\nobscale watch SPEC 17\n```\n\n{told}" in page


def test_of_preflight_the_timeline_has_one_row():
    """The findings hold what each rule said."""
    moments = [
        Moment(at=AT, step=step, text=text)
        for step, text in (
            ("preflight", "preflight.warn a"),
            ("preflight", "preflight.judged"),
            ("submit", "submit.posting"),
            ("submit", "submit.posted"),
        )
    ]

    page = render_markdown(report(timeline=tuple(moments)))

    assert [line for line in page.splitlines() if "02:00:00 " in line and "<li>" in line] == [
        "<li>02:00:00 preflight: preflight.judged</li>",
        "<li>02:00:00 submit: submit.posting</li>",
        "<li>02:00:00 submit: submit.posted</li>",
    ]


def hostile_report(outcome):
    """Give a report all of whose texts are hostile."""
    bad = {"node": HOSTILE, "agent": HOSTILE}
    return report(
        outcome,
        cluster=HOSTILE,
        zone=HOSTILE,
        obConfigs={HOSTILE: HOSTILE},
        verdict=HOSTILE,
        findings=tuple(
            finding(HOSTILE, answer) for answer in (Answer.BLOCK, Answer.WARN, Answer.INFO)
        ),
        decisions=(Decided(at=AT, about="approval", choice=HOSTILE, who=HOSTILE, why=HOSTILE),),
        dag_id=HOSTILE,
        submitted_how=HOSTILE,
        stages=tuple(
            StageRow(stage=n, state=state, operator="RUN", last_log=HOSTILE, **bad)
            for n, state in ((1, "SUCCEED"), (2, "FAILED"))
        ),
        diagnosis=DIAGNOSIS.model_copy(
            update={
                "title": HOSTILE,
                "dag_id": HOSTILE,
                "evidence": (HOSTILE,),
                "place": Place(stage=1, max_stage=2, **bad),
            }
        ),
        exceptions=(HOSTILE,),
        proofs=tuple(
            ProofLine(id=HOSTILE, level=Level.JOINED, answer=a, expected=HOSTILE, found=HOSTILE)
            for a in (ProofAnswer.PASS, ProofAnswer.FAIL)
        ),
        persist_statements=(HOSTILE,),
        before=(BEFORE[0].model_copy(update={"zone": HOSTILE, "status": HOSTILE}),),
        after=(JOINED.model_copy(update={"zone": HOSTILE, "server": HOSTILE}),),
        timeline=(Moment(at=AT, step=HOSTILE, text=HOSTILE),),
        error=f"{HOSTILE}. Next: {HOSTILE}",
        next=HOSTILE,
        command_name=HOSTILE,
        again=HOSTILE,
        remains=InterruptedState(target=HOSTILE, was_sent=True, dag_id=HOSTILE, stands=HOSTILE),
        asked_by=HOSTILE,
        posted=Posted(
            at=AT, run_id=HOSTILE, run_name=HOSTILE, attempt=1, asked_by=HOSTILE, newest_dag=1
        ),
        earlier=(EarlierEnd(at=AT, run_id=HOSTILE, outcome="failed", error=HOSTILE),),
    )


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("kind", ["", "blocked", "dag-failed", "verify"])
def test_a_page_shows_what_was_said_and_obeys_none_of_it(kind, whole):
    """Each way a run ends, above the folds and in them."""
    outcome = {"": "verified", "blocked": "blocked"}.get(kind, "failed")
    told = hostile_report(outcome).model_copy(update={"error_kind": kind})

    page = render_markdown(told, whole=whole)

    assert page.count(MARK) > 30
    assert faults_of_page(page) == []


@pytest.mark.parametrize("outcome", ["verified", "blocked", "failed", "cancelled"])
def test_no_page_has_a_table(outcome):
    """Prefect's pages cut off what stands on the right; a list breaks its lines."""
    page = render_markdown(hostile_report(outcome))

    assert not [line for line in page.splitlines() if line.startswith("|")]


def test_a_whole_page_folds_nothing_and_lists_every_rule():
    """For a file or a terminal: what passed stands in it too."""
    page = render_markdown(report(findings=FINDINGS, after=(*BEFORE, JOINED)), whole=True)

    assert "<" not in page
    assert "- pass fine: measured-fine; needed needed-fine" in page
    assert "in a file" not in page


def test_a_fold_is_one_block_of_html_without_a_blank_line():
    """Prefect's older UI reads each block by itself: after a blank line nothing is folded."""
    told = folded("a <b>", ["one", "", HOSTILE])

    assert told.startswith("<details><summary>a &lt;b&gt;</summary><ul>\n<li>one</li>\n")
    assert "\n\n" not in told
    assert faults_of_page(f"before\n\n{told}\n\nafter") == []
    assert folded("none", []) == ""


def test_the_kept_evidence_is_a_short_page_that_is_read_back():
    """Whatever was said in it; pages of before, with the record in a fence, are read too."""
    kept = KeptReport(report=hostile_report("failed"), versions={"obscale": HOSTILE})

    page = folded_page_of(kept, render_kept(kept))

    assert len(first_screen(page).splitlines()) < 20
    assert "obscale evidence run-1 --json" in page
    assert faults_of_page(page) == []
    assert read_page(KeptReport, page) == kept
    assert read_page(KeptReport, page_of(kept)) == kept
    assert read_page(Baseline, page) is None


def test_every_remedy_of_a_blocked_node_is_said_once():
    """In the error, and so on the command line, in the state and in a batch's row."""
    found = Findings((*FINDINGS, finding("too-big", Answer.BLOCK)), profile="prod")

    assert found.remedies == "remedy-too-big; also: remedy-too-far"


def batch_report(clusters, **changes):
    """Give the report of a batch of one node a cluster; the first one failed."""
    states = [RowState.FAILED, *[RowState.VERIFIED] * (clusters - 1)]
    rows = [
        RowReport(
            number=n,
            cluster=f"c{n} {MARK}",
            target=f"10.0.0.{n}:2886",
            zone="zone1",
            verdict="",
            why=HOSTILE if state is RowState.FAILED else "",
            next=HOSTILE if state is RowState.FAILED else "",
            error_kind="",
            state=state,
            dag_id="17",
            submitted_how="posted",
            stage="",
            level="",
            started_at=AT,
            ended_at=AT,
            seconds=60.0,
        )
        for n, state in enumerate(states, start=1)
    ]
    told = {
        "key": "abc",
        "outcome": "incomplete",
        "summary": f"{clusters - 1} of {clusters} nodes verified, 1 failed",
        "started_at": AT,
        "ended_at": AT,
        "policies": (),
        "counts": {},
        "clusters": tuple(
            ClusterReport(
                cluster=row.cluster,
                counts={row.state: 1},
                zones_before={"zone1": 1},
                zones_after={"zone1": 1 + (row.state is RowState.VERIFIED)},
            )
            for row in rows
        ),
        "rows": tuple(rows),
    }
    return BatchReport(**(told | changes))


@pytest.mark.parametrize("clusters", [2, 200])
def test_a_batch_begins_with_what_is_to_do_and_folds_what_is_green(clusters):
    """However many clusters: the first screen has the failed one, the command and the picture."""
    picture = Markdown("![lanes](data:image/svg+xml;base64,AAAA)")

    page = render_batch(
        batch_report(clusters), again="obscale apply fleet.yaml", pictures=[picture]
    )

    above = first_screen(page)
    assert above.index("## What to do (1)") < above.index("obscale apply") < above.index(picture)
    assert above.index(picture) < above.index("## Clusters, before → after")
    assert f"- c1 {MARK}: 0 of 1 verified, 1 failed; zone1 1\n" in above
    assert len(above.splitlines()) < 25
    assert f"c2 {MARK}: 1 of 1 verified; zone1 1 → 2" in page
    assert not [line for line in page.splitlines() if line.startswith("|")]
    assert faults_of_page(page.replace(picture, "")) == []
