"""Tests of a cluster's client: it finds an agent that answers, and writes once."""

import asyncio
import pickle

import httpx
import pytest

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.agent.error_codes import classify
from obscale.errors import (
    AgentError,
    AgentProtocolError,
    AgentRefusedError,
    AgentUnreachableError,
    DatabaseDownError,
    IdentityMismatchError,
    NotAuthorizedError,
    OutcomeUnknownError,
)

IPS = ("10.0.0.1", "10.0.0.2", "10.0.0.3")


class Cluster:
    """Three agents of whom each may be made to fail; remembers who was asked."""

    def __init__(self):
        self.trouble = {}
        self.asked = []
        transport = httpx.MockTransport(lambda _request: httpx.Response(500))
        self.client = ClusterClient(
            [AgentClient(AgentAddress(ip), transport=transport) for ip in IPS]
        )

    def refuse(self, ip, code, message="no"):
        """Have an agent refuse everything with this errCode."""

        def refused(_text, agent):
            kind, _ = classify(code, 500, message)
            return kind(message, agent, code=code, status=500)

        self.trouble[ip] = refused

    async def question(self, agent):
        """Answer in the agent's name, or with its trouble."""
        self.asked.append(agent.address.ip)
        if agent.address.ip in self.trouble:
            raise self.trouble[agent.address.ip](f"trouble {agent.address.ip}", str(agent.address))
        return f"answer of {agent.address.ip}"


@pytest.fixture
def cluster():
    """A healthy cluster."""
    return Cluster()


async def test_first_agent_is_asked_first(cluster):
    """While it answers, only the first agent is asked."""
    async with cluster.client as client:
        assert await client.ask(cluster.question) == "answer of 10.0.0.1"
        assert client.current.address.ip == "10.0.0.1"

    assert cluster.asked == ["10.0.0.1"]


@pytest.mark.parametrize("error", [AgentUnreachableError, DatabaseDownError, AgentProtocolError])
async def test_transient_trouble_passes_on_and_who_answered_is_remembered(cluster, error):
    """The next agent answers, and is asked first from then on, also when the first is back."""
    cluster.trouble = {"10.0.0.1": error}

    async with cluster.client as client:
        first = await client.ask(cluster.question)
        cluster.trouble = {}
        second = await client.ask(cluster.question)

    assert first == second == "answer of 10.0.0.2"
    assert cluster.asked == ["10.0.0.1", "10.0.0.2", "10.0.0.2"]


async def test_round_goes_on_behind_the_last_agent(cluster):
    """The turn starts at the current agent and comes round to the first."""
    async with cluster.client as client:
        cluster.trouble = {"10.0.0.1": AgentUnreachableError, "10.0.0.2": AgentUnreachableError}
        await client.ask(cluster.question)
        cluster.asked.clear()
        cluster.trouble = {"10.0.0.3": AgentUnreachableError}
        answer = await client.ask(cluster.question)

    assert answer == "answer of 10.0.0.1"
    assert cluster.asked == ["10.0.0.3", "10.0.0.1"]


async def test_when_nobody_answers_all_are_named(cluster):
    """Each is asked once; the last error names the others, also after pickling."""
    cluster.trouble = {
        "10.0.0.1": AgentUnreachableError,
        "10.0.0.2": DatabaseDownError,
        "10.0.0.3": AgentUnreachableError,
    }

    async with cluster.client as client:
        with pytest.raises(AgentUnreachableError) as caught:
            await client.ask(cluster.question)
        assert client.current.address.ip == "10.0.0.2", "the only one that said anything"

    text = str(pickle.loads(pickle.dumps(caught.value)))
    assert cluster.asked == list(IPS)
    assert caught.value.transient
    assert "10.0.0.3:2886: trouble 10.0.0.3" in text
    assert "10.0.0.1:2886 [unreachable]; 10.0.0.2:2886 [database-down]" in text


@pytest.mark.parametrize("error", [NotAuthorizedError, IdentityMismatchError, OutcomeUnknownError])
async def test_what_others_would_say_as_well_is_raised_at_once(cluster, error):
    """A refusal, and above all a write of unknown outcome, is never tried elsewhere."""
    cluster.trouble = {"10.0.0.1": error}

    async with cluster.client as client:
        with pytest.raises(error):
            await client.ask(cluster.question)

    assert cluster.asked == ["10.0.0.1"]


async def test_a_password_accepted_before_is_no_reason_to_give_up(cluster):
    """Whoever refuses it may keep an older one: others are asked; refused by all, it is told."""
    async with cluster.client as client:
        await client.ask(cluster.question)
        cluster.trouble = {"10.0.0.1": NotAuthorizedError}
        answer = await client.ask(cluster.question)
        cluster.trouble = dict.fromkeys(IPS, NotAuthorizedError)
        with pytest.raises(NotAuthorizedError, match=r"also tried: 10\.0\.0\.2"):
            await client.ask(cluster.question)

    assert answer == "answer of 10.0.0.2"


async def test_agents_learnt_later_are_asked_too(cluster):
    """An agent from the topology joins the round once, with the credentials of the first."""
    async with cluster.client as client:
        added = client.add(AgentAddress("10.0.0.4"))
        again = client.add(AgentAddress("10.0.0.4"))
        cluster.trouble = dict.fromkeys(IPS, AgentUnreachableError)
        answer = await client.ask(cluster.question)

    assert added is again
    assert answer == "answer of 10.0.0.4"
    assert len(client.clients) == 4
    assert "10.0.0.4:2886" in repr(client)


