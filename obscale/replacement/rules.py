"""Rules about a replacement: whether the one may leave, and whether the other can take its place.

Sources: OceanBase src/rootserver/ob_{server_zone_op_service,unit_manager}.cpp; obshell
ob/agent/executor/ob/{scale_in,kill_observer}.go, 4.5.0.0.
"""

from collections.abc import Callable, Iterator
from typing import Final

from obscale.agent.models import Server
from obscale.preflight.facts import server_address
from obscale.preflight.finding import (
    Verdict,
    blocks,
    not_applicable,
    notes,
    passes,
    unknown,
    warns,
)
from obscale.preflight.offers import Offer, expected_of, offer_of
from obscale.preflight.rule import BLOCK, INFO, rule
from obscale.reading import Unread
from obscale.removal.facts import RemovalFacts, is_dead
from obscale.removal.rules.majority import HALF_ALIVE, rm_majority
from obscale.removal.rules.room import rm_log_disk_fit, rm_units_fit
from obscale.removal.rules.shared import verdict_of_removal
from obscale.replacement.facts import ReplacementFacts
from obscale.sizes import render_bytes

SAME_ZONE: Final = "units never go to another zone"


@rule(
    "rp-dead",
    "the node that is replaced is dead",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="SILENT: a node that serves is taken out",
    ground="B",
    only_new=False,
    is_final=True,
    source="ob_server_table_operator.cpp: INACTIVE, or DELETING without a start of service",
)
def rp_dead(facts: RemovalFacts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """By what OceanBase says of it; that its agent is silent proves nothing."""
    needed = "dead"
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology, needed)
    server = facts.server()
    if server is None:
        return not_applicable("the cluster does not list its server")
    if facts.own_dag() is not None:
        return notes("its removal is under way", needed)
    measured = f"{server_address(server)} {server.inner_status or 'tells no state'}"
    dead = is_dead(server)
    if dead:
        return passes(measured, needed)
    if facts.order.live:
        return notes(measured, needed, "it is moved off alive, as asked")
    if dead is None:
        return unknown(measured, needed)
    return blocks(
        measured,
        needed,
        "see whether it is the one that is meant; to move off a node that is alive say so: --live, "
        "or live: true",
    )


@rule(
    "rp-majority",
    "no tenant has lost its majority with the node that is replaced",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="SILENT: obshell's own check sees nothing of a dead server",
    ground="B",
    is_final=True,
    source="as rm-majority: full replicas in the other zones alone count",
)
def rp_majority(facts: RemovalFacts) -> Verdict:
    """The zone itself counts for nothing: a node that joins brings no data."""
    return verdict_of_removal(rm_majority, facts)


@rule(
    "rp-force",
    "force_kill is asked for only where it does something",
    prod=INFO,
    lab=INFO,
    otherwise="SILENT",
    source="ob/agent/executor/ob/scale_in.go, 4.5.0.0: a silent agent counts as told",
)
def rp_force(facts: RemovalFacts) -> Verdict:
    """It is for an observer that lives and does not serve; rm-force-dead-proof judges it."""
    node, leaving = facts.order.node, facts.leaving
    if leaving is None or node is None:
        return not_applicable("no agent leaves")
    status = leaving.status
    needed = "an observer that runs and does not serve"
    if isinstance(status, Unread):
        told = "its agent does not answer"
        remedy = "leave force_kill out: obshell cannot reach it, so it would do nothing"
    elif status.ob_state in HALF_ALIVE:
        told = f"its observer runs and does not serve, obState {status.ob_state}"
        remedy = "force_kill ends it first, where it keeps a disk or a port busy"
    else:
        return not_applicable(f"obState {status.ob_state}: nothing to kill")
    if node.force_kill or not isinstance(status, Unread):
        return notes(told, needed, remedy)
    return passes("force_kill is not asked for", needed)


@rule(
    "rp-agent-alive",
    "a node that could be started again is not replaced",
    prod=INFO,
    lab=INFO,
    otherwise="SILENT",
    source="obshell GET /status: obState 0 is no process",
)
def rp_agent_alive(facts: RemovalFacts) -> Verdict:
    """Whoever is at its host may try that first; obscale starts no observer."""
    leaving, server = facts.leaving, facts.server()
    if leaving is None or server is None or is_dead(server) is False:
        return not_applicable("it is not dead")
    if isinstance(leaving.status, Unread):
        return passes("its agent does not answer")
    if leaving.status.ob_state == 0:
        return notes(
            f"its agent answers, its observer does not run (obState {leaving.status.ob_state})",
            "nothing that could be started",
            "try to start it first, on its host or by obshell's POST /ob/start: what comes back "
            "needs no replacement",
        )
    return passes(f"obState {leaving.status.ob_state}")


