"""Tests of bad requests: exit 2, one clear line a fault, and nothing sent."""

import json
import os
import re

import pytest

from obscale.sandbox import Door

SECRET = "canary-written-out-91d0"
BOTH = pytest.mark.parametrize("command", [("plan",), ("apply", "--yes")], ids=["plan", "apply"])


def yaml_of(door: Door, configs: str = "memory_limit: 16G", zone: str = "zone2") -> str:
    """A request with one fact a line, so that tests can change one of them."""
    cluster, spare = door.ready["clusters"][0], door.ready["spares"][0]
    entry = f"{cluster['agents'][0]['ip']}:{cluster['agents'][0]['port']}"
    return (
        "cluster:\n"
        f'  endpoints: ["{entry}"]\n'
        "  password: {env: OBSCALE_TEST_ROOT}\n"
        "nodes:\n"
        "  - agentInfo:\n"
        f"      ip: {spare['ip']}\n"
        f"      port: {spare['port']}\n"
        f"    zone: {zone}\n"
        "    targetAgentPassword: {env: OBSCALE_TEST_AGENT}\n"
        f"    obConfigs: {{{configs}}}\n"
    )


CONFIGS = {
    # start options: (the field named, what is wrong, what to write)
    "memory_limit: 16": ("memory_limit", "is a number", "'16G'"),
    "memory_limit: -1": ("memory_limit", "is a number", "'1M' or '1G'?"),
    "mysql_port: 2881": ("mysql_port", "is a number", "quote it: '2881'"),
    "enable_rebalance: true": ("enable_rebalance", "is a truth value", "quote it: 'true'"),
    "memory_limit: null": ("memory_limit", "is empty", "leave it out"),
    "memory_limit: {a: b}": ("memory_limit", "must be text", "not a mapping"),
    "memory_limit: 1.5T": ("memory_limit", "decimals are not allowed", "write '1536G'"),
    "memory_limit: 16GiB": ("memory_limit", "'16GiB' is not a size", "write '16G'"),
    "memory_limit: 010G": ("memory_limit", "octal", "write '10G'"),
    "memory_limit: -1G": ("memory_limit", "it is negative", "write '1G'"),
    "memory_limit: 16 G": ("memory_limit", "'16 G' is not a size", "write '16G'"),
    "memory_limit: ''": ("memory_limit", "it is empty", "write e.g. '16G'"),
    "leak_mod_to_check: 'A,memory_limit=80G'": (
        "leak_mod_to_check",
        "holds a comma",
        "write it without",
    ),
    'leak_mod_to_check: "A\\nx"': ("leak_mod_to_check", "holds a line break", "write it without"),
    "zone: zone3": ("zone", "obshell overwrites it", "remove it"),
    "rootservice_list: x": ("rootservice_list", "membership is not set here", "remove it"),
    f"rootPwd: {SECRET}": ("rootPwd", "looks like a password", "remove it"),
    "local_ip: 10.9.9.9": ("local_ip", "differs from the agent's IP", "remove it"),
    "'a b': x": ("obConfigs", "other characters", "correct the key"),
    "mysql_port: '70000'": ("mysql_port", "out of range", "1025 to 65535"),
    "mysql_port: '22'": ("mysql_port", "out of range", "1025 to 65535"),
    "mysql_port: abc": ("mysql_port", "is not a port", "write digits"),
    "mysql_port: '02881'": ("mysql_port", "is not a port", "write digits"),
    "mysql_port: '2882', rpc_port: '2882'": ("mysql_port", "both use port 2882", "another port"),
}
CHANGES = {
    # one line of the request replaced: (pattern, replacement, field, what is wrong, what to write)
    "unknown field": (r"\Z", "zones: 3\n", "zones", "unknown field", "did you mean 'nodes'?"),
    "unknown field of a node": (
        r"    zone:",
        "    zoen: zone1\n    zone:",
        "nodes[0].zoen",
        "unknown field",
        "did you mean 'zone'?",
    ),
    "no zone": (r"    zone: .*\n", "", "nodes[0].zone", "missing", "e.g. zone2"),
    "no ip": (r"      ip: .*\n", "", "nodes[0].agentInfo.ip", "missing", "e.g. 10.0.0.4"),
    "no cluster": (r"(?s)\A.*(?=nodes:)", "", "cluster", "missing", "name a stored connection"),
    "no nodes": (r"(?s)nodes:.*", "", "nodes", "missing", "list the nodes"),
    "a host name": (r"ip: .*", "ip: db4.example", "agentInfo.ip", "not an IP", "10.0.0.4"),
    "a host name to ask": (r"endpoints: .*", "endpoints: [db1:2886]", "endpoints", "'db1'", "10."),
    "a port too high": (r"port: .*", "port: 70000", "agentInfo.port", "out of range", "65535"),
    "port zero": (r"port: .*", "port: 0", "agentInfo.port", "out of range", "1025"),
    "a port in words": (r"port: .*", "port: abc", "agentInfo.port", "whole number", "2886"),
    "a port as truth": (r"port: .*", "port: yes", "agentInfo.port", "whole number", "2886"),
    "a zone with quotes": (r"zone: .*", 'zone: "zo\'ne"', "nodes[0].zone", "quotes", "without"),
    "a zone in blanks": (r"zone: .*", "zone: ' zone2'", "nodes[0].zone", "blanks", "without"),
    "a zone as number": (r"zone: .*", "zone: 2", "nodes[0].zone", "must be text", "quote it: '2'"),
    "a written password": (
        r"password: .*",
        f"password: {SECRET}",
        "cluster.password",
        "never stands here",
        "{env: NAME}",
    ),
    "a written agent password": (
        r"targetAgentPassword: .*",
        f"targetAgentPassword: {SECRET}",
        "targetAgentPassword",
        "never stands here",
        "{env: NAME}",
    ),
    "a password in a URL": (
        r"endpoints: .*",
        f'endpoints: ["http://root:{SECRET}@127.0.0.1:2886"]',
        "endpoints",
        "no user or password",
        "write it as",
    ),
    "a password instead of a name": (
        r"password: .*",
        f"password: {{env: '{SECRET}'}}",
        "cluster.password",
        "not the name of an environment variable",
        "{env: OB_ROOT}",
    ),
    "an unknown profile": (r"\Z", "profile: dev\n", "profile", "'dev'", "write prod or lab"),
    "a key twice": (r"\Z", "nodes: []\n", ":11", "stands twice, first in line 4", "remove one"),
    "no YAML": (r"\Z", "  - x: [\n", ":12:1", "is not YAML", "expected"),
    "a tab": (r"nodes:\n", "nodes:\n\t- x\n", ":5:1", "is not YAML", "cannot start any token"),
}


