"""Gives the JSON Schema of request files, for editors: of one cluster, or of a batch. Pure.

Made of the models that read such a file. It says what a form says: an editor names a slip while it
is typed, and the rules go on judging.
"""

from typing import Any, Final

from pydantic import BaseModel

from obscale.request.asked import KINDS, LEAVING, SPECS, Kind
from obscale.request.models import NodeSpec, ScaleOutSpec
from obscale.spec.batch import BatchHead

FILE_NAME: Final = "obscale.schema.json"
"""Beside a request, where its first line looks for it."""
EDITOR_LINE: Final = f"# yaml-language-server: $schema={FILE_NAME}"
DIALECT: Final = "http://json-schema.org/draft-07/schema#"
"""What editors for YAML know best."""
_TEMPLATE: Final = "#/definitions/{model}"
_BATCH_WORDS: Final = {
    "connections": "Clusters written out once, by the name that clusters and tables use.",
    "policies": "In what order and how many at once, when, and what stops it.",
    "defaults": "Below every cluster's and every node's own values.",
    "cluster": "Of a table's rows that name none.",
    "rows": "A table (.csv, .tsv) beside this file.",
    "clusters": "Each with what is asked of it, the same kind in all.",
}
_OTHERS: Final[tuple[Kind, ...]] = tuple(kind for kind in KINDS if kind != "nodes")
_NAMES: Final[dict[Kind, str]] = {
    "remove": "NodesThatLeave",
    "replace": "NodesThatAreReplaced",
    "use": "TenantsWithUnits",
}
_OF_A_BATCH: Final = ("policies", "connections")
"""Beside these a request of one cluster is a batch of one cluster."""


def request_schema() -> dict[str, Any]:
    """Give the schema of every shape a request file may have."""
    cluster, definitions = _schema_of(ScaleOutSpec)
    batch, of_batch = _schema_of(BatchHead)
    node, _ = _schema_of(NodeSpec)
    definitions |= of_batch
    one = _with_one_node(cluster, node)
    parts = [_without_zone_check(part) for part in (cluster, one)]
    for key, words in _BATCH_WORDS.items():
        batch["properties"][key]["description"] = words
    others: dict[Kind, Any] = {}
    for kind in _OTHERS:
        others[kind], of_kind = _schema_of(SPECS[kind])
        definitions |= of_kind
    _name_zone_of_who_joins(definitions)
    # Which of them an item is, is known by its list: so only one of them complains.
    joining = {"if": {"required": ["nodes"]}, "then": parts[0], "else": parts[1]}
    batch["properties"]["clusters"] |= {"items": _by_list(others, joining)}
    shared = {key: batch["properties"][key] for key in _OF_A_BATCH}
    whole = {
        _NAMES[kind]: schema | {"properties": schema["properties"] | shared}
        for kind, schema in others.items()
    }
    definitions |= {"Nodes": cluster, "OneNode": one, "Batch": batch | _says_how_many()} | whole
    named: dict[Kind, Any] = {kind: _ref(_NAMES[kind]) for kind in _OTHERS}
    nodes = {"if": {"required": ["nodes"]}, "then": _ref("Nodes"), "else": _ref("OneNode")}
    return {
        "$schema": DIALECT,
        "title": "Request of obscale",
        "description": "Nodes that join, leave or are replaced, units of tenants, or a batch.",
        "type": "object",
        "if": {"anyOf": [{"required": ["clusters"]}, {"required": ["rows"]}]},
        "then": _ref("Batch"),
        "else": _by_list(named, nodes),
        "definitions": definitions,
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": "#/definitions/" + name}


def _by_list(others: dict[Kind, Any], rest: dict[str, Any]) -> dict[str, Any]:
    """Give the schema that is chosen by the list a request holds."""
    for kind in reversed(_OTHERS):
        rest = {"if": {"required": [kind]}, "then": others[kind], "else": rest}
    return rest


def _says_how_many() -> dict[str, Any]:
    """Have a batch by which nodes leave say how many may."""
    leaves = {"anyOf": [{"required": [kind]} for kind in sorted(LEAVING)]}
    most = {"required": ["max_removals"]}
    return {
        "if": {"required": ["clusters"], "properties": {"clusters": {"contains": leaves}}},
        "then": {"required": ["policies"], "properties": {"policies": most}},
    }


def _name_zone_of_who_joins(definitions: dict[str, Any]) -> None:
    """Have the node that joins in the place of another one name its zone: no defaults do."""
    by = definitions["ReplacedNode"]["properties"]["by"]
    by["allOf"] = [{"$ref": by.pop("$ref")}, {"required": ["zone"]}]


def _schema_of(model: type[BaseModel]) -> tuple[Any, dict[str, Any]]:
    """Give the schema of a model, and those it names."""
    whole = _plain(model.model_json_schema(ref_template=_TEMPLATE))
    return whole, whole.pop("$defs", {})


def _plain(schema: Any, *, names: bool = False) -> Any:
    """Leave out what only Prefect's form reads; `names` says that keys are names of fields."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _plain(value, names=key in {"properties", "$defs"} and not names)
        for key, value in schema.items()
        if names or key != "position"
    }


def _with_one_node(cluster: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Let the fields of one node stand beside the cluster's."""
    own = {key: value for key, value in cluster["properties"].items() if key != "nodes"}
    return cluster | {
        "description": "One cluster and one node, as the API's page has it.",
        "properties": own | node["properties"],
        "required": ["cluster", "agentInfo"],
        "else": {"required": ["zone"]},
    }


def _without_zone_check(cluster: dict[str, Any]) -> dict[str, Any]:
    """In a batch its defaults may name the zone."""
    return {key: value for key, value in cluster.items() if key not in {"if", "else"}}
