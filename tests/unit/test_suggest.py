"""Tests of suggested requests: valid, and with reasons."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obscale.agent.models import UnitConfigLimit
from obscale.agent.resources import ResourcePool, UnitConfig
from obscale.errors import PreflightError
from obscale.plan.suggest import suggest
from obscale.plan.suggest_file import as_request, render_request
from obscale.plan.suggest_zone import Units
from obscale.reading import Unread
from obscale.request.models import ClusterSpec, SecretName
from obscale.request.scale_out import ScaleOut
from obscale.spec import parse_spec

KIB_OF_GIB = 1 << 20
GIB = 1 << 30
SILENT = Unread("obshell 4.2.6.0 does not tell", supported=False)


def values(made):
    return dict(made.node.obConfigs)


def reason(made, key):
    return next(each.why for each in made.advice if each.key == key)


def unit(number, memory="4", log="12", cpu=2.0):
    return UnitConfig(
        unit_config_id=number,
        name=f"u{number}",
        min_cpu=cpu,
        max_cpu=cpu,
        memory_size=int(memory) * GIB,
        log_disk_size=int(log) * GIB,
    )


def pool(config, zones="zone1;zone2;zone3"):
    return ResourcePool(
        id=config,
        name=f"p{config}",
        zone_list=zones,
        unit_num=1,
        unit_config_id=config,
        tenant_id=1,
    )


def order_for(made):
    return ScaleOut(
        cluster=ClusterSpec(
            endpoints=("https://10.0.0.1:2886",), password=SecretName(env="OB_ROOT")
        ),
        node=made.node,
    )


def test_a_host_like_its_peers_gets_what_they_have(world):
    """Peers agree on the sample's sizes and the host carries them."""
    made = suggest(world.facts(), "prod", zone="zone2")

    assert values(made) == {
        "mysql_port": "2881",
        "rpc_port": "2882",
        "memory_limit": "16G",
        "system_memory": "8G",
        "log_disk_size": "24G",
        "datafile_size": "24G",
    }
    assert {each.why for each in made.advice} == {"as all peers in zone2"}
    assert made.findings.verdict == "ready with 2 warnings"


def test_a_smaller_host_gets_nine_tenths_and_the_observers_own_system_memory(world):
    """15.5 GiB with 14.5 available: 13G, of which an observer keeps 5G for itself."""
    made = suggest(world.memory("16252928 kB", "15204352 kB").facts(), "prod", zone="zone2")

    assert values(made)["memory_limit"] == "13G"
    assert values(made)["system_memory"] == "5G"
    assert "16G of the peers in zone2 does not fit" in reason(made, "memory_limit")


def test_the_smallest_unit_is_sent_where_the_first_start_would_fail_without(world):
    """6G less 2G leave 4G; the binary's own smallest unit is 5G, the cluster's is 2G."""
    world.parameter("memory_limit", "6G").parameter("system_memory", "2G")

    made = suggest(world.facts(), "prod", zone="zone2")

    assert values(made)["__min_full_resource_pool_memory"] == str(2 * GIB)


def test_the_clusters_own_smallest_unit_is_taken_where_it_is_told(world):
    """1 GiB from the cluster, as bytes without unit."""
    world.parameter("memory_limit", "6G").parameter("system_memory", "2G")

    made = suggest(world.set(limit=UnitConfigLimit(min_memory=1)).facts(), "prod")

    assert values(made)["__min_full_resource_pool_memory"] == str(GIB)


def test_peers_that_differ_are_not_followed(world):
    """Each has another memory_limit: the host decides."""
    rows = []
    for row in world.parameters:
        told = [
            replace(value, value=f"{16 + number}G")
            for number, value in enumerate(row.ob_parameters)
        ]
        rows.append(
            row.model_copy(update={"ob_parameters": tuple(told)})
            if row.name == "memory_limit"
            else row
        )
    empty = world.zones[1].model_copy(update={"name": "zone4", "servers": ()})
    world.set(parameters=tuple(rows), zones=(*world.zones, empty))

    made = suggest(world.facts(), "prod", zone="zone4")

    assert values(made)["memory_limit"] == "54G"
    assert "the peers differ" in reason(made, "memory_limit")


def test_a_small_disk_caps_log_and_data_and_says_so(world, make_disk):
    """23 GiB to share: the log pool cannot have its three times the memory."""
    made = suggest(world.disks(make_disk("/", total="40G", used="10G")).facts(), "prod")

    assert values(made)["log_disk_size"] == values(made)["datafile_size"] == "11G"
    assert any("log_disk_size should be 24G" in note for note in made.notes)
    assert made.findings.of_rule("disk-fits")[0].weight != "block"


def test_separate_disks_are_filled_each_for_itself(world, make_disk):
    """Home, where the agent's store is, on one disk; nothing agreed by peers."""
    world.parameter("datafile_size", "0M").disks(make_disk("/", total="200G", used="10G"))

    made = suggest(world.facts(), "prod")

    assert values(made)["log_disk_size"] == "24G"
    assert values(made)["datafile_size"] == "48G"
    assert reason(made, "datafile_size") == "three times memory_limit; it grows online"


