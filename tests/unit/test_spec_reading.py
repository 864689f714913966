"""Tests of request files: each fault is named with place and cure."""

import contextlib
import pickle
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from obscale.errors import SpecError
from obscale.spec import (
    AgentInfoSpec,
    ClusterSpec,
    NodeSpec,
    OverrideSpec,
    ScaleOutSpec,
    SecretName,
    checked,
    parse_spec,
    read_spec,
    request_body,
)
from obscale.spec.batch import parse_batch

CANARY = "hunter2-canary"
LONG = """\
cluster: prod-east
defaults: {obConfigs: {memory_limit: 16G, system_memory: 8G}}
nodes:
  - agentInfo: {ip: 10.0.0.4, port: 2886}
    zone: zone2
    obConfigs: {mysql_port: "2881", memory_limit: 20G}
"""
SHORT = """\
cluster: {endpoints: ["10.0.0.1:2886"], password: {env: OB_ROOT}, name: obcluster, id: 1}
agentInfo: {ip: 10.0.0.4, port: 2886}
zone: zone2
obConfigs: {memory_limit: 16G}
"""


def problems(text: str, name: str = "node.yaml") -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, name)
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value)
    assert all("\n" not in problem and CANARY not in problem for problem in caught.value.problems)
    return caught.value.problems


def test_defaults_are_merged_below_each_node():
    """A node's own value wins over the default."""
    spec = parse_spec(LONG, "node.yaml")

    assert spec.nodes[0].obConfigs == {
        "memory_limit": "20G",
        "system_memory": "8G",
        "mysql_port": "2881",
    }
    assert spec.cluster == "prod-east"
    assert spec.profile == "prod"
    assert spec.allow_new_zone is False


def test_one_node_may_stand_at_top_level():
    """The documented sample request is a valid request."""
    spec = parse_spec(SHORT, "node.yaml")

    assert [node.address for node in spec.nodes] == ["10.0.0.4:2886"]
    assert isinstance(spec.cluster, ClusterSpec)
    assert spec.cluster.password == SecretName(env="OB_ROOT")


def test_defaults_may_give_zone_and_password_too():
    """What all nodes share is written once."""
    text = (
        "cluster: c\ndefaults: {zone: z1, targetAgentPassword: {block: spare}}\n"
        "nodes: [{agentInfo: {ip: 10.0.0.4}}, {agentInfo: {ip: 10.0.0.5}, zone: z2}]\n"
    )

    first, second = parse_spec(text, "node.yaml").nodes

    assert (first.zone, second.zone) == ("z1", "z2")
    assert first.targetAgentPassword == SecretName(block="spare")
    assert first.agentInfo.port == 2886


def test_json_is_read_as_json(tmp_path):
    """Tabs included, and under any name."""
    text = '{\n\t"cluster": "c",\n\t"agentInfo": {"ip": "10.0.0.4"},\n\t"zone": "zone2"\n}'
    path = tmp_path / "node.json"
    path.write_text(text, encoding="utf-8")

    assert read_spec(path) == parse_spec(text, "node.yaml")


def test_a_request_survives_being_written_and_read_again():
    """Prefect stores requests as JSON."""
    spec = parse_spec(LONG, "node.yaml")

    assert ScaleOutSpec.model_validate_json(spec.model_dump_json()) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_an_address_has_one_spelling():
    """Equal IPv6 addresses compare equal."""
    assert AgentInfoSpec(ip="FD00:0::1").ip == "fd00::1"


