"""Tests of a world's description: true to it, or refused in one clear line."""

from pathlib import Path

import pytest

from obscale.sandbox import (
    ConfigError,
    ManualClock,
    ScaledClock,
    World,
    default_config,
    load_config,
)

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("sandbox-*.yaml"))
CLUSTERS = "clusters:\n  - zones:\n      - name: zone1\n"


@pytest.fixture
def refused(tmp_path):
    """The message a description is refused with, without the path."""

    def read(text):
        path = tmp_path / "world.yaml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            World(load_config(path))
        message = str(caught.value)
        assert "\n" not in message
        return message.removeprefix(f"{path}: ")

    return read


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_a_world(path):
    """What lies in examples/ can be served as it is."""
    world = World(load_config(path))

    assert world.clusters
    assert world.spares


def test_the_default_example_says_what_the_default_is():
    """The commented file and the built-in description are one and the same."""
    example = next(path for path in EXAMPLES if path.stem == "sandbox-default")

    assert load_config(example) == default_config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: a world is a mapping with at least 'clusters'"),
        ("- 1", "line 1: a world is a mapping with at least 'clusters'"),
        ("a: [1", "line 1: expected ',' or ']', but got '<stream end>'"),
        ("spares: 2\n", "line 1: clusters: Field required"),
        (CLUSTERS + "colour: red\n", "line 4: colour: Extra inputs are not permitted"),
        (
            CLUSTERS + "        agents:\n          - ip: 10.0.0.999\n",
            (
                "line 5: clusters.0.zones.0.agents.0.ip: "
                "'10.0.0.999' does not appear to be an IPv4 or IPv6 address"
            ),
        ),
        (
            CLUSTERS + "      - name: zone1\n",
            "line 2: clusters.0: zone 'zone1' is described twice",
        ),
        (
            CLUSTERS + "        agents: 0\n",
            "line 2: clusters.0: cluster 'obcluster' has no agent",
        ),
        (
            CLUSTERS + "    tenants:\n      - {name: a, unit: {name: u}, zones: [z]}\n",
            "line 2: clusters.0: tenant 'a' names the unknown zone 'z'",
        ),
        (
            CLUSTERS + "host: {memory_total: 16GiB}\n",
            "line 4: host.memory_total: '16GiB' is not a capacity",
        ),
        (
            CLUSTERS + "spares:\n  - {ip: 10.0.0.1}\n  - {ip: 10.0.0.1}\n",
            "line 1: world: agent '10.0.0.1:2886' is described twice",
        ),
        (
            CLUSTERS + "faults:\n  - card: fail_stage\n",
            "line 5: faults.0: card 'fail_stage' needs 'stage'",
        ),
        (
            CLUSTERS + "spares:\n  - {rsa_bits: 768}\n",
            "line 5: spares.0.rsa_bits: Input should be 512, 1024 or 2048",
        ),
        (
            CLUSTERS + "spares: [{private_key: AAAA}]\n",
            "private_key: not Base64 of a DER key",
        ),
        (
            CLUSTERS + "    ob_configs: {memory_limit: 16GiB}\n",
            "ob_configs: 127.0.1.1:2886 of 'obcluster' cannot run: Invalid config, memory_limit",
        ),
        (
            CLUSTERS + "host: {disks: [{mount: /, total: 40G, used: 13G}]}\n",
            "ob_configs: 127.0.1.1:2886 of 'obcluster' cannot run: data file size is too large",
        ),
        (
            CLUSTERS + "host: {disks: []}\n",
            "ob_configs: 127.0.1.1:2886 of 'obcluster' cannot run: no file system holds",
        ),
        (
            CLUSTERS + "faults: [{card: agent_down, target: '10.9.9.9:1'}]\n",
            "faults: no agent '10.9.9.9:1' in this world",
        ),
    ],
)
def test_a_bad_description_is_refused_in_one_line(refused, text, message):
    """File, line, field and reason."""
    assert refused(text).startswith(message)


def test_a_missing_file_is_refused(tmp_path):
    """The path stands in the message."""
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        load_config(tmp_path / "nowhere.yaml")


def test_the_ready_line_has_exactly_the_promised_keys(build_world):
    """Scripts rely on these keys."""
    world = build_world(spare={"agent_password": "Agent#1"})

    line = world.ready_line()

    assert line == {
        "clusters": [
            {
                "name": "obcluster",
                "id": 1,
                "zones": ["zone1", "zone2", "zone3"],
                "agents": [
                    {"ip": "127.0.1.1", "port": 2886, "zone": "zone1"},
                    {"ip": "127.0.1.2", "port": 2886, "zone": "zone2"},
                    {"ip": "127.0.1.3", "port": 2886, "zone": "zone3"},
                ],
                "root_password": "sandbox-root",
            }
        ],
        "spares": [
            {"ip": "127.0.1.4", "port": 2886, "agent_password": "Agent#1"},
            {"ip": "127.0.1.5", "port": 2886, "agent_password": ""},
            {"ip": "127.0.1.6", "port": 2886, "agent_password": ""},
        ],
    }


def test_clusters_have_networks_of_their_own():
    """127.0.<cluster>.<n>; spares follow the first cluster's members."""
    example = next(path for path in EXAMPLES if path.stem == "sandbox-two-clusters")

    world = World(load_config(example), clock=ManualClock())

    assert [agent.ip for agent in world.clusters[1].agents] == [
        "127.0.2.1",
        "127.0.2.2",
        "127.0.2.3",
    ]
    assert world.spares[0].address == "127.0.1.7:2886"


def test_only_a_manual_clock_can_be_advanced():
    """A world that runs by itself says so."""
    world = World(default_config(), clock=ScaledClock(speed=10))

    with pytest.raises(TypeError, match="ManualClock"):
        world.advance(1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clusters: " + "[" * 50_000, "line 1: it is nested too deeply"),
        ("clusters: [{name: 2001-99-99}]", "a date or number that is none"),
    ],
    ids=["deep", "no day"],
)
def test_a_description_nobody_can_read_is_one_line(tmp_path, text, said):
    """At once, and never a traceback."""
    path = tmp_path / "world.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=said):
        load_config(path)
