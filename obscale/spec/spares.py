"""Reads a pool of spare agents: a list (YAML, JSON), a table (CSV), or addresses as typed."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from obscale.errors import SpecError
from obscale.request.models import NodeSpec, SparesSpec
from obscale.sizes import quoted
from obscale.spec.batch import MAX_ROWS_BYTES, TABLES, is_table
from obscale.spec.problems import refused, shape_problems
from obscale.spec.source import SPREADSHEETS, Source, read_source, read_table_text, read_text
from obscale.spec.table import TableRow, read_table

TYPED: Final = "--spares"
"""What addresses that stand in no file are called in problems."""
_NOT_SAID: Final = "?"
"""Stands in for the cluster and the zone that a row of spares does not name."""
_FILES: Final = (".yaml", ".yml", ".json", *TABLES, *SPREADSHEETS)


def read_spares(named: str) -> tuple[NodeSpec, ...]:
    """Give the agents of a pool, each as a node without zone and start options.

    Args:
        named: Path of a file, or `ip:port,ip:port`.

    Raises:
        SpecError: It is wrong, or names an agent twice; one line for each fault.
    """
    path = Path(named)
    is_named = path.suffix.lower() in _FILES or _is_file(path)
    if not is_named and (not named or any(sign.isdigit() for sign in named)):
        words = [word.strip() for word in named.split(",") if word.strip()]
        source = Source(TYPED, words)
        return _checked(_listed(source), [f"{TYPED}: "] * len(words))
    if is_table(path):
        return _from_table(read_table_text(path, MAX_ROWS_BYTES), named)
    read = read_source(read_text(path), named)
    if isinstance(read.data, dict) and read.data.keys() == {"spares"}:
        lines = {at[1:]: line for at, line in read.lines.items() if at}
        read = Source(named, read.data["spares"], lines, {at[1:]: t for at, t in read.raw.items()})
    if not isinstance(read.data, list):
        raise SpecError(f"{named}: is no list of agents", "write a line for each: - 10.0.0.7:2886")
    return _checked(_listed(read), [read.where((at,)) for at in range(len(read.data))])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _listed(read: Source) -> tuple[NodeSpec, ...]:
    """Read a list of agents.

    Raises:
        SpecError: One line for each fault.
    """
    below = Source(
        read.name,
        {"spares": read.data},
        {("spares", *at): line for at, line in read.lines.items()},
        {("spares", *at): text for at, text in read.raw.items()},
    )
    try:
        pool = SparesSpec.model_validate(below.data)
    except ValidationError as error:
        raise refused(shape_problems(error, below, SparesSpec)) from None
    return tuple(spare.node for spare in pool.spares)


def _from_table(text: str, name: str) -> tuple[NodeSpec, ...]:
    """Read a table of agents: ip, port, and by name the password of each.

    Raises:
        SpecError: One line for each fault.
    """
    table = read_table(text, name, cluster=_NOT_SAID, defaults={"zone": _NOT_SAID})
    problems = [*table.problems, *(said for row in table.rows for said in _unfit(row))]
    if problems:
        raise refused(problems)
    nodes = tuple(row.node.model_copy(update={"zone": ""}) for row in table.rows)
    return _checked(nodes, [row.where for row in table.rows])


def _unfit(row: TableRow) -> Iterator[str]:
    """Say what a row of a pool may not hold: what the choice decides, and no host's name."""
    try:
        ip_address(row.node.agentInfo.ip)
    except ValueError:
        yield f"{row.where}column ip: {quoted(row.node.agentInfo.ip)} is no IP address"
    if row.cluster != _NOT_SAID:
        yield f"{row.where}column cluster: a spare has none yet; take the column out"
    if row.node.zone != _NOT_SAID:
        yield f"{row.where}column zone: --grow says which zones grow; take the column out"
    for option in row.node.obConfigs:
        yield f"{row.where}column {option}: start options are worked out; take the column out"


def _checked(nodes: Sequence[NodeSpec], wheres: Sequence[str]) -> tuple[NodeSpec, ...]:
    """Give the pool back if it names every agent once.

    Raises:
        SpecError: One line for each that it names twice.
    """
    seen: set[str] = set()
    problems = []
    for node, where in zip(nodes, wheres, strict=True):
        if node.address in seen:
            problems.append(f"{where}{quoted(node.address)} is listed twice; remove one")
        seen.add(node.address)
    if problems:
        raise refused(problems)
    return tuple(nodes)
