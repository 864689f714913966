"""Rows of the matrix whose DAG succeeds while the node or its peers do not."""

from obscale.sandbox import Fault
from tests.chaos.matrix import Row
from tests.chaos.matrix_endings import UNDONE

LAST_STAGE = "it is about the last stage, and what comes after it"
JOINED = "before it has joined, the new observer has nothing to lose"
STARTED = "before stage 6 it has not started, from stage 8 on nobody asks it, and rollback kills it"

AFTERWARDS = (
    Row(
        "a peer's observer dies",
        lambda p: [Fault.observer_down(p.third, **p.when)],
        # Dead before anything is begun, it is warned of, and no harm of this scale-out's.
        {"*": "verify", "preflight": "healed", "undo": UNDONE},
    ),
    Row(
        "new observer dies",
        lambda p: [Fault.observer_down(p.target, **p.when)],
        {"verify": "verify"},
        idle=JOINED,
    ),
    Row(
        "new observer dies, is started again",
        lambda p: [
            Fault.observer_down(p.target, **p.when),
            Fault.observer_up(p.target, after_seconds=90, **p.when),
        ],
        {"verify": "healed"},
        idle=JOINED,
    ),
    Row(
        "new observer dies before it is added",
        lambda p: [Fault.observer_down(p.target, **p.when)],
        dict.fromkeys(("6", "7"), "dag-failed:observer-gone"),
        idle=STARTED,
    ),
    Row(
        "a parameter is set back",
        lambda p: [Fault.set_parameter(p.target, "memory_limit=12G", **p.when)],
        {"verify": "verify"},
        idle=JOINED,
    ),
    Row(
        "service begins 60 s late",
        lambda _p: [Fault.slow_service(60)],
        {"9": "healed"},
        idle=LAST_STAGE,
    ),
    Row(
        "service never begins",
        lambda _p: [Fault.slow_service(1e6)],
        {"9": "verify"},
        idle=LAST_STAGE,
        time_limits={"verify_seconds": 6},
    ),
)
