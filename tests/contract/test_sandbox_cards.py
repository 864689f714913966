"""Tests that every fault card does over HTTP what its row says."""

import asyncio
from typing import get_args

import httpx
import pytest
from pydantic import ValidationError

from obscale.sandbox import ConfigError, Fault, ScaledClock, World, default_config, serve
from obscale.sandbox.faults.cards import CARDS, FaultCard, Kind
from obscale.sandbox.faults.effects import ACTS

ENTRY, SECOND, TARGET = "127.0.1.1:2886", "127.0.1.2:2886", "127.0.1.4:2886"
OWN_PASSWORD = {"header": "X-OCS-Agent-Header"}
LOOKS = 1500


@pytest.fixture
def run(world, ask):
    """Plays cards, starts the sample scale-out, lets time pass; gives the DAG as agents show it."""

    async def run(*faults, seconds=60.0, zone="zone2"):
        for fault in faults:
            world.play(fault)
        answer = await ask.scale_out(zone=zone)
        assert answer.status_code == 200, answer.text
        world.advance(seconds)
        return await shown(ask, answer.json()["data"]["id"])

    return run


async def shown(ask, dag_id):
    """The DAG, from whichever member answers."""
    for agent in (ENTRY, SECOND):
        try:
            return await ask.data(f"/api/v1/task/dag/{dag_id}", agent=agent)
        except httpx.ConnectError:
            continue
    raise AssertionError("no member answers")


async def identity(ask, agent=TARGET):
    """What `/info` says an agent is."""
    return (await ask.raw("GET", "/api/v1/info", agent=agent)).json()["data"]["identity"]


async def is_busy(ask, agent=TARGET):
    """Whether `/status` says that an agent's own lock is held."""
    answer = await ask.raw("GET", "/api/v1/status", agent=agent)
    return answer.json()["data"]["underMaintenance"]


def last_words(dag):
    """Last log line of the node a DAG stands at."""
    return dag["nodes"][dag["stage"] - 1]["sub_tasks"][0]["task_logs"][-1]


async def wait_until(is_so):
    """Wait for a condition, bounded."""
    for _ in range(LOOKS):
        if is_so():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came to be")


class TestTheTable:
    """One row a card."""

    def test_names_rows_and_acts_fit_together(self):
        """Every name has a row and a constructor; every state card, and no other, has an act."""
        assert set(get_args(FaultCard)) == set(CARDS)
        assert set(ACTS) == {name for name, card in CARDS.items() if card.kind is Kind.STATE}
        for name, card in CARDS.items():
            assert getattr(Fault, name).__doc__ == card.docs
            assert set(card.needs) <= set(Fault.model_fields)

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"card": "fail_stage"}, "card 'fail_stage' needs 'stage'"),
            ({"card": "panic", "stage": 3, "seconds": 2}, "takes no 'seconds'; write only cluster"),
            ({"card": "agent_down", "target": TARGET, "times": 2}, "takes no 'times'"),
            ({"card": "set_parameter", "target": TARGET, "text": "12G"}, "'12G' sets no parameter"),
            ({"card": "operate_dag", "text": "STOP"}, "orders 'STOP'; write RETRY, ROLLBACK"),
            ({"card": "slow_observer", "seconds": -1}, "is negative; write 0 or more"),
            ({"card": "panic", "stage": 3, "phase": "verify"}, "not for both"),
            ({"card": "panic", "phase": "tea"}, "'preflight', 'submit', 'failed'"),
            ({"card": "explode"}, "Input should be 'fail_stage'"),
        ],
    )
    def test_half_a_card_and_too_much_of_one_are_refused(self, fields, said):
        """The message names the field and what the card takes."""
        with pytest.raises(ValidationError) as caught:
            Fault.model_validate(fields)

        assert said in str(caught.value)

    def test_the_constructors_take_what_a_card_needs_by_position(self):
        """`Fault.fail_stage(5)` is the card of that name; a surplus value is a TypeError."""
        assert Fault.fail_stage(5, times=2) == Fault(card="fail_stage", stage=5, times=2)
        with pytest.raises(TypeError, match="by position only: target, seconds"):
            Fault.shift_clock(TARGET, 3, 4)

    def test_a_card_about_nobody_is_refused_when_it_is_played(self, world):
        """Unknown agents and clusters are named."""
        with pytest.raises(ConfigError, match=r"no agent '10\.9\.9\.9:1'"):
            world.play(Fault.fail_stage(5, target="10.9.9.9:1"))
        with pytest.raises(ConfigError, match="no cluster 'nowhere'"):
            world.play(Fault.tenant_task(5, cluster="nowhere"))
        assert world.undrawn() == []


