"""Rules about a zone that leaves with all its servers.

Source: obshell ob/agent/executor/ob/delete_zone.go, 4.5.0.0.
"""

import json
import re
from typing import Final
from urllib.parse import quote

from obscale.preflight.finding import (
    Verdict,
    blocks,
    fires,
    not_applicable,
    passes,
    unknown,
)
from obscale.preflight.parameters import in_sql
from obscale.preflight.rule import BLOCK, rule
from obscale.reading import Unread
from obscale.removal.facts import RemovalFacts
from obscale.removal.replicas import zones_of
from obscale.sizes import quoted

ONE_NODE: Final = "one node leaves, its zone stays"
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_RESERVED: Final = re.compile(
    r"""
    accessible|add|all|alter|analyze|and|as|asc|asensitive|before|between|bigint|binary|blob|
    both|by|call|cascade|case|change|char|character|check|collate|column|condition|constraint|
    continue|convert|create|cross|cume_dist|current_date|current_time|current_timestamp|
    current_user|cursor|database|databases|day_hour|day_microsecond|day_minute|day_second|dec|
    decimal|declare|default|delayed|delete|dense_rank|desc|describe|deterministic|distinct|
    distinctrow|div|double|drop|dual|each|else|elseif|enclosed|escaped|exists|exit|explain|
    false|fetch|float|float4|float8|for|force|foreign|from|fulltext|generated|get|grant|group|
    having|high_priority|hour_microsecond|hour_minute|hour_second|if|ignore|in|index|infile|
    inner|inout|insensitive|insert|int|int1|int2|int3|int4|int8|integer|interval|into|
    io_after_gtids|io_before_gtids|is|iterate|join|key|keys|kill|leading|leave|left|like|limit|
    linear|lines|load|localtime|localtimestamp|lock|long|longblob|longtext|loop|low_priority|
    master_bind|master_ssl_verify_server_cert|match|maxvalue|mediumblob|mediumint|mediumtext|
    middleint|minute_microsecond|minute_second|mod|modifies|natural|not|no_write_to_binlog|null|
    numeric|on|optimize|optimizer_costs|option|optionally|or|order|out|outer|outfile|partition|
    precision|primary|procedure|purge|range|rank|read|reads|read_write|real|references|regexp|
    release|rename|repeat|replace|require|resignal|restrict|return|revoke|right|rlike|
    row_number|schema|schemas|second_microsecond|select|sensitive|separator|set|show|signal|
    smallint|spatial|specific|sql|sqlexception|sqlstate|sqlwarning|sql_big_result|
    sql_calc_found_rows|sql_small_result|ssl|starting|stored|straight_join|table|terminated|
    then|tinyblob|tinyint|tinytext|to|trailing|trigger|true|undo|union|unique|unlock|unsigned|
    update|usage|use|using|utc_date|utc_time|utc_timestamp|values|varbinary|varchar|
    varcharacter|varying|virtual|when|where|while|with|write|xor|year_month|zerofill
    """,
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
"""Words that are no name without quotes: MySQL's, as OceanBase's MySQL mode has them."""


@rule(
    "rm-zone-name",
    "the zone's name survives its way through SQL",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="the stage Delete zone, when its servers are gone; it can only be passed",
    ground="B",
    source="ob/agent/executor/ob/delete_zone.go, 4.5.0.0: DELETE ZONE with the bare name",
)
def rm_zone_name(facts: RemovalFacts) -> Verdict:
    """Its servers would leave, and the zone would stay with a DAG that nobody can end."""
    if not facts.is_zone:
        return not_applicable(ONE_NODE)
    zone, needed = facts.order.zone, "letters, digits, _, and no word of SQL"
    fault = ""
    if not _PLAIN.fullmatch(zone):
        fault = f"{quoted(zone)} is no plain name"
    elif _RESERVED.fullmatch(zone):
        fault = f"{quoted(zone)} is a word of SQL"
    if fault:
        return fires(
            fault,
            needed,
            "remove its servers one by one, then as root@sys: "
            f"ALTER SYSTEM DELETE ZONE {in_sql(zone)};",
        )
    return passes(zone, needed)


@rule(
    "rm-zone-empty",
    "no tenant has units in the zone, or names it",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST",
    ground="A",
    source="ob/agent/executor/ob/delete_zone.go, 4.5.0.0: OB.Zone.NotEmpty",
)
def rm_zone_empty(facts: RemovalFacts) -> Verdict:
    """By all pools, those of dropped tenants and of none included; by locality and primary zone."""
    if not facts.is_zone:
        return not_applicable(ONE_NODE)
    zone, pools = facts.order.zone, facts.cluster.pools
    needed = "no pool, locality or primary zone with it"
    if isinstance(pools, Unread):
        return unknown(Unread(pools.reason, pools.supported), needed)
    if isinstance(facts.tenants, Unread):
        return unknown(Unread(facts.tenants.reason, facts.tenants.supported), needed)
    names = {tenant.tenant_id: tenant.tenant_name for tenant in facts.tenants}
    units = [pool for pool in pools if zone in pool.zones]
    owners = dict.fromkeys(names.get(pool.tenant_id, "") for pool in units)
    naming = [
        tenant.tenant_name
        for tenant in facts.tenants
        if zone in (zones_of(tenant.locality) or {})
        or zone in re.split(r"[;,\s]+", tenant.primary_zone)
    ]
    unread = [each.tenant_name for each in facts.tenants if zones_of(each.locality) is None]
    tenants = [name for name in dict.fromkeys((*owners, *naming)) if name]
    alone = [pool.name for pool in units if pool.tenant_id not in names]
    if not tenants and not alone:
        if unread:
            return unknown(f"the locality of {', '.join(unread)} cannot be read", needed)
        return passes("nobody names it", needed)
    found = [f"tenants {', '.join(tenants)}"] if tenants else []
    found += [f"pools {', '.join(alone)} of no tenant that is listed"] if alone else []
    body = json.dumps({"zones": [zone]})
    paths = [quote(name, safe="") for name in tenants]
    ways = [f"DELETE /api/v1/tenant/{path}/replicas with {body}" for path in paths]
    ways += [f"DROP RESOURCE POOL {_identifier(name)};" for name in alone]
    return blocks(" and ".join(found), needed, f"first take it out of them: {'; '.join(ways)}")


def _identifier(name: str) -> str:
    """Write a name as SQL takes it, e.g. `` `pool_x` ``: it is the cluster's word."""
    doubled = name.replace("`", "``")
    return f"`{doubled}`"


@rule(
    "rm-zone-self",
    "an agent outside the zone is asked",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST",
    ground="A",
    source="ob/agent/executor/ob/delete_zone.go, 4.5.0.0: OB.Zone.DeleteSelf",
)
def rm_zone_self(facts: RemovalFacts) -> Verdict:
    """The one that answered all this gets the request too."""
    if not facts.is_zone:
        return not_applicable(ONE_NODE)
    info, needed = facts.cluster.info, f"not in {facts.order.zone}"
    if isinstance(info, Unread):
        return unknown(info, needed)
    inside = {row.address for row in facts.agents_of_zone()}
    if info.zone == facts.order.zone or facts.cluster.entry in inside or info.address in inside:
        return blocks(
            f"{facts.cluster.entry} is in {facts.order.zone}",
            needed,
            "name a member of another zone as endpoint",
        )
    return passes(f"{facts.cluster.entry} in {info.zone or 'another zone'}", needed)


@rule(
    "rm-zone-last",
    "the cluster keeps another zone",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 3",
    ground="A",
    source="a cluster without zones is none",
)
def rm_zone_last(facts: RemovalFacts) -> Verdict:
    """At least one other zone, with a server in it."""
    if not facts.is_zone:
        return not_applicable(ONE_NODE)
    topology = facts.cluster.topology
    if isinstance(topology, Unread):
        return unknown(topology, "another zone")
    others = [each.name for each in topology if each.name != facts.order.zone and each.servers]
    if not others:
        return blocks("it is the only one with servers", "another zone", "nothing would be left")
    return passes(", ".join(others), "another zone")


RULES: Final = (rm_zone_name, rm_zone_empty, rm_zone_self, rm_zone_last)
