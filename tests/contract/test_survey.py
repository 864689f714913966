"""Tests of preflight's reader: it reads a simulated cluster and names each gap."""

import asyncio
import gc
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from obscale.agent.clock import ClockReading
from obscale.agent.models import HostInfo
from obscale.connect.connections import EnvironmentSecrets, connected
from obscale.errors import AgentProtocolError, AgentUnreachableError, NotAuthorizedError
from obscale.plan import survey_all
from obscale.preflight.facts import Facts, PortState, PreviousReading
from obscale.preflight.port_probe import probe_port
from obscale.preflight.read import survey
from obscale.preflight.registry import judge
from obscale.reading import PEER_SECONDS, Unread
from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, SecretName
from obscale.request.scale_out import ScaleOut
from obscale.sandbox import Fault, ScaledClock, World, WorldConfig, default_config, serve
from obscale.sandbox.config import AgentConfig, DiskConfig, HostConfig

SAMPLE = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
ROOT = "OBSCALE_SURVEY_ROOT"
Look = Callable[..., Any]
MOMENTS = 80
"""Enough steps of the loop for the first answers to be there, and what follows them begun."""


@pytest.fixture
async def order_in(monkeypatch) -> AsyncIterator[Look]:
    """Give a function that serves a world and asks for its first spare; both end with the test."""
    async with AsyncExitStack() as stack:

        async def order_in_world(*, faults=(), root=None, cut=0, **changes: Any) -> ScaleOut:
            config = default_config().model_copy(update={"port": 0} | changes)
            world = World(config, clock=ScaledClock(speed=30))
            ready = (await stack.enter_async_context(serve(world))).ready
            cluster, spare = ready["clusters"][0], ready["spares"][0]
            for fault in faults:
                world.play(fault(ready))
            monkeypatch.setenv(ROOT, root or cluster["root_password"])
            node = NodeSpec(
                agentInfo=AgentInfoSpec(ip=spare["ip"], port=spare["port"]),
                zone="zone2",
                obConfigs=SAMPLE,
            )
            return ScaleOut(
                cluster=ClusterSpec(
                    endpoints=tuple(f"{a['ip']}:{a['port']}" for a in cluster["agents"])[cut:],
                    password=SecretName(env=ROOT),
                    name=cluster["name"],
                    id=cluster["id"],
                ),
                node=node,
                batch=(node,),
            )

        yield order_in_world


@pytest.fixture
def look(order_in) -> Look:
    """Give a function that surveys a world for its first spare."""

    async def survey_world(*, earlier=None, **world: Any) -> Facts:
        order = await order_in(**world)
        async with connected(order, EnvironmentSecrets()) as link:
            return await survey(link, order, earlier=earlier)

    return survey_world


def down(agent):
    return lambda ready: Fault.agent_down(agent(ready))


def member(number):
    return lambda ready: "{ip}:{port}".format(**ready["clusters"][0]["agents"][number])


def spare(ready):
    return "{ip}:{port}".format(**ready["spares"][0])


async def test_everything_the_rules_need_is_read(look):
    """No fact of a healthy, current cluster is missing, and the sample is ready."""
    facts = await look()

    cluster, target = facts.cluster, facts.target
    told = [cluster.info, cluster.ob_info, cluster.cluster_info, cluster.topology]
    told += [cluster.parameters, cluster.unit_config_limit, cluster.unfinished, cluster.last_dag]
    told += [cluster.unit_configs, cluster.pools, cluster.tenants, cluster.statistics]
    told += [target.info, target.status, target.host, target.unfinished, target.clock]
    told += [target.ob_info, target.utc_offset_seconds]
    assert not [fact for fact in told if isinstance(fact, Unread)]
    assert target.signed_read == "ok"
    assert cluster.license is None
    assert len(cluster.clocks) == 3
    assert set(cluster.utc_offsets_seconds.values()) == {target.utc_offset_seconds} == {28_800.0}
    assert all(isinstance(reading, ClockReading) for reading in cluster.clocks.values())
    findings = judge(facts, "prod")
    assert not findings.blockers
    # How closely clocks are compared depends on how busy this machine is.
    assert {f.rule for f in findings.warnings} - {"clock-precision"} == {
        "disk-same-mount",
        "zone-balance",
    }
    assert {f.rule for f in findings if f.answer == "unknown"} <= {"clock-precision"}
    for rule in ("os-match", "disk-drift", "spec-drift", "units-fit", "tz-match"):
        assert findings.of_rule(rule)[0].answer == "pass"


