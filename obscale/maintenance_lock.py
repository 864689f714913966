"""Decides whether an unfinished DAG holds the cluster's maintenance lock.

No endpoint shows the lock. A POST is refused while a DAG that takes it is at work; what a FAILED
one keeps depends on its kind, its stage and what it was last told. The list of unfinished DAGs does
not tell: it names those too that failed and gave the lock up.

| type | DAG | state | lock |
|---|---|---|---|
| any | any | SUCCEED | free |
| 1 none, 4 obproxy | any | any | free: they never take it |
| 2, 3, not told | any | not ended | holds |
| 2, not told | `Cluster scale out`, `Delete zone` | FAILED | holds |
| 2 | `Cluster scale in` | FAILED at stage 1, forwards | free |
| 2 | `Cluster scale in` | FAILED at stage 1, cancelled or undone | unknown |
| 2, not told | `Cluster scale in` | FAILED later | holds |
| 2 | a restore | FAILED | unknown: it gives the lock up, its name alone tells it |
| 2 | any other | FAILED | holds |
| 3, not told | `Set obcluster backup config …`, `Cancel restore …` | FAILED | holds |
| 3 | any other | FAILED, forwards | free |
| 3 | any other | FAILED, cancelled or undone | unknown |
| not told | any other | FAILED | unknown: below 4.3.1.0 no type is told |

Sources: ob/agent/service/task/{status_maintainer,dag}.go, ob/agent/executor/ob/scale_in.go,
ob/agent/executor/tenant/*.go, obshell 4.5.0.0. FAILED and free of `Scale in tenant replicas` and of
`Cluster scale in` at stage 1, and held at its stage 3, were seen on a real 4.5.0.0.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from obscale.agent.models import Dag, Operator, State
from obscale.scale_out_dag import SCALE_OUT

GLOBAL_MAINTENANCE: Final = 2
TENANT_MAINTENANCE: Final = 3
"""`maintenance_type` of the DAGs that take the cluster's lock, told from 4.3.1.0 on."""
SCALE_IN: Final = "Cluster scale in"
_KEEPS: Final = frozenset({SCALE_OUT, "Delete zone"})
"""No node of these gives the lock up."""
_TENANT_KEEPS: Final = ("Set obcluster backup config", "Cancel restore")
"""How the names of those operations on tenants begin that keep it, unlike all others."""
_RESTORE: Final = "restore"
_STAGE_THAT_FREES: Final = 1
"""`Delete observer` of a scale-in."""


class Lock(StrEnum):
    """What a DAG has of the cluster's maintenance lock."""

    HOLDS = "holds"
    FREE = "free"
    UNKNOWN = "unknown"
    """What can be read does not tell; obshell's refusal of a POST does, and creates nothing."""


def lock_held_by(dag: Dag) -> Lock:
    """Say whether a DAG of the cluster holds its maintenance lock.

    Args:
        dag: Of the cluster, read with details or without.
    """
    kind = dag.maintenance_type
    if dag.state is State.SUCCEED or kind not in {None, GLOBAL_MAINTENANCE, TENANT_MAINTENANCE}:
        return Lock.FREE
    if not dag.is_failed or dag.name in _KEEPS or dag.name.startswith(_TENANT_KEEPS):
        return Lock.HOLDS
    if kind == TENANT_MAINTENANCE:
        return _given_up(dag)
    if dag.name == SCALE_IN:
        return _of_scale_in(dag)
    return Lock.UNKNOWN if kind is None or _RESTORE in dag.name.lower() else Lock.HOLDS


def holds_lock(dag: Dag) -> bool:
    """Whether a DAG of the cluster is known to hold its maintenance lock."""
    return lock_held_by(dag) is Lock.HOLDS


def lock_of(unfinished: Sequence[Dag]) -> Dag | None:
    """Give the newest DAG that is known to hold the cluster's maintenance lock."""
    return max(filter(holds_lock, unfinished), key=lambda dag: dag.dag_id, default=None)


def _of_scale_in(dag: Dag) -> Lock:
    if dag.stage > _STAGE_THAT_FREES:
        return Lock.HOLDS
    return Lock.UNKNOWN if dag.maintenance_type is None else _given_up(dag)


def _given_up(dag: Dag) -> Lock:
    """Of a DAG that gives the lock up when it fails; RETRY and ROLLBACK take it again."""
    return Lock.FREE if dag.operator in {Operator.RUN, Operator.RETRY} else Lock.UNKNOWN
