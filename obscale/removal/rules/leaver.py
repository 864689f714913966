"""Rules about who leaves, and who is asked to let it go.

Sources: obshell ob/agent/api/obcluster_handler.go and ob/agent/executor/ob/scale_in.go, 4.5.0.0.
"""

from typing import Final

from obscale.agent.models import Identity, Server
from obscale.preflight.facts import server_address
from obscale.preflight.finding import (
    Verdict,
    blocks,
    fires,
    not_applicable,
    notes,
    passes,
    unknown,
    warns_always,
)
from obscale.preflight.parameters import in_sql
from obscale.preflight.rule import BLOCK, INFO, WARN, rule
from obscale.preflight.rules.cluster import cluster_facts_missing, cluster_identity_pinned
from obscale.preflight.rules.versions import parse_agent_version
from obscale.preflight.rules.zones import is_near
from obscale.reading import NOT_ASKED, Unread
from obscale.removal.facts import RemovalFacts
from obscale.removal.rules.shared import verdict_of

REMOVES: Final = (4, 2, 6, 0)
"""Since when an agent can remove anything. Source: ob/agent/api/agent_route.go."""
CONNECTABLE: Final = 3
"""`obState` of an agent whose statements OceanBase answers."""


def sql_of(facts: RemovalFacts) -> str:
    """Give what root@sys runs in the database instead; empty where the servers are not known."""
    zone = in_sql(facts.order.zone)
    servers = [
        f"ALTER SYSTEM DELETE SERVER {in_sql(server_address(server))} ZONE {zone};"
        for server in facts.leaving_servers()
    ]
    if not facts.is_zone:
        return " ".join(servers)
    stop, delete = f"ALTER SYSTEM STOP ZONE {zone};", f"ALTER SYSTEM DELETE ZONE {zone};"
    return " ".join((stop, *servers, delete))


@rule(
    "rm-version",
    "the cluster's obshell can remove a node",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST",
    ground="A",
    only_new=False,
    source="ob/agent/api/agent_route.go, 4.2.6.0",
)
def rm_version(facts: RemovalFacts) -> Verdict:
    """Below 4.2.6.0 there is no removal at all: only the database itself can do it."""
    info, needed = facts.cluster.info, "≥ 4.2.6.0"
    if isinstance(info, Unread):
        return unknown(info, needed)
    version = parse_agent_version(info.version)
    if version is None:
        return unknown(f"{facts.cluster.entry} does not tell its version", needed)
    if version < REMOVES:
        by_hand = sql_of(facts) or "DELETE SERVER of it"
        return blocks(
            f"obshell {info.version} of {facts.cluster.entry}",
            needed,
            f"upgrade obshell, or as root@sys: {by_hand}",
        )
    return passes(info.version, needed)


@rule(
    "rm-cluster-pinned",
    "this is the cluster that was meant",
    prod=BLOCK,
    lab=WARN,
    otherwise="SILENT: another cluster would lose the node",
    ground="A",
    only_new=False,
    source="obshell GET /obcluster/info, GET /ob/info",
)
def rm_cluster_pinned(facts: RemovalFacts) -> Verdict:
    """Name and id as expected; in production both should be said."""
    return verdict_of(cluster_identity_pinned, facts)


