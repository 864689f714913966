"""Tests of a simulated agent without database against the recordings.

Status, errCode, message and `data` are those of the real obshell 4.5.0.0, recorded from a cluster
agent whose observer was killed and from an agent in the middle of joining. There the DAG that was
asked for was the cluster's first, as here.
"""

from obscale.sandbox import Fault

ENTRY = "127.0.1.1:2886"
OTHERS = ("127.0.1.2:2886", "127.0.1.3:2886")
TARGET = "127.0.1.4:2886"
GONE = "OB.Server.Process.NotExist"
NOT_HELD = "Agent.OceanBase.NotHold"
NO_PROCESS = "Observer process does not exist"
NOT_HOLDING = "Agent is not holding OceanBase"
SHOWN = "shown"
ABSENT = "no data"
EMPTY = {"contents": None}
RETRY = {"operator": "RETRY"}
SCALE_OUT = {"agentInfo": {"ip": "127.0.1.5", "port": 2886}, "zone": "zone3", "obConfigs": {}}
UNEXPECTED = "Common.Unexpected"
NO_BODY = "Unexpected error: ocsagent cannot build response body"
NO_COORDINATOR = "Unexpected error: coordinate cluster agent is not found or not match"

OBSERVER_DOWN = [
    # What reads of other agents' databases answer instead.
    ("GET", "/task/dag/11", None, SHOWN),
    ("GET", "/tenants/overview", None, SHOWN),
    ("GET", "/obcluster/info", None, SHOWN),
    ("GET", "/obcluster/topology/info", None, SHOWN),
    ("GET", "/obcluster/statistics", None, SHOWN),
    # What the agent tells by itself.
    ("GET", "/ob/info", None, SHOWN),
    ("GET", "/ob/agents", None, SHOWN),
    ("GET", "/observer/info", None, SHOWN),
    ("GET", "/obcluster/unit-config-limit", None, SHOWN),
    # What it cannot tell, nor do.
    ("GET", "/task/dag/1999", None, (500, GONE, f"Task not found: {NO_PROCESS}", ABSENT)),
    (
        "GET",
        "/task/dag/11?show_details=maybe",
        None,
        (500, GONE, f"Task not found: {NO_PROCESS}", ABSENT),
    ),
    *(
        (
            "POST",
            f"/task/dag/{dag}",
            {"operator": operator},
            (500, GONE, f"Task not found: {NO_PROCESS}", ABSENT),
        )
        for dag, operator in (
            ("11", "RETRY"),
            ("11", "ROLLBACK"),
            ("11", "CANCEL"),
            ("11", "PASS"),
            ("11", "jump"),
            ("1999", "retry"),
        )
    ),
    ("GET", "/task/node/11", None, (500, GONE, f"Task not found: {NO_PROCESS}", ABSENT)),
    ("GET", "/task/node/19999", None, (500, GONE, f"Task not found: {NO_PROCESS}", ABSENT)),
    ("GET", "/task/sub_task/11", None, (500, GONE, f"Task not found: {NO_PROCESS}", ABSENT)),
    ("GET", "/task/sub_task/11/logs", None, (500, GONE, NO_PROCESS, ABSENT)),
    ("GET", "/task/dag/maintain/ob", None, (500, GONE, NO_PROCESS, ABSENT)),
    ("GET", "/task/dag/ob/unfinish", None, (500, GONE, NO_PROCESS, EMPTY)),
    ("GET", "/task/dags/ob", None, (500, GONE, NO_PROCESS, ABSENT)),
    ("POST", "/ob/scale_out", SCALE_OUT, (500, GONE, NO_PROCESS, None)),
    ("GET", "/obcluster/parameters", None, (500, GONE, NO_PROCESS, EMPTY)),
    ("GET", "/obcluster/license", None, (500, GONE, NO_PROCESS, None)),
    ("GET", "/units/config", None, (500, GONE, NO_PROCESS, EMPTY)),
    ("GET", "/unit/config/u_app", None, (500, GONE, NO_PROCESS, None)),
    (
        "GET",
        "/resource-pools",
        None,
        (500, GONE, f"Get all resource pool failed: {NO_PROCESS}", EMPTY),
    ),
    ("GET", "/tenant/app", None, (500, GONE, f"Get tenant 'app' failed.: {NO_PROCESS}", None)),
]
JOINING = [
    ("POST", "/task/dag/11", RETRY, (500, NOT_HELD, f"Task not found: {NOT_HOLDING}", ABSENT)),
    ("GET", "/task/node/11", None, (500, NOT_HELD, f"Task not found: {NOT_HOLDING}", ABSENT)),
    ("GET", "/task/sub_task/11", None, (500, NOT_HELD, f"Task not found: {NOT_HOLDING}", ABSENT)),
    ("GET", "/task/sub_task/11/logs", None, (500, NOT_HELD, NOT_HOLDING, ABSENT)),
    ("GET", "/task/dag/maintain/ob", None, (500, NOT_HELD, NOT_HOLDING, ABSENT)),
    ("GET", "/tenant/app", None, (500, NOT_HELD, f"Get tenant 'app' failed.: {NOT_HOLDING}", None)),
    ("GET", "/task/dag/1999", None, (500, UNEXPECTED, NO_COORDINATOR, ABSENT)),
    ("GET", "/task/dag/ob/unfinish", None, (500, UNEXPECTED, NO_BODY, ABSENT)),
    ("GET", "/task/dags/ob", None, (500, UNEXPECTED, NO_BODY, ABSENT)),
    (
        "GET",
        "/ob/agents",
        None,
        (
            500,
            UNEXPECTED,
            (
                "get servers from ob.conf failed: Unexpected error: "
                "not found all_server_list in ob.conf"
            ),
            EMPTY,
        ),
    ),
    ("GET", "/task/dag/11", None, SHOWN),
]
SINGLE = [
    ("POST", "/task/dag/11", RETRY, (500, NOT_HELD, f"Task not found: {NOT_HOLDING}", ABSENT)),
    ("GET", "/task/node/11", None, (500, NOT_HELD, f"Task not found: {NOT_HOLDING}", ABSENT)),
    ("GET", "/task/sub_task/11/logs", None, (500, NOT_HELD, NOT_HOLDING, ABSENT)),
    ("GET", "/task/dag/maintain/ob", None, (500, NOT_HELD, NOT_HOLDING, ABSENT)),
    ("GET", "/tenant/app", None, (500, NOT_HELD, f"Get tenant 'app' failed.: {NOT_HOLDING}", None)),
    ("GET", "/ob/agents", None, SHOWN),
]


