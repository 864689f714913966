"""Runs a batch in a process of its own, as a flow or by the command line."""

import asyncio
import sys
from datetime import datetime
from typing import Any

import obscale.tasks.batch
from obscale.batch.report import BatchReport
from obscale.batch.schedule import Wave, decide_wave
from obscale.cli import apply_batch
from obscale.cli.commands import main
from obscale.errors import ObscaleError
from obscale.events import BatchEnded, Event
from obscale.flows.batch import batch
from obscale.request.policies import BatchPolicies
from obscale.tasks.runtime.journal import listening


def run_batch(order: dict[str, Any]) -> dict[str, Any]:
    """Run a batch to its own end; its last report, and the error where it has none."""
    reports: list[BatchReport] = []
    error = ""

    def hear(event: Event) -> None:
        if isinstance(event, BatchEnded):
            reports.append(event.report)

    if order["break_guard"]:
        _break_guard()
    with listening(hear):
        if order["program"] == "apply":
            error = _applied(order["parameters"])
        else:
            error = asyncio.run(_flow(order["parameters"]))
    report = reports[-1].model_dump(mode="json") if reports else None
    return {"report": report, "error": error}


async def _flow(parameters: dict[str, Any]) -> str:
    running: Any = batch(**parameters)  # which overload it is, no type checker can see
    try:
        await running
    except ObscaleError as error:
        return str(error)
    return ""


def _applied(parameters: dict[str, Any]) -> str:
    """`obscale apply FILE --yes`; a batch's file sets no time limits, and the night has no hour."""
    told = apply_batch._parameters

    def in_a_hurry(spec: Any) -> dict[str, Any]:
        return told(spec) | {"time_limits": parameters["time_limits"]}

    setattr(apply_batch, "_parameters", in_a_hurry)  # noqa: B010 - not to be typed as a mistake
    sys.argv = ["obscale", "apply", parameters["file"], "--yes", "--json"]
    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    return "" if not code else f"exit {code}"


def _break_guard() -> None:
    """Begin rows whatever has failed and whatever hour it is: to see that it shows."""

    def decide(rows: Any, sizes: Any, policies: BatchPolicies, now: datetime) -> Wave:
        heedless = {
            "window": None,
            "canary": "none",
            "stop_batch_after": None,
            "stop_cluster_after": 1000,
        }
        return decide_wave(rows, sizes, policies.model_copy(update=heedless), now)

    # Put into the module that asks; the product has no switch for it.
    setattr(obscale.tasks.batch, "decide_wave", decide)  # noqa: B010 - not to be typed as a mistake
    setattr(obscale.tasks.batch, "is_called_off", lambda *_: False)  # noqa: B010 - likewise
