"""Tests of timelines: every scale-out runs, fails and rolls back to the second.

The tables are read like this: second | cluster DAG | local DAG | identity | obState. A DAG cell
is `stage P` or `stage R` (its node PENDING or RUNNING) while the DAG is RUNNING/RUN, else
`STATE/OPERATOR stage`. An empty cell promises nothing.
"""

import pytest

from obscale.sandbox import Fault

TARGET = "127.0.1.4:2886"

SUCCESS = """
0    | READY/RUN 1   | -             | SINGLE        | 0
1    | 1 R           | -             | SINGLE        | 0
2    | 2 P           | -             | SINGLE        | 0
3    | 2 R           | READY/RUN 1   | SINGLE        | 0
3.5  | 2 R           | 1 R           | SCALING OUT   | 0
4    | 3 P           | 1 R           |               |
4.5  | 3 P           | 2 P           |               |
5    | 3 R           | 2 P           |               |
5.5  | 3 R           | 2 R           |               |
6    | 4 P           | 2 R           |               |
6.5  | 4 P           | FAILED/RUN 2  | SCALING OUT   | 0
7    | 4 R           | READY/RUN 2   |               |
7.5  | 4 R           | 2 R           |               |
8.5  | 4 R           | 2 R           |               |
9.5  | 4 R           | 3 P           |               |
10.5 | 4 R           | 3 R           |               |
11.5 | 4 R           | 4 P           |               |
12.5 | 4 R           | 4 R           |               |
13   | 4 R           | 4 R           |               |
13.5 | 4 R           | FAILED/RUN 4  | SCALING OUT   | 0
14   | 5 P           | FAILED/RUN 4  |               |
15   | 5 R           | READY/RUN 4   |               |
15.5 | 5 R           | 4 R           |               |
16.5 | 5 R           | 4 R           |               |
17.5 | 5 R           | 5 P           |               | 0
18.5 | 5 R           | 5 R           | SCALING OUT   | 1
28.5 | 5 R           | 5 R           |               | 1
29.5 | 5 R           | 6 P           |               |
30.5 | 5 R           | 6 R           |               |
31   | 6 P           | 6 R           |               |
32   | 6 R           | 6 R           |               |
33   | 7 P           | 6 R           |               |
34   | 7 R           | 6 R           |               |
35   | 8 P           | 6 R           |               |
36   | 8 R           | 6 R           |               |
37   | 9 P           | 6 R           |               |
38   | 9 R           | 6 R           |               |
38.5 | 9 R           | 7 P           | SCALING OUT   | 1
39.5 | 9 R           | 7 R           | CLUSTER AGENT | 3
40   | 9 R           | 7 R           | CLUSTER AGENT | 3
40.5 | 9 R           | SUCCEED/RUN 7 | CLUSTER AGENT | 3
41   | SUCCEED/RUN 9 | SUCCEED/RUN 7 | CLUSTER AGENT | 3
"""
DYING_OBSERVER = """
18.5 | 5 R          | 5 R          | SCALING OUT | 1
20.5 | 5 R          | 5 R          | SCALING OUT | 0
21.5 | 5 R          | FAILED/RUN 5 | SCALING OUT | 0
24   | 5 R          | FAILED/RUN 5 | SCALING OUT | 0
25   | FAILED/RUN 5 | FAILED/RUN 5 | SCALING OUT | 0
"""
ROLLBACK_AFTER_DEATH = """
0    | READY/ROLLBACK 5     | FAILED/RUN 5         | SCALING OUT | 0
1    | RUNNING/ROLLBACK 5 R | READY/ROLLBACK 5     |             |
1.5  | RUNNING/ROLLBACK 5 R | RUNNING/ROLLBACK 5 R |             |
2.5  |                      | RUNNING/ROLLBACK 4 P |             |
3    | RUNNING/ROLLBACK 4 P |                      |             |
4    | RUNNING/ROLLBACK 4 R |                      |             |
4.5  |                      | RUNNING/ROLLBACK 3 P |             |
5    | RUNNING/ROLLBACK 3 P |                      |             |
5.5  |                      | RUNNING/ROLLBACK 3 R |             |
6    | RUNNING/ROLLBACK 3 R |                      |             |
6.5  |                      | RUNNING/ROLLBACK 2 P |             |
7    | RUNNING/ROLLBACK 2 P |                      |             |
8    | RUNNING/ROLLBACK 2 R |                      |             |
8.5  |                      | RUNNING/ROLLBACK 1 P | SCALING OUT | 0
9    | RUNNING/ROLLBACK 1 P |                      |             |
9.5  |                      | RUNNING/ROLLBACK 1 R |             |
10   | RUNNING/ROLLBACK 1 R |                      |             |
10.5 | RUNNING/ROLLBACK 1 R | SUCCEED/ROLLBACK 1   | SINGLE      | 0
11   | SUCCEED/ROLLBACK 1   | SUCCEED/ROLLBACK 1   | SINGLE      | 0
"""
SLOW_START = """
18.5 | 5 R          | 5 R | SCALING OUT | 1
108  | 5 R          | 5 R | SCALING OUT | 1
109  | FAILED/RUN 5 | 5 R | SCALING OUT | 1
"""
RETRY_WHILE_STARTING = """
120   | READY/RUN 5   | 5 R           |               | 1
121   | 5 R           | 5 R           |               |
122   | 5 R           | 5 R           |               |
168.5 | 5 R           | 5 R           |               | 1
169.5 | 5 R           | 6 P           |               |
170.5 | 5 R           | 6 R           |               |
171   | 6 P           | 6 R           |               |
176   | 8 R           |               |               |
177   | 9 P           |               |               |
178   | 9 R           |               | SCALING OUT   | 1
179.5 | 9 R           | 7 R           | CLUSTER AGENT | 3
181   | SUCCEED/RUN 9 | SUCCEED/RUN 7 | CLUSTER AGENT | 3
"""
LEFT_ALONE_TOO_LONG = """
168.5 | FAILED/RUN 5 | 5 R          | SCALING OUT | 1
169.5 | FAILED/RUN 5 | 6 P          |             |
170.5 | FAILED/RUN 5 | 6 R          | SCALING OUT | 1
171.5 | FAILED/RUN 5 | FAILED/RUN 6 | SCALING OUT | 1
"""
LATE_RETRY = """
0    | READY/RUN 5   | FAILED/RUN 6  |               |
1    | 5 R           | READY/RUN 6   |               |
1.5  | 5 R           | 6 R           |               |
3    | 5 R           | 6 R           |               |
4    | 6 P           | 6 R           |               |
5    | 6 R           | 6 R           |               |
6    | 7 P           | 6 R           |               |
6.5  | 7 P           | 6 R           |               |
7    | 7 R           | 6 R           |               |
7.5  | 7 R           | 6 R           |               |
10   | 9 P           | 6 R           |               |
10.5 | 9 P           | 6 R           |               |
11   | 9 R           | 6 R           |               |
11.5 | 9 R           | 7 P           | SCALING OUT   | 1
12.5 | 9 R           | 7 R           | CLUSTER AGENT | 3
13.5 | 9 R           | SUCCEED/RUN 7 | CLUSTER AGENT | 3
14   | SUCCEED/RUN 9 | SUCCEED/RUN 7 | CLUSTER AGENT | 3
"""
DEAD_END = """
1.5  |                    | RUNNING/ROLLBACK 6 R | SCALING OUT | 1
11   | SUCCEED/ROLLBACK 1 | RUNNING/ROLLBACK 6 R | SCALING OUT | 1
3600 | SUCCEED/ROLLBACK 1 | RUNNING/ROLLBACK 6 R | SCALING OUT | 1
3602 | SUCCEED/ROLLBACK 1 | FAILED/ROLLBACK 6    | SCALING OUT | 1
"""
ASKED_IN_VAIN = """
120   | READY/ROLLBACK 5     | 5 R          | SCALING OUT | 1
121   | RUNNING/ROLLBACK 5 R | 5 R          |             |
181   | RUNNING/ROLLBACK 5 R | 5 R          |             |
182   | RUNNING/ROLLBACK 4 P | 5 R          |             |
244   | RUNNING/ROLLBACK 3 P | 5 R          |             |
306   | RUNNING/ROLLBACK 2 P | 5 R          |             |
368   | RUNNING/ROLLBACK 1 P | 5 R          |             |
369   | RUNNING/ROLLBACK 1 R | 5 R          |             |
370   | SUCCEED/ROLLBACK 1   | 5 R          | SCALING OUT | 1
518.5 | SUCCEED/ROLLBACK 1   | 5 R          | SCALING OUT | 1
520.5 | SUCCEED/ROLLBACK 1   | 6 R          |             |
521.5 | SUCCEED/ROLLBACK 1   | FAILED/RUN 6 | SCALING OUT | 1
"""


