"""Writes a fault of a request as one line: place, fault, and what to write instead."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from obscale.errors import SpecError
from obscale.preflight.finding import Finding
from obscale.preflight.rules.start_options import CAPACITY_KEYS
from obscale.request.models import (
    NAME_A_SECRET,
    AgentInfoSpec,
    ClusterSpec,
    DefaultsSpec,
    NodeSpec,
    OverrideSpec,
    ScaleOutSpec,
    SecretName,
    SpareSpec,
    TlsSpec,
    looks_secret,
    unfolded,
)
from obscale.request.policies import BatchPolicies, Window
from obscale.request.removal import LeavingNode
from obscale.request.renamed import KIND
from obscale.request.replacement import ReplacedNode
from obscale.request.time_limits import DEFAULT_TIME_LIMITS, TimeLimits
from obscale.sizes import quoted
from obscale.spec.source import Path_, Source

MAX_PROBLEMS: Final = 20
"""Problems told at once; a request with more is none."""
STRINGS_RULE: Final = "cfg-values-are-strings"
_TAGS: Final = {"stored", "written"}
_FIELDS: Final[dict[str, type[BaseModel]]] = {
    "cluster": ClusterSpec,
    "password": SecretName,
    "targetAgentPassword": SecretName,
    "tls": TlsSpec,
    "defaults": DefaultsSpec,
    "nodes": NodeSpec,
    "spares": SpareSpec,
    "agentInfo": AgentInfoSpec,
    "overrides": OverrideSpec,
    "policies": BatchPolicies,
    "window": Window,
    "time_limits": TimeLimits,
    "remove": LeavingNode,
    "replace": ReplacedNode,
    "dead": LeavingNode,
    "by": NodeSpec,
}
_OF_A_NODE_AT_TOP: Final = tuple(NodeSpec.model_fields)
_ADVICE: Final = {
    "cluster": "name a stored connection, or write {endpoints: ['10.0.0.1:2886'], password: …}",
    "remove": "list each node that leaves as {agentInfo: {ip, port}, zone}",
    "replace": "list each pair as {dead: {agentInfo, zone}, by: {agentInfo, zone, obConfigs}}",
    "dead": "write the node that leaves: {agentInfo: {ip, port}, zone}",
    "by": "write the node that joins: {agentInfo: {ip, port}, zone, obConfigs}",
    "nodes": "list the nodes, or write one node's agentInfo and zone beside cluster",
    "spares": "list at least one agent, e.g. ['10.0.0.7:2886']",
    "endpoints": "list at least one cluster agent, e.g. ['10.0.0.1:2886']",
    "agentInfo": "write {ip: 10.0.0.4, port: 2886}",
    "ip": "write the IP of the agent that is to join, e.g. 10.0.0.4",
    "port": "write the port of that agent, e.g. 2886",
    "zone": "name the zone, e.g. zone2",
    "profile": "write prod or lab",
    "overrides": "list {rule, reason, until} for each accepted finding",
    "rule": "write the id of a rule, as obscale explain lists it",
    "reason": "say why the finding is accepted",
    "until": "write the last day it is accepted, e.g. 2026-12-31",
    "time_limits": "write {verify_seconds: 3600}, or leave it out",
    **{
        limit: f"write seconds, e.g. {usual:g}"
        for limit, usual in DEFAULT_TIME_LIMITS.model_dump().items()
    },
}
_KINDS: Final = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "dict": "a mapping",
    "model": "a mapping",
    "mapping": "a mapping",
    "tuple": "a list",
    "list": "a list",
}


def shape_problems(
    error: ValidationError, source: Source, top: type[BaseModel] = ScaleOutSpec
) -> list[str]:
    """Say each fault a model found in one line.

    Args:
        error: What the model says.
        source: What the model read.
        top: The model.
    """
    return [
        _shape_problem(details, source, top)
        for details in error.errors(include_url=False)
        # A list whose items are all refused counts as too short; the items are told already.
        if not (details["type"] == "too_short" and details["input"])
    ]


def readable_nodes(data: Any) -> dict[int, NodeSpec]:
    """Give the nodes of a refused request that can be read all the same, by their number.

    So that what is wrong with them is told together with what refused the request.

    Args:
        data: What the file says, whatever it is.
    """
    try:
        asked = unfolded(data)["nodes"]
    except (TypeError, KeyError, ValueError):
        return {}
    found: dict[int, NodeSpec] = {}
    for at, node in enumerate(asked if isinstance(asked, list) else ()):
        with suppress(ValidationError):
            found[at] = NodeSpec.model_validate(node)
    return found


def finding_problem(finding: Finding, source: Source | None, at: int | None) -> str:
    """Say a blocking finding about a request in one line, its rule at the end.

    Args:
        finding: Its subject is the field inside the node, e.g. `obConfigs.memory_limit`.
        source: The file; None: the node came from no file.
        at: Number of the node in it.
    """
    path: Path_ = tuple(finding.subject.split(".", 1))
    where = ""
    if source is not None and at is not None:
        path = _as_written(("nodes", at, *path), source)
        where = source.where(path)
    advice = finding.remedy or (f"needed {finding.needed}" if finding.needed else "")
    said = f"{finding.measured}; {advice}" if advice else finding.measured
    return f"{where}{_shown(path)}: {said} [{finding.rule}]"


def refused(problems: Sequence[str], most: int = MAX_PROBLEMS) -> SpecError:
    """Give the error that tells problems, each once.

    Args:
        problems: One line each, at least one.
        most: How many to tell.
    """
    told = tuple(dict.fromkeys(problems))
    more = len(told) - 1
    count = f" (and {more} more problem{'s' if more > 1 else ''})" if more else ""
    if len(told) > most:
        told = (*told[:most], f"… and {len(told) - most} more")
    return SpecError(f"{told[0]}{count}", problems=told)


def _shape_problem(details: ErrorDetails, source: Source, top: type[BaseModel]) -> str:
    loc: Path_ = tuple(part for part in details["loc"] if part not in _TAGS)
    if details["type"] == KIND:
        names = details.get("ctx", {})
        path = _as_written((*loc, names["old"]), source)
        what = f"is called {names['new']} now; write {names['new']}"
    else:
        path = _as_written(loc, source)
        what = _what(details, path, source, top)
    shown = _shown(path)
    return f"{source.where(path)}{shown + ': ' if shown else ''}{what}"


def _what(  # noqa: PLR0911 - one return for each answer
    details: ErrorDetails, path: Path_, source: Source, top: type[BaseModel]
) -> str:
    kind, value = details["type"], details["input"]
    last = str(path[-1]) if path else ""
    if kind == "value_error":
        return str(details["ctx"]["error"]) if "ctx" in details else details["msg"]
    if kind == "missing":
        return f"missing; {_ADVICE.get(last, 'write it')}"
    if kind == "extra_forbidden":
        return _unknown_field(path, source, top)
    if not path:
        return f"must be a mapping with cluster and nodes, not {_describe(value, '')}"
    if "obConfigs" in path:
        return _no_string(path, value, source)
    if looks_secret(last):
        return f"names no secret; {NAME_A_SECRET}"
    if kind in {"too_short", "string_too_short"}:
        return f"is empty; {_ADVICE.get(last, 'write something')}"
    wanted = _KINDS.get(kind.split("_", maxsplit=1)[0], "")
    if wanted:
        advice = f"; {_ADVICE[last]}" if last in _ADVICE else ""
        if wanted == "text" and isinstance(value, bool | int | float):
            advice = f"; quote it: {quoted(source.written(path, value))}"
        return f"must be {wanted}, not {_describe(value, source.written(path, ''))}{advice}"
    return _outside(details, path, source)


def _outside(details: ErrorDetails, path: Path_, source: Source) -> str:
    """Say what is of the right kind, but none of the words or numbers that may stand there."""
    bounds, value = details.get("ctx", {}), details["input"]
    match details["type"]:
        case "literal_error":
            advice = _ADVICE.get(str(path[-1]), f"write {bounds['expected']}")
            return f"is no known word: {_describe(value, source.written(path, ''))}; {advice}"
        case "greater_than":
            return f"must be more than {_plain(bounds['gt'])}, not {source.written(path, value)}"
        case "greater_than_equal":
            return f"must be {_plain(bounds['ge'])} or more, not {source.written(path, value)}"
        case "less_than_equal":
            return f"must be {_plain(bounds['le'])} or less, not {source.written(path, value)}"
        case _:
            return details["msg"]


def _plain(bound: object) -> object:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _no_string(path: Path_, value: object, source: Source) -> str:
    if looks_secret(str(path[-1])):
        return f"a secret has no place among start options; remove it [{STRINGS_RULE}]"
    if path[-1] == "obConfigs":
        said = "is empty; write {} or leave it out" if value is None else "must be a mapping"
        return f"{said} [{STRINGS_RULE}]"
    if value is None:
        return f"is empty; write its value in quotes, or leave it out [{STRINGS_RULE}]"
    if isinstance(value, bool | int | float):
        kind = "a truth value" if isinstance(value, bool) else "a number"
        written = source.written(path, value)
        if path[-1] in CAPACITY_KEYS and kind == "a number":
            size = written.removeprefix("-")
            return (
                f"is a number, not text; quote it with its unit: '{size}M' or '{size}G'? "
                f"[{STRINGS_RULE}]"
            )
        return f"is {kind}, not text; quote it: {quoted(written)} [{STRINGS_RULE}]"
    return f"must be text, not {_describe(value, '')} [{STRINGS_RULE}]"


def _unknown_field(path: Path_, source: Source, top: type[BaseModel]) -> str:
    known = _known_fields(path, source, top)
    key = str(path[-1])
    if any(looks_secret(str(part)) for part in path):
        return f"unknown field; {NAME_A_SECRET}"
    folded = {name.lower().replace("_", ""): name for name in known}
    guess = get_close_matches(key.lower().replace("_", ""), folded, n=1, cutoff=0.6)
    advice = f"did you mean {folded[guess[0]]!r}?" if guess else f"known are {', '.join(known)}"
    return f"unknown field; {advice}"


def _known_fields(path: Path_, source: Source, top: type[BaseModel]) -> list[str]:
    above = [part for part in path[:-1] if isinstance(part, str)]
    if not above:
        known = list(top.model_fields)
        if top is ScaleOutSpec and isinstance(source.data, Mapping) and "nodes" not in source.data:
            known += _OF_A_NODE_AT_TOP
        return known
    model = _FIELDS.get(above[-1])
    return list(model.model_fields) if model else []


def _as_written(loc: Path_, source: Source) -> Path_:
    """Undo the unfolding: give the path as it stands in the file."""
    if not loc or loc[0] != "nodes" or len(loc) < 2:  # noqa: PLR2004
        return loc
    rest = loc[2:]
    if isinstance(source.data, Mapping) and "nodes" not in source.data:
        if source.holds(("defaults", *rest)) and not source.holds(rest):
            return ("defaults", *rest)
        return rest
    if rest and not source.holds(loc) and source.holds(("defaults", *rest)):
        return ("defaults", *rest)
    return loc


def _shown(path: Path_) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _describe(value: Any, written: str) -> str:  # noqa: PLR0911 - one return for each kind
    match value:
        case None:
            return "nothing"
        case bool():
            return f"the truth value {written or value}"
        case int() | float():
            return f"the number {quoted(written or str(value)).strip(chr(39))}"
        case str():
            return f"the text {quoted(value)}"
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return "something else"
