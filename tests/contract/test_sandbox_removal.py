"""Tests of members that leave simulated clusters: stages, operators, units, zones, and cards."""

import math

import pytest

from obscale.sandbox import Fault
from tests.contract.conftest import ENTRY, TARGET, Asker
from tests.contract.removal_scenes import OLD, Leaving

WHOLE_SECONDS = 40
IN_WAIT_SECONDS = 8
"""The stage that waits for the server to go has begun."""
FREE, HELD = True, False
NOT_NOW = "Error 4179 (HY000): not now"


@pytest.fixture
async def leaving(world, ask):
    """The default world, its first spare a member of zone2."""
    return await Leaving(world, ask).grow()


@pytest.fixture
def build_leaving(build_world):
    """The same of a world with changes."""

    async def build(**changes):
        world = build_world(**changes)
        return await Leaving(world, Asker(world)).grow()

    return build


class TestTheWay:
    """What a removal does, stage by stage."""

    async def test_five_stages_and_nothing_is_left_in_the_cluster(self, leaving):
        """Server and agent are gone, the lock is free, the observer is killed."""
        await leaving.remove(seconds=WHOLE_SECONDS)

        dag = await leaving.dag()
        assert [node["name"] for node in dag["nodes"]] == [
            "Delete observer",
            "Set agent to 'SCALING IN'",
            "Wait delete observer success",
            "Delete agent",
            "Try to inform to kill observer",
        ]
        assert (dag["state"], dag["operator"], dag["stage"]) == ("SUCCEED", "RUN", 5)
        assert (await leaving.server("127.0.1.4"), await leaving.row_identity("127.0.1.4")) == (
            None,
            None,
        )
        assert await leaving.status() == ("SCALING IN", 0, False)
        assert leaving.lock_is_free

    @pytest.mark.parametrize("gone_after", [0.0, 4.2, 8.5, 20.0, 100.0])
    async def test_a_removal_lasts_as_long_as_its_row(self, build_leaving, gone_after):
        """Looked at every three seconds, from the ninth after the POST on; five more follow."""
        leaving = await build_leaving(delete_server_seconds=gone_after)
        await leaving.remove()
        begun = leaving.world.clock.now()
        while leaving.world.cluster().dags[-1].state != "SUCCEED":
            leaving.world.advance(0.5)

        looks = math.ceil(max(0.0, gone_after - 8) / 3)
        assert leaving.world.clock.now() - begun == 14 + 3 * looks

    async def test_with_force_the_observer_is_killed_before_its_row_is_gone(self, leaving):
        """Six stages; the observer is dead while the server is still DELETING."""
        leaving.hold()
        await leaving.remove(force=True, seconds=16)

        dag = await leaving.dag()
        row = await leaving.server("127.0.1.4")
        assert [node["name"] for node in dag["nodes"]][2:4] == [
            "Check multi paxos member alive",
            "Try to inform to kill observer",
        ]
        assert (dag["max_stage"], dag["stage"]) == (6, 5)
        assert (row["inner_status"], row["start_time"][:4]) == ("DELETING", "0001")
        assert await leaving.status() == ("SCALING IN", 0, False)

    async def test_row_and_agent_say_scaling_in_one_after_the_other(self, leaving):
        """The row when stage 2 runs, the agent when the next broadcast reaches it."""
        leaving.hold()
        seen = []
        await leaving.remove()
        for _ in range(8):
            leaving.world.advance(1)
            row = await leaving.row_identity("127.0.1.4")
            seen.append((row, (await leaving.status())[0]))

        member, leaves = "CLUSTER AGENT", "SCALING IN"
        assert list(dict.fromkeys(seen)) == [(member, member), (leaves, member), (leaves, leaves)]

    @pytest.mark.parametrize("began_before", [1.5, 3.5, 7.5])
    async def test_where_only_the_leaving_agent_has_a_database_the_dag_stands_still(
        self, leaving, began_before
    ):
        """It may not coordinate, so nobody works on the DAG, and every look finds the same."""
        leaving.hold()
        await leaving.remove(seconds=began_before)
        for agent in leaving.world.agents:
            if agent.address != TARGET:
                leaving.world.play(Fault.database_down(agent.address))
        leaving.world.advance(60)
        (before, *others) = [await self.shown_by(leaving) for _ in range(40)]

        assert all(each == before for each in others)

    async def shown_by(self, leaving):
        """What the leaving agent shows, a moment later."""
        leaving.world.advance(0.1)
        answer = await leaving.ask("GET", f"/api/v1/task/dag/{leaving.dag_id}", agent=TARGET)
        return answer.json()["data"]

    async def test_the_leaving_agent_stays_what_it_is(self, leaving):
        """SCALING IN after a restart too, and refused as a target; cleaned, it may join again."""
        await leaving.remove(seconds=WHOLE_SECONDS)
        leaving.world.play(Fault.agent_restart(TARGET))
        leaving.world.advance(2)

        again = await leaving.ask.scale_out()
        after_restart = await leaving.status()
        leaving.world.play(Fault.host_cleaned(TARGET))
        await leaving.grow()

        assert after_restart == ("SCALING IN", 0, False)
        assert "'SCALING IN', instead of 'SINGLE'" in again.json()["error"]["message"]
        assert await leaving.status() == ("CLUSTER AGENT", 3, False)

    async def test_a_second_post_is_answered_by_the_lock_and_then_without_content(self, leaving):
        """Nothing is created twice."""
        await leaving.remove(seconds=3)
        busy = await leaving.remove()
        leaving.world.advance(WHOLE_SECONDS)
        done = await leaving.remove()

        assert busy.json()["error"]["errCode"] == "OB.Cluster.UnderMaintenanceWithDag"
        assert (done.status_code, done.content) == (204, b"")
        assert leaving.world.count_dags("Cluster scale in") == 1

    async def test_delete_observer_is_the_same(self, leaving):
        """The other route of the same handler."""
        body = {"agent_info": {"ip": "127.0.1.4", "port": 2886}}

        answer = await leaving.ask("DELETE", "/api/v1/observer", body)

        assert answer.json()["data"]["name"] == "Cluster scale in"

    @pytest.mark.parametrize(
        ("version", "path", "status"),
        [("4.2.5.0-1", "/api/v1/ob/scale_in", 404), ("4.2.6.0-1", "/api/v1/ob/scale_in", 204)],
    )
    async def test_removal_came_with_a_release(self, build_world, version, path, status):
        """Agents before 4.2.6.0 have no such route."""
        ask = Asker(build_world(obshell_version=version))

        answer = await ask("POST", path, {"agent_info": {"ip": "127.0.1.9", "port": 2886}})

        assert answer.status_code == status

    async def test_the_maintainer_may_leave_itself(self, leaving):
        """It executes the first two stages, another the rest."""
        # Its units go to one that has joined its zone.
        await leaving.grow("127.0.1.5:2886", "zone1")
        await leaving.remove(ENTRY, agent=OLD, seconds=90)

        dag = await leaving.ask.data(f"/api/v1/task/dag/{leaving.dag_id}", agent=OLD)
        by = [node["sub_tasks"][0]["execute_agent"]["ip"] for node in dag["nodes"]]
        assert dag["state"] == "SUCCEED"
        assert by == ["127.0.1.1"] * 2 + ["127.0.1.2"] * 3

    async def test_a_zombie(self, leaving):
        """Away all the time: SUCCEED without a word, and back it takes itself for a member."""
        leaving.world.play(Fault.agent_down(TARGET))
        await leaving.remove(seconds=WHOLE_SECONDS)
        stands = await leaving.stands()
        leaving.world.play(Fault.agent_up(TARGET))

        info = await leaving.ask.data("/api/v1/ob/info", agent=TARGET)
        assert stands == ("SUCCEED", "RUN", 5)
        assert await leaving.status() == ("CLUSTER AGENT", 1, False)
        assert "127.0.1.4" in [row["ip"] for row in info["agent_info"]]
        assert info["obcluster_info"]["topology"] is None

    async def test_a_zombie_starts_its_observer_again(self, leaving):
        """An observer that had died lives after it."""
        leaving.world.play(Fault.agent_down(TARGET))
        leaving.world.play(Fault.observer_down(TARGET))
        await leaving.remove(seconds=WHOLE_SECONDS)
        leaving.world.play(Fault.agent_up(TARGET))

        assert await leaving.status() == ("CLUSTER AGENT", 1, False)

    async def test_back_before_its_row_is_gone_it_hears_of_it(self, leaving):
        """Broadcasts go on as long as there is a row."""
        leaving.hold()
        leaving.world.play(Fault.agent_down(TARGET))
        leaving.world.play(Fault.agent_up(TARGET, after_seconds=30))
        await leaving.remove(seconds=50)

        assert await leaving.status() == ("SCALING IN", 3, False)


