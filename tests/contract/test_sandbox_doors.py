"""Tests of both doors to the agents, and of broken connections."""

import asyncio
import errno
import os
import socket
import ssl

import httpx
import pytest

from obscale.sandbox import Fault, ScaledClock, World, default_config, in_process, serve
from obscale.sandbox import servers as doors

INFO = "/api/v1/info"
DEADLINE_SECONDS = 10
"""Bound of every wait here; nothing comes near it."""


def described(**changes):
    """The default description with changes; ports from the operating system."""
    content = default_config().model_dump() | {"port": 0} | changes
    return type(default_config()).model_validate(content)


@pytest.fixture
def running():
    """A world that runs by itself, thirty times as fast as real."""

    def make(**changes):
        return World(described(**changes), clock=ScaledClock(speed=30))

    return make


@pytest.fixture
async def http():
    """A client that no proxy variable can mislead."""
    async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE_SECONDS) as client:
        yield client


def url(agent, path=INFO, scheme="http"):
    """Where one agent of a ready line answers."""
    host = f"[{agent['ip']}]" if ":" in agent["ip"] else agent["ip"]
    return f"{scheme}://{host}:{agent['port']}{path}"


async def until(ask, accepts):
    """Ask until the answer is accepted, within the deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                answer = await ask()
            except httpx.TransportError as error:
                answer = error
            if accepts(answer):
                return answer
            await asyncio.sleep(0.01)


async def test_an_address_taken_at_the_last_moment_is_told_as_that(running, monkeypatch):
    """Two worlds may bind an address at the same time; the second cannot listen, and says so."""
    rivals = []

    def bind_beside(agent, place, bind=doors._bind_or_move):
        sock = bind(agent, place)
        rivals.append(socket.socket(sock.family))
        rivals[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        rivals[-1].bind(sock.getsockname())
        rivals[-1].listen()
        return sock

    monkeypatch.setattr(doors, "_bind_or_move", bind_beside)
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
            async with serve(running()):
                pytest.fail("two worlds listen on one address")
    finally:
        for rival in rivals:
            rival.close()


async def test_every_agent_listens_on_its_own_address(running, http):
    """One server, many sockets: the address chooses the agent, and ports are real ones."""
    async with serve(running()) as door:
        agents = door.ready["clusters"][0]["agents"] + door.ready["spares"]
        answers = [(await http.get(url(agent))).json()["data"] for agent in agents]

    seen = [(answer["ip"], answer["port"]) for answer in answers]
    assert seen == [(agent["ip"], agent["port"]) for agent in agents]
    assert len(set(seen)) == 6
    assert all(port for _, port in seen)
    assert (door.scheme, door.ca_path) == ("http", None)


async def test_a_taken_address_moves_the_agent(http):
    """Where the wished address is taken, the agent answers on 127.0.0.1 and calls itself so."""
    with socket.socket() as taken:
        taken.bind(("127.0.9.1", 0))
        taken.listen()
        agents = [{"ip": "127.0.9.1", "port": taken.getsockname()[1]}]
        cluster = {"zones": [{"name": "zone1", "agents": agents}]}
        world = World(described(clusters=[cluster]), clock=ScaledClock())
        async with serve(world) as door:
            agent = door.ready["clusters"][0]["agents"][0]
            info = (await http.get(url(agent))).json()["data"]

    assert agent["ip"] == info["ip"] == "127.0.0.1"
    assert agent["port"] == info["port"] != agents[0]["port"]
    observer = world.agents[0].observer
    assert observer.rpc_port == int(observer.values["rpc_port"]) != 2882


async def test_ipv6_agents_are_reachable(running, http):
    """Brackets on the wire, plain text in the answer."""
    async with serve(running(spares=[{"ip": "::1"}])) as door:
        spare = door.ready["spares"][0]
        info = (await http.get(url(spare))).json()["data"]

    assert (info["ip"], info["port"]) == ("::1", spare["port"])


async def test_a_tls_world_serves_https_only(running):
    """The authority of `ca_path` is enough to trust every agent; nothing else is."""
    async with serve(running(tls=True)) as door:
        agents = door.ready["clusters"][0]["agents"] + door.ready["spares"]
        context = ssl.create_default_context(cafile=door.ca_path)
        async with httpx.AsyncClient(verify=context, trust_env=False) as trusting:
            answers = [
                (await trusting.get(url(agent, scheme=door.scheme))).status_code for agent in agents
            ]
        async with httpx.AsyncClient(trust_env=False) as stranger:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await stranger.get(url(agents[0], scheme="https"))
            plain = await stranger.get(url(agents[0]))

    assert (door.scheme, answers) == ("https", [200] * 6)
    # Recorded from 4.5.0.0.
    assert (plain.http_version, plain.status_code) == ("HTTP/1.0", 400)
    assert dict(plain.headers) == {}
    assert plain.text == "Client sent an HTTP request to an HTTPS server.\n"
    assert not door.ca_path.exists()


async def test_a_tls_agent_that_goes_down_and_comes_back_is_asked_again(running):
    """Its address is bound anew; a connection that says nothing hinders nobody."""
    world = running(tls=True)
    async with serve(world) as door:
        agent = door.ready["clusters"][0]["agents"][0]
        name = f"{agent['ip']}:{agent['port']}"
        _, silent = await asyncio.open_connection(agent["ip"], agent["port"])
        context = ssl.create_default_context(cafile=door.ca_path)
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:

            def ask():
                return client.get(url(agent, scheme="https"))

            first = await ask()
            world.play(Fault.agent_down(name))
            await until(ask, lambda answer: isinstance(answer, httpx.ConnectError))
            world.play(Fault.agent_up(name))
            back = await until(ask, lambda answer: isinstance(answer, httpx.Response))
        silent.close()

    assert (first.status_code, back.status_code) == (200, 200)


async def test_a_down_agent_refuses_connections_until_it_is_back(running, http):
    """The socket is closed, an open connection breaks, and the same address answers again."""
    world = running()
    async with serve(world) as door:
        agent = door.ready["clusters"][0]["agents"][1]
        name = f"{agent['ip']}:{agent['port']}"
        await http.get(url(agent))
        world.play(Fault.agent_down(name))
        down = await until(
            lambda: http.get(url(agent)), lambda answer: isinstance(answer, httpx.ConnectError)
        )
        others = await http.get(url(door.ready["clusters"][0]["agents"][0]))
        world.play(Fault.agent_up(name))
        back = await until(
            lambda: http.get(url(agent)), lambda answer: isinstance(answer, httpx.Response)
        )

    assert isinstance(down, httpx.ConnectError)
    assert (others.status_code, back.status_code) == (200, 200)


async def test_time_passes_while_every_agent_is_down(running, http):
    """Nobody can ask, so nothing but the clock brings them back."""
    world = running()
    async with serve(world) as door:
        agents = door.ready["clusters"][0]["agents"] + door.ready["spares"]
        for agent in agents:
            name = f"{agent['ip']}:{agent['port']}"
            world.play(Fault.agent_down(name))
            world.play(Fault.agent_up(name, after_seconds=20))
        back = [
            await until(
                lambda: http.get(url(agent)),  # noqa: B023 - awaited before the next one
                lambda answer: isinstance(answer, httpx.Response),
            )
            for agent in agents
        ]

    assert {answer.status_code for answer in back} == {200}
    assert world.undrawn() == []


async def test_a_black_hole_accepts_and_never_answers(running, http):
    """The client's own limit ends it; after `agent_up` the agent answers again."""
    world = running()
    async with serve(world) as door:
        agent = door.ready["spares"][0]
        name = f"{agent['ip']}:{agent['port']}"
        world.play(Fault.black_hole(name))
        with pytest.raises(httpx.ReadTimeout):
            await http.get(url(agent), timeout=0.2)
        world.play(Fault.agent_up(name))
        answer = await http.get(url(agent))

    assert answer.status_code == 200


