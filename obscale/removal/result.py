"""What a removal's preflight keeps for the steps after it."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import Server, Stats, Zone
from obscale.preflight.finding import Findings


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


@dataclass(frozen=True)
class RemovalPreflight:
    """What was found, and how the cluster looked before."""

    findings: Findings
    before: BeforeRemoval
    at: datetime
    """When the facts were complete; some of them age within a minute."""
