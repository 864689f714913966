"""Whether a silent agent costs a run one short wait, and a slow one no false word. Virtual time."""

import asyncio
import contextvars
import selectors
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import AT_ONCE, ClusterClient
from obscale.agent.silence import (
    LONG_SECONDS,
    PROBE_EVERY_SECONDS,
    SilentAgents,
    remembering_silence,
    silent_agents,
)
from obscale.errors import AgentUnreachableError, DatabaseDownError, OutcomeUnknownError

READ_SECONDS = 23.0
"""What a silent agent costs whoever waits for it."""
NEVER = 1e6


class _Leaping(selectors.DefaultSelector):
    """Waits for nothing: the clock leaps to the next moment something is to happen at."""

    def __init__(self):
        super().__init__()
        self.leapt = 0.0

    def select(self, timeout=None):
        self.leapt += timeout or 0.0
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose seconds cost none."""

    def __init__(self):
        self.leaping = _Leaping()
        super().__init__(self.leaping)

    def time(self):
        """Give the seconds leapt over so far."""
        return self.leaping.leapt


class Cluster:
    """Agents that answer after so many seconds each; remembers who was asked what, and when."""

    def __init__(self, *seconds, agents=3):
        self.seconds = dict(enumerate((*seconds, *[0.01] * (agents - len(seconds))), start=1))
        self.asked = []
        self.probed = Counter()
        self.said = []
        self.loop = asyncio.get_running_loop()
        self.memory = SilentAgents(self.said.append, self.loop.time)
        transport = httpx.MockTransport(self._info)
        self.agents = [
            AgentClient(AgentAddress(f"10.0.0.{n}"), transport=transport) for n in self.seconds
        ]
        self.client = self.another()

    def another(self):
        """Give a further client of the same run."""
        return ClusterClient(self.agents, self.memory)

    async def _info(self, request):
        agent = int(request.url.host.rpartition(".")[2])
        self.probed[agent] += 1
        await asyncio.sleep(self.seconds[agent])
        return httpx.Response(200, json={"successful": True, "data": {}})

    async def question(self, agent):
        """Answer in the agent's name when its time has come."""
        number = int(agent.address.ip.rpartition(".")[2])
        self.asked.append((round(self.loop.time(), 1), number))
        if self.seconds[number] > READ_SECONDS:
            await asyncio.sleep(READ_SECONDS)
            raise AgentUnreachableError("no answer within 23 seconds", str(agent.address))
        await asyncio.sleep(self.seconds[number])
        return number

    async def ask(self, client=None):
        """Ask once; gives who answered, and the seconds it took."""
        began = self.loop.time()
        number = await (client or self.client).ask(self.question)
        return number, self.loop.time() - began


def virtually(test):
    """Run a test in a loop whose seconds cost none."""

    def run():
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@virtually
async def test_a_silent_agent_costs_one_short_wait_and_is_asked_once():
    """The next one is asked after two seconds, and a hundred questions later still only that."""
    cluster = Cluster(NEVER)
    first = await cluster.ask()
    later = [await cluster.ask() for _ in range(100)]

    assert first == (2, pytest.approx(LONG_SECONDS + 0.01))
    assert {who for who, _ in later} == {2}
    assert sum(seconds for _, seconds in later) < 2
    assert Counter(who for _, who in cluster.asked) == {1: 1, 2: 101}
    assert [line.partition(" why")[0] for line in cluster.said] == [
        "agent.silent agent=10.0.0.1:2886"
    ]
    await cluster.client.aclose()


@virtually
async def test_two_silent_agents_of_three_cost_two_short_waits():
    """Both are asked once, three at the same time at most."""
    cluster = Cluster(NEVER, NEVER)
    first = await cluster.ask()
    second = await cluster.ask()

    assert first == (3, pytest.approx(2 * LONG_SECONDS + 0.01))
    assert second == (3, pytest.approx(0.01))
    assert [who for _, who in cluster.asked] == [1, 2, 3, 3]
    await cluster.client.aclose()