class Watcher:
    """Reads one scale-out as a client would, at chosen virtual seconds."""

    def __init__(self, world, ask):
        self.world = world
        self.ask = ask
        self.dag_id = ""
        self.origin = 0.0

    async def start(self, **options):
        """POST the scale-out."""
        answer = await self.ask.scale_out(**options)
        assert answer.status_code == 200, answer.text
        self.dag_id = answer.json()["data"]["id"]

    async def operate(self, operator):
        """POST an operator for its cluster DAG."""
        answer = await self.ask.operate(self.dag_id, operator)
        assert answer.status_code == 200, answer.text

    async def local(self):
        """The joining agent's last local DAG, `None` when it has none."""
        answer = await self.ask("GET", "/api/v1/task/dag/maintain/agent", agent=TARGET)
        return answer.json()["data"] if answer.status_code == 200 else None

    async def follow(self, table):
        """Assert a table row by row, at the seconds it names."""
        for line in table.strip().splitlines():
            second, cluster, local, identity, state = (cell.strip() for cell in line.split("|"))
            self.world.advance(self.origin + float(second) - self.world.clock.now())
            info = (await self.ask.raw("GET", "/api/v1/info", agent=TARGET)).json()["data"]
            status = (await self.ask.raw("GET", "/api/v1/status", agent=TARGET)).json()["data"]
            seen = {
                "cluster": printed(await self.ask.data(f"/api/v1/task/dag/{self.dag_id}"), cluster),
                "local": printed(await self.local(), local),
                "identity": info["identity"],
                "obState": str(status["obState"]),
            }
            promised = {
                "cluster": cluster,
                "local": local,
                "identity": identity,
                "obState": state,
            }
            kept = {name: value for name, value in promised.items() if value}
            assert {name: seen[name] for name in kept} == kept, f"second {second}"


