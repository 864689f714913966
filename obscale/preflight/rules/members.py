"""Rules about clashes of the target with servers and agents of the cluster.

Sources: obshell ob/agent/executor/ob/scale_out.go, 4.2.5.0 to 4.5.0.0.
"""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Final

from obscale.agent.models import Server, Zone
from obscale.preflight.difference import differences_of
from obscale.preflight.facts import Facts, TargetProgress, server_address
from obscale.preflight.finding import (
    AS_ASKED,
    Verdict,
    blocks,
    fires,
    not_applicable,
    notes,
    passes,
    unknown,
    warns,
    warns_always,
)
from obscale.preflight.rule import BLOCK, WARN, rule
from obscale.reading import Unread
from obscale.sizes import quoted


@rule(
    "agent-already-in-cluster",
    "the cluster does not list the target agent yet",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST",
    ground="A",
    only_new=False,
    source="obshell GET /ob/info",
)
def agent_already_in_cluster(facts: Facts) -> Verdict:
    """The same node in the same zone is a job already done."""
    members = facts.cluster.ob_info
    if isinstance(members, Unread):
        return unknown(members, "not listed")
    row = next((row for row in members.agent_info if row.address == facts.node.address), None)
    if row is None:
        return passes("not listed", "not listed")
    measured = f"listed as {row.identity.value} in zone {row.zone}"
    match facts.progress():
        case TargetProgress.MEMBER:
            return notes(f"already a member: {measured}", "not listed", "nothing to submit")
        case TargetProgress.UNDER_WAY:
            return notes(measured, "not listed", "its scale-out will be adopted")
        case _:
            unlike = _unlike(facts, row.zone)
            told = "".join(f"; {key}: {asked} asked, {there} there" for key, asked, there in unlike)
            there = ", ".join(f"{key} {there}" for key, _, there in unlike)
            return blocks(
                f"{measured}{told}",
                "not listed",
                f"ask for what is there, {there}, or choose another agent"
                if unlike
                else "ask for the zone it is in, or choose another agent",
            )


def _unlike(facts: Facts, zone: str) -> list[tuple[str, str, str]]:
    """Say what of an agent's place in the cluster is not as asked: key, asked, there."""
    found = [("zone", facts.node.zone, zone)] if zone != facts.node.zone else []
    mine = [
        server
        for _, server in facts.cluster.servers()
        if server.ip == facts.node.agentInfo.ip
        and server.obshell_port in {0, facts.node.agentInfo.port}
    ]
    # Several observers of one IP, of which older versions do not tell the agent.
    if len(mine) == 1 and facts.rpc_port not in {None, mine[0].svr_port}:
        found.append(("rpc_port", str(facts.rpc_port), str(mine[0].svr_port)))
    return found


@rule(
    "server-already-registered",
    "the cluster does not have this server yet",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST since 4.2.5.0, stage 7 before",
    ground="A",
    only_new=False,
    source="ob/agent/executor/ob/scale_out.go, 4.2.5.0",
)
def server_already_registered(facts: Facts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """By IP and RPC port, as OceanBase itself knows servers."""
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology, "not registered")
    found = _same_server(facts)
    if found is None:
        return passes("not registered", "not registered")
    zone, server = found
    measured = f"{server_address(server)} is {server.inner_status or server.status} in {zone.name}"
    match facts.progress():
        case TargetProgress.MEMBER:
            return notes(f"already a member: {measured}", "not registered", "nothing to submit")
        case TargetProgress.UNDER_WAY:
            return notes(measured, "not registered", "its scale-out will be adopted")
        case _ if server.inner_status == "DELETING":
            return blocks(measured, "not registered", "wait until its deletion has ended")
        case _ if server.inner_status == "ACTIVE":
            remedy = "it serves: leave it alone, and choose another address"
            return blocks(measured, "not registered", remedy)
        case _:
            remedy = "have the cluster delete that server first, if it is gone for good"
            return blocks(measured, "not registered", remedy)


@rule(
    AS_ASKED,
    "a node that is a member already is as it is asked for",
    prod=WARN,
    lab=WARN,
    otherwise="the verification, which fails",
    only_new=False,
    source="obshell GET /obcluster/parameters and /obcluster/topology/info",
)
def member_as_asked(facts: Facts) -> Iterator[Verdict]:
    """Nothing is submitted for a member, so that nothing would make it so."""
    if facts.progress() is not TargetProgress.MEMBER:
        yield not_applicable("no member yet")
        return
    found = differences_of(facts)
    for difference in found:
        ask = f"ask for what is there: {difference.key}: {difference.there}"
        if not difference.hinders:
            yield notes(f"{difference}", "one and the same, or a link", ask)
        elif difference.statement:
            # Accepted or not, verification refuses it.
            remedy = f"{ask}, or run as root@sys: {difference.statement}"
            yield replace(warns_always(f"{difference}", "as asked", remedy), is_certain=True)
        else:
            remedy = f"{ask}; on a member it cannot be set"
            yield replace(warns_always(f"{difference}", "as asked", remedy), is_certain=True)
    if found:
        return
    gap = facts.cluster.parameters
    if isinstance(gap, Unread):
        yield unknown(gap, "as asked")
    else:
        yield passes("as asked", "as asked")


