"""Rows of the matrix in which somebody else operates the DAG, or an operator fails.

Dead ends come in two kinds: the policy would take one, and the run must leave everything untouched;
or somebody has taken it, and the run must say what stands there now. Sources: as in
`obscale/recovery/consequences.py`.
"""

from obscale.sandbox import Fault
from tests.chaos.matrix import STAGES, Row
from tests.chaos.matrix_endings import ONE_STAGE, STAGES_ONLY, UNDONE, at_stages

HALF_UNDONE_ENDING = "dag-failed:retried-half-undone"
BELOW_SEVEN = "stage 7 fails, so the rollback begins there"

OPERATORS = (
    Row(
        "fails, somebody rolls back",
        lambda p: [Fault.fail_stage(p.when["stage"]), Fault.operate_dag("ROLLBACK")],
        # The target may have joined while the last stage is undone.
        at_stages("dag-rolled-back:rolled-back", s9="dag-rolled-back:undone-member"),
        idle=STAGES_ONLY,
        policy="hold",
    ),
    Row(
        "fails, somebody retries",
        lambda p: [
            Fault.fail_stage(p.when["stage"], text="moon"),
            Fault.operate_dag("RETRY", after_seconds=6),
        ],
        # Healed, too, where nobody looked in between.
        at_stages("dag-failed*|healed"),
        idle=STAGES_ONLY,
        policy="hold",
    ),
    Row(
        "rollback stops half-way",
        lambda p: [Fault.fail_stage(7), Fault.fail_rollback(p.when["stage"])],
        at_stages(UNDONE, s8="", s9=""),
        idle="stage 7 fails, so the rollback begins there",
        policy="roll-back",
    ),
    Row(
        "rollback stops, somebody retries",
        lambda p: [
            Fault.fail_stage(7),
            Fault.fail_rollback(p.when["stage"]),
            Fault.operate_dag("ROLLBACK"),
            Fault.operate_dag("RETRY"),
        ],
        at_stages("dag-failed:retried-half-undone", s7="dag-failed*|healed", s8="", s9=""),
        idle="stage 7 fails, so the rollback begins there",
        policy="hold",
    ),
    Row(
        "observer slow 150 s, somebody rolls back late",
        lambda _p: [Fault.slow_observer(150), Fault.operate_dag("ROLLBACK", after_seconds=80)],
        {"5": "dag-rolled-back:target-stuck|dag-failed:slow-observer"},
        idle=ONE_STAGE,
        policy="hold",
    ),
    Row(
        "observer slow 500 s, somebody rolls back",
        lambda _p: [Fault.slow_observer(500), Fault.operate_dag("ROLLBACK")],
        {"5": "dag-rolled-back:orphan-still-starting|dag-rolled-back:target-stuck"},
        idle=ONE_STAGE,
        policy="hold",
    ),
    Row(
        "late joiner, somebody rolls back",
        lambda _p: [Fault.fail_stage(9), Fault.operate_dag("ROLLBACK", after_seconds=20)],
        # On a busy machine the look for the cause comes while that ROLLBACK works, and says so.
        {"9": "dag-rolled-back:undone-member|dag-failed:late-joiner|dag-failed:under-way"},
        idle=ONE_STAGE,
        policy="hold",
    ),
)
REFUSED = tuple(
    Row(name, cards, ends, idle=ONE_STAGE, policy=policy, untouched=True)
    for name, cards, ends, policy in (
        (
            "observer starts, policy rolls back",
            lambda _p: [Fault.slow_observer(500)],
            {"5": "dag-failed:slow-observer"},
            "roll-back",
        ),
        (
            "observer just up, policy rolls back",
            lambda _p: [Fault.slow_observer(92)],
            {"5": "dag-failed:slow-observer"},
            "roll-back",
        ),
        (
            "directory not empty, policy retries",
            lambda p: [Fault.fill_directory(p.target, stage=3)],
            {"4": "dag-failed:directory-not-empty"},
            "retry",
        ),
        (
            "directory not empty, policy rolls back",
            lambda p: [Fault.fill_directory(p.target, stage=3)],
            {"4": "dag-failed:directory-not-empty"},
            "roll-back",
        ),
        (
            "answer of stage 2 lost, policy retries",
            lambda _p: [Fault.orphan_local_dag()],
            {"2": "dag-failed:orphaned-local-dag"},
            "retry",
        ),
        (
            "server listed already, policy rolls back",
            lambda _p: [Fault.repeat_stage(7)],
            {"7": "dag-failed:server-listed"},
            "roll-back",
        ),
        (
            "target joins late, policy rolls back",
            lambda _p: [Fault.fail_stage(9)],
            {"9": "dag-failed:late-joiner"},
            "roll-back",
        ),
    )
)
HALF_UNDONE = Row(
    "rollback stops half-way, policy retries",
    lambda p: [
        Fault.fail_stage(7),
        Fault.fail_rollback(p.when["stage"]),
        Fault.operate_dag("ROLLBACK"),
    ],
    dict.fromkeys(STAGES[:7], "dag-failed:half-rolled-back"),
    idle=BELOW_SEVEN,
    policy="retry",
    untouched=True,
)
TAKEN = (
    Row(
        "observer slow 150 s, somebody rolls back",
        lambda _p: [Fault.slow_observer(150), Fault.operate_dag("ROLLBACK")],
        {"5": "dag-rolled-back:target-stuck"},
        idle=ONE_STAGE,
        policy="hold",
        untouched=True,
    ),
    Row(
        "joined late, rollback stops, somebody retries",
        lambda p: [
            Fault.fail_stage(9),
            Fault.fail_rollback(p.when["stage"]),
            Fault.operate_dag("ROLLBACK"),
            Fault.operate_dag("RETRY"),
        ],
        # Undone nodes count as done: SUCCEED, and nothing was added. 2 and 7 do not go twice.
        dict.fromkeys(STAGES[:6], "verify") | dict.fromkeys(("2", "7"), HALF_UNDONE_ENDING),
        idle="from stage 8 on the server is there still when the rollback stops",
        policy="hold",
        untouched=True,
    ),
)
DEAD_ENDS = (*REFUSED, HALF_UNDONE, *TAKEN)
