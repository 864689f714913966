"""Does each rung hold only when its proofs hold?"""

import dataclasses

import pytest

from obscale.agent.models import AgentInfo, AgentStatus, Dag, ListedAgent, Parameter, Zone
from obscale.rules.aftermath import Aftermath, ProofAnswer, Rung
from obscale.rules.asked import AgentInfoSpec, NodeSpec
from obscale.rules.ladder import judge_ladder, same_value, still_waiting

VERSION = "4.3.5.2_102000092025042111"
ASKED = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "data_dir": "/data/1",
}
NODE = NodeSpec(agentInfo=AgentInfoSpec(ip="10.0.0.4", port=2886), zone="zone2", obConfigs=ASKED)
STEADY = [(0.0, 3), (15.0, 3), (31.0, 3)]


def server(ip, **changes):
    row = {
        "ip": ip,
        "svr_port": 2882,
        "sql_port": 2881,
        "version": VERSION,
        "status": "RUNNING",
        "inner_status": "ACTIVE",
        "with_rootserver": ip == "10.0.0.1",
        "start_time": "2026-05-01T10:00:00+08:00",
        "stop_time": "0001-01-01T00:00:00Z",
        "stats": {"memory_in_bytes_total": 8 * 2**30},
        "data_dir": "/data/1",
    }
    return row | changes


def zones(new=None, first=None):
    second = [server("10.0.0.2")] + ([new] if new else [])
    return tuple(
        Zone.model_validate({"name": name, "inner_status": "ACTIVE", "servers": servers})
        for name, servers in (("zone1", [first or server("10.0.0.1")]), ("zone2", second))
    )


def parameter(name, value):
    row = {"svr_ip": "10.0.0.4", "svr_port": 2882, "value": value}
    return Parameter.model_validate({"name": name, "ob_parameters": [row]})


def aftermath(**changes):
    """A node that joined, serves and conforms, changed where a test says so."""
    whole = Aftermath(
        target="10.0.0.4:2886",
        target_info=AgentInfo.model_validate(
            {"ip": "10.0.0.4", "port": 2886, "identity": "CLUSTER AGENT", "zone": "zone2"}
        ),
        target_status=AgentStatus.model_validate({"agent": {}, "obState": 3}),
        target_unfinished=(),
        members=(ListedAgent.model_validate({"ip": "10.0.0.4", "port": 2886, "zone": "zone2"}),),
        zones=zones(server("10.0.0.4")),
        parameters=(parameter("memory_limit", "16384M"), parameter("system_memory", "8G")),
        unfinished=(),
    )
    return dataclasses.replace(whole, **changes)


def done_dag(**changes):
    row = {"id": "17", "dag_id": 7, "state": "SUCCEED", "stage": 9, "max_stage": 9}
    return Dag.model_validate(row | changes)


def judge(after=None, *, dag=None, states=STEADY, before=None, steady=30):
    return judge_ladder(
        NODE,
        dag=dag or done_dag(),
        before=zones() if before is None else before,
        after=after or aftermath(),
        ob_states=states,
        steady_seconds=steady,
    )


def answer(ladder, name):
    return next(line.answer for line in ladder.lines if line.id == name)


def test_a_whole_node_conforms():
    """Everything as asked: CONFORMING, and nothing left to wait for."""
    ladder = judge()

    assert ladder.rung is Rung.CONFORMING, [line for line in ladder.lines if line.hinders]
    assert still_waiting(ladder) == ()


def test_a_rolled_back_dag_never_joins():
    """SUCCEED with operator ROLLBACK fails the first proof."""
    ladder = judge(dag=done_dag(operator="ROLLBACK", stage=1))

    assert ladder.rung is Rung.NONE
    assert answer(ladder, "pv-dag-forward-success") is ProofAnswer.FAIL


