"""Slots by priority: at most N rows ask agents at once, those closest to their POST first.

In the order of their coming, two hundred clusters whose DAGs end within seconds would all be proved
first, then all be judged, and all post at the same moment: the next DAGs would end together again.
Whoever is nearer to a POST has a head start here, so that clusters come apart and stay apart. What
a cluster has waited for counts as one too: a batch ends with the cluster that had to wait most.
"""

import asyncio
import heapq
import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import Final, Self

PROVING_SECONDS: Final = 0.0
SETTLING_SECONDS: Final = 0.0
JUDGING_SECONDS: Final = 30.0
SUBMITTING_SECONDS: Final = 60.0
"""Head starts. Whoever waits for longer than the difference goes first all the same."""


class PrioritySlots:
    """Lets so many in at a time; `Slot` is the way in.

    Args:
        places: How many.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._waited: defaultdict[str, float] = defaultdict(float)
        """Seconds, by cluster."""

    async def enter(self, cluster: str, head_start_seconds: float) -> None:
        """Wait for a place."""
        if self._free:
            self._free -= 1
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        came = loop.time()
        since = came - head_start_seconds - self._waited[cluster]
        heapq.heappush(self._waiting, (since, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                # The place was given before word of the end arrived.
                self.leave()
            raise
        self._waited[cluster] += loop.time() - came

    def leave(self) -> None:
        """Give the place to whoever is next."""
        while self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


@dataclass(frozen=True)
class Slot:
    """How a cluster's rows enter for one purpose; an asynchronous context, again and again."""

    gate: PrioritySlots
    cluster: str
    head_start_seconds: float

    async def __aenter__(self) -> Self:
        await self.gate.enter(self.cluster, self.head_start_seconds)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self.gate.leave()
