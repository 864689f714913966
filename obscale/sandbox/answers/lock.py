"""Who gets the maintenance lock of a cluster, and how all others are refused.

A DAG about the whole cluster excludes every other; those of different tenants run side by side.
Source: ob/agent/service/task/status_maintainer.go, 4.5.0.0.
"""

from obscale.sandbox.agents import Agent
from obscale.sandbox.cluster import Cluster
from obscale.sandbox.dags.dag import TENANT_MAINTENANCE
from obscale.sandbox.errors import Refusal


def check_lock(cluster: Cluster, tenant: str, prefix: str) -> None:
    """See whether a DAG about a tenant, or about the whole cluster, may have the lock now.

    Args:
        cluster: Whose lock.
        tenant: Its name; empty for the whole cluster.
        prefix: What the refusal begins with.

    Raises:
        Refusal: Another DAG has it.
    """
    holder = cluster.lock_holder
    if holder is None:
        return
    if not tenant or holder.maintenance_type != TENANT_MAINTENANCE:
        raise Refusal(
            500,
            "OB.Cluster.UnderMaintenanceWithDag",
            f"{prefix}OceanBase cluster is under maintenance by DAG: {holder.name}, "
            "please try again later",
        )
    if cluster.tenant_lock_holder(tenant) is not None:
        raise Refusal(
            500,
            "OB.Tenant.UnderMaintenance",
            f"{prefix}Tenant '{tenant}' is under maintenance, please try again later.",
        )


def check_lock_for(agent: Agent, cluster: Cluster, name: str, tenant: str = "") -> None:
    """The same for a new DAG of that name, in the words of the agent that is asked for it."""
    if cluster.lock_holder is not None and not agent.has("errCode"):
        raise Refusal(
            500, "OB.Cluster.UnderMaintenance", "Create task failed: cluster is under maintenance"
        )
    check_lock(cluster, tenant, f"Create task '{name}' failed: ")
