"""Decides when Prefect may run a task again, and makes the tasks it may run again."""

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from obscale.errors import ObscaleError

P = ParamSpec("P")
R = TypeVar("R")


async def if_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Only after an error that asking again, unchanged, may cure.

    Asynchronous on purpose: a synchronous one gets a coroutine from `state.result()` and never
    matches.
    """
    ending = await state.aresult(raise_on_failure=False)
    return isinstance(ending, ObscaleError) and ending.transient


def repeatable_task(
    name: str,
    *,
    run_name: str | Callable[[], str],
    timeout_seconds: float,
    pauses_seconds: Sequence[float] = (2, 5),
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a task that is run again after an error which asking again, unchanged, may cure.

    Only for what may be done twice: it reads, or finds out first what has been done already. What
    it returns is never taken from a cache.

    Args:
        name: Of the task.
        run_name: Of its runs; a pattern, or a function that gives the name.
        timeout_seconds: Longest time one attempt may take.
        pauses_seconds: Before each further attempt; half as long again at the most.
    """
    return task(
        name=name,
        task_run_name=run_name,
        retries=len(pauses_seconds),
        retry_delay_seconds=list(pauses_seconds),
        retry_jitter_factor=0.5,
        retry_condition_fn=if_transient,
        timeout_seconds=timeout_seconds,
        cache_policy=NO_CACHE,
    )
