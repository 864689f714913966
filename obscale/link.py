"""How does an order become open connections: names resolved, secrets fetched, clients made?

Secrets come from a `Vault`: environment variables here, Prefect blocks where Prefect is at hand
(tasks/connection.py). They live inside the clients and nowhere else.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient, Timeouts, Tls
from obscale.agent.cluster import ClusterClient
from obscale.agent.keys import KnownKeys
from obscale.agent.passwords import NamedSecret
from obscale.errors import SpecError
from obscale.order import Order
from obscale.rules.asked import ClusterSpec, SecretName


@dataclass(frozen=True)
class KnownCluster:
    """A cluster with what is needed to ask it: where it is, its passwords, its agents' keys."""

    spec: ClusterSpec
    root_password: SecretStr
    agent_password: SecretStr | None = None
    """Of the cluster's own agents, where they have one."""
    keys: KnownKeys | None = None
    """None trusts any key an agent serves."""

    def is_like(self, other: "KnownCluster") -> bool:
        """Whether it is asked and trusted in the same way; what keys were learned is no matter."""
        return replace(self, keys=None) == replace(other, keys=None) and (
            _trust(self.keys) == _trust(other.keys)
        )


def _trust(keys: KnownKeys | None) -> object:
    return keys and (keys.pinned, keys.unlisted)


class Vault(Protocol):
    """Where named secrets and stored connections come from."""

    async def read_block(self, name: str, field: str) -> SecretStr:
        """Give the secret stored under a name; `field` is for the error.

        Raises:
            SpecError: Nothing is stored under this name.
        """
        ...

    async def read_cluster(self, name: str) -> KnownCluster:
        """Give the stored connection of this name.

        Raises:
            SpecError: Nothing is stored under this name.
        """
        ...

    async def keep_keys(self, name: str, learned: Mapping[str, str]) -> None:
        """Keep the keys that agents of the stored connection `name` showed for the first time."""
        ...


class EnvironmentVault:
    """A vault without a store: only environment variables resolve."""

    async def read_block(self, name: str, field: str) -> SecretStr:
        """Refuse: no store is at hand."""
        raise SpecError(f"{field}: no stored secret is named {name!r}", "write {env: NAME} instead")

    async def read_cluster(self, name: str) -> KnownCluster:
        """Refuse: no store is at hand."""
        raise SpecError(
            f"cluster: no stored connection is named {name!r}", "write the cluster out in the spec"
        )

    async def keep_keys(self, name: str, learned: Mapping[str, str]) -> None:
        """Keep nothing: no store is at hand, so no connection comes from it."""


@dataclass(frozen=True)
class Link:
    """Open connections of one order: the cluster's entry agents and the target agent."""

    cluster: ClusterClient
    target: AgentClient
    spec: ClusterSpec
    target_password: SecretStr | None


@dataclass(frozen=True)
class OpenCluster:
    """Open connections of a cluster alone, and what they were opened with."""

    client: ClusterClient
    known: KnownCluster


async def resolve_secret(name: SecretName | None, vault: Vault, field: str) -> SecretStr | None:
    """Fetch a named secret; no name gives None.

    Raises:
        SpecError: The name resolves to nothing.
    """
    if name is None:
        return None
    if name.block is not None:
        return await vault.read_block(name.block, field)
    value = os.environ.get(name.env or "")
    if value is None:
        raise SpecError(
            f"{field}: environment variable {name.env} is not set", f"export {name.env}=…"
        )
    return NamedSecret(value, f"env {name.env}")


async def known_cluster(cluster: str | ClusterSpec, vault: Vault) -> KnownCluster:
    """Resolve a cluster, stored or written out.

    Raises:
        SpecError: The name, or the password's name, resolves to nothing.
    """
    if isinstance(cluster, str):
        return await vault.read_cluster(cluster)
    password = await resolve_secret(cluster.password, vault, "cluster.password")
    return KnownCluster(cluster, password or SecretStr(""))


@asynccontextmanager
async def cluster_connected(
    cluster: str | ClusterSpec, vault: Vault, known: KnownCluster | None = None
) -> AsyncIterator[OpenCluster]:
    """Open the connections to a cluster alone. Sends nothing by itself.

    Args:
        cluster: As it was asked for.
        vault: Where its names resolve.
        known: What they resolve to, where that was looked up already.

    Raises:
        SpecError: A name resolves to nothing.
    """
    known = known or await known_cluster(cluster, vault)
    async with ClusterClient(entries(known)) as client, _keeping(cluster, known, vault):
        yield OpenCluster(client, known)


@asynccontextmanager
async def target_connected(order: Order, cluster: OpenCluster, vault: Vault) -> AsyncIterator[Link]:
    """Open the connection to an order's target, beside those of its cluster.

    Raises:
        SpecError: The name of the target's password resolves to nothing.
    """
    known = cluster.known
    password = await resolve_secret(order.node.targetAgentPassword, vault, "targetAgentPassword")
    where = order.node.agentInfo
    # Agents call each other with their own scheme, so the target must speak the cluster's.
    scheme = cluster.client.clients[0].address.scheme
    async with AgentClient(
        AgentAddress(where.ip, where.port, scheme),
        root_password=known.root_password,
        agent_password=password,
        tls=_tls(known),
        keys=known.keys.for_newcomer() if known.keys else None,
        timeouts=Timeouts(),
    ) as target:
        yield Link(cluster.client, target, known.spec, password)


@asynccontextmanager
async def connected(order: Order, vault: Vault) -> AsyncIterator[Link]:
    """Open the connections of an order and close them at the end. Sends nothing by itself.

    Raises:
        SpecError: A name resolves to nothing.
    """
    async with (
        cluster_connected(order.cluster, vault) as cluster,
        target_connected(order, cluster, vault) as link,
    ):
        yield link


@asynccontextmanager
async def _keeping(
    cluster: str | ClusterSpec, known: KnownCluster, vault: Vault
) -> AsyncIterator[None]:
    """Keep what was learned of keys inside this block, however it ends."""
    try:
        yield
    finally:
        if isinstance(cluster, str) and known.keys and known.keys.learned:
            await vault.keep_keys(cluster, known.keys.learned)


def entries(known: KnownCluster) -> list[AgentClient]:
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


def _tls(known: KnownCluster) -> Tls:
    tls = known.spec.tls
    return Tls(
        verify=tls.verify,
        ca_file=tls.ca_file,
        client_cert=tls.client_cert,
        client_key=tls.client_key,
    )
