"""Tests of how the client removes a node or a zone: sent once, and 204 is no success."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient, Timeouts
from obscale.agent.models import AgentEndpoint, ScaleInRequest
from obscale.errors import (
    AgentRefusedError,
    AgentUnreachableError,
    NotSupportedError,
    OutcomeUnknownError,
    UnderMaintenanceError,
)
from obscale.sandbox import Fault

SCALE_IN = "/api/v1/ob/scale_in"
ROOT = "sandbox-root"
VECTORS = json.loads(
    (Path(__file__).parents[2] / "data" / "obshell-vectors.json").read_text(encoding="utf-8")
)
KEY = VECTORS["keys"]["1024"]["public_key_as_served_by_secret__pkcs1_der_b64"]
INFO = {"ip": "127.0.0.1", "port": 2886, "identity": "CLUSTER AGENT", "version": "4.5.0.0-1"}
DAG = {"id": "17", "dag_id": 7, "name": "Delete zone", "stage": 1, "max_stage": 7}


def leaving(address, *, force=False):
    """Give the body that names one agent."""
    where = AgentEndpoint(ip=address.ip, port=address.port)
    return ScaleInRequest(agent_info=where, force_kill=force)


async def grown(scene, client, zone="zone2"):
    """Let the first spare join."""
    await client.submit_scale_out(scene.request(zone=zone))
    scene.world.advance(120)


async def test_scale_in_gives_its_dag_which_ends_with_the_server_gone(scene):
    """One POST, one DAG of five stages, and neither agent nor server is listed any more."""
    async with scene.client() as client:
        await grown(scene, client)
        submitted = await client.submit_scale_in(leaving(scene.spares[0]))
        scene.world.advance(120)
        done = await client.read_dag(submitted.id)
        members = await client.read_ob_info()

    assert (submitted.name, submitted.nodes) == ("Cluster scale in", ())
    assert done.is_done
    assert done.max_stage == 5
    assert scene.spares[0].ip not in {row.ip for row in members.agent_info}
    assert scene.statuses("POST", SCALE_IN) == [200]


async def test_no_content_gives_no_dag(scene):
    """A spare has no row, nor has a mistyped address; both look the same as one that has left."""
    async with scene.client() as client:
        assert await client.submit_scale_in(leaving(scene.spares[0])) is None
        assert await client.delete_zone("zone9") is None


async def test_a_refusal_says_its_code_and_creates_nothing(scene):
    """The called agent itself, a zone with units, and the lock."""
    async with scene.client() as client:
        with pytest.raises(AgentRefusedError, match=r"Cannot delete the current server"):
            await client.submit_scale_in(leaving(scene.members[0]))
        with pytest.raises(AgentRefusedError, match="is not empty"):
            await client.delete_zone("zone2")
        await client.submit_scale_out(scene.request())
        with pytest.raises(UnderMaintenanceError):
            await client.submit_scale_in(leaving(scene.members[1]))

    assert scene.world.count_dags("Cluster scale in") == 0
    assert scene.world.count_dags("Delete zone") == 0


async def test_below_4_2_6_there_is_no_removal(open_scene, altered, door):
    """Neither route is there: said so, and nothing else is tried."""
    old = {"obshell_version": "4.2.5.0"}
    async with (
        open_scene(door, altered(members=old, spares=old)) as scene,
        scene.client() as client,
    ):
        with pytest.raises(NotSupportedError):
            await client.submit_scale_in(leaving(scene.members[1]))
        with pytest.raises(NotSupportedError):
            await client.delete_zone("zone2")


async def test_a_zone_is_deleted_with_a_good_header(scene):
    """No header is asked for here, and one with a wrong password would pass too."""
    async with scene.client() as client:
        await client.submit_scale_out(scene.request(zone="zone4"))
        scene.world.advance(120)
        submitted = await client.delete_zone("zone4")
        scene.world.advance(120)
        done = await client.read_dag(submitted.id)

    assert (done.name, done.max_stage, done.is_done) == ("Delete zone", 9 - 2, True)
    assert scene.statuses("DELETE", "/api/v1/zone/zone4") == [200]


@pytest.mark.parametrize("card", ["drop_answer", "garble_answer"])
async def test_a_lost_answer_is_an_unknown_outcome(scene, card):
    """The DAG was made: one POST, and a date until which to look."""
    before = datetime.now(UTC)
    async with scene.client() as client:
        await grown(scene, client)
        scene.world.play(getattr(Fault, card)(to="scale_in"))
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.submit_scale_in(leaving(scene.spares[0]))

    assert caught.value.header_expires_at > before
    assert scene.world.count_dags("Cluster scale in") == 1
    assert len(scene.statuses("POST", SCALE_IN)) == 1


class Breaking:
    """An agent on a real socket that breaks a DELETE's connection at one point."""

    def __init__(self, *, read=None, answered=None):
        self.read, self.answered = read, answered
        self.deletes = 0
        self.request = b""
        self.answer = b""

    @asynccontextmanager
    async def listening(self):
        """Serve; gives a client of it."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with (
            server,
            AgentClient(
                AgentAddress("127.0.0.1", port),
                root_password=SecretStr(ROOT),
                timeouts=Timeouts(connect_seconds=2, read_seconds=2, submit_seconds=2),
            ) as client,
        ):
            yield client

    async def _serve(self, reader, writer):
        try:
            while first := await reader.read(1):
                if first == b"D":
                    await self._break(first, reader, writer)
                    return
                head = first + await reader.readuntil(b"\r\n\r\n")
                path = head.split()[1].decode().removeprefix("/api/v1/")
                data = {"info": INFO, "secret": {"public_key": KEY}}.get(path, self._now())
                writer.write(self._reply(data))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _break(self, first, reader, writer):
        self.deletes += 1
        if self.read is not None:
            if self.read > 1:
                await reader.readexactly(self.read - 1)
            writer.transport.abort()
            return
        self.request = first + await reader.readuntil(b"\r\n\r\n")
        self.answer = self._reply(DAG)
        writer.write(self.answer if self.answered is None else self.answer[: self.answered])
        await writer.drain()

    @staticmethod
    def _now():
        return datetime.now(UTC).isoformat()

    @staticmethod
    def _reply(data):
        body = json.dumps({"successful": True, "data": data}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def test_a_delete_is_sent_once_wherever_the_connection_breaks():
    """At every byte of the request, and at every byte of its answer: once, and never known."""
    whole = Breaking()
    async with whole.listening() as client:
        assert (await client.delete_zone("zone4")).id == "17"
    assert whole.deletes == 1

    points = [{"read": count} for count in range(1, len(whole.request) + 1)]
    points += [{"answered": count} for count in range(len(whole.answer))]
    for point in points:
        agent = Breaking(**point)
        async with agent.listening() as client:
            with pytest.raises(OutcomeUnknownError):
                await client.delete_zone("zone4")
        assert agent.deletes == 1, point


async def test_a_delete_that_finds_nobody_was_not_sent():
    """An agent that is gone is met by the question before it."""
    async with Breaking().listening() as client:
        gone = client.address
    async with AgentClient(gone, root_password=SecretStr(ROOT)) as client:
        with pytest.raises(AgentUnreachableError):
            await client.delete_zone("zone4")
