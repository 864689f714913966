"""Says what is drawn of a preflight: disks that do not fit, observers and capacity as planned."""

from collections.abc import Sequence

from obscale.agent.models import Zone
from obscale.pictures.capacity import Bars, Held, draw_capacity
from obscale.pictures.disk_fit import Disk, draw_disk_fit
from obscale.pictures.unit_room import UnitCells, ZoneCells, draw_unit_room
from obscale.pictures.words import BYTES, CORES
from obscale.pictures.zones import Observer, ZoneBoxes, draw_zones
from obscale.preflight.capacity import Capacity
from obscale.preflight.disk_room import DiskRoom
from obscale.preflight.facts import server_address
from obscale.preflight.result import Preflight
from obscale.preflight.unit_room import UnitRoom
from obscale.text import Markdown

NOW_AND_THEN = ("now", "as planned")
"""What the two bars of each thing are called before anything was done."""


def pictures_of(before: Preflight, zone: str, observer: str) -> list[Markdown]:
    """Draw what a person must know before answering.

    Args:
        before: What was found.
        zone: The node joins.
        observer: `ip:rpc_port` of the node.
    """
    bars = capacity_bars(before.capacity) if before.capacity else []
    units = before.capacity.units if before.capacity else ()
    drawn = (
        draw_disk_fit(disks_of(before.disk_rooms)),
        draw_zones(_planned(before.zones, zone, observer), "expected"),
        draw_capacity(bars, NOW_AND_THEN),
        draw_unit_room(unit_cells(units)),
    )
    return [picture.markdown for picture in drawn if picture is not None]


def capacity_bars(capacity: Capacity) -> list[Bars]:
    """Give a cluster's capacity as bars."""
    named = (
        ("cpu", CORES, capacity.cpu),
        ("memory", BYTES, capacity.memory_bytes),
        ("data disk", BYTES, capacity.data_disk_bytes),
        ("log disk", BYTES, capacity.log_disk_bytes),
    )
    return [
        Bars(
            name,
            measure,
            Held(growth.total_before, growth.used_before),
            Held(growth.total_after, growth.used_after),
            growth.unit,
        )
        for name, measure, growth in named
    ]


def unit_cells(rooms: Sequence[UnitRoom]) -> list[UnitCells]:
    """Give the room for more units as it is drawn."""
    return [
        UnitCells(
            room.name,
            tuple(ZoneCells(zone.zone, zone.now, zone.grown) for zone in room.zones),
            room.told,
            room.ends_first,
        )
        for room in rooms
    ]


def disks_of(rooms: Sequence[DiskRoom]) -> list[Disk]:
    """Give disks that do not fit as they are drawn."""
    return [
        Disk(
            room.path,
            room.total_bytes,
            room.free_bytes,
            tuple((part.name, part.size_bytes) for part in room.parts),
            room.is_sure,
        )
        for room in rooms
    ]


def _planned(zones: Sequence[Zone], zone: str, observer: str) -> list[ZoneBoxes]:
    """Give each zone as it is, the node where it will join."""
    boxes = {
        each.name: [
            Observer(server_address(server), state, state)
            for server in each.servers
            for state in (server.status or server.inner_status,)
        ]
        for each in zones
    }
    own = boxes.setdefault(zone, [])
    if all(each.name != observer for each in own):
        own.append(Observer(observer, None, "joins"))
    return [ZoneBoxes(name, tuple(boxes[name])) for name in sorted(boxes)]
