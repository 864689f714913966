"""Tests of old names: who writes one is told the new one, and what was stored is still read."""

import json
import logging
from pathlib import Path

import httpx
import pytest
from prefect.exceptions import ParameterTypeError, SignatureMismatchError
from prefect.utilities.callables import parameters_to_args_kwargs
from pydantic import SecretStr, ValidationError

import obscale.deployments.trigger as trigger_example
from obscale.errors import SpecError
from obscale.flows.batch import batch
from obscale.flows.scale_out import scale_out
from obscale.plan.file import SHAPE, read_plan_file
from obscale.report.audit import KeptReport
from obscale.request.models import ScaleOutSpec
from obscale.request.renamed import RENAMED, told_renamed, with_new_names
from obscale.spec import parse_spec
from obscale.spec.batch import BatchSpec, parse_batch
from obscale.tasks.runtime.baselines import page_of, read_page
from obscale.tasks.runtime.blocks import known_cluster
from obscale.tasks.runtime.cluster_block import ObshellCluster
from obscale.tasks.runtime.run_log import OneLineForOurErrors
from obscale.verify.baseline import Baseline
from obscale.verify.observation import Level

NODE = """cluster: prod
agentInfo: {ip: 10.0.0.4, port: 2886}
zone: zone2
patience: {verify_seconds: 3600}
"""
MANY = """clusters:
  - cluster: prod
    nodes: [{agentInfo: {ip: 10.0.0.4, port: 2886}, zone: zone2}]
    patience: {verify_seconds: 3600}
"""
HEAD = """patience: {verify_seconds: 3600}
clusters:
  - cluster: prod
    nodes: [{agentInfo: {ip: 10.0.0.4, port: 2886}, zone: zone2}]
"""
STORED_BLOCK = {
    "endpoints": ["https://10.0.0.1:2886"],
    "root_password": SecretStr("root"),
    "agent_password": SecretStr("agent"),
    "name": "east",
    "cluster_id": 7,
    "verify_tls": True,
    "ca_file": "ca.pem",
    "client_cert": "client.pem",
    "client_key": "client.key",
    "key_trust": "pinned",
    "pinned_keys": {"10.0.0.1:2886": "SHA256:a"},
}
"""Each field of a connection, under the name it has had since connections are stored."""
STORED_REPORT = {
    "report": {
        "schema_version": 1,
        "outcome": "failed",
        "cluster": "prod",
        "target": "10.0.0.4:2886",
        "zone": "zone2",
        "obConfigs": {},
        "rung": "SERVING",
        "pins": ["ALTER SYSTEM SET cpu_count='8' SERVER='10.0.0.4:2882';"],
        "proofs": [
            {"id": "pv-dirs", "rung": 3, "answer": "fail", "expected": "/data", "found": "/other"}
        ],
        "earlier": [
            {
                "at": "2026-11-01T00:00:00Z",
                "run_id": "1",
                "outcome": "failed",
                "rung": "JOINED",
            }
        ],
    },
    "versions": {"obscale": "0.1.0"},
}
"""As an earlier version has kept it in Prefect."""


def test_no_name_is_both_an_old_one_and_a_new_one():
    """Otherwise nobody could tell which of them is meant."""
    assert not RENAMED.keys() & set(RENAMED.values())
    assert told_renamed(["zone", "outlook", "pins"]) == (
        "outlook is called forecast now, pins is called persist_statements now"
    )
    assert told_renamed(["zone"]) == ""


def test_an_old_name_in_a_request_is_answered_with_line_and_new_name():
    """One problem, at the place where it is to be mended."""
    with pytest.raises(SpecError) as caught:
        parse_spec(NODE, "node.yaml")

    assert caught.value.problems == (
        "node.yaml:4: patience: is called time_limits now; write time_limits",
    )


@pytest.mark.parametrize(("text", "line"), [(MANY, 4), (HEAD, 1)], ids=["of a cluster", "of all"])
def test_an_old_name_in_a_batch_is_answered_with_line_and_new_name(tmp_path, text, line):
    """Beside one cluster's nodes as well as at the top of the file."""
    with pytest.raises(SpecError) as caught:
        parse_batch(text, "batch.yaml", tmp_path)

    assert caught.value.problems == (
        f"batch.yaml:{line}: patience: is called time_limits now; write time_limits",
    )


def test_an_old_name_where_there_is_no_new_one_is_an_unknown_field():
    """Below a node nobody may set limits, under whichever name."""
    text = NODE.replace("patience", "time_limits") + "defaults: {patience: {}}\n"

    with pytest.raises(SpecError, match="unknown field"):
        parse_spec(text, "node.yaml")


