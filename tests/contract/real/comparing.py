"""Compares a simulated agent's answer with a recorded one, field by field.

Two answers agree when status line, content type, redirection and body are the same: the same keys,
the same JSON types, the same values in the same order. What must differ from run to run has a rule
by name below, for one field of one kind of answer; a rule never reaches presence, type, status,
errCode or code.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tests.contract.real.recordings import Answer, Recording

COMPARED_HEADERS = ("content-type", "location", "connection")
"""Whether an answer comes chunked, and when, is free."""
GO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
NEVER = ("0001-01-01", "1970-01-01")
SIZE = re.compile(r"\d+ bytes|\d+\.\d\d [KMGTE]B")
COUNTED = (
    "cpu_core_assigned",
    "cpu_core_assigned_percent",
    "disk_assigned",
    "disk_in_bytes_assigned",
    "disk_assigned_percent",
)
COUNTED_OF_SERVERS = (
    "disk_used",
    "disk_free",
    "disk_in_bytes_used",
    "disk_in_bytes_free",
    "disk_used_percent",
)
"""What units of the tenant sys and meta data take; the stand-in observers made their own of it."""
NEVER_RULED = frozenset({"status", "errCode", "code", "successful", "identity", "state"})
"""Fields no rule may be about."""


@dataclass(frozen=True)
class Difference:
    """One place where two answers differ.

    Attributes:
        path: Where, e.g. `data.pid`; `status line` and `header …` for what stands before the body.
    """

    path: str
    recorded: Any
    simulated: Any


@dataclass(frozen=True)
class Rule:
    """A value that differs from run to run.

    Attributes:
        name: What it is.
        kind: Pattern of method and path it is about.
        field: Pattern of the path of one field in the body; `*` is any key or place in a list.
        holds: Whether both values are what they should be, though they differ.
    """

    name: str
    kind: str
    field: str
    holds: Callable[[Any, Any], bool]


def _is_time(recorded: str, simulated: str) -> bool:
    """Both are times as Go prints them, or both are the same kind of never."""
    never = [
        next((day for day in NEVER if each.startswith(day)), "") for each in (recorded, simulated)
    ]
    return never[0] == never[1] and all(GO_TIME.fullmatch(each) for each in (recorded, simulated))


def _matches(pattern: str) -> Callable[[Any, Any], bool]:
    compiled = re.compile(pattern)
    return lambda recorded, simulated: all(
        compiled.fullmatch(str(x)) for x in (recorded, simulated)
    )


def _positive(recorded: float, simulated: float) -> bool:
    return recorded > 0 and simulated > 0


def _any_number(recorded: float, simulated: float) -> bool:
    return recorded >= 0 and simulated >= 0


def _is_page(recorded: str, simulated: str) -> bool:
    return all(text.lower().startswith("<!doctype html>") for text in (recorded, simulated))


def _same_start(recorded: str, simulated: str) -> bool:
    """Both are the same command to start an observer; Go writes its options as they come."""
    options = [sorted(re.findall(r"[^\s,']+", each)) for each in (recorded, simulated)]
    return recorded.startswith("start cmd: ") and options[0] == options[1]


def _same_but(pattern: str) -> Callable[[Any, Any], bool]:
    """Both are the same line, but for what that pattern finds in them."""
    compiled = re.compile(pattern)
    return lambda recorded, simulated: compiled.sub("", recorded) == compiled.sub("", simulated)


def _is_count(recorded: float | str, simulated: float | str) -> bool:
    """Both are numbers, or both are sizes as obshell prints them."""
    return all(
        SIZE.fullmatch(each) is not None if isinstance(each, str) else each >= 0
        for each in (recorded, simulated)
    )


RULES: tuple[Rule, ...] = (
    Rule("when it answered", "*", "timestamp", _is_time),
    Rule("how long it took", "*", "duration", _any_number),
    Rule("the trace id it made", "*", "traceId", _matches(r"[0-9a-f]{16}")),
    *(
        Rule(name, kind, field, _positive)
        for kind in ("GET /api/v1/info", "GET /api/v1/%69nfo")
        for name, field in (("its process", "data.pid"), ("since when it runs", "data.startAt"))
    ),
    Rule("its process", "* /api/v1/status", "data.pid", _positive),
    Rule("since when it runs", "* /api/v1/status", "data.startAt", _positive),
    Rule("its process", "GET /api/v1/agents/status", "data.*.pid", _positive),
    Rule("since when it runs", "GET /api/v1/agents/status", "data.*.startAt", _positive),
    Rule("its own time", "GET /api/v1/time", "data", _is_time),
    Rule(
        "its public key",
        "GET /api/v1/secret",
        "data.public_key",
        _matches(r"MIGJAoGBA[\w+/=]{179}"),
    ),
    Rule("a new session, sealed", "POST /api/v1/login", "data", _matches(r"[\w+/=]{108}")),
    Rule("the page of the dashboard", "GET /", "body", _is_page),
    Rule("the page of the dashboard", "GET /some/page", "body", _is_page),
    Rule("the page of the dashboard", "GET /API/V1/info", "body", _is_page),
    *(
        Rule(name, kind, f"{prefix}.{field}", holds)
        for kind, prefix in (
            ("GET /api/v1/agent/host-info", "data"),
            ("GET /api/v1/obcluster/statistics", "data.hosts.*"),
        )
        for name, field, holds in (
            ("its processor's pace", "cpuInfo.frequency", _matches(r"\d+\.\d{3}")),
            ("its processor", "cpuInfo.modelName", _matches(r".+")),
            ("how many processors", "cpuInfo.logicalCores", _positive),
            ("what lay on its disks", "disks.*.used", _matches(r"[\d.]+[KMGT]?")),
            ("where its disks are mounted", "disks.*.mountHash", _matches(r"[0-9a-f]{40}")),
            ("its free memory", "memoryInfo.free", _matches(r"\d+ kB")),
            ("its available memory", "memoryInfo.available", _matches(r"\d+ kB")),
        )
    ),
    *(
        Rule(name, f"GET /api/v1/task/dag{rest}", f"{prefix}.{field}", holds)
        for rest, prefix in (("/*", "data"), ("/*", "data.contents.*"), ("s/*", "data.contents.*"))
        for name, field, holds in (
            *(
                (f"when {what}", f"{part}{when}_time", _is_time)
                for what, part in (
                    ("the DAG ran", ""),
                    ("the node ran", "nodes.*."),
                    ("the sub task ran", "nodes.*.sub_tasks.*."),
                )
                for when in ("start", "end")
            ),
            ("the order of start options", "nodes.*.sub_tasks.*.task_logs.*", _same_start),
            (
                "the mark of the scale-out",
                "additional_data.scaleOutUUID",
                _matches(r"[0-9a-f-]{36}"),
            ),
        )
    ),
    *(
        Rule(name, kind, f"{prefix}.{field}", holds)
        for kind, prefix in (
            ("GET /api/v1/obcluster/info", "data.zones.*.servers.*"),
            ("GET /api/v1/obcluster/topology/info", "data.zones.*.servers.*"),
            ("GET /api/v1/observer/info", "data"),
        )
        for name, field, holds in (
            (
                "the build of its OceanBase",
                "version",
                _matches(r"4\.3\.5\.2_\d+-[0-9a-f]{40}\(.*\)"),
            ),
            ("when it began to serve", "start_time", _is_time),
        )
    ),
    *(
        Rule(
            "what OceanBase counts", f"GET /api/v1/obcluster/{path}", f"{prefix}.{field}", _is_count
        )
        for path, prefix, fields in (
            ("info", "data.stats", COUNTED),
            ("info", "data.zones.*.servers.*.stats", COUNTED + COUNTED_OF_SERVERS),
            ("topology/info", "data.zones.*.servers.*.stats", COUNTED + COUNTED_OF_SERVERS),
        )
        for field in fields
    ),
    *(
        Rule("when it was made", f"GET /api/v1/{path}", f"data.contents.*.{field}", _is_time)
        for path, field in (
            ("resource-pools", "CreateTime"),
            ("resource-pools", "ModifyTime"),
            ("tenants/overview", "created_time"),
        )
    ),
    Rule(
        "the observer's process",
        "GET /api/v1/task/dag/maintain/agent",
        "data.nodes.*.sub_tasks.*.task_logs.*",
        _same_but(r"(?<=Kill observer process )\d+"),
    ),
    Rule(
        "when a pool was made",
        "GET /api/v1/task/dag/ob/unfinish",
        "data.contents.*.nodes.*.sub_tasks.*.task_logs.*",
        _same_but(r"(?<=_zone4_)\d{10}"),
    ),
    Rule("when it was reported", "GET /api/v1/obcluster/statistics", "data.reportTime", _positive),
)


def kind_of(recording: Recording) -> str:
    """Method and path, without what was asked for in it."""
    return f"{recording.method} {recording.target.partition('?')[0]}"


def compare(kind: str, recorded: Answer, simulated: Answer) -> list[Difference]:
    """Where two answers differ and no rule is about it; empty where they agree."""
    return [where for where, rule in judged(kind, recorded, simulated) if rule is None]


def judged(
    kind: str, recorded: Answer, simulated: Answer
) -> Iterator[tuple[Difference, Rule | None]]:
    """Every difference, with the rule that is about it."""
    if recorded.status_line != simulated.status_line:
        yield Difference("status line", recorded.status_line, simulated.status_line), None
    for name in COMPARED_HEADERS:
        pair = recorded.headers.get(name), simulated.headers.get(name)
        if pair[0] != pair[1]:
            yield Difference(f"header {name}", *pair), None
    rules = [rule for rule in RULES if fnmatchcase(kind, rule.kind)]
    yield from _differences(rules, (), recorded.body, simulated.body)


def _differences(
    rules: list[Rule], path: tuple[str, ...], recorded: Any, simulated: Any
) -> Iterator[tuple[Difference, Rule | None]]:
    place = ".".join(path) or "body"
    if _type(recorded) != _type(simulated):
        yield Difference(place, recorded, simulated), None
    elif isinstance(recorded, dict):
        if missing := recorded.keys() - simulated.keys():
            yield Difference(f"{place}: keys", sorted(missing), None), None
        if more := simulated.keys() - recorded.keys():
            yield Difference(f"{place}: keys", None, sorted(more)), None
        for key in recorded.keys() & simulated.keys():
            yield from _differences(rules, (*path, key), recorded[key], simulated[key])
    elif isinstance(recorded, list):
        if len(recorded) != len(simulated):
            yield Difference(f"{place}: length", len(recorded), len(simulated)), None
        for number, pair in enumerate(zip(recorded, simulated, strict=False)):
            yield from _differences(rules, (*path, str(number)), *pair)
    elif recorded != simulated:
        about = (rule for rule in rules if _is_about(rule, path))
        found = next((rule for rule in about if rule.holds(recorded, simulated)), None)
        yield Difference(place, recorded, simulated), found


def _is_about(rule: Rule, path: tuple[str, ...]) -> bool:
    parts = [part for part in rule.field.split(".") if part != "body"]
    return len(parts) == len(path) and all(
        part in ("*", there) for part, there in zip(parts, path, strict=True)
    )


def _type(value: Any) -> str:
    """The JSON type: whole numbers are numbers like all others."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return "number" if is_number else type(value).__name__
