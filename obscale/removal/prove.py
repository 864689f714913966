"""Looks until a removal is proved, one proof fails for good, or time is up.

All is read through entry agents that stay; the leaving host only adds.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Final

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.models import Dag, ObInfo, joined_address
from obscale.agent.resources import ResourcePool
from obscale.clock import monotonic
from obscale.connect.connections import Connections
from obscale.errors import AgentError
from obscale.events import LevelReached, Publish, WaitsForProofs
from obscale.follow.reminders import Seldom
from obscale.preflight.facts import PortState
from obscale.preflight.port_probe import probe_port
from obscale.reading import Unread, fact, or_none, side_by_side
from obscale.removal.look import observers_of
from obscale.removal.proofs import Evidence, Host, Judging, View, judge_removal
from obscale.removal.result import BeforeRemoval
from obscale.request.removal import Removal
from obscale.verify.levels import VerifiedLevels, still_waiting, waits_for
from obscale.verify.observation import Level, ProofAnswer
from obscale.verify.read import read_zones

LOOK_SECONDS: Final = 2.0
DIAL_SECONDS: Final = 2.0
"""For a port of an observer that should run no more; a firewall answers nothing at all."""
HELD_SECONDS: Final = 60.0
"""For so long a running observer, or an agent not yet told, is waited for; obshell looks for 75 s
in all whether its observer is dead, and is done with it within 20 s."""


@dataclass(frozen=True)
class RemovalProved:
    """How far a removal is proved, and what was seen last."""

    levels: VerifiedLevels
    view: View


async def prove_removed(
    link: Connections,
    order: Removal,
    dag: Dag | None,
    before: BeforeRemoval | None,
    *,
    publish: Publish,
    also: Judging | None = None,
) -> RemovalProved:
    """Look until all is proved, nothing can change by waiting, or the deadline passes.

    Args:
        link: Open connections.
        order: What was asked for.
        dag: As it ended, with details; None: nothing was asked for.
        before: How the cluster stood; None: nobody has kept it.
        publish: Gets an event whenever the level changes, and what is waited for.
        also: Judges further proofs; of a replacement there are some.
    """
    started, seldom = monotonic(), Seldom()
    seen: Level | None = None
    async with AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(each) for each in _leaving(link, order, before)]
        hosts: Mapping[str, Host] = {}
        since: dict[str, tuple[int, float]] = {}
        silent: dict[str, float] = {}
        while True:
            at = monotonic() - started
            hosts = await _hosts(agents, ports_of(order, before), since, at)
            hosts = _awaited(hosts, silent, at, order.time_limits.steady_seconds)
            view = replace(await read_view(link), hosts=tuple(hosts.values()))
            is_late = at > order.time_limits.verify_seconds
            levels = judge_removal(Evidence(order, dag, before, view, is_late=is_late), also)
            if at > HELD_SECONDS and levels.level is Level.LEFT:
                # The cluster is done; a host that has not let go by now never will by itself.
                levels = judge_removal(Evidence(order, dag, before, view, is_late=True), also)
            if levels.level is not seen:
                publish(LevelReached(levels=levels, zones=view.zones or ()))
                seen = levels.level
            if is_late or not still_waiting(levels) or _is_lost(levels):
                return RemovalProved(levels, view)
            mark, words = waits_for(levels)
            if (waited := seldom.waited(mark, at)) is not None:
                publish(WaitsForProofs(what=words, seconds=waited))
            await asyncio.sleep(min(LOOK_SECONDS, order.time_limits.poll_seconds))


def _is_lost(levels: VerifiedLevels) -> bool:
    return any(line.answer is ProofAnswer.FAIL for line in levels.lines)


def _leaving(link: Connections, order: Removal, before: BeforeRemoval | None) -> list[AgentClient]:
    """Make a client for each agent that leaves; none of them gets a password."""
    entry = link.cluster.clients[0]
    where = [(order.node.agentInfo.ip, order.node.agentInfo.port)] if order.node else []
    if order.node is None and before is not None:
        where = [(each.ip, each.obshell_port) for each in before.servers if each.obshell_port]
    return [
        entry.without_passwords(AgentAddress(ip, port, entry.address.scheme)) for ip, port in where
    ]


def ports_of(order: Removal, before: BeforeRemoval | None) -> dict[str, tuple[int, ...]]:
    """Give of each leaving agent, by `ip:port`, the SQL and the RPC port its observer had."""
    node = order.node
    return {
        joined_address(row.ip, row.obshell_port or (node.agentInfo.port if node else 0)): tuple(
            port for port in (row.sql_port, row.svr_port) if port
        )
        for row in (before.servers if before else ())
    }


async def serving_ports(ip: str, ports: Sequence[int]) -> tuple[str, ...]:
    """Give those of a host's ports that take a connection, as `ip:port`; nothing is sent."""
    states = await asyncio.gather(*(probe_port(ip, port, DIAL_SECONDS) for port in ports))
    return tuple(
        joined_address(ip, port)
        for port, state in zip(ports, states, strict=True)
        if state is PortState.TAKEN
    )


