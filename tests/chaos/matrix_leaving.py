"""Rows of the matrix in which a node, a dead one or a whole zone leaves its cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from obscale.sandbox import Fault
from tests.chaos.matrix import Row, columns_of
from tests.chaos.matrix_rows import AGENTS, ANSWERS, CLUSTERS, FAILURES, SUBMITS
from tests.chaos.operations import REMOVE, REMOVE_DEAD, REMOVE_ZONE, Operation

Ends = Mapping[str, str]
HEALS: Ends = {"*": "healed"}
ONE_STAGE = "it is about this one stage"
STAGES_ONLY = "it is about a stage on the way forwards"
ONE_REQUEST = "it is about the one request that submits"
GONE_LATER = "behind the stage that waits the server has gone"
MEASURE = "it is what the others are set beside"
STILL = {"stall_seconds": 4, "verify_seconds": 8}
"""Of runs in which nothing moves: 240 virtual seconds."""
BRIEF = {"verify_seconds": 8}
WAITED_FOR = {"steady_seconds": 0.5}
"""30 virtual seconds, as by default: so long a silent host is waited for."""


def healthy(operation: Operation) -> Row:
    """Nothing happens, three times: what all that heals is set beside."""
    ends = dict.fromkeys(("preflight", "submit", "verify"), "healed")
    return Row(
        "nothing happens",
        lambda _p: [],
        ends,
        idle=MEASURE,
        operation=operation,
        policy="hold",
        is_healthy=True,
    )


def same(rows: Sequence[Row], operation: Operation, changes: Mapping[str, Any]) -> list[Row]:
    """The same troubles for another operation, with its own endings.

    Args:
        rows: As they stand for a scale-out.
        operation: The other one.
        changes: By the name of a row, its endings, or more fields of it. A row without any heals
            everywhere; one with None is left out.
    """
    unknown = set(changes) - {row.name for row in rows}
    assert not unknown, f"no such rows: {unknown}"
    found = []
    for row in rows:
        told = changes.get(row.name, HEALS)
        if told is None:
            continue
        fields = dict(told) if "ends" in told else {"ends": told}
        ends = fields["ends"]
        named = set(columns_of(operation)) <= set(ends) or "*" in ends
        lacks = not named or any(ends.get(column) == "" for column in columns_of(operation))
        plain = {"config": None, "policy": "hold", "zone": "", "idle": row.idle if lacks else ""}
        found.append(replace(row, operation=operation, **(plain | fields)))
    return found


def at(operation: Operation, ending: str, *columns: str) -> Ends:
    """One ending at some columns, at all stages where none is named."""
    return dict.fromkeys(columns or operation.stage_names, ending)


def operated(word: str, **moment: Any) -> Fault:
    """Somebody else operates the removal's DAG; without a moment as soon as it is FAILED."""
    return Fault.operate_dag(word, **({"operation": "scale_in"} | moment))


# --- what may happen to any operation ---

