"""Rules about a new zone, and about the number of zones and servers.

Sources: obshell ob/agent/executor/ob/scale_out.go, 4.5.0.0; OceanBase
deps/oblib/src/lib/ob_define.h, 4.3.5.
"""

import re
from typing import Final

from obscale.preflight.facts import Facts
from obscale.preflight.finding import (
    Verdict,
    fires,
    not_applicable,
    passes,
    unknown,
)
from obscale.preflight.rule import INFO, WARN, rule
from obscale.preflight.rules.cluster_mode import covered
from obscale.reading import Unread

MOST_ZONES: Final = 64
"""MAX_ZONE_NUM, fixed when the observer is built."""
MOST_SERVERS: Final = 1024
"""MAX_SERVER_COUNT, likewise."""
_ZONE_EXISTS: Final = not_applicable("the zone exists")


def _zones_after(facts: Facts) -> set[str]:
    """Names of all zones once the whole request has joined."""
    known = {zone.name for zone in facts.cluster.zones()}
    return known | {node.zone for node in facts.joining()} | {facts.node.zone}


@rule(
    "new-zone-unused",
    "tenants will use the new zone",
    prod=INFO,
    lab=INFO,
    otherwise="SILENT",
    source="obshell GET /tenants/overview, locality",
)
def new_zone_unused(facts: Facts) -> Verdict:
    """No tenant places a replica in a zone its locality does not name."""
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology)
    zone = facts.node.zone
    if facts.cluster.zone(zone):
        return _ZONE_EXISTS
    tenants = facts.cluster.tenants
    if isinstance(tenants, Unread):
        return unknown(covered(tenants))
    named = re.compile(rf"@{re.escape(zone)}(?![\w-])")
    users = [tenant.tenant_name for tenant in tenants if named.search(tenant.locality)]
    if users:
        return passes(f"the locality of {', '.join(users)} names it")
    return fires(
        f"no tenant's locality names {zone}",
        "a tenant that uses it",
        "afterwards give a tenant's pool and locality the zone",
    )


@rule(
    "new-zone-rollback-risk",
    "undoing can end at once",
    prod=INFO,
    lab=INFO,
    otherwise="a rollback that fails at first",
    source="inferred from ob/agent/executor/ob/scale_out.go, 4.5.0.0",
)
def new_zone_rollback_risk(facts: Facts) -> Verdict:
    """The zone is deleted right after its server, whose deletion takes its time."""
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology)
    if facts.cluster.zone(facts.node.zone):
        return _ZONE_EXISTS
    return fires(
        "a rollback deletes the zone while its server is still being deleted",
        "to know it",
        "if a rollback fails there, roll back again after the deletion",
    )


@rule(
    "even-zone-count",
    "one zone more makes the cluster safer",
    prod=INFO,
    lab=INFO,
    otherwise="SILENT",
    source="a majority of 4 is 3: no more failures are tolerated than with 3",
)
def even_zone_count(facts: Facts) -> Verdict:
    """After the whole request."""
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology)
    if facts.cluster.zone(facts.node.zone):
        return _ZONE_EXISTS
    count = len(_zones_after(facts))
    if count % 2 == 0:
        return fires(f"{count} zones", "an odd number", "add one more, or none")
    return passes(f"{count} zones", "an odd number")


@rule(
    "server-count-limits",
    "the cluster stays within what OceanBase is built for",
    prod=WARN,
    lab=INFO,
    otherwise="stage 7",
    source="deps/oblib/src/lib/ob_define.h, 4.3.5: MAX_ZONE_NUM, MAX_SERVER_COUNT",
)
def server_count_limits(facts: Facts) -> Verdict:
    """After the whole request."""
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology)
    zones = len(_zones_after(facts))
    servers = len(facts.cluster.servers()) + len(facts.joining())
    measured = f"{servers} servers in {zones} zones"
    needed = f"≤ {MOST_SERVERS} servers in {MOST_ZONES} zones"
    if servers > MOST_SERVERS or zones > MOST_ZONES:
        return fires(measured, needed, "split the cluster rather than growing it further")
    return passes(measured, needed)


RULES: Final = (
    new_zone_unused,
    new_zone_rollback_risk,
    even_zone_count,
    server_count_limits,
)
