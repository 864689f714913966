"""Tests of OBD's files: what of them becomes a request, and what is refused by its line."""

import contextlib
import json
import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obscale.errors import SpecError
from obscale.spec import parse_spec
from obscale.spec.batch import parse_batch
from obscale.spec.obd import is_obd, obd_file, parse_source, read_obd

CANARY = "canary-of-obd"
PLAIN = f"""\
user:
  username: admin
  password: {CANARY}
oceanbase-ce:
  version: 4.3.5.2
  package_hash: 0badcafe
  depends: [ob-configserver]
  servers:
    - name: server1
      ip: 10.0.0.1
    - 10.0.0.4
  global:
    home_path: /home/admin/observer
    appname: shop
    cluster_id: 7
    mysql_port: 3881
    memory_limit: 6G
    system_memory: 1G
    datafile_size: 2G
    log_disk_size: 14GB
    __min_full_resource_pool_memory: 1073741824
    major_freeze_duty_time: 02:00
    enable_syslog_wf: false
    enable_sql_audit: yes
    local_ip:
    syslog_level: WDIAG
    devname: eth0
    production_mode: false
    ocp_meta_tenant: {{tenant_name: meta, max_cpu: 1}}
    $_zone_idc: idc1
    root_password: {CANARY}
    proxyro_password: {CANARY}
    ocp_agent_monitor_password: {CANARY}
  server1:
    zone: zone1
  10.0.0.4:
    zone: zone3
    rpc_port: 3882
    obshell_port: 3886
    memory_limit: 8G
    data_dir: /data/ob
    cdcro_password: {CANARY}
obproxy-ce:
  servers: [10.0.0.9]
  global: {{obproxy_sys_password: {CANARY}}}
"""
ZONED = """\
oceanbase:
  style: cluster
  id: 7
  name: shop
  config: {memory_limit: 6G, home_path: /home/admin/observer}
  zones:
    east:
      idc: one
      servers: [{name: a, ip: 10.0.0.1}]
      config:
        global: {mysql_port: 3881, memory_limit: 7G}
    west:
      servers: [10.0.0.2, {name: b, ip: "fd00:0:0:0:0:0:0:2"}]
      config:
        b: {memory_limit: 8G, zone: elsewhere}
"""


def read(text, extra=None):
    """Read a file of the cluster, and an additional one."""
    second = None if extra is None else parse_source(extra, "more.yaml")
    return obd_file(parse_source(text, "obd.yaml"), second)


def refusal(text, extra=None):
    """Give what is told of a file that is refused: one line each, and no secret in it."""
    with pytest.raises(SpecError) as caught:
        read(text, extra)
    told = caught.value.problems
    assert CANARY not in repr(caught.value)
    assert all("\n" not in line for line in told)
    return told


def with_global(*lines):
    """A file of one server with these options of all."""
    text = "oceanbase-ce:\n  servers: [10.0.0.4]\n  global:\n"
    return text + "".join(f"    {line}\n" for line in lines)


def problems_of(*lines):
    """What cannot be sent to the one server of such a file."""
    (server,) = read(with_global(*lines)).servers
    return server.problems


def test_a_server_takes_the_options_of_all_and_its_own_stand_above():
    """Numbers become texts as they are written; true and false as OBD writes them."""
    first, second = read(PLAIN).servers

    assert (first.name, first.node.address, first.node.zone) == (
        "server1",
        "10.0.0.1:2886",
        "zone1",
    )
    assert (second.name, second.node.address, second.node.zone) == (
        *("10.0.0.4", "10.0.0.4:3886"),
        "zone3",
    )
    assert second.node.obConfigs == {
        "mysql_port": "3881",
        "rpc_port": "3882",
        "memory_limit": "8G",
        "system_memory": "1G",
        "datafile_size": "2G",
        "log_disk_size": "14GB",
        "__min_full_resource_pool_memory": "1073741824",
        "major_freeze_duty_time": "02:00",
        "enable_syslog_wf": "False",
        "enable_sql_audit": "yes",
        "syslog_level": "WDIAG",
        "data_dir": "/data/ob",
    }
    assert first.node.obConfigs["memory_limit"] == "6G"
    assert second.problems == ()
    assert second.home_path.text == "/home/admin/observer"


def test_each_value_knows_its_line_and_a_default_says_that_it_is_one():
    """So that the request can say where it comes from."""
    first, second = read(PLAIN).servers
    lines = PLAIN.splitlines()

    where = second.said("memory_limit")
    assert where == f"obd.yaml:{lines.index('    memory_limit: 8G') + 1}"
    assert first.said("rpc_port") == first.said("obshell_port") == "OBD's default"
    assert second.said("zone") == f"obd.yaml:{lines.index('    zone: zone3') + 1}"


