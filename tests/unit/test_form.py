"""Tests of Prefect's form: every parameter is explained, and no guess is sent."""

from typing import Any

import pytest
from pydantic import ValidationError

from obscale.flows.batch import batch
from obscale.flows.batch_worker import batch_part
from obscale.flows.plan import plan
from obscale.flows.scale_out import scale_out
from obscale.request.start_options import ObConfigs

SCHEMA = scale_out.parameters.model_dump()
SAMPLE = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}


def test_the_form_asks_in_the_order_of_the_api_and_explains_each_field():
    """Every parameter has a position and a description; policies come last."""
    fields = sorted(SCHEMA["properties"].items(), key=lambda item: item[1]["position"])

    assert [name for name, _ in fields][:5] == [
        *("cluster", "agentInfo", "zone", "obConfigs", "targetAgentPassword"),
    ]
    assert [name for name, field in fields if not field.get("description")] == []
    assert SCHEMA["required"] == ["cluster", "agentInfo", "zone", "obConfigs"]


@pytest.mark.parametrize("flow", [scale_out, plan, batch, batch_part], ids=lambda flow: flow.name)
def test_every_field_at_any_depth_has_a_title_and_a_description(flow):
    """A title of its own: pydantic makes one of a name, `Allow New Zone`, and Prefect shows it."""
    fields = fields_of(flow)

    assert [name for name, told in fields.items() if not told.get("description")] == []
    assert [name for name, told in fields.items() if not told.get("title")] == []
    assert [name for name, told in fields.items() if is_made(told["title"], name)] == []


@pytest.mark.parametrize("flow", [scale_out, plan, batch, batch_part], ids=lambda flow: flow.name)
def test_fields_within_fields_keep_their_order_too(flow):
    """Each has its position, because a database may hand them back sorted by name."""
    schema = flow.parameters.model_dump()

    for model in (schema, *schema["definitions"].values()):
        fields = model["properties"].values()
        assert [field["position"] for field in fields] == list(range(len(fields)))


def fields_of(flow: Any) -> dict[str, dict[str, Any]]:
    """Every field of a flow's form by `model.field`; of the flow itself by `.field`."""
    schema = flow.parameters.model_dump()
    return {
        f"{name}.{field}": told
        for name, model in {"": schema, **schema["definitions"]}.items()
        for field, told in model["properties"].items()
    }


def is_made(title: str, field: str) -> bool:
    """Whether a title is what pydantic makes of a name that is no plain word."""
    name = field.rpartition(".")[2]
    return name != name.lower().replace("_", "") and title == name.title().replace("_", " ")


def test_a_plain_map_of_start_options_has_the_same_fields_as_the_form_of_one_node():
    """In a batch a node's obConfigs are a map, and `16` is no size there either."""
    definitions = batch.parameters.model_dump()["definitions"]
    options = SCHEMA["definitions"]["ObConfigs"]["properties"]

    for model in ("NodeSpec", "DefaultsSpec"):
        field = definitions[model]["properties"]["obConfigs"]
        assert field["properties"] == options
        assert field["additionalProperties"] == {"type": "string"}


def test_start_options_are_fields_not_json_and_none_is_filled_in():
    """A default in the schema would be sent as if somebody had written it."""
    options = SCHEMA["definitions"]["ObConfigs"]

    assert {field["type"] for field in options["properties"].values()} == {"string"}
    assert [name for name, field in options["properties"].items() if "default" in field] == []
    assert all(field["description"] for field in options["properties"].values())


def test_the_documented_sample_and_any_other_option_pass_as_they_are():
    """What the form has no field for goes in as it stands, hidden parameters too."""
    asked = SAMPLE | {"__min_full_resource_pool_memory": "1073741824"}

    assert ObConfigs.model_validate(asked).given() == asked


def test_what_was_not_filled_in_is_not_asked_but_an_emptied_text_is():
    """An empty memory_limit must reach preflight, not turn into the observer's own default."""
    assert ObConfigs.model_validate({}).given() == {}
    assert ObConfigs.model_validate({"memory_limit": ""}).given() == {"memory_limit": ""}


@pytest.mark.parametrize("options", [{"mysql_port": 2881}, {"cpu_count": 4}, {"x": {"y": "z"}}])
def test_a_value_that_is_no_text_is_refused(options):
    """The API takes a map of texts; the refusal names the option."""
    with pytest.raises(ValidationError, match=next(iter(options))):
        ObConfigs.model_validate(options)
