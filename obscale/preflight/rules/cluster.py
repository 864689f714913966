"""Rules about the cluster: the right one, and in a state to grow.

Sources: obshell ob/agent/executor/ob/cluster.go, ob/agent/service/task/status_maintainer.go,
4.5.0.0.
"""

from collections.abc import Iterable
from typing import Final

from obscale.agent.models import ClusterInfo, Dag, Identity, Server, Zone, joined_address
from obscale.maintenance_lock import Lock, lock_held_by
from obscale.preflight.facts import Facts, OfCluster, server_address
from obscale.preflight.finding import (
    Verdict,
    blocks,
    blocks_in_prod,
    fires,
    not_applicable,
    notes,
    passes,
    unknown,
    warns,
    warns_always,
)
from obscale.preflight.rule import BLOCK, INFO, WARN, rule
from obscale.reading import CLUSTER_FACTS_MISSING, Unread
from obscale.scale_out_dag import SCALE_OUT, target_of

ACTIVE: Final = "ACTIVE"
EPOCH_YEAR: Final = 1971
"""Go's zero time is the year 1, OceanBase's the epoch; both mean never."""


@rule(
    "cluster-agent-identity",
    "the entry agent is a member of the cluster",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST",
    ground="A",
    only_new=False,
    source="ob/agent/executor/ob/scale_out.go, 4.5.0.0",
)
def cluster_agent_identity(facts: Facts) -> Verdict:
    """Asked of the agent the request will be sent to."""
    info = facts.cluster.info
    if isinstance(info, Unread):
        return unknown(info, "CLUSTER AGENT")
    if info.identity is not Identity.CLUSTER_AGENT:
        return blocks(
            f"{facts.cluster.entry} is {info.identity.value}",
            "CLUSTER AGENT",
            "name a member of the cluster as endpoint",
        )
    return passes("CLUSTER AGENT", "CLUSTER AGENT")


@rule(
    "cluster-identity-pinned",
    "this is the cluster that was meant",
    prod=BLOCK,
    lab=WARN,
    otherwise="SILENT: the node would join another cluster",
    ground="A",
    only_new=False,
    source="obshell GET /obcluster/info, GET /ob/info",
)
def cluster_identity_pinned(facts: OfCluster) -> Verdict:
    """Name and id as expected; in production both should be said."""
    known = _name_and_id(facts)
    if isinstance(known, Unread):
        return unknown(known, _expected(facts))
    name, number = known
    measured = f"{name}/{number}"
    wrong_name = facts.expected_name is not None and facts.expected_name != name
    wrong_id = facts.expected_id is not None and facts.expected_id != number
    if wrong_name or wrong_id:
        return blocks_in_prod(measured, _expected(facts), "correct the endpoint, or name and id")
    if facts.expected_name is None or facts.expected_id is None:
        return warns(
            f"{measured}, but name and id were not both expected",
            "name and id in the request",
            f"write cluster.name: {name} and cluster.id: {number}",
        )
    return passes(measured, _expected(facts))


def _name_and_id(facts: OfCluster) -> tuple[str, int] | Unread:
    if known := facts.cluster.identity():
        return known
    info = facts.cluster.cluster_info
    return info if isinstance(info, Unread) else Unread("the cluster does not tell its name")


def _expected(facts: OfCluster) -> str:
    if facts.expected_name is None and facts.expected_id is None:
        return "not said"
    return f"{facts.expected_name or '*'}/{facts.expected_id or '*'}"


@rule(
    "cluster-maintenance",
    "no DAG holds the cluster's maintenance lock",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST",
    ground="A",
    only_new=False,
    softens=True,
    source="ob/agent/service/task/status_maintainer.go, 4.5.0.0",
)
def cluster_maintenance(facts: Facts) -> Verdict:
    """Told by kind, stage and state of each DAG; `underMaintenance` of an agent says nothing of it.

    Where that does not tell, a warning: obshell refuses the POST where the lock is held, and
    creates nothing.
    """
    dags = facts.cluster.unfinished
    if isinstance(dags, Unread):
        return unknown(dags, "no holder")
    own = facts.own_dag()
    holders = [dag for dag in dags if lock_held_by(dag) is Lock.HOLDS]
    measured = ", ".join(named(dag) for dag in holders)
    if own is not None and holders == [own]:
        return notes(measured, "no holder", "it is this target's own and will be adopted")
    if holders:
        return blocks(measured, "no holder", _release(holders))
    if doubtful := [dag for dag in dags if lock_held_by(dag) is Lock.UNKNOWN]:
        return warns_always(
            f"{', '.join(map(named, doubtful))}: whether it holds the lock cannot be told",
            "no holder",
            "go on: where it does, obshell refuses the request and creates nothing; or have "
            f"DAG {', '.join(dag.id for dag in doubtful)} retried or rolled back by its owner",
        )
    return passes("free", "no holder")


