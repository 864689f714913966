"""Tests of requests made of OBD's files: the cluster decides which servers are new."""

from dataclasses import replace

import pytest

from obscale.agent.models import Identity, ListedAgent, Parameter, Server, ServerParameter, Zone
from obscale.errors import PreflightError, SpecError
from obscale.plan.from_obd import (
    OWN_RECORD,
    ClusterTold,
    import_of,
    render_request,
    request_from,
    sort_servers,
)
from obscale.request.models import SecretName
from obscale.spec import parse_spec
from obscale.spec.obd import obd_file, parse_source

OB_ROOT = SecretName(env="OB_ROOT")
TEXT = """\
oceanbase-ce:
  servers:
    - {name: s1, ip: 10.0.0.1}
    - {name: s2, ip: 10.0.0.2}
    - {name: s4, ip: 10.0.0.4}
  global:
    home_path: /home/admin/observer
    appname: obcluster
    cluster_id: 1
    memory_limit: 16G
    log_disk_size: 24G
    datafile_size: 24G
    root_password: canary-of-obd
  s1: {zone: zone1}
  s2: {zone: zone2}
  s4: {zone: zone2}
"""


def read(text=TEXT, extra=None):
    second = None if extra is None else parse_source(extra, "more.yaml")
    return obd_file(parse_source(text, "obd.yaml"), second)


def server(number, **changes):
    """An observer of 10.0.0.x as the cluster lists it."""
    ports = {"svr_port": 2882, "sql_port": 2881, "obshell_port": 2886}
    return Server(ip=f"10.0.0.{number}", **(ports | changes))


def agent(number, identity=Identity.CLUSTER_AGENT, port=2886):
    return ListedAgent(ip=f"10.0.0.{number}", port=port, identity=identity)


def cluster(**changes):
    """A cluster of two: 10.0.0.1 in zone1, 10.0.0.2 in zone2."""
    told = ClusterTold(
        name="obcluster",
        number=1,
        version="4.3.5.2-102000092025042111",
        scheme="https",
        zones=(Zone(name="zone1", servers=(server(1),)), Zone(name="zone2", servers=(server(2),))),
        agents=(agent(1), agent(2)),
    )
    return replace(told, **changes)


def made(file, told, homes=None):
    found = sort_servers(file, told)
    spec = request_from(found, told, OB_ROOT, None)
    return spec, import_of(file, found, told, homes or {})


def names(servers):
    return [each.name for each in servers]


def refused_for(file, told):
    with pytest.raises(PreflightError) as caught:
        sort_servers(file, told)
    return str(caught.value)


def test_members_are_entry_agents_and_the_rest_is_to_be_added():
    """Both lists of the cluster count: its servers, and its agents."""
    found = sort_servers(read(), cluster())

    assert names(found.members) == ["s1", "s2"]
    assert names(found.new) == ["s4"]
    spec = request_from(found, cluster(), OB_ROOT, "lab")
    assert spec.cluster.endpoints == ("https://10.0.0.1:2886", "https://10.0.0.2:2886")
    assert (spec.cluster.name, spec.cluster.id, spec.cluster.password) == ("obcluster", 1, OB_ROOT)
    assert [node.address for node in spec.nodes] == ["10.0.0.4:2886"]
    assert spec.profile == "lab"


def test_a_stored_connection_stands_in_the_request_by_its_name():
    """Then the request holds neither addresses of entry agents nor a password's name."""
    spec = request_from(sort_servers(read(), cluster()), cluster(), "prod-east", None)

    assert (spec.cluster, spec.profile) == ("prod-east", "prod")


def test_one_that_is_scaling_out_is_still_to_be_added():
    """So that the run that was begun is taken up."""
    told = cluster(
        zones=(*cluster().zones, Zone(name="zone3", servers=(server(4),))),
        agents=(*cluster().agents, agent(4, Identity.SCALING_OUT)),
    )

    assert names(sort_servers(read(), told).new) == ["s4"]