def one_line(ended, *parts: str) -> None:
    """The command refused in one line that says all parts."""
    assert ended.code == 2, ended.err
    assert ended.out == ""
    assert len(ended.lines) == 1, ended.err
    assert ended.lines[0].startswith("obscale: ")
    assert SECRET not in ended.err
    for part in parts:
        assert part in ended.err


@BOTH
@pytest.mark.parametrize("configs", CONFIGS)
def test_a_wrong_start_option_is_named_with_its_cure(obscale, write, quiet_world, command, configs):
    """Field, fault and remedy stand in one line, and no agent is asked."""
    seen = len(quiet_world.world.requests)
    request = write(yaml_of(quiet_world.door, configs))

    ended = obscale(*command, request)

    one_line(ended, "request.yaml:10: nodes[0].obConfigs", *CONFIGS[configs])
    assert len(quiet_world.world.requests) == seen


@BOTH
@pytest.mark.parametrize("change", CHANGES)
def test_a_wrong_line_is_named_with_its_cure(obscale, write, quiet_world, command, change):
    """Field, fault and remedy stand in one line, and no agent is asked."""
    pattern, replacement, *parts = CHANGES[change]
    seen = len(quiet_world.world.requests)
    text = re.sub(pattern, lambda _: replacement, yaml_of(quiet_world.door), count=1)

    ended = obscale(*command, write(text))

    one_line(ended, "request.yaml", *parts)
    assert len(quiet_world.world.requests) == seen


@BOTH
def test_every_fault_has_a_line_of_its_own(obscale, write, quiet_world, command):
    """Three faults are three lines."""
    text = yaml_of(quiet_world.door, "memory_limit: 1.5T, mysql_port: abc", zone='"zo\'ne"')

    ended = obscale(*command, write(text))

    assert ended.code == 2
    assert len(ended.lines) == 3
    assert all(line.startswith("obscale: ") for line in ended.lines)
    assert "(and 2 more problems)" in ended.lines[0]


@BOTH
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"# nothing\n", "is empty"),
        (b"\x7fELF\x02\xff\xfe\x80", "is no text in UTF-8"),
        (b"- a\n- b\n", "must be a mapping with cluster and nodes, not a list"),
        (b"x" * (300 << 10), "is larger than 256 KiB"),
    ],
    ids=["empty", "comment", "binary", "list", "large"],
)
def test_a_file_that_is_no_request_is_refused(obscale, write, command, content, said):
    """What is not even a request is told so."""
    ended = obscale(*command, write(content))

    one_line(ended, "request.yaml", said)


