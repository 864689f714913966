"""What RETRY and ROLLBACK would do and destroy now, and where neither leads anywhere.

It follows from where the cluster's DAG and the target's own DAG stand, not from the cause.
Sources: ob/agent/executor/ob/{scale_out,deploy,destroy,stop_obsvr}.go and
ob/agent/service/task/dag.go, obshell 4.5.0.0.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import Identity, Operator, State
from obscale.recovery.case import Case, Phase, node_named
from obscale.scale_out_dag import (
    ADD_AGENT,
    ADD_SERVER,
    CHECK_FINISHED,
    CREATE_LOCAL,
    DEPLOY_STAGE,
    START_STAGE,
    WAIT_DEPLOY,
    WAIT_START,
    WORKDIR_STAGE,
)

REFUSES_THIS_DAG: Final = re.compile(r"'SCALING OUT'|Should use oceanbase_password")
"""How a target refuses to be called twice for one scale-out, with and without agent password."""
NOT_EMPTY: Final = re.compile(r"DirNotEmpty|Directory '[^']*' is not empty")


NOTHING: Final = "nothing"
"""What a remedy destroys that destroys nothing."""


class Remedy(StrEnum):
    """What can be done about a scale-out that did not end well."""

    RETRY = "RETRY"
    ROLLBACK = "ROLLBACK"
    HAND_OVER = "HAND_OVER"
    """Leave everything as it stands: a person acts, on the host or in the database."""


class Choice(BaseModel):
    """One remedy with everything a person must know before taking it.

    `safe`: it destroys nothing but what this scale-out made, and it does not end in a dead end. A
    choice that is not safe and no dead end may destroy data of somebody else's; it needs an
    explicit acknowledgement.
    """

    model_config = ConfigDict(frozen=True)

    operator: Remedy
    safe: bool
    does: str
    destroys: str = NOTHING
    dead_end: str = ""
    """Why this leads nowhere; empty where it does not."""

    @property
    def needs_acknowledgement(self) -> bool:
        """Whether only somebody who accepts the loss of data may take it."""
        return not self.safe and not self.dead_end


@dataclass(frozen=True)
class DeadEnd:
    """A state of both DAGs from which a remedy leads nowhere, or makes things worse."""

    id: str
    remedy: Remedy
    applies: Callable[[Case], bool]
    text: str
    source: str


_COORDINATE: Final = "ob/agent/executor/ob/scale_out.go, 4.5.0.0"
_STUCK: Final = (
    "the target's node 'Watch cluster scale_out dag' would wait for the cluster's node "
    "'Prev check', which never ran: the cluster's lock is freed, but the target stays "
    "SCALING OUT for good"
)
DEAD_ENDS: Final[tuple[DeadEnd, ...]] = (
    DeadEnd(
        "retry-half-rolled-back",
        Remedy.RETRY,
        lambda case: case.dag.operator is Operator.ROLLBACK,
        "nodes that are undone already count as done and are skipped: the DAG can end SUCCEED "
        "without any server added",
        "ob/agent/service/task/dag.go, 4.5.0.0",
    ),
    DeadEnd(
        "retry-orphan",
        Remedy.RETRY,
        lambda case: case.failed_node == CREATE_LOCAL and is_orphaned(case),
        "the target took the call, but its answer was lost: it refuses every further one, so "
        "RETRY fails for ever",
        _COORDINATE,
    ),
    DeadEnd(
        "retry-undone-target",
        Remedy.RETRY,
        lambda case: (
            case.dag.operator is not Operator.ROLLBACK
            and case.phase in {Phase.UNDOING, Phase.UNDO_FAILED, Phase.UNDONE}
        ),
        "the target's own part is rolled back, and RETRY insists on taking it forwards: it fails",
        _COORDINATE,
    ),
    DeadEnd(
        "retry-silent-target",
        Remedy.RETRY,
        lambda case: not case.answers and case.dag.stage > 1,
        "the target does not answer: RETRY fails again until it does",
        _COORDINATE,
    ),
    DeadEnd(
        "retry-dead-observer",
        Remedy.RETRY,
        lambda case: needs_observer(case) and case.observer_is_dead,
        "no observer runs on the target, and RETRY starts none: it fails again until somebody has "
        "started it",
        _COORDINATE,
    ),
    DeadEnd(
        "retry-listed-server",
        Remedy.RETRY,
        lambda case: case.failed_node == ADD_SERVER and case.server_is_listed,
        "the server is in the cluster although its node failed, so adding it fails for ever; "
        "ALTER SYSTEM DELETE SERVER first",
        _COORDINATE,
    ),
    DeadEnd(
        "rollback-listed-server",
        Remedy.ROLLBACK,
        lambda case: case.failed_node == ADD_SERVER and case.server_is_listed,
        "the server is in the cluster although its node failed, and ROLLBACK does not take it "
        "out: a dead member would stay; ALTER SYSTEM DELETE SERVER first",
        _COORDINATE,
    ),
    DeadEnd(
        "rollback-late-joiner",
        Remedy.ROLLBACK,
        # Not called yet at stage 2, so there it is a member of another cluster.
        lambda case: (
            case.phase is Phase.JOINED
            or (case.identity is Identity.CLUSTER_AGENT and case.failed_node != CREATE_LOCAL)
        ),
        "the target has joined meanwhile and cannot be rolled back: its server and its row would "
        "go, and it would go on believing to be a member",
        _COORDINATE,
    ),
    DeadEnd(
        "rollback-joining",
        Remedy.ROLLBACK,
        lambda case: (
            case.failed_node == CHECK_FINISHED
            and case.phase is Phase.PAST_START
            and case.own is not None
            and not case.own.is_failed
        ),
        "the target may become a member any moment, and a member cannot be rolled back",
        _COORDINATE,
    ),
    DeadEnd(
        "rollback-finish-unread",
        Remedy.ROLLBACK,
        lambda case: case.failed_node == CHECK_FINISHED and case.phase is Phase.UNREAD,
        "the target does not show its own DAG: it may have joined, and a member cannot be rolled "
        "back",
        _COORDINATE,
    ),
    DeadEnd(
        "rollback-past-start",
        Remedy.ROLLBACK,
        lambda case: (
            not case.checked_zone
            and case.phase in {Phase.COMING, Phase.STARTING, Phase.PAST_START}
            and (case.dag.stage >= START_STAGE or case.dag.is_undone)
        ),
        _STUCK,
        _COORDINATE,
    ),
    DeadEnd(
        "rollback-stuck",
        Remedy.ROLLBACK,
        lambda case: (
            not case.checked_zone
            and case.phase in {Phase.UNDOING, Phase.UNDO_FAILED}
            and case.own is not None
            and case.own.stage > START_STAGE
        ),
        _STUCK,
        _COORDINATE,
    ),
    DeadEnd(
        "rollback-start-unread",
        Remedy.ROLLBACK,
        lambda case: case.failed_node == WAIT_START and case.phase is Phase.UNREAD,
        "the target does not show its own DAG; where its observer has started, "
        "ROLLBACK leaves it SCALING OUT for good",
        _COORDINATE,
    ),
)
"""The first that applies to a remedy is named."""


def dead_end_of(case: Case, remedy: Remedy) -> DeadEnd | None:
    """Give the dead end a remedy would lead into now."""
    return next((end for end in DEAD_ENDS if end.remedy is remedy and end.applies(case)), None)


def needs_observer(case: Case) -> bool:
    """Whether the failed stage comes after the observer's start, which RETRY does not repeat.

    A target that has joined needs none for the last stage, which only asks who it is.
    """
    joined = case.phase is Phase.JOINED or case.identity is Identity.CLUSTER_AGENT
    return case.failed_node != "" and case.dag.stage > START_STAGE and not joined


def is_orphaned(case: Case) -> bool:
    """Whether the target works for a DAG whose second node does not know it."""
    if case.own is not None:
        return True
    # It shows its own DAG to its cluster only, and that one does not know it.
    if case.identity is Identity.SCALING_OUT and case.phase is Phase.UNREAD:
        return True
    # A member of another cluster, or a former one, refuses in the same words.
    may_be = case.identity in {None, Identity.SCALING_OUT}
    return may_be and REFUSES_THIS_DAG.search(case.failure.reason) is not None


def weigh_retry(case: Case) -> Choice:
    """Say what RETRY of the cluster's DAG does: it undoes the failed node first, then runs it."""
    end = dead_end_of(case, Remedy.RETRY)
    does = f"undoes and repeats stage {case.dag.stage} '{case.failure.node}', then goes on"
    destroys, others = _retry_destroys(case)
    return Choice(
        operator=Remedy.RETRY,
        safe=end is None and not others,
        does=does,
        destroys=destroys,
        dead_end=end.text if end else "",
    )


