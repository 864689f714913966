"""Tests of what Prefect refuses before a run exists: slips, and nothing that obscale accepts."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect.utilities.schema_tools.validation import preprocess_schema, validate
from pydantic import ValidationError

from obscale.batch.dispatch_rows import WorkerAssignment
from obscale.batch.ledger import ledger_of
from obscale.errors import SpecError
from obscale.flows.batch import batch
from obscale.flows.batch_worker import batch_part
from obscale.flows.plan import plan
from obscale.flows.scale_out import scale_out
from obscale.request.models import NodeSpec, ScaleOutSpec
from obscale.request.policies import BatchPolicies, Window
from obscale.request.start_options import ObConfigs
from obscale.spec import checked
from obscale.spec.batch import BatchSpec, checked_batch, compact, read_batch

EXAMPLES = Path(__file__).parents[2] / "examples"
FLOWS = (scale_out, plan, batch, batch_part)
SCHEMAS = {flow.name: preprocess_schema(flow.parameters.model_dump()) for flow in FLOWS}
NODE: dict[str, Any] = {
    "agentInfo": {"ip": "10.0.0.4", "port": 2886},
    "zone": "zone2",
    "obConfigs": {"memory_limit": "16G", "mysql_port": "2881", "data_dir": "/data/ob"},
    "targetAgentPassword": {"env": "SPARE"},
}
ONE = {"cluster": "prod-east", **NODE}
MANY = {
    "clusters": [
        {
            "cluster": "prod-east",
            "defaults": {"zone": "zone2", "obConfigs": {"memory_limit": "16G"}},
            "nodes": [NODE, {"agentInfo": {"ip": "fd00::4"}}],
        }
    ],
    "connections": {"west": {"endpoints": ["https://10.1.0.1:2886"], "password": {"block": "w"}}},
}
Place = tuple[str | int, ...]
NODE_OF_MANY: Place = ("clusters", 0, "nodes", 0)
WRONG: dict[Place, tuple[Any, ...]] = {
    ("agentInfo", "ip"): (
        *("myhost", "10.0.0.256", "10.0.0.4:2886", "10.0.0.4\n", " 10.0.0.4", "", "fd00::4%eth0"),
    ),
    ("agentInfo", "port"): (65536, 1024, 0, -1),
    ("zone",): ("zone 2", " zone2", "zone2 ", "zone2\n", "zo'ne", "", "z" + "\\"),
    ("obConfigs", "memory_limit"): ("16", "16 G", "1.5G", "010G", "16GiB", "16G\n", "", "lots"),
    ("obConfigs", "log_disk_size"): ("24",),
    ("obConfigs", "mysql_port"): ("65536", "1024", "02881", "2881\n", "http"),
    ("obConfigs", "rpc_port"): ("", "99999"),
    ("obConfigs", "data_dir"): ("data/ob", "/data/my ob", "C:/ob"),
    ("targetAgentPassword", "env"): ("2many", "OB ROOT", ""),
    ("targetAgentPassword", "block"): ("Ob-Root", "ob_root"),
}
"""Slips of one node's fields."""
A_BLANK_INSIDE = "zone 2"
"""Of an existing zone it may be; see `obscale.request.patterns`."""


def refusals(flow: Any, asked: dict[str, Any]) -> list[str]:
    """What Prefect says against parameters, without their text."""
    found = validate(asked, SCHEMAS[flow.name], preprocess=False)
    return [each.json_path for each in found]


def with_value(asked: dict[str, Any], place: Place, value: Any) -> dict[str, Any]:
    changed = deepcopy(asked)
    inner: Any = changed
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    return changed


def is_accepted(node: dict[str, Any]) -> bool:
    """Whether models and rules let a node pass."""
    options = ObConfigs.model_validate(node["obConfigs"]).given()
    try:
        checked(NodeSpec.model_validate({**node, "obConfigs": options}))
    except (ValidationError, SpecError):
        return False
    return True


@pytest.mark.parametrize(
    ("place", "value"), [(place, value) for place, values in WRONG.items() for value in values]
)
def test_a_slip_is_refused_by_prefect_where_it_stands(place, value):
    """In the forms of one node and, below its cluster, in that of a batch."""
    if place[0] == "targetAgentPassword":
        base = with_value(NODE, ("targetAgentPassword",), {})
    else:
        base = NODE
    node = with_value(base, place, value)
    many = with_value(MANY, NODE_OF_MANY, node)

    assert value == A_BLANK_INSIDE or not is_accepted(node)
    for flow in (scale_out, plan):
        assert len(refusals(flow, {"cluster": "prod-east", **node})) == 1
    assert len(refusals(batch, many)) == 1


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("connections", "west", "endpoints", 0), "https://myhost:2886"),
        (("connections", "west", "password", "block"), "Not A Block"),
        (("clusters", 0, "defaults", "zone"), "zone 2"),
        (("clusters", 0, "defaults", "obConfigs", "memory_limit"), "16"),
        (("clusters", 0, "nodes", 1, "agentInfo", "port"), 70000),
        (("clusters", 0, "overrides"), [{"rule": "clock-skew", "reason": " ", "until": "9.9.29"}]),
        (("policies",), {"window": {"start": "2:00", "end": "05:00"}}),
        (("policies",), {"max_clusters_at_once": 0}),
        (("time_limits",), {"poll_seconds": 61}),
    ],
)
def test_a_slip_elsewhere_in_a_batch_is_refused_too(place, value):
    """Whatever its form asks for in nested fields."""
    assert refusals(batch, MANY) == []
    assert refusals(batch, with_value(MANY, place, value)) != []


