"""Tests of each stage of a scale-out: its log, its effects and its undoing."""

import pytest

from obscale.sandbox import Fault

ENTRY = "127.0.1.1:2886"
TARGET = "127.0.1.4:2886"


def refusal(answer):
    """HTTP status, errCode and message."""
    error = answer.json()["error"]
    return answer.status_code, error["errCode"], error["message"]


async def test_the_answer_is_a_dag_without_nodes(ask):
    """READY/RUN, stage 1, times of year 1, nothing attached."""
    answer = await ask.scale_out()

    assert answer.json()["data"] == {
        "id": "11",
        "dag_id": 1,
        "name": "Cluster scale out",
        "stage": 1,
        "max_stage": 9,
        "maintenance_type": 2,
        "maintenance_key": "",
        "state": "READY",
        "operator": "RUN",
        "start_time": "0001-01-01T00:00:00Z",
        "end_time": "0001-01-01T00:00:00Z",
        "additional_data": None,
        "nodes": None,
    }


async def test_a_successful_dag_tells_its_story(world, ask):
    """Names, logs, ids and executors are those of obshell."""
    created = (await ask.scale_out(zone="zone4")).json()["data"]
    world.advance(60)

    dag = await ask.data(f"/api/v1/task/dag/{created['id']}")

    assert (dag["state"], dag["operator"], dag["additional_data"]) == ("SUCCEED", "RUN", {})
    assert [node["name"] for node in dag["nodes"]] == [
        "Integrate server config",
        "Create local scale out dag",
        "Wait scale out ready",
        "Wait remote deploy finish",
        "Wait remote start finish",
        "Prev check for scale_out",
        "Add new zone for scale_out",
        "Start new zone for scale_out",
        "Add server for scale_out",
        "Add agent for scale_out",
        "Check cluster scale_out whether finished",
    ]
    logs = [node["sub_tasks"][0]["task_logs"] for node in dag["nodes"]]
    local = (await ask.data("/api/v1/task/dag/maintain/agent", agent=TARGET))["id"]
    assert logs[0] == []
    assert logs[1] == [f"create local scale out dag success, genericID:{local}"]
    assert local == "221307066920288" + "61"
    assert logs[2] == ["local scale out dag task Be scaling agent is succeed"]
    assert logs[3][:2] == [
        "retry stage: 2 successfully",
        "task Create observer workdir: mkdir data_dir: /home/admin/oceanbase/store",
    ]
    assert logs[4][:2] == [
        "retry stage: 4 successfully",
        "task Start observer: start observer",
    ]
    assert logs[5:] == [
        ["PrevCheckTask execute"],
        ["AddZoneTask execute"],
        ["StartZoneTask execute"],
        ["AddServerTask execute"],
        [],
        ["FinishTask execute"],
    ]
    zones = (await ask.data("/api/v1/obcluster/topology/info"))["zones"]
    assert [zone["region_name"] for zone in zones] == ["sys_region"] * 3 + ["default_region"]


async def test_the_local_dag_points_at_its_main_dag(world, ask):
    """`main_dag_id` and a uuid; both gates carry one name; the local id forwards."""
    await ask.scale_out()
    world.advance(5)

    local = await ask.data("/api/v1/task/dag/maintain/agent", agent=TARGET)
    forwarded = await ask.data(f"/api/v1/task/dag/{local['id']}")

    assert local["additional_data"]["main_dag_id"] == "11"
    assert len(local["additional_data"]["scaleOutUUID"]) == 36
    assert [node["name"] for node in local["nodes"]] == [
        "Be scaling agent",
        "Start preparations",
        "Create observer workdir",
        "Start preparations",
        "Start observer",
        "Watch cluster scale_out dag",
        "Sync from observer",
    ]
    assert forwarded == local
    assert local["nodes"][2]["sub_tasks"][0]["task_logs"] is None


