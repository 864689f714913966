"""Tests of the client's access: any key, password, clock and identity."""

import pytest

from obscale.agent.models import Identity
from obscale.errors import NotAuthorizedError

SCALE_OUT = "/api/v1/ob/scale_out"


async def test_rotated_key_costs_one_refused_read(scene):
    """After a key rotation the next read is refused once, then answered."""
    async with scene.client() as client:
        await client.read_ob_info()
        scene.world.agent(str(scene.members[0])).rotate_key()
        await client.read_ob_info()
        await client.read_ob_info()

    assert scene.statuses("GET", "/api/v1/ob/info") == [200, 401, 200, 200]


async def test_rotated_key_costs_one_refused_write_and_makes_one_dag(scene):
    """A POST refused for the old key is the one POST that is sent again."""
    async with scene.client() as client:
        await client.read_ob_info()
        scene.world.agent(str(scene.members[0])).rotate_key()
        await client.submit_scale_out(scene.request())

    assert scene.statuses("POST", SCALE_OUT) == [401, 200]
    assert scene.world.count_dags("Cluster scale out") == 1


@pytest.mark.parametrize(
    "password",
    ["", "x" * 400, "пароль-密码-🔑", 'quo"te\\back', " blank "],
    ids=["empty", "long", "not-ascii", "escapes", "blanks"],
)
@pytest.mark.parametrize("bits", [512, 1024, 2048])
async def test_any_root_password_works_with_any_key(password, bits, altered, open_scene):
    """Whatever the password and the key size, reads and writes are let in."""
    config = altered(members={"rsa_bits": bits}, cluster={"root_password": password})

    async with open_scene("in process", config) as scene, scene.client() as client:
        info = await client.read_ob_info()
        dag = await client.submit_scale_out(scene.request())

    assert len(info.agent_info) == 3
    assert dag.name == "Cluster scale out"


async def test_agent_password_is_used_where_the_spare_has_one(door, altered, open_scene):
    """A spare with its own password lets in who knows it, and nobody else."""
    config = altered(spares={"agent_password": "Agent#Pass1"})

    async with open_scene(door, config) as scene:
        async with scene.client(scene.spares[0], agent="Agent#Pass1") as client:
            host = await client.read_host_info()
        for agent in ("wrong", None):
            async with scene.client(scene.spares[0], agent=agent) as client:
                with pytest.raises(NotAuthorizedError):
                    await client.read_host_info()
        async with scene.client() as client:
            await client.submit_scale_out(scene.request(password="Agent#Pass1"))
            scene.world.advance(120)
            last = await client.read_last_cluster_dag()

    assert host.disks
    assert last.is_done


async def test_joining_agent_is_followed_through_its_change_of_part(scene):
    """One client reads the same spare while it is SINGLE, SCALING OUT and CLUSTER AGENT."""
    seen = set()
    async with scene.client() as entry, scene.client(scene.spares[0]) as client:
        await client.read_host_info()
        await entry.submit_scale_out(scene.request())
        for _ in range(60):
            scene.world.advance(1)
            await client.read_host_info()
            seen.add((await client.read_info()).identity)

    assert seen == {Identity.SINGLE, Identity.SCALING_OUT, Identity.CLUSTER_AGENT}


@pytest.mark.parametrize("offset_seconds", [-120, 120], ids=["behind", "ahead"])
async def test_agents_with_wrong_clocks_let_us_in(door, offset_seconds, altered, open_scene):
    """Two minutes of skew are measured and do not expire a header."""
    config = altered(spares={"clock_offset_seconds": offset_seconds})

    async with (
        open_scene(door, config) as scene,
        scene.client() as member,
        scene.client(scene.spares[0]) as client,
    ):
        right = await member.read_clock()
        wrong = await client.read_clock()
        host = await client.read_host_info()

    apart = wrong.offset_seconds - right.offset_seconds
    assert abs(apart - offset_seconds) <= right.error_seconds + wrong.error_seconds + 0.5
    assert host.disks


@pytest.mark.parametrize("offset_seconds", [-120, 120], ids=["behind", "ahead"])
async def test_cluster_agents_with_wrong_clocks_take_a_scale_out(
    door, offset_seconds, altered, open_scene
):
    """The short header of a write is built on the agent's clock as well."""
    config = altered(members={"clock_offset_seconds": offset_seconds})

    async with open_scene(door, config) as scene, scene.client() as client:
        await client.submit_scale_out(scene.request())

    assert scene.statuses("POST", SCALE_OUT) == [200]
