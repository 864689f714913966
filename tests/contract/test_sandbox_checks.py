"""Tests of the order in which POST scale_out is checked."""

import pytest

from obscale.sandbox import Fault

ENTRY = "127.0.1.1:2886"
TARGET = "127.0.1.4:2886"
IDENTITY = "Agent.Identify.NotSupportOperation"


def refusal(answer):
    """HTTP status, errCode and message."""
    error = answer.json()["error"]
    return answer.status_code, error["errCode"], error["message"]


class TestChecks:
    """The eleven checks of POST scale_out; the first failure wins and nothing is created."""

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"zone": ""}, "Field validation for 'Zone' failed on the 'required' tag"),
            ({"zone": None}, "Field validation for 'Zone' failed on the 'required' tag"),
            ({"agentInfo": {"ip": "127.0.1.4"}}, "for 'Port' failed on the 'required' tag"),
            ({"agentInfo": {"ip": "", "port": 1}}, "for 'Ip' failed on the 'required' tag"),
            ({"obConfigs": None}, "for 'ObConfigs' failed on the 'required' tag"),
            ({"obConfigs": {"memory_limit": 16}}, "cannot unmarshal number"),
            ({"agentInfo": {"ip": "127.0.1.4", "port": "2886"}}, "cannot unmarshal string"),
        ],
    )
    async def test_1_the_body_must_bind(self, ask, change, text):
        """400 BindJsonFailed without any `data` key."""
        body = {
            "agentInfo": {"ip": "127.0.1.4", "port": 2886},
            "zone": "zone2",
            "obConfigs": {},
        } | change

        # A wrong body wins over a wrong identity: the spare binds first, too.
        answers = [
            await ask("POST", "/api/v1/ob/scale_out", body, agent=agent)
            for agent in (ENTRY, TARGET)
        ]

        for answer in answers:
            status, code, message = refusal(answer)
            assert (status, code) == (400, "Common.BindJsonFailed")
            assert text in message
            assert "data" not in answer.json()

    async def test_2_the_called_agent_must_be_a_cluster_agent(self, ask):
        """400 with the two identities, and `data` null beside the error."""
        answer = await ask.scale_out(agent="127.0.1.5:2886", target="127.0.1.99:2886")

        assert refusal(answer) == (
            400,
            IDENTITY,
            (
                "'127.0.1.5:2886' is 'SINGLE', instead of 'CLUSTER AGENT', "
                "does not support this operation"
            ),
        )
        assert answer.json()["data"] is None

    async def test_3_the_target_must_answer(self, world, ask):
        """500 RequestFailed for an unknown address and for an agent that is down."""
        unknown = await ask.scale_out(target="127.0.1.99:2886")
        world.play(Fault.agent_down(TARGET))
        down = await ask.scale_out()

        assert refusal(unknown)[:2] == refusal(down)[:2] == (500, "Agent.RPC.RequestFailed")
        assert refusal(down)[2] == (
            "get 127.0.1.4:2886 status failed: Request [GET]127.0.1.4:2886 to /api/v1/info failed: "
            'Get "http://127.0.1.4:2886/api/v1/info": dial tcp 127.0.1.4:2886: '
            "connect: connection refused"
        )

    async def test_4_the_target_must_be_single(self, build_world, asker):
        """Before versions are compared: a member of another build is still `not SINGLE`."""
        zones = [{"name": "zone1", "agents": [{}, {"ob_version": "4.2.1.8-1"}]}]
        ask = asker(build_world(cluster={"zones": zones, "tenants": []}))

        answer = await ask.scale_out(target="127.0.1.2:2886")

        assert refusal(answer) == (
            400,
            IDENTITY,
            (
                "'127.0.1.2:2886' is 'CLUSTER AGENT', instead of 'SINGLE', "
                "does not support this operation"
            ),
        )

    async def test_5_oceanbase_builds_must_be_equal(self, build_world, asker):
        """Another build of the same version is refused, before obshell versions are compared."""
        spare = {"ob_version": "4.3.5.2-1", "obshell_version": "9.0.0.0-1"}
        ask = asker(build_world(spare=spare))

        answer = await ask.scale_out()

        assert refusal(answer) == (
            400,
            "Agent.OB.Version.Inconsistent",
            (
                "OB version is not consistent between 127.0.1.4:2886(4.3.5.2-1) "
                "and 127.0.1.1:2886(4.3.5.2-102000092025042111)"
            ),
        )

    @pytest.mark.parametrize(
        ("version", "code"),
        [
            ("4.5.1.0-1", "OB.Cluster.ScaleOutHigherVersion"),
            ("4.2.4.0-1", "OB.Cluster.ScaleOutLowerVersion"),
            ("4.2.4.1-1", "Common.IllegalArgument"),
            ("4.5.0.0-99999999999999", "Common.IllegalArgument"),
        ],
    )
    async def test_6_obshell_of_the_target_must_be_upgradable(
        self, build_world, asker, version, code
    ):
        """Newer is refused, too old is refused, the release behind the dash does not count."""
        ask = asker(build_world(spare={"obshell_version": version}))

        answer = await ask.scale_out(configs={"mysql_port": "1", "mysqlPort": "2"})

        assert refusal(answer)[:2] == (400, code)

    async def test_7_legacy_port_names_must_agree(self, ask):
        """Both spellings with different values are refused, before the port is parsed."""
        answer = await ask.scale_out(configs={"rpc_port": "x", "rpcPort": "2882"})

        assert refusal(answer) == (
            400,
            "Common.IllegalArgument",
            (
                "The input parameter 'observerConfig' is illegal: "
                "You cannot set both rpc_port and rpcPort, use rpc_port instead."
            ),
        )

    @pytest.mark.parametrize("text", ["", "x"])
    async def test_8_rpc_port_must_be_an_integer(self, world, ask, text):
        """Before the database is asked; an empty string fails too."""
        world.play(Fault.database_down(ENTRY))

        answer = await ask.scale_out(configs={"rpc_port": text})

        assert refusal(answer)[:2] == (400, "Common.InvalidPort")

    async def test_9_the_server_must_not_be_a_member(self, build_world, asker):
        """Address and RPC port count, 2882 where none is given; here the database is used first."""
        ask = asker(build_world(spare={"ip": "127.0.1.2", "port": 3886}))
        ask.world.play(Fault.tenant_task(seconds=100))

        default = await ask.scale_out(target="127.0.1.2:3886")
        other = await ask.scale_out(target="127.0.1.2:3886", configs={"rpc_port": "3882"})
        ask.world.play(Fault.database_down(ENTRY))
        without_database = await ask.scale_out(target="127.0.1.2:3886")

        assert refusal(default) == (
            500,
            "Agent.AlreadyExists",
            "Agent 127.0.1.2:2882 already exists in cluster",
        )
        assert refusal(other)[1] == "OB.Cluster.UnderMaintenanceWithDag"
        assert refusal(without_database)[:2] == (500, "Agent.OceanBase.Useless")

    async def test_11_the_cluster_lock_must_be_free(self, world, ask):
        """One at a time; the refusal names the holder and leaves no DAG."""
        await ask.scale_out()

        answer = await ask.scale_out(target="127.0.1.5:2886")

        assert refusal(answer) == (
            500,
            "OB.Cluster.UnderMaintenanceWithDag",
            (
                "Create task 'Cluster scale out' failed: OceanBase cluster is under maintenance "
                "by DAG: Cluster scale out, please try again later"
            ),
        )
        assert world.count_dags("Cluster scale out") == 1

    async def test_no_refusal_creates_anything(self, world, ask):
        """Each check in turn leaves the cluster without a DAG."""
        for options in (
            {"zone": ""},
            {"agent": TARGET},
            {"target": "127.0.1.99:2886"},
            {"target": "127.0.1.2:2886"},
            {"configs": {"rpc_port": "x"}},
        ):
            answer = await ask.scale_out(**options)
            assert answer.status_code >= 400

        assert world.count_dags("Cluster scale out") == 0

    async def test_old_agents_check_less(self, build_world, asker):
        """4.2.3.x joins another build and a registered server without a word."""
        world = build_world(
            spare={"ob_version": "4.2.1.0-1"}, obshell_version="4.2.3.1-1", ob_version="4.2.2.0-1"
        )
        ask = asker(world)

        answer = await ask.scale_out(configs={"rpc_port": "x", "rpcPort": "y"})

        assert answer.status_code == 200
        assert "maintenance_type" not in answer.json()["data"]
        names = [node.step.name for node in world.cluster().dags[0].nodes]
        assert names[7] == "Add agent  for scale_out"
