"""The one text on cleaning a target's host by hand, so that its agent is SINGLE again.

Where `etc/observer.config.bin*` is left, obshell takes the host for one of a running OceanBase,
starts an observer nobody asked for and never opens its port; `obshell admin start` does not return.
Seen on a real server of 4.5.0.0.
"""

import shlex
from pathlib import PurePosixPath
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


UNKNOWN_HOME: Final = "<home>"
_SHALLOWEST: Final = 2
"""`/` and one name: no such directory is an observer's own."""
CLEAN_BY_HAND: Final = clean_by_hand()
"""The advice where the home is not known."""
NOT_WHILE_LISTED: Final = (
    "the cluster lists this node, so it may hold data that is needed: do not clean it; scale it in "
    "if it shall go, and look again once it is listed no more"
)
"""What is told instead of it for a node of a cluster."""


def steps_after_removal(
    home: str, *, ip: str, port: int, data_dir: str = "", redo_dir: str = "", log_dir: str = ""
) -> tuple[str, ...]:
    """Give the commands that clean the host of a removed node, in their order. Nobody runs them.

    They stop obshell, show that no observer of that home runs, show what its store links to, remove
    the directories and settings, and start obshell.

    The paths are an agent's word: each is quoted for a shell, and one that cannot be the directory
    of an observer stands in no command but in a remark.

    Args:
        home: Home of its obshell; empty where it is not known.
        ip: The agent's.
        port: The agent's.
        data_dir: As the topology told it before the removal, as the two below.
        redo_dir: Of the redo log.
        log_dir: Of the observer's own logs.

    Source: seen on a real 4.5.0.0, which then took the node again.
    """
    is_home = _is_directory(home)
    base = home.rstrip("/") if is_home else UNKNOWN_HOME
    told = {"data": data_dir, "redo log": redo_dir, "log": log_dir}
    remarks = [
        f"# its {name} directory was told as {path!r}: see on the host which it is"
        for name, path in told.items()
        if path and not (_is_directory(path) and not _holds(path, base))
    ]
    if not is_home:
        remarks.append(f"# put its home in the place of {UNKNOWN_HOME}")
    usable = [path.rstrip("/") for path in told.values() if path and not _holds(path, base)]
    usable = [path for path in usable if _is_directory(path)]
    whole = dict.fromkeys((f"{base}/store", f"{base}/log", *usable))
    outer = [
        path for path in whole if not any(path != each and _holds(each, path) for each in whole)
    ]

    def word(path: str) -> str:
        return shlex.quote(path) if is_home or not path.startswith(UNKNOWN_HOME) else path

    return (
        *remarks,
        f"{word(f'{base}/bin/obshell')} admin stop",
        # Succeeds where none runs.
        f"! pgrep -af {word(f'{base}/bin/observer')}",
        # Prints what it links to, which goes as well.
        f"find {word(f'{base}/store')} -type l -exec readlink -f {{}} +",
        f"rm -rf -- {' '.join(map(word, outer))}",
        f"rm -rf -- {word(f'{base}/etc/observer.config.bin')}* {word(f'{base}/.meta')}*",
        f"{word(f'{base}/bin/obshell')} admin start --ip {shlex.quote(ip)} -P {port}",
    )


def _is_directory(path: str) -> bool:
    """Whether a path may be a directory of an observer: whole, plain, and not one of the root's."""
    parts = PurePosixPath(path).parts
    return (
        path.startswith("/")
        and path.isprintable()
        and len(parts) > _SHALLOWEST
        and not {".", ".."} & set(path.split("/"))
    )


def _holds(path: str, other: str) -> bool:
    """Whether one directory is the other or holds it."""
    return PurePosixPath(other).is_relative_to(path)


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
