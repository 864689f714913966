"""Rules about the room for the units of a leaving server on those that stay.

Sources: OceanBase src/rootserver/ob_{unit_manager,server_balancer,server_zone_op_service}.cpp;
obshell ob/agent/executor/tenant/create_tenant.go, 4.5.0.0.
"""

import shlex
from collections.abc import Iterable, Sequence
from typing import Final

from obscale.agent.models import Server
from obscale.preflight.facts import server_address
from obscale.preflight.finding import (
    Verdict,
    blocks,
    fires,
    not_applicable,
    notes,
    passes,
    unknown,
    warns,
    warns_always,
)
from obscale.preflight.rule import BLOCK, INFO, WARN, rule
from obscale.preflight.rules.cluster_mode import covered
from obscale.preflight.rules.zones import row_of, spread_of
from obscale.reading import Unread
from obscale.removal.facts import RemovalFacts, is_dead
from obscale.removal.rules.shared import is_on, values_of
from obscale.removal.units import (
    ALL,
    LOG_DISK,
    UNITS_FIT,
    WITHOUT_LOG_DISK,
    Fit,
    PlacedUnit,
    Room,
    fit,
    going_in_zone,
    leaving_units,
    own_units,
    pools_in,
    receivers,
    rooms_of,
    told_of,
    units_on,
)
from obscale.sizes import render_bytes

DISK_LIMIT: Final = "data_disk_usage_limit_percentage"
REREPLICATION: Final = "enable_rereplication"
REBALANCE: Final = "enable_rebalance"
PERCENT: Final = 100
MOST_TOLD: Final = 8
"""Servers of a zone that a finding names."""
ASSUMED_BYTES_PER_SECOND: Final = 50_000_000
"""At which replicas move; an assumption, measured nowhere."""
DAG_SECONDS: Final = 3600
"""After which obshell's wait stage fails. Source: ob/agent/executor/ob/scale_in.go, 4.5.0.0."""
WHOLE_ZONE: Final = "a whole zone leaves"
NO_SERVER: Final = "its server is not known"
NO_UNIT: Final = "it holds no unit"
NO_RECEIVER: Final = "no server of the zone takes units: see rm-receivers"


def _moot(facts: RemovalFacts) -> Verdict | None:
    """Of a whole zone units are the business of `rm-zone-empty`."""
    if facts.is_zone:
        return not_applicable(WHOLE_ZONE)
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology)
    return not_applicable(NO_SERVER) if facts.server() is None else None


@rule(
    "rm-single-server",
    "the cluster keeps another server",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 1",
    ground="A",
    source="ob_server_zone_op_service.cpp",
)
def rm_single_server(facts: RemovalFacts) -> Verdict:
    """When all that the request names have left."""
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology, "another server")
    count = len(facts.staying())
    if not count:
        return blocks("none is left", "another server", "destroy a cluster on its hosts instead")
    return passes(f"{count} stay", "another server")


@rule(
    "rm-receivers",
    "a server of the zone takes the units",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 1",
    ground="A",
    source="ob_server_zone_op_service.cpp: units stay in their zone",
)
def rm_receivers(facts: RemovalFacts) -> Verdict:
    """ACTIVE, in service and not stopped; units never go to another zone."""
    if moot := _moot(facts):
        return moot
    needed = f"a server of {facts.order.zone} that takes units"
    found = receivers(facts)
    if found:
        return passes(", ".join(map(server_address, found)), needed)
    units = leaving_units(facts)
    if isinstance(units, Unread):
        return unknown(units, needed)
    if not units:
        return passes(NO_UNIT, needed)
    others = [s for zone, s in facts.staying() if zone.name == facts.order.zone]
    if others:
        return blocks(
            f"units of {told_of(units)}, and {', '.join(map(server_address, others))} takes none",
            needed,
            "mend the other servers of the zone first",
        )
    return blocks(
        f"units of {told_of(units)}, and it is the last server of {facts.order.zone}",
        needed,
        f"take {facts.order.zone} out of the locality of {told_of(units)} first, then "
        f"obscale remove --zone {shlex.quote(facts.order.zone)}; or add another server to it",
    )


