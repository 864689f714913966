"""Checks a connection step by step and stores it in Prefect."""

from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from obscale.agent.address import AgentAddress
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import Identity, ObCluster
from obscale.cli.terminal import complain
from obscale.connect.connections import ClusterAccess, entries
from obscale.connect.endpoints import (
    ProvedEndpoint,
    SilentEndpoint,
    ask_endpoints,
    require_one_cluster,
)
from obscale.errors import SpecError

if TYPE_CHECKING:
    from obscale.tasks.runtime.cluster_block import KeyTrust, ObshellCluster


@dataclass(frozen=True)
class Proved:
    """A connection that holds: who answered, and what deserves a word."""

    name: str
    cluster: str
    agents: tuple[ProvedEndpoint, ...]
    """Entry agents first; with --pin the other members that answered too."""
    warnings: tuple[str, ...]
    """How it is less safe than it could be; said before anything was asked."""
    remarks: tuple[str, ...]
    """What was found on the way: members that kept silent, keys that changed."""
    stored: str
    """`stored`, `replaced`, `pinned anew` or `holds as stored`."""


async def store_proved(name: str, known: ClusterAccess, trust: "KeyTrust") -> Proved:
    """Prove a new connection, then store it; one of the same name is replaced.

    Raises:
        SpecError: The TLS files cannot be used, or the agents are not of one cluster.
        AgentError: An entry agent could not be asked.
    """
    from obscale.tasks.runtime.blocks import stored_cluster  # noqa: PLC0415 - after settings
    from obscale.tasks.runtime.cluster_block import ObshellCluster  # noqa: PLC0415 - after settings

    proved, told = await _prove(name, known, everyone=trust != "any")
    try:
        was_there = await stored_cluster(name) is not None
    except SpecError:
        was_there = True  # in a shape nobody can read any more: what replaces it is what is wanted
    spec = known.spec
    block = ObshellCluster(
        endpoints=list(spec.endpoints),
        root_password=known.root_password,
        agent_password=known.agent_password,
        name=told.name,
        cluster_id=told.id,
        verify_tls=spec.tls.verify,
        ca_file=spec.tls.ca_file,
        client_cert=spec.tls.client_cert,
        client_key=spec.tls.client_key,
        key_trust=trust,
        pinned_keys={} if trust == "any" else {row.agent: row.key for row in proved.agents},
    )
    await block.asave(name, overwrite=True)
    return replace(proved, stored="replaced" if was_there else "stored")


async def prove_stored(name: str, *, pin: bool) -> Proved:
    """Prove a stored connection; it stays as it is, unless its keys are to be pinned anew.

    Raises:
        SpecError: None is stored, it cannot be read, or its agents are not of one cluster.
        AgentError: An entry agent could not be asked.
    """
    from obscale.tasks.runtime.blocks import known_cluster, stored_cluster  # noqa: PLC0415 - after settings

    block = await stored_cluster(name)
    if block is None:
        raise SpecError(
            f"connect: no connection is stored under the name {name!r}",
            f"obscale connect {name} --endpoint IP:PORT",
        )
    known = known_cluster(name, block)
    if not pin:
        return (await _prove(name, known))[0]
    anyone = ClusterAccess(known.spec, known.root_password, known.agent_password)
    proved, _ = await _prove(name, anyone, everyone=True)
    return await _pinned_anew(block, proved)


async def _pinned_anew(block: "ObshellCluster", proved: Proved) -> Proved:
    """Make the keys served now the trusted ones, and name each that changed."""
    changes = tuple(
        f"{row.agent}: {block.pinned_keys[row.agent]} gives way to {row.key}"
        for row in proved.agents
        if block.pinned_keys.get(row.agent, row.key) != row.key
    )
    block.key_trust = "pinned"
    block.pinned_keys = {row.agent: row.key for row in proved.agents}
    await block.asave(proved.name, overwrite=True)
    return replace(proved, remarks=(*proved.remarks, *changes), stored="pinned anew")


async def _prove(
    name: str, known: ClusterAccess, *, everyone: bool = False
) -> tuple[Proved, ObCluster]:
    """Check the entry agents, with `everyone` of the other members too.

    Raises:
        SpecError: The TLS files cannot be used, or the agents are not of one cluster.
        AgentError: An entry agent could not be asked.
    """
    warnings = warnings_of(known)
    for warning in warnings:
        complain(f"warning: {warning}")
    async with ClusterClient(entries(known)) as cluster:
        rows = await ask_endpoints(cluster.clients)
        ob_info = require_one_cluster(rows, name=known.spec.name, cluster_id=known.spec.id)
        others: tuple[ProvedEndpoint | SilentEndpoint, ...] = ()
        if everyone:
            asked = set(cluster.clients)
            scheme = cluster.current.address.scheme
            for row in ob_info.agent_info:
                if row.identity is Identity.CLUSTER_AGENT:
                    cluster.add(AgentAddress(row.ip, row.port, scheme))
            others = await ask_endpoints([c for c in cluster.clients if c not in asked])
    agents = tuple(row for row in (*rows, *others) if isinstance(row, ProvedEndpoint))
    silent = tuple(
        f"{row.agent} is a member but its key could not be read: {row.error}"
        for row in others
        if isinstance(row, SilentEndpoint)
    )
    proved = Proved(name, agents[0].cluster, agents, warnings, silent, "holds as stored")
    return proved, ob_info.obcluster_info


def warnings_of(known: ClusterAccess, *, shown: str = "shown here") -> tuple[str, ...]:
    """Say in which ways a connection is less safe than it could be.

    Args:
        known: The connection.
        shown: Where the agents' keys can be seen, in words.
    """
    spec = known.spec
    addresses = [AgentAddress.parse(endpoint) for endpoint in spec.endpoints]
    plain = [str(a) for a in addresses if a.scheme == "http" and not ip_address(a.ip).is_loopback]
    warnings = []
    pinned = known.keys.pinned if known.keys else {}
    unproved = [
        str(address)
        for address in addresses
        if str(address) not in pinned and not (address.scheme == "https" and spec.tls.verify)
    ]
    if unproved:
        warnings.append(
            f"whoever answers at {', '.join(unproved)} gets the password of root@sys, also where "
            f"that is a mistyped address; compare the keys {shown} with the agents' own and "
            "--pin them, or use https with a CA"
        )
    if plain:
        warnings.append(
            f"plain http to {', '.join(plain)}: whoever stands between can pose as the agent and "
            "read the passwords; give the agents certificates, or at least --pin their keys"
        )
    if not spec.tls.verify:
        warnings.append(
            "certificates are not verified: whoever stands between can read the passwords; "
            "give --ca-file instead"
        )
    return tuple(warnings)
