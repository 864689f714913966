"""Proves from what is seen that a node, or a zone, is gone and the cluster whole without it.

LEAVING (server and agent are marked) → LEFT (no row of them, the lock is free) → RELEASED (its host
lets go; demanded only where the host answers) → CONFORMING (units, root service and capacity).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from obscale.agent.models import (
    AgentInfo,
    AgentStatus,
    Dag,
    Identity,
    ObInfo,
    Server,
    Stats,
    Zone,
    joined_address,
)
from obscale.agent.resources import ResourcePool
from obscale.maintenance_lock import lock_of
from obscale.reading import Unread
from obscale.removal.facts import is_dead
from obscale.removal.result import BeforeRemoval
from obscale.request.removal import Removal
from obscale.scale_in_dag import is_carried_out, is_passed
from obscale.sizes import render_bytes
from obscale.verify.levels import VerifiedLevels
from obscale.verify.observation import Level, ProofAnswer, ProofLine

LADDER: Final = (Level.LEAVING, Level.LEFT, Level.RELEASED, Level.CONFORMING)
STOPPED_LOOKS: Final = 3
STOPPED_SECONDS: Final = 10.0
"""So many looks, over so long, must find no observer process: one may be started again."""
PASS, WAITING, FAIL = ProofAnswer.PASS, ProofAnswer.WAITING, ProofAnswer.FAIL
INFO, UNKNOWN, ABSENT = ProofAnswer.INFO, ProofAnswer.UNKNOWN, ProofAnswer.NOT_APPLICABLE
LIVING: Final = "ACTIVE"


@dataclass(frozen=True)
class Host:
    """A leaving agent, asked by itself.

    Args:
        address: `ip:port`.
        info: `/info`; None: it does not answer.
        status: `/status`; None likewise.
        stopped: Looks in a row, and seconds, in which there was no observer process.
        serves: Ports of its observer that take a connection, as `ip:port`.
        is_awaited: Whether it has been silent for so short that it may only be restarting.
    """

    address: str
    info: AgentInfo | None
    status: AgentStatus | None
    stopped: tuple[int, float] = (0, 0.0)
    serves: tuple[str, ...] = ()
    is_awaited: bool = False


@dataclass(frozen=True)
class View:
    """What is seen of a removal once its DAG has ended.

    Args:
        members: `/ob/info` of every entry agent that stays, by `ip:port`.
        zones: The topology; None: not told.
        observers: Of each tenant the servers with a unit; None: not told.
        pools: All resource pools; None: not told.
        unfinished: The cluster's unfinished DAGs; None: not told.
        hosts: The leaving agents.
        totals: What the cluster offers; None: not told.
    """

    members: Mapping[str, ObInfo | Unread] = field(default_factory=dict)
    zones: tuple[Zone, ...] | None = None
    observers: Mapping[str, Sequence[str]] | None = None
    pools: tuple[ResourcePool, ...] | None = None
    unfinished: tuple[Dag, ...] | None = None
    hosts: tuple[Host, ...] = ()
    totals: Stats | None = None


@dataclass(frozen=True)
class Evidence:
    """All that one proof may rest on.

    Args:
        order: What was asked for.
        dag: As it ended; None: nothing was asked for, or it is not known any more.
        before: How the cluster stood; None: nobody has kept it.
        view: What is seen now.
        is_late: Whether time is up: what still waits has failed.
    """

    order: Removal
    dag: Dag | None
    before: BeforeRemoval | None
    view: View
    is_late: bool = False

    @property
    def servers(self) -> frozenset[str]:
        """Addresses of the servers that leave, as they were before, or as they still are."""
        seen = (*(self.before.servers if self.before else ()), *self.still_there())
        return frozenset(joined_address(each.ip, each.svr_port) for each in seen)

    def still_there(self) -> tuple[Server, ...]:
        """Rows of what leaves that the topology still has."""
        known = {
            joined_address(s.ip, s.svr_port) for s in (self.before.servers if self.before else ())
        }
        zones, node = self.view.zones or (), self.order.node
        return tuple(
            server
            for zone in zones
            for server in zone.servers
            if joined_address(server.ip, server.svr_port) in known
            or (node is None and zone.name == self.order.zone)
            or (
                node is not None
                and not known
                and server.ip == node.agentInfo.ip
                and server.obshell_port in {0, node.agentInfo.port}
            )
        )

    def agent_rows(self) -> dict[str, list[str]]:
        """Of each entry agent that told, the rows of leaving agents it still lists."""
        node, zone = self.order.node, self.order.zone
        return {
            entry: [
                f"{row.address} {row.identity.value}"
                for row in told.agent_info
                if (row.address == node.address if node else row.zone == zone)
            ]
            for entry, told in self.view.members.items()
            if not isinstance(told, Unread)
        }


Told = tuple[ProofAnswer, str, str]
"""Answer, what is expected, what was found."""


Judging = Callable[[Evidence], Iterable[tuple[str, Level, Told]]]
"""Gives further proofs, each with its name and level."""


def judge_removal(evidence: Evidence, also: Judging | None = None) -> VerifiedLevels:
    """Judge every proof.

    Args:
        evidence: What is seen.
        also: Judges further proofs.

    Returns:
        Levels as a joined node has them; `CONFORMING` is the last of these, too. Excepted are hosts
        that did not answer.
    """
    lines = [
        ProofLine(id=name, level=level, answer=answer, expected=expected, found=found)
        for name, level, (answer, expected, found) in (
            *_told(evidence),
            *(also(evidence) if also else ()),
        )
    ]
    silent = [host.address for host in evidence.view.hosts if host.info is None]
    level = _reached(lines)
    exceptions = tuple(
        f"host of {each} not reached: clean it before it returns to the network" for each in silent
    )
    return VerifiedLevels(
        level=level,
        lines=tuple(lines),
        exceptions=exceptions if level is Level.CONFORMING else (),
        unread=tuple(line.id for line in lines if line.answer is UNKNOWN),
    )


def _reached(lines: Sequence[ProofLine]) -> Level:
    reached = Level.NONE
    for step in LADDER:
        if any(line.hinders for line in lines if line.level is step):
            return reached
        reached = step
    return reached


def _told(evidence: Evidence) -> Iterator[tuple[str, Level, Told]]:
    yield "pl-deleting", Level.LEAVING, _deleting(evidence)
    yield "pl-dag", Level.LEFT, _dag(evidence)
    yield "pl-server-gone", Level.LEFT, _server_gone(evidence)
    yield "pl-agent-gone", Level.LEFT, _agent_gone(evidence)
    yield "pl-lock", Level.LEFT, _lock(evidence)
    if evidence.order.node is None:
        yield "pl-zone-gone", Level.LEFT, _zone_gone(evidence)
    for host in evidence.view.hosts:
        mark = "" if len(evidence.view.hosts) == 1 else f":{host.address}"
        yield f"pl-identity{mark}", Level.RELEASED, _identity(evidence, host)
        yield f"pl-observer-dead{mark}", Level.RELEASED, _observer_dead(evidence, host)
    yield "pl-units", Level.CONFORMING, _units(evidence)
    yield "pl-no-deleting", Level.CONFORMING, _no_deleting(evidence)
    yield "pl-rootserver", Level.CONFORMING, _rootserver(evidence)
    yield "pl-capacity", Level.CONFORMING, _capacity(evidence)
    yield "pl-leaders", Level.CONFORMING, _leaders(evidence)
    yield "pl-room", Level.CONFORMING, _room(evidence)


def _waits(evidence: Evidence) -> ProofAnswer:
    return FAIL if evidence.is_late else WAITING


def _deleting(evidence: Evidence) -> Told:
    expected = "the server is DELETING, or gone"
    if evidence.view.zones is None:
        return UNKNOWN, expected, "the topology could not be read"
    rows = evidence.still_there()
    stays = [_named(row) for row in rows if row.inner_status != "DELETING"]
    if stays:
        return _waits(evidence), expected, ", ".join(stays)
    return PASS, expected, ", ".join(map(_named, rows)) or "gone"


def _dag(evidence: Evidence) -> Told:
    expected = "SUCCEED, to its last stage, neither undone nor passed over"
    dag = evidence.dag
    if dag is None:
        return ABSENT, expected, "nothing was asked for, or its DAG is not known any more"
    stands = f"{dag.state.value}/{dag.operator.value} at stage {dag.stage}/{dag.max_stage}"
    if is_carried_out(dag):
        return PASS, expected, stands
    if is_passed(dag):
        return INFO, expected, f"{stands}: it proves nothing, the topology decides"
    return FAIL, expected, stands


def _server_gone(evidence: Evidence) -> Told:
    expected = "no row of the server, from any entry agent"
    if evidence.view.zones is None:
        return UNKNOWN, expected, "the topology could not be read"
    rows = {_named(row) for row in evidence.still_there()}
    for entry, told in evidence.view.members.items():
        if isinstance(told, Unread):
            continue
        for listed in (told.obcluster_info.topology or {}).values():
            for row in listed:
                address = joined_address(row.svr_ip, row.svr_port)
                if address in evidence.servers:
                    rows.add(f"{address} {row.status} by {entry}")
    if rows:
        return _waits(evidence), expected, ", ".join(sorted(rows))
    return PASS, expected, f"none, by {len(evidence.agent_rows())} entry agents"


def _agent_gone(evidence: Evidence) -> Told:
    expected = "no row of the agent, from any entry agent"
    told = evidence.agent_rows()
    if not told:
        return UNKNOWN, expected, "no entry agent tells its members"
    left = [f"{row} by {entry}" for entry, rows in told.items() for row in rows]
    if left:
        return _waits(evidence), expected, ", ".join(left)
    return PASS, expected, f"none, by {len(told)} entry agents"


def _lock(evidence: Evidence) -> Told:
    expected = "nobody holds the cluster's lock"
    if evidence.view.unfinished is None:
        return UNKNOWN, expected, "the unfinished DAGs cannot be read"
    holder = lock_of(evidence.view.unfinished)
    if holder is None:
        return PASS, expected, "free"
    if evidence.dag is not None and holder.dag_id > evidence.dag.dag_id:
        return INFO, expected, f"held by a newer DAG, {holder.id} {holder.name!r}"
    return _waits(evidence), expected, f"held by DAG {holder.id} {holder.name!r}"


def _zone_gone(evidence: Evidence) -> Told:
    expected = "the zone is not in the topology"
    if evidence.view.zones is None:
        return UNKNOWN, expected, "the topology could not be read"
    named = [zone for zone in evidence.view.zones if zone.name == evidence.order.zone]
    if named:
        return _waits(evidence), expected, f"{named[0].name} {named[0].inner_status}"
    return PASS, expected, "gone"


def _identity(evidence: Evidence, host: Host) -> Told:
    expected = "SCALING IN, or SINGLE once its host was cleaned"
    if host.info is None:
        words = "the host does not answer: clean it before it returns"
        return _silent(evidence, host), expected, words
    who = host.info.identity
    if who in {Identity.SCALING_IN, Identity.SINGLE}:
        return PASS, expected, who.value
    if who is Identity.CLUSTER_AGENT and not any(evidence.agent_rows().values()):
        return (
            FAIL,
            expected,
            (
                "CLUSTER AGENT, which the cluster does not list: a zombie, it starts its observer "
                "again; stop it and clean its host before it returns"
            ),
        )
    return _waits(evidence), expected, who.value


def _observer_dead(evidence: Evidence, host: Host) -> Told:
    expected = f"no observer process in {STOPPED_LOOKS} looks over {STOPPED_SECONDS:.0f} s"
    if host.info is not None and host.status is None:
        return UNKNOWN, expected, "its state cannot be read"
    if lives := _signs_of_life(host):
        return _waits(evidence), expected, lives
    if host.status is None:
        words = "the host does not answer: its observer may still run"
        return _silent(evidence, host), expected, words
    looks, seconds = host.stopped
    is_long = looks >= STOPPED_LOOKS and seconds >= STOPPED_SECONDS
    found = f"stopped, in {looks} looks over {seconds:.0f} s"
    return PASS if is_long else WAITING, expected, found


def _silent(evidence: Evidence, host: Host) -> ProofAnswer:
    """A host that is silent is waited for a while, and then excepted."""
    return WAITING if host.is_awaited and not evidence.is_late else INFO


def _signs_of_life(host: Host) -> str:
    """Say by what an observer seems to run there still; empty: by nothing."""
    if host.status and host.status.ob_state != 0:
        return f"obState {host.status.ob_state}: it still runs"
    if host.serves:
        says = "obState 0" if host.status else "obshell does not answer"
        return f"{says}, yet {', '.join(host.serves)} takes connections: it still runs"
    if host.status and host.status.under_maintenance:
        return "stopped, the agent is still at work on it"
    return ""


def _units(evidence: Evidence) -> Told:
    expected = "each tenant has all its units, none on what left, each on a serving server"
    view = evidence.view
    if view.observers is None or view.zones is None:
        return INFO, expected, "this version does not tell where units are"
    living = {
        joined_address(s.ip, s.svr_port)
        for zone in view.zones
        for s in zone.servers
        if s.inner_status == LIVING
    }
    wrong = []
    for tenant, listed in view.observers.items():
        gone = [at for at in listed if at in evidence.servers or at not in living]
        if gone:
            wrong.append(f"{tenant} on {', '.join(sorted(set(gone)))}")
    placed = sum(map(len, view.observers.values()))
    wanted = _wanted_units(view.pools)
    if wanted is not None and placed < wanted:
        wrong.append(f"{placed} units of {wanted}")
    if wrong:
        return _waits(evidence), expected, "; ".join(wrong)
    return PASS, expected, f"{placed} units, all on serving servers"


def _wanted_units(pools: Sequence[ResourcePool] | None) -> int | None:
    if pools is None:
        return None
    return sum(pool.unit_num * len(pool.zones) for pool in pools if pool.tenant_id)


def _no_deleting(evidence: Evidence) -> Told:
    expected = "no other server leaves, stops, or has another state than before"
    zones = evidence.view.zones
    if zones is None:
        return UNKNOWN, expected, "the topology could not be read"
    old = dict(_by_address(_zones_before(evidence)))
    wrong = []
    for address, server in _by_address(zones):
        was = old.get(address)
        if address in evidence.servers:
            continue
        if server.inner_status == "DELETING":
            wrong.append(f"{address} DELETING")
        elif was and server.inner_status != was.inner_status:
            wrong.append(f"{address} {server.inner_status}, was {was.inner_status}")
        elif was and server.stop_time != was.stop_time:
            wrong.append(f"{address} was stopped or started meanwhile")
        elif was and server.start_time != was.start_time:
            wrong.append(f"{address} began to serve anew at {server.start_time}")
    if wrong:
        return (FAIL if evidence.is_late else ProofAnswer.AGAINST), expected, "; ".join(wrong)
    return PASS, expected, "as before" if old else "none leaves"


def _rootserver(evidence: Evidence) -> Told:
    expected = "exactly one root service leader"
    zones = evidence.view.zones
    if zones is None:
        return UNKNOWN, expected, "the topology could not be read"
    leaders = [
        joined_address(zone.root_server.ip, zone.root_server.svr_port)
        for zone in zones
        if zone.root_server.role == "LEADER"
    ]
    if not any(zone.root_server.role for zone in zones):
        return INFO, expected, "this version does not tell"
    if len(leaders) == 1:
        return PASS, expected, leaders[0]
    return _waits(evidence), expected, ", ".join(leaders) or "none"


def _capacity(evidence: Evidence) -> Told:
    expected = "the cluster offers as much less as what left has offered"
    before, now = evidence.before, evidence.view.totals
    if before is None or before.totals is None or now is None:
        return INFO, expected, "what the cluster offered before is not known"
    others = {address for address, _ in _by_address(_zones_before(evidence))} - evidence.servers
    if evidence.view.zones and others != {a for a, _ in _by_address(evidence.view.zones)}:
        return INFO, expected, "other servers have joined or left meanwhile"
    left = [server.stats for server in before.servers]
    cpu = before.totals.cpu_core_total - sum(each.cpu_core_total for each in left)
    memory = before.totals.memory_in_bytes_total - sum(each.memory_in_bytes_total for each in left)
    found = f"{now.cpu_core_total:g} cores, {render_bytes(now.memory_in_bytes_total)} of memory"
    if (now.cpu_core_total, now.memory_in_bytes_total) == (cpu, memory):
        return PASS, expected, found
    if any(each.cpu_core_total == 0 for each in left):
        return INFO, expected, f"{found}; what left had not told what it offers"
    return _waits(evidence), expected, f"{found}, not {cpu:g} and {render_bytes(memory)}"


def _leaders(evidence: Evidence) -> Told:
    expected = "each tenant has more serving zones than half of its zones"
    view = evidence.view
    if view.pools is None or view.zones is None:
        return INFO, expected, "this version does not tell pools"
    serving = {
        zone.name
        for zone in view.zones
        if any(s.inner_status == LIVING and is_dead(s) is not True for s in zone.servers)
    }
    lacking = [
        pool.name
        for pool in view.pools
        if pool.tenant_id and 2 * len(serving & {*pool.zones}) <= len(pool.zones)
    ]
    if lacking:
        return _waits(evidence), expected, f"not: {', '.join(lacking)}"
    return PASS, expected, "all"


def _room(evidence: Evidence) -> Told:
    expected = "what still fits, before and after"
    before, now = evidence.before, evidence.view.totals
    if before is None or before.totals is None or now is None:
        return INFO, expected, "not known"
    return INFO, expected, f"free before: {_free(before.totals)}; now: {_free(now)}"


def _free(stats: Stats) -> str:
    memory = render_bytes(stats.memory_in_bytes_total - stats.memory_in_bytes_assigned)
    return f"{stats.cpu_core_total - stats.cpu_core_assigned:g} cores, {memory} of memory"


def _zones_before(evidence: Evidence) -> tuple[Zone, ...]:
    return evidence.before.zones if evidence.before else ()


def _by_address(zones: Iterable[Zone]) -> Iterator[tuple[str, Server]]:
    for zone in zones:
        for server in zone.servers:
            yield joined_address(server.ip, server.svr_port), server


def _named(server: Server) -> str:
    return f"{joined_address(server.ip, server.svr_port)} {server.inner_status or server.status}"