def test_name_id_and_version_of_the_cluster_are_read():
    """They are held against what the cluster says; what is not there is a guess."""
    told = read(PLAIN)

    assert (told.cluster_name.text, told.cluster_id.text) == ("shop", "7")
    assert told.version.text == "4.3.5.2"
    bare = read(with_global("memory_limit: 6G"))
    assert bare.cluster_name is bare.cluster_id is bare.version is None


def test_what_is_left_out_is_listed_once_with_its_line_and_why():
    """Nothing of a file goes away unseen."""
    told = read(PLAIN)

    assert [each.what for each in told.left_out] == [
        *("version", "package_hash", "depends", "local_ip", "devname", "production_mode"),
        *("ocp_meta_tenant", "$_zone_idc"),
    ]
    assert all(re.fullmatch(r"obd\.yaml:\d+", each.where) and each.why for each in told.left_out)
    assert told.ignored == ("user", "obproxy-ce")


def test_secrets_are_named_and_never_copied():
    """Of every password of the observers, and of OBD's own, only the key is known."""
    told = read(PLAIN)

    assert [each.what for each in told.secrets] == [
        *("user.password", "root_password", "proxyro_password", "ocp_agent_monitor_password"),
        "cdcro_password",
    ]
    assert CANARY not in repr(told)


def test_an_empty_password_is_none():
    """OBD means an empty one by it."""
    told = read(with_global("root_password:", "proxyro_password: ''"))

    assert told.secrets == ()


def test_style_cluster_gives_zones_with_options_of_all_of_a_zone_and_of_a_server():
    """The zone is the one a server stands below, whatever its options say."""
    first, second, third = read(ZONED).servers
    told = read(ZONED)

    assert [s.node.zone for s in (first, second, third)] == ["east", "west", "west"]
    assert [s.node.obConfigs["memory_limit"] for s in (first, second, third)] == ["7G", "6G", "8G"]
    assert first.ports == {"mysql_port": 3881, "rpc_port": 2882, "obshell_port": 2886}
    assert (third.name, third.ip) == ("b", "fd00::2")
    assert (told.cluster_name.text, told.cluster_id.text) == ("shop", "7")
    assert [each.what for each in told.left_out] == ["idc"]


def test_an_additional_file_adds_servers_that_take_the_options_of_the_first():
    """The second file of `obd cluster scale_out` holds servers and their blocks alone."""
    extra = """\
oceanbase-ce:
  servers: [{name: server5, ip: 10.0.0.5}]
  server5: {zone: zone2, memory_limit: 9G}
"""
    *old, new = read(PLAIN, extra).servers

    assert [server.is_added for server in old] == [False, False]
    assert new.is_added
    assert (new.node.zone, new.ports["mysql_port"]) == ("zone2", 3881)
    assert new.node.obConfigs["memory_limit"] == "9G"
    assert new.said("memory_limit") == "more.yaml:3"
    assert new.said("system_memory").startswith("obd.yaml:")


def test_an_additional_file_of_style_cluster_adds_to_a_zone_and_founds_one():
    """A zone that is there keeps its global; a new one brings its own."""
    extra = """\
oceanbase:
  zones:
    west: {servers: [10.0.0.3]}
    south: {servers: [10.0.0.6], config: {global: {memory_limit: 9G}}}
"""
    *_, in_west, in_south = read(ZONED, extra).servers

    assert (in_west.node.zone, in_west.node.obConfigs["memory_limit"]) == ("west", "6G")
    assert (in_south.node.zone, in_south.node.obConfigs["memory_limit"]) == ("south", "9G")
    assert refusal(ZONED, extra.replace("west: {", "west: {config: {global: {}}, ")) == (
        "more.yaml:3: zone west: its global is set in obd.yaml; say it for the server",
    )