@rule(
    "cluster-unfinished-dag",
    "no DAG of the cluster is left unfinished",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST or stage 2",
    ground="A",
    only_new=False,
    softens=True,
    source="obshell GET /task/dag/ob/unfinish",
)
def cluster_unfinished_dag(facts: Facts) -> Verdict:
    """One that holds the lock blocks, any other is told; this target's own is taken up instead."""
    dags = facts.cluster.unfinished
    if isinstance(dags, Unread):
        return unknown(dags, "none")
    if not dags:
        return passes("none", "none")
    own = facts.own_dag()
    measured = ", ".join(named(dag) for dag in dags)
    others = [dag for dag in dags if dag is not own]
    if not others:
        return notes(measured, "none", "it is this target's own and will be adopted")
    if holders := [dag for dag in others if lock_held_by(dag) is Lock.HOLDS]:
        return blocks(measured, "none", _release(holders))
    free = all(lock_held_by(dag) is Lock.FREE for dag in others)
    return warns(
        f"{', '.join(map(named, others))}{': it holds no lock' if free else ''}",
        "none",
        "a node can be added beside it; its owner may retry or roll it back at any time",
    )


def named(dag: Dag) -> str:
    """Name a DAG for a person: name, target, id, state and stage."""
    target = target_of(dag) if dag.name == SCALE_OUT else None
    of_target = f" of {target}" if target else ""
    return (
        f"{dag.name}{of_target} ({dag.id}) {dag.state.value} at stage {dag.stage}/{dag.max_stage}"
    )


def _release(dags: Iterable[Dag]) -> str:
    stuck = [dag.id for dag in dags if dag.is_failed]
    if stuck:
        return (
            f"have DAG {', '.join(stuck)} retried or rolled back by its owner; it never ends itself"
        )
    return "wait for its end"


@rule(
    CLUSTER_FACTS_MISSING,
    "the cluster's parameters and resources can be looked at",
    prod=WARN,
    lab=INFO,
    otherwise="",
    source="obshell GET /obcluster/info, 4.3.0.0",
)
def cluster_facts_missing(facts: OfCluster) -> Verdict:
    """One finding for all rules that need them."""
    cluster = facts.cluster
    gaps = {
        "/obcluster/info": cluster.cluster_info,
        "/obcluster/parameters": cluster.parameters,
        "/obcluster/unit-config-limit": cluster.unit_config_limit,
        "/obcluster/statistics": cluster.statistics,
        "/units/config": cluster.unit_configs,
        "/resource-pools": cluster.pools,
        "/tenants/overview": cluster.tenants,
    }
    unread = {path: gap for path, gap in gaps.items() if isinstance(gap, Unread)}
    if not unread:
        return passes("parameters and resources are told")
    # What a version does not have is one reason, however many endpoints it is; silence is told.
    reasons = dict.fromkeys(
        gap.reason if gap.supported else "this version of obshell has no such endpoint"
        for gap in unread.values()
    )
    return unknown(
        f"{', '.join(unread)}: {'; '.join(reasons)}",
        "all of them",
        "ask a newer agent of the same cluster first"
        if any(not gap.supported for gap in unread.values())
        else "see why the cluster's database does not answer",
    )


@rule(
    "cluster-view-degraded",
    "the cluster's answer comes from its database",
    prod=BLOCK,
    lab=WARN,
    otherwise="stage 1",
    ground="C",
    source="ob/agent/executor/ob/cluster.go, 4.4.1.0: without database a degraded answer",
)
def cluster_view_degraded(facts: Facts) -> Verdict:
    """A degraded answer looks like a cluster without state."""
    info = facts.cluster.cluster_info
    if isinstance(info, Unread):
        members = facts.cluster.ob_info
        if not isinstance(members, Unread) and members.obcluster_info.topology is None:
            return fires(
                "/ob/info has no topology: the database did not answer",
                "the database's own view",
                "look at the cluster's database first",
            )
        return unknown(info, "the database's own view")
    signs = _signs_of_degradation(info)
    if signs:
        return fires(
            ", ".join(signs), "the database's own view", "look at the cluster's database first"
        )
    return passes("the database's own view")