@rule(
    "rm-address",
    "agent and zone name one node of the cluster",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="SILENT: another node leaves, or nothing happens",
    ground="B",
    only_new=False,
    is_final=True,
    source="ob/agent/executor/ob/scale_in.go, 4.5.0.0: an unknown address gives 204",
)
def rm_address(facts: RemovalFacts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """Exactly one server with this IP and agent's port, in this zone: a slip takes another node."""
    needed = f"one server, in {facts.order.zone}"
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology, needed)
    node = facts.order.node
    if node is None:
        return _zone_named(facts)
    found = facts.servers_at(node)
    if len(found) > 1:
        words = " and ".join(f"{server_address(s)} in {zone.name}" for zone, s in found)
        return blocks(words, needed, "look at the cluster's database first")
    if found:
        zone, server = found[0]
        measured = f"{server_address(server)} in {zone.name}"
        if zone.name != node.zone:
            return blocks(measured, needed, f"write zone: {zone.name}, if this node is meant")
        return passes(measured, needed)
    if facts.agent_row() is not None:
        return not_applicable("there is an agent and no server: see rm-target-known")
    if facts.is_gone():
        return not_applicable("the cluster lists neither agent nor server")
    here = facts.neighbours()
    if any(s.ip == node.agentInfo.ip and not s.obshell_port for _, s in facts.cluster.servers()):
        return not_applicable("there is a server without an agent: see rm-target-known")
    return blocks(
        f"no server beside an agent at {node.address}; at this IP: {'; '.join(here)}",
        needed,
        "write the agent's port, which is neither the RPC port nor the SQL port",
    )


def _zone_named(facts: RemovalFacts) -> Verdict:
    zone = facts.order.zone
    if facts.zone() is not None:
        return passes(f"{zone} is there", "a zone of the cluster")
    near = [each.name for each in facts.cluster.zones() if is_near(zone, each.name)]
    if near:
        return blocks(
            f"there is no {zone}, but {', '.join(near)}",
            "a zone of the cluster",
            "correct the zone",
        )
    return not_applicable(f"the cluster has no zone {zone}")


@rule(
    "rm-target-known",
    "the cluster knows agent and server of the node",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST answers 204 and does nothing",
    ground="A",
    only_new=False,
    softens=True,
    source="ob/agent/executor/ob/scale_in.go, 4.5.0.0",
)
def rm_target_known(facts: RemovalFacts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """Neither of them: it has left already, and nothing is sent."""
    needed = "agent and server"
    node, members = facts.order.node, facts.cluster.ob_info
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology, needed)
    if facts.is_gone():
        there = ", ".join(zone.name for zone in facts.cluster.zones())
        return notes(
            "the cluster lists neither agent nor server"
            if node
            else f"the cluster has the zones {there}",
            needed,
            "nothing to submit; verification looks what is left of it",
        )
    if node is None:
        zone = facts.zone()
        count = len(zone.servers) if zone else 0
        return passes(f"{count} server{'s' if count != 1 else ''} in {facts.order.zone}")
    if isinstance(members, Unread):
        return unknown(members, needed)
    row, server = facts.agent_row(), facts.server()
    if row is not None and server is not None:
        return passes(f"{row.identity.value}, {server_address(server)}", needed)
    if row is not None:
        return warns_always(
            f"agent {row.address} is listed as {row.identity.value} and has no server",
            needed,
            "half removed before: go on, a removal takes the agent's row away as well",
        )
    alone = [
        f"ALTER SYSTEM DELETE SERVER {in_sql(server_address(each))} ZONE {in_sql(zone.name)};"
        for zone, each in facts.cluster.servers()
        if each.ip == node.agentInfo.ip and (each == server or not each.obshell_port)
    ]
    if not alone:
        return not_applicable("no server is at this address: see rm-address")
    return blocks(
        "the cluster lists its server and no agent: obshell would answer 204 and do nothing",
        needed,
        f"as root@sys, once what the other rules find is mended: {' or '.join(alone)}",
    )