@pytest.mark.parametrize("key", ["global", "version", "tag", "release", "package_hash", "env"])
def test_what_obd_forbids_in_an_additional_file_is_refused(key):
    """It would silently not apply."""
    extra = f"oceanbase-ce:\n  {key}: {{}}\n  servers: [10.0.0.5]\n"

    assert refusal(PLAIN, extra) == (
        (
            f"more.yaml:2: oceanbase-ce.{key}: has no place in an additional file; it applies from "
            "the cluster's own"
        ),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("obproxy-ce: {servers: [10.0.0.1]}", "has no component of observers"),
        ("[10.0.0.1]", "must be a mapping of components"),
        ("", "obd.yaml: is empty"),
        (
            "oceanbase: {servers: [10.0.0.1]}\noceanbase-ce: {servers: [10.0.0.2]}",
            "obd.yaml:1: has two components of observers, oceanbase-ce and oceanbase",
        ),
        ("oceanbase-ce: [10.0.0.1]", "obd.yaml:1: oceanbase-ce: must be a mapping"),
        ("oceanbase-ce:\n  include: base.yaml\n  servers: [10.0.0.1]", "obd.yaml:2: "),
        ("oceanbase-ce:\n  style: odd\n  servers: [10.0.0.1]", "obd.yaml:2: "),
        ("oceanbase-ce:\n  version: 3.1.4\n  servers: [127.0.0.1]", "obd.yaml:2: version: "),
        ("oceanbase-ce:\n  servers: [ob1.shop]", "obd.yaml:2: servers: 'ob1.shop' is no IP"),
        ("oceanbase-ce:\n  servers: [{name: a}]", "obd.yaml:2: servers: this is no IP"),
        ("oceanbase-ce:\n  servers: [127.0.0.1]", "obd.yaml:2: servers: 127.0.0.1 is loopback"),
        ("oceanbase-ce:\n  servers: [10.0.0.1, '::1']", "obd.yaml:2: servers: ::1 is loopback"),
        ("oceanbase-ce:\n  servers: 10.0.0.1", "obd.yaml:2: servers: must be a list"),
        ("oceanbase-ce:\n  servers: []", "obd.yaml:1: oceanbase-ce: names no server"),
        ("oceanbase-ce:\n  global: [a]\n  servers: [10.0.0.1]", "obd.yaml:2: global: must be a"),
        (
            "oceanbase-ce:\n  servers:\n  - 10.0.0.1\n  - 10.0.0.1",
            "obd.yaml:4: servers: '10.0.0.1' stands twice, first at obd.yaml:3",
        ),
        (
            "oceanbase-ce:\n  servers: [{name: a, ip: 10.0.0.1}, {name: a, ip: 10.0.0.2}]",
            "'a' stands twice",
        ),
        (
            "oceanbase-ce:\n  servers: [{name: a, ip: 10.0.0.1}, {name: b, ip: 10.0.0.1}]",
            "mysql_port: 2881 on 10.0.0.1 is also mysql_port of 'a'",
        ),
        (
            "oceanbase-ce:\n  servers: [10.0.0.1]\n  global:\n    obshell_port: high",
            "obd.yaml:4: obshell_port: 'high' is no port; e.g. 2886",
        ),
        (
            "oceanbase-ce:\n  servers: [10.0.0.1]\n  global:\n    root_password: !encrypt abc",
            "obd.yaml:4: a value with a tag (!…), an encrypted one say, is not read",
        ),
        (
            "oceanbase-ce:\n  servers: [10.0.0.1]\n  global:\n    <<: {a: b}",
            "obd.yaml:4: merging (<<) is not followed",
        ),
        (
            "oceanbase-ce:\n  servers: [10.0.0.1]\n  global:\n    root_password: ******",
            "obd.yaml:4:21: is not YAML",
        ),
        (
            "oceanbase-ce:\n  servers: [10.0.0.1]\n  global: {a: 1}\n  global: {a: 2}",
            "obd.yaml:4: key 'global' stands twice",
        ),
        (
            (
                "oceanbase-ce:\n  servers: [10.0.0.1, 10.0.0.2]\n  10.0.0.1: {appname: a}\n"
                "  10.0.0.2: {appname: b}"
            ),
            "obd.yaml:4: appname: differs from obd.yaml:3; a cluster has one",
        ),
    ],
)
def test_what_is_not_followed_is_refused_with_its_line(text, said):
    """Whatever it is, the line says what is wrong."""
    assert any(said in line for line in refusal(text))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("data_dir: ~/data", "'~/data' is not a path from the root"),
        ("redo_dir: redo", "'redo' is not a path from the root"),
        ("data_dir: $home_path/store", "'$home_path/store' is not a path from the root"),
        ("data_dir: /data/$USER", "holds a variable"),
        ("memory_limit: 8192", "counts as MB; if that is meant, write '8192M'"),
        ("log_disk_size: '16GIB'", "write '16G'"),
        ("datafile_size: 20 G", "write '20G'"),
        ("local_ip: 10.0.0.5", "is not the server's IP, 10.0.0.4"),
        ("cpu_count: [4]", "must be one value"),
        ("cpu_count: many", "[cfg-int-range]"),
        ('zone: "a\x27b"', "[zone-name-syntax]"),
    ],
)
def test_a_value_that_would_not_arrive_is_a_problem_of_its_server_with_a_rewriting(line, said):
    """The rewriting is offered, never done; it matters only where the server is new."""
    (told,) = problems_of(line)

    assert told.startswith(f"obd.yaml:4: {line.partition(':')[0]}: ")
    assert said in told