BAD = {
    "a number": (
        LONG.replace('"2881"', "2881"),
        ("node.yaml:6: nodes[0].obConfigs.mysql_port: is a number, not text; quote it: '2881' "
        "[cfg-values-are-strings]"),
    ),
    "a number in the defaults": (
        LONG.replace("8G", "8"),
        ("node.yaml:2: defaults.obConfigs.system_memory: is a number, not text; quote it with its "
        "unit: '8M' or '8G'? [cfg-values-are-strings]"),
    ),
    "a truth value": (
        LONG.replace('"2881"', "yes"),
        ("node.yaml:6: nodes[0].obConfigs.mysql_port: is a truth value, not text; quote it: 'yes' "
        "[cfg-values-are-strings]"),
    ),
    "nothing": (
        LONG.replace('"2881"', ""),
        ("node.yaml:6: nodes[0].obConfigs.mysql_port: is empty; write its value in quotes, or "
        "leave it out [cfg-values-are-strings]"),
    ),
    "no obConfigs": (
        SHORT.replace("{memory_limit: 16G}", ""),
        "node.yaml:4: obConfigs: is empty; write {} or leave it out [cfg-values-are-strings]",
    ),
    "decimals": (
        LONG.replace("20G", "1.5T"),
        ("node.yaml:6: nodes[0].obConfigs.memory_limit: '1.5T' is not a size; decimals are not "
        "allowed; write '1536G' [cfg-capacity-syntax]"),
    ),
    "a unit of others": (
        SHORT.replace("16G", "16GiB"),
        ("node.yaml:4: obConfigs.memory_limit: '16GiB' is not a size; write '16G' "
        "[cfg-capacity-syntax]"),
    ),
    "a misspelt field": (
        LONG.replace("cluster:", "clustre:"),
        "node.yaml:1: clustre: unknown field; did you mean 'cluster'?",
    ),
    "a missing field": (
        LONG.replace("    zone: zone2\n", ""),
        "node.yaml:4: nodes[0].zone: missing; name the zone, e.g. zone2",
    ),
    "a host name": (
        SHORT.replace("10.0.0.4", "db4.example.com"),
        ("node.yaml:2: agentInfo.ip: 'db4.example.com' is not an IP address; write the host's IP, "
        "e.g. 10.0.0.4 [ip-literal]"),
    ),
    "a host name as endpoint": (
        SHORT.replace("10.0.0.1:2886", "db1"),
        ("node.yaml:1: cluster.endpoints: 'db1': 'db1' is not an IP address; obshell knows agents "
        "by IP, not by name; write it as 10.0.0.1:2886, [fd00::1]:2886 or https://10.0.0.1:2886"),
    ),
    "a port that is none": (
        SHORT.replace("port: 2886", "port: abc"),
        ("node.yaml:2: agentInfo.port: must be a whole number, not the text 'abc'; "
        "write the port of that agent, e.g. 2886"),
    ),
    "a low port": (
        SHORT.replace("port: 2886", "port: 80"),
        ("node.yaml:2: agentInfo.port: port 80 is out of range; pick one from 1025 to 65535 "
        "[cfg-port-range]"),
    ),
    "ports that clash with a default": (
        LONG.replace("2881", "2882"),
        ("node.yaml:6: nodes[0].obConfigs.mysql_port: mysql_port and rpc_port both use port 2882; "
        "pick another port for one of them [cfg-port-distinct]"),
    ),
    "a comma": (
        LONG.replace('"2881"', '"2881", leak_mod_to_check: "A,B"'),
        ("node.yaml:6: nodes[0].obConfigs.leak_mod_to_check: its value holds a comma; the observer "
        "would cut the value there; write it without [cfg-value-delimiters]"),
    ),
    "a quote in a zone": (
        SHORT.replace("zone: zone2", 'zone: "zo\'ne"'),
        ("node.yaml:3: zone: \"zo'ne\" has quotes, control characters or blanks at its ends; write "
        "it without [zone-name-syntax]"),
    ),
    "no mapping": (
        "- a\n- b\n",
        "node.yaml:1: must be a mapping with cluster and nodes, not a list",
    ),
    "an empty file": (
        "# nothing\n",
        "node.yaml: is empty; see the examples for what a request looks like",
    ),
    "a duplicate key": (
        LONG + "cluster: other\n",
        "node.yaml:7: key 'cluster' stands twice, first in line 1; remove one",
    ),
    "broken YAML": (
        "cluster: [a\nnodes: }\n",
        "node.yaml:2:6: is not YAML: expected ',' or ']', but got ':'",
    ),
    "a tag": (
        LONG.replace("prod-east", "!!python/object:os.system x"),
        "node.yaml:1: YAML tags (!…) have no use in a request; quote texts instead",
    ),
    "two documents": (
        "cluster: a\n---\ncluster: b\n",
        "node.yaml:2: a second document begins; write one request a file",
    ),
    "a key that is no word": (
        "? [a]\n: b\n",
        "node.yaml:1: a key must be a plain word",
    ),
    "a merge": (
        "a: &a {x: 1}\n<<: *a\n",
        "node.yaml:2: merging (<<) has no use here; write shared values below defaults",
    ),
    "a deep nest": ("[" * 5000, "node.yaml:1: is nested too deeply for a request"),
    "a list that holds itself": (
        "a: &a [*a]\n",
        "node.yaml: its aliases (*…) unfold to far too many values",
    ),
    "a control character": (
        "cluster: a\x07\n",
        "node.yaml:1: holds a character that has no place in a text",
    ),
    "node and nodes": (
        LONG + "zone: zone1\n",
        ("node.yaml:1: zone at top level beside nodes; write either one node at top level or all "
        "of them below nodes"),
    ),
    "another profile": (
        LONG + "profile: test\n",
        "node.yaml:7: profile: is no known word: the text 'test'; write prod or lab",
    ),
    "a flag in words": (
        LONG + "allow_new_zone: maybe\n",
        "node.yaml:7: allow_new_zone: must be true or false, not the text 'maybe'",
    ),
    "schemes mixed": (
        SHORT.replace('["10.0.0.1:2886"]', '["10.0.0.1", "https://10.0.0.2"]'),
        ("node.yaml:1: cluster.endpoints: agents of one cluster speak one scheme; write http or "
        "https for all"),
    ),
    "an endpoint twice": (
        SHORT.replace('["10.0.0.1:2886"]', '["10.0.0.1", "10.0.0.1:2886"]'),
        "node.yaml:1: cluster.endpoints: 10.0.0.1:2886 is listed twice; remove one",
    ),
    "half a key pair": (
        SHORT.replace("id: 1", "id: 1, tls: {client_cert: a.pem}"),
        "node.yaml:1: cluster.tls: client_cert and client_key go together; write both or none",
    ),
    "no endpoint": (
        SHORT.replace('["10.0.0.1:2886"]', "[]"),
        ("node.yaml:1: cluster.endpoints: is empty; list at least one cluster agent, e.g. "
        "['10.0.0.1:2886']"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), BAD.values(), ids=BAD)
def test_a_fault_is_one_line_with_its_place_and_its_cure(text, problem):
    """The line stands among the problems, word for word."""
    found = problems(text)

    assert problem in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            SHORT + f"targetAgentPassword: {CANARY}\n",
            ("node.yaml:5: targetAgentPassword: a secret never stands here itself; "
            "write {env: NAME} or {block: NAME}"),
        ),
        (
            SHORT.replace("{env: OB_ROOT}", CANARY),
            ("node.yaml:1: cluster.password: a secret never stands here itself; "
            "write {env: NAME} or {block: NAME}"),
        ),
        (
            SHORT.replace("env: OB_ROOT", f"value: {CANARY}"),
            ("node.yaml:1: cluster.password.value: unknown field; "
            "write {env: NAME} or {block: NAME}"),
        ),
        (
            SHORT.replace("OB_ROOT", f"'{CANARY} !'"),
            ("node.yaml:1: cluster.password: env is not the name of an environment variable; "
            "e.g. {env: OB_ROOT}"),
        ),
        (
            SHORT.replace("{env: OB_ROOT}", f"[{CANARY}]"),
            "node.yaml:1: cluster.password: names no secret; write {env: NAME} or {block: NAME}",
        ),
        (
            SHORT + f"root_password: {CANARY}\n",
            "node.yaml:5: root_password: unknown field; write {env: NAME} or {block: NAME}",
        ),
        (
            SHORT.replace("{memory_limit: 16G}", f"{{rootPwd: {CANARY}}}"),
            "node.yaml:4: obConfigs.rootPwd: looks like a password; remove it [cfg-key-reserved]",
        ),
        (
            SHORT.replace("{memory_limit: 16G}", f"{{rootPwd: [{CANARY}]}}"),
            ("node.yaml:4: obConfigs.rootPwd: a secret has no place among start options; remove it "
            "[cfg-values-are-strings]"),
        ),
        (
            SHORT.replace("10.0.0.1:2886", f"http://root:{CANARY}@10.0.0.1:2886"),
            ("node.yaml:1: cluster.endpoints: An agent address has no user or password in it; "
            "write it as 10.0.0.1:2886, [fd00::1]:2886 or https://10.0.0.1:2886"),
        ),
        (
            SHORT.replace("{env: OB_ROOT}", f"*{CANARY}"),
            "node.yaml:1:51: is not YAML: found undefined alias …",
        ),
    ],
    ids=[
        "agent password", "root password", "under value", "as env", "in a list", "at top level",
        "in obConfigs", "listed in obConfigs", "in an address", "behind a star",
    ],
)  # fmt: skip
def test_a_password_written_out_is_refused_and_never_repeated(text, problem):
    """The reader learns where and what instead; the secret stays where it was written."""
    assert problem in problems(text)


