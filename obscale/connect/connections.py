"""The open connections of a request: names resolved, secrets read, clients made.

Secrets come from a `SecretStore`: environment variables here, Prefect blocks where Prefect is at
hand (tasks/runtime/blocks.py). They live inside the clients and `Connections`, nowhere else.

The target gets the password of root@sys only while the cluster itself lists it as a member:
`Connections` reads the list and gives the password, or takes it back. Nobody else does.
"""

import os
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient, Timeouts, Tls
from obscale.agent.cluster import ClusterClient
from obscale.agent.keys import KnownKeys
from obscale.agent.models import ObInfo
from obscale.agent.passwords import NamedSecret
from obscale.agent.session import Learned
from obscale.clock import monotonic
from obscale.connect.membership import is_cluster, is_untold, shows_member
from obscale.errors import AgentError, DatabaseDownError, SpecError
from obscale.request.models import ClusterSpec, SecretName
from obscale.request.scale_out import ScaleOut


@dataclass(frozen=True)
class ClusterAccess:
    """A cluster with what is needed to ask it: where it is, its passwords, its agents' keys."""

    spec: ClusterSpec
    root_password: SecretStr
    agent_password: SecretStr | None = None
    """Of the cluster's own agents, where they have one."""
    keys: KnownKeys | None = None
    """None trusts any key an agent serves."""

    def is_like(self, other: "ClusterAccess") -> bool:
        """Whether it is asked and trusted in the same way; what keys were learned is no matter."""
        return replace(self, keys=None) == replace(other, keys=None) and (
            _trust(self.keys) == _trust(other.keys)
        )


def _trust(keys: KnownKeys | None) -> object:
    return keys and (keys.pinned, keys.unlisted)


class SecretStore(Protocol):
    """Where named secrets and stored connections come from."""

    async def read_block(self, name: str, field: str) -> SecretStr:
        """Give the secret stored under a name; `field` is for the error.

        Raises:
            SpecError: Nothing is stored under this name.
        """
        ...

    async def read_cluster(self, name: str) -> ClusterAccess:
        """Give the stored connection of this name.

        Raises:
            SpecError: Nothing is stored under this name.
        """
        ...

    async def keep_keys(
        self, name: str, learned: Mapping[str, str], joined: Collection[str] = ()
    ) -> None:
        """Keep the keys that agents of the stored connection `name` showed for the first time.

        Args:
            name: Of the connection.
            learned: `ip:port` to fingerprint.
            joined: Those among them that the cluster has listed as members.
        """
        ...


class EnvironmentSecrets:
    """A store that knows environment variables only."""

    async def read_block(self, name: str, field: str) -> SecretStr:
        """Refuse: no store is at hand."""
        raise SpecError(f"{field}: no stored secret is named {name!r}", "write {env: NAME} instead")

    async def read_cluster(self, name: str) -> ClusterAccess:
        """Refuse: no store is at hand."""
        raise SpecError(
            f"cluster: no stored connection is named {name!r}", "write the cluster out in the spec"
        )

    async def keep_keys(
        self, name: str, learned: Mapping[str, str], joined: Collection[str] = ()
    ) -> None:
        """Keep nothing: no store is at hand, so no connection comes from it."""


@dataclass
class MembersTold:
    """The list of a cluster's members that came last.

    Args:
        told_by: The agent that told it; None: none came yet.
        members: The list.
        at: When it came, monotonic seconds.
    """

    told_by: AgentClient | None = None
    members: ObInfo = field(default_factory=ObInfo)
    at: float = 0.0


