"""Records kept by a test of the wire, and a preflight result made of facts."""

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


def seen_at(at: datetime, host: HostInfo | None = None) -> Preflight:
    """Give a preflight of which only the time and the machine matter."""
    return Preflight(Findings((), "prod"), (), at, host=host)


def unheard(_event: Event) -> None:
    """Let an event pass: nobody in the test listens."""