NO_DATABASE = [
    "Agent.OceanBase.NotHold",
    "Agent.OceanBase.Useless",
    "Agent.OceanBase.DB.NotOcs",
    "OB.Server.Process.NotExist",
    "OB.Server.Process.CheckFailed",
]


@pytest.mark.parametrize("code", NO_DATABASE)
async def test_an_operation_moves_on_from_an_agent_without_database(cluster, code):
    """It did nothing there: the next agent is sent it, each once, and is asked first from then."""
    cluster.refuse("10.0.0.1", code)

    async with cluster.client as client:
        answer = await client.operate(cluster.question)
        assert client.current.address.ip == "10.0.0.2"

    assert answer == "answer of 10.0.0.2"
    assert cluster.asked == ["10.0.0.1", "10.0.0.2"]


async def test_an_operation_whose_task_could_not_be_looked_up_moves_on(cluster):
    """Whatever the code: what is not found first is not operated."""
    cluster.refuse("10.0.0.1", "Common.Unexpected", "Task not found: driver: bad connection")

    async with cluster.client as client:
        assert await client.operate(cluster.question) == "answer of 10.0.0.2"


@pytest.mark.parametrize(
    "trouble",
    [
        OutcomeUnknownError,
        AgentUnreachableError,
        lambda text, agent: AgentRefusedError(text, agent, code="Task.Dag.Operator.X"),
        lambda text, agent: DatabaseDownError(text, agent, code="MySQL.Error", status=400),
    ],
    ids=["lost answer", "silence", "another refusal", "a statement that failed"],
)
async def test_an_operation_that_may_have_been_done_is_sent_to_nobody_else(cluster, trouble):
    """After two agents that certainly did nothing, too: who sent it looks first."""
    cluster.refuse("10.0.0.1", "OB.Server.Process.NotExist")
    cluster.trouble["10.0.0.2"] = trouble

    async with cluster.client as client:
        with pytest.raises(AgentError, match=r"trouble 10\.0\.0\.2"):
            await client.operate(cluster.question)

    assert cluster.asked == ["10.0.0.1", "10.0.0.2"]


async def test_an_operation_no_agent_has_a_database_for_is_sent_once_to_each(cluster):
    """The error names all of them."""
    for ip in IPS:
        cluster.refuse(ip, "OB.Server.Process.NotExist")

    async with cluster.client as client:
        with pytest.raises(DatabaseDownError, match=r"10\.0\.0\.1:2886 \[database-down\]"):
            await client.operate(cluster.question)

    assert cluster.asked == list(IPS)


async def test_a_write_refused_for_want_of_a_database_is_sent_elsewhere_only_after_a_look(cluster):
    """`send` sends once; the look and the next sending begin with another agent."""
    cluster.refuse("10.0.0.1", "OB.Server.Process.NotExist")

    async with cluster.client as client:
        with pytest.raises(DatabaseDownError):
            await client.send(cluster.question)
        looked = await client.ask(cluster.question)
        sent = await client.send(cluster.question)

    assert looked == sent == "answer of 10.0.0.2"
    assert cluster.asked == ["10.0.0.1", "10.0.0.2", "10.0.0.2"]


async def test_who_answers_in_the_name_of_others_is_not_current_after_a_refusal(cluster):
    """Without database it forwards some reads and refuses others, all at the same time."""
    started, refused = asyncio.Event(), asyncio.Event()

    async def forwarded(agent):
        started.set()
        await refused.wait()
        return agent.address.ip

    async with cluster.client as client:
        slow = asyncio.create_task(client.ask(forwarded))
        await started.wait()
        cluster.refuse("10.0.0.1", "OB.Server.Process.NotExist")
        await client.ask(cluster.question)
        refused.set()
        assert await slow == "10.0.0.1"
        assert client.current.address.ip == "10.0.0.2"
        cluster.trouble = dict.fromkeys(("10.0.0.2", "10.0.0.3"), AgentUnreachableError)
        alone = await client.ask(cluster.question)
        assert client.current.address.ip == "10.0.0.1"

    assert alone == "answer of 10.0.0.1"


def test_a_cluster_has_agents():
    """Without an agent there is nobody to ask."""
    with pytest.raises(ValueError):
        ClusterClient([])


async def test_who_leaves_the_cluster_is_asked_no_more(cluster):
    """Nor does learning of it again bring it back; it is closed with the others."""
    async with cluster.client as client:
        client.leave_out({"10.0.0.1:2886", "10.0.0.9:2886"})
        (gone,) = client.left_out
        answer = await client.ask(cluster.question)
        again = client.add(AgentAddress("10.0.0.1"))

        assert (answer, client.current.address.ip) == ("answer of 10.0.0.2", "10.0.0.2")
        assert again is gone
        assert [str(each.address) for each in client.clients] == ["10.0.0.2:2886", "10.0.0.3:2886"]


async def test_nobody_is_left_out_where_nobody_else_is_left(cluster):
    """Somebody has to be asked."""
    async with cluster.client as client:
        client.leave_out({f"{ip}:2886" for ip in IPS})

        assert client.left_out == ()
        assert await client.ask(cluster.question) == "answer of 10.0.0.1"