@dataclass(frozen=True)
class Connections:
    """Open connections of one order: the cluster's entry agents and the target agent.

    Args:
        cluster: Knows the entry agents, and members that an entry agent has listed.
        target: Made without the root password.
        spec: Who the cluster must be, and the entry agents as the person wrote them down.
        target_password: The target's own.
        root_password: What the target gets once the cluster lists it; None: nothing.
        keys: What the members' keys are held against; None trusts any.
        last_told: The list of members that came last over this link.
    """

    cluster: ClusterClient
    target: AgentClient
    spec: ClusterSpec
    target_password: SecretStr | None
    root_password: SecretStr | None = None
    keys: KnownKeys | None = None
    last_told: MembersTold = field(default_factory=MembersTold, compare=False, repr=False)

    async def read_members(self) -> ObInfo:
        """Read the cluster's list of its members, and let the target have what that entitles it to.

        Raises:
            AgentError: No agent of the cluster told.
        """
        return (await self.read_told_members())[1]

    async def read_told_members(self) -> tuple[AgentClient, ObInfo]:
        """As `read_members`, with the agent that told.

        One whose database is away may not say of which cluster it is; then the others are asked.
        """
        untold: list[tuple[AgentClient, ObInfo]] = []

        async def tell(agent: AgentClient) -> tuple[AgentClient, ObInfo]:
            members = await agent.read_ob_info()
            if is_untold(members.obcluster_info, self.spec.name, self.spec.id):
                untold.append((agent, members))
                raise DatabaseDownError(
                    "it does not say of which cluster it is", str(agent.address), "read ob/info"
                )
            return agent, members

        try:
            told = await self.cluster.ask(tell)
        except AgentError:
            if not untold:
                raise
            told = untold[0]
        last = self.last_told
        last.told_by, last.members, last.at = *told, monotonic()
        self.admit(*told)
        return told

    def told_members(self, within_seconds: float) -> tuple[AgentClient, ObInfo] | None:
        """Give the list that came last over this link, as `read_told_members`; None: too old."""
        last = self.last_told
        if last.told_by is None or monotonic() - last.at > within_seconds:
            return None
        return last.told_by, last.members

    def admit(self, told_by: AgentClient, members: ObInfo) -> None:
        """Give the target the root password where the cluster lists it; else take it back.

        Args:
            told_by: An agent of `cluster`; the target itself proves nothing, except where the
                person wrote its address down as an entry agent's too.
            members: Its list.
        """
        if self.root_password is None:
            return
        told, has_it = members.obcluster_info, self.target.has_root_password
        is_ours = is_cluster(told, self.spec.name, self.spec.id) or (
            # It was proved before, and nobody says otherwise.
            has_it and is_untold(told, self.spec.name, self.spec.id)
        )
        address = str(self.target.address)
        proved = (
            is_ours
            and told_by in self.cluster.clients
            and (str(told_by.address) != address or address in self._written())
            and shows_member(members, address)
        )
        if proved and not has_it:
            if self.keys:
                self.keys.admit(address)
            self.target.give_root_password(self.root_password, self.keys)
        elif has_it and not proved:
            self.target.take_root_password(self.keys.for_newcomer() if self.keys else None)

    def is_vouched_for(self, told_by: AgentClient, members: ObInfo) -> bool:
        """Whether a list is the asked cluster's, told by an agent that the person wrote down.

        Only then its members may be asked with the cluster's credentials.
        """
        return str(told_by.address) in self._written() and is_cluster(
            members.obcluster_info, self.spec.name, self.spec.id
        )

    def _written(self) -> frozenset[str]:
        return frozenset(str(AgentAddress.parse(endpoint)) for endpoint in self.spec.endpoints)


@dataclass(frozen=True)
class ClusterConnection:
    """Open connections of a cluster alone, and what they were opened with."""

    client: ClusterClient
    known: ClusterAccess
    newcomers: dict[str, Learned] = field(default_factory=dict, compare=False, repr=False)
    """What was learned of agents that are to join, by `ip:port`."""


async def resolve_secret(
    name: SecretName | None, secret_store: SecretStore, field: str
) -> SecretStr | None:
    """Fetch a named secret; no name gives None.

    Raises:
        SpecError: The name resolves to nothing.
    """
    if name is None:
        return None
    if name.block is not None:
        return await secret_store.read_block(name.block, field)
    value = os.environ.get(name.env or "")
    if value is None:
        raise SpecError(
            f"{field}: environment variable {name.env} is not set", f"export {name.env}=…"
        )
    return NamedSecret(value, f"env {name.env}")