@virtually
async def test_no_more_than_three_are_waited_for():
    """Of five that are silent, the fourth is asked when the first has been given up."""
    cluster = Cluster(*[NEVER] * 5, agents=5)
    with pytest.raises(AgentUnreachableError, match="also tried"):
        await cluster.ask()

    assert AT_ONCE == 3
    assert cluster.asked == [(0.0, 1), (2.0, 2), (4.0, 3), (23.0, 4), (25.0, 5)]
    await cluster.client.aclose()


@virtually
async def test_who_is_as_slow_as_all_others_is_not_silent():
    """Nobody is called silent, and from the second question on nobody is asked beside another."""
    for seconds in (1.0, 2.0, 5.0):
        cluster = Cluster(*[seconds] * 3)
        for _ in range(10):
            await cluster.ask()

        assert cluster.said == [], seconds
        # While the usual time is not known, the first question may have been put to several.
        assert len(cluster.asked) <= 10 + 2, seconds
        await cluster.client.aclose()


@virtually
async def test_among_slow_agents_a_silent_one_is_found_too():
    """After three times the usual time."""
    cluster = Cluster(1.0, 1.0, 1.0)
    await cluster.ask()
    cluster.seconds[1] = NEVER

    assert await cluster.ask() == (2, pytest.approx(3.0 + 1.0))
    assert len(cluster.said) == 1
    await cluster.client.aclose()


@virtually
async def test_one_question_that_takes_long_everywhere_makes_nobody_silent():
    """Ten seconds of a database's: the others that were asked meanwhile were not asked for long."""
    cluster = Cluster()
    await cluster.ask()
    cluster.seconds = dict.fromkeys(cluster.seconds, 10.0)

    assert await cluster.ask() == (1, pytest.approx(10.0))
    assert cluster.said == []
    await cluster.client.aclose()


@virtually
async def test_all_clients_of_a_run_pass_over_a_silent_agent():
    """A second client, as a later step or another row has, begins with one that answers."""
    cluster = Cluster(NEVER)
    await cluster.ask()
    other = cluster.another()

    assert other.current.address.ip == "10.0.0.2", "a POST would go there"
    assert await cluster.ask(other) == (2, pytest.approx(0.01))
    await cluster.client.aclose()


@virtually
async def test_a_silent_agent_is_asked_when_nobody_else_answers():
    """The only ones left refuse: then it is asked, and heard again."""
    cluster = Cluster(NEVER)
    await cluster.ask()
    cluster.seconds[1] = 0.01

    async def question(agent):
        if agent.address.ip != "10.0.0.1":
            raise DatabaseDownError("away", str(agent.address))
        return await cluster.question(agent)

    assert await cluster.client.ask(question) == 1
    assert [line.split()[0] for line in cluster.said] == ["agent.silent", "agent.answers_again"]
    await cluster.client.aclose()


@virtually
async def test_a_silent_agent_is_heard_by_a_probe_aside():
    """Every fifteen seconds at most, waited for by no question, and given up with its client."""
    cluster = Cluster(NEVER)
    for _ in range(600):
        await asyncio.sleep(0.1)
        _, seconds = await cluster.ask()
        assert seconds < LONG_SECONDS + 0.1
    silent_for = cluster.loop.time()
    assert 1 <= cluster.probed[1] <= silent_for / PROBE_EVERY_SECONDS + 1

    cluster.seconds[1] = 0.01
    for _ in range(200):
        await asyncio.sleep(0.1)
        await cluster.ask()
    assert cluster.client.silence_of(AgentAddress("10.0.0.1")) is None
    assert [line.split()[0] for line in cluster.said] == ["agent.silent", "agent.answers_again"]
    await cluster.client.aclose()


@virtually
async def test_a_probe_on_its_way_ends_with_its_client():
    """Nothing is left behind that nobody waits for."""
    cluster = Cluster(NEVER)
    await cluster.ask()
    await asyncio.sleep(PROBE_EVERY_SECONDS + 1)
    await cluster.ask()
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 2

    await cluster.client.aclose()

    assert len(asyncio.all_tasks()) == 1


