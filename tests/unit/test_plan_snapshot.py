"""Tests of what a plan notices as changed."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obscale.agent.models import Identity
from obscale.plan.snapshot import changes, snapshot_of, topology_hash
from obscale.reading import Unread


def stands(world):
    return snapshot_of([world.facts()])


def told(then, world):
    """What is said to have changed, and that the hash agrees."""
    now = stands(world)
    said = changes(then, now)
    assert bool(topology_hash(then) != topology_hash(now)) or not said
    return said


def joined(world, make_zone, **more):
    """The world after its own target has joined zone2."""
    zone2 = world.zones[1]
    new = zone2.servers[0].model_copy(update={"id": 4, "ip": "10.0.0.4"})
    grown = zone2.model_copy(update={"servers": (*zone2.servers, new)})
    row = {"ip": "10.0.0.4", "port": 2886, "zone": "zone2", "identity": "CLUSTER AGENT"}
    listed = world.ob_info.model_dump(by_alias=True)
    listed["agent_info"] = [*listed["agent_info"], row]
    return world.change("info", identity=Identity.CLUSTER_AGENT).set(
        zones=(world.zones[0], grown, world.zones[2]),
        ob_info=type(world.ob_info).model_validate(listed),
        **more,
    )


def test_an_unchanged_cluster_has_no_changes(world):
    """The same state read twice."""
    assert told(stands(world), world) == ()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda w, z, d: w.set(expected=w.expected, zones=w.zones[:2]), "zone zone3 is gone"),
        (lambda w, z, d: w.set(zones=w.zones[:2]), "server 10.0.0.3:2882 is gone"),
        (lambda w, z, d: w.set(zones=(*w.zones, z("zone4", 7))), "zone zone4 was added (ACTIVE)"),
        (
            lambda w, z, d: w.set(zones=(*w.zones, z("zone4", 7))),
            "server 10.0.0.7:2882 was added (RUNNING ACTIVE in zone4)",
        ),
        (
            lambda w, z, d: w.change_server(3, inner_status="INACTIVE"),
            "server 10.0.0.3:2882 was RUNNING ACTIVE in zone3 and is now RUNNING INACTIVE in zone3",
        ),
        (
            lambda w, z, d: w.set(
                zones=(w.zones[0].model_copy(update={"inner_status": "INACTIVE"}), *w.zones[1:])
            ),
            "zone zone1 was ACTIVE and is now INACTIVE",
        ),
        (
            lambda w, z, d: w.set(unfinished=(d("nothing yet"),)),
            "DAG 17 (Cluster scale out) is under way or failed",
        ),
        (
            lambda w, z, d: w.change("info", identity=Identity.FOLLOWER),
            "target 10.0.0.4:2886 was SINGLE and is now FOLLOWER",
        ),
        (
            lambda w, z, d: w.set(info=Unread("silence")),
            "target 10.0.0.4:2886 was SINGLE and is now silent",
        ),
        (
            lambda w, z, d: w.change("cluster_info", cluster_id=9),
            "the cluster was obcluster/1 and is now obcluster/9",
        ),
        (
            lambda w, z, d: w.set(zones=Unread("down")),
            "the zones and servers can no longer be read",
        ),
        (
            lambda w, z, d: w.set(unfinished=Unread("down")),
            "the unfinished DAGs can no longer be read",
        ),
    ],
)
def test_each_change_is_said(world, make_zone, make_dag, change, line):
    """Servers, zones, DAGs, the target, the cluster itself, and what fell silent."""
    then = stands(world)

    said = told(then, change(world, make_zone, make_dag))

    assert any(each.startswith(line) for each in said), said


def test_a_dag_that_ended_since_is_a_change(world, make_dag):
    """Somebody retried it, or rolled it back: the topology may be another one."""
    then = stands(world.set(unfinished=(make_dag("nothing yet"),)))

    assert told(then, world.set(unfinished=())) == ("DAG 17 (Cluster scale out) has ended",)


def test_what_can_be_read_again_is_a_change(world):
    """A plan made half blind was signed half blind."""
    then = stands(type(world)().set(unfinished=Unread("down")))

    assert told(then, world) == ("the unfinished DAGs could not be read when it was planned",)


def test_the_plans_own_work_is_no_change(world, make_zone, make_dag):
    """Its target under way, or joined: applying it again takes that up."""
    then = stands(world)
    own_dag = make_dag("scale out of 10.0.0.4:2886 failed", state="RUNNING")

    under_way = told(
        then, world.set(unfinished=(own_dag,)).change("info", identity=Identity.SCALING_OUT)
    )
    member = told(then, joined(world.set(unfinished=()), make_zone))

    assert under_way == ()
    assert member == ()


def test_another_change_beside_the_plans_own_work_is_still_said(world, make_zone):
    """Its target has joined, and somebody stopped another server."""
    then = stands(world)

    said = told(then, joined(world.change_server(3, status="STOPPED"), make_zone))

    assert said == (
        "server 10.0.0.3:2882 was RUNNING ACTIVE in zone3 and is now STOPPED ACTIVE in zone3",
    )


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_the_hash_does_not_depend_on_the_order_of_anything(world, make_zone, make_dag, data):
    """Zones, servers inside them, DAGs and targets come in any order."""
    dags = [make_dag("a", number=n) for n in (3, 5, 8)]
    servers = [make_zone("zone2", n).servers[0] for n in (2, 5, 6)]
    zones = [z.model_copy() for z in type(world)().zones]
    straight = type(world)().set(
        zones=(zones[0], zones[1].model_copy(update={"servers": tuple(servers)}), zones[2]),
        unfinished=tuple(dags),
    )
    mixed_servers = data.draw(st.permutations(servers))
    mixed = [zones[0], zones[1].model_copy(update={"servers": tuple(mixed_servers)}), zones[2]]
    crooked = type(world)().set(
        zones=tuple(data.draw(st.permutations(mixed))),
        unfinished=tuple(data.draw(st.permutations(dags))),
    )
    other = type(world)().set(ip="10.0.0.9")
    rows = [straight.facts(), other.set(zones=straight.zones, unfinished=tuple(dags)).facts()]

    assert topology_hash(stands(straight)) == topology_hash(stands(crooked))
    assert topology_hash(snapshot_of(rows)) == topology_hash(snapshot_of(rows[::-1]))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(number=st.integers(1, 3), status=st.sampled_from(["STOPPED", "UNAVAILABLE", "DELETING"]))
def test_the_hash_tells_any_other_status(world, number, status):
    """One server in another state is another cluster to a plan."""
    changed = type(world)().change_server(number, status=status)

    assert topology_hash(stands(world)) != topology_hash(stands(changed))
