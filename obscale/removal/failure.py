"""Names why the DAG of a removal did not end well, what is safe, and the error it stands for."""

import re
from typing import Final

from obscale.agent.models import Dag, Operator
from obscale.errors import DagFailedError, DagRolledBackError, ObscaleError
from obscale.follow.progress import Failure, failure_of
from obscale.maintenance_lock import SCALE_IN, Lock, lock_held_by
from obscale.recovery.consequences import Choice, Remedy
from obscale.recovery.diagnosis import Diagnosis, Place
from obscale.recovery.read import consequence_lines, next_step
from obscale.request.models import ClusterSpec
from obscale.scale_in_dag import DELETE_STAGE, INFORM, WAIT_DELETE, is_past_return

TITLES: Final = {
    "delete-refused": "OceanBase refused DELETE SERVER; nothing was changed, the lock is free",
    "executor-lost": (
        "a stage ran into its time limit of an hour: the agent that executed it was lost"
    ),
    "kill-refused": "the leaving agent did not take the order to kill its observer",
    "drain-slow": "obshell's hour was over before all units and data had moved",
    "drain-stuck": "obshell's hour was over, and nothing had moved for long",
    "drain-cancelled": "somebody cancelled it; the cluster is locked until it is rolled back",
    "rollback-too-late": "the server is gone, so a rollback can no longer succeed",
    "past-return": "the server is gone; only going on ends it",
    "zone-name-dead-end": "the zone's name cannot stand in a statement; its servers are gone",
    "removal-failed": "the removal failed",
}
"""By cause."""
_NOT_THERE: Final = "OB.Server.NotExist"
_TIMED_OUT: Final = re.compile(r"timeout$")
_EXECUTOR_LOST: Final = re.compile(r"(sub task|task \d+) timeout$")
"""The scheduler has given the stage up: whoever was at work on it says nothing more."""
_SYNTAX: Final = "SQL syntax"


def cause_of(dag: Dag, *, moved_lately: bool | None = None) -> str:  # noqa: PLR0911 - one return for each cause
    """Name the cause of a removal's failure.

    Args:
        dag: FAILED, read with details.
        moved_lately: Whether units or data moved in the last ten minutes; None: nobody looked.
    """
    failure = failure_of(dag)
    if dag.operator is Operator.ROLLBACK and _NOT_THERE in failure.reason + failure.last_log:
        return "rollback-too-late"
    if dag.operator is Operator.CANCEL:
        return "past-return" if is_past_return(dag) else "drain-cancelled"
    if _SYNTAX in failure.last_log and failure.node.startswith("Delete zone "):
        return "zone-name-dead-end"
    if is_past_return(dag):
        return "past-return"
    if failure.node == WAIT_DELETE and _TIMED_OUT.search(failure.last_log):
        return "drain-stuck" if moved_lately is False else "drain-slow"
    if _EXECUTOR_LOST.search(failure.last_log):
        return "executor-lost"
    if dag.name == SCALE_IN and dag.stage == DELETE_STAGE:
        return "delete-refused"
    if failure.node == INFORM:
        return "kill-refused"
    return "removal-failed"


def diagnose_removal(dag: Dag, target: str, *, moved_lately: bool | None = None) -> Diagnosis:
    """Give what a person on call needs to know of a removal that failed.

    Args:
        dag: FAILED, read with details.
        target: What leaves.
        moved_lately: As for `cause_of`.
    """
    cause, failure = cause_of(dag, moved_lately=moved_lately), failure_of(dag)
    choices = (_retry(cause), _roll_back(cause), _hand_over(cause))
    cures = {
        "executor-lost": Remedy.RETRY,
        "kill-refused": Remedy.RETRY,
        "drain-slow": Remedy.RETRY,
        "rollback-too-late": Remedy.RETRY,
        "past-return": Remedy.RETRY,
        "drain-cancelled": Remedy.ROLLBACK,
    }
    return Diagnosis(
        cause=cause,
        title=TITLES[cause],
        dag_id=dag.id,
        target=target,
        place=Place(
            stage=failure.stage,
            max_stage=failure.max_stage,
            node=failure.node,
            agent=failure.agent,
        ),
        reason=failure.reason,
        evidence=tuple(_evidence(dag, failure)),
        choices=choices,
        recommended=cures.get(cause, Remedy.HAND_OVER),
    )


def error_of_removal(
    dag: Dag, diagnosis: Diagnosis | None, cluster: str | ClusterSpec, *, told: bool = False
) -> ObscaleError | None:
    """Give the error a removal's end stands for; None where it was carried out, or nobody knows.

    Args:
        dag: As it ended.
        diagnosis: Of this end, where it is FAILED.
        cluster: How a command names the cluster, or the cluster written out; for the next command.
        told: Whether the reader has the choices before them already.
    """
    if dag.is_undone:
        return DagRolledBackError(
            f"DAG {dag.id} ended SUCCEED with operator ROLLBACK: the removal was undone, "
            "the server stays a member",
            "run it again once the reason is known",
        )
    if dag.is_failed and diagnosis:
        place = diagnosis.place
        return DagFailedError(
            f"DAG {dag.id} failed at stage {place.stage}/{place.max_stage} "
            f"{place.node!r} on {place.agent}: {diagnosis.reason}. Diagnosis "
            f"[{diagnosis.cause}]: {diagnosis.title}",
            next_step(diagnosis, cluster),
            () if told else consequence_lines(diagnosis),
        )
    return None


def _evidence(dag: Dag, failure: Failure) -> list[str]:
    lock = lock_held_by(dag)
    held = {Lock.HOLDS: "holds the cluster's lock", Lock.FREE: "holds nothing"}
    return [
        (
            f"DAG {dag.id} {dag.name!r} stands {dag.state}/{dag.operator} at stage "
            f"{dag.stage}/{dag.max_stage}; it {held.get(lock, 'may hold the lock')}"
        ),
        f"its last line: {failure.last_log}",
    ]


def _retry(cause: str) -> Choice:
    if cause == "zone-name-dead-end":
        return Choice(
            operator=Remedy.RETRY, safe=False, does="goes on", dead_end="it fails for ever"
        )
    does = {
        "delete-refused": "asks OceanBase again; right once what it refused for is mended",
        "drain-cancelled": "goes on with the removal, the server is deleted after all",
        "kill-refused": "tells it again; right once it says SCALING IN and has ended its own DAG",
    }
    return Choice(
        operator=Remedy.RETRY, safe=True, does=does.get(cause, "goes on to the end of the removal")
    )


def _roll_back(cause: str) -> Choice:
    ends = {
        "rollback-too-late": "the server is gone: it fails",
        "past-return": "obshell refuses it: the server is gone",
        "zone-name-dead-end": "obshell refuses it: the servers are gone",
    }
    return Choice(
        operator=Remedy.ROLLBACK,
        safe=cause not in ends,
        does="lets the server stay: CANCEL DELETE SERVER; units that have moved stay there",
        dead_end=ends.get(cause, ""),
    )


def _hand_over(cause: str) -> Choice:
    does = {
        "delete-refused": (
            "read why OceanBase refuses, run obscale remove --plan again, then retry or roll back"
        ),
        "drain-stuck": "see what keeps units from moving, mend it, then retry; or roll back",
        "zone-name-dead-end": "ask OceanBase's support before anything else: an empty zone stays",
    }
    return Choice(
        operator=Remedy.HAND_OVER,
        safe=True,
        does=does.get(cause, "leave it as it stands, and look at its last line"),
    )
