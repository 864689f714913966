"""Decides when Prefect may run a task again."""

from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun

from obscale.errors import ObscaleError


async def if_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Only after an error that asking again, unchanged, may cure.

    Asynchronous on purpose: a synchronous one gets a coroutine from `state.result()` and never
    matches.
    """
    ending = await state.aresult(raise_on_failure=False)
    return isinstance(ending, ObscaleError) and ending.transient
