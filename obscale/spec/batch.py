"""Reads a batch file: what is asked of many clusters, all of one kind, and policies.

A file in YAML or JSON with many clusters, the same with its rows in a table, a table alone, or a
request of one cluster. Nothing is sent from here.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from pydantic import Field, ValidationError, model_validator

from obscale.errors import SpecError
from obscale.preflight.judge import override_problems
from obscale.request.asked import (
    LEAVING,
    SPECS,
    Asked,
    Kind,
    first_kind,
    kind_asked,
    kinds_in,
)
from obscale.request.models import (
    ClusterSpec,
    DefaultsSpec,
    NodeSpec,
    OverrideSpec,
    Profile,
    RequestModel,
    ScaleOutSpec,
)
from obscale.request.policies import BatchPolicies
from obscale.request.removal import LeavingNode, RemovalSpec
from obscale.request.replacement import ReplacementSpec
from obscale.request.time_limits import TimeLimits
from obscale.request.use import UseSpec
from obscale.spec.clashes import Placed, node_problems
from obscale.spec.obd import refuse_obd
from obscale.spec.problems import finding_problem, readable_nodes, refused, shape_problems
from obscale.spec.source import (
    MAX_FILE_BYTES,
    SPREADSHEETS,
    Path_,
    Source,
    read_source,
    read_table_text,
    read_text,
)
from obscale.spec.table import COLUMNS, read_table

MAX_ROWS_BYTES: Final = 16 << 20
"""Of tables and JSON, which are read quickly: more than ten thousand nodes written out."""
MAX_PROBLEMS: Final = 500
"""Problems told at once, so that whoever mends a spreadsheet mends it once."""
TABLES: Final = (".csv", ".tsv")
CSV: Final = "csv"
"""The parameter of the flow batch that holds a table, as problems call it."""
_LINE: Final = re.compile(r":(\d{1,9}): ")
_BATCH_KEYS: Final = frozenset({"clusters", "rows", "connections", "policies", "use"})
"""Units of one cluster's tenants are a batch of one cluster: no other command takes such a file."""
_TOP_KEY: Final = re.compile(rb"^(clusters|rows|connections|policies|use) *:", re.MULTILINE)
_INHERITED: Final = ("profile", "allow_new_zone", "allow_unknown", "overrides")
_OF_NODES_ALONE: Final = ("rows", "cluster", "defaults", "allow_new_zone")
"""At the top of a batch: what has a meaning for nodes that join only."""
SpecOfCluster = ScaleOutSpec | RemovalSpec | ReplacementSpec | UseSpec
ONE_LIST: Final = "hold one of nodes, remove, replace and use"
MAX_REMOVALS: Final = "policies.max_removals"


class BatchSpec(RequestModel):
    """A whole batch of one kind; defaults are already merged into the nodes."""

    clusters: tuple[Asked, ...] = Field(min_length=1)
    connections: dict[str, ClusterSpec] = Field(default_factory=dict)
    """Clusters written out once, by the name `clusters` and tables use for them."""
    policies: BatchPolicies = BatchPolicies()

    @property
    def kind(self) -> Kind:
        """What all of its clusters hold."""
        return kind_asked(self.clusters[0])


class BatchHead(RequestModel):
    """A batch's file but for its clusters; what stands here holds for all of them."""

    connections: dict[str, ClusterSpec] = Field(default_factory=dict)
    policies: BatchPolicies = BatchPolicies()
    defaults: DefaultsSpec = DefaultsSpec()
    profile: Profile = "prod"
    allow_new_zone: bool = False
    allow_unknown: bool = False
    overrides: tuple[OverrideSpec, ...] = ()
    time_limits: TimeLimits | None = None
    cluster: str | None = Field(default=None, min_length=1)
    """Of rows that name none."""
    rows: str | None = Field(default=None, min_length=1)
    """A table beside this file."""
    clusters: tuple[Any, ...] = ()

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not self.clusters and self.rows is None:
            raise ValueError("asks for no node; list clusters, or name a table: rows: nodes.csv")
        return self


def is_table(path: Path) -> bool:
    """Whether a file is a table, by its name."""
    return path.suffix.lower() in TABLES


