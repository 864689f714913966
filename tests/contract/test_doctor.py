"""Tests of the diagnosis over HTTP: causes are told, and safe choices end well.

Each scenario is played in a simulated cluster, diagnosed through the real client, and each choice
the doctor calls safe is carried out in a fresh copy of it.
"""

import asyncio
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import Operator
from obscale.connect.connections import Connections
from obscale.errors import DagFailedError
from obscale.recovery.consequences import Remedy
from obscale.recovery.read import diagnose_now
from obscale.recovery.run import retry, roll_back
from obscale.request.models import ClusterSpec
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault, in_process

TARGET = "127.0.1.4:2886"
ROOT = SecretStr("sandbox-root")
ENTRIES = ("127.0.1.1", "127.0.1.2", "127.0.1.3")
TIME_LIMITS = TimeLimits(poll_seconds=0.001, undo_seconds=30, retry_pause_seconds=0.001)
STORE = "/home/admin/oceanbase/store"
FULL = {"dirs": {STORE: ["somebody-s-data"]}}
LOCKED = {"agent_password": "own"}
OLDER = {"obshell_version": "4.3.1.0-12024112900"}
R, B = Remedy.RETRY, Remedy.ROLLBACK
OUT_OF_REACH = "answer of the call lost"
NAMED = "answer of the call lost, own password named"


def down(at, up=None):
    """The target goes away at a virtual second, and may come back."""
    cards = [Fault.agent_down(TARGET, after_seconds=at)]
    return cards + ([Fault.agent_up(TARGET, after_seconds=up)] if up else [])


# name: faults, changes of the spare, zone, seconds, cause, safe remedies beside handing over
SCENARIOS = {
    "bad ports": ([Fault.fail_stage(1)], {}, "zone2", 60, "invalid-ports", {B}),
    "call refused": ([], LOCKED, "zone2", 60, "wrong-agent-password", {B}),
    "call failed": ([Fault.fail_stage(2)], {}, "zone2", 60, "target-unreachable", {R, B}),
    "answer of the call lost": (
        [Fault.orphan_local_dag()],
        {},
        "zone2",
        60,
        "orphaned-local-dag",
        {B},
    ),
    "answer of the call lost, own password named": (
        [Fault.orphan_local_dag()],
        LOCKED,
        "zone2",
        60,
        "orphaned-local-dag",
        {B},
    ),
    "first step failed": ([Fault.fail_stage(3)], {}, "zone2", 60, "target-not-ready", {R, B}),
    "directories failed": ([Fault.fail_stage(4)], {}, "zone2", 60, "directories-failed", set()),
    "directory full": ([], FULL, "zone2", 60, "directory-not-empty", set()),
    "target gone at stage 4": (down(12), {}, "zone2", 60, "target-unreachable", set()),
    "target back after stage 4": (
        down(12, up=20),
        {},
        "zone2",
        60,
        "target-unreachable",
        {R, B},
    ),
    "observer died": ([Fault.observer_dies()], {}, "zone2", 60, "observer-died", {R, B}),
    "observer died, its log lost": (
        [Fault.lose_log(5), Fault.observer_dies()],
        {},
        "zone2",
        60,
        "observer-died",
        {R, B},
    ),
    "log lost": (
        [Fault.lose_log(7, seconds=1e6), Fault.fail_stage(7)],
        {},
        "zone2",
        60,
        "log-lost",
        {R, B},
    ),
    "server added, log lost": (
        [Fault.lose_log(7, seconds=1e6), Fault.repeat_stage(7)],
        {},
        "zone2",
        60,
        "server-listed",
        set(),
    ),
    "observer gone": (
        [Fault.observer_down(TARGET, stage=7)],
        {},
        "zone2",
        60,
        "observer-gone",
        {B},
    ),
    "observer slow": (
        [Fault.slow_observer(seconds=150)],
        {},
        "zone2",
        120,
        "slow-observer",
        {R},
    ),
    "observer up too late": (
        [Fault.slow_observer(seconds=150)],
        {},
        "zone2",
        200,
        "slow-observer",
        {R},
    ),
    "target gone at stage 5, back": (
        down(20, up=40),
        {},
        "zone2",
        90,
        "target-unreachable",
        {R},
    ),
    "target gone at stage 5": (down(20), {}, "zone2", 90, "target-unreachable", set()),
    "zone changed": ([Fault.fail_stage(6)], {}, "zone2", 90, "zone-changed", {R, B}),
    "server refused": ([Fault.fail_stage(7)], {}, "zone2", 90, "add-server-timeout", {R, B}),
    "server refused for good": (
        [Fault.fail_stage(7, text="add server 127.0.1.4:2882 failed: Error 4179: clock")],
        {},
        "zone2",
        90,
        "add-server-refused",
        {R, B},
    ),
    "row left over": ([Fault.fail_stage(8)], {}, "zone2", 90, "leftover-agent-row", {R, B}),
    "zone not added": ([Fault.fail_stage(7)], {}, "zone9", 90, "database-refused", {R, B}),
    "zone not started": ([Fault.fail_stage(8)], {}, "zone9", 90, "database-refused", {R, B}),
    "server of a new zone refused": (
        [Fault.fail_stage(9)],
        {},
        "zone9",
        90,
        "add-server-timeout",
        {R, B},
    ),
    "row of a new zone left over": (
        [Fault.fail_stage(10)],
        {},
        "zone9",
        90,
        "leftover-agent-row",
        {R, B},
    ),
    "target joins late": ([Fault.fail_stage(9)], {}, "zone2", 120, "late-joiner", {R}),
    "target gone at the end": (down(26), {}, "zone2", 120, "target-unreachable", set()),
    "target back after the end": (
        down(26, up=100),
        {},
        "zone2",
        150,
        "late-joiner",
        {R},
    ),
    "target older, away for its upgrade": (
        [Fault.fail_stage(9)],
        OLDER,
        "zone2",
        120,
        "late-joiner",
        {R},
    ),
}


