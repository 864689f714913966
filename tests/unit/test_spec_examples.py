"""Tests that every example is a valid request."""

from pathlib import Path

import pytest
import yaml

from obscale.preflight.facts import ClusterFacts, Facts, TargetFacts
from obscale.preflight.registry import judge_request
from obscale.spec import read_spec
from obscale.spec.batch import is_batch

EXAMPLES = sorted(
    path
    for path in (Path(__file__).parents[2] / "examples").glob("*.yaml")
    if not path.name.startswith("sandbox-") and not is_batch(yaml.safe_load(path.read_text()))
)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_read_and_its_request_has_no_fault(path):
    """What a newcomer copies neither fails nor warns on its own account."""
    spec = read_spec(path)

    for node in spec.nodes:
        facts = Facts(node, spec.nodes, ClusterFacts("", ""), TargetFacts(node.address, ""))
        assert {f.answer.value for f in judge_request(facts)} <= {"pass", "n-a"}


def test_there_is_an_example_of_each_kind():
    """One node, a new zone, a batch."""
    names = {path.name for path in EXAMPLES}

    assert {"one-node.yaml", "new-zone.yaml", "batch-of-three.yaml"} <= names


def test_defaults_of_the_batch_reach_every_node():
    """A node's own value stands above them."""
    path = next(path for path in EXAMPLES if path.name == "batch-of-three.yaml")

    sizes = [node.obConfigs["log_disk_size"] for node in read_spec(path).nodes]

    assert sizes == ["192G", "192G", "256G"]
