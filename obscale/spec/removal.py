"""Reads a file that says which nodes leave a cluster, and names every fault in it."""

import shlex
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from obscale.errors import SpecError
from obscale.request.removal import RemovalSpec
from obscale.spec.problems import refused, shape_problems
from obscale.spec.source import read_source, read_text

KEY = "remove"
"""What such a file has in the place of `nodes`. Nothing of a file's absence ever means removal."""

KINDS: Final = ("nodes", KEY, "replace")
"""Of which a file holds one."""


def holds_removals(data: object) -> bool:
    """Whether a file says which nodes leave."""
    return isinstance(data, dict) and KEY in data


def refuse_removal(data: object, source: str) -> None:
    """Refuse a file of nodes that leave where one of nodes that join is expected.

    Args:
        data: What the file says.
        source: What to call it.

    Raises:
        SpecError: It is one, or both.
    """
    if holds_removals(data):
        refuse_several(data, source, KEY)
        raise SpecError(
            f"{source}: says which nodes leave, not which join",
            f"obscale remove {shlex.quote(source)}",
        )


def read_removal(path: Path) -> RemovalSpec:
    """Read which nodes leave a cluster from a file, YAML or JSON.

    Raises:
        SpecError: It cannot be read or is wrong; `problems` holds one line for each fault.
    """
    read = read_source(read_text(path), str(path))
    if not holds_removals(read.data):
        raise SpecError(
            f"{path}: says of no node that it leaves",
            "list them: remove: [{agentInfo: {ip: 10.0.0.4, port: 2886}, zone: zone2}]",
        )
    refuse_several(read.data, str(path), KEY)
    try:
        return RemovalSpec.model_validate(read.data)
    except ValidationError as error:
        raise refused(shape_problems(error, read, RemovalSpec)) from None


def is_removal_file(path: Path) -> bool:
    """Whether a file says which nodes leave; one that cannot be read does not."""
    try:
        return holds_removals(read_source(read_text(path), str(path)).data)
    except SpecError:
        return False


def refuse_several(data: object, source: str, key: str) -> None:
    """Refuse a file that asks for two kinds of things at once.

    Args:
        data: What the file says.
        source: What to call it.
        key: What it is read for.

    Raises:
        SpecError: It does.
    """
    if isinstance(data, dict) and (more := ({*KINDS} - {key}) & {*data}):
        raise SpecError(
            f"{source}: holds {key} and {', '.join(sorted(more))}",
            "a file may hold only one of nodes, remove and replace: write two files",
        )