def test_one_that_only_the_list_of_agents_has_is_a_member():
    """Its observer's row may be away while it is being replaced."""
    told = cluster(agents=(*cluster().agents, agent(4)))

    assert "names no new server: all 3 are members of obcluster/1" in refused_for(read(), told)


def test_a_second_observer_on_a_members_host_is_new():
    """An IP alone makes no member."""
    text = TEXT.replace("{name: s4, ip: 10.0.0.4}", "{name: s4, ip: 10.0.0.2}").replace(
        "s4: {zone: zone2}",
        "s4: {zone: zone2, mysql_port: 3881, rpc_port: 3882, obshell_port: 3886}",
    )

    found = sort_servers(read(text), cluster())

    assert [each.node.address for each in found.new] == ["10.0.0.2:3886"]


def test_members_the_file_does_not_name_are_told_and_nothing_more():
    """What a file leaves out is never a removal."""
    zones = (*cluster().zones, Zone(name="zone3", servers=(server(3),)))
    told = cluster(zones=zones, agents=(*cluster().agents, agent(3)))

    spec, told_of = made(read(), told)

    assert told_of.unnamed_members == ("10.0.0.3:2886",)
    assert [node.address for node in spec.nodes] == ["10.0.0.4:2886"]


def test_none_a_member_is_refused():
    """The cluster is another one, or the file is an additional one alone."""
    told = cluster(zones=(Zone(name="zone1", servers=(server(7),)),), agents=(agent(7),))

    said = refused_for(read(), told)

    assert "no server of it is a member of obcluster/1" in said
    assert "--extra" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"svr_port": 3882}, "s2: rpc_port is 2882 (OBD's default) but 3882 in the cluster"),
        ({"sql_port": 3881}, "s2: mysql_port is 2881 (OBD's default) but 3881 in the cluster"),
        (
            {"obshell_port": 3886},
            "s2: obshell_port is 2886 (OBD's default) but 3886 in the cluster",
        ),
    ],
)
def test_a_member_with_other_ports_than_the_file_says_is_refused(change, said):
    """The file is out of date, or of another cluster: so may be what it says of new servers."""
    zones = (cluster().zones[0], Zone(name="zone2", servers=(server(2, **change),)))

    assert said in refused_for(read(), cluster(zones=zones))


def test_a_member_in_another_zone_is_refused_and_so_is_another_name_or_id():
    """Every difference is told at once, each with its line."""
    zones = (cluster().zones[0], Zone(name="zone9", servers=(server(2),)))

    said = refused_for(read(), cluster(zones=zones, name="shop", number=7))

    assert "s2: zone is zone2 (obd.yaml:15) but zone9 in the cluster" in said
    assert "the cluster's name is obcluster (obd.yaml:8), and it says shop" in said
    assert "the cluster's id is 1 (obd.yaml:9), and it says 7" in said


def test_a_port_the_version_does_not_tell_is_no_difference():
    """0 stands for it."""
    zones = (cluster().zones[0], Zone(name="zone2", servers=(server(2, obshell_port=0),)))

    assert names(sort_servers(read(), cluster(zones=zones)).members) == ["s1", "s2"]


def test_guessed_names_give_way_to_the_clusters_and_are_warned_of():
    """What the file does not say is OBD's default, which is a guess here."""
    text = TEXT.replace("    appname: obcluster\n    cluster_id: 1\n", "")

    spec, told_of = made(read(text), cluster(name="shop", number=7))

    assert (spec.cluster.name, spec.cluster.id) == ("shop", 7)
    assert any("appname is not in the file" in said for said in told_of.warnings)
    assert any("cluster_id is not in the file" in said for said in told_of.warnings)
    assert made(read(text), cluster())[1].warnings == ()


def test_a_forgotten_zone_is_warned_of():
    """OBD would put the server into zone1."""
    spec, told_of = made(read(TEXT.replace("  s4: {zone: zone2}\n", "")), cluster())

    assert spec.nodes[0].zone == "zone1"
    assert told_of.warnings == (
        "s4: its zone is not in the file, so it is OBD's default, zone1: is that meant?",
    )


