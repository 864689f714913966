"""Which of a cluster's agents answers now?"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self, TypeVar

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.errors import AgentError, AgentProtocolError, NotAuthorizedError

T = TypeVar("T")


class ClusterClient:
    """Several agents of one cluster, asked one after the other until one answers. For reads only.

    Writes never change agents on their own: send them to `current` and look before sending again.

    Args:
        clients: At least one; entered and closed together with this client.
    """

    def __init__(self, clients: Sequence[AgentClient]) -> None:
        if not clients:
            raise ValueError("a cluster needs at least one agent to ask")
        self._clients = list(clients)
        self._current = self._clients[0]
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
        """The agent that answered last; at first the first one given."""
        return self._current

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
        first = self._clients.index(self._current)
        failures: list[AgentError] = []
        for client in self._clients[first:] + self._clients[:first]:
            try:
                answer = await question(client)
            except AgentError as error:
                # Something else than obshell at one address says nothing about the others.
                if not (
                    error.transient
                    or isinstance(error, AgentProtocolError)
                    or (self.password_was_accepted and isinstance(error, NotAuthorizedError))
                ):
                    raise
                failures.append(error)
            else:
                self._current = client
                self.password_was_accepted = True
                return answer
        raise _summed_up(failures)

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