class TestOperators:
    """The table: what each operator does at which moment."""

    async def test_stage_1_refused_frees_the_lock(self, leaving):
        """RETRY tries again, ROLLBACK has nothing to undo, CANCEL is too late."""
        leaving.world.play(Fault.delete_refused(text=NOT_NOW, times=2))
        await leaving.remove(seconds=3)
        failed = await leaving.stands(), leaving.lock_is_free, await leaving.last_words()
        cancel = await leaving.operate("CANCEL")
        await leaving.operate("RETRY", seconds=4)
        again = await leaving.stands(), leaving.lock_is_free
        await leaving.operate("ROLLBACK", seconds=4)

        assert failed == (
            ("FAILED", "RUN", 1),
            FREE,
            f"ERROR: [MySQL.Error]: MySQL error: delete observer 127.0.1.4:2882 failed: {NOT_NOW}",
        )
        assert cancel == (400, "Task.Dag.Operator.CancelFinishedDag")
        assert again == (("FAILED", "RUN", 1), FREE)
        assert await leaving.stands() == ("SUCCEED", "ROLLBACK", 1)

    async def test_a_retry_without_the_lock_may_be_refused(self, leaving):
        """Somebody else has taken it meanwhile."""
        leaving.world.play(Fault.delete_refused())
        await leaving.remove(seconds=3)
        leaving.world.play(Fault.tenant_task(60))

        assert await leaving.operate("RETRY") == (500, "OB.Cluster.UnderMaintenanceWithDag")

    @pytest.mark.parametrize(
        ("operator", "code"),
        [
            ("RETRY", "RetryNotFailedDag"),
            ("ROLLBACK", "RollbackNotFailedDag"),
            ("PASS", "PassNotFailedDag"),
        ],
    )
    async def test_while_it_runs_only_cancel_is_heeded(self, leaving, operator, code):
        """400 for all others."""
        leaving.hold()
        await leaving.remove(seconds=IN_WAIT_SECONDS)

        assert await leaving.operate(operator) == (400, f"Task.Dag.Operator.{code}")
        assert await leaving.stands() == ("RUNNING", "RUN", 3)

    async def test_cancel_undoes_the_delete_and_keeps_the_lock(self, leaving):
        """FAILED within two seconds, the server ACTIVE up to three later, the row SCALING IN."""
        leaving.hold()
        await leaving.remove(seconds=IN_WAIT_SECONDS)
        first, second = await leaving.operate("CANCEL"), await leaving.operate("CANCEL")
        leaving.world.advance(6)

        logs = (await leaving.dag())["nodes"][2]["sub_tasks"][0]["task_logs"]
        assert (first, second) == ((200, ""), (500, "Gorm.NoRowAffected"))
        assert await leaving.stands() == ("FAILED", "CANCEL", 3)
        assert logs == ["sub task cancelled", "cancel delete observer 127.0.1.4:2882 start"]
        assert (await leaving.server("127.0.1.4"))["inner_status"] == "ACTIVE"
        assert await leaving.row_identity("127.0.1.4") == "SCALING IN"
        assert leaving.lock_is_free is HELD

    async def test_cancel_at_stage_1_frees_the_lock(self, leaving):
        """The node is one that gives it up."""
        await leaving.remove(seconds=0.5)
        await leaving.operate("CANCEL", seconds=4)

        assert await leaving.stands() == ("FAILED", "CANCEL", 1)
        assert leaving.lock_is_free is FREE

    async def test_cancel_then_rollback_stops_a_removal(self, leaving):
        """The server serves, the agent is a member again, the lock is free."""
        leaving.hold()
        await leaving.remove(seconds=IN_WAIT_SECONDS)
        await leaving.operate("CANCEL", seconds=5)
        await leaving.operate("ROLLBACK", seconds=15)

        assert await leaving.stands() == ("SUCCEED", "ROLLBACK", 1)
        assert (await leaving.server("127.0.1.4"))["status"] == "RUNNING"
        assert await leaving.row_identity("127.0.1.4") == "CLUSTER AGENT"
        assert await leaving.status() == ("CLUSTER AGENT", 3, False)
        assert leaving.lock_is_free

    async def test_rollback_after_force_starts_the_observer_again(self, leaving):
        """Its own DAG does; the server was INACTIVE meanwhile."""
        leaving.hold()
        await leaving.remove(force=True, seconds=16)
        await leaving.operate("CANCEL", seconds=5)
        dead = (await leaving.server("127.0.1.4"))["inner_status"]
        await leaving.operate("ROLLBACK", seconds=40)

        local = await leaving.ask.data("/api/v1/task/dag/maintain/agent", agent=TARGET)
        assert dead == "INACTIVE"
        assert (local["name"], local["state"]) == (
            "Start observer for scale in rollback",
            "SUCCEED",
        )
        assert await leaving.stands() == ("SUCCEED", "ROLLBACK", 1)
        assert await leaving.status() == ("CLUSTER AGENT", 3, False)

    async def test_cancel_then_retry_goes_on(self, leaving):
        """DELETE SERVER again, then to the end."""
        leaving.world.play(Fault.unit_stuck(TARGET, seconds=20))
        await leaving.remove(seconds=IN_WAIT_SECONDS)
        await leaving.operate("CANCEL", seconds=5)
        await leaving.operate("RETRY", seconds=60)

        assert await leaving.stands() == ("SUCCEED", "RUN", 5)
        assert await leaving.server("127.0.1.4") is None

    async def test_pass_leaves_half_of_it(self, leaving):
        """All later nodes are done without having run; another POST finishes it."""
        leaving.world.play(Fault.unit_stuck(TARGET, seconds=20))
        await leaving.remove(seconds=IN_WAIT_SECONDS)
        await leaving.operate("CANCEL", seconds=5)
        await leaving.operate("PASS")
        nodes = (await leaving.dag())["nodes"]
        half = await leaving.stands(), await leaving.row_identity("127.0.1.4")
        free = leaving.lock_is_free
        leaving.world.advance(20)
        await leaving.remove(seconds=WHOLE_SECONDS)

        assert half == (("SUCCEED", "PASS", 3), "SCALING IN")
        assert [(n["state"], n["operator"]) for n in nodes[2:]] == [("SUCCEED", "PASS")] * 3
        assert [n["sub_tasks"][0]["execute_times"] for n in nodes[3:]] == [0, 0]
        assert free
        assert await leaving.stands() == ("SUCCEED", "RUN", 5)

    async def test_passing_the_node_runs_the_later_ones(self, leaving):
        """The agent's row is deleted and its observer killed, with the server still listed."""
        leaving.hold()
        await leaving.remove(seconds=IN_WAIT_SECONDS)
        await leaving.operate("CANCEL", seconds=5)
        node = (await leaving.dag())["nodes"][2]["id"]
        answer = await leaving.ask("POST", f"/api/v1/task/node/{node}", {"operator": "PASS"})
        leaving.world.advance(20)

        assert answer.status_code == 200
        assert await leaving.stands() == ("SUCCEED", "RUN", 5)
        assert await leaving.row_identity("127.0.1.4") is None
        assert (await leaving.server("127.0.1.4"))["inner_status"] == "INACTIVE"

    async def test_once_the_server_is_gone_rollback_fails_and_retry_cures(self, leaving):
        """FAILED/ROLLBACK keeps the lock; RETRY is right then."""
        leaving.hold()
        await leaving.remove(seconds=IN_WAIT_SECONDS)
        await leaving.operate("CANCEL", seconds=5)
        leaving.world.play(Fault.gone_before_rollback(TARGET))
        await leaving.operate("ROLLBACK", seconds=4)
        stuck = await leaving.stands(), leaving.lock_is_free, await leaving.last_words()
        await leaving.operate("RETRY", seconds=30)

        assert stuck == (
            ("FAILED", "ROLLBACK", 3),
            HELD,
            "ERROR: [OB.Server.NotExist]: Observer '127.0.1.4:2882' does not exist",
        )
        assert await leaving.stands() == ("SUCCEED", "RUN", 5)

    @pytest.mark.parametrize(("force", "stage"), [(False, 4), (True, 6)])
    async def test_past_delete_agent_only_retry_is_right(self, leaving, force, stage):
        """ROLLBACK is not allowed any more."""
        leaving.world.play(Fault.delete_agent_fails())
        await leaving.remove(force=force, seconds=WHOLE_SECONDS)
        failed = await leaving.stands()
        rollback = await leaving.operate("ROLLBACK")
        await leaving.operate("RETRY", seconds=20)

        assert failed == ("FAILED", "RUN", stage)
        assert rollback == (400, "Task.Dag.Operator.RollbackNotAllowed")
        assert (await leaving.stands())[0] == "SUCCEED"

    async def test_a_wait_of_an_hour_times_out_and_goes_on_by_retry(self, leaving):
        """OceanBase goes on deleting while the DAG is FAILED, its lock held."""
        leaving.hold()
        await leaving.remove(seconds=3700)
        timed_out = await leaving.stands(), await leaving.last_words(), leaving.lock_is_free
        status = (await leaving.server("127.0.1.4"))["inner_status"]
        leaving.world.cluster().servers[-1].holds_its_units = False
        leaving.world.advance(20)
        await leaving.operate("RETRY", seconds=30)

        assert timed_out == (("FAILED", "RUN", 3), "sub task timeout", HELD)
        assert status == "DELETING"
        assert await leaving.stands() == ("SUCCEED", "RUN", 5)

    async def test_somebody_elses_operator_is_a_card(self, leaving):
        """CANCEL at the stage that waits."""
        leaving.hold()
        leaving.world.play(
            Fault.operate_dag("CANCEL", operation="scale_in", stage=3, after_seconds=2)
        )
        await leaving.remove(seconds=20)

        assert await leaving.stands() == ("FAILED", "CANCEL", 3)


