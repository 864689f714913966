"""Asks the cluster of a file of OBD's what a request is made of; it only reads.

The password of root@sys goes to one server of the cluster's own file that says it is a member, as
if a person had written it down as an entry agent, and to the next in the file's order only where
that one cannot be asked. New servers stand last there. One of the additional file never gets it.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Final

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import AgentInfo, ClusterInfo, Identity, Parameter
from obscale.connect.connections import SecretStore, cluster_connected
from obscale.errors import (
    AgentError,
    AgentProtocolError,
    AgentUnreachableError,
    DatabaseDownError,
    NotAuthorizedError,
    PreflightError,
    SpecError,
)
from obscale.plan.from_obd import ClusterTold, Sorted, sort_servers, unsized
from obscale.preflight.read import zones_listed
from obscale.reading import Unread
from obscale.request.models import ClusterSpec, SecretName
from obscale.spec.obd import ObdFile

KNOCK_SECONDS: Final = 9.0
"""For an agent to say who it is: three times the three seconds an open port needs."""
AT_ONCE: Final = 16
SCHEMES: Final = ("https", "http")
STORE_IT: Final = (
    "store its connection (obscale connect, with its CA file), and name it by --cluster"
)
STEP: Final = "read the servers of OBD's file"


@dataclass(frozen=True)
class Survey:
    """What was asked.

    Args:
        told: By the cluster.
        found: The file's servers, sorted.
        homes: Home of each new server's agent, by `ip:port`, where it answered.
    """

    told: ClusterTold
    found: Sorted
    homes: dict[str, str]


async def read_cluster_of(
    file: ObdFile, cluster: str | SecretName | None, secret_store: SecretStore
) -> Survey:
    """Ask the cluster which of the file's servers it has.

    Args:
        file: As read.
        cluster: A stored connection; or where the password of root@sys is kept, None for an empty
            one: then the file's servers are asked, by https and else by http.
        secret_store: Where names resolve.

    Raises:
        SpecError: A name resolves to nothing.
        PreflightError: No server is a member, none is new, or file and cluster differ.
        AgentError: Nobody could be asked.
    """
    if isinstance(cluster, str):
        return await _survey(file, cluster, secret_store)
    failed: AgentError | None = None
    for address in await _find_members(file):
        entry = ClusterSpec(endpoints=(f"{address.scheme}://{address}",), password=cluster)
        try:
            return await _survey(file, entry, secret_store)
        except NotAuthorizedError:
            raise
        except AgentError as error:
            failed = failed or error
    raise failed or AgentUnreachableError("no agent to ask", step=STEP)


async def _survey(file: ObdFile, cluster: str | ClusterSpec, secret_store: SecretStore) -> Survey:
    async with cluster_connected(cluster, secret_store) as link:
        told = await _told(link.client)
        found = sort_servers(file, told)
        if any(unsized(server) for server in found.new):
            told = replace(told, parameters=await _parameters(link.client))
        addresses = [
            AgentAddress(server.ip, server.ports["obshell_port"], told.scheme)
            for server in found.new
        ]
        entry = link.client.current
        homes = await _homes([entry.without_passwords(address) for address in addresses])
    return Survey(told, found, homes)


async def _find_members(file: ObdFile) -> list[AgentAddress]:
    """Give those servers of the cluster's own file that say they are members of a cluster.

    Raises:
        PreflightError: Some answer, and none says so.
        AgentError: None answers.
    """
    gate = asyncio.Semaphore(AT_ONCE)

    async def knock(ip: str, port: int) -> tuple[AgentAddress, AgentInfo] | AgentError:
        async with gate:
            return await _knock(ip, port)

    servers = [server for server in file.servers if not server.is_added]
    answers = await asyncio.gather(
        *(knock(server.ip, server.ports["obshell_port"]) for server in servers)
    )
    heard = [answer for answer in answers if not isinstance(answer, AgentError)]
    members = [where for where, info in heard if info.identity is Identity.CLUSTER_AGENT]
    if members:
        # Agents of one cluster speak one scheme; another one's is of another cluster.
        return [where for where in members if where.scheme == members[0].scheme]
    silent = [answer for answer in answers if isinstance(answer, AgentError)]
    if not heard:
        raise silent[0]
    told = ", ".join(f"{where} is {info.identity.value}" for where, info in heard)
    more = f"; {len(silent)} did not answer" if silent else ""
    raise PreflightError(
        f"{file.name}: no server of it is a member of a cluster: {told}{more}: its cluster is not "
        "founded, or the file is another's",
        "name the file of the cluster that grows; the additional one goes after --extra",
    )


async def _knock(ip: str, port: int) -> tuple[AgentAddress, AgentInfo] | AgentError:
    """Ask an agent who it is, by https, else by http; without any password."""
    failed: list[AgentError] = []
    for scheme in SCHEMES:
        address = AgentAddress(ip, port, scheme)
        async with AgentClient(address) as client:
            try:
                return address, await _introduced(client)
            except AgentError as error:
                failed.append(error)
    first, last = failed
    if isinstance(first, AgentProtocolError) and first.hint:
        # It speaks TLS, and we do not trust it, or it not us.
        return AgentProtocolError(first.message, first.agent, first.step, STORE_IT)
    return last


async def _introduced(client: AgentClient) -> AgentInfo:
    try:
        async with asyncio.timeout(KNOCK_SECONDS):
            return await client.read_info()
    except TimeoutError:
        said = f"no answer within {KNOCK_SECONDS:g} s"
        raise AgentUnreachableError(said, str(client.address), STEP) from None


async def _told(client: ClusterClient) -> ClusterTold:
    """Read what the cluster says about itself.

    Raises:
        AgentError: Nobody could be asked.
        DatabaseDownError: Its database does not answer, so nobody knows its members.
    """
    ob_info = await client.ask(AgentClient.read_ob_info)
    scheme, entry = client.current.address.scheme, str(client.current.address)
    try:
        details = await client.ask(AgentClient.read_cluster_info)
    except AgentError:
        details = ClusterInfo()
    zones = details.zones or zones_listed(ob_info)
    name = details.cluster_name or ob_info.obcluster_info.name
    if isinstance(zones, Unread) or not zones or not name:
        raise DatabaseDownError(
            "it does not say who the cluster's members are",
            entry,
            STEP,
            "see whether its database runs",
        )
    servers = [server for zone in zones for server in zone.servers]
    version = details.ob_version or next((each.version for each in servers), "")
    return ClusterTold(
        name=name,
        number=details.cluster_id or ob_info.obcluster_info.id,
        version=version,
        scheme=scheme,
        zones=tuple(zones),
        agents=ob_info.agent_info,
    )


async def _parameters(client: ClusterClient) -> tuple[Parameter, ...]:
    """Read what peers are set to, which is only offered; nothing where they do not tell."""
    try:
        return await client.ask(AgentClient.read_parameters)
    except AgentError:
        return ()


async def _homes(clients: list[AgentClient]) -> dict[str, str]:
    """Ask new servers' agents for their home; who does not answer is judged by preflight."""

    async def ask(client: AgentClient) -> tuple[str, str]:
        async with client:
            try:
                return str(client.address), (await _introduced(client)).home_path
            except (AgentError, SpecError):
                return str(client.address), ""

    return dict(await asyncio.gather(*map(ask, clients)))