def weigh_rollback(case: Case) -> Choice:
    """Say what ROLLBACK does: of the cluster's DAG, or of the target's where that one is undone."""
    end = dead_end_of(case, Remedy.ROLLBACK)
    if case.dag.is_undone:
        does = "rolls back the target's own DAG, which the cluster's rollback left behind"
    else:
        does = (
            f"undoes stage {case.dag.stage} down to 1 and frees the cluster's lock, then waits "
            "until the target is SINGLE again"
        )
        if case.failed_node == CREATE_LOCAL and is_orphaned(case):
            does += (
                "; the target's own DAG is out of reach from here and has to be rolled back on its "
                "host after it"
                if case.phase is Phase.UNREAD
                else "; the target's own DAG is rolled back after it"
            )
        if not case.answers:
            does += "; the target does not answer, so what it made stays there for manual cleaning"
    destroys, others = _rollback_destroys(case)
    return Choice(
        operator=Remedy.ROLLBACK,
        safe=end is None and not others,
        does=does,
        destroys=destroys,
        dead_end=end.text if end else "",
    )


def _retry_destroys(case: Case) -> tuple[str, bool]:
    """What RETRY destroys, and whether that may be somebody else's."""
    match case.failed_node:
        case title if title == WAIT_DEPLOY and case.phase in {Phase.DEPLOY_FAILED, Phase.UNREAD}:
            return _files(case), _may_be_others(case)
        case title if title == WAIT_START and case.phase is Phase.START_FAILED:
            return f"the observer process on {case.target}, should it live", False
        case title if title == ADD_AGENT:
            return f"the row of {case.target} in ocs.all_agent, should there be one", False
        case _:
            return NOTHING, False