def test_both_or_neither_place_of_a_secret_is_refused():
    """Exactly one name, and pydantic's own text does not show the input either."""
    for fields in ({}, {"env": "A", "block": "b"}, {"env": CANARY + "!"}):
        with pytest.raises(ValidationError) as caught:
            SecretName(**fields)
        assert CANARY not in str(caught.value)


def test_a_bomb_of_aliases_is_refused_before_it_unfolds():
    """Ten to the power of seven values from seven lines."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 7)]

    assert problems("\n".join(lines)) == (
        "node.yaml: its aliases (*…) unfold to far too many values",
    )


def test_all_faults_are_told_at_once_and_the_first_leads():
    """An operator corrects a file once, not once a fault."""
    text = LONG.replace('"2881"', "2881").replace("zone: zone2", "zone: 7")

    with pytest.raises(SpecError) as caught:
        parse_spec(text, "node.yaml")

    assert len(caught.value.problems) == 2
    assert str(caught.value) == f"{caught.value.problems[0]} (and 1 more problem)"


def test_faults_beyond_twenty_are_counted():
    """A file of the wrong kind does not fill the screen."""
    keys = ", ".join(f"k{n}: {n}" for n in range(40))

    found = problems(SHORT.replace("{memory_limit: 16G}", f"{{{keys}}}"))

    assert len(found) == 21
    assert found[-1] == "… and 20 more"


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        ("{ip: 10.0.0.4, port: 2886}", "agentInfo: 10.0.0.4:2886 is asked for twice"),
        (
            "{ip: 10.0.0.4, port: 3886}",
            "obConfigs.rpc_port: port 2882 on 10.0.0.4 is also rpc_port",
        ),
    ],
    ids=["the same agent", "the same ports"],
)
def test_nodes_that_would_meet_on_one_host_are_refused(second, problem):
    """Nobody else looks at two nodes at once."""
    text = LONG + f"  - {{agentInfo: {second}, zone: zone1}}\n"

    assert any(problem in found for found in problems(text))


def test_nodes_on_one_host_with_their_own_ports_and_directories_pass():
    """A lab with several observers on one machine is a request like others."""
    text = LONG + (
        "  - {agentInfo: {ip: 10.0.0.4, port: 3886}, zone: zone2, "
        'obConfigs: {mysql_port: "3881", rpc_port: "3882", data_dir: /data/two}}\n'
    )

    assert len(parse_spec(text, "node.yaml").nodes) == 2


def test_files_that_cannot_be_read_are_one_line(tmp_path):
    """Missing, a directory, binary, too large: each says so."""
    binary, large = tmp_path / "b.yaml", tmp_path / "l.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    large.write_bytes(b"#" * (1 << 20))
    told = {
        tmp_path / "missing.yaml": "cannot be read: No such file or directory",
        tmp_path: "cannot be read: Is a directory",
        binary: "is no text in UTF-8 (byte 0); save it as UTF-8",
        large: "is larger than 256 KiB; is it a request?",
    }

    for path, text in told.items():
        with pytest.raises(SpecError) as caught:
            read_spec(path)
        assert caught.value.problems == (f"{path}: {text}",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"cluster": }', "node.json:1:13: is not JSON: Expecting value"),
        ('{"a": 1, "a": 2}', "node.json: key 'a' stands twice in one mapping; remove one"),
        ('{"a": ' * 100_000, "node.json: is nested too deeply for a request"),
        ('{"a": ' + "9" * 5000 + "}", "node.json: holds a number that is too long; quote it"),
    ],
    ids=["broken", "duplicate", "deep", "long number"],
)
def test_faults_of_json_are_one_line(text, problem):
    """With line and column where the parser knows them."""
    assert problems(text, "node.json") == (problem,)


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text):
    """A request, or a SpecError; nothing else, whatever is fed."""
    with contextlib.suppress(SpecError):
        assert parse_spec(text, "any.yaml").nodes


@given(st.binary(max_size=100))
def test_no_bytes_break_the_reader(tmp_path_factory, content):
    """Binary garbage is named as such."""
    path = tmp_path_factory.mktemp("bytes") / "any.yaml"
    path.write_bytes(content)

    with pytest.raises(SpecError):
        read_spec(path)


def test_a_node_from_elsewhere_is_checked_by_the_same_rules():
    """A form or an API call meets the same words as a file."""
    bad = NodeSpec(
        agentInfo=AgentInfoSpec(ip="db4"), zone="zone2", obConfigs={"memory_limit": "16"}
    )
    good = NodeSpec(agentInfo=AgentInfoSpec(ip="10.0.0.4"), zone="zone2")

    with pytest.raises(SpecError) as caught:
        checked(bad)

    assert caught.value.problems == (
        (
            "obConfigs.memory_limit: '16' is not a size; the unit is missing; '16M' or '16G'? "
            "[cfg-capacity-syntax]"
        ),
        "agentInfo.ip: 'db4' is not an IP address; write the host's IP, e.g. 10.0.0.4 [ip-literal]",
    )
    assert checked(good) is good
    assert checked(good, batch=(good,)) is good


def test_faults_of_a_node_and_of_its_overrides_are_told_together():
    """Whoever mends a form mends it once."""
    node = NodeSpec(agentInfo=AgentInfoSpec(ip="db4"), zone="zone2")
    past = OverrideSpec(rule="clock-skew", reason="known", until=date(2020, 1, 1))

    with pytest.raises(SpecError) as caught:
        checked(node, overrides=[past])

    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        *("agentInfo.ip", "overrides[0]"),
    ]


def test_a_node_that_can_be_read_is_judged_beside_one_that_cannot():
    """A missing zone in one line does not hide a size without a unit in another."""
    text = """\