STAGE_FAILURES = {
    1: "ERROR: [Common.InvalidPort]: fill port failed: The port 'x' is invalid",
    2: "ERROR: [Agent.RPC.RequestFailed]: send scale out rpc to target agent failed",
    3: "ERROR: [Task.RemoteTask.Failed]: wait scaling out ready failed",
    4: "ERROR: [Common.Unexpected]: Unexpected error: dag 2",
    5: "ERROR: [Common.Unexpected]: Unexpected error: dag 2",
    6: "ERROR: [Common.Unexpected]: Unexpected error: zone has been changed",
    7: "ERROR: [MySQL.Error]: MySQL error: add server 127.0.1.4:2882 failed",
    8: "ERROR: [MySQL.Error]: MySQL error: Error 1062 (23000)",
    9: "ERROR: [Common.Unexpected]: Unexpected error: agent has not been cluster agent",
}


@pytest.mark.parametrize("stage", STAGE_FAILURES)
async def test_any_stage_can_fail_and_be_retried(world, ask, stage):
    """A card fails one stage with its usual text, holds the lock, and RETRY then succeeds."""
    world.play(Fault.fail_stage(stage))
    dag_id = (await ask.scale_out()).json()["data"]["id"]
    world.advance(90)
    failed = await ask.data(f"/api/v1/task/dag/{dag_id}")
    unfinished = await ask.data("/api/v1/task/dag/ob/unfinish")

    await ask.operate(dag_id, "retry")
    world.advance(120)

    ended = await ask.data(f"/api/v1/task/dag/{dag_id}")
    task = failed["nodes"][stage - 1]["sub_tasks"][0]
    assert (failed["state"], failed["stage"], task["state"]) == ("FAILED", stage, "FAILED")
    assert task["task_logs"][-1].startswith(STAGE_FAILURES[stage])
    assert [dag["id"] for dag in unfinished["contents"]] == [dag_id]
    assert (ended["state"], ended["operator"], ended["stage"]) == ("SUCCEED", "RUN", 9)
    assert world.undrawn() == []
    assert world.agent(TARGET).identity == "CLUSTER AGENT"


@pytest.mark.parametrize("stage", [*range(1, 9), 10])
async def test_any_stage_but_the_last_can_be_rolled_back(world, ask, stage):
    """A new zone, its server and its agent row are gone, the spare may be used again."""
    world.play(Fault.fail_stage(stage))
    dag_id = (await ask.scale_out(zone="zone4")).json()["data"]["id"]
    world.advance(90)

    await ask.operate(dag_id, "ROLLBACK")
    world.advance(60)

    ended = await ask.data(f"/api/v1/task/dag/{dag_id}")
    cluster = world.cluster()
    assert (ended["state"], ended["operator"], ended["stage"]) == ("SUCCEED", "ROLLBACK", 1)
    assert [zone.name for zone in cluster.zones] == ["zone1", "zone2", "zone3"]
    assert (len(cluster.servers), len(cluster.agents)) == (3, 3)
    assert world.agent(TARGET).identity == "SINGLE"
    again = await ask.scale_out(zone="zone4")
    world.advance(60)
    assert (await ask.data(f"/api/v1/task/dag/{again.json()['data']['id']}"))["state"] == "SUCCEED"


async def test_a_zone_with_a_server_still_deleting_stops_the_rollback(build_world, asker):
    """FAILED/ROLLBACK; rolling back again after the server is gone ends it, RETRY skips nodes."""
    ask = asker(build_world(delete_server_seconds=60))
    ask.world.play(Fault.fail_stage(10))
    dag_id = (await ask.scale_out(zone="zone4")).json()["data"]["id"]
    ask.world.advance(90)
    await ask.operate(dag_id, "ROLLBACK")
    ask.world.advance(30)
    stuck = await ask.data(f"/api/v1/task/dag/{dag_id}")
    ask.world.advance(60)

    await ask.operate(dag_id, "ROLLBACK")
    ask.world.advance(60)

    ended = await ask.data(f"/api/v1/task/dag/{dag_id}")
    assert (stuck["state"], stuck["operator"], stuck["stage"]) == ("FAILED", "ROLLBACK", 7)
    assert (ended["state"], ended["operator"], ended["stage"]) == ("SUCCEED", "ROLLBACK", 1)


