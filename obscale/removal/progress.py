"""How far the units and the data of a leaving server have moved, and why they do not.

The DAG tells nothing while it waits: progress is what the topology and the pools show. A unit is
listed at its new place when its move begins, its bytes arrive later.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from obscale.agent.models import Parameter, Server, Zone, joined_address
from obscale.removal.decide import leaving_servers
from obscale.removal.facts import is_dead
from obscale.request.removal import Removal

GIB: Final = 1 << 30
TENTHS: Final = 10
STANDSTILL_SECONDS: Final = 600.0
"""With no number changed for so long nothing moves any more, as far as anybody can see."""
DISK_LIMIT: Final = "data_disk_usage_limit_percentage"
USUAL_DISK_LIMIT: Final = 90.0
"""Percent of a receiver's data file above which OceanBase moves no unit there."""
REREPLICATION: Final = "enable_rereplication"
LOOK_BY_SQL: Final = (
    "as root@sys: SELECT * FROM oceanbase.DBA_OB_SERVER_JOBS; "
    "SELECT * FROM oceanbase.DBA_OB_UNITS; SELECT * FROM oceanbase.DBA_OB_LS_REPLICA_TASKS"
)


@dataclass(frozen=True)
class Drain:
    """What is still on the servers that leave, at one look.

    Args:
        rows: Addresses of those the topology still lists.
        units: Tenants with a unit on one of them, each as often; None: this version does not tell.
        bytes_left: Of data on them; 0 also where they are dead.
        bytes_received: On all other servers of the zone.
        is_dead: Whether one of them is dead, or may be: its word on data counts for nothing.
    """

    rows: tuple[str, ...]
    units: tuple[str, ...] | None
    bytes_left: int
    bytes_received: int
    is_dead: bool = False


def drain_of(
    order: Removal,
    zones: Sequence[Zone],
    observers: Mapping[str, Sequence[str]] | None,
    rows: Iterable[str] = (),
) -> Drain:
    """Say what is left on the servers that leave.

    Args:
        order: What was asked for.
        zones: The topology.
        observers: Of each tenant the servers with a unit of it; None: not told.
        rows: Addresses of the servers as they were before, where the topology may name them no
            more.
    """
    servers = leaving_servers(zones, order)
    own = {joined_address(each.ip, each.svr_port) for each in servers}
    left = own | set(rows)
    units = None
    if observers is not None:
        units = tuple(
            sorted(name for name, listed in observers.items() for each in listed if each in left)
        )
    return Drain(
        rows=tuple(sorted(own)),
        units=units,
        bytes_left=sum(each.stats.disk_in_bytes_assigned for each in servers),
        bytes_received=sum(
            each.stats.disk_in_bytes_assigned for each in _staying(zones, order, own)
        ),
        is_dead=any(is_dead(server) is not False for server in servers),
    )


def share_left(first: Drain, now: Drain) -> float:
    """Give which share of units and data is still to move, 0 to 1."""
    shares = []
    if first.units:
        shares.append(len(now.units or ()) / len(first.units))
    if first.bytes_left and not now.is_dead:
        shares.append(now.bytes_left / first.bytes_left)
    if not now.rows:
        return 0.0
    return min(1.0, sum(shares) / len(shares)) if shares else 0.0


def words_of(first: Drain, now: Drain) -> str:
    """Say what is left, e.g. `1 of 2 units left, 4.0 of 14.0 GiB left`; empty: nothing is known."""
    if not now.rows:
        return "the server's row is gone"
    told = []
    if first.units:
        told.append(f"{len(now.units or ())} of {len(first.units)} units left")
    if first.bytes_left and not now.is_dead:
        told.append(f"{now.bytes_left / GIB:.1f} of {first.bytes_left / GIB:.1f} GiB left")
    if first.units and now.units == ():
        told.append("units are placed elsewhere, replicas still follow")
    return ", ".join(told) or "it holds no unit; its row goes when no replica is left"


def news_of(first: Drain, previous: Drain, now: Drain) -> Iterator[str]:
    """Give a line for each unit that has moved since, and for each tenth of the data."""
    moved = list(previous.units or ())
    for name in now.units or ():
        if name in moved:
            moved.remove(name)
    for name in moved:
        yield f"poll.unit_moved tenant={name} left={len(now.units or ())}"
    if first.bytes_left and not now.is_dead and _tenth(first, now) < _tenth(first, previous):
        done = first.bytes_left - now.bytes_left
        yield f"poll.data_moved gib={done / GIB:.1f} of={first.bytes_left / GIB:.1f}"


def has_moved(previous: Drain, now: Drain) -> bool:
    """Whether any number has changed."""
    return previous != now


def why_still(
    order: Removal, zones: Sequence[Zone], parameters: Sequence[Parameter] | None
) -> tuple[str, str]:
    """Name what most likely keeps units and data from moving.

    Returns:
        The id of the rule that is broken, or `drain-stuck`, and what is to be done, in words.
    """
    own = {joined_address(s.ip, s.svr_port) for s in leaving_servers(zones, order)}
    staying = list(_staying(zones, order, own))
    by_name = {each.name: each for each in parameters or ()}
    limit = _number(by_name.get(DISK_LIMIT)) or USUAL_DISK_LIMIT
    for server in staying:
        stats = server.stats
        if stats.disk_in_bytes_total and (
            100 * stats.disk_in_bytes_assigned >= (limit - 1) * stats.disk_in_bytes_total
        ):
            return "rm-data-disk", (
                f"the data disk of {joined_address(server.ip, server.svr_port)} is at its limit "
                f"of {limit:g} %: make room there, or raise datafile_maxsize"
            )
    if (told := by_name.get(REREPLICATION)) and any(
        row.value.lower() in {"false", "0"} for row in told.ob_parameters
    ):
        return "rm-rereplication", f"{REREPLICATION} is False: set it to True"
    for server in staying:
        if is_dead(server) is True:
            address = joined_address(server.ip, server.svr_port)
            return "rm-others-down", f"{address}, which could take them, is down: start it"
    if not staying and order.node is not None:
        return "rm-receivers", f"no other server of {order.zone} could take them"
    return "drain-stuck", (
        f"perhaps the data does not fit, or a log stream has no leader: {LOOK_BY_SQL}"
    )


def _staying(zones: Sequence[Zone], order: Removal, leaving: set[str]) -> Iterator[Server]:
    for zone in zones:
        if zone.name == order.zone:
            for server in zone.servers:
                if joined_address(server.ip, server.svr_port) not in leaving:
                    yield server


def _tenth(first: Drain, now: Drain) -> int:
    return -(-TENTHS * now.bytes_left // first.bytes_left)


def _number(parameter: Parameter | None) -> float:
    rows = parameter.ob_parameters if parameter else ()
    values = [row.value.rstrip("%") for row in rows]
    return min((float(value) for value in values if value.isdecimal()), default=0.0)
