"""The plan of a batch: what would be done with each row if it were applied now.

Nothing is sent and nothing is kept: between a plan and a row's turn may lie hours, so that `apply`
judges every row again.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict

from obscale.batch.kinds import EFFECTS, already_of
from obscale.batch.ledger import Entry, Ledger
from obscale.batch.row import BatchRow
from obscale.batch.schedule import FAILURES, RowState, decide_wave, order_of
from obscale.preflight.facts import ALREADY_SO, AT_WORK, TargetProgress
from obscale.request.asked import Kind
from obscale.request.policies import told_policies

Stopped = Mapping[int, str]
"""Why rows would not be begun because of others, by their numbers."""
SCHEMA_VERSION: Final = 1
"""Raised when a field of the JSON plan changes its meaning or goes away."""


class PlannedRow(BatchRow):
    """One node, and what forbids it: a rule that blocks it, or another row that is blocked."""

    turn: int
    """Its place in the order of its cluster, from 1."""
    progress: TargetProgress
    ready: bool
    """Whether it would be begun when its turn comes."""
    differs: str
    """Values in which a member is not as it is asked for; its verification would fail."""
    unknown: tuple[str, ...]
    """Rules that could block it and could not be judged; a run without a person is held back by
    them, unless its request accepts them."""

    does: str = ""
    """What of a tenant it would change, in words; of other rows empty."""
    warnings: tuple[str, ...] = ()
    """Of preflight, of rows that add no node: what to know before they begin."""
    already: str = ""
    """What stands already, so that there is only something to look at, e.g. `already gone`."""


class PlannedCluster(BaseModel):
    """One cluster: servers a zone now, and once all rows that are ready are done."""

    model_config = ConfigDict(frozen=True)

    cluster: str
    nodes: int
    blocked: int
    not_begun: int
    """Not blocked themselves, but stopped by what is."""
    zones_now: dict[str, int]
    zones_after: dict[str, int]
    order: tuple[str, ...]
    """Targets in the order in which they would begin."""


class BatchPlan(BaseModel):
    """What was asked, what preflight says of each row, and who would go first. Holds no secret."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    key: str
    kind: Kind = "nodes"
    """Of all rows."""
    ready: bool
    """Whether no row is blocked, and every member as it is asked for."""
    summary: str
    policies: tuple[str, ...]
    opens_at: datetime | None
    """Nothing may begin before; None: it may begin now."""
    clusters: tuple[PlannedCluster, ...]
    rows: tuple[PlannedRow, ...]


def plan_of(ledger: Ledger, now: datetime) -> BatchPlan:
    """Tell a batch that was looked at, but not begun.

    Args:
        ledger: Judged.
        now: Aware.
    """
    turns = _turns(ledger)
    stopped = decide_wave(ledger.rows(), ledger.sizes, ledger.policies, now).skip
    window = ledger.policies.window
    return BatchPlan(
        key=ledger.key,
        kind=ledger.kind,
        ready=not any(entry.state in FAILURES or entry.differs for entry in ledger.entries),
        summary=_summary(ledger, stopped),
        policies=tuple(told_policies(ledger.policies)),
        opens_at=window.opens(now) if window and not window.is_open(now) else None,
        clusters=tuple(
            _cluster(name, entries, ledger, turns, stopped)
            for name, entries in ledger.by_cluster().items()
        ),
        rows=tuple(_row(entry, turns, stopped) for entry in ledger.entries),
    )


def _summary(ledger: Ledger, stopped: Stopped) -> str:
    """Say it in one line, e.g. `33 of 40 nodes ready, 3 blocked, 4 not begun after these`."""
    total, words = len(ledger.entries), ledger.words
    waiting = [entry for entry in ledger.entries if entry.state is RowState.WAITING]
    by_progress = Counter(entry.progress for entry in waiting)
    ready = sum(entry.number not in stopped and not entry.differs for entry in waiting)
    said = f"{ready} of {total} {words.rows if total > 1 else words.row} ready"
    said += f", {total - len(waiting)} blocked" if total > len(waiting) else ""
    said += f", {len(stopped)} not begun because of that" if stopped else ""
    under_way = sum(by_progress[progress] for progress in AT_WORK)
    said += f", {under_way} under way already" if under_way else ""
    there = sum(by_progress[progress] for progress in ALREADY_SO)
    said += f", {_so_already(ledger.kind, there)}" if there else ""
    unlike = sum(bool(entry.differs) for entry in waiting)
    said += f", {unlike} of them not as asked" if unlike else ""
    unknown = sum(bool(entry.unknown) for entry in waiting)
    said += f", {unknown} with unknowns" if unknown else ""
    return said


def _so_already(kind: Kind, count: int) -> str:
    match kind:
        case "nodes":
            return f"{count} member{'s' if count > 1 else ''} already"
        case "remove":
            return f"{count} gone already"
        case "replace":
            return f"{count} replaced already"
        case "use":
            return f"{count} with that number already"


def _turns(ledger: Ledger) -> dict[int, int]:
    """Give each row's place in its cluster's order."""
    lanes: dict[str, list[Entry]] = {}
    for entry in ledger.entries:
        lanes.setdefault(entry.lane or entry.cluster, []).append(entry)
    rows = {row.number: row for row in ledger.rows()}
    return {
        row.number: turn
        for lane, entries in lanes.items()
        for turn, row in enumerate(
            order_of([rows[entry.number] for entry in entries], ledger.sizes.get(lane, {})), start=1
        )
    }


def _cluster(
    name: str,
    entries: Sequence[Entry],
    ledger: Ledger,
    turns: dict[int, int],
    stopped: Stopped,
) -> PlannedCluster:
    now = ledger.sizes.get(entries[0].lane or name, {})
    after = Counter(now)
    for entry in entries:
        after[entry.zone] += EFFECTS[entry.kind] * (
            entry.state is RowState.WAITING
            and entry.number not in stopped
            and entry.progress not in ALREADY_SO
        )
    return PlannedCluster(
        cluster=name,
        nodes=len(entries),
        blocked=sum(entry.state in FAILURES for entry in entries),
        not_begun=sum(entry.number in stopped for entry in entries),
        zones_now=dict(sorted(now.items())),
        zones_after=_zones(after),
        order=tuple(e.target for e in sorted(entries, key=lambda entry: turns[entry.number])),
    )


def _zones(servers: Counter[str]) -> dict[str, int]:
    """Give servers by zone; rows without a zone of their own change none."""
    return {zone: count for zone, count in sorted(servers.items()) if zone}


def _row(entry: Entry, turns: dict[int, int], stopped: Stopped) -> PlannedRow:
    return PlannedRow(
        number=entry.number,
        cluster=entry.cluster,
        kind=entry.kind,
        target=entry.target,
        zone=entry.zone,
        what=entry.what,
        already=already_of(entry.order) if entry.progress in ALREADY_SO else "",
        turn=turns[entry.number],
        progress=entry.progress,
        verdict=entry.verdict,
        ready=entry.state is RowState.WAITING and entry.number not in stopped and not entry.differs,
        why=entry.note or stopped.get(entry.number, "") or entry.differs,
        next=entry.hint or entry.differs_remedy,
        differs=entry.differs,
        error_kind=entry.error_kind,
        unknown=entry.unknown,
        does=entry.does,
        warnings=entry.warnings,
    )