def _same_server(facts: Facts) -> tuple[Zone, Server] | None:
    return next(
        (
            (zone, server)
            for zone, server in facts.cluster.servers()
            if server.ip == facts.node.agentInfo.ip and server.svr_port == facts.rpc_port
        ),
        None,
    )


@rule(
    "same-ip-port-reuse",
    "no server on the same IP uses one of the ports",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 5",
    ground="A",
    source="two processes, one port",
)
def same_ip_port_reuse(facts: Facts) -> Verdict:
    """The server itself is the business of `server-already-registered`."""
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology, "free ports")
    mine = {facts.rpc_port, facts.mysql_port, facts.node.agentInfo.port} - {None}
    for _, server in facts.cluster.servers():
        if server.ip != facts.node.agentInfo.ip or server.svr_port == facts.rpc_port:
            continue
        shared = mine & {server.svr_port, server.sql_port, server.obshell_port}
        if shared:
            ports = ", ".join(str(port) for port in sorted(p for p in shared if p is not None))
            return blocks(
                f"{server_address(server)} uses port {ports}",
                "ports of its own",
                "pick other ports",
            )
    return passes("no port in use by a known server")


@rule(
    "duplicate-host",
    "the machine carries no other replica",
    prod=BLOCK,
    lab=WARN,
    otherwise="SILENT",
    ground="B",
    source="one dead machine would take replicas of two zones; obshell does not look",
)
def duplicate_host(facts: Facts) -> Verdict:
    """By IP; two IPs of one machine cannot be told apart."""
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology, "a machine of its own")
    ip, zone = facts.node.agentInfo.ip, facts.node.zone
    zones = {z.name for z, server in facts.cluster.servers() if server.ip == ip}
    zones |= {node.zone for node in facts.batch if node != facts.node and node.agentInfo.ip == ip}
    remedy = "choose another machine: one failure would take both"
    if zones and facts.cluster.is_on_loopback():
        return notes(
            "the whole cluster is on one host, as a simulated one is", "one zone a machine"
        )
    if others := sorted(zones - {zone}):
        return fires(f"{ip} also carries zone {', '.join(others)}", "one zone a machine", remedy)
    if zones:
        return warns(f"{ip} carries another server of {zone}", "one server a machine", remedy)
    return passes("no other server on this IP")


@rule(
    "ip-family",
    "all servers speak one IP version",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 5 or 7",
    ground="A",
    source="ob/agent/executor/ob/start_obsvr.go, 4.5.0.0: --ipv6 only by the agent's IP",
)
def ip_family(facts: Facts) -> Verdict:
    """Compared with the servers, or with the agents where the servers are not told."""
    mine = _version_of(facts.node.agentInfo.ip)
    if mine is None:
        return not_applicable("the target's IP is none")
    known = {version for ip in facts.cluster.member_ips() if (version := _version_of(ip))}
    if not known:
        gap = facts.cluster.topology
        return unknown(gap if isinstance(gap, Unread) else "no server is known", "one IP version")
    if known != {mine}:
        names = " and ".join(f"IPv{version}" for version in sorted(known))
        return blocks(
            f"target IPv{mine}, cluster {names}", "one IP version", "use the same version"
        )
    return passes(f"IPv{mine}")


@rule(
    "ip-literal",
    "the target is named by its IP",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST or stage 7",
    ground="A",
    only_new=False,
    is_static=True,
    source="obshell knows agents by IP only; ob/param/ob.go, 4.5.0.0",
)
def ip_literal(facts: Facts) -> Verdict:
    """No host name, no scope."""
    ip = facts.node.agentInfo.ip
    if _version_of(ip) is None or "%" in ip:
        return blocks(
            f"{quoted(ip)} is not an IP address",
            "a literal IP",
            "write the host's IP, e.g. 10.0.0.4",
            subject="agentInfo.ip",
        )
    return passes(ip)


def _version_of(text: str) -> int | None:
    try:
        return ip_address(text).version
    except ValueError:
        return None


RULES: Final = (
    agent_already_in_cluster,
    server_already_registered,
    member_as_asked,
    same_ip_port_reuse,
    duplicate_host,
    ip_family,
    ip_literal,
)