def test_missing_sizes_are_warned_of_and_those_of_its_peers_offered():
    """They are not added: what they are for, a person decides."""
    text = TEXT.replace("    log_disk_size: 24G\n", "").replace("    datafile_size: 24G\n", "")
    rows = (
        Parameter(
            name="log_disk_size",
            ob_parameters=(
                ServerParameter(svr_ip="10.0.0.1", svr_port=2882, value="99G"),
                ServerParameter(svr_ip="10.0.0.2", svr_port=2882, value="24G"),
            ),
        ),
    )

    spec, told_of = made(read(text), cluster(parameters=rows))

    assert told_of.warnings == (
        (
            "s4: no log_disk_size, datafile_size in the file, so the observer takes a share of its "
            "host; its peers have log_disk_size 24G: add that if it is meant"
        ),
    )
    assert "log_disk_size" not in spec.nodes[0].obConfigs


def test_another_home_and_another_version_are_warned_of():
    """Obshell decides the home; the build is what the cluster runs."""
    text = TEXT.replace("  servers:\n", "  version: 4.2.5.1\n  servers:\n")
    homes = {"10.0.0.4:2886": "/home/admin/oceanbase"}

    _, told_of = made(read(text), cluster(), homes)

    assert told_of.warnings == (
        "version is 4.2.5.1 (obd.yaml:2), the cluster runs 4.3.5.2-102000092025042111",
        (
            "s4: home_path is /home/admin/observer (obd.yaml:8), its agent's home is "
            "/home/admin/oceanbase; obshell takes its own"
        ),
    )
    same = text.replace("4.2.5.1", "4.3.5")
    assert made(read(same), cluster(), {"10.0.0.4:2886": "/home/admin/observer"})[1].warnings == ()


def test_a_bad_value_of_a_new_server_is_refused_and_of_a_member_is_nobodys_concern():
    """Only what would be sent has to be right."""
    of_member = TEXT.replace("s1: {zone: zone1}", "s1: {zone: zone1, data_dir: ~/data}")
    of_new = TEXT.replace("s4: {zone: zone2}", "s4: {zone: zone2, data_dir: ~/data}")

    made(read(of_member), cluster())
    with pytest.raises(SpecError) as caught:
        made(read(of_new), cluster())

    assert caught.value.problems[0].startswith("obd.yaml:16: data_dir: '~/data' is not a path")


def test_the_written_request_reads_back_as_the_request():
    """With the place of each value, and without any secret."""
    file = read(TEXT, "oceanbase-ce: {servers: [{name: s5, ip: 10.0.0.5}]}")
    spec, told_of = made(file, cluster())

    text = render_request(spec, told_of)

    assert parse_spec(text, "request.yaml") == spec
    assert 'memory_limit: "16G"  # obd.yaml:10' in text
    assert 'zone: "zone1"  # OBD\'s default' in text
    assert f"# Afterwards: {OWN_RECORD}" in text
    assert "root_password (obd.yaml:13)" in text
    assert "canary-of-obd" not in text + told_of.model_dump_json()


def test_a_request_of_a_stored_connection_reads_back_too():
    """In the laboratory's profile."""
    found = sort_servers(read(), cluster())
    spec = request_from(found, cluster(), "prod-east", "lab")

    text = render_request(spec, import_of(read(), found, cluster(), {}))

    assert parse_spec(text, "request.yaml") == spec


def test_what_was_taken_and_what_is_a_default_is_told_of_each_node():
    """With `file:line` beside what was taken."""
    _, told_of = made(read(), cluster())

    (node,) = told_of.nodes
    wheres = {value.field: value.where for value in node.values}
    assert (node.name, node.target) == ("s4", "10.0.0.4:2886")
    assert wheres["zone"] == "obd.yaml:16"
    assert wheres["mysql_port"] == wheres["obshell_port"] == "OBD's default"
    assert [each.key for each in told_of.secrets] == ["root_password"]
