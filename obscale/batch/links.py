"""Opens the connections of rows that do more, or other things, than to add a node."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Self

from obscale.connect.connections import (
    ClusterConnection,
    Connections,
    SecretStore,
    cluster_connected,
    connected,
)
from obscale.removal.look import removal_connected
from obscale.request.removal import Removal
from obscale.request.scale_out import ScaleOut
from obscale.request.use import Use


@dataclass(frozen=True)
class Links:
    """How connections are opened for such rows; each is closed with its row.

    Args:
        addition: For the node that joins in the place of another one.
        removal: For a node that leaves.
        use: For a tenant's units.
    """

    addition: Callable[[ScaleOut], AbstractAsyncContextManager[Connections]]
    removal: Callable[[Removal], AbstractAsyncContextManager[Connections]]
    use: Callable[[Use], AbstractAsyncContextManager[ClusterConnection]]

    @classmethod
    def of(cls, secret_store: SecretStore) -> Self:
        """Give those that go over the network, names resolved by this store."""
        return cls(
            lambda order: connected(order, secret_store),
            lambda order: removal_connected(order, secret_store),
            lambda order: cluster_connected(order.cluster, secret_store),
        )
