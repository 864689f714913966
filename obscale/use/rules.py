"""Rules about giving a tenant another number of units.

Sources: obshell ob/agent/executor/tenant/modify_replicas.go, ob/agent/executor/zone/check.go,
4.5.0.0; OceanBase src/rootserver/ob_unit_manager.cpp, 4.x; OceanBase's documentation on the number
of units.
"""

import re
from collections.abc import Iterator
from typing import Final

from obscale.agent.models import Dag
from obscale.agent.resources import Tenant
from obscale.maintenance_lock import TENANT_MAINTENANCE, Lock, lock_held_by
from obscale.preflight.facts import server_address
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
)
from obscale.preflight.rule import BLOCK, INFO, WARN, Rule, rule
from obscale.preflight.rules.cluster import trouble_of
from obscale.preflight.rules.cluster_mode import SYS_TENANT_ID
from obscale.preflight.tenant_room import zone_fits_of
from obscale.reading import Unread
from obscale.use.facts import UseFacts
from obscale.use.tenant_dag import is_of_tenant, number_of

FULL: Final = "FULL"
_REPLICA = re.compile(r"(\w+)(?:\{\d+\})?@([^,\s]+)")


@rule(
    "un-sys",
    "the tenant is one of users",
    prod=BLOCK,
    lab=WARN,
    otherwise="RUNTIME: tenant sys with several units in a zone",
    ground="B",
    source="OceanBase documentation, tenant sys",
)
def un_sys(facts: UseFacts) -> Verdict:
    """`sys` keeps one unit in each zone."""
    if isinstance(facts.tenant, Unread):
        return unknown(facts.tenant, "a tenant of users")
    if facts.tenant.tenant_id == SYS_TENANT_ID:
        return fires("tenant sys", "a tenant of users", "leave sys at one unit a zone")
    return passes(f"tenant {facts.tenant.tenant_name}", "a tenant of users")


@rule(
    "un-hetero",
    "the tenant has the same number of units in all its zones",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="SILENT: obshell reads the number of one pool alone",
    ground="A",
    source="ob/agent/executor/tenant/modify_replicas.go, 4.5.0.0; zone_deploy_mode hetero",
)
def un_hetero(facts: UseFacts) -> Verdict:
    """A tenant may have two numbers in recent releases; obshell knows one."""
    needed = "one number for all zones"
    if isinstance(facts.tenant, Unread):
        return unknown(facts.tenant, needed)
    if not facts.pools:
        return blocks("the tenant has no resource pool", needed, "see whether it is being made")
    if facts.unit_num is None:
        told = ", ".join(f"{'+'.join(pool.zones)} {pool.unit_num}" for pool in facts.pools)
        return blocks(f"unit_num by zone: {told}", needed, "change it with SQL")
    return passes(f"unit_num {facts.unit_num} in {', '.join(facts.zones)}", needed)


@rule(
    "un-locality",
    "every zone with units has a full replica",
    prod=BLOCK,
    lab=WARN,
    otherwise="RUNTIME: read-only replicas take units and data too",
    ground="C",
    source="ob/agent/executor/zone/check.go, 4.5.0.0; locality of GET /tenant/{name}",
)
def un_locality(facts: UseFacts) -> Verdict:
    """The number is set for all zones at once, those with a read-only replica alone included."""
    needed = "FULL in every zone of the tenant"
    if isinstance(facts.tenant, Unread):
        return unknown(facts.tenant, needed)
    kinds = _replicas(facts.tenant)
    if not kinds:
        return unknown("the tenant's locality is not told", needed)
    wrong = [f"{zone} {kinds.get(zone, 'none')}" for zone in facts.zones if kinds.get(zone) != FULL]
    wrong += [f"{zone} has no pool" for zone in kinds if zone not in facts.zones]
    if wrong:
        return fires(", ".join(wrong), needed, "set the locality right first, with SQL")
    return passes(f"FULL in {', '.join(facts.zones)}", needed)