class TestMoments:
    """A phase, a stage, a word of the path, a count."""

    @pytest.mark.parametrize("stage", [1, 2, 4, 5, 7, 9])
    async def test_a_state_card_waits_for_its_stage(self, world, ask, run, stage):
        """It acts in the instant the DAG comes to that stage, not before."""
        world.play(Fault.database_down("127.0.1.3:2886", stage=stage))
        await run(seconds=0)
        cluster, third = world.clusters[0], world.agents[2]
        before = {}
        while world.undrawn():
            before[cluster.dags[0].stage] = third.database_down
            world.advance(0.5)

        # The first one begins with the DAG's first second, READY before.
        assert before == dict.fromkeys(range(1, max(stage, 2)), False)
        assert (third.database_down, cluster.dags[0].stage) == (True, stage)

    async def test_phases_come_in_their_order(self, world, ask):
        """Phase preflight at once, submit with the POST, failed, rollback; verify at the end."""
        for number, phase in enumerate(("preflight", "submit", "failed", "rollback"), start=1):
            world.play(Fault.shift_clock(TARGET, 10**number, phase=phase))
        world.play(Fault.fail_stage(7))
        target = world.agent(TARGET)
        offsets = [target.clock_offset_seconds]
        answer = await ask.scale_out()
        offsets.append(target.clock_offset_seconds)
        world.advance(60)
        offsets.append(target.clock_offset_seconds)
        await ask.operate(answer.json()["data"]["id"], "ROLLBACK")
        world.advance(60)
        offsets.append(target.clock_offset_seconds)

        assert offsets == [10, 110, 1110, 11110]

    async def test_verify_comes_when_the_scale_out_is_done(self, world, run):
        """Not a second earlier."""
        dag = await run(Fault.agent_down(TARGET, phase="verify"), seconds=31)
        assert (dag["state"], world.agent(TARGET).down) == ("RUNNING", False)
        world.advance(5)

        assert world.agent(TARGET).down

    async def test_seconds_count_from_the_moment(self, world, run):
        """`after_seconds` delays a card from the instant its stage comes."""
        await run(Fault.agent_down("127.0.1.3:2886", stage=4, after_seconds=3), seconds=7)
        began = world.agents[2].down
        world.advance(3)

        assert (began, world.agents[2].down) == (False, True)

    async def test_a_restart_takes_half_a_second(self, ask, world, run):
        """Refused, then another process, which does its sub task again and counts it once."""
        await run(seconds=19)
        before = (await ask.raw("GET", "/api/v1/info", agent=TARGET)).json()["data"]
        world.play(Fault.agent_restart(TARGET))
        with pytest.raises(httpx.ConnectError):
            await ask.raw("GET", "/api/v1/info", agent=TARGET)
        world.advance(0.5)

        after = (await ask.raw("GET", "/api/v1/info", agent=TARGET)).json()["data"]
        local = await ask.data("/api/v1/task/dag/maintain/agent", agent=TARGET)
        task = local["nodes"][4]["sub_tasks"][0]
        assert after["pid"] != before["pid"]
        assert after["startAt"] > before["startAt"]
        assert (local["stage"], task["state"], task["execute_times"]) == (5, "RUNNING", 1)
        assert task["task_logs"].count("start observer") == 2

    async def test_an_answer_card_may_wait_for_a_stage(self, world, ask):
        """Any path, but only while the scale-out is there, and as often as it says."""
        world.play(Fault.panic(stage=4, times=2))
        before = await ask.raw("GET", "/api/v1/info")
        await ask.scale_out()
        world.advance(8)
        during = [await ask.raw("GET", f"/api/v1/{path}") for path in ("info", "time", "info")]

        assert before.status_code == 200
        assert [answer.status_code for answer in during] == [500, 500, 200]

    async def test_cards_taken_back_do_not_act(self, world, run):
        """Neither waiting ones nor those whose seconds were running."""
        world.play(Fault.agent_down(SECOND, after_seconds=5))
        world.play(Fault.agent_down(SECOND, stage=4))
        taken = world.hand.clear()

        await run(seconds=20)

        assert (taken, world.agents[1].down) == (2, False)

    async def test_a_card_follows_an_agent_that_moves(self):
        """Played before a door gives the agent its port, it still is about that agent."""
        config = default_config().model_copy(update={"port": 0})
        named = World(config).spares[0].address
        faults = (Fault.panic(to="info", target=named),)
        world = World(config.model_copy(update={"faults": faults}), clock=ScaledClock())
        async with serve(world) as door, httpx.AsyncClient(trust_env=False) as http:
            where = door.ready["spares"][0]
            answer = await http.get(f"http://{where['ip']}:{where['port']}/api/v1/info")

        assert answer.status_code == 500