def printed(dag, like):
    """A DAG in the words of the tables, with `P` or `R` where the table names one."""
    if dag is None:
        return "-"
    node = dag["nodes"][dag["stage"] - 1]["state"]
    text = f"{dag['state']}/{dag['operator']} {dag['stage']}"
    if like.endswith((" P", " R")):
        text += {"PENDING": " P", "RUNNING": " R"}.get(node, f" {node}")
    return text.removeprefix("RUNNING/RUN ")


@pytest.fixture
def watcher(build_world, asker):
    def make(seconds=10.0, **changes):
        world = build_world(start_seconds=seconds, **changes)
        return Watcher(world, asker(world))

    return make


async def test_success_into_an_existing_zone_keeps_its_seconds(watcher):
    """Timeline A: 41 virtual seconds, two deliberate FAILED gates in the local DAG on the way."""
    watch = watcher()
    await watch.start()

    await watch.follow(SUCCESS)

    assert watch.world.cluster().lock_holder is None


@pytest.mark.parametrize(
    ("start_seconds", "end"), [(1, 32), (1.5, 32), (2, 35), (10, 41), (20, 53)]
)
async def test_the_end_follows_from_the_observers_start(watcher, start_seconds, end):
    """End = 29 + 3 x ceil((S + 1.5) / 3) seconds, and four more for a new zone."""
    known, fresh = watcher(start_seconds), watcher(start_seconds)
    await known.start()
    await fresh.start(zone="zone4")

    for watch, last, stages in ((known, end, 9), (fresh, end + 4, 11)):
        watch.world.advance(last - 1)
        before = await watch.ask.data(f"/api/v1/task/dag/{watch.dag_id}")
        watch.world.advance(1)
        after = await watch.ask.data(f"/api/v1/task/dag/{watch.dag_id}")

        assert (before["state"], before["stage"]) == ("RUNNING", stages)
        assert (after["state"], after["stage"], after["max_stage"]) == ("SUCCEED", stages, stages)