def test_growth_is_taken_over_with_the_peers_sizes(world):
    """Both or neither, and only where the disk holds the grown file."""
    world.parameter("datafile_maxsize", "100G").parameter("datafile_next", "10G")

    grown = suggest(world.facts(), "prod")
    tight = suggest(world.parameter("datafile_maxsize", "900G").facts(), "prod")

    assert values(grown)["datafile_maxsize"] == "100G"
    assert values(grown)["datafile_next"] == "10G"
    assert "datafile_maxsize" not in values(tight)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda w, d: w.memory("4194304 kB", "4000000 kB"), "it needs 4G"),
        (lambda w, d: w.disks(d("/", total="12G", used="6G")), "its disks have room for"),
        (lambda w, d: w.set(host=SILENT).parameter("memory_limit", "0M"), "no memory_limit can be"),
        (lambda w, d: w.set(host=SILENT).parameter("log_disk_size", "0M"), "no disk sizes can be"),
        (lambda w, d: w.change("info", ob_version="4.3.5.1-1"), "ob-version-equal"),
        (lambda w, d: w.set(zones=Unread("down"), parameters=()), "no zone can be suggested"),
    ],
)
def test_a_host_nothing_can_be_suggested_for_is_refused_with_the_reason(
    world, make_disk, change, told
):
    """Too small, too silent, or blocked by what no start option cures."""
    with pytest.raises(PreflightError, match=told) as caught:
        suggest(change(world, make_disk).facts(), "prod")

    assert caught.value.hint


def test_a_silent_host_gets_its_peers_values_and_a_command_to_check(world):
    """Before obshell 4.3.0.0 a spare does not tell its size."""
    made = suggest(world.set(host=SILENT).facts(), "prod", zone="zone2")

    assert values(made)["memory_limit"] == "16G"
    assert any("free -g" in note for note in made.notes)
    assert any("df -B1" in note for note in made.notes)


def test_the_smallest_zone_is_grown_first(world, make_zone):
    """zone2 has none, so it is grown, and nothing is left uneven but what was."""
    two = [make_zone("zone1", 1), make_zone("zone3", 3)]
    world.set(zones=(two[0], make_zone("zone2", 2).model_copy(update={"servers": ()}), two[1]))

    made = suggest(world.facts(), "lab")

    assert made.node.zone == "zone2"
    assert made.zone_why == "the smallest: zone1 1, zone2 0, zone3 1"
    assert made.notes == ()


def test_capacity_that_imbalance_keeps_unusable_is_said(world):
    """One zone grows alone: units are as many in every zone."""
    made = suggest(world.facts(), "prod", zone="zone3")

    assert any("zone3 then has 2 observers, zone1, zone2 fewer" in note for note in made.notes)


@pytest.mark.parametrize(
    ("units", "told"),
    [
        (Units((unit(1),), (pool(1),)), None),
        (Units((unit(1, memory="9"),), (pool(1),)), "its capacity stays unusable until"),
        (
            Units((unit(1), unit(2, memory="9")), (pool(1), pool(2))),
            "u2 (9G) do not fit on it; the",
        ),
        (Units((unit(1, memory="9"),), (pool(1, zones="zone1"),)), None),
        (Units((unit(1, log="30"),), (pool(1),)), "do not fit"),
        (Units((unit(1, cpu=17.0),), (pool(1),)), "do not fit"),
    ],
)
def test_units_that_do_not_fit_are_named(world, units, told):
    """Only those of pools that have the zone; by memory, log disk and cores."""
    made = suggest(world.facts(), "prod", zone="zone2", units=units)

    notes = [note for note in made.notes if note.startswith("units of")]
    assert bool(notes) == (told is not None)
    assert told is None or told in notes[0]


def test_ports_taken_on_the_same_address_are_avoided(world):
    """A second observer on a machine cannot have the first one's ports."""
    world.change("info", ip="10.0.0.2", port=3886).set(ip="10.0.0.2", port=3886)

    made = suggest(world.facts(), "lab", zone="zone2")

    assert (values(made)["mysql_port"], values(made)["rpc_port"]) == ("3881", "3882")


def test_the_written_request_reads_back_as_what_was_suggested(world):
    """Every line of the YAML is usable as it stands, with a reason beside each value."""
    made = suggest(world.facts(), "prod", zone="zone2")

    text = render_request(order_for(made), world.facts(), made)
    spec = parse_spec(text, "suggested.yaml")

    assert spec.nodes == (made.node,)
    assert isinstance(spec.cluster, ClusterSpec)
    assert (spec.cluster.name, spec.cluster.id) == ("obcluster", 1)
    assert spec == parse_spec(
        json.dumps(as_request(order_for(made), world.facts(), made)), "it.json"
    )
    assert "more members: 10.0.0.2:2886, 10.0.0.3:2886" in text
    for each in made.advice:
        assert f"{each.key}: " in text
        assert f"# {each.why}" in text