async def test_retrying_a_half_undone_dag_skips_what_was_undone(build_world, asker):
    """It ends SUCCEED/RUN without the server: why nobody should do it."""
    ask = asker(build_world(delete_server_seconds=60))
    ask.world.play(Fault.fail_stage(10))
    dag_id = (await ask.scale_out(zone="zone4")).json()["data"]["id"]
    ask.world.advance(90)
    await ask.operate(dag_id, "ROLLBACK")
    ask.world.advance(90)

    await ask.operate(dag_id, "RETRY")
    ask.world.advance(180)

    dag = await ask.data(f"/api/v1/task/dag/{dag_id}")
    undone = [node["name"] for node in dag["nodes"] if node["operator"] == "ROLLBACK"]
    assert "Add server for scale_out" in undone
    assert ask.world.cluster().server_at("127.0.1.4", 2882) is None


class TestOperators:
    """What a DAG may be told, and when."""

    async def test_a_running_scale_out_takes_no_operator(self, ask):
        """It cannot be interrupted."""
        dag_id = (await ask.scale_out()).json()["data"]["id"]

        answers = {
            name: refusal(await ask.operate(dag_id, name))[:2]
            for name in ("rollback", "RETRY", "Cancel", "PASS", "jump")
        }
        empty = await ask("POST", f"/api/v1/task/dag/{dag_id}", {})

        assert answers == {
            "rollback": (400, "Task.Dag.Operator.RollbackNotFailedDag"),
            "RETRY": (400, "Task.Dag.Operator.RetryNotFailedDag"),
            "Cancel": (400, "Task.Dag.Operator.CancelNotAllowed"),
            "PASS": (400, "Task.Dag.Operator.PassNotFailedDag"),
            "jump": (400, "Task.Dag.Operator.NotSupport"),
        }
        assert refusal(empty)[:2] == (400, "Common.BindJsonFailed")

    async def test_a_failed_scale_out_cannot_be_passed_or_cancelled(self, world, ask):
        """Every node can retry and roll back, none can pass."""
        world.play(Fault.fail_stage(1))
        dag_id = (await ask.scale_out()).json()["data"]["id"]
        world.advance(5)

        passed = await ask.operate(dag_id, "PASS")
        cancelled = await ask.operate(dag_id, "CANCEL")
        node = await ask("POST", "/api/v1/task/node/11", {"operator": "pass"})
        accepted = await ask.operate(dag_id, "ROLLBACK")

        assert refusal(passed)[1] == "Task.Dag.Operator.PassNotAllowed"
        assert refusal(cancelled)[1] == "Task.Dag.Operator.CancelFinishedDag"
        assert refusal(node)[1] == "Task.Node.Operator.PassNotAllowed"
        assert accepted.status_code == 200
        assert "data" not in accepted.json()


async def test_a_wrong_target_password_fails_stage_two(build_world, asker):
    """Nothing checks it before; the right one joins."""
    ask = asker(build_world(spare={"agent_password": "Agent#1"}))
    dag_id = (await ask.scale_out(target_password="x")).json()["data"]["id"]
    ask.world.advance(10)
    failed = await ask.data(f"/api/v1/task/dag/{dag_id}")
    await ask.operate(dag_id, "ROLLBACK")
    ask.world.advance(10)

    good = (await ask.scale_out(target_password="Agent#1")).json()["data"]["id"]
    ask.world.advance(60)

    assert failed["nodes"][1]["sub_tasks"][0]["task_logs"] == [
        (
            "ERROR: [Agent.RPC.RequestError]: send scale out rpc to target agent failed: "
            "Request [POST]/rpc/v1/ob/scale_out to 127.0.1.4:2886 error: "
            "Unauthorized: Agent password is incorrect"
        )
    ]
    assert (await ask.data(f"/api/v1/task/dag/{good}"))["state"] == "SUCCEED"


async def test_a_lost_rpc_answer_leaves_an_orphan(world, ask):
    """RETRY fails for ever; the cure is to roll back the cluster DAG, then the local one."""
    world.play(Fault.orphan_local_dag())
    dag_id = (await ask.scale_out()).json()["data"]["id"]
    world.advance(10)
    await ask.operate(dag_id, "RETRY")
    world.advance(10)
    retried = await ask.data(f"/api/v1/task/dag/{dag_id}")
    await ask.operate(dag_id, "ROLLBACK")
    world.advance(10)
    left = world.agent(TARGET).identity
    local = await ask.data("/api/v1/task/dag/maintain/agent", agent=TARGET)

    await ask.operate(local["id"], "ROLLBACK", agent=TARGET)
    world.advance(20)

    assert "Should use oceanbase_password" in retried["nodes"][1]["sub_tasks"][0]["task_logs"][-1]
    assert left == "SCALING OUT"
    assert local["additional_data"]["main_dag_id"] == dag_id
    assert world.agent(TARGET).identity == "SINGLE"


