"""Tests that a removal is not proved where an observer still takes connections on its host."""

import asyncio

import pytest

from obscale.agent.models import AgentInfo, AgentStatus, Server
from obscale.removal.proofs import Evidence, Host, View, judge_removal
from obscale.removal.prove import ports_of, serving_ports
from obscale.removal.result import BeforeRemoval
from obscale.request.models import AgentInfoSpec
from obscale.request.removal import LeavingNode, Removal
from obscale.verify.observation import ProofAnswer

TARGET = "10.0.0.4:2886"
NODE = LeavingNode(agentInfo=AgentInfoSpec(ip="10.0.0.4", port=2886), zone="zone2")
ORDER = Removal(cluster="east", zone="zone2", node=NODE)
LEFT = AgentInfo.model_validate({"ip": "10.0.0.4", "port": 2886, "identity": "SCALING IN"})
STOPPED = AgentStatus.model_validate({"agent": {"ip": "10.0.0.4", "port": 2886}, "obState": 0})


def proof(host, *, is_late=False):
    """Judge a host; give what is said of its observer."""
    view = View(zones=(), hosts=(host,))
    levels = judge_removal(Evidence(ORDER, None, None, view, is_late=is_late))
    return next(line for line in levels.lines if line.id == "pl-observer-dead")


@pytest.mark.parametrize(
    ("info", "status", "words"),
    [(LEFT, STOPPED, "obState 0, yet"), (None, None, "obshell does not answer, yet")],
    ids=["its agent says it is dead", "its agent is silent"],
)
def test_a_port_that_takes_connections_is_an_observer(info, status, words):
    """Whatever its agent says: it is waited for, and fails when time is up."""
    host = Host(TARGET, info, status, (9, 99.0), ("10.0.0.4:2881",))

    assert proof(host).answer is ProofAnswer.WAITING
    late = proof(host, is_late=True)
    assert late.answer is ProofAnswer.FAIL
    assert late.found == f"{words} 10.0.0.4:2881 takes connections: it still runs"


def test_refused_ports_leave_it_as_its_agent_says():
    """And a silent host is only told."""
    assert proof(Host(TARGET, LEFT, STOPPED, (3, 10.0))).answer is ProofAnswer.PASS
    assert proof(Host(TARGET, None, None), is_late=True).answer is ProofAnswer.INFO


async def test_only_ports_that_listen_are_named():
    """One that is closed again refuses."""

    async def serve(_reader, writer):
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await serving_ports("127.0.0.1", (port,)) == (f"127.0.0.1:{port}",)
    assert await serving_ports("127.0.0.1", (port,)) == ()


def test_the_ports_are_those_the_observer_had_before():
    """By its agent's address; nothing is dialled where nobody kept how things stood."""
    row = Server(ip="10.0.0.4", svr_port=2882, sql_port=2881, obshell_port=2886)

    assert ports_of(ORDER, BeforeRemoval(zones=(), servers=(row,))) == {TARGET: (2881, 2882)}
    assert ports_of(ORDER, None) == {}
