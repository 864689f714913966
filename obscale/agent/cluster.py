"""The client of a cluster: asks its agents in turn until one answers."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self, TypeVar

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.codes import lacks_database
from obscale.errors import AgentError, AgentProtocolError, AgentRefusedError, NotAuthorizedError

T = TypeVar("T")


class ClusterClient:
    """Several agents of one cluster, asked one after the other until one answers.

    An agent whose database is away still answers some reads, by asking another one. So an agent
    that refused anything for a reason that may pass is set back: it is asked after all others, and
    is not `current`, until it is the only one that answers.

    Args:
        clients: At least one; entered and closed together with this client.
    """

    def __init__(self, clients: Sequence[AgentClient]) -> None:
        if not clients:
            raise ValueError("a cluster needs at least one agent to ask")
        self._clients = list(clients)
        self._answered = self._clients[0]
        self._set_back: set[AgentClient] = set()
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
        async with AsyncExitStack() as stack:
            for client in self._clients:
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
        for client in self._clients:
            if (client.address.ip, client.address.port) == (address.ip, address.port):
                return client
        added = self._clients[0].sibling(address)
        self._clients.append(added)
        return added

    async def ask(self, question: Callable[[AgentClient], Awaitable[T]]) -> T:
        """Ask the current agent; where it cannot answer now, the others in turn, each once.

        Args:
            question: A read, e.g. `lambda agent: agent.read_dag(dag_id)`.

        Returns:
            The first answer; who gave it is asked first next time.

        Raises:
            AgentError: A refusal: at once; but once an agent has accepted the password, one that
                refuses it may only not know it yet. Silence or an unreadable answer: when nobody
                answered, the last one's error, its message naming the others.

        An agent that cannot reach its database compares with the password it has kept, which may be
        an older one. Source: ob/agent/secure/auth.go, 4.5.0.0.
        """
        failures: list[AgentError] = []
        for client in self._turn():
            is_last_resort = client in self._set_back
            try:
                answer = await question(client)
            except AgentError as error:
                self._hear(client, error)
                # Something else than obshell at one address says nothing about the others.
                if not (
                    error.transient
                    or isinstance(error, AgentProtocolError)
                    or (self.password_was_accepted and isinstance(error, NotAuthorizedError))
                ):
                    raise
                failures.append(error)
            else:
                self._take(client, is_last_resort=is_last_resort)
                self.password_was_accepted = True
                return answer
        raise _summed_up(failures)

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
        certainly has done nothing (`obscale.agent.codes.lacks_database`).

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
            except AgentRefusedError as refused:
                self._hear(client, refused)
                if not lacks_database(refused):
                    raise
                failures.append(refused)
            else:
                self._take(client)
                return answer
        raise _summed_up(failures)

    def _turn(self) -> list[AgentClient]:
        """All agents, from the last that answered on; those set back come after the others."""
        first = self._clients.index(self._answered)
        ring = self._clients[first:] + self._clients[:first]
        return sorted(ring, key=lambda client: client in self._set_back)

    def _hear(self, client: AgentClient, error: AgentError) -> None:
        if isinstance(error, AgentRefusedError) and error.transient:
            self._set_back.add(client)

    def _take(self, client: AgentClient, *, is_last_resort: bool = True) -> None:
        """Remember who answered, but not an agent that refused something else meanwhile."""
        if is_last_resort:
            self._set_back.discard(client)
        if client not in self._set_back:
            self._answered = client

    def __repr__(self) -> str:
        return f"ClusterClient({[str(client.address) for client in self._clients]})"


def _summed_up(failures: Sequence[AgentError]) -> AgentError:
    *others, last = failures
    if others:
        trail = "; ".join(f"{error.agent} [{error.kind}]" for error in others)
        last.message = f"{last.message} (asked before, in vain: {trail})"
        # Pickling builds the error from its args, and the message is the first of them.
        last.args = (last.message, *last.args[1:])
    return last