@rule(
    "rp-same-zone",
    "the new node joins the zone of the one it replaces",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 1 of the removal: no room for the units",
    ground="A",
    only_new=False,
    is_final=True,
    source="ob_server_zone_op_service.cpp: units stay in their zone",
)
def rp_same_zone(facts: ReplacementFacts) -> Verdict:
    """By the cluster where it tells the zone of the node that leaves, else by the request."""
    node, joins = facts.removal.order.node, facts.addition.node.zone
    found = facts.removal.servers_at(node) if node else ()
    leaves = found[0][0].name if len(found) == 1 else facts.removal.order.zone
    if joins != leaves:
        return blocks(
            f"{facts.subject} is in {leaves}, {facts.order.joining} is to join {joins}",
            "one zone",
            f"write zone: {leaves}; {SAME_ZONE}",
        )
    return passes(leaves, "one zone")


@rule(
    "rp-address",
    "the two are two nodes, and the first is there",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST: a server is registered once",
    ground="A",
    only_new=False,
    is_final=True,
    source="ob/agent/executor/ob/scale_out.go, 4.2.5.0",
)
def rp_address(facts: ReplacementFacts) -> Verdict:
    """A host may be used again under its own address only once it was removed and cleaned."""
    needed = "another IP and port, in the place of a member"
    joins = facts.order.joining
    server = facts.removal.server()
    mine = (facts.addition.node.agentInfo.ip, facts.addition.rpc_port)
    if joins == facts.subject or (server and (server.ip, server.svr_port) == mine):
        return blocks(
            f"{joins} is the node that is to be replaced",
            needed,
            "choose another host; to use this one again remove it, clean it, then add it: "
            "obscale remove, then obscale apply",
        )
    if facts.removal.is_gone() and not facts.is_added:
        return blocks(
            f"the cluster lists neither agent nor server at {facts.subject}",
            needed,
            "correct the address; where nothing is to be removed, obscale apply adds a node",
        )
    return passes(f"{joins} for {facts.subject}", needed)


@rule(
    "rp-size",
    "the new node is as large as the one it replaces",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 1 of the removal, or its wait stage",
    ground="B",
    source="as rm-units-fit and rm-log-disk-fit, with the new node among those that take units",
)
def rp_size(facts: ReplacementFacts) -> Iterator[Verdict]:
    """What a dead server had is not told, so the others stand for it."""
    between = facts.between()
    found = [verdict_of_removal(each, between) for each in (rm_units_fit, rm_log_disk_fit)]
    hard = [verdict for verdict in found if verdict.kind == "fires"]
    yield from hard
    peers = [server for _, server in facts.removal.cluster.servers() if _is_peer(facts, server)]
    if not peers:
        if not hard:
            yield not_applicable("no other server tells what it offers")
        return
    offer = expected_of(facts.addition)
    smaller = [
        f"{name} {told(mine)} < {told(least)}"
        for name, mine, least, told in _compared(offer, peers)
        if mine < least
    ]
    if smaller:
        yield warns(
            ", ".join(smaller),
            "no less than the smallest of the other servers",
            "give it as much, or see that what the zone may have to hold fits",
        )
    elif not hard:
        yield passes("no less than the smallest of the other servers")


def _is_peer(facts: ReplacementFacts, server: Server) -> bool:
    mine = (facts.addition.node.agentInfo.ip, facts.addition.rpc_port)
    return bool(server.stats.cpu_core_total) and (server.ip, server.svr_port) != mine


def _compared(
    offer: Offer, peers: list[Server]
) -> Iterator[tuple[str, float, float, Callable[[float], str]]]:
    """Give what is known of the new node beside the least that another server has."""
    offers = [offer_of(server) for server in peers]
    for name, field in (("cores", "cpu"), ("memory", "memory_bytes"), ("disk", "data_disk_bytes")):
        mine = getattr(offer, field)
        known = [each for each in (getattr(of, field) for of in offers) if each]
        if mine is not None and known:
            yield name, mine, min(known), _cores if field == "cpu" else _bytes


def _cores(count: float) -> str:
    return f"{count:g}"


def _bytes(size: float) -> str:
    return render_bytes(int(size))


LEAVING_RULES: Final = (rp_dead, rp_majority, rp_force, rp_agent_alive)
"""About the node that leaves; judged again with all rules of its removal."""
COVERED: Final = frozenset({"rm-majority"})
"""Rules of a removal that these say for it."""
RULES_OF_BOTH: Final = (rp_same_zone, rp_address, rp_size)
"""About the two together; judged before anything is begun."""
