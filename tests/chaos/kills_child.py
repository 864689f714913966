"""Forks flow processes from a parent that has imported everything once.

The parent starts no thread and no loop, so a child is as clean as a process that imported it all by
itself, two seconds sooner. Orders come in as JSON lines, what became of them goes out likewise.
"""

import asyncio
import json
import logging
import os
import random
import select
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import fastapi  # noqa: F401 - Prefect imports it when a flow starts; here it is done once
from prefect.client.schemas.objects import State
from prefect.flow_engine import load_flow_run, run_flow

import obscale.removal.run
import obscale.submit.run
import obscale.submit.settle
import obscale.use.run
from obscale.flows.remove import remove
from obscale.flows.replace import replace
from obscale.flows.scale_out import scale_out
from obscale.flows.use import use
from obscale.report.report import ScaleOutReport
from obscale.report.use import UseReport
from obscale.submit.decide import Candidates, Post, PostAgain
from obscale.use.decide import Send, Sighting
from obscale.use.facts import zones_of
from tests.chaos import batches_child
from tests.chaos.hurry import hurry

LOOK_SECONDS = 0.02
FLOWS = {"scale-out": scale_out, "remove": remove, "replace": replace, "use": use}
"""By the program's name; all others are batches."""
REPORTS = (ScaleOutReport, UseReport)


def main() -> None:
    """Fork for each order until no more can come; a child returns here with its own."""
    order = _wait_for_orders()
    if order is not None:
        _run(order)


def _wait_for_orders() -> dict[str, Any] | None:
    """The order this process is to carry out, None in the parent when it ends."""
    assert threading.active_count() == 1, "a fork would lose threads"
    children: dict[int, int] = {}
    _tell({"ready": os.getpid()})
    waiting = b""
    while True:
        for pid in list(children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                _tell({"number": children.pop(pid), "status": os.waitstatus_to_exitcode(status)})
        if not select.select([0], [], [], LOOK_SECONDS)[0]:
            continue
        read = os.read(0, 65536)
        if not read:
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            return None
        *lines, waiting = (waiting + read).split(b"\n")
        for line in lines:
            order: dict[str, Any] = json.loads(line)
            pid = os.fork()
            if pid == 0:
                return order
            children[pid] = order["number"]
            _tell({"number": order["number"], "pid": pid})


def _tell(news: dict[str, Any]) -> None:
    os.write(1, json.dumps(news).encode() + b"\n")


def _run(order: dict[str, Any]) -> None:
    """Run the flow as a user's process does, and write down how it ended."""
    said = os.open(order["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(said, 1)
    os.dup2(said, 2)
    random.seed()
    os.environ.update(order["environment"])
    state = _flow_run(order) if order["program"] in FLOWS else batches_child.run_batch(order)
    logging.shutdown()
    ending = Path(order["ending"])
    unfinished = ending.with_suffix(".part")
    unfinished.write_text(json.dumps(state), encoding="utf-8")
    unfinished.rename(ending)


def _flow_run(order: dict[str, Any]) -> dict[str, Any]:
    flow: Any = FLOWS[order["program"]]
    hurry()
    if order["break_guard"]:
        _break_guard()
    if order["flow_run_id"]:
        # As `python -m prefect.engine` does in the process a runner or a worker starts.
        flow_run = load_flow_run(flow_run_id=UUID(order["flow_run_id"]))
        running: Any = run_flow(flow, flow_run=flow_run, return_type="state")
    else:
        running = flow(**order["parameters"], return_state=True)
    return asyncio.run(_ended(running))


async def _ended(running: Any) -> dict[str, Any]:
    state: State[Any] = await running
    result = await state.aresult(raise_on_failure=False)
    run_id = state.state_details.flow_run_id
    return {
        "flow_run_id": str(run_id) if run_id else "",
        "state": state.name,
        "report": result.model_dump(mode="json") if isinstance(result, REPORTS) else None,
        "error": f"{type(result).__name__}: {result}" if isinstance(result, Exception) else "",
    }


def _break_guard() -> None:
    """Post without looking, and post again after a lost answer: to see that it shows."""

    def post(sighting: Candidates, _node: object) -> Post:
        return Post(sighting.last_dag.dag_id if sighting.last_dag else 0)

    def send(sighting: Sighting, _order: object) -> Send:
        return Send(sighting.newest_number, zones_of(sighting.tenant.pools))

    def post_again(*_looked: object, **_known: object) -> PostAgain:
        return PostAgain()

    # Put into the module that asks; the product has no switch for it.
    setattr(obscale.submit.run, "decide_submission", post)  # noqa: B010 - not to be typed as a mistake
    setattr(obscale.submit.settle, "decide_after_lost_answer", post_again)  # noqa: B010 - likewise
    setattr(obscale.removal.run, "decide_removal", post)  # noqa: B010 - likewise
    setattr(obscale.use.run, "decide_use", send)  # noqa: B010 - likewise


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
    sys.stdout.flush()