def test_an_old_name_inside_of_a_flows_parameter_is_answered_with_the_new_one():
    """Prefect checks a batch's clusters by their models before the run begins."""
    cluster = {
        "cluster": "prod",
        "nodes": [{"agentInfo": {"ip": "10.0.0.4", "port": 2886}, "zone": "zone2"}],
        "patience": {},
    }

    with pytest.raises(ParameterTypeError, match="patience is called time_limits now"):
        batch.validate_parameters({"clusters": [cluster]})
    with pytest.raises(ValidationError, match="patience is called time_limits now"):
        BatchSpec.model_validate({"clusters": [cluster]})


def test_an_old_parameter_of_a_flow_is_answered_in_the_log_of_the_run():
    """The run has not begun then; what Prefect says of it names both."""
    with pytest.raises(SignatureMismatchError) as caught:
        parameters_to_args_kwargs(scale_out.fn, {"patience": {}})
    record = logging.LogRecord("prefect.flow_runs", logging.ERROR, "", 0, "failed", (), None)
    record.exc_info = (SignatureMismatchError, caught.value, None)

    OneLineForOurErrors().filter(record)

    assert "does not take these parameters" in record.getMessage()
    assert "patience is called time_limits now. Next: correct the name" in record.getMessage()


def test_the_trigger_example_answers_an_old_parameter_with_the_new_one(capsys):
    """It needs nothing of obscale, so it has the name itself."""
    schema = {"properties": {"cluster": {}, "time_limits": {}}}

    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"id": "1", "parameter_openapi_schema": schema})

    with (
        httpx.Client(base_url="http://x/api/", transport=httpx.MockTransport(answer)) as api,
        pytest.raises(SystemExit) as ended,
    ):
        trigger_example.start(
            api, "scale-out/scale-out-workers", {"cluster": "prod", "patience": {}}, ""
        )

    assert ended.value.code == 2
    assert "takes no parameter patience: it is called time_limits now" in capsys.readouterr().err
    assert trigger_example.RENAMED.items() <= RENAMED.items()
    shell = Path(trigger_example.__file__).with_name("trigger.sh").read_text(encoding="utf-8")
    assert "patience is called time_limits now" in shell


@pytest.mark.parametrize("shape", [SHAPE - 1, SHAPE])
def test_an_old_name_in_a_plan_file_is_answered_with_the_new_one(tmp_path, shape):
    """A plan of an earlier version is made anew, not guessed at."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"obscale_plan": shape, "outlook": None, "standpoint": {}}))

    with pytest.raises(SpecError) as caught:
        read_plan_file(path)

    assert str(path) in str(caught.value)
    assert "outlook is called forecast now, standpoint is called snapshot now" in str(caught.value)
    assert "obscale plan REQUEST.yaml --out" in caught.value.hint


def test_a_report_kept_by_an_earlier_version_is_read_with_its_old_names():
    """What it has reached, and what a restart may take back, are not lost."""
    page = f"kept\n\n```json\n{json.dumps(STORED_REPORT)}\n```\n"

    kept = read_page(KeptReport, page)

    assert kept is not None
    report = kept.report
    assert (report.level, report.proofs[0].level) == ("SERVING", Level.CONFORMING)
    assert report.earlier[0].level == "JOINED"
    assert report.persist_statements == tuple(STORED_REPORT["report"]["pins"])
    again = read_page(KeptReport, page_of(kept))
    assert again == kept
    assert not RENAMED.keys() & set(json.loads(kept.model_dump_json())["report"])


def test_a_new_name_stands_above_an_old_one():
    """Of a record that has both, the old one is passed over."""
    both = {"rung": "JOINED", "level": "SERVING", "zone": "zone1"}

    assert with_new_names(both, ("level", "zone")) == {"level": "SERVING", "zone": "zone1"}
    assert with_new_names("text", ("level",)) == "text"


def test_a_baseline_has_no_renamed_field():
    """One that was written down before is read as it is."""
    assert not set(RENAMED.values()) & Baseline.model_fields.keys()


def test_a_connection_stored_before_is_read_with_all_its_fields():
    """None of them was renamed: each is where it was, and the block knows no other."""
    assert set(ObshellCluster.model_fields) == STORED_BLOCK.keys()
    assert not RENAMED.keys() & STORED_BLOCK.keys()

    block = ObshellCluster(**STORED_BLOCK)

    assert {name: getattr(block, name) for name in STORED_BLOCK} == STORED_BLOCK
    assert known_cluster("prod", block).spec.endpoints == ("https://10.0.0.1:2886",)


def test_an_old_name_is_no_field_of_a_request_any_more():
    """So that the refusal above cannot hide a field."""
    assert not RENAMED.keys() & ScaleOutSpec.model_fields.keys()
