"""All names of Prefect that obscale uses and that Prefect does not promise to keep.

Read in Prefect 3.9.1. Where a later Prefect has renamed one, or changed its shape,
`tests/unit/test_prefect_private.py` fails, and this file is the place to mend it.
"""

from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, Final
from uuid import UUID

from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import TaskRunContext
from prefect.events.worker import EventsWorker
from prefect.exceptions import ExternalSignal, SignatureMismatchError
from prefect.utilities import engine

__all__ = [
    "BLOCK_TYPE_FIELD",
    "FLOWS_LOGGER",
    "PROCESS_OF_A_RUN",
    "READ_IN",
    "RUN_LOGGERS",
    "SENDER_LOGGERS",
    "SIGTERM_HANDLER",
    "WRONG_PARAMETERS",
    "ExternalSignal",
    "SignatureMismatchError",
    "block_id",
    "force_flow_run_state",
    "force_task_run_state",
    "from_template",
    "hand_over_state",
    "leave_input",
    "read_inputs",
    "replace_sigterm_handler",
    "send_queued_events",
    "tag_task_run",
]

READ_IN: Final = "3.9.1"
"""The release of Prefect in which these names were read."""
SIGTERM_HANDLER: Final = "_prefect_sigterm_handler"
"""In `prefect.utilities.engine`: by this name Prefect installs its handler for each run, and knows
it again: only where it finds it, a run that is cancelled ends as Cancelled and not as Crashed."""
FLOW_RUNS_LOGGER: Final = "prefect.flow_runs"
FLOWS_LOGGER: Final = "prefect.flows"
WRONG_PARAMETERS: Final = "Parameter validation failed for flow"
"""What Prefect logs of parameters that do not fit; behind it stand all of them, as they were given.
"""
RUN_LOGGERS: Final = ("prefect.task_runs", FLOW_RUNS_LOGGER)
"""Loggers of runs. Source: prefect/logging/loggers.py."""
SENDER_LOGGERS: Final = (
    "prefect._internal.concurrency",
    "prefect.events.clients",
    "EventsWorker",
    "APILogWorker",
)
"""Loggers of the threads that send events and lines, and of what they use; a service's logger is
named as its class. Source: prefect/_internal/concurrency/services.py."""
PROCESS_OF_A_RUN: Final = "PREFECT__FLOW_RUN_ID"
"""Variable set by Prefect in a process that a worker, or `serve`, has made for one run."""
BLOCK_TYPE_FIELD: Final = "block_type_slug"
"""Added by Prefect to what it stores of a block."""

SigtermHandler = Callable[[int, FrameType | None], None]


def replace_sigterm_handler(handler: SigtermHandler) -> None:
    """Have Prefect install this handler for each run instead of its own.

    A Prefect without the name, or with a run under way already, is left as it is.
    """
    if hasattr(engine, SIGTERM_HANDLER) and not engine.is_prefect_sigterm_handler_installed():
        setattr(engine, SIGTERM_HANDLER, handler)


async def force_flow_run_state(client: PrefectClient, run_id: UUID, state: State[Any]) -> None:
    """Put a flow run into a state, whatever the rules of Prefect's orchestration say."""
    await client.set_flow_run_state(run_id, state, force=True)


async def force_task_run_state(client: PrefectClient, run_id: UUID, state: State[Any]) -> None:
    """Put a task run into a state, whatever the rules of Prefect's orchestration say."""
    await client.set_task_run_state(run_id, state, force=True)


def hand_over_state(flow_run: FlowRun, state: State[Any]) -> None:
    """Let the engine go on with this state of a run.

    The same object the engine hands to whoever called the flow in this process.
    """
    flow_run.state, flow_run.state_name = state, state.name


def tag_task_run(tags: Iterable[str]) -> None:
    """Add tags to the current task run; Prefect records them with its next state.

    Not given to it at its start: for the tags it has then, Prefect asks its server whether a limit
    holds them back, and fails the task run where the server is away. Source: prefect/task_engine.py
    """
    context = TaskRunContext.get()
    if context:
        context.task_run.tags = sorted({*context.task_run.tags, *tags})


async def leave_input(client: PrefectClient, run_id: UUID, key: str, value: str) -> None:
    """Leave a word in a run's inbox; made for forms, and used as a queue between runs."""
    await client.create_flow_run_input(run_id, key, value)


async def read_inputs(
    client: PrefectClient, run_id: UUID, prefix: str, most: int, without: set[str]
) -> dict[str, str]:
    """Read words from a run's inbox, by key.

    Args:
        client: Open.
        run_id: Of the flow run.
        prefix: Of their keys.
        most: How many at most.
        without: Keys that are known already.
    """
    found = await client.filter_flow_run_input(run_id, prefix, most, without)
    return {each.key: each.value for each in found}


def send_queued_events(longest_seconds: float) -> None:
    """Wait until this process has sent its events, or so long; it sends none afterwards."""
    EventsWorker.drain_all(timeout=longest_seconds, at_exit=True)


def block_id(block: Block) -> UUID | None:
    """Give the id a block is stored by; None: it was not loaded."""
    return block._block_document_id  # noqa: SLF001 - Prefect has no other way to tell


def from_template(template: str) -> dict[str, Any]:
    """Give a parameter that an automation makes of a template which writes JSON.

    Source: prefect/utilities/schema_tools/hydration.py.
    """
    return {"__prefect_kind": "json", "value": {"__prefect_kind": "jinja", "template": template}}
