"""Reads a file that says which nodes are replaced by which, and names every fault in it."""

import shlex
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from obscale.errors import SpecError
from obscale.request.replacement import ReplacementSpec
from obscale.spec.problems import refused, shape_problems
from obscale.spec.removal import refuse_several
from obscale.spec.source import read_source, read_text

KEY: Final = "replace"
"""What such a file has in the place of `nodes`."""


def holds_replacements(data: object) -> bool:
    """Whether a file says which nodes are replaced."""
    return isinstance(data, dict) and KEY in data


def refuse_replacement(data: object, source: str) -> None:
    """Refuse a file of nodes that are replaced where one of nodes that join is expected.

    Args:
        data: What the file says.
        source: What to call it.

    Raises:
        SpecError: It is one, or both.
    """
    if holds_replacements(data):
        refuse_several(data, source, KEY)
        raise SpecError(
            f"{source}: says which nodes are replaced, not which join",
            f"obscale replace {shlex.quote(source)}",
        )


def read_replacement(path: Path) -> ReplacementSpec:
    """Read which nodes are replaced by which from a file, YAML or JSON.

    Raises:
        SpecError: It cannot be read or is wrong; `problems` holds one line for each fault.
    """
    read = read_source(read_text(path), str(path))
    if not holds_replacements(read.data):
        raise SpecError(
            f"{path}: says of no node that it is replaced",
            "list them: replace: [{dead: {agentInfo, zone}, by: {agentInfo, zone, obConfigs}}]",
        )
    refuse_several(read.data, str(path), KEY)
    try:
        return ReplacementSpec.model_validate(read.data)
    except ValidationError as error:
        raise refused(shape_problems(error, read, ReplacementSpec)) from None


def is_replacement_file(path: Path) -> bool:
    """Whether a file says which nodes are replaced; one that cannot be read does not."""
    try:
        return holds_replacements(read_source(read_text(path), str(path)).data)
    except SpecError:
        return False