ALL_LOST: Ends = {
    "*": "dag-stalled",
    "preflight": "unreachable",
    "submit": "outcome-unknown",
    "verify": "dag-stalled|verify",
}
DATABASE_GONE: Ends = {
    # It says so itself; where the server has gone before, whoever executes the stage is missing.
    "*": "dag-stalled*",
    "preflight": "blocked|database-down",
    "submit": "database-down",
    "verify": "dag-stalled*|verify",
}
DATABASE_BACK: Ends = HEALS | {"preflight": "healed|blocked", "submit": "database-down|healed"}
BLOCKS_EARLY: Ends = HEALS | {"preflight": "blocked"}
GENERAL: Mapping[str, Any] = {
    "entry agent silent": {"ends": HEALS, "costs_seconds": 60.0},
    "all members lost": {"ends": ALL_LOST, "time_limits": BRIEF},
    "agent password appears": None,
    "target scaling in": None,
    "target joins another cluster": None,
    "target's data appears": None,
}
REMOVE_AGENTS = same(
    AGENTS,
    REMOVE,
    GENERAL
    | {
        # The host is asked twice before it is excepted, each time for as long as a read may take.
        "target silent": {"ends": HEALS, "costs_seconds": 60.0},
        # Who took the request executes the first stage.
        "entry agent lost": HEALS | {"1": "healed|dag-failed:executor-lost"},
        "target away 20 s": {
            "ends": HEALS | {"4": "healed|verify", "5": "healed|verify"},
            "time_limits": WAITED_FOR,
        },
        "clock of entry jumps 5 min": HEALS,
        # Busy with a DAG of its own it takes no order to kill its observer.
        "target's own DAG holds its lock": {"*": "healed|verify"},
    },
)
REMOVE_CLUSTERS = same(
    CLUSTERS,
    REMOVE,
    {
        # Its server counts as one that is not well.
        "database of one down": HEALS | {"preflight": "healed|blocked"},
        "database of all down": {"ends": DATABASE_GONE, "time_limits": BRIEF},
        "database of all down 60 s": DATABASE_BACK,
        "password accepted late by one": HEALS | {"preflight": "healed|not-authorized"},
        "password accepted late by all": HEALS
        | {"preflight": "healed|not-authorized", "submit": "not-authorized|healed"},
        "tenant task 30 s": HEALS
        | {"preflight": "healed|blocked|foreign-dag", "submit": "foreign-dag"},
        # Running, it holds the lock; what it leaves FAILED does not.
        "tenant task fails": HEALS | {"submit": "healed|foreign-dag"},
        "zone deleted": None,
        "zone made": None,
    },
)
REMOVE_ANSWERS = same(ANSWERS, REMOVE, {})
REMOVE_SUBMITS = same(
    SUBMITS, REMOVE, dict.fromkeys((r.name for r in SUBMITS), at(REMOVE, "healed", "submit"))
)
LOST: Ends = at(REMOVE, "dag-failed:executor-lost", "1", "2") | {
    "3": "dag-failed:drain-slow",
    "4": "dag-failed:past-return",
    "5": "dag-failed:past-return",
}
FAILED: Ends = at(REMOVE, "dag-failed:removal-failed") | {
    "1": "dag-failed:delete-refused",
    "4": "dag-failed:past-return",
    "5": "dag-failed:past-return",
}
REMOVE_FAILURES = same(
    [
        row
        for row in FAILURES
        if row.name
        in {
            "stage fails once",
            "stage fails oddly",
            "executor lost",
            "stage runs twice",
            "stage fails, its log lost",
        }
    ],
    REMOVE,
    {
        "stage fails once": {"ends": FAILED, "idle": STAGES_ONLY},
        "stage fails oddly": {"ends": FAILED, "idle": STAGES_ONLY},
        "executor lost": {"ends": LOST, "idle": STAGES_ONLY},
        "stage runs twice": {"ends": at(REMOVE, "healed"), "idle": STAGES_ONLY},
        "stage fails, its log lost": {"ends": FAILED, "idle": STAGES_ONLY},
    },
)

# --- what only a removal meets ---


def leaves(name: str, cards: Any, ends: Ends, idle: str = "", **fields: Any) -> Row:
    """A row of the removal of a node with units."""
    plain: dict[str, Any] = {"operation": REMOVE, "policy": "hold"}
    return Row(name, cards, dict(ends), idle=idle, **(plain | fields))


def till_it_waits(ending: str, **but: str) -> Ends:
    """From preflight until the stage that waits."""
    return at(REMOVE, ending, "preflight", "submit", "1", "2", "3") | but


