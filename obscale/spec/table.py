"""Reads a spreadsheet's table into nodes, and names each faulty cell.

One row a node. Commas, semicolons and tabs all separate; a byte order mark, quoting, both kinds of
line ends and empty rows are as good as none. Columns: docs/batch.md.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

from pydantic import ValidationError

from obscale.preflight.finding import Finding
from obscale.preflight.rules.start_options import CAPACITY_KEYS, PATH_KEYS, RANGES
from obscale.request.models import NodeSpec, looks_secret, unfolded
from obscale.sizes import quoted

PREFIX: Final = "obConfigs."
_PLACES: Final = {
    "cluster": ("cluster",),
    "ip": ("agentInfo", "ip"),
    "port": ("agentInfo", "port"),
    "zone": ("zone",),
    "agent_password_env": ("targetAgentPassword", "env"),
    "agent_password_block": ("targetAgentPassword", "block"),
}
"""Where the cells of a column go."""
COLUMNS: Final = {".".join(place): column for column, place in _PLACES.items()}
"""How a field of a node is called in a table."""
_ALSO: Final = {"agentinfo.ip": "ip", "agentinfo.port": "port"}
START_OPTIONS: Final = frozenset(
    {"mysql_port", "rpc_port", *PATH_KEYS, *CAPACITY_KEYS, *RANGES} - {"cluster_id"}
)
"""Start options that may be a column's whole name; any other is written obConfigs.NAME."""
_SEPARATORS: Final = ",;\t|"
_MOST_PORT: Final = 65535
_ALIKE: Final = 0.7
"""From here on an unknown name is taken for a slip."""
_ANY_IP, _ANY_ZONE = "192.0.2.1", "zone1"
"""Stand in for what a row lacks, so that its other cells are judged too."""


@dataclass
class Table:
    """What a table says.

    Args:
        name: Of the file, for problems.
        rows: One for each node that could be read.
        problems: One line for each fault.
    """

    name: str
    rows: list["TableRow"] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class TableRow:
    """A node, its cluster as the row names it, its place, and what is wrong with these."""

    cluster: str
    node: NodeSpec
    where: str
    problems: tuple[str, ...] = ()

    def tell(self, finding: Finding) -> str:
        """Say a finding about the node as a problem of its cell."""
        column = COLUMNS.get(finding.subject, finding.subject.rpartition(".")[2])
        advice = finding.remedy or (f"needed {finding.needed}" if finding.needed else "")
        said = f"{finding.measured}; {advice}" if advice else finding.measured
        return f"{self.where}column {column}: {said} [{finding.rule}]"


def read_table(
    text: str, name: str, *, cluster: str = "", defaults: Mapping[str, Any] | None = None
) -> Table:
    """Read a table, and go on after each fault.

    Args:
        text: Of the file, decoded.
        name: Of the file.
        cluster: Of rows that name none.
        defaults: What a node takes unless its row says otherwise, as in a request.
    """
    table = Table(name)
    records = _records(text, table)
    line, header = next(records, (1, []))
    if not header:
        if not table.problems:
            table.problems.append(f"{name}: is empty; the first row names the columns: {_known()}")
        return table
    columns = _columns(header, f"{name}:{line}: ", table.problems)
    if not table.problems and "cluster" not in columns and not cluster:
        table.problems.append(f"{name}:{line}: no column is named cluster")
    if table.problems:
        return table
    count = 0
    for line, cells in records:
        count += 1
        where = f"{name}:{line}: "
        try:
            row = _row(_mapping(columns, cells), where, cluster, defaults or {})
        except _RowError as wrong:
            table.problems += [f"{where}{problem}" for problem in wrong.problems]
        else:
            table.problems += [f"{where}{problem}" for problem in row.problems]
            table.rows.append(row)
    if not count and not table.problems:
        table.problems.append(f"{name}: has no row below its columns; write one for each node")
    return table


class _RowError(Exception):
    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


