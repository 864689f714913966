"""Finds the deployment for a batch's clusters, and starts each run exactly once."""

import asyncio
from collections.abc import Collection
from typing import Any, Final

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import DeploymentStatus, FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.settings import get_current_settings

from obscale.batch.dispatch import RunState
from obscale.batch.dispatch_rows import WorkerAssignment, batch_tag
from obscale.errors import DispatchError, SpecError
from obscale.request.policies import BATCH_FLOW, PARTS_FLOW, WorkersPolicy

USUAL_NAMES: Final = (f"{PARTS_FLOW}-workers", f"{PARTS_FLOW}-served")
"""Of deployments/prefect.yaml, and of deployments/serve.py."""
DEPLOY: Final = (
    "deploy it: prefect --no-prompt deploy --all --prefect-file "
    '"$(python -m obscale.deployments.where)/prefect.yaml"; '
    "or serve it: python -m obscale.deployments.serve"
)
AGAIN: Final = "then run the same batch again"
TRIES: Final = 5
"""Of asking Prefect for one run; with one idempotency key they make one run."""
PAUSE_SECONDS: Final = 2.0
MOST_TURNS: Final = 1000
CLIENT_ERRORS: Final = range(400, 500)


def check_server() -> None:
    """See that runs can reach workers at all.

    Raises:
        SpecError: No server is configured; one that lives as long as this program has no workers.
    """
    if not get_current_settings().api.url:
        raise SpecError(
            "policies.dispatch: deployment needs a Prefect server with workers, and none is "
            "configured; nothing was sent",
            "set PREFECT_API_URL, e.g. http://127.0.0.1:4200/api (prefect server start), or write "
            "dispatch: process",
        )


async def find_deployment(client: PrefectClient, wanted: WorkersPolicy) -> DeploymentResponse:
    """Find where the clusters of this batch go.

    Raises:
        SpecError: No server is configured.
        DispatchError: There is no such deployment, or Prefect does not say.
    """
    check_server()
    try:
        names = [wanted.deployment] if wanted.deployment else await _usual(client)
        for name in names:
            try:
                return await client.read_deployment_by_name(name)
            except ObjectNotFound:
                continue
    except (PrefectException, httpx.HTTPError) as error:
        raise _refused(error) from error
    told = " or ".join(names)
    raise DispatchError(f"Prefect's server has no deployment {told}; nothing was sent", DEPLOY)


async def _usual(client: PrefectClient) -> list[str]:
    """Name first what belongs to the batch's own deployment."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    own: list[str] = []
    if run and run.deployment_id:
        own = names_beside((await client.read_deployment(run.deployment_id)).name)
    return [f"{PARTS_FLOW}/{name}" for name in dict.fromkeys((*own, *USUAL_NAMES))]


def names_beside(batch: str) -> list[str]:
    """Name what may belong to a batch: to `batch-night` `batch-part-night`, or both are alike.

    Args:
        batch: Name of the batch's own deployment.
    """
    rest = batch.removeprefix(f"{BATCH_FLOW}-")
    return [f"{PARTS_FLOW}-{rest}", batch]


async def find_runs(
    client: PrefectClient,
    deployment: DeploymentResponse,
    batch: str,
    states: Collection[RunState] = (),
) -> list[FlowRun]:
    """Find the runs a batch has, or had: oldest first; those in some states, or all.

    Raises:
        DispatchError: Prefect does not say.
    """
    types = [StateType(state.value) for state in states]
    wanted = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]),
        tags=FlowRunFilterTags(all_=[batch_tag(batch)]),
    )
    if types:
        wanted.state = FlowRunFilterState(type=FlowRunFilterStateType(any_=types))
    try:
        found = await client.read_flow_runs(
            flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_DESC
        )
    except (PrefectException, httpx.HTTPError) as error:
        raise _refused(error) from error
    return list(reversed(found))


async def start_run(
    client: PrefectClient, deployment: DeploymentResponse, part: WorkerAssignment, first: int
) -> FlowRun:
    """Begin a run for one lane's rows. Asked twice, say by a batch begun again, it is one run.

    Args:
        client: Open.
        deployment: Of the parts.
        part: The lane's rows.
        first: Its turn, as far as is known.

    Raises:
        DispatchError: Prefect does not let it, or does not answer.
    """
    for turn in range(first, first + MOST_TURNS):
        run = await _asked_for(client, deployment, part, turn)
        if run.state is None or not run.state.is_final():
            return run
        # One of an earlier time, beyond those that were listed, or another batch's of these rows.
    raise DispatchError(f"{part.name} had {MOST_TURNS} runs already", "delete old ones in Prefect")


async def _asked_for(
    client: PrefectClient, deployment: DeploymentResponse, part: WorkerAssignment, turn: int
) -> FlowRun:
    tries = 0
    while True:
        tries += 1
        try:
            run: Any = await arun_deployment(
                deployment.id,
                client=client,
                parameters=dict(part.parameters),
                flow_run_name=part.name,
                tags=list(part.tags),
                idempotency_key=part.key(turn),
                timeout=0,
            )
        except (PrefectException, httpx.HTTPError) as error:
            if tries >= TRIES or _status(error) in CLIENT_ERRORS:
                raise _refused(error) from error
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            found: FlowRun = run
            return found


async def no_worker(
    client: PrefectClient, deployment: DeploymentResponse, seconds: float
) -> DispatchError:
    """Say why no worker may have taken a run, and what to do."""
    said = f"no worker has taken a run of {PARTS_FLOW}/{deployment.name} for {seconds:.0f} s"
    pool = deployment.work_pool_name
    if pool is None:
        return DispatchError(
            f"{said}: nobody serves it, or its places are taken",
            f"start python -m obscale.deployments.serve, {AGAIN}",
        )
    start = f"prefect worker start --pool {pool}"
    try:
        now = await client.read_deployment(deployment.id)
        paused = (await client.read_work_pool(pool)).is_paused
    except (PrefectException, httpx.HTTPError) as error:
        return DispatchError(f"{said}: {_told(error)}", f"{start}, {AGAIN}")
    if paused:
        why, start = f"work pool {pool} is paused", f"prefect work-pool resume {pool}"
    elif now.status == DeploymentStatus.READY:
        why = f"the workers of {pool} have no place free; a batch on a worker takes one itself"
    else:
        why = f"no worker asks for work in pool {pool}"
    return DispatchError(f"{said}: {why}", f"{start}, {AGAIN}")


def _refused(error: Exception) -> DispatchError:
    status = _status(error)
    if status in {401, 403}:
        hint = "set PREFECT_API_AUTH_STRING to the server's own"
    elif status in CLIENT_ERRORS:
        hint = "deploy again with the version of obscale the workers have"
    else:
        hint = "see that Prefect's server answers at PREFECT_API_URL"
    return DispatchError(
        f"Prefect's server does not let the batch dispatch its clusters ({_told(error)})",
        f"{hint}, {AGAIN}",
    )


def _told(error: Exception) -> str:
    if (status := _status(error)) is not None:
        return f"status {status}"
    return str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__


def _status(error: BaseException) -> int | None:
    found: int | None = getattr(getattr(error, "response", None), "status_code", None)
    return found
