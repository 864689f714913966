"""Tests of tenants that grow and shrink in simulated clusters, and of parameters that are set."""

import pytest

from obscale.sandbox import Fault
from tests.contract.conftest import ENTRY, TARGET, Asker
from tests.contract.removal_scenes import Leaving

ZONES = ("zone1", "zone2", "zone3")


@pytest.fixture
async def grown(world, ask):
    """Two servers in each of three zones."""
    leaving = Leaving(world, ask)
    for place, zone in enumerate(ZONES, start=4):
        await leaving.grow(f"127.0.1.{place}:2886", zone)
    return leaving


def numbers(number, zones=ZONES):
    """The body that sets `unit_num`."""
    return {"zone_list": [{"zone_name": zone, "unit_num": number} for zone in zones]}


class TestUnitNum:
    """`PATCH` of the number of units."""

    async def test_more_units_are_placed_at_once_and_copied(self, grown):
        """Each zone has two; the DAG ends when OceanBase's job does."""
        await grown.replicas("PATCH", numbers(2), seconds=2)
        placed, early = await grown.units(), (await grown.stands())[0]
        grown.world.advance(30)

        pools = (await grown.ask.data("/api/v1/resource-pools"))["contents"]
        assert placed == ["1", "2", "3", "4", "5", "6"]
        assert early == "RUNNING"
        assert await grown.stands() == ("SUCCEED", "RUN", 1)
        assert [pool["unit_num"] for pool in pools] == [1, 2]

    async def test_fewer_units_take_the_last_group_away(self, grown):
        """And back again."""
        await grown.replicas("PATCH", numbers(2), seconds=30)
        await grown.replicas("PATCH", numbers(1), seconds=30)

        assert await grown.units() == ["1", "2", "3"]
        assert (await grown.stands())[0] == "SUCCEED"

    async def test_no_room_fails_in_the_dag_and_frees_the_lock(self, grown):
        """PATCH looks for no room; what was added is taken back."""
        grown.world.play(Fault.unit_no_room("127.0.1.5:2886"))
        answer = await grown.replicas("PATCH", numbers(2), seconds=5)

        assert answer.status_code == 200
        assert await grown.stands() == ("FAILED", "RUN", 1)
        assert "not enough to hold a new unit" in await grown.last_words()
        assert await grown.units() == ["1", "2", "3"]
        assert grown.lock_is_free

    async def test_rebalance_off_is_refused(self, grown):
        """By obshell, whatever OceanBase would say."""
        grown.world.play(Fault.tenant_rebalance_off("app"))

        answer = await grown.replicas("PATCH", numbers(2))

        assert answer.json()["error"] == {
            "errCode": "OB.Tenant.RebalanceDisabled",
            "message": "modify unit num is not allowed when tenant 'enable_rebalance' is disabled.",
        }

    async def test_a_slow_job_and_its_trap(self, grown):
        """A retry while the job runs says `skip` and SUCCEED, though units may still move."""
        grown.world.play(Fault.tenant_job_slow(5000))
        await grown.replicas("PATCH", numbers(2), seconds=3700)
        timed_out = await grown.stands()
        await grown.operate("RETRY", seconds=5)

        assert timed_out == ("FAILED", "RUN", 1)
        assert await grown.stands() == ("SUCCEED", "RUN", 1)
        assert await grown.last_words() == "Tenant 'app' unit num is already 2, skip."

    async def test_a_job_in_progress_of_another_number_is_misread(self, grown):
        """The bug is real, and on by default."""
        grown.world.play(Fault.tenant_job_slow(5000))
        await grown.replicas("PATCH", numbers(2), seconds=3700)
        await grown.replicas("PATCH", numbers(1), seconds=5)

        assert await grown.stands() == ("FAILED", "RUN", 1)
        assert (await grown.last_words()).endswith(
            "the target locality of alter locality job is unexpect."
        )

    async def test_a_failed_job_and_an_empty_rollback(self, grown):
        """SUCCEED/ROLLBACK, and the number stays."""
        grown.world.play(Fault.tenant_job_fails())
        await grown.replicas("PATCH", numbers(2), seconds=5)
        failed = await grown.stands(), await grown.last_words(), grown.lock_is_free
        await grown.operate("ROLLBACK", seconds=5)

        assert failed[0] == ("FAILED", "RUN", 1)
        assert failed[1].endswith("job status is FAILED.")
        assert failed[2]
        assert await grown.stands() == ("SUCCEED", "ROLLBACK", 1)
        assert len(await grown.units()) == 6

    async def test_locks_of_tenants(self, grown):
        """Same tenant, whole cluster: each is refused in its own words; expired DAGs, too."""
        grown.world.play(Fault.tenant_job_fails())
        await grown.replicas("PATCH", numbers(2), seconds=5)
        first = grown.dag_id
        grown.world.play(Fault.tenant_job_slow(200))
        await grown.replicas("PATCH", numbers(1), seconds=5)
        same = await grown.replicas("PATCH", numbers(2))
        whole = await grown.remove()
        grown.world.advance(300)
        expired = await grown.ask.operate(first, "RETRY")

        assert [a.json()["error"]["errCode"] for a in (same, whole, expired)] == [
            "OB.Tenant.UnderMaintenance",
            "OB.Cluster.UnderMaintenanceWithDag",
            "Task.Expired",
        ]


