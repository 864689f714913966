"""Tests of a simulated agent without database where no recording of a real one tells.

What is recorded, with the observer down and in the middle of joining, is in `tests/contract/real`.
"""

from obscale.sandbox import Fault

MEMBERS = ("127.0.1.1:2886", "127.0.1.2:2886", "127.0.1.3:2886")
ENTRY = MEMBERS[0]


def told(answer):
    """Status, errCode and message of a refusal, which has no number and no data."""
    error = answer.json()["error"]
    assert "code" not in error
    assert "data" not in answer.json()
    return answer.status_code, error["errCode"], error["message"]


async def test_without_any_database_nothing_is_forwarded(world, ask):
    """The agent that is asked tells its own trouble."""
    await ask.scale_out()
    for member in MEMBERS:
        world.play(Fault.observer_down(member))

    answer = await ask("GET", "/api/v1/task/dag/11")

    assert told(answer) == (
        500,
        "OB.Server.Process.NotExist",
        "Task not found: Observer process does not exist",
    )


async def test_an_observer_that_runs_but_does_not_answer_is_told_apart(world, ask):
    """The process is there, its connection is of no use: another code, also "no database here"."""
    await ask.scale_out()
    world.play(Fault.database_down(ENTRY))

    answer = await ask.operate("11", "RETRY")

    assert told(answer) == (
        500,
        "Agent.OceanBase.Useless",
        "Task not found: The current database is useless",
    )


async def test_a_joining_agent_shows_the_dag_it_joins_by(world, ask):
    """It has no database yet and asks the agent that coordinates; of no other DAG it knows."""
    await ask.scale_out()
    world.advance(8)

    answer = await ask("GET", "/api/v1/task/dag/11", agent="127.0.1.4:2886")

    assert world.agent("127.0.1.4:2886").identity == "SCALING OUT"
    assert answer.json()["data"]["name"] == "Cluster scale out"