@BOTH
def test_a_file_that_cannot_be_read_is_named(obscale, tmp_path, write, command):
    """A missing file, a directory and a forbidden file each give their reason."""
    forbidden = write("x: 1\n", "forbidden.yaml")
    forbidden.chmod(0)

    missing = obscale(*command, tmp_path / "nowhere.yaml")
    folder = obscale(*command, tmp_path)
    closed = obscale(*command, forbidden)

    one_line(missing, "nowhere.yaml", "No such file or directory")
    one_line(folder, str(tmp_path), "Is a directory")
    if os.geteuid():
        one_line(closed, "forbidden.yaml", "Permission denied")


@BOTH
@pytest.mark.parametrize("field", ["password", "targetAgentPassword"])
def test_a_secret_that_is_not_there_is_named(obscale, write, quiet_world, command, field):
    """An unset variable is named with the command that sets it, before anything is started."""
    seen = len(quiet_world.world.requests)
    text = re.sub(rf"{field}: .*", f"{field}: {{env: NOT_SET_AT_ALL}}", yaml_of(quiet_world.door))

    ended = obscale(*command, write(text))

    one_line(ended, field, "NOT_SET_AT_ALL is not set", "export NOT_SET_AT_ALL=")
    assert len(quiet_world.world.requests) == seen


@pytest.mark.parametrize("command", ["plan", "apply --yes"])
def test_a_block_that_is_not_there_is_named(run_here, server_url, write, quiet_world, command):
    """A Prefect secret block nobody made is named with the command that makes one."""
    seen = len(quiet_world.world.requests)
    text = re.sub(r" password: .*", " password: {block: nobody-made-it}", yaml_of(quiet_world.door))

    ended = run_here(*command.split(), write(text), PREFECT_API_URL=server_url)

    one_line(ended, "cluster.password", "'nobody-made-it'", "prefect block create secret")
    assert len(quiet_world.world.requests) == seen


@BOTH
def test_an_unknown_profile_option_is_named(obscale, write, quiet_world, command):
    """A slip in --profile is told with the two words there are."""
    ended = obscale(*command, write(yaml_of(quiet_world.door)), "--profile", "dev")

    one_line(ended, "--profile", "'dev'", "write prod or lab")


@BOTH
def test_with_json_a_refusal_is_one_object_and_nothing_else(obscale, write, quiet_world, command):
    """A script finds kind, message, every problem and the exit code."""
    text = yaml_of(quiet_world.door, "memory_limit: 1.5T, mysql_port: abc")

    ended = obscale(*command, "--json", write(text))

    assert ended.code == 2
    assert ended.lines == []
    assert json.loads(ended.out).keys() == {"schema_version", "error"}
    assert ended.error["kind"] == "spec"
    assert ended.error["exit_code"] == 2
    assert len(ended.error["problems"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", "x.yaml", "--bogus"], "obscale: No such option: --bogus"),
        (["grow"], "obscale: No such command 'grow'"),
        (["apply"], "obscale: Missing argument 'SPEC'"),
        (["sandbox", "--speed", "0"], "obscale: Invalid value for '--speed'"),
    ],
    ids=["option", "command", "argument", "value"],
)
def test_a_slip_on_the_command_line_is_one_line_with_the_way_to_help(obscale, words, said):
    """A wrong word ends as a wrong request does: exit 2, one line, the next command."""
    ended = obscale(*words)

    one_line(ended, said, "--help")


def test_without_any_word_the_commands_are_listed(obscale):
    """Help and a code that no script takes for success."""
    ended = obscale()

    assert ended.code == 2
    assert all(name in ended.out for name in ("demo", "sandbox", "plan", "apply"))
    assert "..." not in ended.out.replace("[ARGS]...", "")


def test_a_real_process_ends_as_this_one_does(run_program, write, quiet_world):
    """The installed program gives the same line and code, and no traceback."""
    request = write(yaml_of(quiet_world.door, "memory_limit: 1.5T"))

    ended = run_program("plan", request)

    one_line(ended, "obConfigs.memory_limit", "write '1536G'")


def test_a_bug_ends_in_one_line_that_says_how_to_see_more(obscale, write, quiet_world, monkeypatch):
    """What nobody foresaw is named by its class; its words may hold anything and stay untold."""

    def stumble(*_: object, **__: object) -> None:
        raise LookupError(SECRET)

    monkeypatch.setattr("obscale.cli.plan.plan_now", stumble)
    request = write(yaml_of(quiet_world.door))

    ended = obscale("plan", request)
    monkeypatch.setenv("OBSCALE_TRACEBACK", "1")
    with pytest.raises(LookupError):
        obscale("plan", request)

    assert ended.code == 1
    assert ended.lines == [
        "obscale: ended by an unforeseen LookupError. Next: OBSCALE_TRACEBACK=1 shows the traceback"
    ]