def told(answer):
    """Status, errCode, message and data of a refusal; `shown` for an answer."""
    if answer.status_code == 200:
        return SHOWN
    error = answer.json()["error"]
    # obshell gives these refusals no number.
    assert "code" not in error
    return (
        answer.status_code,
        error["errCode"],
        error["message"],
        answer.json().get("data", ABSENT),
    )


async def ask_all(ask, rows, agent):
    """Ask every row; gives what differs from the recorded answer."""
    differs = {}
    for method, path, body, recorded in rows:
        answer = await ask(method, f"/api/v1{path}", body, agent=agent)
        if told(answer) != recorded:
            differs[f"{method} {path} {body}"] = (told(answer), recorded)
    return differs


async def test_a_cluster_agent_whose_observer_is_down_refuses_as_the_real_one(world, ask):
    """Reads of a DAG are forwarded; operating it, and whatever wants the database, is refused."""
    await ask.scale_out()
    world.play(Fault.observer_down(ENTRY))

    assert await ask_all(ask, OBSERVER_DOWN, ENTRY) == {}
    limit = await ask.data("/api/v1/obcluster/unit-config-limit")
    assert limit is None


async def test_an_agent_in_the_middle_of_joining_refuses_as_the_real_one(world, ask):
    """It has no database yet, knows its own main DAG, and nothing else of the cluster."""
    await ask.scale_out()
    world.advance(8)
    assert world.agent(TARGET).identity == "SCALING OUT"

    assert await ask_all(ask, JOINING, TARGET) == {}


async def test_an_agent_of_no_cluster_refuses_as_the_real_one(world, ask):
    """It never had a database."""
    await ask.scale_out()

    assert await ask_all(ask, SINGLE, "127.0.1.5:2886") == {}


async def test_without_any_database_nothing_is_forwarded(world, ask):
    """The agent that is asked tells its own trouble."""
    await ask.scale_out()
    for member in (ENTRY, *OTHERS):
        world.play(Fault.observer_down(member))

    answer = await ask("GET", "/api/v1/task/dag/11")

    assert told(answer) == (500, GONE, f"Task not found: {NO_PROCESS}", ABSENT)


async def test_an_observer_that_runs_but_does_not_answer_is_told_apart(world, ask):
    """The process is there, its connection is of no use: another code, also "no database here"."""
    await ask.scale_out()
    world.play(Fault.database_down(ENTRY))

    answer = await ask.operate("11", "RETRY")

    assert told(answer)[:2] == (500, "Agent.OceanBase.Useless")