def test_a_node_needs_its_zone_only_where_its_cluster_has_none_for_it():
    """The form takes what a file may say: one zone for all nodes, in the defaults."""
    bare = with_value(MANY, ("clusters", 0, "defaults"), {"obConfigs": {}})

    assert refusals(batch, MANY) == []
    # Which kind of row is meant a form cannot tell, so the whole cluster is what it refuses.
    assert refusals(batch, bare) == ["$.clusters[0]"]
    with pytest.raises(ValidationError):
        ScaleOutSpec.model_validate(bare["clusters"][0])


UNITS = ("B", "b", "Byte", "K", "kb", "M", "mB", "G", "gb", "g", "T", "tB", "P", "p")
SIZES = st.builds("{}{}".format, st.integers(0, 1 << 40), st.sampled_from(UNITS))
PORTS = st.integers(min_value=1000, max_value=66000)
IPS = st.ip_addresses().map(str) | st.ip_addresses(v=6).map(lambda ip: ip.exploded)
CANDIDATES: dict[Place, st.SearchStrategy[Any]] = {
    ("agentInfo", "ip"): IPS
    | st.sampled_from(["::ffff:10.0.0.4", "FD00::4", "::", "fd00::10.0.0.4"])
    | st.text("0123456789abcdefABCDEF:.%/ x", max_size=12),
    ("agentInfo", "port"): PORTS,
    ("zone",): st.text(max_size=8) | st.text("zonecn-_.测试1", min_size=1, max_size=8),
    ("obConfigs", "memory_limit"): SIZES | st.text("0123456789KMGTPBkmgtpbyYtTeE. ", max_size=6),
    ("obConfigs", "datafile_size"): SIZES,
    ("obConfigs", "mysql_port"): PORTS.map(str) | st.text("0123456789 +-", max_size=6),
    ("obConfigs", "rpc_port"): PORTS.map(str) | st.just(""),
    ("obConfigs", "redo_dir"): st.text("/redo1.-_:@ 数据\n", max_size=10).map("/{}".format)
    | st.text(max_size=6),
    ("targetAgentPassword", "env"): st.text("OB_ROOTx1 -", max_size=6),
    ("targetAgentPassword", "block"): st.text("ob-rootA1_", max_size=6),
    ("targetAgentPassword",): st.none(),
    ("obConfigs",): st.just({})
    | st.just({"cpu_count": "4", "__hidden": "x", "datafile_next": "1G"}),
}


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_nothing_that_obscale_accepts_is_refused_by_prefect(data):
    """One field at a time, of any spelling; a blank inside of a zone's name is the exception.

    In a batch's schema, which has the same patterns as those of one node, see the slips above.
    """
    place = data.draw(st.sampled_from(list(CANDIDATES)))
    value = data.draw(CANDIDATES[place])
    base = with_value(NODE, ("targetAgentPassword",), {}) if "targetAgent" in str(place) else NODE
    node = with_value(base, place, value)

    if is_accepted(node) and not (place == ("zone",) and len(value.split()) > 1):
        assert refusals(batch, with_value(MANY, NODE_OF_MANY, node)) == []


ENDPOINTS = st.builds(
    lambda scheme, host, rest, blank: f"{blank}{scheme}{host}{rest}{blank}",
    st.sampled_from(["", "http://", "https://", "HTTPS://"]),
    st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"),
    st.sampled_from(["", ":2886", ":00002886", "/", ":1/"]),
    st.sampled_from(["", " ", "\n", "\t"]),
) | st.ip_addresses(v=6).map(lambda ip: ip.exploded)


@settings(deadline=None)
@given(ENDPOINTS)
def test_an_entry_agent_may_be_written_in_every_way_it_is_read(endpoint):
    """With scheme, port and blanks around it, or without."""
    written = {"endpoints": [endpoint]}

    assert refusals(scale_out, {**ONE, "cluster": written}) == []
    assert BatchSpec.model_validate({**MANY, "connections": {"west": written}})


@settings(deadline=None)
@given(
    st.times().map("{:%H:%M}".format),
    st.times().map("{:%H:%M}".format),
    st.dates(),
    st.text("ab ."),
)
def test_hours_days_and_reasons_that_are_read_are_not_refused(start, end, until, reason):
    """As they are written in a request."""
    override = {"rule": "clock-skew", "reason": f"{reason}!", "until": until.isoformat()}
    asked: dict[str, Any] = {**ONE, "overrides": [override]}
    if start != end:
        asked["window"] = Window(start=start, end=end).model_dump(mode="json")

    assert refusals(scale_out, asked) == []


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("batch-*")))
def test_the_examples_are_taken_as_parameters_of_a_batch_and_of_its_runs_on_workers(name):
    """What the command line and a dispatched batch hand to Prefect, in the shortest form."""
    spec = read_batch(EXAMPLES / name)
    told = {
        "clusters": [compact(each) for each in spec.clusters],
        "connections": {
            name: known.model_dump(mode="json") for name, known in spec.connections.items()
        },
        "policies": spec.policies.model_dump(mode="json"),
    }
    ledger = ledger_of(checked_batch(spec))
    part = WorkerAssignment.of(ledger.key, ledger.entries[:1])

    assert refusals(batch, told) == []
    assert refusals(batch_part, dict(part.parameters)) == []
    assert BatchPolicies.model_validate(told["policies"]) == spec.policies
