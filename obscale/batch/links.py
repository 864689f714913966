"""Opens the connections of rows that add no node."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Self

from obscale.connect.connections import (
    ClusterConnection,
    Connections,
    SecretStore,
    cluster_connected,
)
from obscale.removal.look import removal_connected
from obscale.request.removal import Removal
from obscale.request.use import Use


@dataclass(frozen=True)
class Links:
    """How connections are opened for rows that add no node; each is closed with its row.

    Args:
        removal: For a node that leaves.
        use: For a tenant's units.
    """

    removal: Callable[[Removal], AbstractAsyncContextManager[Connections]]
    use: Callable[[Use], AbstractAsyncContextManager[ClusterConnection]]

    @classmethod
    def of(cls, secret_store: SecretStore) -> Self:
        """Give those that go over the network, names resolved by this store."""
        return cls(
            lambda order: removal_connected(order, secret_store),
            lambda order: cluster_connected(order.cluster, secret_store),
        )