@virtually
async def test_an_agent_that_falls_silent_again_and_again_is_named_once():
    """One line when it is silent, one when it is heard again, however often both happen."""
    cluster = Cluster()
    for _ in range(3):
        cluster.memory.add(AgentAddress("10.0.0.1"), "no answer")
        cluster.memory.discard(AgentAddress("10.0.0.1"))

    assert len(cluster.said) == 2


@pytest.mark.parametrize("sending", ["send", "operate"])
def test_a_write_is_never_put_to_a_second_agent_for_being_slow(sending):
    """An answer that takes minutes is waited for; its loss is told, and nobody else is sent it."""

    @virtually
    async def case():
        cluster = Cluster(200.0)
        sent = []

        async def write(agent):
            sent.append(agent.address.ip)
            await asyncio.sleep(200)
            raise OutcomeUnknownError("no answer", str(agent.address))

        with pytest.raises(OutcomeUnknownError):
            await getattr(cluster.client, sending)(write)

        assert sent == ["10.0.0.1"]
        await cluster.client.aclose()

    case()


@virtually
async def test_a_write_is_not_sent_to_an_agent_known_to_be_silent():
    """Neither a POST nor an operation begins with it."""
    cluster = Cluster(NEVER)
    await cluster.ask()

    assert await cluster.client.send(cluster.question) == 2
    assert await cluster.client.operate(cluster.question) == 2
    await cluster.client.aclose()


@virtually
async def test_a_write_that_certainly_was_not_sent_leaves_its_agent_aside():
    """The next look and the next sending begin with another one."""
    cluster = Cluster(NEVER)
    for write in (cluster.client.send, cluster.client.operate):
        cluster.memory.discard(AgentAddress("10.0.0.1"))
        with pytest.raises(AgentUnreachableError):
            await write(cluster.question)
        assert cluster.client.current.address.ip == "10.0.0.2"
    await cluster.client.aclose()


@virtually
async def test_who_told_something_meanwhile_is_not_silent():
    """Half-way through several answers that one question takes, it was only slower than another."""
    cluster = Cluster(NEVER)
    cluster.agents[0]._session.heard_at = 1.0

    assert (await cluster.ask())[0] == 2
    assert cluster.said == []
    await cluster.client.aclose()


@virtually
async def test_a_question_given_up_leaves_nobody_asking():
    """Whoever is cancelled takes all the agents it waits for along."""
    cluster = Cluster(NEVER, NEVER, NEVER)
    asking = asyncio.create_task(cluster.client.ask(cluster.question))
    await asyncio.sleep(5)
    assert len(asyncio.all_tasks()) == 2 + 3

    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)

    assert len(asyncio.all_tasks()) == 1
    await cluster.client.aclose()


def test_where_there_is_one_agent_nobody_is_passed_over():
    """It is asked each time; that nobody answers is told elsewhere."""

    @virtually
    async def case():
        cluster = Cluster(NEVER, agents=1)
        for _ in range(2):
            with pytest.raises(AgentUnreachableError):
                await cluster.ask()
        assert cluster.said == []
        assert cluster.probed == {}
        await cluster.client.aclose()

    case()


def test_tasks_and_threads_of_a_run_share_one_memory():
    """The context is copied to them, what it holds is not; another run has its own."""

    async def tasks():
        async with asyncio.TaskGroup() as group:
            begun = [group.create_task(asyncio.to_thread(silent_agents)) for _ in range(3)]
        return {id(each.result()) for each in begun}

    with remembering_silence() as memory:
        assert asyncio.run(tasks()) == {id(memory)}
        with ThreadPoolExecutor(1) as pool:
            context = contextvars.copy_context()
            assert pool.submit(context.run, silent_agents).result() is memory
        with remembering_silence() as inner:
            assert inner is memory
        alone = []
        thread = threading.Thread(target=lambda: alone.append(silent_agents()))
        thread.start()
        thread.join()
        assert alone[0] is not memory
    with remembering_silence() as other:
        assert other is not memory