UNITS = (
    leaves(
        "units stuck",
        lambda p: [Fault.unit_stuck(p.target, **p.when)],
        till_it_waits("dag-stalled:drain-stuck"),
        GONE_LATER,
        time_limits=STILL,
        untouched=True,
    ),
    leaves(
        "units stuck 120 s",
        lambda p: [Fault.unit_stuck(p.target, seconds=120, **p.when)],
        till_it_waits("healed"),
        GONE_LATER,
    ),
    leaves(
        "no unit fits on the receiver",
        lambda p: [Fault.unit_no_room(p.second, **p.when)],
        till_it_waits("dag-failed:delete-refused")
        | at(REMOVE, "dag-stalled:drain-stuck", "2", "3"),
        GONE_LATER,
        time_limits=STILL,
        untouched=True,
    ),
    leaves(
        "receiver's disk full",
        lambda p: [Fault.receiver_disk_full(p.second, **p.when)],
        till_it_waits("dag-stalled:rm-data-disk", preflight="blocked"),
        GONE_LATER,
        time_limits=STILL,
        untouched=True,
    ),
    leaves(
        "units move for 200 s",
        lambda p: [Fault.slow_migration(200, **p.when)],
        till_it_waits("healed"),
        GONE_LATER,
        costs_seconds=8.0,
    ),
    leaves(
        "replicas may not follow",
        lambda p: [Fault.rereplication_off(**p.when)],
        till_it_waits("dag-stalled:rm-rereplication", preflight="blocked"),
        GONE_LATER,
        time_limits=STILL,
        untouched=True,
    ),
    leaves(
        "receiver's observer dies",
        lambda p: [Fault.observer_down(p.second, **p.when)],
        {
            "preflight": "blocked",
            "submit": "dag-failed:delete-refused",
            "1": "dag-failed:delete-refused",
            "2": "dag-stalled:rm-others-down",
            "3": "dag-stalled:rm-others-down",
            "*": "verify",
        },
        time_limits=STILL,
        untouched=True,
    ),
    leaves(
        "observer of another zone dies",
        lambda p: [Fault.observer_down(p.third, **p.when)],
        {"preflight": "blocked", "*": "verify"},
        time_limits=STILL,
        untouched=True,
    ),
    leaves(
        "leaving observer dies",
        lambda p: [Fault.observer_down(p.target, **p.when)],
        HEALS | {"preflight": "blocked"},
    ),
    leaves(
        "leaving observer hangs",
        lambda p: [Fault.observer_hangs(p.target, **p.when)],
        HEALS | {"preflight": "blocked"},
    ),
    leaves(
        "leaving host dies",
        lambda p: [Fault.observer_down(p.target, **p.when), Fault.agent_down(p.target, **p.when)],
        HEALS | {"preflight": "blocked"},
    ),
    leaves(
        "leaving agent away, back as a zombie",
        lambda p: [
            Fault.agent_down(p.target, **p.when),
            Fault.agent_up(p.target, phase="verify", operation="scale_in"),
        ],
        {"*": "verify", "verify": ""},
        "it has left before it goes",
    ),
)
STEPS = (
    leaves(
        "DELETE SERVER refused",
        lambda _p: [Fault.delete_refused(text="Error 1235: not allowed")],
        at(REMOVE, "dag-failed:delete-refused", "1"),
        ONE_STAGE,
        untouched=True,
    ),
    leaves(
        "DELETE SERVER refused, policy retries",
        lambda _p: [Fault.delete_refused(text="Error 1235: not allowed")],
        at(REMOVE, "dag-failed:delete-refused", "1"),
        ONE_STAGE,
        policy="retry",
        untouched=True,
    ),
    leaves(
        "its hour is over",
        lambda _p: [Fault.slow_migration(300), Fault.wait_times_out(60)],
        at(REMOVE, "dag-failed:drain-slow", "3"),
        ONE_STAGE,
        untouched=True,
    ),
    leaves(
        "its hour is over, policy retries",
        lambda _p: [Fault.slow_migration(200), Fault.wait_times_out(60, times=3)],
        at(REMOVE, "healed", "3"),
        ONE_STAGE,
        policy="retry",
        costs_seconds=8.0,
    ),
    leaves(
        "row of its agent stays",
        lambda _p: [Fault.delete_agent_fails()],
        at(REMOVE, "dag-failed:past-return", "4"),
        ONE_STAGE,
        untouched=True,
    ),
    leaves(
        "its agent refuses to kill",
        lambda _p: [Fault.inform_refused()],
        at(REMOVE, "verify", "5"),
        ONE_STAGE,
        untouched=True,
    ),
    leaves(
        "its observer cannot be killed",
        lambda _p: [Fault.kill_fails()],
        at(REMOVE, "verify", "5"),
        ONE_STAGE,
        untouched=True,
    ),
)
OTHERS = (
    leaves(
        "somebody deletes the server by SQL",
        lambda p: [Fault.somebody_deletes_server(p.target, **p.when)],
        # While its units move nobody can tell which of them it holds; later nothing is left to ask.
        till_it_waits("healed", preflight="blocked|healed"),
        GONE_LATER,
        others_leaving=1,
    ),
    leaves(
        "somebody deletes the receiver by SQL",
        lambda p: [Fault.somebody_deletes_server(p.second, **p.when)],
        {
            "preflight": "blocked",
            "submit": "dag-failed:delete-refused",
            "1": "dag-failed:delete-refused",
        },
        "from then on it holds units, and OceanBase refuses",
        time_limits=STILL,
        others_leaving=1,
        untouched=True,
    ),
    leaves(
        "somebody cancels",
        lambda p: [Fault.unit_stuck(p.target), operated("CANCEL", **p.when)],
        at(REMOVE, "dag-failed:drain-cancelled", "1", "2", "3"),
        GONE_LATER,
        untouched=True,
    ),
    leaves(
        "somebody cancels past the return",
        lambda p: [operated("CANCEL", **p.when)],
        at(REMOVE, "dag-failed:past-return", "4", "5"),
        "before, it is undone",
        untouched=True,
    ),
    leaves(
        "somebody cancels and rolls back",
        lambda p: [
            Fault.unit_stuck(p.target),
            operated("CANCEL", **p.when),
            operated("ROLLBACK"),
        ],
        at(REMOVE, "dag-rolled-back|dag-failed:drain-cancelled", "1", "2", "3"),
        GONE_LATER,
        untouched=True,
    ),
    leaves(
        "somebody cancels and retries",
        lambda p: [
            Fault.unit_stuck(p.target, seconds=60),
            operated("CANCEL", **p.when),
            operated("RETRY", after_seconds=5),
        ],
        at(REMOVE, "healed|dag-failed:drain-cancelled", "1", "2", "3"),
        GONE_LATER,
        untouched=True,
    ),
    leaves(
        "somebody cancels and passes",
        lambda p: [
            Fault.unit_stuck(p.target),
            operated("CANCEL", **p.when),
            operated("PASS"),
        ],
        at(REMOVE, "verify|dag-failed:drain-cancelled", "1", "2", "3"),
        GONE_LATER,
        time_limits=STILL,
        untouched=True,
    ),
    leaves(
        "gone before it is rolled back",
        lambda p: [
            Fault.unit_stuck(p.target),
            operated("CANCEL", **p.when),
            Fault.gone_before_rollback(p.target, phase="failed", operation="scale_in"),
            operated("ROLLBACK", after_seconds=2),
        ],
        at(REMOVE, "dag-failed:rollback-too-late|dag-failed:drain-cancelled", "2", "3"),
        GONE_LATER,
        untouched=True,
    ),
    leaves(
        "rollback stops half-way",
        lambda p: [
            Fault.unit_stuck(p.target),
            # Cancelled before it has begun, nothing of it would be undone.
            operated("CANCEL", stage=3, after_seconds=2),
            Fault.fail_rollback(**p.when),
            operated("ROLLBACK"),
        ],
        at(REMOVE, "dag-failed*", "1", "2", "3"),
        "it is undone from stage 3",
        untouched=True,
    ),
)