def is_batch(data: object) -> bool:
    """Whether what a file says is a batch, not a request of one cluster."""
    return isinstance(data, Mapping) and not _BATCH_KEYS.isdisjoint(data)


def is_batch_file(path: Path) -> bool:
    """Whether a file is a batch rather than a request of one cluster; never says what is wrong.

    Args:
        path: Of either.
    """
    if is_table(path):
        return True
    try:
        with path.open("rb") as file:
            content = file.read(MAX_ROWS_BYTES)
        if content.lstrip().startswith(b"{"):
            return is_batch(json.loads(content))
    except (OSError, ValueError, RecursionError):
        return False  # reading it as a request says why
    return _TOP_KEY.search(content) is not None


def read_batch(path: Path) -> BatchSpec:
    """Read a batch from a file: YAML, JSON, or a table.

    Raises:
        SpecError: It cannot be read or is wrong; `problems` holds one line for each fault.
    """
    if is_table(path):
        gathered = _Gathered()
        gathered.take_table(path, BatchHead(rows=path.name), {})
        return gathered.checked()
    quick = path.suffix.lower() == ".json"
    text = read_text(path, MAX_ROWS_BYTES if quick else MAX_FILE_BYTES)
    return parse_batch(text, str(path), path.parent)


def parse_batch(text: str, source: str, folder: Path) -> BatchSpec:
    """Read a batch from a text, YAML or JSON.

    Args:
        text: The batch.
        source: What to call it in problems, usually the file's name.
        folder: Where a table it names is looked for.

    Raises:
        SpecError: It is wrong; `problems` holds one line for each fault.
    """
    read = read_source(text, source)
    if read.data is None:
        raise SpecError(f"{source}: is empty; see the examples for what a batch looks like")
    refuse_obd(read.data, source)
    if is_batch(read.data) and not kinds_in(read.data):
        return _of_many(read, folder)
    head = BatchHead(rows=source)
    if is_batch(read.data):
        # One cluster with policies.
        asked = {key: read.data[key] for key in ("policies", "connections") if key in read.data}
        head = _headed(read, {**asked, "rows": source})
        read.data = {key: value for key, value in read.data.items() if key not in asked}
    gathered = _Gathered()
    gathered.take_item(read.data, read)
    return gathered.checked(head)


def form_batch(
    clusters: Sequence[SpecOfCluster],
    table: str,
    connections: Mapping[str, ClusterSpec],
    policies: BatchPolicies,
) -> BatchSpec:
    """Give the batch that a form or an API call asks for: as clusters, or as a table.

    Args:
        clusters: Each with its nodes; empty: they stand in the table.
        table: As it is pasted from a spreadsheet: columns as in a file, with tabs, commas or
            semicolons between them; empty: the nodes stand below clusters.
        connections: Clusters written out, by name.
        policies: Of the batch.

    Raises:
        SpecError: Both hold nodes, or none does; or it is wrong: `problems` holds one line for each
            fault, in a table by line and column.
    """
    if clusters and table.strip():
        raise SpecError(f"clusters and {CSV} both hold nodes", "leave one of them empty")
    if table.strip():
        head = BatchHead(rows=CSV, connections=dict(connections), policies=policies)
        gathered = _Gathered()
        gathered.take_rows(table.removeprefix("\ufeff"), CSV, head, {})
        return gathered.checked(head)
    if not clusters:
        raise SpecError(
            "the batch asks for no node",
            f"list clusters with their nodes, or paste a table into {CSV}",
        )
    spec = BatchSpec(clusters=tuple(clusters), connections=dict(connections), policies=policies)
    checked_batch(spec)
    if problems := policy_problems(spec.clusters, policies):
        raise refused(problems, MAX_PROBLEMS)
    return spec