@pytest.fixture
def ward(build_world, asker):
    """Play a scenario until its DAG has failed; give world, link and the id of the DAG."""

    @asynccontextmanager
    async def play(name):
        faults, spare, zone, seconds, _, _ = SCENARIOS[name]
        world = build_world(spare=spare)
        for fault in faults:
            world.play(fault)
        own = LOCKED["agent_password"] if name == NAMED else None
        answer = await asker(world).scale_out(zone=zone, target_password=own or "")
        assert answer.status_code == 200, answer.text
        world.advance(seconds)
        transport = in_process(world)

        def client(ip, root=None, own=None):
            address = AgentAddress(ip, 2886)
            return AgentClient(address, root_password=root, agent_password=own, transport=transport)

        entries = ClusterClient([client(ip, ROOT) for ip in ENTRIES])
        own = None if own is None else SecretStr(own)
        async with entries as cluster, client("127.0.1.4", own=own) as target:
            link = Connections(cluster, target, ClusterSpec(endpoints=ENTRIES), None, ROOT)
            yield world, link, answer.json()["data"]["id"]

    return play


async def passing(world, work):
    """Let virtual time pass while some work waits for it."""
    task = asyncio.ensure_future(work)
    while not task.done():
        world.advance(0.5)
        await asyncio.sleep(0.001)
    return task.result()


async def saw(_dag, _changes):
    """Nobody watches."""


@pytest.mark.parametrize("name", SCENARIOS)
async def test_each_scenario_is_recognised_on_the_wire(ward, name):
    """Cause and safe choices are as the scenario promises; what is recommended is among them."""
    async with ward(name) as (_, link, dag_id):
        found = await diagnose_now(link, dag_id)

    *_, cause, safe = SCENARIOS[name]
    assert found.cause == cause
    assert {c.operator for c in found.choices if c.safe} - {Remedy.HAND_OVER} == safe
    assert found.choice(found.recommended).safe


@pytest.mark.parametrize(
    "name", [n for n, row in SCENARIOS.items() if B in row[5] and n != OUT_OF_REACH]
)
async def test_each_rollback_called_safe_ends_single_unlocked_and_empty(ward, name):
    """Carried out: target SINGLE, both locks free, no server, row, zone or identity left."""
    async with ward(name) as (world, link, dag_id):
        found = await diagnose_now(link, dag_id)

        await passing(world, roll_back(link, found, TIME_LIMITS, saw=saw, say=lambda _text: None))

        cluster, target = world.clusters[0], world.agent(TARGET)
        assert (target.identity, target.under_maintenance) == ("SINGLE", False)
        assert not any(dag.is_unfinished for dag in cluster.dags)
        assert target not in cluster.agents
        await passing(world, asyncio.sleep(0.1))
        assert [zone.name for zone in cluster.zones] == ["zone1", "zone2", "zone3"]
        assert len(cluster.servers) == 3
        assert not (target.observer and target.observer.alive)


async def test_a_target_no_password_reaches_is_named_with_what_to_do_on_its_host(ward):
    """The cluster's side is undone and free; the target's own DAG nobody knows, so it is told."""
    async with ward(OUT_OF_REACH) as (world, link, dag_id):
        found = await diagnose_now(link, dag_id)

        with pytest.raises(DagFailedError, match=r"run/obshell\.sock") as caught:
            await passing(
                world, roll_back(link, found, TIME_LIMITS, saw=saw, say=lambda _text: None)
            )

        after = await diagnose_now(link, dag_id)
        target = world.agent(TARGET)
        assert "stays SCALING OUT" in str(caught.value)
        assert (after.cause, after.recommended) == ("orphan-out-of-reach", Remedy.HAND_OVER)
        assert after.choice(B) is None
        assert not any(dag.is_unfinished for dag in world.clusters[0].dags)
        assert (target.identity, target.dags[-1].state) == ("SCALING OUT", "FAILED")
        assert not link.target.has_root_password


