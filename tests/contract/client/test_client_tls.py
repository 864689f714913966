"""Tests of the client with TLS and IPv6 worlds."""

import pytest

from obscale.agent.address import AgentAddress
from obscale.agent.client import Tls
from obscale.errors import (
    AgentProtocolError,
)

SCALE_OUT = "/api/v1/ob/scale_out"


async def test_tls_world_is_read_with_its_ca_and_not_without(altered, open_scene):
    """Agents with TLS are trusted through the CA, refused without it, named over plain http."""
    config = altered(tls=True)

    async with open_scene("sockets", config) as scene:
        async with scene.client() as client:
            members = await client.read_ob_info()
        async with scene.client(tls=Tls()) as stranger:
            with pytest.raises(AgentProtocolError, match="certificate is not trusted"):
                await stranger.read_info()
        plain = AgentAddress(scene.members[0].ip, scene.members[0].port)
        async with scene.client(plain) as lost:
            with pytest.raises(AgentProtocolError) as caught:
                await lost.read_info()

    assert len(members.agent_info) == 3
    assert "https://" in caught.value.hint


async def test_tls_spoken_to_a_plain_world_is_named(open_scene):
    """An https address of an http agent is corrected by the error."""
    async with open_scene("sockets") as scene:
        wrong = AgentAddress(scene.members[0].ip, scene.members[0].port, "https")
        async with scene.client(wrong) as client:
            with pytest.raises(AgentProtocolError, match="speaks plain HTTP"):
                await client.read_info()


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("in process", [{"ip": f"fd00::{number}"} for number in (1, 2, 3)]),
        ("sockets", [{"ip": "::1", "port": 0}] * 3),
    ],
    ids=["in process", "sockets"],
)
async def test_ipv6_cluster_is_asked_and_grown(name, members, altered, open_scene):
    """Agents with IPv6 addresses are named with brackets and take a scale-out."""
    async with open_scene(name, altered(each_member=members)) as scene, scene.client() as client:
        info = await client.read_info()
        await client.submit_scale_out(scene.request())

    assert info.address == str(scene.members[0])
    assert str(scene.members[0]).startswith("[")
    assert scene.statuses("POST", SCALE_OUT) == [200]