cluster: prod
defaults: {obConfigs: {memory_limit: 16G}}
nodes:
  - {agentInfo: {ip: 10.0.0.4}}
  - {agentInfo: {ip: 10.0.0.5}, zone: zone2, obConfigs: {memory_limit: '16'}}
  - {agentInfo: {ip: db6}, zone: zone2}
"""

    with pytest.raises(SpecError) as one_cluster:
        parse_spec(text, "nodes.yaml")
    with pytest.raises(SpecError) as batch:
        parse_batch(text, "nodes.yaml", Path())

    for error in (one_cluster.value, batch.value):
        told = {problem.split(": ")[0]: problem for problem in error.problems}
        assert sorted(told) == ["nodes.yaml:4", "nodes.yaml:5", "nodes.yaml:6"]
        assert "zone: missing" in told["nodes.yaml:4"]
        assert "'16M' or '16G'?" in told["nodes.yaml:5"]
        assert "'db6' is not an IP address" in told["nodes.yaml:6"]


def test_the_body_is_what_was_asked_byte_for_byte():
    """Nothing is rewritten on its way; the password is there only where one was given."""
    node = NodeSpec(
        agentInfo=AgentInfoSpec(ip="10.0.0.4"), zone="zone2", obConfigs={"memory_limit": "16g"}
    )

    plain = request_body(node, None).model_dump(by_alias=True, exclude_none=True)
    sealed = request_body(node, CANARY)

    assert plain == {
        "agentInfo": {"ip": "10.0.0.4", "port": 2886},
        "zone": "zone2",
        "obConfigs": {"memory_limit": "16g"},
    }
    assert sealed.target_agent_password == CANARY
    assert CANARY not in repr(sealed)


def test_a_fault_of_the_defaults_is_named_there_also_for_one_node_at_top_level():
    """The place is where the value stands, not where it was merged to."""
    text = SHORT + "defaults: {obConfigs: {system_memory: 1.5G}}\n"

    assert problems(text) == (
        (
            "node.yaml:5: defaults.obConfigs.system_memory: '1.5G' is not a size; decimals are not "
            "allowed; write '1536M' [cfg-capacity-syntax]"
        ),
    )


def test_the_unit_that_does_not_belong_is_taken_away():
    """The one key that counts bytes wants the bare number."""
    text = SHORT.replace("memory_limit: 16G", '__min_full_resource_pool_memory: "2G"')

    (problem,) = problems(text)
    assert problem.startswith("node.yaml:4: obConfigs.__min_full_resource_pool_memory: '2G' is not")
    assert problem.endswith("a number of bytes without a unit: '2147483648' [cfg-int-range]")
