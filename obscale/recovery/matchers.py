"""Matchers that recognise a cause: in log lines, nodes, zones and their order."""

import re
from collections.abc import Callable
from typing import Final

from obscale.agent.models import Identity
from obscale.recovery.case import Case
from obscale.scale_out_dag import STAGES_FOR_NEW_ZONE

SILENCE: Final = (
    r"connection refused|i/o timeout|no route to host|connection reset|EOF|RequestFailed"
    r"|get remote dag failed|nil pointer dereference|wait scaling out ready timeout"
)
NOT_FREE: Final = frozenset(
    {Identity.SCALING_IN, Identity.CLUSTER_AGENT, Identity.MASTER, Identity.FOLLOWER}
)
"""Identities with which an agent takes no scale-out."""


def says(pattern: str, *, at: str = "") -> Callable[[Case], bool]:
    """Match the reason of the failed node, and its title where one is given."""
    compiled = re.compile(pattern)

    def matches(case: Case) -> bool:
        node = case.failed_node
        return node != "" and at in {"", node} and bool(compiled.search(case.failure.reason))

    return matches


def at(title: str) -> Callable[[Case], bool]:
    """Match the title of the failed node."""
    return lambda case: case.failed_node == title


def zone_differs(case: Case) -> str:
    """Why repeating the check of the zone is in vain; empty where it may pass now."""
    if case.zones is None or not case.zone:
        return ""
    was = case.dag.max_stage < STAGES_FOR_NEW_ZONE
    is_now = case.zone in {zone.name for zone in case.zones}
    if was == is_now:
        return ""
    there = "exists now, and did not" if is_now else "does not exist now, and did"
    return f"zone {case.zone} {there} when the DAG was made: RETRY fails as long as that is so"


def was_half_undone(case: Case) -> bool:
    """Whether a DAG on its way forwards has nodes that are undone, or a target's part that is.

    Somebody retried it in the middle of a rollback: undone nodes count as done and are skipped,
    and RETRY insists on taking the target's own DAG forwards.
    """
    if not case.failed_node:
        return False
    return bool(case.dag.skipped) or ("ScaleOutRetryCoordinateDagFailed" in case.failure.reason)