@rule(
    "rm-entry-agents",
    "an agent that stays, and has a database, is asked",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST",
    ground="A",
    only_new=False,
    source="ob/agent/executor/ob/scale_in.go, 4.5.0.0: DeleteSelf",
)
def rm_entry_agents(facts: RemovalFacts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """The leaving agent cannot be asked to let itself go, and soon knows the cluster no more."""
    needed = "a CLUSTER AGENT with obState 3 that stays"
    info, status, entry = facts.cluster.info, facts.cluster.status, facts.cluster.entry
    if isinstance(info, Unread):
        return unknown(info, needed)
    if status is None or isinstance(status, Unread):
        return unknown(status or NOT_ASKED, needed)
    remedy = "name a member that stays as endpoint"
    leaving = {node.address for node in facts.nodes}
    if facts.is_zone:
        leaving = {row.address for row in facts.agents_of_zone()}
    if entry in leaving or info.address in leaving:
        return blocks(f"{entry} is the only one asked, and it leaves", needed, remedy)
    if info.identity is not Identity.CLUSTER_AGENT:
        return blocks(f"{entry} is {info.identity.value}", needed, remedy)
    if status.ob_state != CONNECTABLE:
        return blocks(f"obState of {entry} is {status.ob_state}", needed, remedy)
    if facts.dropped:
        return notes(
            f"{entry} is asked; {', '.join(facts.dropped)} leaves and is asked nothing",
            needed,
            f"take it out of {_where_written(facts)} once it has left",
        )
    return passes(f"{entry}, obState {status.ob_state}", needed)


def _where_written(facts: RemovalFacts) -> str:
    cluster = facts.order.cluster
    if isinstance(cluster, str):
        return f"the stored connection {cluster}"
    return "cluster.endpoints of the request"


@rule(
    "rm-leaving-agent",
    "the leaving agent answers, as a member",
    prod=WARN,
    lab=WARN,
    otherwise="SILENT: its observer stays alive",
    only_new=False,
    source="ob/agent/executor/ob/kill_observer.go, 4.5.0.0: an unreachable agent counts as told",
)
def rm_leaving_agent(facts: RemovalFacts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """One that hears nothing of it starts its observer again when it is back."""
    clean = "go on; its host must be cleaned before it returns to the network"
    if facts.leaving is None:
        silent = [server_address(s) for s in facts.leaving_servers() if _is_agent_silent(s)]
        if silent:
            return fires(f"no answer from the agents of {', '.join(silent)}", "answers", clean)
        return not_applicable("a whole zone leaves")
    info, needed = facts.leaving.info, Identity.CLUSTER_AGENT.value
    if isinstance(info, Unread):
        return fires(info.reason, needed, clean)
    if facts.is_gone():
        if info.identity is Identity.CLUSTER_AGENT:
            return fires(
                f"{facts.leaving.address} calls itself CLUSTER AGENT, and the cluster lists it no "
                "more",
                Identity.SCALING_IN.value,
                "it was out of reach when it was removed, or it is of another cluster: look, and "
                "clean its host before its observer serves old data",
            )
        return passes(info.identity.value)
    if info.identity is not Identity.CLUSTER_AGENT:
        row = facts.agent_row()
        if info.identity is Identity.SCALING_IN and row and row.identity is Identity.SCALING_IN:
            return passes(info.identity.value, needed)
        return fires(f"{facts.leaving.address} calls itself {info.identity.value}", needed, clean)
    return passes(info.identity.value, needed)


def _is_agent_silent(server: Server) -> bool:
    """Whether its agent was asked for its directories and told none; from 4.4.1.0 on it would."""
    return server.ob_status is not None and not server.data_dir


@rule(
    "rm-leaving-busy",
    "the leaving agent is not at work on itself",
    prod=WARN,
    lab=INFO,
    otherwise="SILENT: its observer stays alive",
    source="ob/agent/executor/ob/kill_observer.go, 4.5.0.0",
)
def rm_leaving_busy(facts: RemovalFacts) -> Verdict:
    """While it holds its own lock it refuses to end its observer."""
    if facts.leaving is None:
        return not_applicable("a whole zone leaves")
    status = facts.leaving.status
    if isinstance(facts.leaving.info, Unread):
        return not_applicable("it does not answer: see rm-leaving-agent")
    if isinstance(status, Unread):
        return unknown(status, "not under maintenance")
    if status.under_maintenance:
        return fires("under maintenance", "not under maintenance", "wait until it is done")
    return passes("not under maintenance", "not under maintenance")


RULES: Final = (
    rm_version,
    rm_cluster_pinned,
    rm_address,
    rm_target_known,
    rm_entry_agents,
    rm_leaving_agent,
    rm_leaving_busy,
    cluster_facts_missing,
)