async def test_a_silent_target_is_a_finding_not_an_error(look):
    """The cluster's facts are there; the target's gap is one block."""
    facts = await look(faults=[down(spare)])

    findings = judge(facts, "lab")

    assert isinstance(facts.target.info, Unread)
    assert [f.rule for f in findings.blockers] == ["agent-reachable"]


async def test_another_entry_agent_answers_for_one_that_is_down(look):
    """A plan does not depend on the first agent of the list."""
    facts = await look(faults=[down(member(0))])

    first, *others = (row.address for row in facts.cluster.ob_info.agent_info)
    assert facts.cluster.entry in others
    assert isinstance(facts.cluster.clocks[first], Unread)
    assert len(facts.cluster.zones()) == 3


async def test_no_entry_agent_at_all_is_an_error(look):
    """Without the cluster nothing can be judged."""
    with pytest.raises(AgentUnreachableError):
        await look(faults=[down(member(n)) for n in range(3)])


async def test_a_wrong_root_password_is_an_error(look):
    """It is the operator's to correct, and no finding about the node."""
    with pytest.raises(NotAuthorizedError):
        await look(root="not-the-password")


async def test_the_wrong_scheme_is_an_error(look):
    """TLS agents asked in plain http: nobody answers as obshell."""
    with pytest.raises((AgentProtocolError, AgentUnreachableError)):
        await look(tls=True)


async def test_an_old_spare_hides_its_machine_and_the_plan_says_so(look):
    """Below 4.3.0.0 there is no host-info: one finding, no guess."""
    facts = await look(spares=(AgentConfig(obshell_version="4.2.6.0-1"),))

    findings = judge(facts, "prod")

    assert isinstance(facts.target.host, Unread)
    assert facts.target.host.supported is False
    assert not findings.blockers
    loud = {finding.rule for finding in findings.warnings}
    assert {"host-facts-missing", "agent-version-equal"} <= loud


async def test_an_old_cluster_is_read_from_what_it_has(look):
    """Below 4.3.0.0 zones and servers come from /ob/info, and the gap is named once."""
    facts = await look(obshell_version="4.2.6.0-1")

    findings = judge(facts, "lab")

    assert [zone.name for zone in facts.cluster.zones()] == ["zone1", "zone2", "zone3"]
    assert findings.of_rule("cluster-facts-missing")[0].answer == "unknown"
    assert findings.of_rule("new-zone-intent")[0].answer == "pass"
    assert findings.of_rule("cluster-identity-pinned")[0].answer == "pass"


async def test_a_target_password_is_proved_by_a_signed_read(look):
    """A password nobody gave is found here, before it holds the cluster's lock."""
    facts = await look(spares=(AgentConfig(agent_password="spare-secret"),))

    finding = judge(facts, "prod").of_rule("agent-auth")[0]

    assert finding.answer == "block"
    assert "spare-secret" not in repr(facts)


async def test_a_clock_that_is_wrong_is_measured(look):
    """Three seconds are proved in spite of the round trips."""
    facts = await look(spares=(AgentConfig(clock_offset_seconds=3.0),))

    finding = judge(facts, "lab").of_rule("clock-skew")[0]

    assert finding.answer == "block"
    assert "ahead" in finding.measured


async def test_what_changed_since_an_earlier_look_is_judged(look):
    """Somebody filled the disk between two looks at it."""
    before = await look()
    full = HostConfig(disks=(DiskConfig(used="100G"),))

    minutes_ago = PreviousReading(before.now - timedelta(minutes=16), before.look().host)
    facts = await look(spares=(AgentConfig(host=full),), earlier=minutes_ago)

    for rule in ("disk-recent-usage", "preflight-freshness"):
        assert judge(before, "prod").of_rule(rule)[0].answer == "n-a"
        assert judge(facts, "prod").of_rule(rule)[0].answer == "warn"


async def test_two_looks_in_one_breath_are_no_trend(look):
    """A figure of a moment ago says nothing of who writes to the disk."""
    before = await look()
    full = HostConfig(disks=(DiskConfig(used="100G"),))

    facts = await look(spares=(AgentConfig(host=full),), earlier=before.look())

    findings = judge(facts, "prod")
    assert findings.of_rule("disk-recent-usage")[0].answer == "n-a"
    assert findings.of_rule("preflight-freshness")[0].answer == "pass"


