"""Tests of the JSON Schema of request files: what an editor marks, and what it lets pass."""

import copy
import json
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from obscale.spec.schema import EDITOR_LINE, FILE_NAME, request_schema
from obscale.spec.source import read_source

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(path for path in FOLDER.glob("*.yaml") if not path.name.startswith("sandbox-"))
SCHEMA = Draft7Validator(request_schema())
ONE = {"cluster": "prod", "agentInfo": {"ip": "10.0.0.4"}, "zone": "zone2"}


def read(path):
    return read_source(path.read_text(encoding="utf-8"), path.name).data


def test_it_is_a_schema():
    """By the dialect it names."""
    Draft7Validator.check_schema(request_schema())


def test_the_kept_file_is_in_step():
    """Else run `obscale schema > examples/obscale.schema.json`."""
    assert json.loads((FOLDER / FILE_NAME).read_text(encoding="utf-8")) == request_schema()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_names_the_schema_and_keeps_it(path):
    """So an editor completes it as soon as it is opened."""
    assert path.read_text(encoding="utf-8").splitlines()[0] == EDITOR_LINE
    assert not list(SCHEMA.iter_errors(read(path)))


def changed(**values):
    """Give the sample with a value changed; None takes it away."""
    asked = copy.deepcopy(ONE) | values
    return {key: value for key, value in asked.items() if value is not None}


@pytest.mark.parametrize(
    "asked",
    [
        changed(),
        changed(zone=None, defaults={"zone": "zone1"}),
        changed(obConfigs={"memory_limit": "16G", "_hidden": "1"}),
        {"cluster": "prod", "nodes": [{"agentInfo": {"ip": "fd00::4"}, "zone": "z"}]},
        {"clusters": [ONE], "defaults": {"obConfigs": {"memory_limit": "64G"}}},
        {"clusters": [{"cluster": "a", "nodes": [{"agentInfo": {"ip": "10.0.0.4"}}]}]},
        {"rows": "nodes.csv"},
    ],
)
def test_what_may_be_asked_for_passes(asked):
    """Each shape of a request."""
    assert not list(SCHEMA.iter_errors(asked))


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        (changed(agentInfo={"ip": "myhost"}), "ip"),
        (changed(agentInfo={"ip": "10.0.0.4", "port": 70000}), "port"),
        (changed(zone="zone 2"), "zone"),
        (changed(zone=None), ""),
        (changed(cluster=None), ""),
        (changed(obConfigs={"memory_limit": "16"}), "memory_limit"),
        (changed(obConfigs={"mysql_port": 2881}), "mysql_port"),
        (changed(zones="zone2"), ""),
        ({"cluster": "a", "nodes": []}, "nodes"),
        ({"clusters": [changed(agentInfo={"ip": "myhost"})]}, "ip"),
        ({"rows": "nodes.csv", "polices": {}}, ""),
    ],
)
def test_a_slip_is_marked_where_it_stands(asked, where):
    """Not only somewhere in the file."""
    places = [
        str(error.absolute_path[-1]) if error.absolute_path else ""
        for error in SCHEMA.iter_errors(asked)
    ]

    assert where in places
