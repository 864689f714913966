"""Says what is drawn of a run: disks that do not fit, stages, observers and capacity."""

from collections.abc import Callable, Iterable, Sequence

from obscale.pictures.capacity import Bars, Held, draw_capacity
from obscale.pictures.disk_fit import draw_disk_fit
from obscale.pictures.stages import NOT_BEGUN, UNDONE, Stage, draw_stages
from obscale.pictures.unit_room import draw_unit_room
from obscale.pictures.words import BYTES, CORES
from obscale.pictures.zones import Observer, ZoneBoxes, draw_zones
from obscale.preflight.capacity import Capacity, Growth
from obscale.preflight.pictures import disks_of, unit_cells
from obscale.preflight.unit_room import UnitRoom
from obscale.report.report import ScaleOutReport, ServerRow, StageRow
from obscale.text import Markdown

BEFORE_AND_AFTER = ("before", "after")


def pictures_of(report: ScaleOutReport) -> list[Markdown]:
    """Draw a run, what hinders first; nothing that did not happen."""
    if report.halves:
        stages = [
            draw_stages(f"DAG {half.dag_id} for {half.target}", stages_of(half.stages))
            for half in report.halves
        ]
        zones = draw_zones(_zones(report.before, report.after), "found" if report.after else "none")
        return [picture.markdown for picture in (*stages, zones) if picture is not None]
    drawn = (
        draw_disk_fit(disks_of(report.disk_rooms)),
        draw_stages(f"DAG {report.dag_id} for {report.target}", stages_of(report.stages)),
        draw_zones(_zones(report.before, report.after), "found" if report.after else "none"),
        draw_capacity(bars_of(report), BEFORE_AND_AFTER) if report.after else None,
        draw_unit_room(unit_cells(_units(report))),
    )
    return [picture.markdown for picture in drawn if picture is not None]


def _units(report: ScaleOutReport) -> Sequence[UnitRoom]:
    """Give the room for more units, which holds as foreseen once the node is verified."""
    return report.capacity.units if report.capacity and report.outcome == "verified" else ()


def stages_of(rows: Iterable[StageRow]) -> list[Stage]:
    """Give the stages of a DAG as they are drawn."""
    return [
        Stage(
            row.stage,
            row.node,
            UNDONE if (row.state, row.operator) == ("SUCCEED", "ROLLBACK") else row.state,
            None if row.state in NOT_BEGUN else row.started_at,
            None if row.state in NOT_BEGUN else row.ended_at,
        )
        for row in rows
    ]


def _zones(before: Sequence[ServerRow], after: Sequence[ServerRow]) -> list[ZoneBoxes]:
    old, new = ({(row.zone, row.server): row for row in rows} for rows in (before, after))
    zones: dict[str, list[Observer]] = {}
    for zone, server in sorted(old | new):
        was, is_ = old.get((zone, server)), new.get((zone, server))
        zones.setdefault(zone, []).append(
            Observer(server, was.status if was else None, is_.status if is_ else None)
        )
    return [ZoneBoxes(name, tuple(observers)) for name, observers in zones.items()]


def bars_of(report: ScaleOutReport) -> list[Bars]:
    """Give the capacity that was measured; of the log disk, which nobody measures, what is set."""
    sides = report.before, report.after
    foreseen = report.capacity or Capacity()
    log = foreseen.log_disk_bytes if report.outcome == "verified" else Growth()
    return [
        _measured("cpu", CORES, sides, lambda row: (row.cpu, row.cpu_used), foreseen.cpu.unit),
        _measured(
            "memory",
            BYTES,
            sides,
            lambda row: (row.memory_bytes, row.memory_used_bytes),
            foreseen.memory_bytes.unit,
        ),
        _measured(
            "data disk",
            BYTES,
            sides,
            lambda row: (row.data_disk_bytes, row.data_disk_used_bytes),
        ),
        Bars(
            "log disk",
            BYTES,
            Held(log.total_before, log.used_before),
            Held(log.total_after, log.used_after),
            log.unit,
        ),
    ]


def _measured(
    name: str,
    measure: str,
    sides: tuple[Sequence[ServerRow], Sequence[ServerRow]],
    of: Callable[[ServerRow], tuple[float, float]],
    unit: float | None = None,
) -> Bars:
    held = []
    for rows in sides:
        told = [of(row) for row in rows]
        # A server that has not reported tells zero, and no sum with it is known.
        known = bool(told) and all(total for total, _ in told)
        total = sum(total for total, _ in told) if known else None
        held.append(Held(total, sum(used for _, used in told) if known else None))
    return Bars(name, measure, held[0], held[1], unit)
