"""What each proof of a removal shows, in a sentence, for whoever reads its id."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from obscale.verify.observation import Level

TITLES: Final[Mapping[str, tuple[Level, str]]] = MappingProxyType(
    {
        "pl-deleting": (Level.LEAVING, "the server that leaves is DELETING, or gone"),
        "pl-dag": (Level.LEFT, "the removal went to its last stage by its own work"),
        "pl-server-gone": (Level.LEFT, "no entry agent lists the server any more"),
        "pl-agent-gone": (Level.LEFT, "no entry agent lists its agent any more"),
        "pl-lock": (Level.LEFT, "nobody holds the cluster's lock any more"),
        "pl-zone-gone": (Level.LEFT, "a zone that was deleted is not in the topology any more"),
        "pl-identity": (
            Level.RELEASED,
            "the agent on its host knows that it has left; asked only where it answers",
        ),
        "pl-observer-dead": (
            Level.RELEASED,
            "no observer process runs on its host any more; asked only where it answers",
        ),
        "pl-units": (Level.CONFORMING, "each tenant has all its units, on serving servers"),
        "pl-no-deleting": (Level.CONFORMING, "no other server leaves or is worse off than before"),
        "pl-rootserver": (Level.CONFORMING, "exactly one root service leads"),
        "pl-capacity": (Level.CONFORMING, "the cluster offers as much less as what left did"),
        "pl-leaders": (Level.CONFORMING, "each tenant has a majority of serving zones"),
        "pl-room": (Level.CONFORMING, "what is free now, beside what was free before"),
    }
)