async def _hosts(
    agents: Sequence[AgentClient],
    ports: Mapping[str, Sequence[int]],
    since: dict[str, tuple[int, float]],
    at: float,
) -> dict[str, Host]:
    """Ask each leaving agent, and count for how long it has shown no observer process."""
    async with side_by_side() as reads:
        infos = [reads.create_task(or_none(each.read_info)) for each in agents]
        states = [reads.create_task(or_none(each.read_status)) for each in agents]
        dials = [
            reads.create_task(serving_ports(each.address.ip, ports.get(str(each.address), ())))
            for each in agents
        ]
    hosts = {}
    for agent, info, state, dial in zip(agents, infos, states, dials, strict=True):
        address, status = str(agent.address), state.result()
        if status is not None and status.ob_state == 0:
            looks, began = since.get(address, (0, at))
            since[address] = (looks + 1, began)
        else:
            since.pop(address, None)
        looks, began = since.get(address, (0, at))
        stopped = (looks, at - began)
        hosts[address] = Host(address, info.result(), status, stopped, dial.result())
    return hosts


def _awaited(
    hosts: Mapping[str, Host], silent: dict[str, float], at: float, seconds: float
) -> dict[str, Host]:
    """Mark the hosts that have been silent for less than these seconds: an agent may restart."""
    marked = {}
    for address, host in hosts.items():
        if host.info is not None:
            silent.pop(address, None)
            marked[address] = host
            continue
        began = silent.setdefault(address, at)
        marked[address] = replace(host, is_awaited=at - began < seconds)
    return marked


async def read_view(link: Connections) -> View:
    """Read what proves a removal, of every entry agent its members; raises no AgentError."""
    ask = link.cluster.ask
    async with side_by_side() as reads:
        members = {
            str(each.address): reads.create_task(_members(link, each))
            for each in link.cluster.clients
        }
        zones = reads.create_task(or_none(lambda: read_zones(link.cluster)))
        known = reads.create_task(fact(lambda: ask(AgentClient.read_cluster_info)))
        pools = reads.create_task(_pools(link))
        unfinished = reads.create_task(
            or_none(lambda: ask(AgentClient.read_unfinished_cluster_dags))
        )
    cluster = known.result()
    told = None if isinstance(cluster, Unread) else cluster
    seen = zones.result()
    return View(
        members={entry: each.result() for entry, each in members.items()},
        zones=seen[0] if seen else None,
        observers=observers_of(told.tenants) if told else None,
        pools=pools.result(),
        unfinished=unfinished.result(),
        totals=told.stats if told else None,
    )


async def _members(link: Connections, agent: AgentClient) -> ObInfo | Unread:
    if why := link.cluster.silence_of(agent.address):
        return Unread(why)
    return await fact(agent.read_ob_info)


async def _pools(link: Connections) -> tuple[ResourcePool, ...] | None:
    try:
        return await link.cluster.ask(AgentClient.read_resource_pools)
    except AgentError:
        return None