async def test_a_target_without_rights_is_refused_by_the_read_that_is_made_anyway(look):
    """No question is asked twice to prove a password."""
    facts = await look(spares=(AgentConfig(agent_password="spare-secret"),))

    assert facts.target.signed_read.startswith("refused: ")
    assert isinstance(facts.target.unfinished, Unread)


def thirty_servers():
    """Three zones of ten, on real sockets."""
    zones = [{"name": f"zone{n}", "agents": 10} for n in (1, 2, 3)]
    return WorldConfig.model_validate({"clusters": [{"zones": zones}], "spares": 1})


async def survey_served(monkeypatch, world, door, **options):
    """Survey the world behind an open door for its spare."""
    cluster, spare = door.ready["clusters"][0], door.ready["spares"][0]
    monkeypatch.setenv(ROOT, cluster["root_password"])
    where = AgentInfoSpec(ip=spare["ip"], port=spare["port"])
    node = NodeSpec(agentInfo=where, zone="zone2", obConfigs=SAMPLE)
    spec = ClusterSpec(
        endpoints=tuple(f"{agent['ip']}:{agent['port']}" for agent in cluster["agents"][:3]),
        password=SecretName(env=ROOT),
        name=cluster["name"],
        id=cluster["id"],
    )
    order = ScaleOut(cluster=spec, node=node, batch=(node,))
    async with connected(order, EnvironmentSecrets()) as link, asyncio.timeout(60):
        return await survey(link, order, **options)


async def test_each_endpoint_is_asked_once_however_large_the_cluster(monkeypatch):
    """Thirty servers, one question each at most; up to five for a clock no answer told yet."""
    world = World(thirty_servers().model_copy(update={"port": 0}), clock=ScaledClock(speed=60))
    async with serve(world) as door:
        facts = await survey_served(monkeypatch, world, door)

        asked = Counter((r.agent, r.target.partition("?")[0]) for r in world.requests)

    assert len(facts.cluster.servers()) == 30
    clocks = {agent: n for (agent, path), n in asked.items() if path == "/api/v1/time"}
    assert set(clocks.values()) <= {1, 2, 3, 4, 5}
    assert clocks.keys() <= facts.cluster.clocks.keys() | {facts.target.address}
    assert not [told for told in facts.cluster.clocks.values() if isinstance(told, Unread)]
    assert {n for (_, path), n in asked.items() if path != "/api/v1/time"} == {1}


async def test_a_member_that_swallows_questions_costs_one_short_wait(monkeypatch):
    """It is asked at the same time as all others, and given up by itself."""
    world = World(thirty_servers().model_copy(update={"port": 0}), clock=ScaledClock(speed=60))
    async with serve(world) as door:
        member = door.ready["clusters"][0]["agents"][1]
        silent = f"{member['ip']}:{member['port']}"
        world.play(Fault.black_hole(silent))

        facts = await survey_served(monkeypatch, world, door, peer_seconds=4.0)

    waited = {a: r.reason for a, r in facts.cluster.clocks.items() if isinstance(r, Unread)}
    assert set(waited) == {silent}
    assert "no answer within 4 s" in waited[silent], "by its clock, or by whom it was compared with"
    assert PEER_SECONDS <= 5
    assert not isinstance(facts.cluster.statistics, Unread)
    assert judge(facts, "prod").of_rule("port-open-probe")[0].measured.endswith(silent)


async def test_every_node_of_a_request_is_looked_at_as_the_first(monkeypatch):
    """Its observer's ports are tried, and its machine is compared with an earlier look."""
    world = World(default_config().model_copy(update={"port": 0}), clock=ScaledClock(speed=30))
    async with (
        serve(world) as door,
        await asyncio.start_server(lambda _r, w: w.close(), "0.0.0.0", 0) as server,
    ):
        cluster, spare = door.ready["clusters"][0], door.ready["spares"][1]
        monkeypatch.setenv(ROOT, cluster["root_password"])
        endpoints = tuple(f"{a['ip']}:{a['port']}" for a in cluster["agents"])
        spec = ClusterSpec(endpoints=endpoints, password=SecretName(env=ROOT))
        taken = {"rpc_port": str(server.sockets[0].getsockname()[1])}
        # Every address of this machine, but no loopback one, on which no port is tried.
        nodes = tuple(
            NodeSpec(agentInfo=AgentInfoSpec(ip=ip, port=port), zone="zone2", obConfigs=taken)
            for ip, port in (("0.0.0.0", 1), ("0.0.0.0", 2), (spare["ip"], spare["port"]))
        )
        orders = [ScaleOut(cluster=spec, node=node, batch=nodes) for node in nodes]
        before = PreviousReading(datetime.now(UTC) - timedelta(minutes=1), HostInfo())

        facts = await survey_all(orders, EnvironmentSecrets(), {orders[2].target: before})

    for each in facts[:2]:
        assert each.target.ports[int(taken["rpc_port"])] is PortState.TAKEN
        assert judge(each, "lab").of_rule("port-free-probe")[0].answer == "block"
    assert [each.judged_before for each in facts] == [None, None, before.at]
    assert [each.target.host_before for each in facts] == [None, None, before.host]
    assert facts[2].target.info.identity == "SINGLE"