def _records(text: str, table: Table) -> Iterator[tuple[int, list[str]]]:
    """Give each record that holds anything with the line it begins in; stop at a broken one."""
    skipped = 0
    if text[:4].lower() == "sep=":  # what Excel writes for itself
        text, skipped = text.partition("\n")[2], 1
    first = text.lstrip("\r\n").partition("\n")[0]
    separator = max(_SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        line = reader.line_num + 1 + skipped
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            said = "a quote is opened and never closed" if "end of data" in str(error) else error
            table.problems.append(f"{table.name}:{line}: is no table: {said}")
            return
        if any(cells):
            yield line, cells


def _columns(header: list[str], where: str, problems: list[str]) -> list[str]:
    """Give the column of each cell; empty where the heading is."""
    columns: list[str] = []
    if not any(_column(title) or _guess(title) for title in header):
        # Not even nearly a table of nodes. Another file's lines are nobody's to tell.
        problems.append(f"{where}names no column of a node; known are {_known()}")
        return columns
    for number, title in enumerate(header, start=1):
        column = _column(title)
        if title and column is None:
            problems.append(f"{where}column {number} {quoted(title)}: {_advice(title)}")
        elif column and column in columns:
            problems.append(f"{where}column {number} {quoted(title)}: stands twice; remove one")
        columns.append(column or "")
    if not problems and "ip" not in columns:
        problems.append(f"{where}no column is named ip; known are {_known()}")
    return columns


def _column(title: str) -> str | None:
    name = title.lower()
    name = _ALSO.get(name, name)
    if name in _PLACES or name in START_OPTIONS:
        return name
    if name.startswith(PREFIX.lower()) and len(name) > len(PREFIX):
        option = title[len(PREFIX) :]
        return option.lower() if option.lower() in START_OPTIONS else PREFIX + option
    return None


def _advice(title: str) -> str:
    if looks_secret(title):
        return "a secret has no place in a table; name it: agent_password_env or _block"
    if guess := _guess(title):
        return f"unknown; did you mean {guess}?"
    return f"unknown; known are {_known()}; any start option may be written {PREFIX}NAME"


def _guess(title: str) -> str:
    """Give the known column a heading is nearly called; empty where there is none."""
    name = title.lower().replace(" ", "_").replace("-", "_")
    found = get_close_matches(name, [*_PLACES, *START_OPTIONS], n=1, cutoff=_ALIKE)
    return found[0] if found else ""


def _known() -> str:
    return ", ".join(_PLACES)


def _mapping(columns: list[str], cells: list[str]) -> dict[str, str]:
    """Give the cells that hold anything by column."""
    nameless = [at for at, cell in enumerate(cells) if cell and not "".join(columns[at : at + 1])]
    if nameless:
        raise _RowError(
            f"cell {nameless[0] + 1} stands below no column's name; is a separator too many, "
            "or a quote missing?"
        )
    return {column: cell for column, cell in zip(columns, cells, strict=False) if cell}


def _row(
    cells: Mapping[str, str], where: str, cluster: str, defaults: Mapping[str, Any]
) -> TableRow:
    """Make a node of a row; what is missing is told, and the rest of it judged all the same."""
    node = unfolded({"defaults": defaults, "nodes": [_node_of(cells)]})["nodes"][0]
    agent, named = node["agentInfo"], cells.get("cluster", cluster)
    problems = []
    if not named:
        problems.append("column cluster: is empty; name the cluster the node joins")
    if "ip" not in agent:
        problems.append("column ip: is empty; write the IP of the agent that is to join")
        agent["ip"] = _ANY_IP
    port = agent.get("port", "1")
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:9]) <= _MOST_PORT):
        problems.append(f"column port: {quoted(agent.pop('port'))} is no port; write e.g. 2886")
    if "zone" not in node:
        problems.append("column zone: is empty; name the zone, e.g. zone2")
        node["zone"] = _ANY_ZONE
    try:
        return TableRow(named, NodeSpec.model_validate(node), where, tuple(problems))
    except ValidationError as error:
        raise _RowError(*problems, *map(_said, error.errors(include_url=False))) from None


def _node_of(cells: Mapping[str, str]) -> dict[str, Any]:
    node: dict[str, Any] = {"agentInfo": {}}
    for column, cell in cells.items():
        if column == "cluster":
            continue
        *above, field = _PLACES.get(column, ("obConfigs", column.removeprefix(PREFIX)))
        place = node
        for name in above:
            place = place.setdefault(name, {})
        place[field] = cell
    return node


def _said(details: Any) -> str:
    loc = tuple(details["loc"])
    column = next((n for n, place in _PLACES.items() if place == loc or place[:1] == loc), loc[-1])
    return f"column {column}: {details['msg'].removeprefix('Value error, ')}"
