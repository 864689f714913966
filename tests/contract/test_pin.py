"""Tests of pinning against a simulated cluster: what is sent, read back, and told of it."""

import json

import httpx
import pytest
from pydantic import SecretStr

import obscale.pin.run as pin_run
from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.errors import AgentUnreachableError, SpecError
from obscale.pin.run import MOST_SENDINGS, pin
from obscale.pin.settings import Outcome, settings_of
from obscale.request.models import AgentInfoSpec, NodeSpec
from obscale.sandbox import Fault, ManualClock, World, default_config, in_process
from obscale.verify.read import read_zones
from tests.contract.conftest import ROOT_PASSWORD

MEMBER = "127.0.1.2"
SERVER = f"{MEMBER}:2882"
OTHER = "127.0.1.3:2882"
PATH = "/api/v1/obcluster/parameters"
WANTED = {"memory_limit": "20G", "cpu_count": "12", "max_syslog_file_count": "7"}


class Wire(httpx.AsyncBaseTransport):
    """Leads into the world, and breaks at one request, or at every one that writes.

    `never`: the connection is refused, nothing arrives. `lost`: it is carried out, no answer comes.
    `swallowed`: it looks just as lost, and nothing was carried out.
    """

    def __init__(self, world, *, at=0, how="", every_write=False, on_write=None):
        self.inside = in_process(world)
        self.at, self.how, self.every_write, self.on_write = at, how, every_write, on_write
        self.seen = []

    async def handle_async_request(self, request):
        """Answer, or break."""
        self.seen.append((request.method, request.url.path))
        writes = request.method != "GET"
        breaks = len(self.seen) == self.at or (self.every_write and writes)
        if breaks and self.how == "never":
            raise httpx.ConnectError("refused")
        if not (breaks and self.how == "swallowed"):
            answer = await self.inside.handle_async_request(request)
            if writes and self.on_write:
                self.on_write()
        if breaks:
            raise httpx.ReadError("the connection broke")
        return answer

    @property
    def order(self):
        """Writes and reads of parameters, in their order."""
        return [method for method, path in self.seen if path == PATH]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Values are shown at once here."""
    monkeypatch.setattr(pin_run, "READ_BACK_SECONDS", 0.02)
    monkeypatch.setattr(pin_run, "LOOK_AGAIN_SECONDS", 0.005)


@pytest.fixture
def world():
    """The default cluster, at rest."""
    return World(default_config(), clock=ManualClock())


def cluster_of(wire):
    """Two agents of the cluster, over one wire."""
    return ClusterClient(
        [
            AgentClient(
                AgentAddress(f"127.0.1.{n}"), root_password=SecretStr(ROOT_PASSWORD), transport=wire
            )
            for n in (1, 3)
        ]
    )


def node_of(**configs):
    where = AgentInfoSpec(ip=MEMBER)
    return NodeSpec(agentInfo=where, zone="zone2", obConfigs=configs or WANTED)


async def asked(world, **configs):
    """What somebody is asked about."""
    async with cluster_of(in_process(world)) as cluster:
        zones, _ = await read_zones(cluster)
        parameters = await cluster.ask(AgentClient.read_parameters)
    return settings_of(node_of(**configs), zones, parameters)


def values(world, address=SERVER):
    """What a server has."""
    server = next(s for s in world.clusters[0].servers if s.address == address)
    return server.observer.values


def outcomes(made):
    return {each.name: each.outcome for each in made.settings}


async def pinned(wire, mine):
    told = []
    async with cluster_of(wire) as cluster:
        return await pin(cluster, mine, told.append), told


async def test_each_group_is_one_request_for_one_server_and_is_read_back(world):
    """Exactly what was asked for, byte for byte; nothing else has changed."""
    mine = await asked(world)
    others = dict(values(world, OTHER))
    before = len(world.requests)
    wire = Wire(world)

    made, told = await pinned(wire, mine)

    assert made.outcome is Outcome.IN_FORCE
    assert {name: values(world)[name] for name in WANTED} == WANTED
    assert {each.name: (each.before, each.found) for each in made.settings} == {
        "cpu_count": ("16", "12"),
        "max_syslog_file_count": ("0", "7"),
        "memory_limit": ("16G", "20G"),
    }
    assert made.beside == ()
    assert values(world, OTHER) == others
    assert wire.order == ["GET", "PATCH", "GET", "PATCH", "GET", "PATCH", "GET"]
    assert [r.method for r in world.requests[before:] if r.method != "GET"] == ["PATCH"] * 3
    assert told == [
        f"{SERVER}: sets memory_limit",
        f"{SERVER}: sets cpu_count",
        f"{SERVER}: sets max_syslog_file_count",
    ]


async def test_only_what_verification_prints_is_set(world):
    """Not what its peers have alike, no port, directory or read-only one, nothing unasked."""
    mine = await asked(
        world,
        mysql_port="2881",
        rpc_port="2882",
        data_dir="/data",
        zone="zone2",
        memory_limit="16G",
        system_memory="9G",
        cluster_id="1",
        no_such_thing="1",
    )

    assert [each.name for each in mine.settings] == ["system_memory"]
    made, _ = await pinned(Wire(world), mine)
    assert made.outcome is Outcome.IN_FORCE
    assert values(world)["system_memory"] == "9G"


async def test_a_node_that_is_no_member_has_nothing_to_be_set(world):
    """Neither one that has not joined, nor one in another zone than it is asked for."""
    async with cluster_of(in_process(world)) as cluster:
        zones, _ = await read_zones(cluster)
        parameters = await cluster.ask(AgentClient.read_parameters)
    elsewhere = node_of().model_copy(update={"zone": "zone1"})
    spare = node_of().model_copy(update={"agentInfo": AgentInfoSpec(ip="127.0.1.4")})

    assert settings_of(elsewhere, zones, parameters) is None
    assert settings_of(spare, zones, parameters) is None


@pytest.mark.parametrize("how", ["never", "lost", "swallowed"])
async def test_a_connection_that_breaks_anywhere_once_is_no_harm(how):
    """At each request of the whole; no value is sent again before it was read back."""
    length = await _requests_of_a_pin()
    for at in range(1, length + 1):
        world = World(default_config(), clock=ManualClock())
        mine = await asked(world)
        wire = Wire(world, at=at, how=how)

        made, _ = await pinned(wire, mine)

        assert outcomes(made) == dict.fromkeys(sorted(WANTED), Outcome.IN_FORCE), (at, how)
        assert {name: values(world)[name] for name in WANTED} == WANTED, (at, how)
        if how != "never":
            assert ("PATCH", "PATCH") not in list(zip(wire.order, wire.order[1:], strict=False)), at


async def _requests_of_a_pin():
    world = World(default_config(), clock=ManualClock())
    wire = Wire(world)
    await pinned(wire, await asked(world))
    return len(wire.seen)


async def test_answers_that_are_all_lost_are_decided_by_what_is_read_back(world):
    """A value that has changed is proved; it is not sent a second time."""
    wire = Wire(world, how="lost", every_write=True)

    made, told = await pinned(wire, await asked(world))

    assert made.outcome is Outcome.IN_FORCE
    assert wire.order.count("PATCH") == 3
    assert any("its answer was lost" in line for line in told)


async def test_a_lost_answer_about_a_value_that_was_there_before_proves_nothing(world):
    """It is sent again, three times at most, and then told as unknown; what follows is not sent."""
    values(world).update({"memory_limit": "20G", "cpu_count": "12"})
    wire = Wire(world, how="lost", every_write=True)

    made, _ = await pinned(wire, await asked(world))

    assert outcomes(made) == {
        "memory_limit": Outcome.UNKNOWN,
        "cpu_count": Outcome.NOT_SENT,
        "max_syslog_file_count": Outcome.NOT_SENT,
    }
    assert made.outcome is Outcome.UNKNOWN
    assert wire.order.count("PATCH") == MOST_SENDINGS
    assert values(world).get("max_syslog_file_count") != "7"


async def test_nobody_who_can_be_reached_for_a_write_leaves_it_unsent(world):
    """Nothing has arrived, so nothing is claimed."""
    made, _ = await pinned(Wire(world, how="never", every_write=True), await asked(world))

    assert set(outcomes(made).values()) == {Outcome.NOT_SENT}
    assert values(world)["memory_limit"] == "16G"


async def test_nobody_who_answers_at_all_is_an_error_before_anything_is_sent(world):
    """Exit 3 at the command line."""
    mine = await asked(world)
    wire = Wire(world, how="never")
    wire.inside = httpx.MockTransport(_refuse)

    with pytest.raises(AgentUnreachableError):
        await pinned(wire, mine)

    assert "PATCH" not in wire.order


def _refuse(_request):
    raise httpx.ConnectError("refused")


async def test_a_read_back_that_fails_is_unknown_and_what_was_proved_before_stays(world):
    """The connection is gone for good behind the second write."""
    mine = await asked(world)
    wire = Wire(world)
    writes = []

    def cut():
        writes.append(1)
        if len(writes) == 2:
            wire.inside = httpx.MockTransport(_refuse)

    wire.on_write = cut

    made, _ = await pinned(wire, mine)

    assert outcomes(made) == {
        "memory_limit": Outcome.IN_FORCE,
        "cpu_count": Outcome.UNKNOWN,
        "max_syslog_file_count": Outcome.NOT_SENT,
    }


async def test_what_somebody_else_set_between_question_and_sending_stops_it(world):
    """Nothing is sent: what was asked about is not what is there."""
    mine = await asked(world)
    values(world)["memory_limit"] = "24G"
    wire = Wire(world)

    made, _ = await pinned(wire, mine)

    assert made.outcome is Outcome.NOT_SENT
    assert made.why == "memory_limit is 24G now, and was 16G: look again"
    assert wire.order == ["GET"]


@pytest.mark.parametrize("how", ["", "lost"])
async def test_what_somebody_else_set_before_it_is_read_back_is_told_and_left(world, how):
    """Whether the answer came or not: it is not set a second time."""

    def meddle():
        values(world)["memory_limit"] = "24G"

    wire = Wire(world, how=how, every_write=bool(how), on_write=meddle)

    made, _ = await pinned(wire, await asked(world, memory_limit="20G"))

    (told,) = made.settings
    assert (told.outcome, told.found) == (Outcome.NOT_IN_FORCE, "24G")
    assert values(world)["memory_limit"] == "24G"
    assert wire.order.count("PATCH") == 1


async def test_what_changes_beside_is_told(world):
    """On another server, and another parameter of the same one."""

    def meddle():
        values(world, OTHER)["memory_limit"] = "24G"
        values(world)["system_memory"] = "9G"

    made, _ = await pinned(Wire(world, on_write=meddle), await asked(world))

    assert made.beside == (
        f"memory_limit of {OTHER}: 16G → 24G",
        f"system_memory of {SERVER}: 8G → 9G",
    )
    assert made.outcome is Outcome.IN_FORCE


async def test_a_refusal_ends_it_and_what_was_set_before_stays(world):
    """Of five kinds of outcome three: set, refused, not sent."""
    mine = await asked(world)
    wire = Wire(world)
    wire.on_write = lambda: world.play(Fault.parameter_refused(text="Error 4147: no"))

    made, _ = await pinned(wire, mine)

    assert outcomes(made) == {
        "memory_limit": Outcome.IN_FORCE,
        "cpu_count": Outcome.NOT_IN_FORCE,
        "max_syslog_file_count": Outcome.NOT_SENT,
    }
    refused = next(each for each in made.settings if each.name == "cpu_count")
    assert "MySQL error: Error 4147: no" in refused.why
    assert refused.found == "16"


async def test_inside_one_request_the_first_may_be_set_and_the_second_refused(world):
    """They are not atomic: what is read back is told of each."""
    mine = await asked(world, memory_limit="20G", system_memory="x")

    made, _ = await pinned(Wire(world), mine)

    assert outcomes(made) == {
        "memory_limit": Outcome.IN_FORCE,
        "system_memory": Outcome.NOT_IN_FORCE,
    }


async def test_a_data_file_is_never_made_smaller(world):
    """It is not sent; the rest is."""
    mine = await asked(world, datafile_size="10G", cpu_count="12")

    made, _ = await pinned(Wire(world), mine)

    assert outcomes(made) == {
        "cpu_count": Outcome.IN_FORCE,
        "datafile_size": Outcome.NOT_SENT,
    }
    assert values(world)["datafile_size"] == "24G"


@pytest.mark.parametrize(
    ("server", "given"),
    [
        (SERVER, {"memory_limit": '8" , memory_limit="1G'}),
        (SERVER, {"memory_limit": "8G'"}),
        (SERVER, {"memory_limit": "8G\\"}),
        (SERVER, {"memory_limit": "8G\n"}),
        (SERVER, {"memory_limit": "八"}),
        (SERVER, {"memory_limit": ""}),
        (SERVER, {"memory_limit` = 1; -- ": "8G"}),
        (SERVER, {"": "8G"}),
        ("zone2", {"memory_limit": "8G"}),
        ("127.0.1.2", {"memory_limit": "8G"}),
        ("127.0.1.2:2882' or '1", {"memory_limit": "8G"}),
        ("[127.0.1.2]:2882", {"memory_limit": "8G"}),
        ("fd00::1:2882", {"memory_limit": "8G"}),
    ],
)
async def test_what_obshell_would_write_into_sql_is_refused_here(world, server, given):
    """Whoever asks: nothing leaves this machine."""
    wire = Wire(world)
    async with cluster_of(wire) as cluster:
        with pytest.raises(SpecError, match="nothing was sent"):
            await cluster.current.set_parameters(server, given)

    assert wire.seen == []


async def test_a_value_with_such_a_character_is_never_sent_and_the_rest_is(world):
    """It is told by name."""
    mine = await asked(world, cpu_count="12", memory_limit="20G'")

    made, _ = await pinned(Wire(world), mine)

    assert outcomes(made) == {
        "cpu_count": Outcome.IN_FORCE,
        "memory_limit": Outcome.NOT_SENT,
    }
    assert "does not escape" in made.settings[1].why


async def test_the_body_names_servers_only():
    """As recorded of a real obshell: `removal/param-server`."""
    bodies = []

    class Sealed:
        async def write(self, path, body, _parse, step, _seconds, method):
            bodies.append((method, path, json.loads(json.dumps(body)), step))

    client = AgentClient(AgentAddress("10.0.0.1"))
    client._asking = Sealed()

    await client.set_parameters("[fd00::4]:2882", {"memory_limit": "16G", "system_memory": "8G"})

    asked_of = {"scope": "CLUSTER", "servers": ["[fd00::4]:2882"]}
    params = [
        {"name": "memory_limit", "value": "16G"} | asked_of,
        {"name": "system_memory", "value": "8G"} | asked_of,
    ]
    assert bodies == [
        (
            *("PATCH", "obcluster/parameters", {"params": params}),
            "set parameters of [fd00::4]:2882",
        )
    ]
    await client.aclose()
