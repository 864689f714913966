"""Tests of operations on a DAG: each is sent once."""

from datetime import UTC, datetime, timedelta

import pytest

from obscale.agent.models import AgentInfo, AgentStatus, Dag, Operator
from obscale.connect.connections import Connections
from obscale.errors import (
    AgentRefusedError,
    AgentUnreachableError,
    DagStalledError,
    OutcomeUnknownError,
)
from obscale.recovery import run
from obscale.recovery.consequences import Choice, Remedy
from obscale.recovery.diagnosis import Diagnosis, Place
from obscale.request.time_limits import TimeLimits

SHORT = timedelta(milliseconds=20)
LONG = timedelta(minutes=5)
"""However slow the machine, what is looked for shows before."""


def dag(state="FAILED", operator="RUN", times=1):
    sub_task = {"execute_times": times}
    return Dag.model_validate(
        {
            "id": "17",
            "dag_id": 7,
            "stage": 1,
            "max_stage": 9,
            "state": state,
            "operator": operator,
            "nodes": [{"name": "x", "sub_tasks": [sub_task]}],
        }
    )


class Agent:
    """Answers operations and reads from two lists; the last entry of each stays."""

    def __init__(self, operations, reads):
        self.operations, self.reads, self.sent = operations, reads, 0

    async def operate(self):
        """Take or refuse an operation."""
        self.sent += 1
        ending = self.operations.pop(0) if len(self.operations) > 1 else self.operations[0]
        if ending is not None:
            raise ending

    async def read(self):
        """Show the DAG."""
        shown = self.reads.pop(0) if len(self.reads) > 1 else self.reads[0]
        if isinstance(shown, Exception):
            raise shown
        return shown


async def send(agent):
    told = []
    await run._send(agent.operate, agent.read, dag(), Operator.RETRY, told.append)
    return told


def lost():
    return OutcomeUnknownError("read timeout", header_expires_at=datetime.now(UTC) + LONG)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Look again at once."""
    monkeypatch.setattr(run, "LOOK_AGAIN_SECONDS", 0.005)


async def test_an_accepted_operation_is_sent_once():
    """No error means accepted."""
    agent = Agent([None], [dag()])

    await send(agent)

    assert agent.sent == 1


@pytest.mark.parametrize(
    "now", [dag("READY"), dag("RUNNING"), dag("SUCCEED"), dag(times=3)], ids=str
)
async def test_a_lost_answer_is_not_sent_again_where_the_dag_moved(now):
    """READY, at work, done, or failed once more: the first sending was taken."""
    agent = Agent([lost()], [dag(), AgentUnreachableError("away"), now])

    await send(agent)

    assert agent.sent == 1


async def test_a_lost_answer_is_sent_again_only_after_it_can_no_longer_arrive():
    """The DAG did not move until the header expired: then, and only then, once more."""
    expires = datetime.now(UTC) + SHORT
    agent = Agent([OutcomeUnknownError("lost", header_expires_at=expires), None], [dag()])

    await send(agent)

    assert agent.sent == 2
    assert datetime.now(UTC) > expires


async def test_somebody_who_was_quicker_is_not_contradicted():
    """Refused because it is no longer FAILED: it is under way, which is what was wanted."""
    refused = AgentRefusedError("not failed", code="Task.Dag.Operator.RetryNotFailedDag")
    agent = Agent([refused], [dag("RUNNING")])

    told = await send(agent)

    assert agent.sent == 1
    assert any("under_way" in line for line in told)


async def test_a_refusal_that_asking_again_cannot_cure_is_raised_at_once():
    """A wrong password is not presented a second time."""
    agent = Agent([AgentRefusedError("no", code="Security.Authentication.X")], [dag()])

    with pytest.raises(AgentRefusedError, match="no"):
        await send(agent)

    assert agent.sent == 1


async def test_a_refusal_that_may_pass_is_raised_after_bounded_sendings():
    """The DAG stays as it is, and every sending is refused: the refusal is the answer."""
    agent = Agent([AgentRefusedError("no", code="Gorm.NoRowAffected")], [dag()])

    with pytest.raises(AgentRefusedError, match="no"):
        await send(agent)

    assert agent.sent == run.MOST_SENDINGS


class Left:
    """A target that stays SCALING OUT, with a failed local DAG of some main DAG."""

    address = "10.0.0.4:2886"

    def __init__(self, main):
        self.main, self.operated = main, []

    async def read_info(self):
        """It is neither free nor a member."""
        return AgentInfo(ip="10.0.0.4", port=2886, identity="SCALING OUT", version="4.5.0.0-1")

    async def read_status(self):
        """Its own lock is held."""
        agent = {"ip": "10.0.0.4", "port": 2886, "identity": "SCALING OUT"}
        return AgentStatus.model_validate({"agent": agent, "underMaintenance": True})

    async def read_last_agent_dag(self):
        """The newest, of whichever scale-out."""
        local = {"id": "2017", "dag_id": 1, "name": "Local scale out", "state": "FAILED"}
        return Dag.model_validate(local | {"additional_data": {"main_dag_id": self.main}})

    async def operate_dag(self, dag_id, _operator):
        """Remember it."""
        self.operated.append(dag_id)


@pytest.mark.parametrize(("main", "operated"), [("17", ["2017"]), ("18", [])])
async def test_only_the_targets_part_of_this_very_scale_out_is_rolled_back(
    monkeypatch, main, operated
):
    """Between diagnosis and sending the target may have begun to join by another DAG."""
    orphan = Diagnosis(
        cause="orphaned-local-dag",
        title="left behind",
        dag_id="17",
        target=Left.address,
        place=Place(stage=2, max_stage=9, node="x", agent="10.0.0.1:2886"),
        evidence=("", "", "the target stays"),
        choices=(Choice(operator=Remedy.ROLLBACK, safe=True, does="rolls it back"),),
        recommended=Remedy.ROLLBACK,
    )

    async def diagnose_now(_link, _dag_id):
        return orphan

    monkeypatch.setattr(run, "diagnose_now", diagnose_now)
    target = Left(main)
    link = Connections(None, target, None, None)

    with pytest.raises(DagStalledError):
        await run._settle_target(
            link, dag(), TimeLimits(undo_seconds=0.05), lambda _text: None, acknowledged=False
        )

    assert target.operated == operated
