"""What is run on Prefect: the whole scale-out, and beside it four tasks that do nothing?"""

import os
import time
from collections.abc import Awaitable, Callable
from typing import Final

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from benchmarks.ours import SAMPLE, ZONE
from benchmarks.world import Place
from flows.scale_out import scale_out
from obscale.form import ObConfigs
from obscale.rules.asked import AgentInfoSpec, ClusterSpec, SecretName
from obscale.settings import Patience

PASSWORD_VARIABLE: Final = "OBSCALE_BENCH_ROOT_PASSWORD"  # noqa: S105 - a name, no password


@task(cache_policy=NO_CACHE)
async def nothing() -> None:
    """Do nothing."""


@flow(name="empty", retries=0, persist_result=False)
async def four_times_nothing() -> None:
    """Run four tasks one after the other, as a scale-out does."""
    await nothing()
    await nothing()
    await nothing()
    await nothing()


async def empty(_place: Place) -> float:
    """Run the empty flow; gives the Unix seconds of its end."""
    await four_times_nothing()
    return time.time()


def runner(steady_seconds: float) -> Callable[[Place], Awaitable[float]]:
    """Give what runs a whole scale-out, preflight and verification included."""
    patience = Patience(steady_seconds=steady_seconds)

    async def run(place: Place) -> float:
        os.environ[PASSWORD_VARIABLE] = place.password
        report = await scale_out(
            cluster=ClusterSpec(
                endpoints=place.endpoints,
                password=SecretName(env=PASSWORD_VARIABLE),
                name=place.cluster,
                id=place.cluster_id,
            ),
            agentInfo=AgentInfoSpec(ip=place.spare_ip, port=place.spare_port),
            zone=ZONE,
            obConfigs=ObConfigs.model_validate(SAMPLE),
            patience=patience,
        )
        known_at = time.time()
        if report.outcome != "verified":
            raise RuntimeError(f"{place.cluster}: {report.error}")
        return known_at

    return run