class TestUnits:
    """Units go where there is room, at a pace, and keep their server until they are gone."""

    async def test_units_move_one_after_another_and_then_the_row_goes(self, build_leaving):
        """A unit is listed at its new place when its move begins; its bytes follow."""
        leaving = await build_leaving(migration_mib_per_second=4)
        await leaving.remove(OLD, seconds=1)
        places, used = [], []
        for _ in range(16):
            leaving.world.advance(5)
            row = await leaving.server("127.0.1.2")
            used.append(row["stats"]["disk_in_bytes_used"] if row else None)
            where = [await leaving.units(tenant) for tenant in ("sys", "app")]
            places.append(sum("2" in each for each in where))

        falling = [each for each in used if each is not None]
        assert list(dict.fromkeys(places)) == [1, 0]
        assert falling == sorted(falling, reverse=True)
        assert len(set(falling)) > 5
        assert used[-1] is None
        assert await leaving.units() == ["1", "3", "4"]
        assert (await leaving.server("127.0.1.4"))["stats"]["memory_in_bytes_assigned"] == 6 << 30

    async def test_a_unit_on_its_way_counts_on_both_servers(self, build_leaving):
        """As the servers report it."""
        leaving = await build_leaving(migration_mib_per_second=1)
        await leaving.remove(OLD, seconds=2)

        stats = [
            (await leaving.server(ip))["stats"]["memory_in_bytes_assigned"] >> 30
            for ip in ("127.0.1.2", "127.0.1.4")
        ]
        assert stats == [6, 2]

    async def test_cancel_turns_moves_back_and_keeps_finished_ones(self, build_leaving):
        """The unit of sys has moved, that of app is on its way."""
        leaving = await build_leaving(migration_mib_per_second=100)
        await leaving.remove(OLD, seconds=9)
        leaving.world.play(Fault.slow_migration(600))
        leaving.world.advance(5)
        before = [await leaving.units(tenant) for tenant in ("sys", "app")]
        await leaving.operate("CANCEL", seconds=6)

        assert before == [["1", "3", "4"], ["1", "3", "4"]]
        assert await leaving.units("sys") == ["1", "3", "4"]
        assert await leaving.units("app") == ["1", "2", "3"]

    async def test_no_receiver_no_room_and_no_majority_are_refused_at_stage_1(self, leaving):
        """Three ways in which OceanBase says no at once."""
        said = []
        await leaving.remove("127.0.1.3:2886", seconds=3)
        said.append(await leaving.last_words())
        leaving.world.play(Fault.unit_no_room(TARGET))
        await leaving.remove(OLD, seconds=3)
        said.append(await leaving.last_words())
        for ip in ("127.0.1.2", "127.0.1.3"):
            leaving.world.play(Fault.observer_down(f"{ip}:2886"))
        await leaving.remove(TARGET, seconds=3)
        said.append(await leaving.last_words())

        assert ["not enough to hold" in each for each in said] == [True, True, False]
        assert "delete server not allowed" in said[2]

    @pytest.mark.parametrize(
        ("card", "moved"),
        [
            (Fault.unit_stuck(OLD), False),
            (Fault.receiver_disk_full(TARGET), False),
            (Fault.rereplication_off(), True),
            (Fault.slow_migration(1e6), True),
        ],
        ids=lambda value: getattr(value, "card", None),
    )
    async def test_what_cannot_move_stays_deleting(self, leaving, card, moved):
        """No error, no line, no progress: the wait goes on."""
        leaving.world.play(card)
        await leaving.remove(OLD, seconds=600)

        dag = await leaving.dag()
        assert (dag["state"], dag["stage"]) == ("RUNNING", 3)
        assert dag["nodes"][2]["sub_tasks"][0]["task_logs"] == []
        assert (await leaving.server("127.0.1.2"))["inner_status"] == "DELETING"
        assert ("2" not in await leaving.units("sys")) is moved

    async def test_one_tenant_without_a_leader_keeps_every_server(self, leaving):
        """An empty server, too."""
        leaving.world.play(Fault.observer_down(OLD, operation="scale_in", stage=2))
        leaving.world.play(Fault.observer_down("127.0.1.3:2886", operation="scale_in", stage=2))
        leaving.world.config = leaving.world.config.model_copy(
            update={"delete_server_seconds": 8.0}
        )
        await leaving.remove(seconds=60)

        assert await leaving.server("127.0.1.4") is not None

    async def test_somebody_deletes_the_server_by_sql(self, leaving):
        """DELETING without any DAG; a POST is harmless then."""
        leaving.hold()
        leaving.world.play(Fault.somebody_deletes_server(TARGET))
        status = (await leaving.server("127.0.1.4"))["inner_status"]
        await leaving.remove(seconds=IN_WAIT_SECONDS)

        assert status == "DELETING"
        assert await leaving.stands() == ("RUNNING", "RUN", 3)


