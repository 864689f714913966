"""Finds the scale-out that somebody means, and the node it is about. Reads only."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from obscale.agent.address import AgentAddress
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import Dag
from obscale.clock import monotonic
from obscale.errors import SpecError
from obscale.recovery.selection import Decision, LookAgain, Meant, scale_outs, standing, unnamed
from obscale.request.models import AgentInfoSpec, NodeSpec
from obscale.scale_in_dag import REMOVALS
from obscale.scale_out_dag import SCALE_OUT
from obscale.verify.observation import Observation

NAMING_SECONDS: Final = 30.0
"""How long a scale-out may take to name its target; it does so in its second stage, 5 s or less."""
LOOK_AGAIN_SECONDS: Final = 1.0


async def find(
    choose: Callable[[], Awaitable[Decision]],
    say: Callable[[str], None],
    again: str,
    *,
    by_id: bool,
) -> Meant:
    """Look until it is clear which scale-out is meant, for as long as one may name its target.

    Args:
        choose: Looks once, and decides.
        say: Gets a line where one is waited for.
        again: What names one by its id, with `{dag}` where that belongs; for a refusal.
        by_id: Whether it was named by its id.

    Raises:
        SpecError: None may be taken.
        AgentError: No agent of the cluster could be asked.
    """
    give_up = monotonic() + NAMING_SECONDS
    waits = False
    while True:
        choice = await choose()
        if isinstance(choice, LookAgain):
            if monotonic() < give_up:
                if not waits:
                    say(f"DAG {choice.dag.id} has just begun and does not name its target yet")
                    waits = True
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
                continue
            choice = Meant(choice.dag, "") if by_id else unnamed(choice.dag)
        if isinstance(choice, Meant):
            return choice
        step = again.replace("{dag}", choice.dag.id) if choice.dag else ""
        hint = f"if that one is meant, name it: {step}" if step else "name the DAG by its id"
        raise SpecError(choice.why, hint)


async def read_named(client: ClusterClient, dag_id: str) -> Dag:
    """Read the scale-out of an id, with details.

    Raises:
        SpecError: It is another kind of DAG.
        AgentError: No agent of the cluster told.
    """
    dag = await client.ask(lambda agent: agent.read_dag(dag_id))
    if dag.name != SCALE_OUT:
        hint = "name a scale-out"
        if dag.name in REMOVALS:
            hint = "obscale remove with what leaves takes it up, and follows it"
        raise SpecError(f"DAG {dag_id} is {dag.name!r}, no scale-out", hint)
    return dag


async def read_in_sight(client: ClusterClient) -> tuple[Dag, ...]:
    """Read the scale-outs that are unfinished, and the newest DAG where it is one; newest first.

    Raises:
        AgentError: No agent of the cluster told.
    """
    unfinished = await client.ask(lambda agent: agent.read_unfinished_cluster_dags())
    last = await client.ask(lambda agent: agent.read_last_cluster_dag())
    return scale_outs((*unfinished, last))


def nameless(dag: Dag, named: str) -> SpecError:
    """Say of a scale-out that tells no target that nothing is known of the node it is about.

    Args:
        dag: It.
        named: How a command names its cluster.
    """
    return SpecError(
        f"DAG {dag.id} stands {standing(dag)} and does not name its target: nobody can tell "
        "which node it is about",
        "look again in some seconds; one that FAILED at its first stage has called no node and "
        f"can be rolled back: obscale recover {named} {dag.id} --roll-back",
    )


def node_of(target: str, zone: str = "", **configs: str) -> NodeSpec:
    """Give a node of which only this is known.

    Args:
        target: `ip:port` of its agent.
        zone: Empty: not known.
        configs: Start options.
    """
    address = AgentAddress.parse(target)
    info = AgentInfoSpec(ip=address.ip, port=address.port)
    return NodeSpec(agentInfo=info, zone=zone, obConfigs=configs)


def node_found(target: str, after: Observation) -> NodeSpec:
    """Give a node with the zone and the ports the cluster shows of it.

    Args:
        target: `ip:port` of its agent.
        after: Of the cluster.
    """
    address = AgentAddress.parse(target)
    for zone in after.zones or ():
        for server in zone.servers:
            if (server.ip, server.obshell_port) == (address.ip, address.port):
                ports = {"mysql_port": str(server.sql_port), "rpc_port": str(server.svr_port)}
                return node_of(target, zone.name, **ports)
    return node_of(target, after.target_info.zone if after.target_info else "")