async def test_membership_appears_stage_by_stage(watcher):
    """Server in the topology at 34, agent row at 36, SQL port at 28.5, lock free at 41."""
    watch = watcher()
    await watch.start()
    seen = {}

    for half in range(1, 84):
        watch.world.advance(0.5)
        second = half / 2
        info = await watch.ask.data("/api/v1/ob/info")
        status = (await watch.ask.raw("GET", "/api/v1/status", agent=TARGET)).json()["data"]
        if any(row["svr_ip"] == "127.0.1.4" for row in info["obcluster_info"]["topology"]["zone2"]):
            seen.setdefault("server", second)
        if any(row["ip"] == "127.0.1.4" for row in info["agent_info"]):
            seen.setdefault("agent", second)
        if status.get("sqlPort") == 2881:
            seen.setdefault("sql port", second)
        if status["underMaintenance"]:
            seen.setdefault("local lock", second)
        elif "local lock" in seen:
            seen.setdefault("local lock free", second)

    assert seen == {
        "server": 34,
        "agent": 36,
        "sql port": 28.5,
        "local lock": 3,
        "local lock free": 40.5,
    }


async def test_a_dying_observer_fails_stage_five_and_rolls_back(watcher):
    """Timeline B: the lock stays until the rollback ended, and the store is deleted."""
    watch = watcher()
    watch.world.play(Fault.observer_dies())
    await watch.start()
    await watch.follow(DYING_OBSERVER)
    failed = await watch.ask.data(f"/api/v1/task/dag/{watch.dag_id}")
    assert watch.world.cluster().lock_holder is not None
    assert failed["nodes"][4]["sub_tasks"][0]["task_logs"][-1].startswith(
        "ERROR: [Common.Unexpected]: Unexpected error: dag 2"
    )
    watch.world.advance(5)
    await watch.operate("ROLLBACK")
    watch.origin = 30.0
    accepted = await watch.ask.data(f"/api/v1/task/dag/{watch.dag_id}")

    await watch.follow(ROLLBACK_AFTER_DEATH)

    assert [(node["state"], node["operator"]) for node in accepted["nodes"]] == (
        [("PENDING", "ROLLBACK")] * 5 + [("PENDING", "RUN")] * 4
    )
    assert watch.world.cluster().lock_holder is None
    assert "/home/admin/oceanbase/store" in watch.world.agent(TARGET).files.deleted
    assert (await watch.ask.raw("GET", "/api/v1/info", agent=TARGET)).json()["data"]["zone"] == ""


