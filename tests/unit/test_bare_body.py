"""Tests of a file that holds the body of `POST /ob/scale_out` alone, and of --cluster beside it."""

import pytest

from obscale.cli.plan import Asked
from obscale.errors import SpecError
from obscale.spec import parse_spec

BODY = """{"agentInfo": {"ip": "10.0.0.4", "port": 2886}, "zone": "zone2",
 "obConfigs": {"mysql_port": "2881", "memory_limit": "16G"}, "targetAgentPassword": ""}"""


def test_the_body_of_the_apis_page_is_a_request_of_the_named_connection():
    """Its empty password is none."""
    spec = parse_spec(BODY, "body.json", "prod-east")

    (node,) = spec.nodes
    assert (spec.cluster, node.address, node.zone) == ("prod-east", "10.0.0.4:2886", "zone2")
    assert node.targetAgentPassword is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BODY.replace("{", '{"cluster": "prod-west", ', 1), "--cluster names 'prod-east'"),
        (BODY.replace('""}', '"secret"}'), "a secret never stands here itself"),
        ("- 1", "body.json"),
    ],
    ids=["two clusters", "a password", "no request"],
)
def test_what_cannot_be_taken_so_is_told_in_one_error(text, told):
    """And no password is repeated."""
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "body.json", "prod-east")

    assert told in str(caught.value)
    assert "secret'" not in str(caught.value)


def test_without_a_connection_the_cluster_is_missed():
    """As ever."""
    with pytest.raises(SpecError, match="cluster: missing"):
        parse_spec(BODY, "body.json")


def test_the_next_command_names_the_connection_too(tmp_path):
    """Quoted as a shell wants it."""
    assert str(Asked(tmp_path / "a b.json", "lab", "prod-east")).endswith(
        "a b.json' --cluster prod-east"
    )
