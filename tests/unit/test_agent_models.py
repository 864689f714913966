"""Tests of the models: nulls, new fields and new words are read."""

import json
import pickle

import pytest

from obscale.agent.models import (
    AgentEndpoint,
    AgentInfo,
    AgentStatus,
    ClusterInfo,
    Dag,
    HostInfo,
    Identity,
    ObInfo,
    Operator,
    Parameter,
    ScaleOutRequest,
    State,
    Topology,
    joined_address,
)

SUB_TASK = {
    "id": "155",
    "task_id": 55,
    "name": "Integrate server config",
    "state": "SUCCEED",
    "operator": "RUN",
    "start_time": "2026-05-08T10:00:01.74723+08:00",
    "end_time": "2026-05-08T10:00:01.9+08:00",
    "additional_data": None,
    "execute_times": 1,
    "execute_agent": {"ip": "10.0.0.1", "port": 2886},
    "task_logs": None,
}
NODE = {
    "id": "155",
    "node_id": 55,
    "name": "Integrate  server config",
    "state": "SUCCEED",
    "operator": "RUN",
    "additional_data": None,
    "sub_tasks": [SUB_TASK],
}
DAG = {
    "id": "17",
    "dag_id": 7,
    "name": "Cluster scale out",
    "stage": 1,
    "max_stage": 9,
    "maintenance_type": 2,
    "maintenance_key": "",
    "state": "RUNNING",
    "operator": "RUN",
    "start_time": "0001-01-01T00:00:00Z",
    "end_time": "1970-01-01T08:00:00+08:00",
    "additional_data": None,
    "nodes": [NODE],
}


def test_dag_is_read_with_its_nodes():
    """A DAG in detail gives its current node, and null logs are no logs."""
    dag = Dag.model_validate(DAG)

    assert dag.current_node is dag.nodes[0]
    assert dag.current_node.title == "Integrate server config"
    assert dag.nodes[0].sub_tasks[0].task_logs == ()
    assert dag.nodes[0].sub_tasks[0].execute_agent == AgentEndpoint(ip="10.0.0.1", port=2886)
    assert dag.additional_data == {}


@pytest.mark.parametrize("stage", [0, 2])
def test_stage_without_its_node_has_no_current_node(stage):
    """Without details, or with a stage of another version, there is no node to name."""
    assert Dag.model_validate(DAG | {"stage": stage}).current_node is None
    assert Dag.model_validate(DAG | {"nodes": None}).current_node is None


@pytest.mark.parametrize(
    ("state", "operator", "claims"),
    [
        ("SUCCEED", "RUN", {"is_done", "is_terminal"}),
        ("SUCCEED", "RETRY", {"is_done", "is_terminal"}),
        ("SUCCEED", "ROLLBACK", {"is_undone", "is_terminal"}),
        ("FAILED", "RUN", {"is_failed", "is_terminal"}),
        ("FAILED", "ROLLBACK", {"is_failed", "is_terminal"}),
        ("RUNNING", "ROLLBACK", set()),
        ("READY", "RUN", set()),
        ("PAUSED", "RUN", set()),
    ],
)
def test_state_and_operator_say_together_how_it_ended(state, operator, claims):
    """SUCCEED with ROLLBACK is undone, and a word nobody knows is not an end."""
    dag = Dag.model_validate(DAG | {"state": state, "operator": operator})

    names = ("is_done", "is_undone", "is_failed", "is_terminal")
    assert {name for name in names if getattr(dag, name)} == claims


def test_new_words_keep_their_text():
    """A state, operator or identity of a newer agent survives reading, writing and pickling."""
    dag = Dag.model_validate(DAG | {"state": "PAUSED", "operator": "SKIP"})

    copy = pickle.loads(pickle.dumps(dag))

    assert (copy.state, copy.state.name) == ("PAUSED", "UNKNOWN")
    assert copy.state != State.RUNNING
    assert json.loads(copy.model_dump_json())["operator"] == "SKIP"
    assert Operator("SKIP") == "SKIP"


def test_old_agent_says_less():
    """Fields that an old version does not send are absent facts, not errors."""
    info = AgentInfo.model_validate(
        {"ip": "fd00::1", "port": 2886, "identity": "SINGLE", "version": "4.2.3.0-1"}
    )

    assert (info.security, info.supported_auth, info.ob_version) == (None, None, "")
    assert info.identity is Identity.SINGLE
    assert info.address == "[fd00::1]:2886"


def test_status_is_read_by_its_wire_names():
    """`obState`, `sqlPort` and `underMaintenance` arrive under our names; `sqlPort` may lack."""
    status = AgentStatus.model_validate(
        {
            "agent": {"ip": "10.0.0.1", "port": 2886, "identity": "CLUSTER AGENT"},
            "obState": 3,
            "underMaintenance": True,
            "somethingNew": 1,
        }
    )

    assert (status.ob_state, status.sql_port, status.under_maintenance) == (3, 0, True)


def test_null_lists_are_empty():
    """Go writes an empty list as null: it is read as empty, except where null means unknown."""
    ob_info = ObInfo.model_validate({"agent_info": None, "obcluster_info": {"topology": None}})
    with_zone = ObInfo.model_validate({"obcluster_info": {"topology": {"zone1": None}}})

    assert ob_info.agent_info == ()
    assert ob_info.obcluster_info.topology is None
    assert with_zone.obcluster_info.topology == {"zone1": ()}
    assert Topology.model_validate({"zones": None}).zones == ()
    assert (
        ClusterInfo.model_validate({"zones": [{"name": "z", "servers": None}]}).zones[0].servers
        == ()
    )
    assert HostInfo.model_validate({"disks": None}).disks == ()
    assert Parameter.model_validate({"name": "x", "ob_parameters": None}).ob_parameters == ()


def test_request_is_spelled_as_the_api_spells_it():
    """The body has the API's own names, and neither repr nor text shows the password in it."""
    request = ScaleOutRequest(
        agent_info=AgentEndpoint(ip="10.0.0.4", port=2886),
        zone="zone1",
        ob_configs={"mysql_port": "2881"},
        target_agent_password="canary",
    )

    assert json.loads(request.model_dump_json(by_alias=True)) == {
        "agentInfo": {"ip": "10.0.0.4", "port": 2886},
        "zone": "zone1",
        "obConfigs": {"mysql_port": "2881"},
        "targetAgentPassword": "canary",
    }
    assert "canary" not in f"{request!r} {request}"


def test_addresses_are_joined_for_people():
    """IPv6 gets its brackets."""
    assert joined_address("10.0.0.1", 1) == "10.0.0.1:1"
    assert joined_address("::1", 1) == "[::1]:1"
