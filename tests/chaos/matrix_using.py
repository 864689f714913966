"""Rows of the matrix in which a tenant gets more units."""

from collections.abc import Mapping
from typing import Any

from obscale.sandbox import Fault
from tests.chaos.matrix import Row
from tests.chaos.matrix_leaving import (
    ALL_LOST,
    BRIEF,
    DATABASE_BACK,
    DATABASE_GONE,
    HEALS,
    ONE_STAGE,
    STAGES_ONLY,
    STILL,
    Ends,
    at,
    healthy,
    same,
)
from tests.chaos.matrix_rows import AGENTS, ANSWERS, CLUSTERS, FAILURES, SUBMITS
from tests.chaos.operations import TENANT, USE

AGAIN = frozenset(
    {
        "stage fails once",
        "stage fails oddly",
        "executor lost",
        "stage runs twice",
        "stage fails, its log lost",
    }
)


def uses(name: str, cards: Any, ends: Ends, idle: str = "", **fields: Any) -> Row:
    """A row of the change of a tenant's number of units."""
    plain: dict[str, Any] = {"operation": USE, "policy": "hold"}
    return Row(name, cards, dict(ends), idle=idle, **(plain | fields))


def operated(word: str, **moment: Any) -> Fault:
    """Somebody else operates its DAG; without a moment as soon as it is FAILED."""
    return Fault.operate_dag(word, **({"operation": "tenant"} | moment))


GENERAL: Mapping[str, Any] = {
    "entry agent silent": {"ends": HEALS, "costs_seconds": 60.0},
    # Who took the request waits for OceanBase's job; that goes on without it.
    "entry agent lost": HEALS | {"1": "healed|dag-failed:executor-lost"},
    "all members lost": {"ends": ALL_LOST, "time_limits": BRIEF},
    "agent password appears": None,
    "target scaling in": None,
    "target joins another cluster": None,
    "target's data appears": None,
}
USING = (
    healthy(USE),
    *same(AGENTS, USE, GENERAL),
    *same(
        CLUSTERS,
        USE,
        {
            # Its unit does not serve, or there is no place for a second one.
            "database of one down": {
                "ends": {"*": "verify", "preflight": "healed|blocked"},
                "time_limits": BRIEF,
            },
            "database of all down": {"ends": DATABASE_GONE, "time_limits": BRIEF},
            "database of all down 60 s": DATABASE_BACK,
            "password accepted late by one": HEALS | {"preflight": "healed|not-authorized"},
            "password accepted late by all": HEALS
            | {"preflight": "healed|not-authorized", "submit": "not-authorized|healed"},
            # A tenant's DAG takes no lock of the cluster, and may begin beside another.
            "tenant task 30 s": HEALS
            | {"preflight": "healed|blocked|foreign-dag", "submit": "foreign-dag|healed"},
            "zone deleted": None,
            "zone made": None,
        },
    ),
    *same(ANSWERS, USE, {}),
    *same(SUBMITS, USE, dict.fromkeys((r.name for r in SUBMITS), at(USE, "healed", "submit"))),
    *same(
        [row for row in FAILURES if row.name in AGAIN],
        USE,
        {name: {"ends": at(USE, "dag-failed*|healed"), "idle": STAGES_ONLY} for name in AGAIN},
    ),
    uses(
        "OceanBase's job is slow",
        lambda _p: [Fault.tenant_job_slow(300)],
        at(USE, "healed"),
        ONE_STAGE,
        costs_seconds=10.0,
    ),
    uses(
        "OceanBase's job fails",
        lambda _p: [Fault.tenant_job_fails()],
        at(USE, "dag-failed:tenant-job-failed"),
        ONE_STAGE,
        untouched=True,
    ),
    uses(
        "OceanBase refuses",
        lambda _p: [Fault.tenant_job_fails(text="Error 1146 (42S02): no such table")],
        at(USE, "dag-failed:tenant-refused"),
        ONE_STAGE,
        untouched=True,
    ),
    uses(
        "OceanBase refuses once, policy retries",
        lambda _p: [Fault.tenant_job_fails(text="Error 1146 (42S02): no such table")],
        at(USE, "healed"),
        ONE_STAGE,
        policy="retry",
    ),
    uses(
        "enable_rebalance off",
        lambda p: [Fault.tenant_rebalance_off(TENANT, **p.when)],
        HEALS | {"preflight": "blocked", "submit": "refused"},
    ),
    uses(
        "no unit fits on a server",
        lambda p: [Fault.unit_no_room(p.target, **p.when)],
        HEALS
        | {
            "preflight": "dag-failed:tenant-no-room",
            "submit": "dag-failed:tenant-no-room",
            "1": "dag-failed:tenant-no-room",
        },
        untouched=True,
    ),
    uses(
        "units arrive after 300 s",
        lambda p: [Fault.slow_migration(300, **p.when)],
        HEALS,
        costs_seconds=10.0,
    ),
    uses(
        "replicas may not follow",
        lambda p: [Fault.rereplication_off(**p.when)],
        {"*": "dag-stalled|verify", "preflight": "dag-stalled|blocked", "verify": "healed"},
        time_limits=STILL | {"deadline_seconds": 12},
        untouched=True,
    ),
    uses(
        "observer that takes a unit dies",
        lambda p: [Fault.observer_down(p.target, **p.when)],
        {"preflight": "blocked", "submit": "dag-failed:tenant-no-room"}
        | {"1": "dag-failed:tenant-no-room", "verify": "verify"},
        time_limits=STILL,
        untouched=True,
    ),
    uses(
        "somebody deletes the server by SQL",
        lambda p: [Fault.somebody_deletes_server(p.target, **p.when)],
        {"preflight": "blocked", "submit": "dag-failed:tenant-no-room"}
        | {"1": "dag-failed:tenant-no-room", "verify": "healed"},
        time_limits=STILL,
        others_leaving=1,
        untouched=True,
    ),
    uses(
        "somebody cancels",
        lambda p: [operated("CANCEL", **p.when)],
        at(USE, "dag-failed*|healed"),
        ONE_STAGE,
        untouched=True,
    ),
    uses(
        "somebody cancels and rolls back",
        lambda p: [operated("CANCEL", **p.when), operated("ROLLBACK")],
        at(USE, "dag-rolled-back|dag-failed*"),
        ONE_STAGE,
        untouched=True,
    ),
    uses(
        "somebody cancels and retries",
        # The job of the first run goes on: obshell misreads it, or says `skip`.
        lambda p: [
            Fault.slow_migration(60),
            operated("CANCEL", after_seconds=5, **p.when),
            operated("RETRY", after_seconds=2),
        ],
        at(USE, "healed"),
        ONE_STAGE,
        untouched=True,
    ),
    uses(
        "somebody cancels and passes",
        lambda p: [operated("CANCEL", **p.when), operated("PASS")],
        at(USE, "healed|dag-failed*"),
        ONE_STAGE,
        untouched=True,
    ),
    uses(
        "executor lost, policy retries",
        lambda _p: [Fault.lose_executor(1, seconds=4, operation="tenant")],
        at(USE, "healed"),
        ONE_STAGE,
        policy="retry",
    ),
)
