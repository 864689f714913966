"""Reads the reports of earlier attempts, and of earlier runs of the same DAG."""

from typing import TYPE_CHECKING

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort

from obscale.recovery.find import node_of
from obscale.report.audit import KeptReport, earlier_of
from obscale.report.report import ScaleOutReport
from obscale.request.models import NodeSpec
from obscale.tasks.runtime.baselines import AWAY, bounded, read_page, told
from obscale.tasks.runtime.journal import artifact_key
from obscale.tasks.runtime.run_log import run_logger

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

KEY_PREFIX = "evidence-"
MOST_READ = 50
"""Of one target; the newest count."""


async def reports_kept(client: "PrefectClient", target: str) -> list[KeptReport]:
    """Read what was kept of a target, by whichever name of its cluster; oldest first.

    Args:
        client: Open.
        target: `ip:port`.
    """
    found = await client.read_artifacts(
        artifact_filter=ArtifactFilter(key=ArtifactFilterKey(like_=artifact_key(target))),
        sort=ArtifactSort.CREATED_DESC,
        limit=MOST_READ,
    )
    pages = [each.data for each in reversed(found) if (each.key or "").startswith(KEY_PREFIX)]
    kept = [report for page in pages if (report := read_page(KeptReport, page)) is not None]
    return [each for each in kept if each.report.target == target]


async def reports_before(report: ScaleOutReport) -> list[KeptReport]:
    """Read what was kept before a report that is about to be; nothing where Prefect is away."""

    async def read() -> list[KeptReport]:
        async with get_client() as client:
            return await reports_kept(client, report.target)

    try:
        kept = await bounded(read)
    except AWAY as error:
        run_logger().warning("earlier.not_read reason=%r", told(error))
        return []
    return earlier_of(
        kept,
        run_id=report.run_id,
        target=report.target,
        cluster=report.told_cluster,
        dag_id=report.dag_id,
    )


async def node_asked(target: str, dag_id: str) -> NodeSpec | None:
    """Read what was asked of a node, from the newest report of its DAG; None: nobody has kept it.

    Args:
        target: `ip:port`.
        dag_id: Of the DAG.
    """

    async def read() -> list[KeptReport]:
        async with get_client() as client:
            return await reports_kept(client, target)

    try:
        kept = await bounded(read)
    except AWAY as error:
        run_logger().warning("earlier.not_read reason=%r", told(error))
        return None
    asked = [each.report for each in kept if each.report.dag_id == dag_id and each.report.zone]
    return node_of(target, asked[-1].zone, **asked[-1].obConfigs) if asked else None