# --- a dead one by force ---

USUAL = frozenset(
    {
        "entry agent restarts",
        "all members away 60 s",
        "all members lost",
        "target away 20 s",
        "target lost",
        "database of all down 60 s",
        "an answer dropped",
    }
)
"""Troubles that meet every removal; the others have nothing to do with how it leaves."""
SHARED = [row for row in (*AGENTS, *CLUSTERS, *ANSWERS) if row.name in USUAL]
AGAIN = tuple(
    row for row in FAILURES if row.name in {"stage fails once", "executor lost", "stage runs twice"}
)


def dead(name: str, cards: Any, ends: Ends, idle: str = "", **fields: Any) -> Row:
    """A row of the removal of a node whose observer runs and yet is dead."""
    return leaves(name, cards, ends, idle, **({"operation": REMOVE_DEAD} | fields))


DEAD_FAILED: Ends = at(REMOVE_DEAD, "dag-failed:removal-failed") | {
    "1": "dag-failed:delete-refused",
    "4": "dag-failed:kill-refused",
    "6": "dag-failed:past-return",
}
DEAD_LOST: Ends = at(REMOVE_DEAD, "dag-failed:executor-lost") | {
    "5": "dag-failed:drain-slow",
    "6": "dag-failed:past-return",
}
DEAD = (
    healthy(REMOVE_DEAD),
    *same(
        SHARED,
        REMOVE_DEAD,
        {
            "all members lost": {"ends": ALL_LOST, "time_limits": BRIEF},
            "target lost": BLOCKS_EARLY,
            # Away when it is told to kill its observer, it is not told again.
            "target away 20 s": {
                "ends": HEALS
                | {"preflight": "healed|blocked"}
                | at(REMOVE_DEAD, "healed|verify", "submit", "1", "2", "3", "4"),
                "time_limits": WAITED_FOR,
            },
            "database of all down 60 s": DATABASE_BACK,
        },
    ),
    *same(
        SUBMITS,
        REMOVE_DEAD,
        dict.fromkeys((row.name for row in SUBMITS), at(REMOVE_DEAD, "healed", "submit")),
    ),
    *same(
        AGAIN,
        REMOVE_DEAD,
        {
            "stage fails once": {"ends": DEAD_FAILED, "idle": STAGES_ONLY},
            "executor lost": {"ends": DEAD_LOST, "idle": STAGES_ONLY},
            # Told twice, the leaving agent is busy with the first order.
            "stage runs twice": {
                "ends": at(REMOVE_DEAD, "healed") | {"4": "dag-failed:kill-refused"},
                "idle": STAGES_ONLY,
            },
        },
    ),
    dead(
        "no majority without it, at the request",
        lambda _p: [Fault.paxos_not_alive()],
        at(REMOVE_DEAD, "refused", "submit"),
        ONE_REQUEST,
        untouched=True,
    ),
    dead(
        "no majority without it, in its stage",
        lambda _p: [Fault.paxos_not_alive(stage=3)],
        at(REMOVE_DEAD, "dag-failed:removal-failed", "3"),
        ONE_STAGE,
        untouched=True,
    ),
    dead(
        "its agent refuses to kill",
        lambda _p: [Fault.inform_refused()],
        at(REMOVE_DEAD, "dag-failed:kill-refused", "4"),
        ONE_STAGE,
        untouched=True,
    ),
    dead(
        "its observer cannot be killed",
        lambda _p: [Fault.kill_fails()],
        at(REMOVE_DEAD, "verify", "4"),
        ONE_STAGE,
        untouched=True,
    ),
    dead(
        "it lives again",
        lambda p: [Fault.observer_up(p.target, **p.when)],
        BLOCKS_EARLY | at(REMOVE_DEAD, "verify", "5", "6", "verify"),
    ),
    dead(
        "units stuck",
        lambda p: [Fault.unit_stuck(p.target, **p.when)],
        at(REMOVE_DEAD, "dag-stalled:drain-stuck", "preflight", "submit", "1", "2", "3", "4", "5"),
        GONE_LATER,
        time_limits=STILL,
        untouched=True,
    ),
    dead(
        "observer of another zone dies",
        lambda p: [Fault.observer_down(p.third, **p.when)],
        # Its units have a place already, or find none any more.
        {"preflight": "blocked", "submit": "dag-failed:delete-refused"}
        | at(REMOVE_DEAD, "dag-stalled:drain-stuck|verify")
        | {"1": "dag-failed:delete-refused", "6": "verify", "verify": "verify"},
        time_limits=STILL,
        untouched=True,
    ),
)

