"""The known causes of a failed scale-out: their signs and their remedies.

A table, the first match counts. What a remedy does and destroys follows from where both DAGs stand
(`consequences`), so a row can only say which one cures it. Log texts are obshell's own,
ob/agent/executor/ob/*.go and ob/agent/errors/*, 4.5.0.0; older ones lack only the code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from obscale.agent.models import Identity, Operator
from obscale.cleaning import CLEAN_BY_HAND
from obscale.recovery.case import Case, Phase
from obscale.recovery.consequences import Remedy, is_not_empty, is_orphaned, needs_observer
from obscale.recovery.matchers import NOT_FREE, SILENCE, at, says, was_half_undone, zone_differs
from obscale.scale_out_dag import (
    ADD_AGENT,
    ADD_SERVER,
    CHECK_FINISHED,
    CHECK_ZONE,
    CREATE_LOCAL,
    START_STAGE,
    WAIT_DEPLOY,
    WAIT_READY,
    WAIT_START,
    is_hollow,
    local_dag_of,
)

_CALLS_THE_TARGET: Final = frozenset(
    {CREATE_LOCAL, WAIT_READY, WAIT_DEPLOY, WAIT_START, CHECK_FINISHED}
)


@dataclass(frozen=True)
class Cause:
    """One row of the table.

    Args:
        id: Stable id.
        title: What happened, as a sentence without its full stop.
        matches: Whether the case is one of these.
        cure: The remedy to recommend, should it be safe; else it is handed over.
        by_hand: What a person does where nothing is operated, or before it is; `<home>` stands for
            the target's home, `<said>` for what the system said of a program it did not execute.
        source: Where it is known from.
        futile: Why RETRY cannot cure it, where it cannot; makes RETRY a dead end.
    """

    id: str
    title: str
    matches: Callable[[Case], bool]
    cure: Remedy
    by_hand: str
    source: str
    futile: Callable[[Case], str] = lambda _case: ""


_SCALE_OUT: Final = "ob/agent/executor/ob/scale_out.go, 4.5.0.0"
_CLEAN: Final = f"{CLEAN_BY_HAND}; then plan again"
_READ_LOG: Final = "read <home>/log/observer.log on the target"
_zone_changed: Final = says(r"zone has been changed", at=CHECK_ZONE)


def _is_listed_anyway(case: Case) -> bool:
    return case.failed_node == ADD_SERVER and case.server_is_listed


_ROLL_BACK_ON_HOST: Final = (
    "on the target's host, as the user obshell runs as: curl --unix-socket <home>/run/obshell.sock "
    "http://localhost/api/v1/task/dag/maintain/agent shows its own DAG; once that is FAILED, POST "
    '{"operator":"ROLLBACK"} to http://localhost/api/v1/task/dag/ID the same way. Where that agent '
    "has a password, name it as targetAgentPassword instead, and obscale recover does it"
)
CAUSES: Final[tuple[Cause, ...]] = (
    # --- not FAILED on its way forwards ---
    Cause(
        "under-way",
        "the DAG is still at work",
        lambda case: not case.dag.is_terminal,
        Remedy.HAND_OVER,
        "watch it: obscale watch",
        "ob/agent/service/task/dag.go, 4.5.0.0",
    ),
    Cause(
        "hollow-success",
        "the DAG says SUCCEED, but a rollback had undone stages that were then skipped: nothing "
        "was added",
        lambda case: is_hollow(case.dag),
        Remedy.HAND_OVER,
        _CLEAN,
        "ob/agent/service/task/dag.go, 4.5.0.0",
    ),
    Cause(
        "carried-out",
        "the DAG was carried out; nothing is wrong with it",
        lambda case: case.dag.is_done,
        Remedy.HAND_OVER,
        "verify the node: obscale watch",
        "ob/agent/service/task/dag.go, 4.5.0.0",
    ),
    Cause(
        "target-stuck",
        "the scale-out was rolled back, but the target waits for good and stays SCALING OUT",
        lambda case: (
            case.dag.is_undone
            and not case.checked_zone
            and case.phase in {Phase.PAST_START, Phase.UNDOING, Phase.UNDO_FAILED}
            and case.own is not None
            and case.own.stage > START_STAGE
        ),
        Remedy.HAND_OVER,
        _CLEAN,
        _SCALE_OUT,
    ),
    Cause(
        "orphan-still-starting",
        "the scale-out was rolled back, but the target is still starting its observer",
        lambda case: case.dag.is_undone and case.phase in {Phase.STARTING, Phase.COMING},
        Remedy.HAND_OVER,
        "kill the observer process on the target's host before it is up; its health check fails "
        "within seconds, and then the target's own DAG can be rolled back",
        _SCALE_OUT,
    ),
    Cause(
        "orphaned-local-dag",
        "the scale-out was rolled back, but the target's own DAG was left behind",
        lambda case: case.dag.is_undone and case.own is not None and case.own.is_failed,
        Remedy.ROLLBACK,
        "roll back the target's own DAG; GET /api/v1/task/dag/maintain/agent there names it",
        _SCALE_OUT,
    ),
    Cause(
        "orphan-out-of-reach",
        "the scale-out was rolled back, but the target stays SCALING OUT; it shows its own DAG "
        "only to who has the cluster's password, and it is no member that may get it",
        lambda case: (
            case.dag.is_undone
            and case.identity is Identity.SCALING_OUT
            and case.phase is Phase.UNREAD
            and local_dag_of(case.dag, case.target) is None
        ),
        Remedy.HAND_OVER,
        _ROLL_BACK_ON_HOST,
        "ob/agent/api/agent_route.go, 4.5.0.0: the socket wants no header",
    ),
    Cause(
        "undone-member",
        "the scale-out was rolled back although the target had joined; it believes to be a member",
        lambda case: case.dag.is_undone and case.phase is Phase.JOINED,
        Remedy.HAND_OVER,
        _CLEAN,
        _SCALE_OUT,
    ),
    Cause(
        "rolled-back",
        "the scale-out was rolled back; nothing was added",
        lambda case: case.dag.is_undone,
        Remedy.HAND_OVER,
        "find out who rolled it back and why, then plan again",
        "ob/agent/service/task/dag.go, 4.5.0.0",
    ),
    Cause(
        "half-rolled-back",
        "a rollback stopped half-way",
        lambda case: case.dag.operator is Operator.ROLLBACK,
        Remedy.ROLLBACK,
        "see why that stage cannot be undone, e.g. a zone whose server is still DELETING; then "
        "roll back again, it goes on where it stopped",
        "ob/agent/service/task/dag.go, 4.5.0.0",
    ),
    Cause(
        "retried-half-undone",
        "a rollback had stopped half-way, and the DAG was retried: what is undone is skipped",
        was_half_undone,
        Remedy.ROLLBACK,
        "roll back to the end, see that the target is SINGLE, then plan again",
        "ob/agent/service/task/dag.go, 4.5.0.0",
        lambda _case: "undone nodes count as done, and the target's part is undone: RETRY fails",
    ),
    # --- the target cannot be called, or was called in vain ---
    Cause(
        "invalid-ports",
        "the ports of the request cannot be used",
        says(r"InvalidPort|fill port failed"),
        Remedy.ROLLBACK,
        "roll back, correct mysql_port and rpc_port, apply again",
        "ob/agent/executor/ob/config.go, 4.5.0.0",
        lambda _case: "the DAG keeps the ports it was made with: RETRY fails for ever",
    ),
    Cause(
        "wrong-agent-password",
        "the password of the target agent was wrong or missing",
        says(
            r"Agent password is incorrect|IncorrectAgentPassword|Should use agent_password"
            r"|WithAgentPassword",
            at=CREATE_LOCAL,
        ),
        Remedy.ROLLBACK,
        "roll back, correct targetAgentPassword, apply again",
        "ob/agent/api/common/middleware.go, 4.5.0.0",
        lambda _case: "the DAG keeps the password it was made with: RETRY fails for ever",
    ),
    Cause(
        "orphaned-local-dag",
        "the target took the call, but its answer was lost: the DAG does not know the target's own",
        lambda case: case.failed_node == CREATE_LOCAL and is_orphaned(case),
        Remedy.ROLLBACK,
        "roll back the cluster's DAG to its end first, then the target's own DAG",
        _SCALE_OUT,
    ),
    Cause(
        "target-not-single",
        "the target belongs to another cluster, or did: it is not SINGLE",
        lambda case: case.failed_node == CREATE_LOCAL and case.identity in NOT_FREE,
        Remedy.HAND_OVER,
        "roll back the cluster's DAG, which leaves the target as it is, and take another agent; or "
        "scale the target in where it belongs, and plan again, which says how it is cleaned then",
        _SCALE_OUT,
        lambda _case: "the target takes no scale-out while it is not SINGLE: RETRY fails",
    ),
    Cause(
        "target-locked",
        "another DAG of the target's own holds its lock",
        says(r"is under maintenance", at=CREATE_LOCAL),
        Remedy.HAND_OVER,
        "let that DAG end, or roll it back on the target; then retry",
        "ob/agent/service/task/status_maintainer.go, 4.5.0.0",
    ),
    # --- the observer had started, and is gone ---
    Cause(
        "observer-gone",
        "the target's observer had started, and runs no more",
        lambda case: (
            needs_observer(case)
            and case.observer_is_dead
            and not _is_listed_anyway(case)
            and not _zone_changed(case)
        ),
        Remedy.HAND_OVER,
        f"{_READ_LOG} before a rollback deletes it; mend the cause, start the observer by hand (as "
        "its user: cd <home> && LD_LIBRARY_PATH=<home>/lib <home>/bin/observer), then RETRY; or "
        "ROLLBACK",
        "ob/agent/executor/ob/scale_out.go, 4.5.0.0; seen on a real server of that version",
    ),
    # --- the target joined late ---
    Cause(
        "late-joiner",
        "the target joined after the last stage had given up waiting",
        lambda case: (
            case.failed_node == CHECK_FINISHED
            and (case.phase is Phase.JOINED or case.identity is Identity.CLUSTER_AGENT)
        ),
        Remedy.RETRY,
        "retry: the last stage succeeds at once",
        _SCALE_OUT,
    ),
    Cause(
        "upgrade-restart",
        "the target's obshell was upgraded and restarted while the last stage waited 30 s",
        lambda case: case.failed_node == CHECK_FINISHED and case.is_upgrading,
        Remedy.RETRY,
        "retry once the target answers again",
        _SCALE_OUT,
    ),
    Cause(
        "executor-lost",
        "a stage ran into its time limit of an hour: the agent that executed it was lost",
        says(r"sub task timeout|task \d+ timeout"),
        Remedy.RETRY,
        "see what became of that agent; RETRY gives the stage to the agent in charge now",
        "ob/agent/engine/scheduler, ob/agent/engine/executor/executor.go, 4.5.0.0",
    ),
    # --- directories and observer ---
    Cause(
        "directory-not-empty",
        "a directory meant for the observer holds something",
        lambda case: case.failed_node == WAIT_DEPLOY and is_not_empty(case),
        Remedy.HAND_OVER,
        "look into the named directory, and into <home>/store, on the target's host, and save what "
        "is worth it: RETRY deletes as well as ROLLBACK",
        "ob/agent/executor/ob/{deploy,destroy}.go, 4.5.0.0",
    ),
    Cause(
        "slow-observer",
        "the observer needs longer to start than the 90 s the cluster's DAG waits",
        lambda case: (
            case.failed_node == WAIT_START
            and case.phase in {Phase.COMING, Phase.STARTING, Phase.PAST_START}
            and not says(SILENCE)(case)
            and not case.failure.is_lost
        ),
        Remedy.RETRY,
        "wait, and retry while the target's own DAG is at 'Start observer' or past it",
        _SCALE_OUT,
    ),
    Cause(
        "observer-not-loaded",
        "the system could not execute the observer",
        lambda case: case.loader_says != "",
        Remedy.HAND_OVER,
        "mend on the target's host what the system says (<said>); then retry, or roll back; the "
        "observer never ran: there is no observer.log",
        "ob/agent/executor/ob/start_obsvr.go, 4.5.0.0; seen on a real server of that version",
    ),
    Cause(
        "observer-died",
        "the observer died at its start",
        says(
            r"Process\.NotExist|[Oo]bserver process does not exist|Process\.CheckFailed"
            r"|Check observer process exist|exit status \d",
            at=WAIT_START,
        ),
        Remedy.HAND_OVER,
        f"{_READ_LOG} (memory, ports, disk, libraries) before a rollback deletes it; mend the "
        "cause and retry, or roll back",
        "ob/agent/executor/ob/start_obsvr.go, 4.5.0.0",
    ),
    Cause(
        "observer-unhealthy",
        "the observer did not become healthy within 600 s",
        says(r"ExecuteTimeout|health check timeout", at=WAIT_START),
        Remedy.HAND_OVER,
        f"{_READ_LOG} before a rollback deletes it; then retry (600 s more) or roll back",
        "ob/agent/executor/ob/start_obsvr.go, 4.5.0.0",
    ),
    Cause(
        "target-unreachable",
        "the target did not answer",
        lambda case: (
            case.failed_node in _CALLS_THE_TARGET and (says(SILENCE)(case) or not case.answers)
        ),
        Remedy.RETRY,
        "bring the target's host, obshell and network back; then retry",
        _SCALE_OUT,
    ),
    Cause(
        "log-lost",
        "the agent that executed the stage was restarted, and the reason was lost with its log",
        lambda case: (
            case.failed_node != "" and case.failure.is_lost and not _is_listed_anyway(case)
        ),
        Remedy.RETRY,
        "look again in a minute: the lost lines may still turn up in the log of another stage of "
        "this DAG, and are quoted then; see in obshell's log on the named agent why it was "
        "restarted; RETRY gives the stage to the agent in charge now",
        "ob/agent/engine/executor/executor.go, 4.5.0.0; seen on a real server of that version",
    ),
    Cause(
        "target-not-ready",
        "the target could not take its first step",
        at(WAIT_READY),
        Remedy.RETRY,
        "read the log of the target's own DAG; then retry",
        _SCALE_OUT,
    ),
    Cause(
        "directories-failed",
        "the target could not make the observer's directories",
        at(WAIT_DEPLOY),
        Remedy.HAND_OVER,
        "mend what the log names, e.g. the owner of the parent directory, on the target's host; "
        "then retry",
        "ob/agent/executor/ob/deploy.go, 4.5.0.0",
    ),
    Cause(
        "observer-not-started",
        "the observer could not be started",
        lambda case: case.failed_node == WAIT_START and case.phase is Phase.START_FAILED,
        Remedy.HAND_OVER,
        f"{_READ_LOG} before a rollback deletes it; then retry or roll back",
        "ob/agent/executor/ob/start_obsvr.go, 4.5.0.0",
    ),
    # --- the database ---
    Cause(
        "zone-changed",
        "the zone was made or removed by somebody else meanwhile",
        _zone_changed,
        Remedy.ROLLBACK,
        "put the zone back as it was and retry; or roll back and plan again",
        _SCALE_OUT,
        zone_differs,
    ),
    Cause(
        "server-listed",
        "the server is in the cluster although adding it failed",
        _is_listed_anyway,
        Remedy.HAND_OVER,
        "take it out with ALTER SYSTEM DELETE SERVER, wait until it is gone, then roll back or "
        "retry",
        _SCALE_OUT,
    ),
    Cause(
        "add-server-timeout",
        "the database did not answer ADD SERVER in time, and the server is not listed",
        says(r"4012|[Tt]imeout", at=ADD_SERVER),
        Remedy.RETRY,
        "see the state of the root service; then retry",
        _SCALE_OUT,
    ),
    Cause(
        "add-server-refused",
        "the database refused to add the server",
        at(ADD_SERVER),
        Remedy.HAND_OVER,
        "mend what the database names (clock difference, server not empty, licence), then retry",
        _SCALE_OUT,
    ),
    Cause(
        "leftover-agent-row",
        "the cluster still lists this agent from an earlier time",
        says(r"1062|Duplicate entry", at=ADD_AGENT),
        Remedy.RETRY,
        "retry: it deletes the row first",
        _SCALE_OUT,
    ),
    Cause(
        "database-refused",
        "the database refused a statement",
        says(r"MySQL\.Error|MySQL error|Error \d{4}"),
        Remedy.RETRY,
        "mend what the database names, then retry",
        _SCALE_OUT,
    ),
    Cause(
        "not-yet-member",
        "the target had not become a cluster agent within the 30 s the last stage waits",
        at(CHECK_FINISHED),
        Remedy.RETRY,
        "retry: the last stage looks for another 30 s",
        _SCALE_OUT,
    ),
    Cause(
        "unknown",
        "the cause is not known",
        lambda _case: True,
        Remedy.HAND_OVER,
        "read the evidence and obshell's log on the named agent before anything is operated",
        "",
    ),
)
"""The first match counts; the last one always matches."""