@pytest.mark.parametrize("name", [n for n, row in SCENARIOS.items() if R in row[5]])
async def test_each_retry_called_safe_ends_with_a_member(ward, name):
    """Carried out, once or at most three times: SUCCEED forwards, the target a cluster agent."""
    async with ward(name) as (world, link, dag_id):
        cluster, target = world.clusters[0], world.agent(TARGET)
        dag = cluster.dags[-1]

        for _ in range(3):
            found = await diagnose_now(link, dag_id)
            if found.cause == "carried-out":
                break
            assert found.choice(R).safe
            await retry(link, found, lambda _text: None)
            world.advance(150)

        assert (dag.state, dag.operator) == ("SUCCEED", "RUN")
        assert target.identity == "CLUSTER AGENT"
        assert len(cluster.servers) == 4
        assert target.files.deleted == []


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        (name, remedy)
        for name in ("directory full", "directories failed")
        for remedy in (Operator.RETRY, Operator.ROLLBACK)
    ],
)
async def test_what_is_called_a_loss_really_deletes(ward, name, remedy):
    """The refusal is no caution too many: the operator alone deletes on the target."""
    async with ward(name) as (world, link, dag_id):
        target = world.agent(TARGET)
        target.files.make(STORE, "somebody-s-data")

        await link.cluster.current.operate_dag(dag_id, remedy)
        world.advance(60)

        assert STORE in target.files.deleted


@pytest.mark.parametrize("name", ["observer slow", "observer up too late", "target joins late"])
async def test_what_is_called_a_dead_end_really_strands_the_target(ward, name):
    """Rolled back by somebody who did not ask: named afterwards, and handed over."""
    async with ward(name) as (world, link, dag_id):
        await link.cluster.current.operate_dag(dag_id, Operator.ROLLBACK)
        world.advance(1000)

        found = await diagnose_now(link, dag_id)

        assert world.agent(TARGET).identity in {"SCALING OUT", "CLUSTER AGENT"}
        assert world.agent(TARGET) not in world.clusters[0].agents
        assert found.cause in {"target-stuck", "undone-member"}
        assert found.recommended is Remedy.HAND_OVER
        with pytest.raises(DagFailedError, match="is not: "):
            await passing(
                world, roll_back(link, found, TIME_LIMITS, saw=saw, say=lambda _text: None)
            )


async def test_retry_is_in_vain_until_the_observer_is_started_again(ward):
    """Sent by somebody who did not ask it fails in the same place; after the start it helps."""
    async with ward("observer gone") as (world, link, dag_id):
        dag = world.clusters[0].dags[-1]
        await link.cluster.current.operate_dag(dag_id, Operator.RETRY)
        world.advance(60)
        stood = (dag.state, dag.stage)
        in_vain = await diagnose_now(link, dag_id)
        world.play(Fault.observer_up(TARGET))

        found = await diagnose_now(link, dag_id)
        await retry(link, found, lambda _text: None)
        world.advance(60)

    assert stood == ("FAILED", 7)
    assert "no observer runs on the target" in in_vain.choice(R).dead_end
    assert found.choice(R).safe
    assert (dag.state, dag.operator) == ("SUCCEED", "RUN")


async def test_a_retry_of_a_half_rolled_back_dag_really_adds_no_server(build_world, asker):
    """The zone could not be deleted yet: RETRY then ends SUCCEED without the server; refused."""
    world = build_world(delete_server_seconds=500)
    world.play(Fault.fail_stage(10))
    await asker(world).scale_out(zone="zone9")
    world.advance(90)
    transport = in_process(world)

    def client(ip, root=ROOT):
        return AgentClient(AgentAddress(ip, 2886), root_password=root, transport=transport)

    async with ClusterClient([client(ENTRIES[0])]) as cluster, client("127.0.1.4", None) as target:
        link = Connections(cluster, target, ClusterSpec(endpoints=ENTRIES), None, ROOT)
        dag = world.clusters[0].dags[-1]
        await cluster.current.operate_dag(dag.generic_id(), Operator.ROLLBACK)
        world.advance(60)

        found = await diagnose_now(link, dag.generic_id())
        await cluster.current.operate_dag(dag.generic_id(), Operator.RETRY)
        world.advance(200)

    assert found.cause == "half-rolled-back"
    assert found.recommended is Remedy.ROLLBACK
    assert "without any server added" in found.choice(R).dead_end
    assert target_is_no_member(world)


def target_is_no_member(world):
    """Neither a server that stays nor an agent row of the target."""
    cluster, target = world.clusters[0], world.agent(TARGET)
    serving = [s for s in cluster.servers if s.agent is target and not s.deleting]
    return not serving and target.identity != "CLUSTER AGENT"