# --- a whole zone ---


def zone(name: str, cards: Any, ends: Ends, idle: str = "", **fields: Any) -> Row:
    """A row of the removal of a zone that holds no unit."""
    return leaves(name, cards, ends, idle, **({"operation": REMOVE_ZONE} | fields))


def zone_operated(word: str, **moment: Any) -> Fault:
    """Somebody else operates the DAG that deletes the zone."""
    return Fault.operate_dag(word, **({"operation": "delete_zone"} | moment))


ZONE_FAILED: Ends = at(REMOVE_ZONE, "dag-failed:removal-failed") | at(
    REMOVE_ZONE, "dag-failed:past-return", "5", "6", "7"
)
ZONE_LOST: Ends = at(REMOVE_ZONE, "dag-failed:executor-lost", "1", "2", "3") | {
    "4": "dag-failed:drain-slow",
    **at(REMOVE_ZONE, "dag-failed:past-return", "5", "6", "7"),
}
ZONE = (
    healthy(REMOVE_ZONE),
    *same(
        SHARED,
        REMOVE_ZONE,
        {
            "all members lost": {"ends": ALL_LOST, "time_limits": BRIEF},
            # Away when it is told to kill its observer, it is not told again.
            "target away 20 s": {
                "ends": HEALS | at(REMOVE_ZONE, "healed|verify") | {"submit": "healed|verify"},
                "time_limits": WAITED_FOR,
            },
            "database of all down 60 s": DATABASE_BACK,
        },
    ),
    *same(
        SUBMITS,
        REMOVE_ZONE,
        dict.fromkeys((row.name for row in SUBMITS), at(REMOVE_ZONE, "healed", "submit")),
    ),
    *same(
        AGAIN,
        REMOVE_ZONE,
        {
            "stage fails once": {"ends": ZONE_FAILED, "idle": STAGES_ONLY},
            "executor lost": {"ends": ZONE_LOST, "idle": STAGES_ONLY},
            "stage runs twice": {"ends": at(REMOVE_ZONE, "healed"), "idle": STAGES_ONLY},
        },
    ),
    zone(
        "somebody uses the zone",
        lambda p: [Fault.zone_not_empty("zone4", **p.when)],
        {"preflight": "blocked", "submit": "refused"}
        | at(REMOVE_ZONE, "dag-failed*|dag-stalled*", "1", "2", "3", "4"),
        "behind the stage that waits it has no server",
        time_limits=STILL,
        untouched=True,
    ),
    zone(
        "DELETE SERVER refused",
        lambda _p: [Fault.delete_refused(text="Error 1235: not allowed")],
        at(REMOVE_ZONE, "dag-failed:removal-failed", "3"),
        ONE_STAGE,
        untouched=True,
    ),
    zone(
        "row of its agent stays",
        lambda _p: [Fault.delete_agent_fails()],
        at(REMOVE_ZONE, "dag-failed:past-return", "6"),
        ONE_STAGE,
        untouched=True,
    ),
    zone(
        "its agent refuses to kill",
        lambda _p: [Fault.inform_refused()],
        at(REMOVE_ZONE, "verify", "7"),
        ONE_STAGE,
        untouched=True,
    ),
    zone(
        "units stuck",
        lambda p: [Fault.unit_stuck(p.target, **p.when)],
        at(REMOVE_ZONE, "dag-stalled:drain-stuck", "preflight", "submit", "1", "2", "3"),
        "an empty server has gone when it is waited for",
        time_limits=STILL,
        untouched=True,
    ),
    zone(
        "somebody cancels",
        lambda p: [Fault.unit_stuck(p.target), zone_operated("CANCEL", **p.when)],
        at(REMOVE_ZONE, "dag-failed:drain-cancelled", "1", "2", "3", "4"),
        GONE_LATER,
        untouched=True,
    ),
    zone(
        "somebody cancels and rolls back",
        lambda p: [
            Fault.unit_stuck(p.target),
            zone_operated("CANCEL", **p.when),
            zone_operated("ROLLBACK"),
        ],
        at(REMOVE_ZONE, "dag-rolled-back|dag-failed:drain-cancelled", "1", "2", "3", "4"),
        GONE_LATER,
        untouched=True,
    ),
    zone(
        "observer of another zone dies",
        lambda p: [Fault.observer_down(p.third, **p.when)],
        {"preflight": "blocked", "*": "verify"},
        time_limits=STILL,
        untouched=True,
    ),
)
LEAVING = (
    healthy(REMOVE),
    *REMOVE_AGENTS,
    *REMOVE_CLUSTERS,
    *REMOVE_ANSWERS,
    *REMOVE_SUBMITS,
    *REMOVE_FAILURES,
    *UNITS,
    *STEPS,
    *OTHERS,
    *DEAD,
    *ZONE,
)