def compact(spec: SpecOfCluster) -> dict[str, Any]:
    """Write one cluster's part as briefly as it reads back: what all nodes share stands once.

    A run's parameters are stored and shown; a thousand nodes need not repeat their start options.
    """
    if not isinstance(spec, ScaleOutSpec):
        told = spec.model_dump(mode="json", exclude_defaults=True, exclude={"time_limits"})
        if spec.time_limits is not None:
            told["time_limits"] = spec.time_limits.model_dump(mode="json", exclude_unset=True)
        return told
    apart = {"defaults", "nodes", "time_limits"}
    written = spec.model_dump(mode="json", exclude_defaults=True, exclude=apart)
    if spec.time_limits is not None:
        # What is not named stays with whoever reads it.
        written["time_limits"] = spec.time_limits.model_dump(mode="json", exclude_unset=True)
    nodes = [node.model_dump(mode="json", exclude_none=True) for node in spec.nodes]
    shared = dict(
        set.intersection(*(set(node.obConfigs.items()) for node in spec.nodes)),
    )
    for node in nodes:
        node["obConfigs"] = {k: v for k, v in node["obConfigs"].items() if k not in shared}
        if not node["obConfigs"]:
            del node["obConfigs"]
    defaults = {"defaults": {"obConfigs": dict(sorted(shared.items()))}} if shared else {}
    return {**written, **defaults, "nodes": nodes}


def checked_batch(spec: BatchSpec) -> BatchSpec:
    """Give a batch back if it has no fault; for one that came from no file.

    Raises:
        SpecError: One line for each fault, as for a file.
    """
    gathered = _Gathered()
    for at, asked in enumerate(spec.clusters):
        gathered.take_item(asked, Source(f"clusters[{at}]", None))
    gathered.checked()
    return spec


def _of_many(read: Source, folder: Path) -> BatchSpec:
    head = _headed(read, read.data)
    gathered = _Gathered()
    _refuse_of_nodes(read, head.clusters)
    items = [_inheriting(item, read.data) for item in head.clusters]
    for item, source in zip(items, _parts(read, items), strict=True):
        gathered.take_item(item, source)
    if head.rows is not None:
        try:
            table = _table_beside(folder, head.rows)
            gathered.take_table(table, head, read.data.get("defaults") or {})
        except SpecError as error:
            raise SpecError(f"{read.where(('rows',))}rows: {error}") from None
    return gathered.checked(head)


def _table_beside(folder: Path, name: str) -> Path:
    """Give the table a batch names.

    Raises:
        SpecError: It is none by its name. What it is then is not looked at: who writes a batch may
            not be who may read that file.
    """
    path = folder / name
    if not is_table(path) and path.suffix.lower() not in SPREADSHEETS:
        raise SpecError(f"{name}: is no table by its name; a table ends in .csv or .tsv")
    return path


def _headed(read: Source, data: Mapping[str, Any]) -> BatchHead:
    try:
        return BatchHead.model_validate(data)
    except ValidationError as error:
        raise refused(shape_problems(error, read, BatchHead), MAX_PROBLEMS) from None


def _refuse_of_nodes(read: Source, items: Sequence[object]) -> None:
    """Refuse at a batch's top what means nothing to rows that add no node.

    Raises:
        SpecError: It stands there.
    """
    kinds = {kind for item in items for kind in kinds_in(item)} - {"nodes"}
    for key in _OF_NODES_ALONE if kinds else ():
        if key in read.data:
            what = "a table lists" if key in {"rows", "cluster"} else "this is for"
            raise SpecError(
                f"{read.where((key,))}{key}: {what} nodes that join, and this batch holds "
                f"{', '.join(sorted(kinds))}",
                f"take {key} out; a batch holds one kind: write a file for each",
            )


def _inheriting(item: object, data: Mapping[str, Any]) -> object:
    """Give one cluster's part with what holds for all; its own words stand above that."""
    if not isinstance(item, Mapping):
        return item
    known = SPECS[first_kind(item)].model_fields
    merged = {key: data[key] for key in _INHERITED if key in data and key in known} | dict(item)
    limits, own = data.get("time_limits"), item.get("time_limits")
    if limits and (own is None or isinstance(own, Mapping)):
        merged["time_limits"] = {**limits, **(own or {})}
    shared, own = data.get("defaults") or {}, item.get("defaults") or {}
    if shared and isinstance(own, Mapping):
        configs = own.get("obConfigs") or {}
        merged["defaults"] = {**shared, **own}
        if isinstance(configs, Mapping):
            merged["defaults"]["obConfigs"] = {**(shared.get("obConfigs") or {}), **configs}
    return merged


