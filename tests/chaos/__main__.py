"""`make chaos`: plays the matrix of faults, the seeded kills and the batches.

python -m tests.chaos                         all three, of additions, removals, uses, replacements
python -m tests.chaos --operation remove      only of removals; batches are of additions alone
python -m tests.chaos --matrix [WORDS]        only the matrix; only rows that hold these words
python -m tests.chaos --matrix --cells 120    only that many cells of it, drawn by the seed
python -m tests.chaos --kills 200 --seed 7    only the kills
python -m tests.chaos --batches 50 --seed 7   only the batches
"""

import argparse
import asyncio
import os
import signal
import sys
from importlib import import_module

from tests.chaos.operations import KINDS, Kind, shares_of

KILLS: dict[Kind, int] = {"add": 200, "remove": 120, "use": 50, "replace": 50}
"""How many where no number is named."""
BATCHES = 50
BATCHED = {
    "SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": 200,
    "SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": 100,
    "SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": 1,
    "SERVICES_EVENT_PERSISTER_BATCH_SIZE": 500,
    "SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": 100,
    "SERVICES_TRIGGERS_READ_BATCH_SIZE": 100,
}
"""One SQLite file serves all cells: without these the server spends its time on its own events."""


def main() -> int:
    """Run what was asked for; 0 green, 1 red."""
    asked = _arguments()
    # Ended early, a night takes its servers along; so one way of ending it is enough.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    everything = asked.matrix is asked.kills is asked.batches is None
    green = True
    if everything or asked.matrix is not None:
        green = _matrix(asked) and green
    if everything or asked.kills is not None:
        kills = import_module("tests.chaos.kills")
        shares = shares_of(_kinds(asked), asked.kills)
        counts = {kind: count or KILLS[kind] for kind, count in shares.items()}
        green = asyncio.run(kills.main(counts, asked.seed)) == 0 and green
    if everything or asked.batches is not None:
        batches = import_module("tests.chaos.batches")
        green = asyncio.run(batches.main(asked.batches or BATCHES, asked.seed)) == 0 and green
    return 0 if green else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--matrix", nargs="*", metavar="WORDS", help="only the matrix of faults")
    parser.add_argument("--cells", type=int, metavar="N", help="that many cells of the matrix")
    few = "cells of the matrix side by side; fewer where the machine is busy with others"
    parser.add_argument("--at-once", type=int, default=18, metavar="N", help=few)
    parser.add_argument("--kills", type=int, metavar="N", help="only the kills, that many")
    parser.add_argument("--batches", type=int, metavar="N", help="only the batches, that many")
    what = "what is asked of the clusters; a number is shared out over all of them"
    parser.add_argument("--operation", choices=(*KINDS, "all"), default="all", help=what)
    one = "of what is drawn: cells, kills and batches; one seed, one night"
    parser.add_argument("--seed", type=int, default=1, help=one)
    return parser.parse_args()


def _kinds(asked: argparse.Namespace) -> tuple[Kind, ...]:
    return KINDS if asked.operation == "all" else (asked.operation,)


def _matrix(asked: argparse.Namespace) -> bool:
    # Read when Prefect is imported, so before it is.
    os.environ.update({f"PREFECT_SERVER_{name}": str(value) for name, value in BATCHED.items()})
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    os.environ["PREFECT_CLIENT_MAX_RETRIES"] = "6"
    os.environ["PREFECT_SERVER_DATABASE_TIMEOUT"] = "60"
    os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    table = import_module("tests.chaos.matrix_table")
    words = asked.matrix or []
    return bool(table.run(_kinds(asked), words, asked.at_once, asked.cells, asked.seed))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.exit("ended early; nothing is left running")
