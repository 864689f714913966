"""Rules about modes and hours in which a cluster should not grow.

Sources: obshell ob/agent/service/task/status_maintainer.go and ob/agent/executor/ob/cluster.go,
4.5.0.0; OceanBase src/rootserver/ob_server_zone_op_service.cpp, 4.3.5.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from obscale.maintenance_lock import TENANT_MAINTENANCE, holds_lock
from obscale.preflight.facts import Facts, OfCluster
from obscale.preflight.finding import (
    Verdict,
    blocks,
    fires,
    not_applicable,
    notes,
    passes,
    refuses,
    unknown,
)
from obscale.preflight.host_facts import memory_asked
from obscale.preflight.rule import BLOCK, INFO, WARN, rule
from obscale.preflight.rules.cluster import named
from obscale.preflight.rules.memory import FLOOR
from obscale.reading import CLUSTER_FACTS_MISSING, Unread
from obscale.sizes import GIB, render_bytes

DUTY_MINUTES: Final = 60
"""So close to the daily merge is too close, before and after."""
SYS_TENANT_ID: Final = 1
ARBITRATION_FLOOR: Final = GIB
_DUTY = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_DAY_MINUTES: Final = 24 * 60


def covered(gap: Unread) -> Unread:
    """Give a gap as `cluster-facts-missing` reports it once for all rules."""
    return Unread(gap.reason, gap.supported, CLUSTER_FACTS_MISSING)


@rule(
    "tenant-dag-running",
    "nobody works on a tenant",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST",
    ground="A",
    source="ob/agent/service/task/status_maintainer.go, 4.3.1.0",
)
def tenant_dag_running(facts: Facts) -> Verdict:
    """It excludes every DAG of the cluster while it works, and is usually short.

    One that failed has given the lock up as a rule, and is told by `cluster-unfinished-dag`.
    """
    dags = facts.cluster.unfinished
    if isinstance(dags, Unread):
        return unknown(dags, "none")
    if any(dag.maintenance_type is None for dag in dags):
        return not_applicable("before 4.3.1.0 a DAG does not tell: see cluster-maintenance")
    found = [dag for dag in dags if dag.maintenance_type == TENANT_MAINTENANCE and holds_lock(dag)]
    if found:
        return blocks(
            ", ".join(map(named, found)), "none", "wait for its end, or have its owner end it"
        )
    return passes("none", "none")


@rule(
    "upgrade-mode",
    "the cluster is not being upgraded",
    prod=BLOCK,
    lab=WARN,
    otherwise="RUNTIME",
    ground="B",
    source="OceanBase parameter enable_upgrade_mode",
)
def upgrade_mode(facts: OfCluster) -> Verdict:
    """Builds that differ are the business of `ob-version-cluster-uniform`."""
    if isinstance(facts.cluster.parameters, Unread):
        return unknown(covered(facts.cluster.parameters), "enable_upgrade_mode False")
    row = facts.cluster.parameter("enable_upgrade_mode")
    values = {value.value.lower() for value in row.ob_parameters} if row else set()
    if not values:
        return unknown("enable_upgrade_mode is not listed", "False")
    if values & {"true", "1"}:
        return fires("enable_upgrade_mode True", "False", "finish the upgrade first")
    return passes("enable_upgrade_mode False", "False")


@rule(
    "startup-mode-match",
    "target and cluster store their data in one way",
    prod=WARN,
    lab=INFO,
    worst=(BLOCK, BLOCK),
    otherwise="stage 7, with the observer running",
    source="src/rootserver/ob_server_zone_op_service.cpp, 4.3.5: a zone without storage is refused",
)
def startup_mode_match(facts: Facts) -> Verdict:
    """A cluster of shared storage wants its storage named for each zone, which obshell cannot."""
    info = facts.cluster.cluster_info
    if isinstance(info, Unread):
        return unknown(covered(info), "one storage mode")
    if info.is_shared_storage is None:
        return not_applicable("this version knows no shared storage")
    if not info.is_shared_storage:
        return passes(info.startup_mode or "not shared")
    measured = f"the cluster has shared storage ({info.startup_mode or '?'})"
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology, "a zone with storage")
    if facts.cluster.zone(facts.node.zone) is None:
        return refuses(measured, "a zone with storage", "add the zone and its storage by SQL first")
    return fires(measured, "the same on the target", "see how the target is installed")


@rule(
    "license-valid",
    "the licence covers one more server",
    prod=BLOCK,
    lab=WARN,
    otherwise="refused by OceanBase, or RUNTIME",
    ground="C",
    source="obshell GET /obcluster/license, 4.4.0.0: standalone edition only",
)
def license_valid(facts: Facts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """For the whole request; a licence that tells no number is judged by its end alone."""
    told = facts.cluster.license
    if told is None:
        return not_applicable("this edition needs none")
    if isinstance(told, Unread):
        if not told.supported:
            return not_applicable("this version knows no licence")
        return unknown(told, "valid")
    servers = len(facts.cluster.servers()) + len(facts.joining())
    needed = f"valid, for {servers} servers"
    if told.expired_time is None:
        return unknown("the licence tells no end", needed)
    end = f"until {told.expired_time:%Y-%m-%d}"
    if told.expired_time <= (facts.now or datetime.now(UTC)):
        return fires(end, needed, "load a new licence")
    if told.node_num and isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology, needed)
    if 0 < told.node_num < servers:
        return fires(f"{end}, for {told.node_num} servers", needed, "load a larger licence")
    return passes(f"{end}, for {told.node_num or 'any number of'} servers", needed)


@rule(
    "duty-window",
    "the daily merge is not near",
    prod=WARN,
    lab=INFO,
    otherwise="RUNTIME load",
    source="OceanBase parameter major_freeze_duty_time",
)
def duty_window(facts: OfCluster) -> Verdict:
    """By the time of day in the members' own time zone."""
    if isinstance(facts.cluster.parameters, Unread):
        return unknown(covered(facts.cluster.parameters), "another hour")
    row = facts.cluster.parameter("major_freeze_duty_time")
    duties = {value.value.strip() for value in row.ob_parameters} if row else set()
    minutes = {text: _minutes(text) for text in sorted(duties) if _DUTY.fullmatch(text)}
    if not minutes:
        return not_applicable("no daily merge is set")
    offsets = facts.cluster.utc_offsets_seconds
    if facts.now is None or not offsets:
        return unknown("no member tells its time of day", "another hour")
    here = facts.now.astimezone(UTC) + timedelta(seconds=next(iter(offsets.values())))
    clock = here.hour * 60 + here.minute
    needed = f"{DUTY_MINUTES} minutes apart"
    near = [text for text, at in minutes.items() if _apart(clock, at) < DUTY_MINUTES]
    if not near:
        return passes(f"{here:%H:%M} there, merge at {', '.join(minutes)}", needed)
    measured = f"{here:%H:%M} there, merge at {', '.join(near)}"
    if facts.cluster.is_on_loopback():
        return notes(f"{measured}; the whole cluster is on one host", needed)
    return fires(measured, needed, "choose another hour")


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def _apart(one: int, other: int) -> int:
    """Minutes between two times of day, the shorter way round."""
    gap = abs(one - other)
    return min(gap, _DAY_MINUTES - gap)