class TestForce:
    """The majority that obshell looks at, and the kill."""

    async def test_without_a_majority_it_is_refused_or_fails(self, leaving):
        """At the POST, and at its own stage with the lock held."""
        leaving.world.play(Fault.paxos_not_alive())
        refused = await leaving.remove(force=True)
        leaving.world.play(Fault.paxos_not_alive(stage=3))
        await leaving.remove(force=True, seconds=10)

        assert (refused.status_code, refused.json()["error"]["errCode"]) == (
            400,
            "OB.Cluster.MultiPaxosNotAlive",
        )
        assert await leaving.stands() == ("FAILED", "RUN", 3)
        assert leaving.lock_is_free is HELD

    async def test_a_majority_is_counted_for_what_a_living_server_holds(self, leaving):
        """With zone3 dead a unit on .2 is needed; of a dead server nothing is seen."""
        leaving.world.play(Fault.observer_down("127.0.1.3:2886"))
        alive = await leaving.remove(OLD, force=True)
        dead = await leaving.remove("127.0.1.3:2886", force=True)

        assert alive.json()["error"]["errCode"] == "OB.Cluster.MultiPaxosNotAlive"
        assert dead.status_code == 200

    @pytest.mark.parametrize(
        ("force", "ends"), [(False, ("SUCCEED", "RUN", 5)), (True, ("FAILED", "RUN", 4))]
    )
    async def test_a_refused_inform_is_a_warning_or_a_failure(self, leaving, force, ends):
        """The observer is left running; with force a RETRY cures."""
        leaving.world.play(Fault.inform_refused())
        await leaving.remove(force=force, seconds=WHOLE_SECONDS)
        ended = await leaving.stands(), await leaving.last_words()
        left = (await leaving.status())[1]
        if force:
            await leaving.operate("RETRY", seconds=30)

        assert ended[0] == ends
        assert ended[1].startswith("ERROR" if force else "WARN: inform agent 127.0.1.4:2886")
        assert "'CLUSTER AGENT', instead of 'SCALING IN'" in ended[1]
        assert left == 3
        assert (await leaving.stands())[0] == "SUCCEED"

    async def test_an_observer_that_cannot_be_killed_lives_on(self, leaving):
        """The cluster's DAG has succeeded; the agent's own fails, and frees its lock."""
        leaving.world.play(Fault.kill_fails())
        await leaving.remove(seconds=120)

        local = await leaving.ask.data("/api/v1/task/dag/maintain/agent", agent=TARGET)
        assert (await leaving.stands())[0] == "SUCCEED"
        assert (local["name"], local["state"]) == ("Kill observer", "FAILED")
        assert await leaving.status() == ("SCALING IN", 3, False)

    @pytest.mark.parametrize("force", [False, True])
    async def test_a_silent_agent_keeps_its_observer_without_a_word(self, leaving, force):
        """No line in the log, also with force."""
        leaving.world.play(Fault.agent_down(TARGET))
        await leaving.remove(force=force, seconds=WHOLE_SECONDS)

        nodes = (await leaving.dag())["nodes"]
        (inform,) = [n for n in nodes if n["name"] == "Try to inform to kill observer"]
        assert (await leaving.stands())[0] == "SUCCEED"
        assert inform["sub_tasks"][0]["task_logs"] == []
        assert leaving.world.agent(TARGET).observer.alive

    async def test_a_wait_may_be_given_up_early(self, leaving):
        """As after an hour."""
        leaving.hold()
        leaving.world.play(Fault.wait_times_out(20))
        await leaving.remove(seconds=30)

        assert await leaving.stands() == ("FAILED", "RUN", 3)
        assert await leaving.last_words() == "sub task timeout"