@pytest.mark.parametrize(
    ("changes", "proof", "rung"),
    [
        ({"members": ()}, "pv-agent-listed", Rung.NONE),
        ({"zones": zones()}, "pv-topology-registered", Rung.NONE),
        (
            {"zones": zones(server("10.0.0.4", start_time="0001-01-01T00:00:00Z"))},
            "pv-service-started",
            Rung.JOINED,
        ),
        (
            {"zones": zones(server("10.0.0.4", inner_status="INACTIVE"))},
            "pv-status-active",
            Rung.JOINED,
        ),
        (
            {"zones": zones(server("10.0.0.4", status="STARTING"))},
            "pv-obshell-status",
            Rung.JOINED,
        ),
        (
            {"zones": zones(server("10.0.0.4", stats={"memory_in_bytes_total": 0}))},
            "pv-capacity-server",
            Rung.SERVING,
        ),
        (
            {"zones": zones(server("10.0.0.4"), first=server("10.0.0.1", status="UNAVAILABLE"))},
            "pv-no-collateral",
            Rung.SERVING,
        ),
        ({"target_unfinished": (done_dag(state="RUNNING"),)}, "pv-local-dag-finished", Rung.NONE),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_there_yet_waits_on_its_rung(changes, proof, rung):
    """A missing proof holds its rung back, and may still turn."""
    ladder = judge(aftermath(**changes))

    assert answer(ladder, proof) is ProofAnswer.WAITING
    assert ladder.rung is rung
    assert proof in {line.id for line in still_waiting(ladder)}


@pytest.mark.parametrize(
    ("changes", "proof"),
    [
        ({"zones": zones(server("10.0.0.4", version="4.3.5.1_1"))}, "pv-version-equal"),
        (
            {"zones": zones(server("10.0.0.4", stats={"memory_in_bytes_total": 2**30}))},
            "pv-capacity-server",
        ),
        (
            {"parameters": (parameter("memory_limit", "12G"), parameter("system_memory", "8G"))},
            "pv-params-effective:memory_limit",
        ),
        (
            {"parameters": (parameter("system_memory", "8G"),)},
            "pv-params-effective:memory_limit",
        ),
    ],
    ids=["foreign build", "other capacity", "other value", "ignored key"],
)
def test_what_is_wrong_for_good_fails_and_ends_the_waiting(changes, proof):
    """A contradiction fails CONFORMING at once; the node still serves."""
    ladder = judge(aftermath(**changes))

    assert answer(ladder, proof) is ProofAnswer.FAIL
    assert ladder.rung is Rung.SERVING
    assert still_waiting(ladder) == ()


@pytest.mark.parametrize(
    "field",
    ["target_info", "target_status", "target_unfinished", "members", "zones", "unfinished"],
)
def test_evidence_that_cannot_be_read_is_never_a_pass(field):
    """Without its evidence no rung at or above it is reached."""
    ladder = judge(aftermath(**{field: None}))

    assert ladder.rung < Rung.CONFORMING
    assert any(line.answer is ProofAnswer.UNKNOWN for line in ladder.lines)


@pytest.mark.parametrize(
    "states",
    [[(0.0, 3)], [(0.0, 3), (31.0, 1), (32.0, 3), (33.0, 3)], [(0.0, 3), (31.0, None)]],
    ids=["one lucky look", "a crash in between", "no answer at last"],
)
def test_serving_wants_a_steady_observer(states):
    """A connectable observer has to hold, over several looks, up to now."""
    ladder = judge(states=states)

    assert answer(ladder, "pv-ob-state") is ProofAnswer.WAITING
    assert ladder.rung is Rung.JOINED


def test_an_older_version_that_shows_no_parameters_can_still_conform():
    """What a version never shows is said, and does not hold the rung back."""
    ladder = judge(aftermath(parameters=None, parameters_supported=False))

    assert answer(ladder, "pv-params-effective:memory_limit") is ProofAnswer.INFO
    assert ladder.rung is Rung.CONFORMING


def test_a_version_that_only_lists_servers_can_still_conform():
    """Below 4.3.0.0 start of service, zone state and capacity are never told: said, not held."""
    bare = server("10.0.0.4", start_time=None, stats={})
    listed = tuple(zone.model_copy(update={"inner_status": ""}) for zone in zones(bare))

    untold = judge(aftermath(zones=listed, is_detailed=False))
    should_tell = judge(aftermath(zones=listed))

    assert answer(untold, "pv-service-started") is ProofAnswer.INFO
    assert untold.rung is Rung.CONFORMING
    assert answer(should_tell, "pv-service-started") is ProofAnswer.UNKNOWN
    assert should_tell.rung is Rung.JOINED


def test_another_dag_after_ours_is_no_fault_of_the_node():
    """Somebody else's lock after our end is said, not held against the node."""
    other = done_dag(id="18", dag_id=8, state="RUNNING", name="Create tenant", maintenance_type=3)

    ladder = judge(aftermath(unfinished=(other,)))

    assert answer(ladder, "pv-lock-released") is ProofAnswer.INFO
    assert ladder.rung is Rung.CONFORMING


@pytest.mark.parametrize(
    ("asked", "found", "same"),
    [("16G", "16384M", True), ("0M", "0", False), ("True", "true", True), ("16G", "8G", False)],
)
def test_values_are_compared_by_meaning(asked, found, same):
    """Capacities by bytes, words without case; a bare number is no capacity."""
    assert same_value(asked, found) is same
