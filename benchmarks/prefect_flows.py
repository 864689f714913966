"""The flows that are measured on Prefect: a scale-out, a batch, and four empty tasks."""

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from benchmarks.ours import SAMPLE, ZONE
from benchmarks.world import PASSWORD_VARIABLE, Place, lanes_of, zone_of
from obscale.flows.batch import batch
from obscale.flows.remove import remove
from obscale.flows.scale_out import scale_out
from obscale.request.models import (
    AgentInfoSpec,
    ClusterSpec,
    NodeSpec,
    ScaleOutSpec,
    SecretName,
)
from obscale.request.policies import BatchPolicies, Dispatch
from obscale.request.removal import LeavingNode, RemovalSpec
from obscale.request.start_options import ObConfigs
from obscale.request.time_limits import TimeLimits
from obscale.spec.batch import compact


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


def runner(time_limits: TimeLimits) -> Callable[[Place], Awaitable[float]]:
    """Give what runs a whole scale-out, preflight and verification included."""

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


async def take_out(place: Place, zone: str, time_limits: TimeLimits) -> None:
    """Run a whole removal of what has joined from this place.

    Raises:
        RuntimeError: It is not gone.
    """
    report = await remove(
        cluster=_connection(place),
        zone=zone,
        agentInfo=AgentInfoSpec(ip=place.spare_ip, port=place.spare_port),
        confirm=f"{place.spare_ip}:{place.spare_port}",
        profile="lab",
        time_limits=time_limits,
    )
    if report.outcome != "verified":
        raise RuntimeError(f"{place.cluster}: {report.error}")


async def take_out_together(places: Sequence[Place], zone: str, time_limits: TimeLimits) -> None:
    """Run one batch that removes what has joined from these places, all in this zone.

    Raises:
        BatchIncompleteError: A node is not gone.
    """
    lanes = lanes_of(places)
    clusters = [
        RemovalSpec(
            cluster=name,
            remove=tuple(
                LeavingNode(
                    agentInfo=AgentInfoSpec(ip=place.spare_ip, port=place.spare_port), zone=zone
                )
                for place in lane
            ),
            profile="lab",
        )
        for name, lane in lanes.items()
    ]
    compacted: Any = [compact(cluster) for cluster in clusters]  # as the command line passes them
    running: Any = batch(
        clusters=compacted,
        connections={name: _connection(lane[0]) for name, lane in lanes.items()},
        policies=BatchPolicies(max_clusters_at_once=len(lanes), max_removals=len(places)),
        confirm=f"remove {len(places)} nodes",
        time_limits=time_limits,
    )
    await running


async def batch_of(
    places: Sequence[Place],
    time_limits: TimeLimits,
    dispatch: Dispatch = "process",
    at_once: int | None = None,
) -> None:
    """Run one batch over all places.

    Args:
        places: Of one cluster, its nodes in this order.
        time_limits: Of each row.
        dispatch: Where the clusters are worked on.
        at_once: How many clusters side by side; None: all.

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
        policies=BatchPolicies(max_clusters_at_once=at_once or len(lanes), dispatch=dispatch),
        time_limits=time_limits,
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
