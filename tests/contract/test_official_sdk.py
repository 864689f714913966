"""Tests that the official SDK, obshell 0.0.9 unmodified, drives the sandbox."""

import asyncio

import pytest
from obshell.auth.password import PasswordAuth
from obshell.model.ob import SetClusterParametersParam
from obshell.model.tenant import ModifyReplicaParam, ZoneParam
from obshell.request import ProtocolOptions
from obshell.service.client_v1 import ClientV1, OBShellHandleError, TaskExecuteFailedError

from obscale.sandbox import Fault, ScaledClock, World, default_config, serve

ROOT_PASSWORD = "sandbox-root"
CONFIGS = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
DEADLINE_SECONDS = 20
FAST = 100.0
"""Virtual seconds in a real one; the SDK itself polls every three real seconds."""


class Driver:
    """The SDK in a thread of its own, as an operator's script would use it."""

    def __init__(self, world, door):
        self.world = world
        self.entry = door.ready["clusters"][0]["agents"][0]
        self.spare = door.ready["spares"][0]
        self.options = ProtocolOptions.http()
        if door.ca_path is not None:
            self.options = ProtocolOptions.https(verify_cert=str(door.ca_path))

    def client(self, password=ROOT_PASSWORD, **secrets):
        """A fresh SDK client of the entry agent."""
        return ClientV1(
            self.entry["ip"],
            self.entry["port"],
            PasswordAuth(password, **secrets),
            protocol_options=self.options,
        )

    async def call(self, name, *args, client=None):
        """One SDK method, in a thread."""
        return await asyncio.to_thread(getattr(client or self.client(), name), *args)

    async def scale_out(self, name="scale_out", **options):
        """The documented sample request for the first spare."""
        arguments = (self.spare["ip"], self.spare["port"], options.get("zone", "zone2"), CONFIGS)
        return await self.call(name, *arguments)

    async def grown(self, zone="zone2"):
        """The first spare has joined."""
        await self.scale_out("scale_out_sync", zone=zone)
        return self

    async def until(self, dag_id, state, operator="RUN"):
        """Read the DAG until it is in that state, within the deadline."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            client = self.client()
            while True:
                dag = await self.call("get_dag", dag_id, client=client)
                if (dag.state, dag.operator) == (state, operator):
                    return dag
                await asyncio.sleep(0.02)


@pytest.fixture
async def driver():
    """Opens worlds for the SDK and closes them after the test."""
    doors = []

    async def make(speed=FAST, **changes):
        content = default_config().model_dump() | {"port": 0} | changes
        world = World(
            type(default_config()).model_validate(content), clock=ScaledClock(speed=speed)
        )
        doors.append(serve(world))
        return Driver(world, await doors[-1].__aenter__())

    yield make
    for door in doors:
        await door.__aexit__(None, None, None)


@pytest.mark.parametrize(("version", "bits"), [("4.4.1.1-1", 512), ("4.5.0.0-1", 1024)])
async def test_a_scale_out_succeeds_with_keys_of_either_size(driver, version, bits):
    """`scale_out_sync` returns after nine stages, and the new server is in the topology."""
    drive = await driver(obshell_version=version)

    dag = await drive.scale_out("scale_out_sync")

    info = await drive.call("get_ob_info")
    zone = [server.svr_ip for server in info.cluster.zone_config["zone2"]]
    assert drive.world.agents[0].key.key_size == bits
    assert (dag.state, dag.operator, dag.stage) == ("SUCCEED", "RUN", 9)
    assert zone == ["127.0.1.2", "127.0.1.4"]
    assert [agent.identity for agent in info.agents] == ["CLUSTER AGENT"] * 4


async def test_a_stage_failure_reaches_the_caller_with_its_last_log(driver):
    """`scale_out_sync` raises what the failed sub task logged last."""
    drive = await driver()
    drive.world.play(Fault.observer_dies())

    with pytest.raises(TaskExecuteFailedError, match="Observer process does not exist") as caught:
        await drive.scale_out("scale_out_sync")

    assert caught.value.dag.stage == 5


async def test_a_failed_scale_out_can_be_retried(driver):
    """`operate_dag` RETRY, and the same DAG succeeds."""
    drive = await driver()
    drive.world.play(Fault.fail_stage(7))
    dag_id = (await drive.scale_out()).generic_id
    await drive.until(dag_id, "FAILED")
    # The joining agent sees the failure a second later; a RETRY in between is lost on it.
    async with asyncio.timeout(DEADLINE_SECONDS):
        while drive.world.spares[0].dags[-1].state != "FAILED":
            await drive.until(dag_id, "FAILED")

    await drive.call("operate_dag", dag_id, "RETRY")

    dag = await drive.until(dag_id, "SUCCEED")
    assert [node.operator for node in dag.nodes] == ["RUN"] * 6 + ["RETRY"] + ["RUN"] * 2


async def test_a_failed_scale_out_can_be_rolled_back(driver):
    """`operate_dag` ROLLBACK, stage 1 again, the lock is free."""
    drive = await driver()
    drive.world.play(Fault.fail_stage(5))
    dag_id = (await drive.scale_out()).generic_id
    await drive.until(dag_id, "FAILED")

    await drive.call("operate_dag", dag_id, "ROLLBACK")

    dag = await drive.until(dag_id, "SUCCEED", "ROLLBACK")
    assert dag.stage == 1
    assert drive.world.cluster().lock_holder is None


async def test_a_member_leaves(driver):
    """`scale_in_sync` returns after five stages; asked again it has nothing to tell."""
    drive = await (await driver()).grown()

    dag = await drive.call("scale_in_sync", drive.spare["ip"], drive.spare["port"])

    again = await drive.call("scale_in", drive.spare["ip"], drive.spare["port"])
    info = await drive.call("get_ob_info")
    assert (dag.state, dag.operator, dag.stage) == ("SUCCEED", "RUN", 5)
    assert again is None
    assert [server.svr_ip for server in info.cluster.zone_config["zone2"]] == ["127.0.1.2"]
    assert len(info.agents) == 3


async def test_a_member_leaves_by_force(driver):
    """Six stages."""
    drive = await (await driver()).grown()

    dag = await drive.call("scale_in_sync", drive.spare["ip"], drive.spare["port"], True)

    assert (dag.state, dag.stage) == ("SUCCEED", 6)


async def test_a_refused_removal_reaches_the_caller_with_its_reason(driver):
    """And both operators of it work."""
    drive = await (await driver()).grown()
    drive.world.play(Fault.delete_refused(text="Error 4179 (HY000): not now"))

    with pytest.raises(TaskExecuteFailedError, match="not now") as caught:
        await drive.call("scale_in_sync", drive.spare["ip"], drive.spare["port"])
    await drive.call("operate_dag", caught.value.dag.generic_id, "ROLLBACK")

    dag = await drive.until(caught.value.dag.generic_id, "SUCCEED", "ROLLBACK")
    assert dag.stage == 1


async def test_a_running_removal_is_cancelled_and_rolled_back(driver):
    """CANCEL, FAILED, ROLLBACK: the member stays."""
    drive = await (await driver()).grown()
    drive.world.play(Fault.unit_stuck(drive.world.spares[0].address))
    dag_id = (await drive.call("scale_in", drive.spare["ip"], drive.spare["port"])).generic_id
    async with asyncio.timeout(DEADLINE_SECONDS):
        while drive.world.cluster().dags[-1].stage < 3:
            await drive.until(dag_id, "RUNNING")

    await drive.call("operate_dag", dag_id, "CANCEL")
    await drive.until(dag_id, "FAILED", "CANCEL")
    await drive.call("operate_dag", dag_id, "ROLLBACK")
    await drive.until(dag_id, "SUCCEED", "ROLLBACK")

    info = await drive.call("get_ob_info")
    assert len(info.cluster.zone_config["zone2"]) == 2


async def test_a_zone_is_deleted(driver):
    """`delete_zone_sync`; of a zone that is none, nothing."""
    drive = await (await driver()).grown("zone4")

    dag = await drive.call("delete_zone_sync", "zone4")

    assert (dag.state, dag.stage) == ("SUCCEED", 7)
    assert await drive.call("delete_zone", "zone4") is None


async def test_replicas_come_change_and_go(driver):
    """One more zone for a tenant, the same number again, and back to three."""
    drive = await (await driver()).grown("zone4")
    zone = ZoneParam("zone4", "u_app", 1, "FULL")

    added = await drive.call("add_tenant_replica_sync", "app", [zone])
    same = await drive.call("modify_tenant_replica", "app", [ModifyReplicaParam("zone4", "u_app")])
    dropped = await drive.call("delete_tenant_replica_sync", "app", ["zone4"])

    assert [dag.state for dag in (added, dropped)] == ["SUCCEED"] * 2
    assert same is None
    tenant = await drive.call("get_tenant_info", "app")
    assert [pool.zone_list for pool in tenant.pools] == ["zone1;zone2;zone3"]


async def test_more_units_fail_where_a_zone_has_one_server(driver):
    """Refused before anything is created."""
    drive = await driver()
    zones = [ModifyReplicaParam(f"zone{number}", None, 2) for number in (1, 2, 3)]

    with pytest.raises(OBShellHandleError, match="bigger than server number '1'"):
        await drive.call("modify_tenant_replica_sync", "app", zones)


async def test_a_parameter_is_set_on_one_server(driver):
    """All keys the SDK always sends are understood."""
    drive = await driver()
    agent = drive.world.agents[0]
    where = {"servers": [f"{agent.ip}:{agent.observer.rpc_port}"]}

    await drive.call(
        "set_cluster_parameters",
        [SetClusterParametersParam("cpu_count", "9", "CLUSTER", where)],
    )

    assert [each.observer.values["cpu_count"] for each in drive.world.agents[:2]] == ["9", "16"]


async def test_reads_come_back_as_the_sdks_own_models(driver):
    """Status, tenants, pools and units have every key the SDK indexes."""
    drive = await driver()

    status = await drive.call("get_status")
    pools = await drive.call("get_all_resource_pools")
    units = await drive.call("get_all_resource_unit_configs")
    tenants = await drive.call("get_all_tenants")
    tenant = await drive.call("get_tenant_info", "app")

    assert (status.ob_state, status.agent.identity) == (3, "CLUSTER AGENT")
    assert len(pools) == len(units) == len(tenants) == 2
    assert tenant.name == "app"


async def test_a_wrong_password_is_refused(driver):
    """The SDK sends every refused request again and then reports the refusal."""
    drive = await driver()

    with pytest.raises(OBShellHandleError, match="IncorrectOceanbasePassword"):
        await drive.call("get_ob_info", client=drive.client("wrong"))

    asked = [record.status for record in drive.world.requests if record.target.endswith("ob/info")]
    assert asked == [401, 401]


async def test_an_agent_password_opens_a_spare(driver):
    """The SDK sees `security` and turns to `X-OCS-Agent-Header`."""
    drive = await driver(spares=[{"agent_password": "Agent#1"}])
    drive.entry = drive.spare

    info = await drive.call("get_ob_info", client=drive.client("", agent_password="Agent#1"))

    assert [agent.identity for agent in info.agents] == ["SINGLE"]


async def test_the_first_auth_version_still_works(driver):
    """4.2.2.x: `X-OCS-Auth` and plain JSON bodies."""
    drive = await driver(obshell_version="4.2.2.0-1", ob_version="4.2.1.8-1")

    dag = await drive.scale_out()

    assert (await drive.until(dag.generic_id, "SUCCEED")).stage == 9


async def test_https_works_with_the_worlds_own_authority(driver):
    """`ProtocolOptions.https` and the door's certificate."""
    drive = await driver(tls=True)

    info = await drive.call("get_ob_info")

    assert info.cluster.cluster_name == "obcluster"


async def test_a_rotated_key_is_fetched_again(driver):
    """On 4.4.2.0 and later the numeric code tells the SDK to ask for the key once more."""
    drive = await driver()
    client = drive.client()
    await drive.call("get_ob_info", client=client)
    drive.world.agents[0].rotate_key()

    info = await drive.call("get_ob_info", client=client)

    assert info.cluster.cluster_id == 1
