"""Decides whether a list of agents is the asked cluster's and shows an agent as member.

Only the cluster's own list makes a member: what an agent says of itself proves nothing.
"""

from obscale.agent.models import Identity, ObCluster, ObInfo


def is_cluster(told: ObCluster, name: str | None, number: int | None) -> bool:
    """Whether a cluster is the one that was asked for.

    Args:
        told: As an agent tells it; one whose database is away may tell neither name nor id.
        name: The name it must have, None: any.
        number: The id it must have, None: any.
    """
    return name in (None, told.name) and number in (None, told.id)


def is_untold(told: ObCluster, name: str | None, number: int | None) -> bool:
    """Whether an agent does not say of which cluster it is, although that is asked."""
    return not told.name and not is_cluster(told, name, number)


def shows_member(members: ObInfo, address: str) -> bool:
    """Whether a list shows an agent as CLUSTER AGENT.

    One it shows as SCALING OUT is no member yet, one it shows as SCALING IN is on its way out.

    Args:
        members: `/ob/info` of one of the cluster's agents.
        address: `ip:port`, IPv6 in brackets.
    """
    return any(
        row.address == address and row.identity is Identity.CLUSTER_AGENT
        for row in members.agent_info
    )