async def test_a_living_observer_takes_five_seconds_to_kill(watcher):
    """Rolled back from stage 7 the cluster DAG ends after 15 s, the joining agent after 20."""
    watch = watcher()
    watch.world.play(Fault.fail_stage(7))
    await watch.start()
    watch.world.advance(40)
    failed = await watch.ask.data(f"/api/v1/task/dag/{watch.dag_id}")
    assert (failed["state"], failed["stage"]) == ("FAILED", 7)
    await watch.operate("ROLLBACK")
    watch.origin = 40.0

    await watch.follow(
        """
        5    | RUNNING/ROLLBACK 5 P | RUNNING/ROLLBACK 6 R | SCALING OUT | 1
        7.5  |                      | RUNNING/ROLLBACK 5 R | SCALING OUT | 0
        14   | RUNNING/ROLLBACK 1 R |                      | SCALING OUT | 0
        15   | SUCCEED/ROLLBACK 1   |                      | SCALING OUT | 0
        20   | SUCCEED/ROLLBACK 1   |                      | SCALING OUT | 0
        20.5 |                      | RUNNING/ROLLBACK 1 R | SINGLE      | 0
        21.5 | SUCCEED/ROLLBACK 1   | SUCCEED/ROLLBACK 1   | SINGLE      | 0
        """
    )


async def test_a_retry_cures_a_slow_start(watcher):
    """Timelines C and C1: stage 5 gives up after 90 s, one RETRY picks the observer up."""
    watch = watcher(150.0)
    await watch.start()
    await watch.follow(SLOW_START)
    failed = await watch.ask.data(f"/api/v1/task/dag/{watch.dag_id}")
    watch.world.advance(11)
    await watch.operate("RETRY")
    accepted = await watch.ask.data(f"/api/v1/task/dag/{watch.dag_id}")

    await watch.follow(RETRY_WHILE_STARTING)

    ended = await watch.ask.data(f"/api/v1/task/dag/{watch.dag_id}")
    assert failed["nodes"][4]["sub_tasks"][0]["task_logs"][-1] == (
        "ERROR: [OB.Cluster.AsyncOperationTimeout]: wait remote start observer task finish timeout"
    )
    assert (accepted["nodes"][4]["state"], accepted["nodes"][4]["operator"]) == ("PENDING", "RETRY")
    assert accepted["nodes"][4]["sub_tasks"][0]["state"] == "FAILED"
    assert (ended["nodes"][4]["state"], ended["nodes"][4]["operator"]) == ("SUCCEED", "RETRY")
    assert ended["nodes"][4]["sub_tasks"][0]["execute_times"] == 3


async def test_a_late_retry_still_joins(watcher):
    """Timeline C2: the local DAG failed at its watch meanwhile; RETRY brings both to the end."""
    watch = watcher(150.0)
    await watch.start()
    await watch.follow(LEFT_ALONE_TOO_LONG)
    watch.world.advance(28.5)
    await watch.operate("RETRY")
    watch.origin = 200.0

    await watch.follow(LATE_RETRY)

    assert watch.world.cluster().lock_holder is None


async def test_a_rollback_after_the_watch_began_is_a_dead_end(watcher):
    """Timeline C3: the cluster DAG is undone, the joining agent stays SCALING OUT for good."""
    watch = watcher(150.0)
    await watch.start()
    watch.world.advance(200)
    await watch.operate("ROLLBACK")
    watch.origin = 200.0
    await watch.follow(DEAD_END)
    local = await watch.local()

    again = await watch.ask.operate(local["id"], "ROLLBACK", agent=TARGET)
    watch.world.advance(3602)

    assert again.status_code == 200
    ended = await watch.local()
    assert (ended["state"], ended["operator"], ended["stage"]) == ("FAILED", "ROLLBACK", 6)
    assert watch.world.agent(TARGET).identity == "SCALING OUT"


async def test_a_rollback_while_the_observer_starts_asks_in_vain(watcher):
    """Timeline C4: four nodes wait 60 s each, then leave the joining agent behind."""
    watch = watcher(500.0)
    await watch.start()
    watch.world.advance(120)
    await watch.operate("ROLLBACK")

    await watch.follow(ASKED_IN_VAIN)

    local = await watch.local()
    await watch.ask.operate(local["id"], "ROLLBACK", agent=TARGET)
    watch.world.advance(100)
    hanging = await watch.local()
    assert (hanging["state"], hanging["operator"], hanging["stage"]) == ("RUNNING", "ROLLBACK", 6)
