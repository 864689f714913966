"""Reads how a cluster stood before a POST, where a command needs Prefect anyway."""

from obscale.connect.connections import Connections
from obscale.removal.result import RemovalRecord
from obscale.request.removal import Removal
from obscale.request.scale_out import ScaleOut
from obscale.submit.settle import baseline_of_member
from obscale.verify.baseline import Baseline


async def baseline_known(link: Connections, order: ScaleOut) -> Baseline | None:
    """Read how things stood before the POST; only where the request needs Prefect anyway."""
    if not isinstance(order.cluster, str):
        return None
    from obscale.tasks.runtime.baselines import Records  # noqa: PLC0415 - Prefect reads its settings at import
    from obscale.tasks.runtime.journal import publish  # noqa: PLC0415

    return await baseline_of_member(link, order, Records, publish)


async def removal_known(order: Removal, cluster: str) -> RemovalRecord | None:
    """Read how things stood before; only where the request needs Prefect anyway."""
    if not isinstance(order.cluster, str):
        return None
    from obscale.tasks.runtime.baselines import RemovalRecords  # noqa: PLC0415 - Prefect reads its settings at import

    kept = await RemovalRecords(cluster, order.target).read()
    own = [each for each in kept if isinstance(each, RemovalRecord)]
    return max(own, key=lambda each: (each.newest_dag, each.at), default=None)
