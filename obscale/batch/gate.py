"""Who looks next, where more rows want to than one process can serve at a time?

In the order of their coming, two hundred clusters whose DAGs end within seconds would all be proved
first, then all be judged, and all post at the same moment: the next DAGs would end together again.
Whoever is nearer to a POST has a head start here, so that clusters come apart and stay apart.
"""

import asyncio
import heapq
import itertools
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

PROVING_SECONDS: Final = 0.0
JUDGING_SECONDS: Final = 30.0
SUBMITTING_SECONDS: Final = 60.0
"""Head starts. Whoever waits for longer than the difference goes first all the same."""


class Gate:
    """Lets so many in at a time; `Entrance` is its door.

    Args:
        places: How many.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    async def enter(self, head_start_seconds: float) -> None:
        """Wait for a place."""
        if self._free:
            self._free -= 1
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        since = loop.time() - head_start_seconds
        heapq.heappush(self._waiting, (since, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                # The place was given before word of the end arrived.
                self.leave()
            raise

    def leave(self) -> None:
        """Give the place to whoever is next."""
        while self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


@dataclass(frozen=True)
class Entrance:
    """A gate for those who have the same head start; an asynchronous context, again and again."""

    gate: Gate
    head_start_seconds: float

    async def __aenter__(self) -> Self:
        await self.gate.enter(self.head_start_seconds)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.gate.leave()