class TestReplicas:
    """`POST` and `DELETE` of replicas."""

    async def test_a_replica_in_a_new_zone_and_gone_again(self, grown, world):
        """A pool of its own, a locality of four; then three again, and the zone can go."""
        leaving = grown
        await leaving.remove("127.0.1.6:2886", seconds=40)
        world.play(Fault.host_cleaned("127.0.1.6:2886"))
        await leaving.grow("127.0.1.6:2886", "zone4")
        wanted = {"name": "zone4", "unit_config_name": "u_app", "unit_num": 1}
        await leaving.replicas("POST", {"zone_list": [wanted]}, seconds=30)
        added = await leaving.stands(), await leaving.ask.data("/api/v1/tenant/app")
        await leaving.replicas("DELETE", {"zones": ["zone4"]}, seconds=30)
        dropped = await leaving.stands(), await leaving.ask.data("/api/v1/tenant/app")
        await leaving.delete_zone("zone4", seconds=40)

        assert added[0] == ("SUCCEED", "RUN", 2)
        assert added[1]["locality"].endswith("FULL{1}@zone4")
        assert [pool["zone_list"] for pool in added[1]["pools"]] == ["zone1;zone2;zone3", "zone4"]
        assert dropped[0] == ("SUCCEED", "RUN", 2)
        assert [pool["zone_list"] for pool in dropped[1]["pools"]] == ["zone1;zone2;zone3"]
        assert await leaving.stands() == ("SUCCEED", "RUN", 7)

    async def test_a_pool_over_several_zones_is_split_before_one_goes(self, grown):
        """Three stages, and two pools are left."""
        await grown.replicas("DELETE", {"zones": ["zone3"]}, seconds=30)

        dag, tenant = await grown.dag(), await grown.ask.data("/api/v1/tenant/app")
        assert [node["name"] for node in dag["nodes"]] == [
            "Alter tenant locality",
            "Split resource pool",
            "Drop resource pools",
        ]
        assert dag["state"] == "SUCCEED"
        assert [pool["zone_list"] for pool in tenant["pools"]] == ["zone1", "zone2"]
        assert await grown.units() == ["1", "2"]

    async def test_a_replica_needs_room_on_every_server(self, grown, world):
        """POST looks for it, as PATCH does not."""
        await grown.remove("127.0.1.6:2886", seconds=40)
        world.play(Fault.host_cleaned("127.0.1.6:2886"))
        await grown.grow("127.0.1.6:2886", "zone4")
        world.play(Fault.unit_no_room("127.0.1.6:2886"))
        wanted = {"name": "zone4", "unit_config_name": "u_app", "unit_num": 1}

        answer = await grown.replicas("POST", {"zone_list": [wanted]})

        assert answer.json()["error"] == {
            "errCode": "OB.Tenant.ResourceNotEnough",
            "message": "Server 127.0.1.6:2882 MEMORY_SIZE resource not enough.",
        }

    async def test_rollback_takes_new_pools_back(self, grown, world):
        """The only node of these that undoes something."""
        await grown.remove("127.0.1.6:2886", seconds=40)
        world.play(Fault.host_cleaned("127.0.1.6:2886"))
        await grown.grow("127.0.1.6:2886", "zone4")
        world.play(Fault.fail_stage(2, operation="tenant"))
        wanted = {"name": "zone4", "unit_config_name": "u_app", "unit_num": 1}
        await grown.replicas("POST", {"zone_list": [wanted]}, seconds=10)
        failed = await grown.stands(), await grown.units()
        await grown.operate("ROLLBACK", seconds=10)

        assert failed == (("FAILED", "RUN", 2), ["1", "2", "3", "6"])
        assert await grown.stands() == ("SUCCEED", "ROLLBACK", 1)
        assert await grown.units() == ["1", "2", "3"]

    async def test_a_kind_of_replica_and_a_unit_config(self, grown):
        """Locality first, then a split, then the config."""
        zone = {"zone_name": "zone3", "replica_type": "READONLY"}
        config = {"zone_name": "zone2", "unit_config_name": "sys_unit_config"}
        await grown.replicas("PATCH", {"zone_list": [zone, config]}, seconds=30)

        dag, tenant = await grown.dag(), await grown.ask.data("/api/v1/tenant/app")
        assert [node["name"] for node in dag["nodes"]] == [
            "Alter tenant locality",
            "Split resource pool",
            "Alter resource pool unit config",
        ]
        assert dag["state"] == "SUCCEED"
        assert "READONLY{1}@zone3" in tenant["locality"]
        assert [pool["unit_config"]["name"] for pool in tenant["pools"]] == [
            "u_app",
            "sys_unit_config",
            "u_app",
        ]

    @pytest.mark.parametrize(
        ("method", "body", "code"),
        [
            ("POST", {"zone_list": []}, "OB.Tenant.ZoneList.Empty"),
            ("POST", {"zone_list": [{"name": "z"}]}, "OB.Resource.UnitConfig.Name.Empty"),
            ("POST", {"zone_list": "z"}, "Common.BindJsonFailed"),
            ("POST", {}, "Common.BindJsonFailed"),
            (
                "POST",
                {"zone_list": [{"name": "z", "unit_config_name": "u", "replica_type": "full"}]},
                "OB.Tenant.Replica.InvalidType",
            ),
            (
                "POST",
                {"zone_list": [{"name": "z", "unit_config_name": "u", "unit_num": 1}] * 2},
                "OB.Tenant.Zone.Repeated",
            ),
            (
                "PATCH",
                {"zone_list": [{"zone_name": "zone1", "unit_num": "2"}]},
                "Common.BindJsonFailed",
            ),
            ("DELETE", {"zones": 3}, "Common.BindJsonFailed"),
        ],
    )
    async def test_what_is_asked_wrongly_is_refused(self, grown, method, body, code):
        """Beside what was recorded."""
        answer = await grown.replicas(method, body)

        assert (answer.status_code, answer.json()["error"]["errCode"]) == (400, code)


