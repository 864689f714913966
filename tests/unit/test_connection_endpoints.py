"""Tests of entry agents: strangers are told apart, and missing ones named."""

import pytest

from obscale.agent.models import AgentInfo, ObInfo
from obscale.connect.endpoints import ProvedEndpoint, SilentEndpoint, require_one_cluster
from obscale.errors import AgentUnreachableError, DatabaseDownError, SpecError


def present(number, *, members=(1, 2, 3), name="obcluster", number_of=1, identity="CLUSTER AGENT"):
    """An agent 10.0.0.`number` that calls `members` its fellow members."""
    ip = f"10.0.0.{number}"
    info = AgentInfo.model_validate({"ip": ip, "port": 2886, "identity": identity})
    rows = [{"ip": f"10.0.0.{n}", "port": 2886, "identity": "CLUSTER AGENT"} for n in members]
    ob_info = ObInfo.model_validate(
        {"agent_info": rows, "obcluster_info": {"id": number_of, "name": name}}
    )
    return ProvedEndpoint(f"{ip}:2886", info, ob_info, "v2", "SHA256:x")


def test_agents_that_know_each_other_are_one_cluster():
    """Two members that list each other settle the cluster's name and id."""
    judged = require_one_cluster([present(1), present(2)], name="obcluster", cluster_id=1)

    assert judged.obcluster_info.name == "obcluster"


def test_agents_of_two_clusters_are_told_apart_by_name_and_id():
    """The refusal says which agent is of which cluster."""
    rows = [present(1), present(5, members=(5,), name="other", number_of=2)]

    with pytest.raises(SpecError, match=r"10\.0\.0\.1:2886 of obcluster/1, 10\.0\.0\.5:2886 of ot"):
        require_one_cluster(rows)


def test_clusters_of_equal_name_and_id_are_told_apart_by_their_members():
    """Two clusters left with the default name and id are still two."""
    with pytest.raises(
        SpecError, match=r"10\.0\.0\.5:2886 of another obcluster/1: they do not list"
    ):
        require_one_cluster([present(1), present(5, members=(5, 6))])


@pytest.mark.parametrize("expected", [{"name": "prod"}, {"cluster_id": 7}])
def test_another_cluster_than_expected_is_refused(expected):
    """An expected name or id that is not the cluster's refuses the connection."""
    with pytest.raises(SpecError, match="expected was"):
        require_one_cluster([present(1)], **expected)


def test_an_agent_of_no_cluster_is_named():
    """A spare among the entry agents is named with what it is."""
    with pytest.raises(SpecError, match=r"10\.0\.0\.4:2886 of none: it is SINGLE"):
        require_one_cluster([present(1), present(4, identity="SINGLE")])
    with pytest.raises(SpecError, match=r"no entry agent is a member .*: 10\.0\.0\.4:2886 is SIN"):
        require_one_cluster([present(4, identity="SINGLE")])


def test_a_spare_is_named_whichever_agent_stands_first():
    """The members are compared among themselves; the order of the endpoints does not matter."""
    with pytest.raises(SpecError, match=r"10\.0\.0\.1:2886 of obcluster/1, 10\.0\.0\.4:2886 of no"):
        require_one_cluster([present(4, identity="SINGLE"), present(1)])


def test_one_silent_agent_refuses_the_connection():
    """Two of three do not prove three."""
    silent = SilentEndpoint(
        "10.0.0.3:2886", AgentUnreachableError("no answer", "10.0.0.3:2886", "read")
    )

    with pytest.raises(AgentUnreachableError, match=r"10\.0\.0\.3"):
        require_one_cluster([present(1), present(2), silent])


def test_an_agent_whose_database_is_down_proves_nothing():
    """No name of the cluster is no match, even where none was expected."""
    with pytest.raises(DatabaseDownError, match="which cluster"):
        require_one_cluster([present(1), present(2, name="", number_of=0)])
