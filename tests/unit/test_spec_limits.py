"""Tests of time limits in request files: alone, in a batch, and each fault named."""

import json
from pathlib import Path

import pytest

from obscale.batch.dispatch_rows import WorkerAssignment
from obscale.batch.ledger import ledger_of
from obscale.errors import SpecError
from obscale.request.models import ScaleOutSpec
from obscale.request.scale_out import scale_outs_of
from obscale.request.time_limits import VERIFY_LIMITS, TimeLimits
from obscale.spec import parse_spec
from obscale.spec.batch import compact, parse_batch

ONE = """\
cluster: prod-east
agentInfo: {ip: 10.0.0.4}
zone: zone2
time_limits: {verify_seconds: 3600, stall_seconds: 600.5}
"""
MANY = """\
time_limits: {verify_seconds: 3600, steady_seconds: 60}
clusters:
  - cluster: east
    nodes: [{agentInfo: {ip: 10.0.0.4}, zone: zone1}]
  - cluster: west
    time_limits: {steady_seconds: 90}
    nodes: [{agentInfo: {ip: 10.1.0.4}, zone: zone1}]
"""


def test_a_file_sets_the_limits_it_names_and_no_other():
    """YAML and JSON alike; the rest stays as usual."""
    (order,) = scale_outs_of(parse_spec(ONE, "node.yaml"))
    written = {
        "cluster": "prod-east",
        "agentInfo": {"ip": "10.0.0.4"},
        "zone": "zone2",
        "time_limits": {"verify_seconds": 3600, "stall_seconds": 600.5},
    }
    (same,) = scale_outs_of(parse_spec(json.dumps(written), "node.json"))

    assert order.time_limits == TimeLimits(verify_seconds=3600, stall_seconds=600.5)
    assert same.time_limits == order.time_limits
    assert (
        scale_outs_of(parse_spec(ONE.rpartition("time_limits")[0], "n"))[0].time_limits
        == TimeLimits()
    )


def test_a_command_with_limits_of_its_own_keeps_to_those_of_the_file():
    """`obscale verify` waits a minute, unless the request says for how long."""
    (order,) = scale_outs_of(parse_spec(ONE, "node.yaml"), time_limits=VERIFY_LIMITS)
    (silent,) = scale_outs_of(
        parse_spec(ONE.rpartition("time_limits")[0], "n"), time_limits=VERIFY_LIMITS
    )

    assert order.time_limits.verify_seconds == 3600
    assert order.time_limits.unread_seconds == VERIFY_LIMITS.unread_seconds
    assert silent.time_limits == VERIFY_LIMITS


def test_a_batch_shares_limits_and_a_cluster_may_have_its_own(tmp_path):
    """Limit by limit, in a file of clusters, of rows, and of one cluster."""
    ledger = ledger_of(parse_batch(MANY, "batch.yaml", Path()), TimeLimits(lock_wait_seconds=5))
    east, west = (entry.order.time_limits for entry in ledger.entries)
    (tmp_path / "nodes.csv").write_text("cluster,ip,zone\neast,10.0.0.4,zone1\n")
    rows = "rows: nodes.csv\ntime_limits: {verify_seconds: 3600}\n"
    alone = f"policies: {{canary: node}}\n{ONE}"

    assert east == TimeLimits(verify_seconds=3600, steady_seconds=60, lock_wait_seconds=5)
    assert west == TimeLimits(verify_seconds=3600, steady_seconds=90, lock_wait_seconds=5)
    for text in (rows, alone):
        (entry,) = ledger_of(parse_batch(text, "batch.yaml", tmp_path)).entries
        assert entry.order.time_limits.verify_seconds == 3600


def test_limits_survive_being_a_runs_parameters():
    """Stored as JSON they name what the file named; a worker's part has the same."""
    spec = parse_batch(MANY, "batch.yaml", Path())
    asked = parse_spec(ONE, "node.yaml")

    assert compact(spec.clusters[1])["time_limits"] == {
        "steady_seconds": 90,
        "verify_seconds": 3600,
    }
    assert ScaleOutSpec.model_validate_json(asked.model_dump_json()) == asked
    ledger = ledger_of(spec)
    for entry in ledger.entries:
        entry.lane = "one and the same"
    parameters = WorkerAssignment.of(ledger.key, ledger.entries).parameters
    usual = TimeLimits.model_validate(parameters["time_limits"])
    parts = [ScaleOutSpec.model_validate(each) for each in parameters["clusters"]]
    assert [usual.with_own(part.time_limits) for part in parts] == [
        entry.order.time_limits for entry in ledger.entries
    ]


LIMITS = "{verify_seconds: 3600, stall_seconds: 600.5}"
BAD = {
    "a text": (
        "{verify_seconds: 30m}",
        "verify_seconds: must be a number, not the text '30m'; write seconds, e.g. 1800",
    ),
    "a number in quotes": (
        "{verify_seconds: '60'}",
        "verify_seconds: must be a number, not the text '60'; write seconds, e.g. 1800",
    ),
    "a truth value": (
        "{steady_seconds: yes}",
        "steady_seconds: must be a number, not the truth value yes; write seconds, e.g. 30",
    ),
    "nothing": (
        "{steady_seconds: }",
        "steady_seconds: must be a number, not nothing; write seconds, e.g. 30",
    ),
    "half a second of a person": (
        "{approval_seconds: 1.5}",
        "approval_seconds: must be a whole number, not the number 1.5; write seconds, e.g. 86400",
    ),
    "none at all": ("{verify_seconds: 0}", "verify_seconds: must be more than 0, not 0"),
    "less than none": ("{against_seconds: -1}", "against_seconds: must be 0 or more, not -1"),
    "a month": ("{verify_seconds: 2000000}", "verify_seconds: must be 86400 or less, not 2000000"),
    "for ever": ("{verify_seconds: .inf}", "verify_seconds: must be 86400 or less, not .inf"),
    "no number": ("{verify_seconds: .nan}", "verify_seconds: must be 86400 or less, not .nan"),
    "a slip of the pen": (
        "{verify_second: 60}",
        "verify_second: unknown field; did you mean 'verify_seconds'?",
    ),
    "a number for all": (
        "60",
        "must be a mapping, not the number 60; write {verify_seconds: 3600}, or leave it out",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_limit_is_named_with_what_to_write(name):
    """One line with its place, in a request and in a batch."""
    limits, said = BAD[name]
    mark = "." if limits.startswith("{") else ": "

    with pytest.raises(SpecError) as one:
        parse_spec(ONE.replace(LIMITS, limits), "node.yaml")
    with pytest.raises(SpecError) as many:
        parse_batch(MANY.replace("{steady_seconds: 90}", limits), "batch.yaml", Path())

    assert one.value.problems[0].startswith(f"node.yaml:4: time_limits{mark}{said}")
    assert many.value.problems[0].startswith(f"batch.yaml:6: time_limits{mark}{said}")
    assert len(one.value.problems) == len(many.value.problems) == 1


def test_a_fault_in_what_all_share_is_told_once():
    """At the place where it stands, not once for each cluster."""
    with pytest.raises(SpecError) as caught:
        parse_batch(MANY.replace("3600", "soon"), "batch.yaml", Path())

    assert list(caught.value.problems) == [
        f"batch.yaml:1: time_limits.verify_seconds: must be a number, not {what}"
        for what in ("the text 'soon'; write seconds, e.g. 1800",)
    ]
