"""Tests of `obscale sandbox`: it serves what its ready line says, and ends well."""

import json
import re
import signal
import ssl
from pathlib import Path

import httpx
import pytest
import yaml
from obshell import ClientSet
from obshell.auth import PasswordAuth

CONFIG = """\
port: 0
clusters:
  - {name: prod-east, id: 7, root_password: east-root, zones: [{name: zone1}, {name: zone2}]}
spares: [{agent_password: spare-secret}, {}]
"""


def test_the_ready_line_names_all_that_the_official_sdk_needs(start_program, write):
    """One JSON line, exactly its promised keys; the SDK adds a spare; SIGINT ends it in peace."""
    config = write(CONFIG, "world.yaml")
    sandbox = start_program("sandbox", "--config", config, "--speed", "40", "--json")

    ready = json.loads(sandbox.stdout.readline())
    cluster, spare = ready["clusters"][0], ready["spares"][1]
    entry = cluster["agents"][0]
    client = ClientSet(entry["ip"], entry["port"], PasswordAuth(cluster["root_password"]))
    status = client.v1.get_status()
    dag = client.v1.scale_out_sync(
        spare["ip"],
        spare["port"],
        "zone2",
        {"mysql_port": "2881", "rpc_port": "2882", "memory_limit": "16G", "datafile_size": "24G"},
    )
    sandbox.send_signal(signal.SIGINT)
    rest, log = sandbox.communicate(timeout=60)

    assert ready.keys() == {"schema_version", "clusters", "spares", "control"}
    assert cluster.keys() == {"name", "id", "zones", "agents", "root_password"}
    assert all(agent.keys() == {"ip", "port", "zone"} for agent in cluster["agents"])
    assert all(each.keys() == {"ip", "port", "agent_password"} for each in ready["spares"])
    assert (cluster["name"], cluster["id"]) == ("prod-east", 7)
    assert cluster["zones"] == ["zone1", "zone2"]
    assert ready["spares"][0]["agent_password"] == "spare-secret"
    assert status.agent.ip == entry["ip"]
    assert dag.state == "SUCCEED"
    assert (sandbox.returncode, rest) == (0, "")
    assert "Traceback" not in log
    line = rf"^\d\d:\d\d:\d\d {entry['ip']}:{entry['port']} POST /api/v1/ob/scale_out 200"
    assert re.search(line, log, re.MULTILINE)
    assert "east-root" not in log


def test_sigterm_ends_it_in_peace_too(start_program, write):
    """A supervisor that stops the service gets exit 0."""
    sandbox = start_program("sandbox", "--config", write(CONFIG, "world.yaml"), "--json")
    json.loads(sandbox.stdout.readline())

    sandbox.send_signal(signal.SIGTERM)
    rest, log = sandbox.communicate(timeout=60)

    assert (sandbox.returncode, rest, log) == (0, "", "")


@pytest.mark.parametrize(
    ("more", "names"),
    [("", ["ca_file"]), ("enable_client_auth: true\n", ["ca_file", "client_cert", "client_key"])],
)
def test_a_world_of_https_names_the_files_to_trust_it_by(start_program, write, more, names):
    """In the JSON line as a request has them below tls, and in words; with them one gets in."""
    config = write(f"{CONFIG}tls: true\n{more}", "world.yaml")
    sandbox, in_words = (
        start_program("sandbox", "--config", config, *options) for options in (["--json"], [])
    )
    ready = json.loads(sandbox.stdout.readline())
    entry, tls = ready["clusters"][0]["agents"][0], ready["tls"]

    trust = ssl.create_default_context(cafile=tls["ca_file"])
    if "client_cert" in tls:
        trust.load_cert_chain(tls["client_cert"], tls["client_key"])
    with httpx.Client(verify=trust, trust_env=False) as client:
        answer = client.get(f"https://{entry['ip']}:{entry['port']}/api/v1/info")
    lines = iter(in_words.stdout.readline, "")
    told = next(line for line in lines if "HTTPS" in line)
    for each in (sandbox, in_words):
        each.send_signal(signal.SIGINT)
        each.communicate(timeout=60)

    assert answer.status_code == 200
    assert list(tls) == names
    assert list(yaml.safe_load(told.partition("by ")[2])["tls"]) == names
    assert not Path(tls["ca_file"]).exists()


def test_an_agent_whose_address_is_taken_says_where_it_went(start_program, write, quiet_world):
    """Two sandboxes beside each other: nobody drives the wrong one without a word of warning."""
    taken = quiet_world.ready["spares"][0]
    config = write(
        "port: 0\nclusters: [{zones: [{name: zone1}]}]\n"
        f"spares: [{{ip: {taken['ip']}, port: {taken['port']}}}]\n",
        "world.yaml",
    )

    sandbox = start_program("sandbox", "--config", config, "--json")
    ready = json.loads(sandbox.stdout.readline())
    sandbox.send_signal(signal.SIGTERM)
    log = sandbox.communicate(timeout=60)[1]

    moved = ready["spares"][0]
    assert moved["ip"] == "127.0.0.1"
    assert log == (
        f"obscale: {taken['ip']}:{taken['port']} is taken, perhaps by another sandbox; "
        f"its agent listens at 127.0.0.1:{moved['port']}\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clusters: [\n", "line 2"),
        ("clusters: 5\n", "line 1: clusters"),
        ("zones: []\n", "clusters"),
        ("clusters: [{zones: [{name: z}]}]\nspears: 3\n", "line 2: spears"),
        ("clusters: [{zones: [{name: z}]}]\nfaults: [{card: fail_stage}]\n", "needs 'stage'"),
        ("", "a mapping"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
    ids=["no yaml", "no list", "no clusters", "unknown field", "half a card", "empty", "binary"],
)
def test_a_broken_config_ends_in_one_line(obscale, write, text, said):
    """Exit 2; the line names the file and, where there is one, line and field."""
    config = write(text, "world.yaml")

    ended = obscale("sandbox", "--json", "--config", config)
    in_words = obscale("sandbox", "--config", config)

    assert (ended.code, in_words.code) == (2, 2)
    assert ended.error["kind"] == "spec"
    assert ended.err == in_words.out == ""
    assert len(in_words.lines) == 1
    assert in_words.err.startswith("obscale: ")
    assert "world.yaml" in in_words.err
    assert said in in_words.err


@pytest.mark.parametrize("speed", ["0", "-1", "1001", "fast"])
def test_a_speed_that_is_none_is_refused(obscale, speed):
    """Exit 2 and one line that names the option."""
    ended = obscale("sandbox", "--speed", speed)

    assert (ended.code, ended.out) == (2, "")
    assert len(ended.lines) == 1
    assert "--speed" in ended.err
