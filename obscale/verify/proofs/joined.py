"""JOINED: agent and server stand in the cluster's tables, and no DAG holds them."""

from typing import Final

from obscale.agent.models import Dag, Identity, joined_address
from obscale.maintenance_lock import Lock, lock_held_by
from obscale.scale_out_dag import LOCAL_SCALE_OUT, is_hollow
from obscale.verify.observation import (
    UNREAD_TOPOLOGY,
    Level,
    ProofAnswer,
    ProofInput,
    Row,
    Verdict,
    pass_if,
)


def _forward_success(e: ProofInput) -> Verdict:
    expected = "SUCCEED forwards, at its last stage"
    if e.dag is None:
        return ProofAnswer.NOT_APPLICABLE, expected, "no DAG: nothing was submitted"
    found = f"{e.dag.state}/{e.dag.operator} at stage {e.dag.stage}/{e.dag.max_stage}"
    good = e.dag.is_done and e.dag.stage == e.dag.max_stage
    if is_hollow(e.dag):
        good, found = False, f"{found}, but undone before and skipped: {', '.join(e.dag.skipped)}"
    return pass_if(good, ProofAnswer.FAIL), expected, found


def _identity(e: ProofInput) -> Verdict:
    info = e.after.target_info
    peers = {row.version for row in e.after.members or () if row.address != e.after.target} - {""}
    expected = f"CLUSTER AGENT in {e.node.zone}"
    expected += f", obshell {' or '.join(sorted(peers))}" if peers else ""
    if info is None:
        return ProofAnswer.UNKNOWN, expected, "the target does not answer"
    found = f"{info.identity.value} in {info.zone or 'no zone'}"
    if info.identity is Identity.CLUSTER_AGENT and info.zone not in {"", e.node.zone}:
        return e.contrary, expected, found
    if info.identity is not Identity.CLUSTER_AGENT or info.zone != e.node.zone:
        # SCALING OUT ends by itself; whoever is SINGLE again has not joined at all.
        joining = info.identity is not Identity.SINGLE
        return e.not_yet if joining else e.contrary, expected, found
    # An older agent upgrades itself while it joins, and answers with its old version until then.
    alike = not peers or not info.version or info.version in peers
    return pass_if(alike, e.contrary), expected, f"{found}, obshell {info.version or 'not told'}"


def _agent_listed(e: ProofInput) -> Verdict:
    expected = f"listed once, CLUSTER AGENT in {e.node.zone}"
    if e.after.members is None:
        return ProofAnswer.UNKNOWN, expected, "the members could not be read"
    rows = [row for row in e.after.members if row.address == e.after.target]
    found = ", ".join(f"{row.identity.value} in {row.zone}" for row in rows) or "not listed"
    if len(rows) > 1 or any(row.zone not in {"", e.node.zone} for row in rows):
        return e.contrary, expected, found
    good = (
        len(rows) == 1
        and rows[0].zone == e.node.zone
        and rows[0].identity in {Identity.CLUSTER_AGENT, Identity.UNIDENTIFIED}
    )
    return pass_if(good, e.not_yet), expected, found


def _registered(e: ProofInput) -> Verdict:
    expected = f"{joined_address(e.node.agentInfo.ip, e.rpc_port)} in {e.node.zone}"
    if e.after.zones is None:
        return ProofAnswer.UNKNOWN, expected, UNREAD_TOPOLOGY
    if (server := e.server) is None:
        elsewhere = [z.name for z in e.after.zones if any(e.is_new(s) for s in z.servers)]
        if elsewhere:
            return e.contrary, expected, f"registered in {' and '.join(elsewhere)}"
        return e.not_yet, expected, "no such server in the zone"
    if server.sql_port not in {0, e.sql_port}:
        return ProofAnswer.FAIL, f"{expected}, SQL port {e.sql_port}", f"SQL {server.sql_port}"
    return ProofAnswer.PASS, expected, f"registered, SQL port {server.sql_port}"


def _lock_released(e: ProofInput) -> Verdict:
    expected = "no DAG holds the cluster's lock"
    if e.after.unfinished is None:
        return ProofAnswer.UNKNOWN, expected, "the DAGs could not be read"
    holders = [dag for dag in e.after.unfinished if lock_held_by(dag) is not Lock.FREE]
    found = ", ".join(map(_holding, holders)) or "none"
    # A new DAG of somebody else's is no fault of this node.
    foreign = holders and all(e.dag is None or dag.id != e.dag.id for dag in holders)
    answer = ProofAnswer.INFO if foreign else pass_if(not holders, ProofAnswer.WAITING)
    return answer, expected, found


def _holding(dag: Dag) -> str:
    doubt = " (perhaps)" if lock_held_by(dag) is Lock.UNKNOWN else ""
    return f"{dag.name} {dag.id} {dag.state}{doubt}"


def _local_dag(e: ProofInput) -> Verdict:
    expected = f"the target's {LOCAL_SCALE_OUT!r} has ended"
    status = e.after.target_status
    if status is None or e.after.target_unfinished is None:
        return ProofAnswer.UNKNOWN, expected, "the target does not say"
    names = ", ".join(f"{dag.name} {dag.state}" for dag in e.after.target_unfinished)
    busy = bool(names) or status.under_maintenance
    found = names or ("under maintenance" if status.under_maintenance else "nothing unfinished")
    return pass_if(not busy, ProofAnswer.WAITING), expected, found


PROOFS: Final[tuple[Row, ...]] = (
    ("pv-dag-forward-success", Level.JOINED, _forward_success),
    ("pv-agent-identity", Level.JOINED, _identity),
    ("pv-agent-listed", Level.JOINED, _agent_listed),
    ("pv-topology-registered", Level.JOINED, _registered),
    ("pv-lock-released", Level.JOINED, _lock_released),
    ("pv-local-dag-finished", Level.JOINED, _local_dag),
)