async def test_a_dropped_answer_breaks_the_connection(running, http):
    """The request was carried out and recorded; only its answer is missing."""
    world = running()
    async with serve(world) as door:
        agent = door.ready["clusters"][0]["agents"][0]
        world.play(Fault.drop_answer(to="info"))
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await http.get(url(agent))
        again = await http.get(url(agent))

    assert again.status_code == 200
    assert [record.status for record in world.requests] == [200, 200]
    assert world.undrawn() == []


async def test_answers_can_be_late_or_garbled_or_a_panic(running, http):
    """A card for each, drawn once."""
    world = running()
    async with serve(world) as door:
        agent = door.ready["clusters"][0]["agents"][0]
        world.play(Fault.delay_answer(to="info", seconds=5))
        with pytest.raises(httpx.ReadTimeout):
            await http.get(url(agent), timeout=0.2)
        world.play(Fault.garble_answer(to="info"))
        garbled = await http.get(url(agent))
        world.play(Fault.panic(to="info"))
        panic = await http.get(url(agent))
        healthy = await http.get(url(agent))

    assert garbled.text == "<html>502</html>"
    assert panic.status_code == 500
    assert panic.json()["error"]["message"] == "Unexpected error: Internal Server Error"
    assert healthy.json()["successful"] is True


async def test_a_world_can_be_left_while_someone_is_still_waiting(running, http):
    """Closing the door ends open connections instead of waiting for them."""
    world = running()
    async with serve(world) as door:
        agent = door.ready["spares"][0]
        world.play(Fault.black_hole(f"{agent['ip']}:{agent['port']}"))
        waiting = asyncio.create_task(http.get(url(agent)))
        await asyncio.wait({waiting}, timeout=0.2)
        assert not waiting.done()

    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await waiting


class TestInProcess:
    """The same endings without any socket."""

    async def test_unknown_and_down_agents_refuse(self, world):
        """`httpx.ConnectError` in both cases."""
        world.play(Fault.agent_down("127.0.1.2:2886"))
        async with httpx.AsyncClient(transport=in_process(world)) as client:
            for address in ("127.0.1.2:2886", "127.0.1.99:2886"):
                with pytest.raises(httpx.ConnectError):
                    await client.get(f"http://{address}{INFO}")

    async def test_silent_agents_and_dropped_answers(self, world):
        """`httpx.ReadTimeout` and `httpx.RemoteProtocolError`."""
        world.play(Fault.black_hole("127.0.1.2:2886"))
        world.play(Fault.drop_answer(to="info", target="127.0.1.3:2886"))
        async with httpx.AsyncClient(transport=in_process(world)) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get(f"http://127.0.1.2:2886{INFO}")
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(f"http://127.0.1.3:2886{INFO}")
            answer = await client.get(f"http://127.0.1.3:2886{INFO}")

        assert answer.status_code == 200

    async def test_addresses_nobody_could_bind_are_fine(self, build_world):
        """10.0.0.4 and IPv6 exist in process."""
        world = build_world(spares=[{"ip": "10.0.0.4"}, {"ip": "2001:db8::4"}])
        async with httpx.AsyncClient(transport=in_process(world)) as client:
            four = await client.get(f"http://10.0.0.4:2886{INFO}")
            six = await client.get(f"http://[2001:db8::4]:2886{INFO}")

        assert [answer.json()["data"]["ip"] for answer in (four, six)] == [
            "10.0.0.4",
            "2001:db8::4",
        ]
