"""Tests of the client with every version of obshell."""

import pytest

from obscale.errors import (
    DagNotFoundError,
    NotAuthorizedError,
    NotSupportedError,
)

SCALE_OUT = "/api/v1/ob/scale_out"


@pytest.mark.parametrize(
    ("version", "absent"),
    [
        ("4.2.2.0-1", {"host", "cluster", "topology", "parameters", "limit", "dags"}),
        ("4.2.3.0-1", {"host", "cluster", "topology", "parameters", "limit", "dags"}),
        ("4.2.6.0-1", {"host", "cluster", "topology", "parameters", "limit", "dags"}),
        ("4.3.0.0-1", {"topology"}),
        ("4.3.1.0-1", {"topology"}),
        ("4.4.1.1-1", set()),
        ("4.4.2.0-1", set()),
        ("4.5.0.0-12026050815", set()),
    ],
)
async def test_every_version_is_asked_in_its_own_way(door, version, absent, altered, open_scene):
    """Old and new agents are read, refused and written to; what they lack is an absent fact."""
    config = altered(obshell_version=version)

    async with open_scene(door, config) as scene:
        async with scene.client() as client:
            questions = {
                "host": client.read_host_info,
                "cluster": client.read_cluster_info,
                "topology": client.read_topology,
                "parameters": client.read_parameters,
                "limit": client.read_unit_config_limit,
                "dags": client.read_cluster_dags,
            }
            missing = set()
            for name, question in questions.items():
                try:
                    await question()
                except NotSupportedError:
                    missing.add(name)
            members = await client.read_ob_info()
            dag = await client.submit_scale_out(scene.request())
            again = await client.read_dag(dag.id)
            with pytest.raises(DagNotFoundError):
                await client.read_dag("1999")
        async with scene.client(root="wrong") as stranger:
            with pytest.raises(NotAuthorizedError):
                await stranger.read_ob_info()

    assert missing == absent
    assert len(members.agent_info) == 3
    assert again.id == dag.id


@pytest.mark.parametrize("version", ["4.2.3.0-1", "4.2.6.0-1", "4.3.0.0-1"])
async def test_old_agents_key_rotation_is_noticed_without_a_code(
    door, version, altered, open_scene
):
    """Where every refusal is 10008, a changed key still leads to one more try, and no more."""
    config = altered(obshell_version=version)

    async with open_scene(door, config) as scene, scene.client() as client:
        await client.read_ob_info()
        scene.world.agent(str(scene.members[0])).rotate_key()
        await client.submit_scale_out(scene.request())

    assert scene.statuses("POST", SCALE_OUT) == [401, 200]