class TestStages:
    """Cards drawn by the sub tasks."""

    @pytest.mark.parametrize("stage", [2, 5, 8])
    async def test_a_lost_executor_stalls_its_stage_for_an_hour(self, world, ask, run, stage):
        """RUNNING until 3600 s have passed, then FAILED with the scheduler's own words."""
        dag = await run(Fault.lose_executor(stage), seconds=3000)
        assert (dag["state"], dag["stage"]) == ("RUNNING", stage)
        world.advance(700)

        dag = await ask.data(f"/api/v1/task/dag/{dag['id']}")
        assert (dag["state"], last_words(dag)) == ("FAILED", "sub task timeout")

    async def test_a_lost_executor_may_be_given_up_sooner(self, run):
        """`seconds` shortens the hour."""
        dag = await run(Fault.lose_executor(6, seconds=20), seconds=80)

        assert (dag["state"], last_words(dag)) == ("FAILED", "sub task timeout")

    async def test_a_repeated_call_orphans_the_targets_dag(self, ask, world, run):
        """Stage 2 twice: the second call is refused, and a rollback leaves the target behind."""
        dag = await run(Fault.repeat_stage(2))
        assert "is under maintenance by DAG" in last_words(dag)
        # What a started obshell does again counts once.
        assert dag["nodes"][1]["sub_tasks"][0]["execute_times"] == 1
        await ask.operate(dag["id"], "ROLLBACK")
        world.advance(100)

        done = await ask.data(f"/api/v1/task/dag/{dag['id']}")
        assert (done["state"], done["operator"]) == ("SUCCEED", "ROLLBACK")
        assert await identity(ask) == "SCALING OUT"

    async def test_a_repeated_add_server_finds_its_own_server(self, ask, run):
        """Stage 7 twice: FAILED on the existing server, which stays listed."""
        dag = await run(Fault.repeat_stage(7))

        assert "Server already exist" in last_words(dag)
        zones = (await ask.data("/api/v1/obcluster/topology/info"))["zones"]
        assert "127.0.1.4" in [server["ip"] for server in zones[1]["servers"]]

    async def test_a_stage_may_fail_without_a_line_that_says_why(self, ask, world, run):
        """As recorded: its first line is left; the others turn up in the second sub task."""
        dag = await run(Fault.lose_log(5, seconds=20), Fault.observer_dies(), seconds=30)
        seconds = [dag["nodes"][1]["sub_tasks"][0]["task_logs"]]
        world.advance(20)
        later = await ask.data(f"/api/v1/task/dag/{dag['id']}")
        seconds.append(later["nodes"][1]["sub_tasks"][0]["task_logs"])

        for shown in (dag, later):
            failed = shown["nodes"][4]["sub_tasks"][0]
            assert (shown["state"], shown["stage"]) == ("FAILED", 5)
            assert failed["task_logs"] == ["retry stage: 4 successfully"]
        assert [len(lines) for lines in seconds] == [1, 8]
        assert "Observer process does not exist" in seconds[1][-1]

    async def test_a_rollback_can_stop_half_way(self, ask, world, run):
        """FAILED with operator ROLLBACK at that stage; a second ROLLBACK goes on there."""
        dag = await run(Fault.fail_stage(7), Fault.fail_rollback(4))
        await ask.operate(dag["id"], "ROLLBACK")
        world.advance(60)
        stopped = await ask.data(f"/api/v1/task/dag/{dag['id']}")
        await ask.operate(dag["id"], "ROLLBACK")
        world.advance(60)

        done = await ask.data(f"/api/v1/task/dag/{dag['id']}")
        standing = [(d["state"], d["operator"], d["stage"]) for d in (stopped, done)]
        assert standing == [("FAILED", "ROLLBACK", 4), ("SUCCEED", "ROLLBACK", 1)]

    async def test_a_slow_upgrade_outlasts_the_last_stage(self, build_world, asker):
        """The older target is away for 50 s, the last stage waits 30 s: FAILED; a RETRY cures."""
        world = build_world(spare={"obshell_version": "4.4.2.0-1"})
        ask = asker(world)
        world.play(Fault.slow_upgrade(50))
        dag_id = (await ask.scale_out()).json()["data"]["id"]
        world.advance(120)
        failed = await ask.data(f"/api/v1/task/dag/{dag_id}")
        await ask.operate(dag_id, "RETRY")
        world.advance(60)

        done = await ask.data(f"/api/v1/task/dag/{dag_id}")
        assert ("agent has not been cluster agent" in last_words(failed)) is True
        assert (failed["state"], done["state"], done["operator"]) == ("FAILED", "SUCCEED", "RUN")