@rule(
    "un-max",
    "every zone of the tenant has as many servers that serve",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST, or in its DAG where a server is down: obshell counts those of any status",
    ground="A",
    source="ob/agent/executor/tenant/modify_replicas.go, 4.5.0.0",
)
def un_max(facts: UseFacts) -> Verdict:
    """Two units of one tenant never share a server."""
    wanted = facts.order.unit_num
    needed = f"≥ {wanted} in each zone"
    gap = _gap(facts)
    if gap is not None:
        return unknown(gap, needed)
    counts = {
        name: sum(not trouble_of(server) for _, server in facts.servers_of(name))
        for name in facts.zones
    }
    told = ", ".join(f"{name} {count}" for name, count in counts.items())
    short = [name for name, count in counts.items() if count < wanted]
    if short:
        most = min(counts.values())
        lacking = [name for name in short if len(facts.servers_of(name)) < wanted]
        idle = [
            server_address(server)
            for name in short
            for _, server in facts.servers_of(name)
            if name not in lacking and trouble_of(server)
        ]
        back = f"have {', '.join(idle)} serve again"
        add = f"add servers to {', '.join(lacking)}"
        cure = f"{back} and {add}" if idle and lacking else back if idle else add
        remedy = f"{cure}, or ask for --unit-num {most}" if most else cure
        return blocks(f"servers that serve: {told}", needed, remedy)
    return passes(f"servers that serve: {told}", needed)


@rule(
    "un-room",
    "the servers that would take the new units have room for them",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="in its DAG: machine resource is not enough",
    ground="A",
    source="src/rootserver/ob_unit_manager.cpp; PATCH does not look",
)
def un_room(facts: UseFacts) -> Verdict:
    """In each zone so many servers without a unit of it have cores, memory and log disk for one."""
    gap = _gap(facts)
    if gap is None and isinstance(facts.cluster.pools, Unread):
        gap = facts.cluster.pools
    if gap is None and isinstance(facts.cluster.unit_configs, Unread):
        gap = facts.cluster.unit_configs
    if gap is not None:
        return unknown(gap, "room for each new unit")
    before = facts.unit_num
    if before is None:
        return not_applicable("its pools have different numbers, see un-hetero")
    more = facts.order.unit_num - before
    if more <= 0:
        return not_applicable("no unit is added")
    assert not isinstance(facts.tenant, Unread)  # noqa: S101 - _gap has looked
    needed = f"{more} more in each zone"
    fits = zone_fits_of(facts.cluster, facts.tenant.tenant_id)
    short = [fit for fit in fits if fit.units is not None and fit.units < more]
    if short:
        told = "; ".join(f"{fit.zone} {fit.units} more fit: {fit.why}" for fit in short)
        return blocks(told, needed, "add servers, or free what is short there")
    if unsure := [fit.why for fit in fits if fit.units is None] or (not fits and ["no zone"]):
        return unknown(unsure[0], needed)
    return passes(", ".join(f"{fit.zone} {fit.units} more fit" for fit in fits), needed)