class TestZones:
    """A zone goes with its observers, and nobody needs a header for it."""

    async def test_a_new_zone_without_units_goes_in_seven_stages(self, leaving):
        """The undo of a scale-out into a new zone."""
        await leaving.grow("127.0.1.5:2886", "zone4")
        await leaving.delete_zone("zone4", seconds=60)

        dag = await leaving.dag()
        assert [node["name"] for node in dag["nodes"]] == [
            "Set agent to 'SCALING IN'",
            "Stop zone zone4",
            "Delete observer",
            "Wait delete observer success",
            "Delete zone zone4",
            "Delete agent",
            "Try to inform to kill observers",
        ]
        assert (dag["state"], leaving.lock_is_free) == ("SUCCEED", FREE)
        assert leaving.world.cluster().zone("zone4") is None
        assert await leaving.status("127.0.1.5:2886") == ("SCALING IN", 0, False)

    async def test_an_empty_zone_goes_in_two(self, leaving):
        """No agent, no server."""
        leaving.world.play(Fault.add_zone("zone5"))
        await leaving.delete_zone("zone5", seconds=10)

        assert await leaving.stands() == ("SUCCEED", "RUN", 2)

    async def test_a_pool_of_no_tenant_keeps_a_zone(self, leaving):
        """It is listed among the pools."""
        await leaving.grow("127.0.1.5:2886", "zone4")
        leaving.world.play(Fault.zone_not_empty("zone4"))
        answer = await leaving.delete_zone("zone4")

        pools = (await leaving.ask.data("/api/v1/resource-pools"))["contents"]
        assert answer.json()["error"]["errCode"] == "OB.Zone.NotEmpty"
        assert [p["zone_list"] for p in pools if not p["tenant_id"]] == ["zone4"]

    async def test_a_refused_delete_keeps_the_lock_here(self, leaving):
        """Unlike in a scale-in; ROLLBACK starts the zone again."""
        await leaving.grow("127.0.1.5:2886", "zone4")
        leaving.world.play(Fault.delete_refused())
        await leaving.delete_zone("zone4", seconds=10)
        failed = await leaving.stands(), leaving.lock_is_free
        active = leaving.world.cluster().zone("zone4").active
        await leaving.operate("ROLLBACK", seconds=20)

        assert failed == (("FAILED", "RUN", 3), HELD)
        assert not active
        assert await leaving.stands() == ("SUCCEED", "ROLLBACK", 1)
        assert leaving.world.cluster().zone("zone4").active

    async def test_a_name_that_is_no_plain_one_is_a_dead_end(self, leaving):
        """Its servers are gone, RETRY fails for ever, ROLLBACK is not allowed, PASS frees."""
        await leaving.grow("127.0.1.5:2886", "zone-4")
        await leaving.delete_zone("zone-4", seconds=30)
        failed = await leaving.stands()
        await leaving.operate("RETRY", seconds=5)
        again = await leaving.stands()
        rollback = await leaving.operate("ROLLBACK")
        await leaving.operate("PASS")

        assert failed == again == ("FAILED", "RUN", 5)
        assert rollback == (400, "Task.Dag.Operator.RollbackNotAllowed")
        assert leaving.lock_is_free
        assert await leaving.server("127.0.1.5") is None
        assert not leaving.world.cluster().zone("zone-4").active