class TestAnswers:
    """Cards between an agent and who asks it."""

    async def test_task_not_found_is_a_500(self, world, ask, run):
        """The words of obshell while no database answers; the next look shows the DAG."""
        dag = await run(seconds=5)
        world.play(Fault.task_not_found(to=dag["id"]))
        path = f"/api/v1/task/dag/{dag['id']}"
        hidden, seen = [await ask("GET", path) for _ in range(2)]

        assert hidden.status_code == 500
        assert hidden.json()["error"]["message"].startswith("Task not found:")
        assert seen.json()["data"]["id"] == dag["id"]

    async def test_html_on_any_path(self, world, ask):
        """Without `to` the next request meets it, whatever it asks."""
        world.play(Fault.garble_answer())
        answers = [await ask.raw("GET", "/api/v1/status") for _ in range(2)]

        assert [answer.headers["content-type"] for answer in answers] == [
            "text/html",
            "application/json",
        ]

    async def test_the_first_copy_of_a_request_arrives_late(self):
        """The connection breaks at once; the agent carries the request out afterwards."""
        world = World(default_config().model_copy(update={"port": 0}), clock=ScaledClock())
        async with serve(world) as door, httpx.AsyncClient(trust_env=False) as http:
            entry = door.ready["clusters"][0]["agents"][0]
            url = f"http://{entry['ip']}:{entry['port']}/api/v1/status"
            world.play(Fault.late_request(0.3, to="status"))
            with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
                await http.post(url)
            at_once = len(world.requests)
            answer = await http.get(url)
            await wait_until(lambda: len(world.requests) == 2)

        assert (at_once, answer.status_code) == (0, 200)
        assert [record.method for record in world.requests] == ["GET", "POST"]