async def test_an_older_obshell_is_upgraded_on_the_way(build_world, asker):
    """Eight local stages, the seventh without a name; the agent goes away for a moment."""
    ask = asker(build_world(spare={"obshell_version": "4.4.2.0-1"}))
    dag_id = (await ask.scale_out()).json()["data"]["id"]
    ask.world.advance(60)

    local = await ask.data("/api/v1/task/dag/maintain/agent", agent=TARGET)

    assert [node["name"] for node in local["nodes"]][6] == ""
    assert (local["state"], local["max_stage"]) == ("SUCCEED", 8)
    assert ask.world.agent(TARGET).version == "4.5.0.0-12026050815"
    assert (await ask.data(f"/api/v1/task/dag/{dag_id}"))["state"] == "SUCCEED"


async def test_a_lost_joining_agent_fails_stage_five_and_a_retry_finds_it_again(world, ask):
    """A single unanswered poll ends the node; the agent's sub task begins anew when it is back."""
    world.play(Fault.slow_observer(seconds=20))
    world.play(Fault.agent_down(TARGET, after_seconds=22))
    world.play(Fault.agent_up(TARGET, after_seconds=40))
    dag_id = (await ask.scale_out()).json()["data"]["id"]
    world.advance(45)
    failed = await ask.data(f"/api/v1/task/dag/{dag_id}")

    await ask.operate(dag_id, "RETRY")
    world.advance(90)

    assert (failed["state"], failed["stage"]) == ("FAILED", 5)
    assert "get remote dag failed" in failed["nodes"][4]["sub_tasks"][0]["task_logs"][-1]
    assert (await ask.data(f"/api/v1/task/dag/{dag_id}"))["state"] == "SUCCEED"


async def test_another_agent_takes_over_when_the_maintainer_is_lost(world, ask):
    """A DAG between two sub tasks goes on elsewhere once the lease is over."""
    dag_id = (await ask.scale_out()).json()["data"]["id"]
    world.advance(2)
    world.play(Fault.agent_down(ENTRY))
    world.advance(60)

    dag = await ask.data(f"/api/v1/task/dag/{dag_id}", agent="127.0.1.2:2886")

    executors = [node["sub_tasks"][0]["execute_agent"]["ip"] for node in dag["nodes"]]
    assert dag["state"] == "SUCCEED"
    assert executors == ["127.0.1.1"] + ["127.0.1.2"] * 8


async def test_a_tenant_task_holds_the_same_lock(world, ask):
    """Type 3 keeps a scale-out out until it is over."""
    world.play(Fault.tenant_task(seconds=10))

    held = await ask.scale_out()
    listed = await ask.data("/api/v1/task/dag/ob/unfinish")
    world.advance(15)
    free = await ask.scale_out()

    assert refusal(held)[1] == "OB.Cluster.UnderMaintenanceWithDag"
    assert [dag["maintenance_type"] for dag in listed["contents"]] == [3]
    assert free.status_code == 200


async def test_rolling_back_a_late_joiner_leaves_it_believing(world, ask):
    """The last stage gave up, the agent joined all the same: rows go, the belief stays."""
    world.play(Fault.fail_stage(9))
    dag_id = (await ask.scale_out()).json()["data"]["id"]
    world.advance(90)
    joined = [agent["ip"] for agent in (await ask.data("/api/v1/ob/agents"))["contents"]]

    await ask.operate(dag_id, "ROLLBACK")
    world.advance(8 * 62)
    early = await ask.data(f"/api/v1/task/dag/{dag_id}")
    world.advance(10)

    ended = await ask.data(f"/api/v1/task/dag/{dag_id}")
    left = [agent["ip"] for agent in (await ask.data("/api/v1/ob/agents"))["contents"]]
    assert "127.0.1.4" in joined
    assert (early["state"], early["stage"]) == ("RUNNING", 1)
    assert (ended["state"], ended["operator"]) == ("SUCCEED", "ROLLBACK")
    assert "127.0.1.4" not in left
    assert world.agent(TARGET).identity == "CLUSTER AGENT"