def _parts(read: Source, items: Sequence[object]) -> Iterator[Source]:
    """Give each cluster's part as a source of its own, with the lines of what it inherits."""
    lines: list[dict[Path_, int]] = [{} for _ in items]
    raw: list[dict[Path_, str]] = [{} for _ in items]
    for path, line in read.lines.items():
        if path[:1] == ("clusters",) and len(path) > 1 and isinstance(path[1], int):
            lines[path[1]][path[2:]] = line
            if path in read.raw:
                raw[path[1]][path[2:]] = read.raw[path]
    shared = {path: line for path, line in read.lines.items() if path[:1] == ("defaults",)}
    for at, item in enumerate(items):
        name = read.name if read.lines else f"{read.name}: clusters[{at}]"
        yield Source(name, item, shared | lines[at], raw[at])


class _Gathered:
    """Clusters and nodes as they are found, with everything that is wrong."""

    def __init__(self) -> None:
        self._clusters: dict[str, SpecOfCluster] = {}
        self._placed: list[Placed] = []
        self._problems: list[str] = []
        self._leaving: dict[str, str] = {}
        """`ip:port` of nodes that leave, and of which cluster."""

    def take_item(self, item: object, source: Source) -> None:
        """Take one cluster with what is asked of it."""
        kinds = kinds_in(item)
        if len(kinds) > 1:
            self._problems.append(
                f"{source.where(())}holds {' and '.join(kinds)}; {ONE_LIST} for each cluster"
            )
            return
        model = type(item) if isinstance(item, SpecOfCluster) else None
        model = model or SPECS[first_kind(item)]
        try:
            spec = model.model_validate(item)
        except ValidationError as error:
            self._problems += shape_problems(error, source, model)
            named = item.get("cluster") if isinstance(item, Mapping) else None
            label = named if isinstance(named, str) else source.name
            self._place(readable_nodes(item), label, source)
            return
        label = label_of(spec)
        today = datetime.now(UTC).date()
        if isinstance(spec, ScaleOutSpec):
            self._problems += [
                f"{source.where(('overrides', at))}overrides[{at}]: {problem}"
                for at, problem in override_problems(spec.overrides, today)
            ]
        self._take_leaving(spec, label, source)
        if label in self._clusters:
            self._problems.append(
                f"{source.where(())}cluster {label} is listed twice; write its nodes in one place"
            )
            return
        self._clusters[label] = spec
        if isinstance(spec, ScaleOutSpec):
            self._place(dict(enumerate(spec.nodes)), label, source)
        if isinstance(spec, ReplacementSpec):
            self._place({at: pair.by for at, pair in enumerate(spec.replace)}, label, source)

    def _take_leaving(self, spec: SpecOfCluster, label: str, source: Source) -> None:
        """Take the nodes that leave: each once in the whole batch, and none by force."""
        for at, node in enumerate(leaving_of(spec)):
            path: Path_ = ("remove", at)
            shown = f"remove[{at}]"
            if isinstance(spec, ReplacementSpec):
                path, shown = ("replace", at, "dead"), f"replace[{at}].dead"
            where = f"{source.where(path)}{shown}: {node.address}"
            other = self._leaving.setdefault(node.address, label)
            if other != label:
                self._problems.append(
                    f"{where} is to leave {label} and {other}; a node is in one cluster: remove one"
                )
            if node.force_kill:
                self._problems.append(
                    f"{where}: force_kill has no place in a batch, since it takes away a source of "
                    "the data: take it out, or remove this node alone, with obscale remove "
                    "--force-kill"
                )

    def _place(self, nodes: Mapping[int, NodeSpec], label: str, source: Source) -> None:
        self._placed += [
            Placed(node, label, _place(source, at), partial(finding_problem, source=source, at=at))
            for at, node in nodes.items()
        ]

    def take_table(self, path: Path, head: BatchHead, defaults: Mapping[str, Any]) -> None:
        """Take the rows of a table's file."""
        self.take_rows(read_table_text(path, MAX_ROWS_BYTES), str(path), head, defaults)

    def take_rows(self, text: str, name: str, head: BatchHead, defaults: Mapping[str, Any]) -> None:
        """Take the rows of a table, cluster by cluster in the order they first appear in."""
        table = read_table(text, name, cluster=head.cluster or "", defaults=defaults)
        self._problems += table.problems
        nodes: dict[str, list[NodeSpec]] = {}
        for row in table.rows:
            if not row.problems:
                nodes.setdefault(row.cluster, []).append(row.node)
            self._placed.append(
                Placed(
                    *(row.node, row.cluster, row.where, row.tell),
                    is_whole=not row.problems,
                    columns=COLUMNS,
                )
            )
        for label, mine in nodes.items():
            known = self._clusters.get(label)
            self._clusters[label] = (
                known.model_copy(update={"nodes": (*known.nodes, *mine)})
                if isinstance(known, ScaleOutSpec)
                else ScaleOutSpec(
                    cluster=label,
                    nodes=tuple(mine),
                    profile=head.profile,
                    allow_new_zone=head.allow_new_zone,
                    allow_unknown=head.allow_unknown,
                    overrides=head.overrides,
                    time_limits=head.time_limits,
                )
            )

    def checked(self, head: BatchHead | None = None) -> BatchSpec:
        """Give the batch, or refuse it with every problem it has.

        Raises:
            SpecError: One line for each.
        """
        clusters = tuple(self._clusters.values())
        if mixed := _kind_problems(clusters):
            # What is wrong with each of them is told once they are apart.
            raise refused(mixed)
        problems = self._problems + node_problems(self._placed)
        if head:
            problems += policy_problems(clusters, head.policies)
        if problems:
            raise refused(sorted(problems, key=_line), MAX_PROBLEMS)
        return BatchSpec(
            clusters=clusters,
            connections=head.connections if head else {},
            policies=head.policies if head else BatchPolicies(),
        )