async def known_cluster(cluster: str | ClusterSpec, secret_store: SecretStore) -> ClusterAccess:
    """Resolve a cluster, stored or written out.

    Raises:
        SpecError: The name, or the password's name, resolves to nothing.
    """
    if isinstance(cluster, str):
        return await secret_store.read_cluster(cluster)
    password = await resolve_secret(cluster.password, secret_store, "cluster.password")
    return ClusterAccess(cluster, password or SecretStr(""))


@asynccontextmanager
async def cluster_connected(
    cluster: str | ClusterSpec, secret_store: SecretStore, known: ClusterAccess | None = None
) -> AsyncIterator[ClusterConnection]:
    """Open the connections to a cluster alone. Sends nothing by itself.

    Args:
        cluster: As it was asked for.
        secret_store: Where its names resolve.
        known: What they resolve to, where that was looked up already.

    Raises:
        SpecError: A name resolves to nothing.
    """
    known = known or await known_cluster(cluster, secret_store)
    async with ClusterClient(entries(known)) as client, _keeping(cluster, known, secret_store):
        yield ClusterConnection(client, known)


@asynccontextmanager
async def target_connected(
    order: ScaleOut, cluster: ClusterConnection, secret_store: SecretStore
) -> AsyncIterator[Connections]:
    """Open the connection to an order's target, beside those of its cluster.

    Raises:
        SpecError: The name of the target's password resolves to nothing.
    """
    known = cluster.known
    password = await resolve_secret(
        order.node.targetAgentPassword, secret_store, "targetAgentPassword"
    )
    where = order.node.agentInfo
    # Agents call each other with their own scheme, so the target must speak the cluster's.
    scheme = cluster.client.clients[0].address.scheme
    learned = cluster.newcomers.pop(order.target, None)
    # Without the root password: only the cluster can say who the target is; `Connections.admit`.
    async with AgentClient(
        AgentAddress(where.ip, where.port, scheme),
        agent_password=password,
        tls=_tls(known),
        keys=known.keys.for_newcomer() if known.keys else None,
        timeouts=Timeouts(),
        learned=learned,
    ) as target:
        yield Connections(
            cluster.client, target, known.spec, password, known.root_password, known.keys
        )
        if learned := target.learned():
            cluster.newcomers[order.target] = learned


@asynccontextmanager
async def connected(order: ScaleOut, secret_store: SecretStore) -> AsyncIterator[Connections]:
    """Open the connections of an order and close them at the end. Sends nothing by itself.

    Raises:
        SpecError: A name resolves to nothing.
    """
    async with (
        cluster_connected(order.cluster, secret_store) as cluster,
        target_connected(order, cluster, secret_store) as link,
    ):
        cluster.client.leave_out(order.not_asked)
        yield link


@asynccontextmanager
async def _keeping(
    cluster: str | ClusterSpec, known: ClusterAccess, secret_store: SecretStore
) -> AsyncIterator[None]:
    """Keep what was learned of keys inside this block, however it ends."""
    try:
        yield
    finally:
        if isinstance(cluster, str) and known.keys and known.keys.learned:
            await secret_store.keep_keys(cluster, known.keys.learned, known.keys.joined)


def entries(known: ClusterAccess) -> list[AgentClient]:
    """Make one client for each entry agent; whoever enters them closes them."""
    return [
        AgentClient(
            AgentAddress.parse(endpoint),
            root_password=known.root_password,
            agent_password=known.agent_password,
            tls=_tls(known),
            keys=known.keys,
            timeouts=Timeouts(),
        )
        for endpoint in known.spec.endpoints
    ]


def _tls(known: ClusterAccess) -> Tls:
    tls = known.spec.tls
    return Tls(
        verify=tls.verify,
        ca_file=tls.ca_file,
        client_cert=tls.client_cert,
        client_key=tls.client_key,
    )
