"""Tests of failures that a real obshell recorded: reason and remedy."""

import json
from functools import partial
from pathlib import Path

import pytest

from obscale.agent.models import AgentInfo, AgentStatus, Dag, State
from obscale.follow.progress import describe_progress, failure_of
from obscale.recovery.case import Case
from obscale.recovery.consequences import Remedy
from obscale.recovery.diagnosis import diagnose
from obscale.recovery.policy import decide_recovery
from obscale.recovery.read import consequence_lines, error_of
from obscale.report.report import stage_rows

DAGS = Path(__file__).parents[1] / "data" / "real-obshell" / "dags"
R, B, H = Remedy.RETRY, Remedy.ROLLBACK, Remedy.HAND_OVER
HARMLESS = "retry stage: 4 successfully"
"""The last line that was left where the reason was lost: it is none."""
DIED = (
    "ERROR: [OB.Server.Process.CheckFailed]: observer health check failed: Check observer process "
    "exist: readlink /proc/12804/cwd: no such file or directory"
)


def read(name, **others):
    """One recorded DAG, through the client's own model; parts of its text may be others."""
    text = (DAGS / f"{name}.json").read_text(encoding="utf-8")
    for old, new in others.items():
        text = text.replace(old, new)
    return Dag.model_validate(json.loads(text)["json"]["data"])


def with_logs(dag, logs):
    """The same DAG with the logs of some stages replaced."""
    nodes = list(dag.nodes)
    for stage, lines in logs.items():
        node = nodes[stage - 1]
        task = node.sub_tasks[0].model_copy(update={"task_logs": tuple(lines)})
        nodes[stage - 1] = node.model_copy(update={"sub_tasks": (task,)})
    return dag.model_copy(update={"nodes": tuple(nodes)})


def own_of(dag, name="dag-local-failed-start", last=None, home="ob7"):
    """A recorded DAG of a target, said to be of that scale-out; its failing line may be another."""
    local = read(name, ob6=home)
    local = local.model_copy(update={"additional_data": {"main_dag_id": dag.id}})
    if last is not None:
        local = with_logs(local, {local.stage: ("start observer", last)})
    return local


def stopped_at_its_directories(dag):
    """A target's own DAG whose third node failed, and nothing after it has begun."""
    own = own_of(dag)
    nodes = [
        node.model_copy(update={"state": State.FAILED if number == 3 else State.PENDING})
        if number >= 3
        else node
        for number, node in enumerate(own.nodes, start=1)
    ]
    own = own.model_copy(update={"stage": 3, "nodes": tuple(nodes)})
    return with_logs(own, {3: ("ERROR: [Common.DirNotEmpty]: Directory is not empty",)})


def case(dag, own=None, *, host=7, ob_state=0, silent=False, identity="SCALING OUT"):
    info = {
        "ip": f"10.77.0.{host}",
        "port": 2886,
        "identity": identity,
        "zone": "zone1",
        "homePath": f"/home/admin/ob{host}",
    }
    status = {"agent": {}, "obState": ob_state, "underMaintenance": True}
    return Case(
        dag=dag,
        target=f"10.77.0.{host}:2886",
        info="connection refused" if silent else AgentInfo.model_validate(info),
        status=None if silent else AgentStatus.model_validate(status),
        local="connection refused" if silent else own,
    )


def looked_at(name, own=None, **others):
    """What a look at the moment of the recording gives."""
    dag = read(name)
    return case(dag, own(dag) if own else None, **others)


KILLED, CRASHED = "dag-scaleout-maintainer-killed", "dag-executor-crash"
DEAD, NOT_LOADED = "dag-scaleout-observer-died", "dag-scaleout-failed-stage5"
PASSWORD, FULL = "dag-scaleout-failed-stage2-agentpw", "dag-scaleout-dirnotempty"
REFUSED, UNDONE = "dag-scaleout-failed-stage1", "dag-scaleout-maintainer-killed-rolledback"
SEEN = {
    KILLED: looked_at(KILLED, partial(own_of, last=DIED)),
    CRASHED: looked_at(CRASHED, host=4, ob_state=3, identity="CLUSTER AGENT"),
    DEAD: looked_at(DEAD, partial(own_of, name="dag-local-watch-failed")),
    NOT_LOADED: looked_at(NOT_LOADED, partial(own_of, home="ob6"), host=6),
    REFUSED: looked_at(REFUSED, host=4, identity="SINGLE"),
    PASSWORD: looked_at(PASSWORD, host=8, identity="SINGLE"),
    UNDONE: looked_at(UNDONE, identity="SINGLE"),
    FULL: looked_at(FULL, stopped_at_its_directories, host=9),
}


