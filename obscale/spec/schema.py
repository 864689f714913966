"""Gives the JSON Schema of request files, for editors: one cluster, one node, or a batch. Pure.

Made of the models that read such a file. It says what a form says: an editor names a slip while it
is typed, and the rules go on judging.
"""

from typing import Any, Final

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
    "clusters": "Each with its nodes.",
}


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
    # Which of them an item is, is known by `nodes`: so only one of them complains.
    batch["properties"]["clusters"] |= {
        "items": {"if": {"required": ["nodes"]}, "then": parts[0], "else": parts[1]}
    }
    definitions |= {"Nodes": cluster, "OneNode": one, "Batch": batch}
    return {
        "$schema": DIALECT,
        "title": "Request of obscale",
        "description": "Nodes that are to join a cluster, or a batch of many clusters.",
        "type": "object",
        "if": {"anyOf": [{"required": ["clusters"]}, {"required": ["rows"]}]},
        "then": {"$ref": "#/definitions/Batch"},
        "else": {
            "if": {"required": ["nodes"]},
            "then": {"$ref": "#/definitions/Nodes"},
            "else": {"$ref": "#/definitions/OneNode"},
        },
        "definitions": definitions,
    }


def _schema_of(model: type[ScaleOutSpec | BatchHead | NodeSpec]) -> tuple[Any, dict[str, Any]]:
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