def test_nothing_an_agent_says_ends_a_comment_early(world):
    """A line break in an answer does not become a line of the request."""
    made = suggest(world.facts(), "prod", zone="zone2")
    evil = made.findings.items[0].model_copy(update={"measured": "x\nnodes: []"})
    notes = (*made.notes, "a\nprofile: lab")
    forged = type(made)(made.node, "why\nprofile: lab", made.advice, notes, made.findings)

    spec = parse_spec(render_request(order_for(forged), world.facts(), forged), "s.yaml")

    assert evil.measured.count("\n") == 1
    assert spec.profile == "prod"


SIZES = st.sampled_from(["0M", "4G", "6G", "12G", "16G", "40G", "130G", "512G"])


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    total=st.integers(3, 600),
    share=st.integers(40, 100),
    disk=st.integers(8, 999),
    used=st.integers(0, 90),
    cores=st.integers(4, 128),
    limit=SIZES,
    system=SIZES,
    log=SIZES,
    data=SIZES,
    profile=st.sampled_from(["prod", "lab"]),
)
def test_a_suggestion_never_blocks_in_the_world_it_was_made_for(
    world, make_disk, total, share, disk, used, cores, limit, system, log, data, profile
):
    """Whatever host and peers: a request without blockers, or a refusal that says why."""
    here = type(world)()
    here.memory(f"{total * KIB_OF_GIB} kB", f"{total * share // 100 * KIB_OF_GIB} kB")
    here.disks(make_disk("/", total=f"{disk}G", used=f"{disk * used // 100}G"))
    here.change("host", cpu_info=here.host.cpu_info.model_copy(update={"logical_cores": cores}))
    for key, value in {
        "memory_limit": limit,
        "system_memory": system,
        "log_disk_size": log,
        "datafile_size": data,
    }.items():
        here.parameter(key, value)

    try:
        made = suggest(here.facts(), profile, zone="zone2")
    except PreflightError as refusal:
        roomy = total * share // 100 >= 8 and disk * (100 - used) // 100 - disk // 20 >= 40
        assert not roomy, f"a host with room was refused: {refusal}"  # noqa: PT017
    else:
        again = here.set(configs=values(made), zone=made.node.zone).judge(profile)
        assert not again.blockers
        assert not [f for f in again if f.rule == "cfg-capacity-syntax" and f.answer != "pass"]


def test_disks_for_data_and_redo_are_used(world, make_disk):
    """A small system disk beside them no longer counts, and what to check is said."""
    disks = (
        make_disk("/", total="40G", used="30G"),
        make_disk("/data", "/dev/vdb1", total="900G", used="3.0G"),
        make_disk("/redo", "/dev/vdc1", total="300G", used="3.0G"),
    )
    made = suggest(world.parameter("datafile_size", "0M").disks(*disks).facts(), "prod")

    assert values(made)["data_dir"] == "/data/ob"
    assert values(made)["redo_dir"] == "/redo/ob"
    assert (values(made)["log_disk_size"], values(made)["datafile_size"]) == ("24G", "48G")
    assert reason(made, "data_dir") == "the disk at /data, 851G free"
    assert any(note.startswith("redo_dir /redo/ob must be empty") for note in made.notes)
    assert not made.findings.blockers


def test_sizes_are_those_of_the_disks_that_were_found(world, make_disk):
    """The log pool is kept to what /redo has."""
    disks = (
        make_disk("/", total="500G", used="30G"),
        make_disk("/data", "/dev/vdb1", total="40G", used="1.0G"),
        make_disk("/redo", "/dev/vdc1", total="20G", used="1.0G"),
    )
    made = suggest(world.parameter("datafile_size", "0M").disks(*disks).facts(), "prod")

    assert (values(made)["log_disk_size"], values(made)["datafile_size"]) == ("17G", "32G")


@pytest.mark.parametrize(
    ("mount", "device", "total"),
    [
        ("/data", "tmpfs", "900G"),
        ("/data", "10.0.0.9:/vol", "900G"),
        ("/data", "/dev/vdb", "9.0G"),
        ("/data", "/dev/vda1", "500G"),
    ],
)
def test_what_holds_no_data_is_left_alone(world, make_disk, mount, device, total):
    """Memory, the network, a disk that is too small, and one that is the home's."""
    disks = make_disk("/", total="500G", used="10G"), make_disk(mount, device, total=total)

    made = suggest(world.disks(*disks).facts(), "prod")

    assert not {"data_dir", "redo_dir"} & values(made).keys()


def test_a_disk_nobody_can_name_is_told_and_may_be_named(world, make_disk):
    """Its mount point is told only as a hash."""
    here = world.disks(
        make_disk("/", total="500G", used="10G"), make_disk("/mnt/odd", "/dev/vdd1", total="2.0T")
    )

    unnamed = suggest(here.facts(), "prod")
    named = suggest(here.facts(), "prod", folders={"data_dir": "/mnt/odd/ob"})

    assert any("/dev/vdd1 (2.0T" in note for note in unnamed.notes)
    assert not any("/dev/vdd1" in note for note in named.notes)
    assert values(named)["data_dir"] == "/mnt/odd/ob"
    assert reason(named, "data_dir") == "as wished"
