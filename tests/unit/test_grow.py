"""Tests of growing by number: who is chosen of a pool of spares, and why each other is not."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obscale.agent.models import Identity
from obscale.errors import SpecError
from obscale.plan.grow import Machine, candidates_of, choose, read_growth
from obscale.plan.grow_file import grown_of, orders_of
from obscale.reading import Unread
from obscale.request.models import ClusterSpec, SecretName
from obscale.spec import parse_spec
from obscale.spec.spares import read_spares
from tests.conftest import PreflightWorld

ZONES = ("zone1", "zone2", "zone3")
ROOT = ClusterSpec(endpoints=("https://10.0.0.1:2886",), password=SecretName(env="OB_ROOT"))


def spare(ip, *, cores=None, gib=None, identity=None, port=2886, version=None, silent=False):
    """Facts of one spare; without a word it is as its peers."""
    made = PreflightWorld().set(ip=ip, port=port, expected=(None, None))
    told = {"ip": ip, "port": port}
    told |= {"identity": identity} if identity else {}
    told |= {"ob_version": version} if version else {}
    made.change("info", **told)
    if gib:
        made.memory(f"{gib << 20} kB", f"{gib << 20} kB")
    if cores:
        cpu = made.host.cpu_info.model_copy(update={"logical_cores": cores})
        made.change("host", cpu_info=cpu)
    if silent:
        made.set(info=Unread("10.0.0.9:2886: refused", covered_by="agent-reachable"))
    return made.facts()


def chosen_of(*pool, **wanted):
    """Choose of these facts; gives targets by zone, and why the others are left out."""
    wanted = wanted or dict.fromkeys(ZONES, 1)
    told = choose("obcluster/1", wanted, candidates_of(pool, tuple(wanted), "prod")).told
    places = [(each.zone, each.target) for each in told.chosen]
    return places, {each.target: each.why for each in told.left_out}, told


def test_spares_as_their_peers_are_taken_in_the_order_of_their_addresses():
    """Zones in turn, the lower address first: 10.0.0.9 stands before 10.0.0.10."""
    pool = [spare(f"10.0.0.{n}") for n in (10, 9, 8, 7)]

    places, left, told = chosen_of(*pool)

    assert places == [
        ("zone1", "10.0.0.7:2886"),
        ("zone2", "10.0.0.8:2886"),
        ("zone3", "10.0.0.9:2886"),
    ]
    assert left == {
        "10.0.0.10:2886": "not needed: as good as those chosen, and its address comes later"
    }
    assert told.chosen[0].why.startswith("as the peers in zone1: ")
    assert "has room for memory_limit 16G" in told.chosen[0].why
    assert not told.missing


def test_one_like_the_peers_goes_before_a_larger_one_with_a_lower_address():
    """And the larger one is told what it has, and what they have."""
    places, left, _ = chosen_of(spare("10.0.0.4", cores=64, gib=512), spare("10.0.0.5"), zone2=1)

    assert places == [("zone2", "10.0.0.5:2886")]
    assert "less like the peers in zone2: 64 cores, 512G memory" in left["10.0.0.4:2886"]


def test_a_spare_in_the_network_of_a_zone_is_kept_for_it():
    """10.0.0.4 is in the network of all zones, 10.9.9.9 in none."""
    places, left, _ = chosen_of(spare("10.9.9.9"), spare("10.0.0.200"), zone1=1)

    assert places == [("zone1", "10.0.0.200:2886")]
    assert left == {"10.9.9.9:2886": "not needed, and not in the network of zone1"}


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (
            {"identity": Identity.CLUSTER_AGENT},
            "it says it is CLUSTER AGENT, and a spare is SINGLE",
        ),
        ({"version": "4.3.5.1-101000042024120211"}, "ob-version-equal: target 4.3.5.1"),
        ({"silent": True}, "it does not answer"),
        ({"gib": 4}, "nothing to suggest for 10.0.0.9:2886"),
    ],
)
def test_what_cannot_join_is_left_out_with_its_reason(other, why):
    """Whatever the zone."""
    places, left, told = chosen_of(spare("10.0.0.9", **other), spare("10.0.0.10"), zone2=1)

    assert places == [("zone2", "10.0.0.10:2886")]
    assert why in left["10.0.0.9:2886"]
    assert not told.missing


def test_a_member_is_no_spare_and_neither_is_a_second_agent_on_its_host():
    """10.0.0.1 is in the cluster."""
    _, left, told = chosen_of(spare("10.0.0.1"), spare("10.0.0.1", port=2986), zone2=1)

    assert left == {
        "10.0.0.1:2886": "it is in the cluster already",
        "10.0.0.1:2986": "a member of the cluster is on its host already",
    }
    assert told.missing == {"zone2": 1}


def test_of_two_on_one_host_one_is_taken():
    """The one with the lower port."""
    places, left, told = chosen_of(
        spare("10.0.0.9", port=2986), spare("10.0.0.9"), zone1=1, zone2=1
    )

    assert places == [("zone1", "10.0.0.9:2886")]
    assert left == {"10.0.0.9:2986": "on the same host as 10.0.0.9:2886, which goes before it"}
    assert told.missing == {"zone2": 1}


def test_too_few_make_no_request_and_say_how_many_are_missing():
    """Nothing is asked for, also of those that could join."""
    order = orders_of(read_spares("10.0.0.7"), ROOT, None)[0]
    pool = (spare("10.0.0.7"), spare("10.0.0.8", silent=True))

    grown = grown_of(order, pool, read_growth(["2"]))

    assert grown.spec is None
    assert grown.text == ""
    assert grown.told.request is None
    assert sum(grown.told.missing.values()) == 5
    assert [each.target for each in grown.told.chosen] == ["10.0.0.7:2886"]
    assert [each.target for each in grown.told.left_out] == ["10.0.0.8:2886"]


def test_a_request_reads_back_as_it_was_chosen_and_holds_no_secret(monkeypatch):
    """An ordinary request: a line for each node, its password by name."""
    monkeypatch.setenv("SPARE_PASSWORD", "canary-of-a-spare")
    (order,) = orders_of(read_spares("10.0.0.7"), ROOT, "lab")
    facts = spare("10.0.0.7")
    named = facts.node.model_copy(update={"targetAgentPassword": SecretName(env="SPARE_PASSWORD")})
    object.__setattr__(facts, "node", named)

    grown = grown_of(order, (facts,), read_growth(["zone3=1"]))

    spec = parse_spec(grown.text, "request.yaml")
    assert spec == grown.spec
    assert [(node.address, node.zone) for node in spec.nodes] == [("10.0.0.7:2886", "zone3")]
    assert spec.nodes[0].targetAgentPassword == SecretName(env="SPARE_PASSWORD")
    assert isinstance(spec.cluster, ClusterSpec)
    assert (spec.cluster.name, spec.cluster.id, spec.profile) == ("obcluster", 1, "lab")
    assert "canary-of-a-spare" not in grown.text


KINDS = [
    spare("10.0.0.20"),
    spare("10.0.0.21"),
    spare("10.0.1.22"),
    spare("10.0.0.23", cores=64, gib=256),
    spare("10.0.0.24", gib=48),
    spare("10.0.0.25", identity=Identity.SCALING_OUT),
    spare("10.0.0.26", silent=True),
    spare("10.0.0.20", port=2986),
]
"""A pool of all kinds."""
NODES = [spare(f"10.0.0.{30 + at}").node for at in range(6)]
ALL = candidates_of(KINDS, ZONES, "prod")


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations(range(len(KINDS))),
    size=st.integers(1, len(KINDS)),
    wanted=st.dictionaries(st.sampled_from(ZONES), st.integers(1, 3), min_size=1),
)
def test_the_same_pool_in_any_order_gives_the_same_choice(order, size, wanted):
    """Chosen, their zones and reasons, left out and theirs, and what is missing."""
    part = range(size)
    sorted_pool = [ALL[at] for at in part]
    shuffled = [ALL[at] for at in order if at in part]

    first = choose("obcluster/1", dict(sorted(wanted.items())), sorted_pool).told
    again = choose("obcluster/1", dict(sorted(wanted.items())), shuffled).told

    assert first == again
    assert len(first.chosen) + sum(first.missing.values()) == sum(wanted.values())
    assert len(first.chosen) + len(first.left_out) == size


@settings(max_examples=200, deadline=None)
@given(
    fits=st.lists(st.sets(st.sampled_from(ZONES)), max_size=6),
    wanted=st.dictionaries(st.sampled_from(ZONES), st.integers(1, 2), min_size=1),
)
def test_nobody_is_missing_where_there_is_a_way_to_fill_all_places(fits, wanted):
    """Against all ways there are; each spare fits some zones only."""
    pool = [
        replace(
            ALL[0],
            node=NODES[at],
            offers={zone: offer for zone, offer in ALL[0].offers.items() if zone in zones},
        )
        for at, zones in enumerate(fits)
    ]

    told = choose("obcluster/1", dict(sorted(wanted.items())), pool).told

    places = [zone for zone, count in wanted.items() for _ in range(count)]
    assert len(told.chosen) == most_filled(places, [frozenset(zones) for zones in fits])


def most_filled(places, fits):
    """Try every way."""
    if not places:
        return 0
    first, *others = places
    ways = [most_filled(others, fits)]
    for at, zones in enumerate(fits):
        if first in zones:
            ways.append(1 + most_filled(others, [*fits[:at], *fits[at + 1 :]]))
    return max(ways)


def test_how_unlike_machines_are_is_counted_in_doublings():
    """A tenth is nothing; what is not told does not count, and nothing told is far away."""
    one = Machine(16, 64.0, 1000.0)

    assert one.distance(Machine(16, 60.0, 1050.0)) == 0
    assert one.distance(Machine(32, 64.0, None)) == 1
    assert one.distance(Machine(None, None, None)) == math.inf


@pytest.mark.parametrize(
    ("texts", "each", "zones"),
    [
        (["2"], 2, {}),
        (["zone2=1"], 0, {"zone2": 1}),
        (["2", "zone2=1"], 2, {"zone2": 1}),
        (["zone1=1,zone-2=3"], 0, {"zone1": 1, "zone-2": 3}),
    ],
)
def test_growth_is_read_as_it_is_written(texts, each, zones):
    """A number for all zones, and numbers for single ones above it."""
    growth = read_growth(texts)

    assert (growth.each, dict(growth.zones)) == (each, zones)


@pytest.mark.parametrize("text", ["0", "-1", "x", "zone1=0", "2,3", "zone1=1,zone1=2", "", "1001"])
def test_what_is_no_growth_is_refused_in_one_line(text):
    """It says what to write instead."""
    with pytest.raises(SpecError, match="--grow"):
        read_growth([text])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("pool.yaml", "- 10.0.0.7\n- 10.0.0.7:2886\n", ":2: '10.0.0.7:2886' is listed twice"),
        ("pool.yaml", "- spare.example:2886\n", "pool.yaml:1: spares[0]: "),
        ("pool.yaml", "- {ip: 10.0.0.7, targetAgentPassword: canary}\n", "never stands here"),
        ("pool.yaml", "nodes: []\n", "pool.yaml: is no list of agents"),
        ("pool.yaml", "[]\n", "is empty; list at least one agent"),
        ("pool.csv", "ip,zone\n10.0.0.7,zone1\n", "pool.csv:2: column zone: --grow says which"),
        ("pool.csv", "ip,memory_limit\n10.0.0.7,1G\n", "column memory_limit: start options are"),
        ("pool.csv", "ip\nspare.example\n", "pool.csv:2: column ip: 'spare.example' is no IP"),
        ("pool.csv", "ip,agent_password\n10.0.0.7,canary\n", "a secret has no place in a table"),
    ],
)
def test_a_pool_with_a_fault_is_refused_by_its_place(tmp_path, monkeypatch, name, text, said):
    """One clear line, and no secret in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text, encoding="utf-8")

    with pytest.raises(SpecError) as caught:
        read_spares(name)

    told = "\n".join(caught.value.lines)
    assert said in told
    assert "canary" not in told


def test_a_pool_is_a_list_a_table_or_typed(tmp_path, monkeypatch):
    """All three give the same agents; a list and a table name passwords too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(
        "- 10.0.0.7:2886\n- {ip: fd00::8, targetAgentPassword: {env: SPARE}}\n", encoding="utf-8"
    )
    (tmp_path / "a.csv").write_text(
        "ip;port;agent_password_env\n10.0.0.7;2886;\nfd00::8;;SPARE\n", encoding="utf-8"
    )
    listed = read_spares("a.yaml")

    assert listed == read_spares("a.csv")
    assert [node.address for node in listed] == ["10.0.0.7:2886", "[fd00::8]:2886"]
    assert listed[1].targetAgentPassword == SecretName(env="SPARE")
    assert [node.address for node in read_spares("10.0.0.7,[fd00::8]:2886")] == [
        node.address for node in listed
    ]
    with pytest.raises(SpecError, match="nowhere: cannot be read"):
        read_spares("nowhere")
