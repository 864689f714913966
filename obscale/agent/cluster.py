"""The client of a cluster: asks its agents in turn, and passes over those that do not answer."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.error_codes import lacks_database
from obscale.agent.silence import LONG_TIMES, SilentAgents, silent_agents
from obscale.errors import (
    AgentError,
    AgentProtocolError,
    AgentRefusedError,
    AgentUnreachableError,
    NotAuthorizedError,
)

T = TypeVar("T")

AT_ONCE: Final = 3
"""Agents that one question waits for at the same time."""
PROBE_SECONDS: Final = 5.0
"""For a silent agent that is asked aside whether it is back."""


@dataclass(frozen=True)
class _Asked:
    """An agent a question waits for."""

    client: AgentClient
    at: float
    """Seconds of the memory's clock."""
    was_set_back: bool


class ClusterClient:
    """Several agents of one cluster, asked in turn until one answers.

    An agent that does not answer is silent: no question of the run is put to it until nobody else
    answers, or until it is heard again (`obscale.agent.silence`). Now and then it is asked aside
    whether it is back; nothing waits for that.

    An agent whose database is away still answers some reads, by asking another one. So an agent
    that refused anything for a reason that may pass is set back: it is asked after all others, and
    is not `current`, until it is the only one that answers.

    Args:
        clients: At least one; entered and closed together with this client.
        silent: Who has not answered yet; None: what this run remembers.
    """

    def __init__(self, clients: Sequence[AgentClient], silent: SilentAgents | None = None) -> None:
        if not clients:
            raise ValueError("a cluster needs at least one agent to ask")
        self._clients = list(clients)
        self._answered = self._clients[0]
        self._set_back: set[AgentClient] = set()
        self._silent = silent or silent_agents()
        self._probes: set[asyncio.Task[bool]] = set()
        self._left_out: list[AgentClient] = []
        self.password_was_accepted = False
        """Set by the first answer, or by who knows of an earlier one."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections, also where closing one of them fails."""
        await _give_up(self._probes)
        async with AsyncExitStack() as stack:
            for client in (*self._clients, *self._left_out):
                stack.push_async_callback(client.aclose)

    @property
    def current(self) -> AgentClient:
        """The agent that is asked first: the last that answered; at first the first one given."""
        return self._turn()[0]

    @property
    def clients(self) -> tuple[AgentClient, ...]:
        """All known agents, in the order they became known."""
        return tuple(self._clients)

    def add(self, address: AgentAddress) -> AgentClient:
        """Learn of another agent of the cluster, asked with the same credentials and settings.

        Args:
            address: E.g. from the topology; its scheme should be the cluster's. A known one stays.

        Returns:
            The client of that agent.
        """
        for client in (*self._clients, *self._left_out):
            if (client.address.ip, client.address.port) == (address.ip, address.port):
                return client
        added = self._clients[0].sibling(address)
        self._clients.append(added)
        return added

    @property
    def left_out(self) -> tuple[AgentClient, ...]:
        """Agents that are asked nothing any more."""
        return tuple(self._left_out)

    def leave_out(self, addresses: Collection[str]) -> None:
        """Ask some agents no more, for good: they leave the cluster, and soon know it no more.

        Where nobody else would be left, nobody is left out. `add` does not bring them back.

        Args:
            addresses: `ip:port` each; those that are not known matter nothing.
        """
        going = [client for client in self._clients if str(client.address) in addresses]
        staying = [client for client in self._clients if client not in going]
        if not staying:
            return
        self._clients = staying
        self._left_out += going
        if self._answered in going:
            self._answered = staying[0]

    async def ask(self, question: Callable[[AgentClient], Awaitable[T]]) -> T:
        """Ask the current agent; where it cannot answer now, the others in turn, each once.

        One that takes long is waited for, and the next is asked as well, three at the same time at
        most. The first answer counts; who was asked long before and said nothing is silent.

        Args:
            question: A read, e.g. `lambda agent: agent.read_dag(dag_id)`. Never a write: more than
                one agent may get it.

        Returns:
            The first answer; who gave it is asked first next time.

        Raises:
            AgentError: A refusal: at once; but once an agent has accepted the password, one that
                refuses it may only not know it yet. Silence or an unreadable answer: when nobody
                answered, the last one's error, its message naming the others.

        An agent that cannot reach its database compares with the password it has kept, which may be
        an older one. Source: ob/agent/secure/auth.go, 4.5.0.0.
        """
        self._probe_aside()
        long_seconds = self._silent.long_seconds
        failures: list[AgentError] = []
        left = deque(self._turn())
        waited_for: dict[asyncio.Future[T], _Asked] = {}
        try:
            while True:
                if self._may_ask_next(left, waited_for):
                    client = left.popleft()
                    asked = _Asked(client, self._silent.now(), client in self._set_back)
                    waited_for[asyncio.ensure_future(question(client))] = asked
                elif not waited_for:
                    raise _summed_up(failures)
                more = self._may_ask_next(left, waited_for)
                await asyncio.wait(
                    waited_for,
                    timeout=long_seconds if more else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for answer in [each for each in waited_for if each.done()]:
                    asked = waited_for.pop(answer)
                    try:
                        told = answer.result()
                    except AgentError as error:
                        self._hear(asked.client, error)
                        if not self._may_others_answer(error):
                            raise
                        failures.append(error)
                    else:
                        self._take(asked.client, is_last_resort=asked.was_set_back)
                        self._compare(asked, waited_for.values(), long_seconds)
                        self.password_was_accepted = True
                        return told
        finally:
            await _give_up(waited_for)

    def silence_of(self, address: AgentAddress) -> str | None:
        """Give why an agent counts as silent; None: it does not, so it may be asked by itself."""
        return self._silent.why(address)

    def fell_silent(self, client: AgentClient, since: float, why: str) -> None:
        """Count an agent as silent that was given up, if it took long and told nothing meanwhile.

        Args:
            client: An agent of the cluster, asked by itself.
            since: Monotonic seconds at which it was asked.
            why: In words.
        """
        if client.heard_at < since and self._silent.now() - since >= self._silent.long_seconds:
            self._silent.add(client.address, why)

    async def is_back(self, client: AgentClient) -> bool:
        """Ask an agent that counts as silent who it is; whatever it answers, it is back."""
        try:
            async with asyncio.timeout(max(PROBE_SECONDS, self._silent.long_seconds)):
                await client.read_info()
        except (AgentUnreachableError, TimeoutError):
            return False
        except AgentError:
            pass
        self._silent.discard(client.address)
        return True

    async def send(self, write: Callable[[AgentClient], Awaitable[T]]) -> T:
        """Send a write to the current agent, once, and to no other.

        For what must be looked for before it is sent elsewhere: where the agent refuses it for
        want of a database, the next look and the next sending begin with another agent.

        Raises:
            AgentError: As the write raises it.
        """
        agent = self.current
        try:
            return await write(agent)
        except AgentError as error:
            self._hear(agent, error)
            raise

    async def operate(self, write: Callable[[AgentClient], Awaitable[T]]) -> T:
        """Send a write to the agents in turn until one has a database; each gets it once at most.

        It goes on to the next agent after one refusal only: that the agent has no database, so
        certainly has done nothing (`obscale.agent.error_codes.lacks_database`).

        Args:
            write: E.g. `lambda agent: agent.operate_dag(dag_id, operator)`.

        Returns:
            The first answer.

        Raises:
            OutcomeUnknownError: The answer of one was lost. Nobody else was sent it: look first.
            DatabaseDownError: No agent has a database.
            AgentError: Any other refusal or silence, of the agent in whose turn it came.
        """
        failures: list[AgentError] = []
        for client in self._turn():
            try:
                answer = await write(client)
            except AgentError as error:
                self._hear(client, error)
                if not (isinstance(error, AgentRefusedError) and lacks_database(error)):
                    raise
                failures.append(error)
            else:
                self._take(client)
                return answer
        raise _summed_up(failures)

    def _turn(self) -> list[AgentClient]:
        """All agents, from the last that answered on; last those set back, then the silent ones."""
        first = self._clients.index(self._answered)
        ring = self._clients[first:] + self._clients[:first]
        return sorted(ring, key=lambda client: (self._is_silent(client), client in self._set_back))

    def _is_silent(self, client: AgentClient) -> bool:
        return self._silent.why(client.address) is not None

    def _may_ask_next(
        self, left: Sequence[AgentClient], waited_for: dict[asyncio.Future[T], _Asked]
    ) -> bool:
        """Whether the next agent may be asked beside those that are waited for."""
        if not left or len(waited_for) >= AT_ONCE:
            return False
        # While somebody may still answer, no silent one is asked.
        return not self._is_silent(left[0]) or all(
            self._is_silent(asked.client) for asked in waited_for.values()
        )

    def _may_others_answer(self, error: AgentError) -> bool:
        # Something else than obshell at one address says nothing about the others.
        return (
            error.transient
            or isinstance(error, AgentProtocolError)
            or (self.password_was_accepted and isinstance(error, NotAuthorizedError))
        )

    def _hear(self, client: AgentClient, error: AgentError) -> None:
        if isinstance(error, AgentRefusedError):
            self._silent.discard(client.address)
            if error.transient:
                self._set_back.add(client)
        # Where there is nobody else to ask, nobody is passed over.
        elif isinstance(error, AgentUnreachableError) and len(self._clients) > 1:
            self._silent.add(client.address, error.message)

    def _take(self, client: AgentClient, *, is_last_resort: bool = True) -> None:
        """Remember who answered, but not an agent that refused something else meanwhile."""
        self._silent.discard(client.address)
        if is_last_resort:
            self._set_back.discard(client)
        if client not in self._set_back:
            self._answered = client

    def _compare(self, quickest: _Asked, others: Collection[_Asked], long_seconds: float) -> None:
        """Take those for silent that had far longer than who answered, and have told nothing."""
        now = self._silent.now()
        took = now - quickest.at
        self._silent.took(took)
        for other in others:
            waited = now - other.at
            is_long = waited >= max(long_seconds, LONG_TIMES * took)
            if is_long and other.client.heard_at < other.at:
                why = f"no answer within {waited:.1f} s"
                self._silent.add(other.client.address, why)

    def _probe_aside(self) -> None:
        """Ask silent agents whether they are back, seldom, and without waiting for it."""
        for client in self._clients:
            if self._silent.take_probe(client.address):
                probe = asyncio.create_task(self.is_back(client))
                self._probes.add(probe)
                probe.add_done_callback(self._probes.discard)

    def __repr__(self) -> str:
        return f"ClusterClient({[str(client.address) for client in self._clients]})"


def _summed_up(failures: Sequence[AgentError]) -> AgentError:
    *others, last = failures
    if others:
        trail = "; ".join(f"{error.agent} [{error.kind}]" for error in others)
        last.message = f"{last.message} (also tried: {trail})"
        # Pickling builds the error from its args, and the message is the first of them.
        last.args = (last.message, *last.args[1:])
    return last


async def _give_up(running: Collection[asyncio.Future[Any]]) -> None:
    """Cancel what runs, and wait until it has ended."""
    ending = list(running)
    for each in ending:
        each.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