class TestParameters:
    """`PATCH /obcluster/parameters`."""

    async def values(self, ask, name):
        """A parameter on each server, or of each tenant on the first."""
        rows = (await ask.data("/api/v1/obcluster/parameters"))["contents"]
        (row,) = [row for row in rows if row["name"] == name]
        if row["scope"] == "TENANT":
            return {each["tenant_name"]: each["value"] for each in row["tenant_value"]}
        return {each["svr_ip"].rpartition(".")[2]: each["value"] for each in row["ob_parameters"]}

    async def send(self, ask, *entries):
        """Set parameters."""
        body = {"params": [{"scope": "CLUSTER"} | entry for entry in entries]}
        return await ask("PATCH", "/api/v1/obcluster/parameters", body)

    @pytest.mark.parametrize(
        ("where", "changed"),
        [
            ({"servers": ["127.0.1.2:2882"]}, {"2"}),
            ({"zones": ["zone3"]}, {"3"}),
            ({}, {"1", "2", "3"}),
            ({"servers": ["127.0.1.9:2882"]}, set()),
        ],
    )
    async def test_servers_zones_or_all(self, ask, where, changed):
        """What is named, and nothing else."""
        answer = await self.send(ask, {"name": "cpu_count", "value": "9"} | where)

        values = await self.values(ask, "cpu_count")
        assert (answer.status_code, "data" in answer.json()) == (200, False)
        assert {server for server, value in values.items() if value == "9"} == changed

    @pytest.mark.parametrize(
        ("where", "changed"),
        [
            ({"tenants": ["app"]}, {"app"}),
            ({"all_user_tenant": True}, {"app"}),
            ({}, {"sys"}),
        ],
    )
    async def test_tenants(self, ask, where, changed):
        """`sys` where none is named."""
        entry = {"scope": "TENANT", "name": "enable_rebalance", "value": "False"} | where
        await self.send(ask, entry)

        values = await self.values(ask, "enable_rebalance")
        assert {tenant for tenant, value in values.items() if value == "False"} == changed

    async def test_what_was_set_before_an_error_stays(self, ask):
        """One after another, and not at once."""
        answer = await self.send(
            ask,
            {"name": "cpu_count", "value": "9"},
            {"name": "no_such_parameter", "value": "1"},
            {"name": "memory_limit", "value": "13G"},
        )

        assert (answer.status_code, answer.json()["error"]["errCode"]) == (400, "MySQL.Error")
        assert set((await self.values(ask, "cpu_count")).values()) == {"9"}
        assert set((await self.values(ask, "memory_limit")).values()) == {"16G"}

    async def test_nothing_is_escaped(self, ask):
        """One value becomes two settings."""
        value = '9" , memory_limit="13G'
        await self.send(ask, {"name": "cpu_count", "value": value, "servers": ["127.0.1.2:2882"]})

        assert (await self.values(ask, "cpu_count"))["2"] == "9"
        assert (await self.values(ask, "memory_limit"))["2"] == "13G"

    @pytest.mark.parametrize("name", ["zone", "data_dir"])
    async def test_read_only_ones_are_refused(self, ask, name):
        """By OceanBase."""
        answer = await self.send(ask, {"name": name, "value": "x"})

        assert answer.json()["error"]["errCode"] == "MySQL.Error"

    async def test_a_card_refuses_one(self, world, ask):
        """With its own reason."""
        world.play(Fault.parameter_refused(text="Error 4147: Invalid config"))

        answer = await self.send(ask, {"name": "cpu_count", "value": "9"})

        assert answer.json()["error"]["message"] == "MySQL error: Error 4147: Invalid config"

    async def test_since_when(self, build_world):
        """4.3.0.0."""
        ask = Asker(build_world(obshell_version="4.2.6.0-1"))

        answer = await ask("PATCH", "/api/v1/obcluster/parameters", {"params": []})

        assert answer.status_code == 404


async def test_units_of_the_founders_are_where_they_were(world, ask):
    """One in each zone, on its first server; a joined one has none."""
    leaving = await Leaving(world, ask).grow()

    assert (await leaving.units("sys"), await leaving.units()) == (["1", "2", "3"],) * 2
    assert world.cluster().units_on(world.cluster().servers[-1]) == []
    assert world.agent(TARGET).ob_state == world.agent(ENTRY).ob_state == 3
