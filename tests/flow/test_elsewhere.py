"""Tests of older agents, TLS, IPv6, passwords and new zones."""

from ipaddress import ip_address

import pytest

from obscale.request.models import ClusterSpec, SecretName, TlsSpec
from obscale.sandbox import WorldConfig, default_config

pytestmark = pytest.mark.asyncio(loop_scope="session")


def world(**changes) -> WorldConfig:
    """The default world, changed where a test says so."""
    return WorldConfig.model_validate(default_config().model_dump() | changes)


@pytest.mark.parametrize("version", ["4.2.5.0", "4.2.6.0", "4.3.0.0", "4.3.3.0", "4.4.1.0"])
async def test_an_older_cluster_is_grown_and_verified(stage, version):
    """Missing endpoints, old error shapes and 512-bit keys change findings, not the ending."""
    scene = await stage(world(obshell_version=f"{version}-1"))

    report = await scene.scale_out()

    assert (report.outcome, report.level) == ("verified", "CONFORMING")
    assert scene.posts() == 1


async def test_a_cluster_behind_tls_is_grown_with_its_authority(stage):
    """Over https, with the cluster's own authority: verified, and no finding about plain http."""
    scene = await stage(world(tls=True))
    cluster = scene.ready["clusters"][0]
    behind_tls = ClusterSpec(
        endpoints=tuple(f"https://{a['ip']}:{a['port']}" for a in cluster["agents"]),
        password=SecretName(env="OBSCALE_TEST_ROOT"),
        name=cluster["name"],
        id=cluster["id"],
        tls=TlsSpec(ca_file=str(scene.door.ca_path)),
    )

    report = await scene.scale_out(cluster=behind_tls)

    assert report.outcome == "verified"
    assert {f.rule: f.answer for f in report.findings}["agent-tls-scheme"] == "pass"


async def test_a_spare_with_a_password_is_added_with_its_named_secret(stage, monkeypatch):
    """A target agent with its own password joins when the secret is named."""
    monkeypatch.setenv("OBSCALE_TEST_SPARE", "sp@re-påss-" + "x" * 200)
    spare = {"agent_password": "sp@re-påss-" + "x" * 200}
    scene = await stage(world(spares=[spare]))

    report = await scene.scale_out(targetAgentPassword=SecretName(env="OBSCALE_TEST_SPARE"))

    assert report.outcome == "verified"
    assert "sp@re" not in report.model_dump_json()


async def test_a_new_zone_takes_eleven_stages(stage):
    """With the zone explicitly allowed, the DAG creates it and the node is proved in it."""
    scene = await stage()

    report = await scene.scale_out(zone="zone4", allow_new_zone=True)

    assert report.outcome == "verified"
    assert len(report.stages) == 11
    assert "zone4" in {row.zone for row in report.after}


async def test_agents_on_ipv6_are_grown_alike(stage):
    """Addresses in brackets, all the way from the request to the report."""
    config = default_config().model_dump()
    config["port"] = 0
    config["clusters"][0]["zones"] = [{"name": "zone1", "agents": [{"ip": "::1"}]}]
    config["spares"] = [{"ip": "::1"}]
    scene = await stage(WorldConfig.model_validate(config))
    ready = scene.ready
    entry = ready["clusters"][0]["agents"][0]
    on_ipv6 = ClusterSpec(
        endpoints=(f"[{entry['ip']}]:{entry['port']}",),
        password=SecretName(env="OBSCALE_TEST_ROOT"),
    )
    assert ip_address(ready["spares"][0]["ip"]).version == 6

    report = await scene.scale_out(
        cluster=on_ipv6,
        zone="zone1",
        profile="lab",
        obConfigs={**scene.sample, "mysql_port": "3881", "rpc_port": "3882"},
    )

    assert report.outcome == "verified"
    assert report.target.startswith("[::1]:")
