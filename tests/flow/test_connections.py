"""Tests of flows that are given the name of a connection."""

import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentUpdate
from pydantic import SecretStr

from obscale.agent.passwords import odd_ends
from obscale.errors import SpecError, UntrustedKeyError
from obscale.request.models import SecretName
from obscale.sandbox import WorldConfig, default_config
from obscale.tasks.runtime.blocks import PrefectSecrets
from obscale.tasks.runtime.cluster_block import ObshellCluster

pytestmark = pytest.mark.asyncio(loop_scope="session")
ROOT = "sandbox-root"


def world(**changes) -> WorldConfig:
    """The default world, changed where a test says so."""
    return WorldConfig.model_validate(default_config().model_dump() | changes)


def block_for(scene, **changes) -> ObshellCluster:
    """The connection to a scene's cluster, TLS included where it speaks that."""
    cluster, door = scene.ready["clusters"][0], scene.door
    return ObshellCluster(
        **{
            "endpoints": [f"{door.scheme}://{a['ip']}:{a['port']}" for a in cluster["agents"]],
            "root_password": SecretStr(ROOT),
            "name": cluster["name"],
            "cluster_id": cluster["id"],
            "ca_file": str(door.ca_path) if door.ca_path else None,
        }
        | changes
    )


def entry_of(scene) -> str:
    """`ip:port` of the first entry agent."""
    first = scene.ready["clusters"][0]["agents"][0]
    return f"{first['ip']}:{first['port']}"


async def change_stored(name: str, **fields) -> None:
    """Write into a stored block what another version of obscale might have written."""
    async with get_client() as client:
        stored = await client.read_block_document_by_name(
            name, "obshell-cluster", include_secrets=True
        )
        await client.update_block_document(
            stored.id, BlockDocumentUpdate(data=stored.data | fields, merge_existing_data=False)
        )


async def test_a_flow_is_given_the_name_of_a_connection(stage):
    """A stored connection and a stored target password are all a run needs; it ends verified."""
    scene = await stage(world(spares=[{"agent_password": "spare-pw"}]))
    await block_for(scene).asave("by-name", overwrite=True)
    await Secret(value="spare-pw").asave("spare-password", overwrite=True)

    report = await scene.scale_out(
        cluster="by-name", targetAgentPassword=SecretName(block="spare-password")
    )

    assert report.outcome == "verified"
    assert report.cluster == "by-name"


async def test_a_stored_password_that_ends_in_a_blank_is_hinted_at_once_refused(stage, refused):
    """Of a connection and of a secret block: the error names it and the blank, not the password."""
    scene = await stage()
    await block_for(scene, root_password=SecretStr(f"{ROOT} ")).asave("blank", overwrite=True)
    await Secret(value=f"{ROOT}\n").asave("with-line-break", overwrite=True)

    stored = await refused(scene.scale_out(cluster="blank"))
    named = await PrefectSecrets().read_block("with-line-break", "cluster.password")

    assert "the password from connection blank ends in a blank" in stored.hint
    assert ROOT not in str(stored)
    assert odd_ends(named).startswith("the password from block with-line-break ends in a line")
    assert named.get_secret_value() == f"{ROOT}\n"


async def test_a_name_nobody_stored_is_one_clear_refusal(stage, refused):
    """The refusal names the connection and the command that stores it; nothing is asked."""
    scene = await stage()

    error = await refused(scene.scale_out(cluster="no-such"))

    assert isinstance(error, SpecError)
    assert "'no-such'" in str(error)
    assert "obscale connect no-such --endpoint" in str(error)
    assert not scene.world.requests


async def test_a_connection_stored_before_new_fields_existed_still_holds(stage):
    """What an older version stored loads; what it did not know has its default."""
    scene = await stage()
    await block_for(scene).asave("old-shape", overwrite=True)
    entries = [entry_of(scene)]
    async with get_client() as client:
        stored = await client.read_block_document_by_name("old-shape", "obshell-cluster")
        old = {"endpoints": entries, "root_password": ROOT, "block_type_slug": "obshell-cluster"}
        await client.update_block_document(
            stored.id, BlockDocumentUpdate(data=old, merge_existing_data=False)
        )

    known = await PrefectSecrets().read_cluster("old-shape")

    assert known.spec.endpoints == tuple(entries)
    assert known.spec.tls.verify
    assert known.keys is None
    assert known.root_password.get_secret_value() == ROOT


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"endpoints": "10.0.0.1:2886"}, "endpoints"),
        ({"endpoints": ["db1.example.org:2886"]}, "not an IP address"),
        ({"key_trust": "blindly"}, "key_trust"),
        ({"cluster_id": "one"}, "cluster_id"),
        ({"client_cert": "/c.pem"}, "client_key"),
        ({"two_person_rule": True}, "stored by a newer obscale: two_person_rule"),
    ],
    ids=["old list", "host name", "unknown word", "no number", "half a pair", "newer field"],
)
async def test_a_connection_of_another_shape_says_what_does_not_fit(stage, fields, named):
    """One line names connection, field and the next command, and repeats no secret."""
    scene = await stage()
    await block_for(scene).asave("other-shape", overwrite=True)
    await change_stored("other-shape", **fields)

    with pytest.raises(SpecError) as caught:
        await PrefectSecrets().read_cluster("other-shape")

    told = str(caught.value)
    assert "'other-shape'" in told
    assert named in told
    assert "obscale connect other-shape" in told
    assert ROOT not in told
    assert "\n" not in told