@rule(
    "rm-last-in-zone",
    "no empty zone stays behind",
    prod=WARN,
    lab=INFO,
    otherwise="SILENT",
    source="ob/agent/executor/ob/scale_in.go, 4.5.0.0: it deletes no zone",
)
def rm_last_in_zone(facts: RemovalFacts) -> Verdict:
    """A removal takes the server and leaves the zone."""
    if moot := _moot(facts):
        return moot
    others = [s for zone, s in facts.staying() if zone.name == facts.order.zone]
    if others:
        return passes(f"{len(others)} more in {facts.order.zone}")
    units = leaving_units(facts)
    if isinstance(units, Unread):
        return unknown(units)
    if units:
        return not_applicable("it holds units: see rm-receivers")
    return fires(
        f"the last server of {facts.order.zone}: an empty zone stays",
        "another server in it",
        f"obscale remove --zone {shlex.quote(facts.order.zone)} takes both",
    )


@rule(
    "rm-unit-num",
    "each tenant has as many servers left as units in the zone",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 1",
    ground="A",
    source="ob_unit_manager.cpp: no two units of one tenant on one server",
)
def rm_unit_num(facts: RemovalFacts) -> Verdict:
    """For tenants with a unit on the server; where that is not told, for all of its zone."""
    if moot := _moot(facts):
        return moot
    if isinstance(facts.tenants, Unread):
        return unknown(Unread(facts.tenants.reason, facts.tenants.supported, UNITS_FIT))
    units = leaving_units(facts)
    concerned = None if isinstance(units, Unread) else {unit.tenant_id for unit in units}
    most = len(receivers(facts))
    numbers = {
        tenant.tenant_name: pool.unit_num
        for tenant, pool in pools_in(facts, facts.order.zone)
        if concerned is None or tenant.tenant_id in concerned
    }
    needed = f"unit_num ≤ {most}"
    if not numbers:
        return passes("no tenant is concerned")
    many = {name: number for name, number in numbers.items() if number > most}
    if not many:
        words = ", ".join(f"{name} {number}" for name, number in numbers.items())
        return passes(words, needed)
    lower = "; ".join(
        f"obscale use --tenant {shlex.quote(name)} --unit-num {most}" for name in many
    )
    return blocks(
        ", ".join(f"{name} {number} > {most}" for name, number in many.items()),
        needed,
        f"first lower it: {lower}"
        if most
        else "see rm-receivers: no server of the zone would be left",
    )


