"""What did a killed attempt of this run leave in Prefect, and how is it settled?

Prefect keeps the task runs of a process that was killed in the state they had, `Running` for ever.
When the same flow run is tried again, whatever an earlier attempt left so is no longer true.
"""

import httpx
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
from prefect.exceptions import PrefectException
from prefect.states import Crashed

from tasks.notes import tell
from tasks.run_log import run_logger

UNSETTLED = [StateType.PENDING, StateType.RUNNING]


async def settle_earlier_attempts() -> None:
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
    try:
        async with get_client() as client:
            left = await client.read_task_runs(
                flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
                task_run_filter=unsettled,
            )
            for task_run in left:
                await client.set_task_run_state(task_run.id, ended, force=True)
    except (PrefectException, httpx.HTTPError) as error:
        run_logger().warning("attempt.not_settled reason=%r", str(error))
        return
    tell("report", f"attempt.begun number={run.run_count} left_running={len(left)}")
