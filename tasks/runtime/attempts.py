"""Settles in Prefect what a killed attempt of this run has left.

Prefect keeps the task runs of a process that was killed in the state they had, `Running` for ever.
When the same flow run is tried again, whatever an earlier attempt left so is no longer true.
"""

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext
from prefect.states import Crashed

from obscale.tasks.runtime.journal import publish_line
from obscale.tasks.runtime.prefect_private import force_task_run_state
from obscale.tasks.runtime.writing import ANSWER_SECONDS, written

UNSETTLED = [StateType.PENDING, StateType.RUNNING]


async def close_earlier_attempts() -> None:
    """Set what earlier attempts of the current flow run left unsettled to Crashed."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or run.run_count <= 1:
        return
    unsettled = TaskRunFilter(
        state=TaskRunFilterState(type=TaskRunFilterStateType(any_=list(UNSETTLED)))
    )
    ended: State[None] = Crashed(
        message="The process of this attempt was killed; a later attempt took over."
    )

    async def settle() -> int:
        async with get_client() as client:
            left = await client.read_task_runs(
                flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
                task_run_filter=unsettled,
            )
            for task_run in left:
                await force_task_run_state(client, task_run.id, ended)
        return len(left)

    # Before anything of this attempt begins, which would be taken for an earlier one's.
    found = await written("earlier attempts", settle, seconds=ANSWER_SECONDS)
    if found is not None:
        publish_line("report", f"attempt.begun number={run.run_count} left_running={found}")
