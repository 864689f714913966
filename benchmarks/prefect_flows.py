"""The flows that are measured on Prefect: a scale-out, a batch, and four empty tasks."""

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from benchmarks.ours import SAMPLE, ZONE
from benchmarks.world import Place, lanes_of, zone_of
from obscale.flows.batch import batch
from obscale.flows.scale_out import scale_out
from obscale.request.models import (
    AgentInfoSpec,
    ClusterSpec,
    NodeSpec,
    ScaleOutSpec,
    SecretName,
)
from obscale.request.policies import BatchPolicies
from obscale.request.start_options import ObConfigs
from obscale.request.time_limits import TimeLimits
from obscale.spec.batch import compact

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
    time_limits = TimeLimits(steady_seconds=steady_seconds)

    async def run(place: Place) -> float:
        report = await scale_out(
            cluster=_connection(place),
            agentInfo=AgentInfoSpec(ip=place.spare_ip, port=place.spare_port),
            zone=ZONE,
            obConfigs=ObConfigs.model_validate(SAMPLE),
            time_limits=time_limits,
        )
        known_at = time.time()
        if report.outcome != "verified":
            raise RuntimeError(f"{place.cluster}: {report.error}")
        return known_at

    return run


async def batch_of(places: Sequence[Place], steady_seconds: float) -> None:
    """Run one batch over all places, all clusters side by side.

    Raises:
        BatchIncompleteError: A node is not verified.
    """
    lanes = lanes_of(places)
    clusters = [
        ScaleOutSpec(
            cluster=name,
            nodes=tuple(
                NodeSpec(
                    agentInfo=AgentInfoSpec(ip=place.spare_ip, port=place.spare_port),
                    zone=zone_of(at),
                    obConfigs=SAMPLE,
                )
                for at, place in enumerate(lane)
            ),
        )
        for name, lane in lanes.items()
    ]
    compacted: Any = [compact(cluster) for cluster in clusters]  # as the command line passes them
    running: Any = batch(
        clusters=compacted,
        connections={name: _connection(lane[0]) for name, lane in lanes.items()},
        policies=BatchPolicies(max_clusters_at_once=len(lanes)),
        time_limits=TimeLimits(steady_seconds=steady_seconds),
    )
    await running


def _connection(place: Place) -> ClusterSpec:
    os.environ[PASSWORD_VARIABLE] = place.password
    return ClusterSpec(
        endpoints=place.endpoints,
        password=SecretName(env=PASSWORD_VARIABLE),
        name=place.cluster,
        id=place.cluster_id,
    )
