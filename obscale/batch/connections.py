"""The connections and facts of a cluster that its next row uses again.

A row begins within moments of the end of the one before it. Opening all connections anew, fetching
every agent's key, and reading again what changes by the hour would be half of its questions.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self

from obscale.batch.links import Links
from obscale.clock import monotonic
from obscale.connect.connections import (
    ClusterConnection,
    Connections,
    SecretStore,
    cluster_connected,
    known_cluster,
    target_connected,
)
from obscale.preflight.facts import ClusterFacts
from obscale.request.scale_out import ScaleOut

SEEN_SECONDS: Final = 20.0
"""So long after the proof of a row the next one is judged by what that has seen of the cluster. It
is added to the age of the row's look; and the look before its POST asks anew all the same."""
KEPT_SECONDS: Final = 300.0
"""From its first row on; then all is opened, and asked, anew."""


@dataclass
class Kept:
    """A cluster whose connections stay open between its rows."""

    cluster: ClusterConnection
    closing: AsyncExitStack
    opened: float
    """Monotonic seconds."""
    lasting: ClusterFacts | None = None
    """What it has told of itself that lasts; None: nothing yet."""
    _seen: ClusterFacts | None = None
    _seen_at: float = 0.0
    """Monotonic seconds."""

    def prove(self, seen: ClusterFacts | None) -> None:
        """Keep what the proof of a row has just seen of the cluster; None: not enough of it."""
        self._seen, self._seen_at = seen, monotonic()

    def take_seen(self) -> tuple[ClusterFacts | None, float]:
        """Give once what the row before has seen, and how many seconds ago.

        None, and 0, where that is too long ago, or was not enough.
        """
        seen, self._seen = self._seen, None
        age = monotonic() - self._seen_at
        return (seen, age) if seen and age <= SEEN_SECONDS else (None, 0.0)


class ConnectionCache:
    """The clusters that rows of this process join, by the name the batch has for them.

    Rows of one cluster come one after the other.

    Args:
        secret_store: Where the names in orders resolve. It is asked for each row: a password or
            a key that was changed meanwhile counts from the next row on.
    """

    def __init__(self, secret_store: SecretStore) -> None:
        self._secret_store = secret_store
        self.links = Links.of(secret_store)
        """For rows that add no node; theirs are closed with each row."""
        self._kept: dict[str, Kept] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close_all_but()

    @asynccontextmanager
    async def link(self, name: str, order: ScaleOut) -> AsyncIterator[tuple[Connections, Kept]]:
        """Open what an order needs and is not open yet. After an error nothing is kept.

        Raises:
            SpecError: A name resolves to nothing.
        """
        kept = await self._opened(name, order)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close, name)
            async with target_connected(order, kept.cluster, self._secret_store) as link:
                yield link, kept
            stack.pop_all()

    @asynccontextmanager
    async def cluster(self, name: str, order: ScaleOut) -> AsyncIterator[ClusterConnection]:
        """Open what is needed of a cluster alone, and keep it. After an error nothing is kept.

        Raises:
            SpecError: A name resolves to nothing.
        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close, name)
            yield (await self._opened(name, order)).cluster
            stack.pop_all()

    async def close_all_but(self, names: Collection[str] = ()) -> None:
        """Close all clusters but these."""
        for name in [name for name in self._kept if name not in names]:
            await self._close(name)

    async def _opened(self, name: str, order: ScaleOut) -> Kept:
        known = await known_cluster(order.cluster, self._secret_store)
        kept = self._kept.get(name)
        if kept and kept.cluster.known.is_like(known) and _age_seconds(kept) < KEPT_SECONDS:
            return kept
        await self._close(name)
        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(
                cluster_connected(order.cluster, self._secret_store, known)
            )
            kept = self._kept[name] = Kept(cluster, stack.pop_all(), monotonic())
        return kept

    async def _close(self, name: str) -> None:
        if kept := self._kept.pop(name, None):
            await kept.closing.aclose()


def _age_seconds(kept: Kept) -> float:
    return monotonic() - kept.opened