LIBRARY = (
    "bin/observer: error while loading shared libraries: libaio.so.1: cannot open shared object "
    "file: No such file or directory"
)
RECORDED = [
    (KILLED, "observer-died", DIED, {R, B, H}, H),
    (CRASHED, "carried-out", "", {H}, H),
    (UNDONE, "rolled-back", "", {H}, H),
    (DEAD, "observer-gone", "Error 4015 (HY000)", {B, H}, H),
    (NOT_LOADED, "observer-not-loaded", LIBRARY, {R, B, H}, H),
    (REFUSED, "database-refused", "Error 1146 (42S02)", {R, B, H}, R),
    (
        PASSWORD,
        "wrong-agent-password",
        "Agent password is incorrect",
        {B, H},
        B,
    ),
    (
        FULL,
        "directory-not-empty",
        "Directory '/home/admin/ob9/store' is not empty",
        {H},
        H,
    ),
]


@pytest.mark.parametrize(
    ("name", "cause", "reason", "safe", "recommended"), RECORDED, ids=[row[0] for row in RECORDED]
)
def test_each_recorded_ending_has_its_cause_reason_and_choices(
    name, cause, reason, safe, recommended
):
    """The whole way from the answer of a real agent to what a person may choose."""
    found = diagnose(SEEN[name])

    assert found.cause == cause
    assert reason in found.reason
    assert found.reason in found.evidence[1]
    assert {choice.operator for choice in found.choices if choice.safe} == safe
    assert found.recommended is recommended


class TestALostLog:
    """The executing agent was restarted: FAILED, and the last line is none that says why."""

    FAILED = read(KILLED)
    FRESH = with_logs(FAILED, {2: FAILED.nodes[1].sub_tasks[0].task_logs[:1]})
    """As it stood before the lost lines turned up in the second sub task."""

    def test_the_lines_are_found_in_another_sub_task(self):
        """The target is silent: the DAG itself tells, and where the line was found."""
        found = diagnose(case(self.FAILED, silent=True))

        assert DIED in found.reason
        assert "Create local scale out dag" in found.reason
        assert found.cause == "observer-died"

    def test_the_targets_own_dag_tells_before_they_turn_up(self):
        """Its failed node and its line are quoted."""
        found = diagnose(case(self.FRESH, own_of(self.FRESH, last=DIED)))

        assert "the target's own DAG" in found.reason
        assert f"[Start observer] {DIED}" in found.reason
        assert found.cause == "observer-died"

    def test_else_the_log_is_said_to_be_lost(self):
        """Nobody knows why: that is said, and RETRY gives the stage to the agent in charge now."""
        found = diagnose(case(self.FRESH))

        assert found.cause == "log-lost"
        assert "was lost with the agent that executed it" in found.reason
        assert "was restarted" in found.title
        assert "may still turn up in the log of another stage" in found.choice(H).does
        assert found.recommended is R

    def test_a_silent_target_stays_unreachable(self):
        """What is safe is known once it answers."""
        assert diagnose(case(self.FRESH, silent=True)).cause == "target-unreachable"

    def test_a_gate_that_waits_and_a_watch_that_follows_are_no_reasons(self):
        """FAILED gates are part of every run; the watch only repeats that the cluster's failed."""
        for name, last in (
            ("dag-local-failed-start", "wait operator to advance"),
            ("dag-local-watch-failed", None),
        ):
            assert failure_of(self.FRESH, own_of(self.FRESH, name, last)).is_lost

    def test_a_line_of_an_earlier_attempt_is_no_reason(self):
        """Once a stage was retried, a line found elsewhere may be that attempt's."""
        nodes = [
            node.model_copy(update={"operator": "RETRY"}) if number == 4 else node
            for number, node in enumerate(self.FAILED.nodes)
        ]
        again = self.FAILED.model_copy(update={"nodes": tuple(nodes)})

        assert failure_of(again).is_lost

    @pytest.mark.parametrize("dag", [FAILED, FRESH], ids=["turned up", "lost"])
    def test_no_teller_takes_the_harmless_line_for_the_reason(self, dag):
        """Error, change line, row of the report and the choices: none calls it why it failed."""
        found = diagnose(case(dag))
        error = str(error_of(dag, found, "SPEC"))
        undiagnosed = str(error_of(dag, None, "SPEC"))
        told = [change.text for change in describe_progress(None, dag)]
        (failed,) = [line for line in told if line.startswith("dag.node_failed")]
        (row,) = [row.last_log for row in stage_rows(dag) if row.state == "FAILED"]

        for text in (error, undiagnosed, failed, row, *consequence_lines(found)):
            assert HARMLESS not in text
        for text in (error, undiagnosed, failed, row):
            assert DIED in text or "was lost with the agent that executed it" in text

    def test_what_the_target_tells_stands_in_the_error_and_in_the_report(self):
        """Both are made of the diagnosis, which has read the target's own DAG too."""
        found = diagnose(case(self.FRESH, own_of(self.FRESH, last=DIED)))
        rows = [row.last_log for row in stage_rows(self.FRESH, found) if row.state == "FAILED"]

        assert rows == [found.reason]
        assert found.reason in str(error_of(self.FRESH, found, "SPEC"))

    def test_add_server_without_its_answer_looks_for_the_server_itself(self):
        """Its port stands in the log of its start, so that a listed server is not overlooked."""
        dag = read(DEAD)
        lost = with_logs(dag, {7: ("AddServerTask execute",)})

        assert failure_of(lost).is_lost
        assert case(lost).server == ("10.77.0.7", 2882)