def _signs_of_degradation(info: ClusterInfo) -> list[str]:
    signs = []
    if not info.ob_version:
        signs.append("no version")
    if not info.stats.memory_in_bytes_total and not info.stats.cpu_core_total:
        signs.append("no resources")
    if any(not zone.inner_status for zone in info.zones) or not info.zones:
        signs.append("zones without state")
    return signs


@rule(
    "cluster-rootservice-present",
    "the cluster has its root service",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 7",
    ground="A",
    source="obshell GET /obcluster/topology/info",
)
def cluster_rootservice_present(facts: OfCluster) -> Verdict:
    """One server leads; ADD SERVER goes to it."""
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology, "one leader")
    leaders = [
        joined_address(zone.root_server.ip, zone.root_server.svr_port)
        for zone in facts.cluster.zones()
        if zone.root_server.role.upper() == "LEADER"
    ]
    # /ob/info and older versions mark the server itself.
    marked = [server_address(s) for _, s in facts.cluster.servers() if s.with_rootserver]
    found = leaders or marked
    if len(found) == 1:
        return passes(found[0], "one leader")
    if not found:
        return blocks("no server leads", "one leader", "look at the cluster's database first")
    return blocks(" and ".join(found), "one leader", "wait for the election to end")


@rule(
    "cluster-members-healthy",
    "the servers the cluster has are well",
    prod=WARN,
    lab=WARN,
    worst=(BLOCK, WARN),
    otherwise="stage 7 may still succeed",
    ground="B",
    source="obshell GET /obcluster/info",
)
def cluster_members_healthy(facts: Facts) -> Verdict:
    """A dead node is the commonest reason to add one; a lost majority is another thing."""
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology, "all ACTIVE")
    zones = facts.cluster.zones()
    sick = [
        f"{server_address(server)} {trouble}"
        for _, server in facts.cluster.servers()
        if (trouble := trouble_of(server))
    ]
    # The zone that is to grow is the business of `zone-exists-active`.
    sick += [
        f"zone {zone.name} {zone.inner_status}"
        for zone in zones
        if zone.inner_status not in {"", ACTIVE} and zone.name != facts.node.zone
    ]
    if not sick:
        return passes(f"{len(facts.cluster.servers())} servers ACTIVE", "all ACTIVE")
    lost = [zone.name for zone in zones if zone.servers and not _has_healthy(zone)]
    remedy = "mend or remove them"
    if zones and 2 * len(lost) >= len(zones):
        return blocks_in_prod(
            f"{', '.join(sick)}; without a healthy server: {', '.join(lost)}",
            "a majority of zones",
            remedy,
        )
    return fires(", ".join(sick), "all ACTIVE", f"{remedy}; if this node replaces one, accept it")


def _has_healthy(zone: Zone) -> bool:
    return any(not trouble_of(server) for server in zone.servers)


def trouble_of(server: Server) -> str:
    """Say why a server does not serve tenants in full; empty where it does."""
    if server.inner_status and server.inner_status != ACTIVE:
        return server.inner_status
    if server.status and server.status not in {"RUNNING", ACTIVE}:
        return server.status
    if server.stop_time is not None and server.stop_time.year >= EPOCH_YEAR:
        return "stopped"
    if server.start_time is not None and server.start_time.year < EPOCH_YEAR:
        return "not in service"
    return ""


@rule(
    "rebalance-impact",
    "it is known whether data will move",
    prod=INFO,
    lab=INFO,
    otherwise="RUNTIME load",
    source="OceanBase parameter enable_rebalance",
)
def rebalance_impact(facts: Facts) -> Verdict:
    """With rebalancing on, units may migrate as soon as the server is active."""
    gap = facts.cluster.parameters
    if isinstance(gap, Unread):
        return unknown(Unread(gap.reason, gap.supported, CLUSTER_FACTS_MISSING))
    row = facts.cluster.parameter("enable_rebalance")
    values = {value.value.lower() for value in row.ob_parameters} if row else set()
    if not values:
        return not_applicable("enable_rebalance is not listed")
    if "true" in values or "1" in values:
        return fires(
            "enable_rebalance True: units may move at once",
            "",
            "pick a quiet hour, or turn enable_rebalance off first",
        )
    return notes("enable_rebalance False: the node stays empty", remedy="turn it on later")


RULES: Final = (
    cluster_agent_identity,
    cluster_identity_pinned,
    cluster_maintenance,
    cluster_unfinished_dag,
    cluster_facts_missing,
    cluster_view_degraded,
    cluster_rootservice_present,
    cluster_members_healthy,
    rebalance_impact,
)