async def test_a_newer_field_that_says_nothing_is_no_hindrance(stage):
    """A newer obscale may write fields it leaves empty; they can change nothing."""
    scene = await stage()
    await block_for(scene).asave("newer", overwrite=True)
    await change_stored("newer", bastion=None, labels={})

    known = await PrefectSecrets().read_cluster("newer")

    assert known.spec.name == "obcluster"


async def test_a_secret_block_that_holds_a_number_is_named(stage):
    """A password stored as a number has lost its leading zeros: it is not used."""
    await Secret(value=12345).asave("numeric", overwrite=True)

    with pytest.raises(SpecError, match="holds no text, but int") as caught:
        await PrefectSecrets().read_block("numeric", "targetAgentPassword")

    assert "12345" not in str(caught.value)


async def test_agents_that_want_a_client_certificate_are_shown_one(stage, refused):
    """With both client files the run ends verified; without, it is refused at the door."""
    scene = await stage(world(tls=True, enable_client_auth=True))
    door = scene.door
    await block_for(scene).asave("without-certificate", overwrite=True)
    certified = block_for(
        scene, client_cert=str(door.client_cert_path), client_key=str(door.client_key_path)
    )
    await certified.asave("with-certificate", overwrite=True)

    error = await refused(scene.scale_out(cluster="without-certificate"))
    report = await scene.scale_out(cluster="with-certificate")

    assert "client certificate" in str(error)
    assert report.outcome == "verified"


async def test_a_private_authority_is_needed_unless_verifying_is_switched_off(stage, refused):
    """Without the CA file the certificate is not trusted; only an explicit no lets it pass."""
    scene = await stage(world(tls=True))
    await block_for(scene, ca_file=None).asave("no-authority", overwrite=True)
    await block_for(scene, ca_file=None, verify_tls=False).asave("unverified", overwrite=True)

    error = await refused(scene.scale_out(cluster="no-authority"))
    report = await scene.scale_out(cluster="unverified")

    assert "certificate is not trusted" in str(error)
    assert "CA file" in error.hint
    assert report.outcome == "verified"


async def test_a_changed_key_of_a_pinned_agent_ends_the_run_before_anything_is_sealed(
    stage, refused
):
    """The refusal names the agent and both keys; the agent never saw a sealed request."""
    scene = await stage()
    entry = entry_of(scene)
    block = block_for(scene, endpoints=[entry], key_trust="first-use")
    await block.asave("pinned", overwrite=True)
    first = await scene.scale_out(cluster="pinned", zone="zone1")
    learned = (await ObshellCluster.aload("pinned")).pinned_keys
    scene.world.agent(entry).rotate_key()
    seen = len(scene.world.requests)

    error = await refused(scene.scale_out(cluster="pinned", zone="zone1"))

    assert first.outcome == "verified"
    assert isinstance(error, UntrustedKeyError)
    assert (error.agent, learned[entry] in str(error)) == (entry, True)
    assert "obscale connect pinned --pin" in str(error)
    asked = {r.target for r in scene.world.requests[seen:]}
    assert "/api/v1/ob/info" not in asked
    assert "/api/v1/secret" in asked


async def test_first_use_keeps_what_it_saw_and_what_was_announced_meanwhile(stage):
    """Keys a run learned are added; a key announced while it ran is not undone."""
    scene = await stage()
    await block_for(scene, key_trust="first-use", pinned_keys={"10.0.0.1:2886": "SHA256:a"}).asave(
        "learning", overwrite=True
    )

    await PrefectSecrets().keep_keys(
        "learning", {"10.0.0.1:2886": "SHA256:stale", "10.0.0.2:2886": "SHA256:b"}
    )

    stored = await ObshellCluster.aload("learning")
    assert stored.pinned_keys == {"10.0.0.1:2886": "SHA256:a", "10.0.0.2:2886": "SHA256:b"}


async def test_a_run_goes_on_past_a_member_whose_key_is_not_pinned(stage):
    """An entry agent without a pin is refused and passed over; the pinned one is asked."""
    scene = await stage()
    agents = [f"{a['ip']}:{a['port']}" for a in scene.ready["clusters"][0]["agents"]]
    await block_for(scene, endpoints=agents[:1], key_trust="first-use").asave("one", overwrite=True)
    await scene.scale_out(cluster="one", zone="zone1")
    pins = (await ObshellCluster.aload("one")).pinned_keys
    await block_for(
        scene, endpoints=[agents[1], agents[0]], key_trust="pinned", pinned_keys=pins
    ).asave("second-unpinned", overwrite=True)

    report = await scene.scale_out(cluster="second-unpinned", zone="zone1")

    assert report.outcome == "verified"
