"""Slots by priority: at most N rows ask agents at once, those closest to their POST first.

In the order of their coming, two hundred clusters whose DAGs end within seconds would all be proved
first, then all be judged, and all post at the same moment: the next DAGs would end together again.
Whoever is nearer to a POST has a head start here, so that clusters come apart and stay apart. What
a cluster has waited for counts as one too: a batch ends with the cluster that had to wait most.

How many N are may follow how busy this process is. Where agents answer at once, few rows keep it
busy, and more would only make each other late; where answers take a while, few rows would leave it
waiting most of the time.
"""

import asyncio
import heapq
import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import Final, Self

LOOK_SECONDS: Final = 0.05
"""Between two looks at how late this process does what is due; none while nobody waits."""
IDLE_SECONDS: Final = 0.0025
"""What is due is done no later where the process waits most of the time: then one more may enter.
Seen with answers that take 50 ms and four clusters at once: 1 ms, and a fifth of one core used."""
BUSY_SECONDS: Final = 0.005
"""From here on it has more to do than it can do at once: one place less. Seen with answers that
take no time: 3 to 13 ms."""
PROVING_SECONDS: Final = 0.0
SETTLING_SECONDS: Final = 0.0
JUDGING_SECONDS: Final = 30.0
SUBMITTING_SECONDS: Final = 60.0
"""Head starts. Whoever waits for longer than the difference goes first all the same."""


class PrioritySlots:
    """Lets so many in at a time; `Slot` is the way in.

    Args:
        places: How many.
        most: So many while somebody waits here and the process has time to spare; None: `places`.
    """

    def __init__(self, places: int, most: int | None = None) -> None:
        self._least = self._places = self._free = places
        self._most = max(places, most or places)
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._waited: defaultdict[str, float] = defaultdict(float)
        """Seconds, by cluster."""
        self._is_looking = False

    async def enter(self, cluster: str, head_start_seconds: float) -> None:
        """Wait for a place."""
        if self._free > 0:
            self._free -= 1
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        came = loop.time()
        since = came - head_start_seconds - self._waited[cluster]
        heapq.heappush(self._waiting, (since, next(self._numbers), turn))
        if self._most > self._least and not self._is_looking:
            self._is_looking = True
            self._look_soon(loop)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                # The place was given before word of the end arrived.
                self.leave()
            raise
        self._waited[cluster] += loop.time() - came

    def leave(self) -> None:
        """Give the place to whoever is next, unless there is one too many by now."""
        self._free += 1
        self._let_in()

    def _let_in(self) -> None:
        while self._free > 0 and self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():
                self._free -= 1
                turn.set_result(None)

    def _look_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + LOOK_SECONDS
        loop.call_at(due, lambda: self._look(loop, loop.time() - due))

    def _look(self, loop: asyncio.AbstractEventLoop, late_seconds: float) -> None:
        """Add a place, or take one away, by how late this was called."""
        wanted = places_after(self._places, self._least, self._most, late_seconds)
        self._free += wanted - self._places
        self._places = wanted
        self._let_in()
        self._is_looking = bool(self._waiting)
        if self._is_looking:
            self._look_soon(loop)


def places_after(places: int, least: int, most: int, late_seconds: float) -> int:
    """Give how many places there are to be from now on.

    Args:
        places: There were.
        least: There always are.
        most: There may be.
        late_seconds: So late the process did what was due.

    >>> places_after(8, 4, 32, 0.001), places_after(8, 4, 32, 0.004), places_after(8, 4, 32, 0.02)
    (9, 8, 7)
    """
    if late_seconds <= IDLE_SECONDS:
        return min(places + 1, most)
    return max(places - 1, least) if late_seconds > BUSY_SECONDS else places


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