@rule(
    "standby-note",
    "it is known that only this cluster grows",
    prod=INFO,
    lab=INFO,
    otherwise="SILENT",
    source="from 4.0 on primary and standby are tenants; obshell does not tell their roles",
)
def standby_note(facts: Facts) -> Verdict:
    """Told where there are tenants that could have a peer."""
    tenants = facts.cluster.tenants
    if isinstance(tenants, Unread):
        return unknown(covered(tenants))
    users = [tenant.tenant_name for tenant in tenants if tenant.tenant_id != SYS_TENANT_ID]
    if not users:
        return not_applicable("no tenant of users")
    return fires(
        f"tenants {', '.join(users)}; primary or standby is not told",
        "",
        "if one has a standby elsewhere, plan that cluster too",
    )


@rule(
    "arbitration-note",
    "no arbitration server is meant",
    prod=INFO,
    lab=INFO,
    otherwise="",
    source="src/share/config/ob_config_helper.cpp, 4.3.5; scale_out adds none",
)
def arbitration_note(facts: Facts) -> Verdict:
    """A memory_limit only an arbitration server can run with."""
    limit = memory_asked(facts).limit
    if limit is None or not ARBITRATION_FLOOR <= limit < FLOOR:
        return not_applicable("not of the size of an arbitration server")
    return fires(
        f"memory_limit {render_bytes(limit)}",
        f"≥ {render_bytes(FLOOR)}",
        "an arbitration server is not added by scale_out",
    )


RULES: Final = (
    tenant_dag_running,
    upgrade_mode,
    startup_mode_match,
    license_valid,
    duty_window,
    standby_note,
    arbitration_note,
)
