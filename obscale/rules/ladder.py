"""What proves that a node joined, serves, and is what was asked for?

The rungs are climbed in order: JOINED (agent and server rows) → SERVING (service started,
connectable and steady) → CONFORMING (version, parameters, directories, capacity). Each proof is one
line. A proof whose evidence could not be read is unknown and holds its rung back, except where this
version never shows it.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import (
    Dag,
    Identity,
    Server,
    Zone,
)
from obscale.rules.adoption import holds_lock
from obscale.rules.aftermath import (
    Aftermath,
    Evidence,
    Proof,
    ProofAnswer,
    ProofLine,
    Rung,
    Verdict,
)
from obscale.rules.asked import NodeSpec
from obscale.sizes import SizeError, parse_capacity, render_bytes

CONNECTABLE: Final = 3
"""obState of an observer that takes connections."""
CAPACITY_TOLERANCE: Final = 0.01
"""Reported capacities are rounded by the server; within 1 % they are the same."""
NO_START_BEFORE: Final = datetime(1990, 1, 1, tzinfo=UTC)
"""A start of service before this is the year 1 or the epoch: none."""
START_ONLY: Final = {
    *("mysql_port", "rpc_port", "mysqlPort", "rpcPort"),
    *("data_dir", "redo_dir", "clog_dir", "slog_dir", "homePath"),
    *("zone", "cluster", "cluster_id", "local_ip", "devname", "rootPwd", "rootservice_list"),
}
"""obConfigs keys obshell consumes itself; the topology proves them, not the parameters."""


class Ladder(BaseModel):
    """All proofs and the highest rung below which nothing hinders."""

    model_config = ConfigDict(frozen=True)

    rung: Rung
    lines: tuple[ProofLine, ...]


def judge_ladder(
    node: NodeSpec,
    *,
    dag: Dag | None,
    before: Sequence[Zone],
    after: Aftermath,
    ob_states: Sequence[tuple[float, int | None]],
    steady_seconds: float,
) -> Ladder:
    """Judge every proof up to CONFORMING.

    Args:
        node: What was asked.
        dag: The DAG as it ended, with details; None when the node was a member already.
        before: The topology before anything was done; empty when unknown.
        after: What is seen now.
        ob_states: The target's obState, (seconds, value), oldest first; None: no answer.
        steady_seconds: How long obState has to hold.
    """
    evidence = Evidence(
        node, dag, tuple(before), after, (_held(ob_states, steady_seconds), steady_seconds)
    )
    lines = tuple(_line(name, rung, proof, evidence) for name, rung, proof in PROOFS)
    lines += tuple(_parameter_lines(evidence))
    rung = Rung.NONE
    for step in (Rung.JOINED, Rung.SERVING, Rung.CONFORMING):
        if any(line.hinders for line in lines if line.rung <= step):
            break
        rung = step
    return Ladder(rung=rung, lines=lines)


def still_waiting(ladder: Ladder) -> tuple[ProofLine, ...]:
    """Give the lines that may still turn by waiting; a failed one ends the waiting at once."""
    if any(line.answer is ProofAnswer.FAIL for line in ladder.lines):
        return ()
    waits = {ProofAnswer.WAITING, ProofAnswer.UNKNOWN}
    return tuple(line for line in ladder.lines if line.answer in waits)


def _line(name: str, rung: Rung, proof: Proof, evidence: Evidence) -> ProofLine:
    answer, expected, found = proof(evidence)
    return ProofLine(id=name, rung=rung, answer=answer, expected=expected, found=found)


def _held(readings: Sequence[tuple[float, int | None]], steady_seconds: float) -> float:
    """Give how long obState has been 3 up to the last reading; -1 when it is not now."""
    since: float | None = None
    held = -1.0
    count = 0
    for at, value in readings:
        if value != CONNECTABLE:
            since, held, count = None, -1.0, 0
            continue
        since = at if since is None else since
        count += 1
        held = at - since
    # One lucky look proves nothing, however short the wanted time.
    return held if count >= 2 or steady_seconds == 0 else min(held, 0.0)  # noqa: PLR2004


def _forward_success(e: Evidence) -> Verdict:
    expected = "SUCCEED forwards, at its last stage"
    if e.dag is None:
        return ProofAnswer.NOT_APPLICABLE, expected, "no DAG: a member already"
    found = f"{e.dag.state}/{e.dag.operator} at stage {e.dag.stage}/{e.dag.max_stage}"
    good = e.dag.is_done and e.dag.stage == e.dag.max_stage
    return _if(good, ProofAnswer.FAIL), expected, found


def _identity(e: Evidence) -> Verdict:
    expected = f"CLUSTER AGENT in {e.node.zone}"
    info = e.after.target_info
    if info is None:
        return ProofAnswer.UNKNOWN, expected, "the target does not answer"
    found = f"{info.identity.value} in {info.zone or 'no zone'}"
    good = info.identity is Identity.CLUSTER_AGENT and info.zone == e.node.zone
    return _if(good, ProofAnswer.WAITING), expected, found


def _agent_listed(e: Evidence) -> Verdict:
    expected = f"listed once, in {e.node.zone}"
    if e.after.members is None:
        return ProofAnswer.UNKNOWN, expected, "the members could not be read"
    rows = [row for row in e.after.members if row.address == e.after.target]
    found = ", ".join(f"{row.address} in {row.zone}" for row in rows) or "not listed"
    good = len(rows) == 1 and rows[0].zone == e.node.zone
    return _if(good, ProofAnswer.WAITING), expected, found


def _registered(e: Evidence) -> Verdict:
    address = f"{e.node.agentInfo.ip}:{e.rpc_port}"
    expected = f"{address} in {e.node.zone}"
    if e.after.zones is None:
        return ProofAnswer.UNKNOWN, expected, "the topology could not be read"
    wanted_sql = int(e.node.obConfigs.get("mysql_port") or 2881)
    if (server := e.server) is None:
        return ProofAnswer.WAITING, expected, "no such server in the zone"
    if server.sql_port not in {0, wanted_sql}:
        return ProofAnswer.FAIL, f"{expected}, SQL port {wanted_sql}", f"SQL {server.sql_port}"
    return ProofAnswer.PASS, expected, f"registered, SQL port {server.sql_port}"


def _lock_released(e: Evidence) -> Verdict:
    expected = "no DAG holds the cluster's lock"
    if e.after.unfinished is None:
        return ProofAnswer.UNKNOWN, expected, "the DAGs could not be read"
    holders = [dag for dag in e.after.unfinished if holds_lock(dag)]
    found = ", ".join(f"{dag.name} {dag.id} {dag.state}" for dag in holders) or "none"
    # A new DAG of somebody else's is no fault of this node.
    foreign = holders and all(e.dag is None or dag.id != e.dag.id for dag in holders)
    return (ProofAnswer.INFO if foreign else _if(not holders, ProofAnswer.WAITING)), expected, found


def _local_dag(e: Evidence) -> Verdict:
    expected = "the target's own DAG has ended"
    status = e.after.target_status
    if status is None or e.after.target_unfinished is None:
        return ProofAnswer.UNKNOWN, expected, "the target does not say"
    names = ", ".join(f"{dag.name} {dag.state}" for dag in e.after.target_unfinished)
    busy = bool(names) or status.under_maintenance
    found = names or ("under maintenance" if status.under_maintenance else "nothing unfinished")
    return _if(not busy, ProofAnswer.WAITING), expected, found


def _status_active(e: Evidence) -> Verdict:
    return _server_fact(e, "ACTIVE", lambda s: (s.inner_status or s.status, s.inner_status))


def _service_started(e: Evidence) -> Verdict:
    expected = "service started, not stopped"
    if (server := e.server) is None:
        return ProofAnswer.WAITING, expected, "no server row"
    if server.start_time is None:
        return _untold(e), expected, "not told"
    if server.stop_time is not None and server.stop_time > NO_START_BEFORE:
        return ProofAnswer.FAIL, expected, f"stopped at {server.stop_time.isoformat()}"
    started = server.start_time > NO_START_BEFORE
    found = f"since {server.start_time.isoformat(' ', 'seconds')}" if started else "not yet"
    return _if(started, ProofAnswer.WAITING), expected, found


def _obshell_status(e: Evidence) -> Verdict:
    return _server_fact(e, "RUNNING", lambda s: (s.status, s.status))


def _ob_state(e: Evidence) -> Verdict:
    held, wanted = e.steady
    expected = f"obState 3 for {wanted:g} s"
    status = e.after.target_status
    if status is None:
        return ProofAnswer.UNKNOWN, expected, "the target does not answer"
    if held < 0:
        return ProofAnswer.WAITING, expected, f"obState {status.ob_state}"
    if held >= wanted:
        return ProofAnswer.PASS, expected, "obState 3, held"
    return ProofAnswer.WAITING, expected, f"obState 3 for {held:.0f} s so far"


def _zone_active(e: Evidence) -> Verdict:
    if e.after.zones is None:
        return ProofAnswer.UNKNOWN, "zone ACTIVE", "the topology could not be read"
    if (zone := e.zone) is None:
        return ProofAnswer.WAITING, "zone ACTIVE", f"no zone {e.node.zone}"
    if not zone.inner_status:
        return _untold(e), "zone ACTIVE", "not told"
    return _if(zone.inner_status == "ACTIVE", ProofAnswer.WAITING), "zone ACTIVE", zone.inner_status


def _version_equal(e: Evidence) -> Verdict:
    expected = "one version on all servers"
    if e.after.zones is None:
        return ProofAnswer.UNKNOWN, expected, "the topology could not be read"
    # What follows the dash is a hash and a date of the same build.
    versions = {
        s.version.partition("-")[0] for zone in e.after.zones for s in zone.servers if s.version
    }
    found = ", ".join(sorted(versions)) or "not told"
    if not versions:
        return ProofAnswer.UNKNOWN, expected, found
    return _if(len(versions) == 1, ProofAnswer.FAIL), expected, found


def _directories(e: Evidence) -> Verdict:
    wanted = {
        key: e.node.obConfigs[key].rstrip("/")
        for key in ("data_dir", "redo_dir")
        if e.node.obConfigs.get(key)
    }
    if not wanted:
        return ProofAnswer.NOT_APPLICABLE, "the directories asked for", "none was asked for"
    expected = ", ".join(f"{key} {path}" for key, path in wanted.items())
    if (server := e.server) is None:
        return ProofAnswer.WAITING, expected, "no server row"
    found = {key: getattr(server, key) for key in wanted}
    if not any(found.values()):
        return ProofAnswer.INFO, expected, "this version does not tell"
    text = ", ".join(f"{key} {path}" for key, path in found.items())
    # A real path may differ through links, so a difference is for a person to look at.
    return (ProofAnswer.PASS if found == wanted else ProofAnswer.INFO), expected, text


def _capacity(e: Evidence) -> Verdict:
    limit, system = (_asked_bytes(e, key) for key in ("memory_limit", "system_memory"))
    if not limit or not system:
        return ProofAnswer.NOT_APPLICABLE, "memory_limit − system_memory", "not both asked for"
    expected = f"{render_bytes(limit - system)} for units"
    if (server := e.server) is None:
        return ProofAnswer.WAITING, expected, "no server row"
    if not server.stats.memory_in_bytes_total:
        answer = ProofAnswer.WAITING if e.after.is_detailed else ProofAnswer.INFO
        return answer, expected, "not reported yet" if e.after.is_detailed else "not told"
    offered = server.stats.memory_in_bytes_total
    good = abs(offered - (limit - system)) <= CAPACITY_TOLERANCE * (limit - system)
    return _if(good, ProofAnswer.FAIL), expected, render_bytes(offered)


def _no_collateral(e: Evidence) -> Verdict:
    expected = "no other server changed for the worse"
    if not e.before or e.after.zones is None:
        return ProofAnswer.INFO, expected, "no view of before to compare with"
    now = {(s.ip, s.svr_port): s for zone in e.after.zones for s in zone.servers}
    harmed = []
    for zone in e.before:
        for old in zone.servers:
            new = now.get((old.ip, old.svr_port))
            if new is None or (new.inner_status, new.status) != (old.inner_status, old.status):
                harmed.append(f"{old.ip}:{old.svr_port} {new.status if new else 'gone'}")
    if not any(zone.root_server.ip or _has_root(zone) for zone in e.after.zones):
        harmed.append("no root service")
    return _if(not harmed, ProofAnswer.WAITING), expected, ", ".join(harmed) or "all as before"


PROOFS: Final[tuple[tuple[str, Rung, Proof], ...]] = (
    ("pv-dag-forward-success", Rung.JOINED, _forward_success),
    ("pv-agent-identity", Rung.JOINED, _identity),
    ("pv-agent-listed", Rung.JOINED, _agent_listed),
    ("pv-topology-registered", Rung.JOINED, _registered),
    ("pv-lock-released", Rung.JOINED, _lock_released),
    ("pv-local-dag-finished", Rung.JOINED, _local_dag),
    ("pv-status-active", Rung.SERVING, _status_active),
    ("pv-service-started", Rung.SERVING, _service_started),
    ("pv-obshell-status", Rung.SERVING, _obshell_status),
    ("pv-ob-state", Rung.SERVING, _ob_state),
    ("pv-zone-active", Rung.SERVING, _zone_active),
    ("pv-version-equal", Rung.CONFORMING, _version_equal),
    ("pv-dirs", Rung.CONFORMING, _directories),
    ("pv-capacity-server", Rung.CONFORMING, _capacity),
    ("pv-no-collateral", Rung.CONFORMING, _no_collateral),
)


def _parameter_lines(e: Evidence) -> list[ProofLine]:
    """Give one line per requested key, so that a difference names its key."""
    lines = []
    for key, asked in sorted(e.node.obConfigs.items()):
        if key in START_ONLY or not asked:
            continue
        answer, found = _parameter(e, key, asked)
        lines.append(
            ProofLine(
                id=f"pv-params-effective:{key}",
                rung=Rung.CONFORMING,
                answer=answer,
                expected=asked,
                found=found,
            )
        )
    return lines


def _parameter(e: Evidence, key: str, asked: str) -> tuple[ProofAnswer, str]:
    if key.startswith("_"):
        return ProofAnswer.INFO, "hidden parameters are not shown by obshell"
    if not e.after.parameters_supported:
        return ProofAnswer.INFO, "this version does not show parameters"
    if e.after.parameters is None:
        return ProofAnswer.UNKNOWN, "the parameters could not be read"
    row = next((p for p in e.after.parameters if p.name == key), None)
    if row is None:
        return ProofAnswer.FAIL, "the cluster knows no such parameter: it was ignored"
    ip, port = e.node.agentInfo.ip, e.rpc_port
    values = [v.value for v in row.ob_parameters if (v.svr_ip, v.svr_port) == (ip, port)]
    if not values:
        return ProofAnswer.WAITING, "no value for the new server yet"
    good = same_value(asked, values[0])
    return _if(good, ProofAnswer.FAIL), values[0]


def same_value(asked: str, found: str) -> bool:
    """Whether two parameter values mean the same: capacities by bytes, words without case."""
    try:
        return parse_capacity(asked) == parse_capacity(found)
    except SizeError:
        return asked.strip().lower() == found.strip().lower()


def _asked_bytes(e: Evidence, key: str) -> int | None:
    try:
        return parse_capacity(e.node.obConfigs.get(key, ""))
    except SizeError:
        return None


def _server_fact(e: Evidence, wanted: str, read: Callable[[Server], tuple[str, str]]) -> Verdict:
    if e.after.zones is None:
        return ProofAnswer.UNKNOWN, wanted, "the topology could not be read"
    if (server := e.server) is None:
        return ProofAnswer.WAITING, wanted, "no server row"
    found, decisive = read(server)
    if not decisive:
        return ProofAnswer.INFO, wanted, f"this version tells only {found!r}"
    return _if(decisive == wanted, ProofAnswer.WAITING), wanted, found


def _untold(e: Evidence) -> ProofAnswer:
    """What a version never tells does not hold its rung back; what it should tell does."""
    return ProofAnswer.UNKNOWN if e.after.is_detailed else ProofAnswer.INFO


def _has_root(zone: Zone) -> bool:
    return any(server.with_rootserver for server in zone.servers)


def _if(good: bool, otherwise: ProofAnswer) -> ProofAnswer:
    return ProofAnswer.PASS if good else otherwise