@rule(
    UNITS_FIT,
    "the units fit on the servers of the zone that stay",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 1",
    ground="A",
    softens=True,
    source="ob_unit_manager.cpp; obshell checkZoneResourceForUnit, 4.5.0.0",
)
def rm_units_fit(facts: RemovalFacts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """Cores, memory and log disk, no two units of one tenant on one server, in whatever way."""
    if moot := _moot(facts):
        return moot
    units = leaving_units(facts)
    if isinstance(units, Unread):
        return unknown(
            Unread(units.reason, units.supported),
            "which units it holds",
            "see DBA_OB_UNITS in the database, whether they fit elsewhere in the zone",
        )
    if not units:
        return passes(NO_UNIT)
    rooms = rooms_of(facts)
    if not rooms:
        return not_applicable(NO_RECEIVER)
    by_log = fit(units, rooms, LOG_DISK)
    # A log disk that is too small is told by its own rule.
    found = fit(units, rooms, ALL if by_log.possible else WITHOUT_LOG_DISK)
    measured = f"the units of {told_of(units)} take {_size_of(units)}"
    needed = _told(map(_told_room, rooms))
    if found.possible is None:
        return unknown(f"{measured}; what the others have left is not all told", needed)
    if not found.possible:
        return blocks(
            f"{measured}, and no way to place them",
            needed,
            f"give the others more memory or cores, add a server to {facts.order.zone}, or make "
            "the units smaller",
        )
    if not found.always:
        return warns_always(
            f"{measured}; they fit, but perhaps not in every order",
            needed,
            "go on: OceanBase places them one by one and may refuse, which leaves all as it was",
        )
    return passes(measured, needed)


def _size_of(units: Sequence[PlacedUnit]) -> str:
    cores = sum(unit.config.min_cpu for unit in units)
    memory = sum(unit.config.memory_size for unit in units)
    log = sum(unit.config.log_disk_size for unit in units)
    return f"{cores:g} cores, {render_bytes(memory)}, log {render_bytes(log)}"


def _told(rooms: Iterable[str]) -> str:
    """Put servers into one text; of many, the first."""
    texts = list(rooms)
    more = len(texts) - MOST_TOLD
    return "; ".join(texts[:MOST_TOLD] + ([f"{more} more servers"] if more > 0 else []))


def _told_room(room: Room) -> str:
    cpu, _, memory, log = room.left
    cores = "? cores" if cpu is None else f"{cpu:g} cores"
    size = "? memory" if memory is None else render_bytes(memory)
    disk = "?" if log is None else render_bytes(log)
    return f"{cores}, {size}, log {disk} free on {room.server}"


@rule(
    "rm-log-disk-fit",
    "the log disks of the servers that stay hold the units'",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 1, or the wait stage",
    ground="B",
    source="ob_unit_manager.cpp; obshell tells log_disk_size and no use of it",
)
def rm_log_disk_fit(facts: RemovalFacts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """From the configured size less the units there; of a size left to a percentage not known."""
    if moot := _moot(facts):
        return moot
    units = leaving_units(facts)
    if isinstance(units, Unread):
        return unknown(units)
    if not units:
        return passes(NO_UNIT)
    if isinstance(facts.cluster.parameters, Unread):
        return unknown(covered(facts.cluster.parameters))
    rooms = rooms_of(facts)
    if not rooms:
        return not_applicable(NO_RECEIVER)
    found: Fit = fit(units, rooms, LOG_DISK)
    log = sum(unit.config.log_disk_size for unit in units)
    measured = f"the units of {told_of(units)} take log {render_bytes(log)}"
    needed = _told(
        f"{'?' if room.left[-1] is None else render_bytes(room.left[-1])} free on {room.server}"
        for room in rooms
    )
    if found.possible is None:
        return unknown(f"{measured}; a log_disk_size is left to a percentage", needed)
    if not found.possible:
        return fires(measured, needed, "raise log_disk_size of the others first; it works online")
    return passes(measured, needed)


@rule(
    "rm-data-disk",
    "the data fits on the disks of the servers that stay",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="the wait stage, which never ends",
    ground="B",
    source="ob_server_balancer.cpp: a unit is not moved, and only the log says so",
)
def rm_data_disk(facts: RemovalFacts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """By all that the server uses: how much of it each unit has nobody tells."""
    if moot := _moot(facts):
        return moot
    units, server = leaving_units(facts), facts.server()
    if isinstance(units, Unread):
        return unknown(units)
    if not units or server is None:
        return passes(NO_UNIT)
    if is_dead(server) is not False:
        return unknown("a dead server does not tell what it uses", "the others have room for it")
    limits = [
        int(text) for text in values_of(facts, DISK_LIMIT) if text.isascii() and text.isdigit()
    ]
    if not limits:
        gap = facts.cluster.parameters
        return unknown(
            covered(gap) if isinstance(gap, Unread) else f"{DISK_LIMIT} is not listed",
            "the others have room for it",
        )
    there = receivers(facts)
    if not there:
        return not_applicable(NO_RECEIVER)
    used = sum(each.stats.disk_in_bytes_assigned for each in going_in_zone(facts))
    if not used or not all(each.stats.disk_in_bytes_total for each in there):
        return unknown("disks that are in use are not all told", "the others have room for it")
    rooms = {server_address(each): _disk_room(each, min(limits)) for each in there}
    fullest = min(rooms, key=lambda address: rooms[address])
    measured = f"{render_bytes(used)} in use"
    needed = _told(f"{render_bytes(room)} free on {at}" for at, room in rooms.items())
    needed = f"{needed}; up to {min(limits)} % of each disk"
    if sum(rooms.values()) <= used:
        return blocks(measured, needed, "raise datafile_maxsize of the others, or add a server")
    if rooms[fullest] <= used:
        return warns(
            f"{measured}; where all of it went to {fullest} it would not fit",
            needed,
            "go on and watch it; one unit that cannot move holds up those of all tenants",
        )
    return passes(measured, needed)


def _disk_room(server: Server, limit: int) -> int:
    stats = server.stats
    return max(stats.disk_in_bytes_total * limit // PERCENT - stats.disk_in_bytes_assigned, 0)


@rule(
    "rm-rereplication",
    "replicas are copied to where units go",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="the wait stage, which never ends",
    ground="B",
    source="OceanBase parameter enable_rereplication; ob_server_balancer.cpp",
)
def rm_rereplication(facts: RemovalFacts) -> Verdict:
    """Without it replicas do not follow the units, and without rebalancing no unit moves at all."""
    if isinstance(facts.cluster.parameters, Unread):
        return unknown(covered(facts.cluster.parameters), f"{REREPLICATION} True")
    values = values_of(facts, REREPLICATION)
    if not values:
        return unknown(f"{REREPLICATION} is not listed", "True")
    if is_on(values):
        return passes(f"{REREPLICATION} True", "True")
    measured = f"{REREPLICATION} False: replicas do not follow their units"
    if _rebalances(facts) is False:
        measured = f"{REREPLICATION} and {REBALANCE} of sys False: no unit moves at all"
    remedy = f"as root@sys: ALTER SYSTEM SET {REREPLICATION} = True;"
    units = () if facts.is_zone else leaving_units(facts)
    if not isinstance(units, Unread) and not units:
        return warns_always(f"{measured}; it holds no unit", "True", remedy)
    return fires(measured, "True", remedy)


def _rebalances(facts: RemovalFacts) -> bool | None:
    """Whether the sys tenant lets units move; None: not told."""
    told = facts.sys_parameters
    row = None if isinstance(told, Unread) else told.get(REBALANCE)
    values = frozenset(v.value.strip().lower() for v in row.ob_parameters) if row else frozenset()
    return is_on(values) if values else None


@rule(
    "rm-rebalance",
    "it is known whether units move by themselves",
    prod=INFO,
    lab=INFO,
    otherwise="",
    source="OceanBase parameter enable_rebalance; ob_server_balancer.cpp",
)
def rm_rebalance(facts: RemovalFacts) -> Verdict:
    """False of the sys tenant alone does not hinder a server that is being deleted."""
    told = facts.sys_parameters
    if isinstance(told, Unread):
        return unknown(Unread(told.reason, told.supported, told.covered_by))
    state = _rebalances(facts)
    if state is None:
        return unknown(f"{REBALANCE} of sys is not listed")
    if state:
        return passes(f"{REBALANCE} of sys True")
    return notes(f"{REBALANCE} of sys False: units of a leaving server move all the same")


@rule(
    "rm-balance",
    "all zones keep as many servers",
    prod=WARN,
    lab=INFO,
    otherwise="SILENT",
    source="a tenant's unit_num is one number for all zones",
)
def rm_balance(facts: RemovalFacts) -> Verdict:
    """When all that the request names have left; zones that stay are compared."""
    topology = facts.cluster.topology
    if isinstance(topology, Unread):
        return unknown(topology, "as many in each zone")
    before = {zone.name: len(zone.servers) for zone in topology}
    after = dict.fromkeys(before, 0)
    for zone, _ in facts.staying():
        after[zone.name] += 1
    if facts.is_zone:
        after.pop(facts.order.zone, None)
    if not after:
        return not_applicable("no zone stays: see rm-zone-last")
    measured, needed = f"{row_of(before)} becomes {row_of(after)}", "as many in each zone"
    if spread_of(after) == 0:
        return passes(measured, needed)
    if spread_of(after) <= spread_of(before):
        return notes(measured, needed)
    return fires(measured, needed, "remove the same number from every zone")


@rule(
    "rm-capacity-after",
    "the zone keeps room for the loss of one more server",
    prod=WARN,
    lab=INFO,
    otherwise="RUNTIME: at the next fault",
    source="obscale's own rule of n - 1",
)
def rm_capacity_after(facts: RemovalFacts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """Whether the units of the zone's fullest server, and those that move, fit on the rest."""
    if moot := _moot(facts):
        return moot
    units, there = leaving_units(facts), receivers(facts)
    if not there:
        return not_applicable(NO_RECEIVER)
    if isinstance(units, Unread):
        return unknown(units)
    fullest = max(there, key=lambda server: server.stats.memory_in_bytes_assigned)
    held = units_on(facts, fullest, facts.order.zone)
    if isinstance(held, Unread):
        return unknown(held)
    address = server_address(fullest)
    if not held and not units:
        return passes(f"no units in {facts.order.zone}")
    all_ = (*held, *units)
    rest = [room for room in rooms_of(facts) if room.server != address]
    measured = f"without {address} the units of {told_of(all_)} take {_size_of(all_)}"
    needed = _told(map(_told_room, rest)) or "another server in the zone"
    found = fit(all_, rest, ALL)
    if found.possible is None:
        found = fit(all_, rest, WITHOUT_LOG_DISK)
    if found.possible is None:
        return unknown(measured, needed)
    if not found.possible:
        return fires(
            f"{measured}, and no room for them",
            needed,
            f"after it the loss of one more server of {facts.order.zone} costs its tenants a "
            "replica; add a server to it if that must not be",
        )
    return passes(measured, needed)


@rule(
    "rm-duration",
    "obshell waits as long as the data takes",
    prod=INFO,
    lab=INFO,
    otherwise="the wait stage, after an hour",
    source="ob/agent/executor/ob/scale_in.go, 4.5.0.0: 3600 s for a sub task",
)
def rm_duration(facts: RemovalFacts) -> Verdict:
    """At an assumed 50 MB/s; OceanBase goes on with it while obshell's DAG is FAILED by time."""
    if moot := _moot(facts):
        return moot
    server, units = facts.server(), own_units(facts)
    if server is None or is_dead(server) is not False:
        return not_applicable("a dead server does not tell what it uses")
    if not isinstance(units, Unread) and not units:
        return passes(NO_UNIT)
    used = server.stats.disk_in_bytes_assigned
    if not used:
        return unknown(units if isinstance(units, Unread) else "it does not tell what it uses")
    seconds = used / ASSUMED_BYTES_PER_SECOND
    measured = f"{render_bytes(used)}, about {seconds / 60:.0f} min at 50 MB/s"
    if seconds > DAG_SECONDS:
        return fires(
            measured,
            "60 min",
            "expect the DAG to fail by time and to be retried while units move",
        )
    return passes(measured, "60 min")


RULES: Final = (
    rm_single_server,
    rm_receivers,
    rm_last_in_zone,
    rm_unit_num,
    rm_units_fit,
    rm_log_disk_fit,
    rm_data_disk,
    rm_rereplication,
    rm_rebalance,
    rm_balance,
    rm_capacity_after,
    rm_duration,
)