def test_the_ip_of_the_server_may_be_said_again():
    """OBD writes it itself."""
    (server,) = read(with_global("local_ip: 10.0.0.4")).servers

    assert server.problems == ()
    assert server.node.obConfigs["local_ip"] == "10.0.0.4"


def test_a_cluster_that_is_on_loopback_as_a_whole_is_read():
    """A simulated one is."""
    told = read("oceanbase-ce: {servers: [127.0.1.1, 127.0.1.2]}")

    assert [server.ip for server in told.servers] == ["127.0.1.1", "127.0.1.2"]


def test_a_block_that_belongs_to_no_server_is_told():
    """OBD passes over it, so a misspelled name would lose its options."""
    told = read("oceanbase-ce:\n  servers: [10.0.0.1]\n  sever1: {zone: zone2}\n")

    assert told.remarks == ("obd.yaml:3: the block 'sever1' belongs to no server",)


def test_the_same_in_json_says_the_same():
    """JSON is YAML, and has no lines to name."""
    data = {"oceanbase-ce": {"servers": ["10.0.0.4"], "global": {"cpu_count": 8, "a": True}}}

    (server,) = obd_file(parse_source(json.dumps(data), "obd.json")).servers

    assert server.node.obConfigs["cpu_count"] == "8"
    assert server.node.obConfigs["a"] == "True"


@pytest.mark.parametrize("read_one", [parse_spec, lambda text, name: parse_batch(text, name, None)])
@pytest.mark.parametrize("text", [PLAIN, ZONED, "obagent: {servers: [10.0.0.1]}"])
def test_such_a_file_without_the_option_is_recognised(read_one, text):
    """One clear error names the option."""
    with pytest.raises(SpecError) as caught:
        read_one(text, "my obd.yaml")

    assert str(caught.value) == (
        "my obd.yaml: is a file of OBD's, not a request. Next: "
        "obscale plan --from-obd 'my obd.yaml'"
    )


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"cluster": "a", "oceanbase-ce": {"servers": []}},
        {"servers": [1]},
        {"a": {"b": 1}},
        {"clusters": [], "a": {"zones": {}}},
    ],
)
def test_a_request_is_never_taken_for_such_a_file(data):
    """Its own faults are told instead."""
    assert not is_obd(data)


def test_files_are_read_from_disk(tmp_path):
    """Both of them, by their names."""
    one, two = tmp_path / "obd.yaml", tmp_path / "more.yaml"
    one.write_text(PLAIN, encoding="utf-8")
    two.write_text("oceanbase-ce: {servers: [10.0.0.5]}", encoding="utf-8")

    told = read_obd(one, two)

    assert (told.name, told.extra) == (str(one), str(two))
    assert len(told.servers) == 3
    with pytest.raises(SpecError, match="cannot be read"):
        read_obd(tmp_path / "none.yaml")


WORDS = st.sampled_from(
    [
        *(
            "servers",
            "global",
            "zones",
            "config",
            "style",
            "version",
            "include",
            "id",
            "name",
            "ip",
        ),
        *("a", "10.0.0.1", "zone", "rpc_port", "obshell_port", "memory_limit", "data_dir", "env"),
        *("root_password", "local_ip", "appname", "cluster_id", "$_zone_idc", "<<"),
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["10.0.0.1", "::1", "cluster", "default", "2881", "~/x", "a"]),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=20,
)


@given(
    first=st.dictionaries(WORDS, ANYTHING, max_size=6),
    servers=st.sampled_from([{}, {"servers": ["10.0.0.1", {"name": "a", "ip": "10.0.0.2"}]}]),
    extra=st.none() | st.dictionaries(WORDS, ANYTHING, max_size=3),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_stands_in_a_file_it_is_read_or_refused(first, servers, extra):
    """No shape of it ends in another error."""
    with contextlib.suppress(SpecError):
        read(
            yaml.safe_dump({"oceanbase-ce": first | servers}),
            None if extra is None else yaml.safe_dump({"oceanbase-ce": extra}),
        )