async def test_a_port_somebody_listens_on_is_told_from_a_free_one():
    """One connection, nothing sent."""
    async with await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        taken = await probe_port("127.0.0.1", port)

    assert taken is PortState.TAKEN
    assert await probe_port("127.0.0.1", port) is PortState.FREE


async def test_a_survey_given_up_at_any_moment_leaves_no_reading_behind(order_in):
    """Cancelled after any step: Python tells of no coroutine that was made and never awaited."""
    order = await order_in()
    async with connected(order, EnvironmentSecrets()) as link:
        with warnings.catch_warnings(record=True, action="always") as told:
            for steps in range(MOMENTS):
                reading = asyncio.create_task(survey(link, order))
                for _ in range(steps):
                    await asyncio.sleep(0)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            gc.collect()

    assert [str(each.message) for each in told if each.category is RuntimeWarning] == []


async def test_what_lasts_is_not_asked_again(order_in, monkeypatch):
    """A look some minutes later asks for members, DAGs and the target only, and judges the same."""
    take_slow_answers_for_good(monkeypatch)
    order = await order_in()
    async with connected(order, EnvironmentSecrets()) as link:
        first = await survey(link, order)
        lasting = first.cluster.lasting()
        asked: list[str] = []
        hear_requests(link, asked)

        second = await survey(link, order, lasting=lasting)

    assert lasting is not None
    told = {path.rpartition("/api/v1/")[2].partition("?")[0] for path in asked}
    assert told >= {"ob/info", "obcluster/info", "task/dag/ob/unfinish", "agent/host-info"}
    assert not told & {
        *("obcluster/parameters", "obcluster/unit-config-limit", "obcluster/license"),
        *("units/config", "resource-pools", "tenants/overview", "obcluster/statistics", "time"),
    }
    assert second.cluster.parameters == first.cluster.parameters
    answers = [[(f.rule, f.answer) for f in judge(each, "prod")] for each in (first, second)]
    assert answers[0] == answers[1]


async def test_what_could_not_be_read_does_not_last(look):
    """A silent member or an endpoint that failed is asked again at the next look."""
    facts = await look()

    for gap in ("parameters", "statistics"):
        torn = replace(facts.cluster, **{gap: Unread("no answer")})
        assert torn.lasting() is None
    clocks = dict(facts.cluster.clocks) | {"10.0.0.9:2886": Unread("no answer")}
    assert replace(facts.cluster, clocks=clocks).lasting() is None
    old = replace(facts.cluster, statistics=Unread("not known", supported=False))
    assert old.lasting() is not None
    assert old.lasting().ob_info != facts.cluster.ob_info


async def test_who_has_just_told_the_time_is_not_asked_for_it(order_in, monkeypatch):
    """Each answer bears it, and all three members and the target have answered something."""
    take_slow_answers_for_good(monkeypatch)
    order = await order_in()
    async with connected(order, EnvironmentSecrets()) as link:
        asked: list[str] = []
        hear_requests(link, asked)

        facts = await survey(link, order)

    assert not [path for path in asked if path.endswith("/time")]
    assert {clock.utc_offset_seconds for clock in facts.cluster.clocks.values()} == {28800.0}


def take_slow_answers_for_good(monkeypatch):
    """However late an answer comes on a busy machine, it tells the clock well enough."""
    monkeypatch.setattr("obscale.agent.clock.GOOD_ENOUGH_SECONDS", 60)


def hear_requests(link, asked):
    """Note the path of each request to the entry agents and the target."""
    for client in (*link.cluster.clients, link.target):
        send = client._exchange.send

        async def heard(request, *rest, send=send):
            asked.append(request.url.path)
            return await send(request, *rest)

        client._exchange.send = heard