@rule(
    "un-rebalance",
    "the tenant's enable_rebalance is on",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST",
    ground="A",
    softens=True,
    source="ob/agent/executor/zone/check.go, 4.5.0.0; OceanBase parameters enable_rebalance and "
    "enable_transfer",
)
def un_rebalance(facts: UseFacts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """Without it another number is refused by obshell, whatever OceanBase would say."""
    needed = "enable_rebalance True"
    gap = facts.cluster.parameters
    if isinstance(gap, Unread):
        return unknown(gap, needed)
    if isinstance(facts.tenant, Unread):
        return unknown(facts.tenant, needed)
    before = facts.unit_num
    if before == facts.order.unit_num:
        return not_applicable("the number does not change")
    values = facts.tenant_values("enable_rebalance")
    if not values:
        return unknown("enable_rebalance of this tenant is not listed", needed)
    if not values <= {"true", "1"}:
        name = facts.order.tenant
        remedy = f"ALTER SYSTEM SET enable_rebalance = True TENANT = {name};"
        return blocks("enable_rebalance False", needed, remedy)
    if facts.tenant_values("enable_transfer") & {"false", "0"}:
        said = "enable_transfer False: data moves in whole log streams only"
        return warns(said, "enable_transfer True", "turn it on first, so that data spreads evenly")
    return passes("enable_rebalance True", needed)


@rule(
    "un-job",
    "no DAG is in the way",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST",
    ground="A",
    softens=True,
    source="ob/agent/service/task/status_maintainer.go, 4.5.0.0",
)
def un_job(facts: UseFacts) -> Iterator[Verdict]:
    """One of this tenant at work, or one that holds the lock of the whole cluster.

    A FAILED one of the tenant holds nothing, and stays listed; a retry of it is refused once a
    newer one has run.
    """
    needed = "none"
    dags = facts.cluster.unfinished
    if isinstance(dags, Unread):
        yield unknown(dags, needed)
        return
    wanted, found = facts.order.unit_num, False
    for dag in dags:
        own = is_of_tenant(dag, facts.order.tenant)
        held = lock_held_by(dag)
        said = f"DAG {dag.id} {dag.name!r} {dag.state.value}"
        if own and dag.is_failed:
            yield notes(f"{said}: a newer one takes its place", needed)
        elif own and number_of(dag) == wanted:
            yield notes(f"{said} brings unit_num {wanted}: it is taken up", needed)
        elif own:
            yield blocks(f"{said} of this tenant", needed, "wait for its end")
        elif _is_of_other_tenant(dag) or held is Lock.FREE:
            continue
        elif held is Lock.UNKNOWN:
            yield warns(f"{said}: whether it holds the lock is not told", needed)
        else:
            yield blocks(f"{said} holds the cluster's lock", needed, "wait for its end, or mend it")
        found = True
    if not found:
        yield passes("none", needed)


@rule(
    "un-down",
    "the number is not lowered",
    prod=WARN,
    lab=INFO,
    otherwise="RUNTIME: data moves",
    source="OceanBase documentation, lowering UNIT_NUM",
)
def un_down(facts: UseFacts) -> Verdict:
    """OceanBase chooses which units go, and their data moves to those that stay."""
    before, wanted = facts.unit_num, facts.order.unit_num
    if before is None:
        gap = facts.tenant if isinstance(facts.tenant, Unread) else Unread("its pools differ")
        return unknown(gap, "not lower")
    if wanted >= before:
        return passes(f"{before} → {wanted}", "not lower")
    return fires(
        f"{before} → {wanted}: which units go is OceanBase's choice",
        "not lower",
        "where a server shall leave, remove that server instead: its data would move twice",
    )


@rule(
    "un-cluster",
    "this is the cluster that was meant",
    prod=BLOCK,
    lab=WARN,
    otherwise="SILENT: another cluster's tenant would be changed",
    ground="B",
    source="obshell GET /obcluster/info, GET /ob/info",
)
def un_cluster(facts: UseFacts) -> Verdict:
    """Name and id as expected."""
    known = facts.cluster.identity()
    expected = f"{facts.expected_name or '*'}/{facts.expected_id or '*'}"
    if known is None:
        return unknown("the cluster does not tell its name", expected)
    name, number = known
    measured = f"{name}/{number}"
    if facts.expected_name not in {None, name} or facts.expected_id not in {None, number}:
        return blocks_in_prod(measured, expected, "correct the endpoint, or name and id")
    return passes(measured, expected)


def _gap(facts: UseFacts) -> Unread | None:
    """Give what could not be read of the tenant or of the topology."""
    if isinstance(facts.tenant, Unread):
        return facts.tenant
    return facts.cluster.topology if isinstance(facts.cluster.topology, Unread) else None


def _replicas(tenant: Tenant) -> dict[str, str]:
    """Give the kind of replica by zone, as the locality says: `FULL{1}@zone1, READONLY{1}@z4`."""
    kinds: dict[str, str] = {}
    for kind, zone in _REPLICA.findall(tenant.locality):
        if kinds.get(zone) != FULL:
            kinds[zone] = kind
    return kinds


def _is_of_other_tenant(dag: Dag) -> bool:
    """Whether it holds the lock of its own tenant alone: those of two tenants run side by side."""
    return dag.maintenance_type == TENANT_MAINTENANCE and bool(dag.maintenance_key)


RULES: Final[tuple[Rule[UseFacts], ...]] = (
    un_cluster,
    un_sys,
    un_hetero,
    un_locality,
    un_max,
    un_room,
    un_rebalance,
    un_job,
    un_down,
)
