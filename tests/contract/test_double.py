"""Tests that the double of a cluster reads like the cluster."""

import pytest
from pydantic import SecretStr

from obscale.agent.models import joined_address
from obscale.connect.connections import EnvironmentSecrets
from obscale.errors import SpecError
from obscale.plan import plan_of, survey_all
from obscale.rehearse.double import double_of, real_addresses
from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, SecretName
from obscale.request.scale_out import ScaleOut
from obscale.sandbox import ManualClock, ScaledClock, World, WorldConfig, default_config, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIZES = {
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
UNLIKE = {
    "port": 0,
    "obshell_version": "4.4.1.0-22026010101",
    "ob_version": "4.3.5.1-101000072025042522",
    "clusters": [
        {
            "name": "prod-east",
            "id": 7,
            "root_password": "of the real one",
            "zones": [
                {"name": "east-a", "region": "east", "agents": 2},
                {"name": "east-b", "region": "east", "agents": 1},
                {"name": "west-a", "region": "west", "agents": 1},
            ],
            "ob_configs": {
                "memory_limit": "32G",
                "system_memory": "6G",
                "log_disk_size": "40G",
                "datafile_size": "60G",
            },
            "parameters": {"syslog_level": "INFO", "enable_rebalance": "False"},
            "tenants": [
                {"name": "app", "unit": {"name": "u_app", "memory_size": "8G"}, "mode": "ORACLE"},
                {"name": "side", "unit": {"name": "u_side"}, "zones": ["east-a", "west-a"]},
            ],
            "min_pool_memory": "3G",
        }
    ],
    "spares": [
        {
            "clock_offset_seconds": 2.0,
            "home": "/opt/oceanbase",
            "host": {
                "memory_total": "96G",
                "memory_available": "80G",
                "cores": 24,
                "nofile": "20000",
                "disks": [
                    {"mount": "/", "total": "120G", "used": "40G"},
                    {"mount": "/data/1", "device": "/dev/vdb", "total": "2T", "used": "1G"},
                    {"mount": "/redo", "device": "/dev/vdc", "total": "300G", "used": "1G"},
                ],
            },
        },
        {},
    ],
}


def orders_for(ready, monkeypatch, zones) -> tuple[ScaleOut, ...]:
    """One order per spare of a served world, alike but for addresses."""
    cluster = ready["clusters"][0]
    monkeypatch.setenv("OBSCALE_TEST_ROOT", SecretStr(cluster["root_password"]).get_secret_value())
    nodes = tuple(
        NodeSpec(
            agentInfo=AgentInfoSpec(ip=spare["ip"], port=spare["port"]),
            zone=zone,
            obConfigs=SIZES | {"data_dir": "/data/1/ob", "redo_dir": "/redo/ob"},
        )
        for spare, zone in zip(ready["spares"], zones, strict=False)
    )
    written_out = ClusterSpec(
        endpoints=tuple(joined_address(a["ip"], a["port"]) for a in cluster["agents"]),
        password=SecretName(env="OBSCALE_TEST_ROOT"),
        name=cluster["name"],
        id=cluster["id"],
    )
    return tuple(ScaleOut(cluster=written_out, node=node, batch=nodes) for node in nodes)


def answers_of(row) -> dict[str, str]:
    """What each rule answers, but for the one that weighs how busy this machine is."""
    return {f.rule: f.answer for f in row.findings if f.rule != "clock-precision"}


async def looked_at(config, monkeypatch, zones):
    """Serve a world and survey it as a plan does.

    Time passes in it as it does here: the clocks of its agents are compared.
    """
    async with serve(World(config, clock=ScaledClock())) as door:
        orders = orders_for(door.ready, monkeypatch, zones)
        facts = await survey_all(orders, EnvironmentSecrets())
        return orders, facts


@pytest.mark.parametrize(
    ("config", "zones"),
    [
        (default_config().model_copy(update={"port": 0}), ("zone2",)),
        (WorldConfig.model_validate(UNLIKE), ("east-b", "west-a")),
    ],
    ids=["default", "unlike"],
)
async def test_a_plan_of_the_double_says_what_a_plan_of_the_real_one_says(
    monkeypatch, config, zones
):
    """Same verdicts rule by rule, same observers and capacity before and after."""
    real_orders, real_facts = await looked_at(config, monkeypatch, zones)
    double = double_of(real_facts)
    double_orders, double_facts = await looked_at(double, monkeypatch, zones)

    real, played = plan_of(real_orders, real_facts), plan_of(double_orders, double_facts)

    assert [(r.zone, r.ready) for r in played.rows] == [(r.zone, r.ready) for r in real.rows]
    for row, other in zip(real.rows, played.rows, strict=True):
        assert answers_of(other) == answers_of(row)
        assert [(s.zone, s.status, s.memory_bytes, s.cpu) for s in other.topology] == [
            (s.zone, s.status, s.memory_bytes, s.cpu) for s in row.topology
        ]
    assert played.cluster == real.cluster
    assert played.forecast == real.forecast


async def test_the_double_has_passwords_of_its_own(monkeypatch):
    """No secret of the real cluster is part of it: it never left the clients."""
    _, facts = await looked_at(WorldConfig.model_validate(UNLIKE), monkeypatch, ("east-b",))

    assert "of the real one" not in double_of(facts).model_dump_json()


async def test_real_addresses_stand_in_the_order_of_the_double(monkeypatch):
    """Members zone by zone, then the targets: as the simulated ones are made."""
    config = WorldConfig.model_validate(UNLIKE)
    async with serve(World(config, clock=ManualClock())) as door:
        orders = orders_for(door.ready, monkeypatch, ("east-b", "west-a"))
        facts = await survey_all(orders, EnvironmentSecrets())
        told = [
            joined_address(a["ip"], a["port"])
            for a in (*door.ready["clusters"][0]["agents"], *door.ready["spares"])
        ]

    assert list(real_addresses(facts)) == told


async def test_a_target_that_does_not_answer_cannot_be_played(monkeypatch):
    """Its host is what the rehearsal copies, so the refusal says to start it."""
    config = default_config().model_copy(update={"port": 0})
    world = World(config, clock=ManualClock())
    async with serve(world) as door:
        orders = orders_for(door.ready, monkeypatch, ("zone2",))
        world.stop_agent(world.spares[0])
        facts = await survey_all(orders, EnvironmentSecrets())

    with pytest.raises(SpecError, match="does not answer"):
        double_of(facts)
