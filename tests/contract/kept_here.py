"""Records kept by a test of the wire, and a preflight result made of facts."""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import datetime

from obscale.agent.models import HostInfo
from obscale.events import Event
from obscale.preflight.finding import Findings
from obscale.preflight.result import Preflight
from obscale.verify.baseline import Baseline


class KeptHere:
    """Keeps the records of one node in this process."""

    def __init__(self, cluster: str, target: str) -> None:
        self.cluster, self.target = cluster, target
        self.records: list[Baseline] = []

    async def write(self, record: Baseline) -> Baseline:
        """Keep it."""
        self.records.append(record)
        return record

    async def settle(self, record: Baseline, dag_id: str) -> Baseline:
        """Keep its DAG too."""
        self.records[-1] = record.model_copy(update={"dag_id": dag_id})
        return self.records[-1]

    async def read(self) -> list[Baseline]:
        """Give all."""
        return self.records


class SlowServer:
    """A server of Prefect that takes one record after the other, and for each so long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._busy = asyncio.Lock()
        self.taken: list[str] = []
        self.waiting = self.most_waiting = 0

    async def take(self, what: str) -> None:
        """Take a record, when its turn has come."""
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        async with self._busy:
            await asyncio.sleep(self._seconds)
            self.taken.append(what)
        self.waiting -= 1


class SlowlyKept(KeptHere):
    """Keeps records with a slow server."""

    def __init__(
        self,
        server: SlowServer,
        names: tuple[str, str],
        settling: AbstractAsyncContextManager[object],
    ) -> None:
        super().__init__(*names)
        self._server = server
        self._settling = settling

    async def write(self, record: Baseline) -> Baseline:
        """Keep it."""
        await self._server.take("record")
        return await super().write(record)

    async def settle(self, record: Baseline, dag_id: str) -> Baseline:
        """Keep its DAG too."""
        async with self._settling:
            await self._server.take("dag")
            return await super().settle(record, dag_id)


def seen_at(at: datetime, host: HostInfo | None = None) -> Preflight:
    """Give a preflight of which only the time and the machine matter."""
    return Preflight(Findings((), "prod"), (), at, host=host)


def unheard(_event: Event) -> None:
    """Let an event pass: nobody in the test listens."""
