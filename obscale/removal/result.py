"""What a removal's preflight keeps for the steps after it."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import Server, Stats, Zone, joined_address
from obscale.preflight.finding import Findings
from obscale.verify.baseline import Baseline


class BeforeRemoval(BaseModel):
    """How the cluster stood before anything was touched. Holds no secret; is kept with the run."""

    model_config = ConfigDict(frozen=True)

    zones: tuple[Zone, ...]
    totals: Stats | None = None
    """What the cluster offered; None: not told."""
    servers: tuple[Server, ...] = ()
    """Those that leave, with the directories that can be read no more once they have left."""
    home_paths: dict[str, str] = {}
    """Of the leaving agents that answered, by `ip:port`."""
    observers: dict[str, tuple[str, ...]] | None = None
    """Of each tenant the servers with a unit, `ip:rpc port`; None: this version does not tell."""

    @property
    def rpc_address(self) -> str:
        """`ip:rpc port` of the one server that leaves; empty where it is not known, or not one."""
        own = [joined_address(each.ip, each.svr_port) for each in self.servers]
        return own[0] if len(own) == 1 else ""


@dataclass(frozen=True)
class RemovalPreflight:
    """What was found, and how the cluster looked before."""

    findings: Findings
    before: BeforeRemoval
    at: datetime
    """When the facts were complete; some of them age within a minute."""
    gone_on_with: frozenset[str] = frozenset()
    """Rules that an earlier look could not judge, which was gone on with."""

    @property
    def unjudged(self) -> frozenset[str]:
        """Rules that could not be judged, now or earlier: whoever goes on accepts them."""
        return self.gone_on_with | set(self.findings.unjudged)


class RemovalRecord(Baseline):
    """How the cluster stood before one removal was asked for, and who asked. Holds no secret."""

    forced: bool = False
    """Whether the observer is killed first."""
    leaving: BeforeRemoval | None = None
    """None: it was written by who has not looked."""

    @property
    def rpc_address(self) -> str:
        """As `BeforeRemoval` gives it."""
        return self.leaving.rpc_address if self.leaving else ""
