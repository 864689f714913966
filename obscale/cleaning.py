"""The one text on cleaning a target's host by hand, so that its agent is SINGLE again.

Where `etc/observer.config.bin*` is left, obshell takes the host for one of a running OceanBase,
starts an observer nobody asked for and never opens its port; `obshell admin start` does not return.
Seen on a real server of 4.5.0.0.
"""

from typing import Final

from obscale.agent.models import AgentInfo, Identity


def clean_by_hand(home: str = "<home>") -> str:
    """Say how a target that serves nobody is cleaned, and what that deletes.

    Never to be told of a node a cluster lists: see `NOT_WHILE_LISTED`.

    Args:
        home: Home of its obshell; left out where it is not known.
    """
    return (
        "only if no cluster lists this node, on its host: stop obshell, kill the observer, "
        f"remove {home}/store and what it, its clog and its slog link to, {home}/log, "
        f"{home}/etc/observer.config.bin* and {home}/.meta*, start obshell. It deletes all data, "
        "redo logs, logs and settings of that observer for good: save before what is worth it"
    )


CLEAN_BY_HAND: Final = clean_by_hand()
"""The advice where the home is not known."""
NOT_WHILE_LISTED: Final = (
    "the cluster lists this node, so it may hold data that is needed: do not clean it; scale it in "
    "if it shall go, and look again once it is listed no more"
)
"""What is told instead of it for a node of a cluster."""


def way_out_of(info: AgentInfo) -> str:
    """Say what to do about a target whose identity takes no scale-out."""
    match info.identity:
        case Identity.SCALING_IN:
            cleaning = clean_by_hand(info.home_path or "<home>")
            return f"it was scaled in and stays so until it is cleaned: {cleaning}"
        case Identity.MASTER | Identity.FOLLOWER:
            return "it belongs to a cluster that is not initialised yet: remove it there first"
        case _:
            return "use an agent that belongs to no cluster"
