"""Removals planned in simulated clusters, read by the real client as an operator's would be."""

from contextlib import AsyncExitStack

from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.connect.connections import Connections
from obscale.removal.judge import judge
from obscale.removal.read import survey
from obscale.request.models import AgentInfoSpec, ClusterSpec, SecretName
from obscale.request.removal import LeavingNode, Removal
from obscale.sandbox import in_process
from tests.contract.conftest import ROOT_PASSWORD

ENTRIES = tuple(f"127.0.1.{number}:2886" for number in (1, 2, 3))


def cluster_of(entries=ENTRIES, *, name="obcluster", number=1):
    """The default cluster as a request names it."""
    return ClusterSpec(endpoints=tuple(entries), password=SecretName(env="X"), name=name, id=number)


def leaver(address, zone="zone2", *, force=False):
    """One node that is to leave."""
    ip, _, port = address.rpartition(":")
    return LeavingNode(agentInfo=AgentInfoSpec(ip=ip, port=int(port)), zone=zone, force_kill=force)


def order_of(*addresses, zone="zone2", force=False, cluster=None):
    """Ask for the removal of the first of these nodes, the others later; of none: a zone."""
    nodes = tuple(leaver(address, zone, force=force) for address in addresses)
    return Removal(
        cluster=cluster or cluster_of(),
        zone=zone,
        node=nodes[0] if nodes else None,
        batch=nodes,
    )


async def facts_of(world, order, *, times=1, **options):
    """Read the facts of an order through agents of a world, in process; the last of several."""
    transport = in_process(world)
    root, spec = SecretStr(ROOT_PASSWORD), order.cluster

    def client(address, password=None):
        return AgentClient(address, root_password=password, transport=transport)

    where = order.node.address if order.node else "127.0.1.250:2886"
    async with AsyncExitStack() as stack:
        entries = [client(AgentAddress.parse(each), root) for each in spec.endpoints]
        cluster = await stack.enter_async_context(ClusterClient(entries))
        target = await stack.enter_async_context(client(AgentAddress.parse(where)))
        link = Connections(cluster, target, spec, None, root)
        for _ in range(times - 1):
            await survey(link, order, **options)
        return await survey(link, order, **options)


async def verdicts_of(world, order):
    """What a plan of it says in production and in the lab, and the ids that say something."""
    facts = await facts_of(world, order)
    found = [judge(facts, profile) for profile in ("prod", "lab")]
    return (*(each.verdict.upper() for each in found), found[0], found[1])
