"""Rules about what must stay alive: majorities, other members, the root service.

Sources: OceanBase src/rootserver/ob_{server_zone_op_service,server_table_operator}.cpp; obshell
ob/agent/executor/ob/scale_in.go, 4.5.0.0.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from obscale.agent.models import Server
from obscale.agent.resources import Tenant
from obscale.preflight.facts import server_address
from obscale.preflight.finding import (
    Answer,
    Verdict,
    blocks,
    fires,
    not_applicable,
    notes,
    passes,
    refuses,
    unknown,
    warns_always,
)
from obscale.preflight.rule import BLOCK, INFO, WARN, rule
from obscale.preflight.rules.cluster import (
    ACTIVE,
    EPOCH_YEAR,
    cluster_rootservice_present,
    trouble_of,
)
from obscale.reading import Unread
from obscale.removal.facts import DeadLook, RemovalFacts, is_dead
from obscale.removal.replicas import share_of
from obscale.removal.rules.shared import values_of, verdict_of
from obscale.removal.units import own_units, pools_in, takes_units

OFFLINE_TIME: Final = "server_permanent_offline_time"
LOOKS: Final = 3
LOOKS_APART: Final = timedelta(seconds=60)
"""From the first look to the last."""
ENTRIES: Final = 2
HALF_ALIVE: Final = frozenset({1, 2})
"""`obState` of an observer that runs and does not serve."""
CONNECTABLE: Final = 3


@rule(
    "rm-leaders",
    "more than half of each tenant's full replicas are well now",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 1: delete server not allowed",
    ground="C",
    source="ob_server_zone_op_service.cpp: one log stream without leader stops every removal",
)
def rm_leaders(facts: RemovalFacts) -> Verdict:
    """Of all tenants, whoever leaves: by the servers that hold their units."""
    needed = "more than half"
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology, needed)
    if isinstance(facts.tenants, Unread):
        return unknown(Unread(facts.tenants.reason, facts.tenants.supported), needed)
    return _counted(facts, facts.tenants, needed, "mend the servers that are down first")


def _counted(
    facts: RemovalFacts, tenants: Iterable[Tenant], needed: str, remedy: str, *, without: str = ""
) -> Verdict:
    shares = {each.tenant_name: share_of(facts, each, without=without) for each in tenants}
    lost = {name: share for name, share in shares.items() if share and not share.is_majority}
    if lost:
        words = ", ".join(f"{name} {share.told}" for name, share in lost.items())
        return blocks(words, needed, remedy)
    if untold := [name for name, share in shares.items() if share is None]:
        return unknown(f"the locality of {', '.join(untold)} tells no full replicas", needed)
    words = ", ".join(f"{name} {share.told}" for name, share in shares.items() if share)
    return passes(words or "no tenant is concerned", needed)


@rule(
    "rm-majority",
    "no tenant loses its majority with the server",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="SILENT: obshell's own check sees nothing of a dead server",
    ground="B",
    is_final=True,
    source="ob/agent/executor/ob/scale_in.go, 4.5.0.0: it lists log streams of live servers only",
)
def rm_majority(facts: RemovalFacts) -> Verdict:
    """Of one that is dead or is to be killed, full replicas in the other zones alone count."""
    needed = "more than half without it"
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology, needed, prod=Answer.BLOCK)
    dead = [server for server in facts.leaving_servers() if is_dead(server) is not False]
    if not dead and not _is_forced(facts):
        return not_applicable("it is alive, and empty before it ends")
    if isinstance(facts.tenants, Unread):
        return unknown(
            Unread(facts.tenants.reason, facts.tenants.supported), needed, prod=Answer.BLOCK
        )
    verdict = _counted(
        facts,
        _concerned(facts),
        needed,
        "bring a server of another zone back first; without a majority the data is lost",
        without=facts.order.zone,
    )
    if verdict.kind == "unknown":
        return unknown(verdict.measured, needed, prod=Answer.BLOCK)
    return verdict


def _concerned(facts: RemovalFacts) -> list[Tenant]:
    """Those with a unit on the server; where that is not told all with a pool in its zone."""
    in_zone = [tenant for tenant, _ in pools_in(facts, facts.order.zone)]
    units = None if facts.is_zone else own_units(facts)
    if units is None or isinstance(units, Unread):
        return in_zone
    held = {unit.tenant_id for unit in units}
    return [tenant for tenant in in_zone if tenant.tenant_id in held]


@rule(
    "rm-force-live",
    "no observer that serves is killed",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="SILENT: a source of every replica is lost",
    ground="B",
    is_final=True,
    source="ob/agent/executor/ob/scale_in.go, 4.5.0.0: with force it is killed with its units",
)
def rm_force_live(facts: RemovalFacts) -> Verdict:
    """By its agent, and by what OceanBase says of it; a server must be dead to both."""
    needed = "a dead server"
    if not _is_forced(facts):
        return not_applicable("force_kill is not asked for")
    remedy = "leave force_kill out: a server that lives is emptied, then ended"
    server = facts.server()
    if server is None:
        return unknown(NO_ROW, needed, prod=Answer.BLOCK)
    if is_dead(server) is not True:
        return blocks(f"OceanBase says {server.inner_status or 'nothing of it'}", needed, remedy)
    status = facts.leaving.status if facts.leaving else None
    if status is not None and not isinstance(status, Unread) and status.ob_state == CONNECTABLE:
        return blocks(f"obState {status.ob_state} by its agent", needed, remedy)
    return passes(server.inner_status, needed)


NO_ROW: Final = "the cluster does not list its server"


def _is_forced(facts: RemovalFacts) -> bool:
    return facts.order.node is not None and facts.order.node.force_kill


@rule(
    "rm-force-dead-proof",
    "the server was dead at every look, and its observer is there to be killed",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="SILENT",
    ground="B",
    is_final=True,
    source="ob/agent/executor/ob/kill_observer.go, 4.5.0.0",
)
def rm_force_dead_proof(facts: RemovalFacts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """Three looks within a minute or more, of two agents where there are two."""
    needed = f"dead, with obState 1 or 2, in {LOOKS} looks over {LOOKS_APART.seconds} s"
    if not _is_forced(facts):
        return not_applicable("force_kill is not asked for")
    looks = facts.dead_looks
    if not looks:
        return unknown("nobody has looked", needed, prod=Answer.BLOCK)
    without = "leave force_kill out"
    alive = [look for look in looks if not _is_dead_there(look)]
    if alive:
        return blocks(f"{alive[0].entry} shows it {_shown(alive[0])}", needed, without)
    states = [look.ob_state for look in looks]
    if any(isinstance(state, Unread) for state in states):
        return blocks("its agent does not answer: force_kill would do nothing", needed, without)
    if 0 in states:
        return blocks("its observer does not run: force_kill would do nothing", needed, without)
    if not set(states) <= HALF_ALIVE:
        return blocks(f"obState {CONNECTABLE} by its agent", needed, without)
    times = sorted({look.at for look in looks})
    if len(times) < LOOKS or times[-1] - times[0] < LOOKS_APART:
        span = (times[-1] - times[0]).total_seconds()
        return blocks(f"{len(times)} looks over {span:.0f} s", needed, "look again for longer")
    entries = {look.entry for look in looks}
    if len(entries) >= ENTRIES:
        return passes(f"{len(times)} looks of {len(entries)} agents", needed)
    if len(facts.members) >= ENTRIES:
        return blocks(f"{min(entries)} alone tells so", needed, "see why the other agents do not")
    return notes(f"{len(times)} looks, of {min(entries)} alone: no other entry agent stays", needed)


def _is_dead_there(look: DeadLook) -> bool:
    return isinstance(look.server, Server) and is_dead(look.server) is True


def _shown(look: DeadLook) -> str:
    if look.server is None:
        return "not at all"
    if isinstance(look.server, Unread):
        return f"in no way: {look.server.reason}"
    return look.server.inner_status or "without a state"


@rule(
    "rm-others-down",
    "all other servers are well",
    prod=BLOCK,
    lab=WARN,
    otherwise="the wait stage",
    ground="B",
    source="one fault at a time",
)
def rm_others_down(facts: RemovalFacts) -> Verdict:
    """A cluster in which something is down already should lose nothing more."""
    topology = facts.cluster.topology
    if isinstance(topology, Unread):
        return unknown(topology, "all ACTIVE")
    going = {server_address(server) for server in facts.replaced_servers()}
    others = [s for _, s in facts.cluster.servers() if server_address(s) not in going]
    sick = [
        f"{server_address(server)} {trouble_of(server) or 'tells no state'}"
        for server in others
        if not takes_units(server)
    ]
    if sick:
        return fires(", ".join(sick), "all ACTIVE", "mend that first, or remove the dead one first")
    return passes(f"{len(others)} ACTIVE", "all ACTIVE")


@rule(
    "rm-permanent-offline",
    "a dead server is given up by OceanBase",
    prod=WARN,
    lab=INFO,
    otherwise="the wait stage",
    source="OceanBase parameter server_permanent_offline_time",
)
def rm_permanent_offline(facts: RemovalFacts) -> Verdict:
    """Since when it is down nobody tells; until then its replicas stay members."""
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology)
    dead = [server_address(s) for s in facts.leaving_servers() if is_dead(s) is not False]
    if not dead:
        return not_applicable("it is alive")
    told = ", ".join(sorted(values_of(facts, OFFLINE_TIME))) or "not told"
    return fires(
        f"{', '.join(dead)} is down, since when is not told; {OFFLINE_TIME} {told}",
        "down for longer than that",
        "it may return, and its replicas stay members until then: the wait may last that long",
    )


@rule(
    "rm-rootservice",
    "the root service is there, and not on the server",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 1",
    ground="A",
    source="obshell GET /obcluster/topology/info",
)
def rm_rootservice(facts: RemovalFacts) -> Verdict:
    """Where the server that leaves leads, another is elected."""
    verdict = verdict_of(cluster_rootservice_present, facts)
    leaving = {server_address(server) for server in facts.leaving_servers()}
    if verdict.kind == "passes" and verdict.measured in leaving:
        return notes(
            f"{verdict.measured} leads, and leaves",
            "one leader",
            "the root service moves, statements pause for seconds",
        )
    return verdict


@rule(
    "rm-zone-stopped",
    "no zone or server elsewhere is stopped",
    prod=WARN,
    lab=WARN,
    worst=(BLOCK, BLOCK),
    otherwise="POST, of a whole zone",
    ground="A",
    softens=True,
    source="ob/agent/executor/ob/delete_zone.go, 4.5.0.0: StoppedInMultiZone",
)
def rm_zone_stopped(facts: RemovalFacts) -> Verdict:
    """Of a whole zone obshell refuses it."""
    topology = facts.cluster.topology
    if isinstance(topology, Unread):
        return unknown(topology, "none")
    going = {server_address(server) for server in facts.leaving_servers()}
    stopped = [
        f"zone {zone.name} {zone.inner_status}"
        for zone in topology
        if zone.inner_status not in {"", ACTIVE}
        and not (facts.is_zone and zone.name == facts.order.zone)
    ]
    stopped += [
        f"{server_address(server)} stopped"
        for _, server in facts.cluster.servers()
        if server_address(server) not in going
        and server.stop_time is not None
        and server.stop_time.year >= EPOCH_YEAR
    ]
    if not stopped:
        return passes("none", "none")
    told, remedy = ", ".join(stopped), "start it first"
    return refuses(told, "none", remedy) if facts.is_zone else warns_always(told, "none", remedy)


RULES: Final = (
    rm_leaders,
    rm_majority,
    rm_force_live,
    rm_force_dead_proof,
    rm_others_down,
    rm_permanent_offline,
    rm_rootservice,
    rm_zone_stopped,
)