class TestStates:
    """Cards that change an agent or a cluster."""

    async def test_a_wrong_agent_password_shows_at_stage_2(self, run):
        """Set between the request and the call: obshell's own words."""
        dag = await run(Fault.change_agent_password(TARGET, "new#1", phase="submit"))

        assert (dag["stage"], dag["state"]) == (2, "FAILED")
        assert "Agent password is incorrect" in last_words(dag)

    async def test_no_dag_moves_while_no_database_answers(self, world, ask, run):
        """DAGs lie in the database: they stand, and go on when it is back."""
        members = (ENTRY, SECOND, "127.0.1.3:2886")
        for member in members:
            world.play(Fault.database_down(member, stage=4))
            world.play(Fault.database_up(member, stage=4, after_seconds=100))
        await ask.scale_out()
        world.advance(90)
        dag = world.clusters[0].dags[0]
        stood = dag.stage
        world.advance(60)

        assert stood == 4
        assert (dag.state, dag.operator) == ("SUCCEED", "RUN")

    async def test_a_local_task_locks_the_target(self, ask, run):
        """Stage 2 is refused by the target's own lock."""
        dag = await run(Fault.local_task(TARGET, 500, phase="submit"))

        assert "is under maintenance by DAG" in last_words(dag)
        status = (await ask.raw("GET", "/api/v1/status", agent=TARGET)).json()["data"]
        assert status["underMaintenance"] is True

    @pytest.mark.parametrize(
        ("card", "name", "kind", "stages"),
        [
            ("tenant_task_fails", "Scale in tenant replicas", 3, 3),
            ("scale_in_fails", "Cluster scale in", 2, 5),
        ],
    )
    async def test_a_dag_that_fails_without_the_lock_stays_listed(
        self, world, ask, card, name, kind, stages
    ):
        """As recorded: FAILED at stage 1 among the unfinished, and a scale-out runs beside it."""
        world.play(Fault(card=card))
        held = await ask.scale_out()
        world.advance(5)
        (listed,) = (await ask.data("/api/v1/task/dag/ob/unfinish"))["contents"]
        newest = await ask.data("/api/v1/task/dag/maintain/ob")

        begun = await ask.scale_out()
        refused = await ask.operate(listed["id"], "RETRY")
        world.advance(60)
        dag = await shown(ask, begun.json()["data"]["id"])
        undone = await ask.operate(listed["id"], "ROLLBACK")
        world.advance(5)

        assert held.json()["error"]["errCode"] == "OB.Cluster.UnderMaintenanceWithDag"
        assert (listed["name"], listed["maintenance_type"], listed["state"]) == (
            *(name, kind),
            "FAILED",
        )
        assert (listed["stage"], listed["max_stage"]) == (1, stages)
        assert last_words(listed).startswith("ERROR: [MySQL.Error]: ")
        assert newest["id"] == listed["id"]
        assert (begun.status_code, dag["state"], dag["operator"]) == (200, "SUCCEED", "RUN")
        assert refused.json()["error"]["errCode"] == "OB.Cluster.UnderMaintenanceWithDag"
        assert undone.status_code == 200
        assert (await ask.data("/api/v1/task/dag/ob/unfinish"))["contents"] == []

    async def test_somebodys_data_stops_stage_4(self, world, run):
        """DirNotEmpty, and nothing is deleted yet."""
        dag = await run(Fault.fill_directory(TARGET, stage=3))

        assert "Directory '/home/admin/oceanbase/store' is not empty" in last_words(dag)
        assert world.agent(TARGET).files.deleted == []

    @pytest.mark.parametrize(("zone", "card"), [("zone9", "add_zone"), ("zone8", "delete_zone")])
    async def test_a_zone_changed_meanwhile_stops_stage_6(self, build_world, asker, zone, card):
        """Made by somebody, or deleted by somebody: the check before ADD SERVER fails."""
        world = build_world()
        world.play(Fault.add_zone("zone8"))
        world.play(getattr(Fault, card)(zone, stage=5))
        ask = asker(world)
        dag_id = (await ask.scale_out(zone=zone)).json()["data"]["id"]
        world.advance(60)

        assert "zone has been changed" in last_words(await ask.data(f"/api/v1/task/dag/{dag_id}"))

    async def test_a_second_operator_rolls_back(self, ask, run):
        """As soon as the DAG is FAILED, without anybody's asking."""
        dag = await run(Fault.fail_stage(5), Fault.operate_dag("ROLLBACK"), seconds=90)

        assert (dag["state"], dag["operator"], dag["stage"]) == ("SUCCEED", "ROLLBACK", 1)
        assert await identity(ask) == "SINGLE"

    async def test_a_half_rolled_back_dag_that_is_retried_succeeds_with_nothing(self, ask, run):
        """The dead end: SUCCEED/RUN at the last stage, and no server was added."""
        dag = await run(
            Fault.fail_stage(9),
            Fault.fail_rollback(6),
            Fault.operate_dag("ROLLBACK"),
            Fault.operate_dag("RETRY"),
            seconds=400,
        )

        zones = (await ask.data("/api/v1/obcluster/topology/info"))["zones"]
        servers = [server["ip"] for zone in zones for server in zone["servers"]]
        assert "127.0.1.4" not in servers
        assert (dag["state"], dag["operator"], dag["stage"]) == ("SUCCEED", "RUN", 9)
        assert [node["operator"] for node in dag["nodes"][6:]] == ["ROLLBACK"] * 3

    async def test_an_old_password_is_kept_until_the_database_answers(self, world, ask):
        """The right one is refused while nobody can prove it, and accepted again after."""
        world.play(Fault.stale_password(ENTRY))
        world.play(Fault.database_down(ENTRY))
        world.play(Fault.database_up(ENTRY, after_seconds=30))

        early = await ask("GET", "/api/v1/ob/info", agent=ENTRY)
        world.advance(31)
        late = await ask("GET", "/api/v1/ob/info", agent=ENTRY)

        assert (early.status_code, late.status_code) == (401, 200)
        assert "OceanBase password is incorrect" in early.json()["error"]["message"]

    async def test_an_observer_that_died_is_back_when_it_is_started_again(self, world, ask):
        """Its agent answers all the time: obState 0, then 3."""
        world.play(Fault.observer_down(SECOND))
        world.play(Fault.observer_up(SECOND, after_seconds=30))

        async def state():
            answer = await ask.raw("GET", "/api/v1/status", agent=SECOND)
            return answer.json()["data"]["obState"]

        dead = await state()
        world.advance(31)

        assert (dead, await state()) == (0, 3)

    async def test_an_observer_that_hangs_runs_and_is_dead(self, world, ask):
        """Its agent says obState 1, the cluster INACTIVE; started again it serves."""
        world.play(Fault.observer_hangs(SECOND))
        world.play(Fault.observer_up(SECOND, after_seconds=30))

        async def seen():
            answer = await ask.raw("GET", "/api/v1/status", agent=SECOND)
            zones = (await ask.data("/api/v1/obcluster/topology/info"))["zones"]
            servers = [server for zone in zones for server in zone["servers"]]
            (own,) = [server for server in servers if server["ip"] == "127.0.1.2"]
            state = answer.json()["data"]["obState"]
            return state, own["inner_status"], own["start_time"].startswith("0001")

        hangs = await seen()
        world.advance(31)

        assert hangs == (1, "INACTIVE", True)
        assert await seen() == (3, "ACTIVE", False)

    async def test_a_clock_that_jumps_leaves_what_was_written_down(self, world, ask):
        """When an observer began to serve stands in a table, whatever becomes of its clock."""

        async def began():
            zones = (await ask.data("/api/v1/obcluster/topology/info"))["zones"]
            return [server["start_time"] for zone in zones for server in zone["servers"]]

        before = await began()
        world.play(Fault.shift_clock(SECOND, 300))

        assert await began() == before

    async def test_a_parameter_is_set_on_one_observer(self, world, ask):
        """The others keep theirs."""
        world.play(Fault.set_parameter(ENTRY, "memory_limit=12G"))

        rows = (await ask.data("/api/v1/obcluster/parameters"))["contents"]
        (row,) = [row for row in rows if row["name"] == "memory_limit"]
        values = {each["svr_ip"]: each["value"] for each in row["ob_parameters"]}
        assert values["127.0.1.1"] == "12G"
        assert values["127.0.1.2"] != "12G"

    async def test_a_new_observer_may_begin_to_serve_late(self, ask, run):
        """Listed at once, with a start time only later."""

        async def started(_dag):
            zones = (await ask.data("/api/v1/obcluster/topology/info"))["zones"]
            servers = [server for zone in zones for server in zone["servers"]]
            (new,) = [server for server in servers if server["ip"] == "127.0.1.4"]
            return new["start_time"]

        dag = await run(Fault.slow_service(500))
        early = await started(dag)

        assert dag["state"] == "SUCCEED"
        assert early.startswith(("0001", "1970"))

    async def test_scaling_in_is_for_good(self, world, ask):
        """The POST is refused by the target's identity."""
        world.play(Fault.scaling_in(TARGET))
        answer = await ask.scale_out()

        assert await identity(ask) == "SCALING IN"
        assert answer.status_code == 400
        busy = [await is_busy(ask)]
        world.advance(10)
        assert [*busy, await is_busy(ask)] == [True, False]
        assert await identity(ask) == "SCALING IN"
        assert "'SCALING IN', instead of 'SINGLE'" in answer.json()["error"]["message"]

    async def test_a_target_that_joined_another_cluster(self, build_world, asker):
        """It is a CLUSTER AGENT there, listed there, and not here."""
        west = {"name": "west", "id": 2, "root_password": "west", "zones": [{"name": "w1"}]}
        east = default_config().model_dump()["clusters"][0]
        world = build_world(clusters=[east, west])
        ask = asker(world)
        world.play(Fault.join_elsewhere(TARGET, "west"))

        here = await ask.data("/api/v1/ob/info")
        there = await ask.data("/api/v1/ob/info", agent="127.0.2.1:2886", password="west")
        assert await identity(ask) == "CLUSTER AGENT"
        assert "127.0.1.4" not in [row["ip"] for row in here["agent_info"]]
        assert "127.0.1.4" in [row["ip"] for row in there["agent_info"]]