class TestADeadObserver:
    """Stage 6 or later failed while no observer runs on the target."""

    def test_retry_leads_nowhere_until_it_runs(self):
        """What to do is said in its order, with the command; ROLLBACK is the other way."""
        found = diagnose(SEEN[DEAD])

        assert "no observer runs on the target" in found.choice(R).dead_end
        by_hand = found.choice(H).does
        for word in ("/home/admin/ob7/log/observer.log", "/home/admin/ob7/bin/observer", "RETRY"):
            assert word in by_hand
        assert found.choice(B).safe

    def test_a_policy_that_retries_sends_nothing(self):
        """Its three attempts are not spent on it."""
        decision = decide_recovery(diagnose(SEEN[DEAD]), "retry")

        assert decision.remedy is H
        assert "no observer runs on the target" in decision.why

    def test_once_it_runs_retry_is_safe(self):
        """Started by hand, the same DAG can go on."""
        dag = read(DEAD)
        found = diagnose(case(dag, own_of(dag, "dag-local-watch-failed"), ob_state=1))

        assert found.choice(R).safe
        assert found.cause == "add-server-refused"

    def test_an_agent_that_does_not_tell_is_not_called_dead(self):
        """Without obState in the answer nothing is known of the observer."""
        dag = read(DEAD)
        whole = case(dag, own_of(dag, "dag-local-watch-failed"))
        status = AgentStatus.model_validate({"agent": {}})

        assert diagnose(Case(**{**vars(whole), "status": status})).cause == "add-server-refused"


def test_the_loader_is_quoted_from_the_targets_own_dag_too():
    """Older agents copy no lines: the cluster's DAG says only that it failed."""
    dag = with_logs(read(NOT_LOADED), {5: ("ERROR: wait remote start observer task failed",)})
    found = diagnose(case(dag, own_of(dag, home="ob6"), host=6))

    assert found.cause == "observer-not-loaded"
    assert LIBRARY in found.choice(H).does


def test_a_program_that_never_ran_has_no_log_to_be_read():
    """The loader's own words are quoted, and nobody is sent to an observer.log."""
    does = diagnose(SEEN[NOT_LOADED]).choice(H).does

    assert LIBRARY in does
    assert "observer.log" not in does.replace("there is no observer.log", "")