def _kind_problems(clusters: Sequence[SpecOfCluster]) -> list[str]:
    """Say that a batch holds several kinds; nothing where it holds one."""
    first: dict[Kind, str] = {}
    for spec in clusters:
        first.setdefault(kind_asked(spec), label_of(spec))
    if len(first) < 2:  # noqa: PLR2004 - two kinds are one too many
        return []
    told = ", ".join(f"{kind} (of {label})" for kind, label in first.items())
    return [f"the batch holds {told}; a batch holds one kind: write a file for each"]


def leaving_of(spec: SpecOfCluster) -> tuple[LeavingNode, ...]:
    """Give the nodes that leave one cluster."""
    match spec:
        case RemovalSpec():
            return spec.remove
        case ReplacementSpec():
            return tuple(pair.dead for pair in spec.replace)
        case _:
            return ()


def policy_problems(clusters: Sequence[SpecOfCluster], policies: BatchPolicies) -> list[str]:
    """Say where policies do not go with what a batch asks, as more nodes to leave than may.

    Args:
        clusters: Of the batch.
        policies: Of the batch.
    """
    problems = []
    if policies.on_failure == "roll-back" and any(kind_asked(s) != "nodes" for s in clusters):
        problems.append(
            "policies.on_failure: roll-back is for nodes that join; what takes nodes out or "
            "changes tenants is undone by a person alone: write hold or retry"
        )
    if not any(kind_asked(spec) in LEAVING for spec in clusters):
        return problems
    named = [
        f"{node.address} of {label_of(spec)}" for spec in clusters for node in leaving_of(spec)
    ]
    count, most = len(named), policies.max_removals
    if most is None:
        problems.append(
            f"{MAX_REMOVALS}: missing; {count} node{'s' if count > 1 else ''} would leave, so "
            f"write policies: {{max_removals: {count}}}, the most that may leave in all"
        )
    elif count > most:
        problems.append(
            f"{MAX_REMOVALS}: {most} may leave, and {count} are named: too many are "
            f"{', '.join(named[most:])}; take them out, or raise max_removals"
        )
    return problems


def label_of(spec: SpecOfCluster) -> str:
    """Name a cluster as its request does: the stored name, its own, or its first endpoint."""
    if isinstance(spec.cluster, str):
        return spec.cluster
    return spec.cluster.name or spec.cluster.endpoints[0]


def _line(problem: str) -> int:
    """The line a problem names; 0 where it names none."""
    found = _LINE.search(problem)
    return int(found[1]) if found else 0


def _place(source: Source, at: int) -> str:
    if source.lines:
        return source.where(("nodes", at))
    return f"{source.name}: nodes[{at}]: "