def _rollback_destroys(case: Case) -> tuple[str, bool]:
    parts: list[str] = []
    others = False
    own = case.own
    made = (
        case.dag.stage >= DEPLOY_STAGE
        if case.phase is Phase.UNREAD
        else own is not None and own.stage >= WORKDIR_STAGE and case.phase is not Phase.UNDONE
    )
    if made:
        parts.append(_files(case))
        others = _may_be_others(case)
    if own is not None and own.stage >= START_STAGE and case.phase is not Phase.UNDONE:
        parts.insert(0, f"the observer process on {case.target}")
    if not case.dag.is_undone:
        parts = _done_in_cluster(case) + parts
    return "; ".join(parts) or NOTHING, others


def _done_in_cluster(case: Case) -> list[str]:
    """What the cluster's own nodes have made and would take back."""
    marks = (
        (ADD_AGENT, f"the row of {case.target} in ocs.all_agent"),
        (ADD_SERVER, f"the server of {case.target} in the cluster (ALTER SYSTEM DELETE SERVER)"),
        ("Add new zone for scale_out", f"the new zone {case.zone}".rstrip()),
    )
    nodes = ((node_named(case.dag, title), text) for title, text in marks)
    # Done forwards, or told to be undone and not there yet.
    return [
        text
        for node, text in nodes
        if node and (node.state is State.SUCCEED) is not (node.operator is Operator.ROLLBACK)
    ]


def _files(case: Case) -> str:
    where = f"on {case.target}: " if case.target else ""
    home = case.home
    return (
        f"{where}rm -rf of {home}/store and whatever it, its clog and its slog link to, of "
        f"{home}/log, and of {home}/etc/observer.config.bin*"
    )


def _may_be_others(case: Case) -> bool:
    """Whether the directories may hold what this scale-out did not make."""
    if case.phase in {Phase.DEPLOY_FAILED, Phase.UNREAD} and is_not_empty(case):
        return True
    return not case.store_is_ours


def is_not_empty(case: Case) -> bool:
    """Whether the making of directories stopped because one of them held something."""
    lines = (case.failure.reason, *case.workdir_logs[-1:])
    return any(NOT_EMPTY.search(line) for line in lines)
