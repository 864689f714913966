"""Decides which rows of a batch may start, which never will, and when to wait.

One row at a time in a cluster, because its maintenance lock lets one in; clusters side by side.
Nothing is remembered here: the same rows, policies and time always give the same answer.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from heapq import heapify, heappop, heappush
from typing import Final

from obscale.preflight.facts import ALREADY_SO, AT_WORK, TargetProgress
from obscale.request.policies import BatchPolicies


class RowState(StrEnum):
    """How far a row is."""

    WAITING = "waiting"
    RUNNING = "running"
    VERIFIED = "verified"
    BLOCKED = "blocked"
    """Refused before anything was sent."""
    FAILED = "failed"
    SKIPPED = "skipped"
    LEFT = "left"
    """Not followed to its end, because the batch was ended; it may go on in the cluster."""


FAILURES: Final = frozenset({RowState.BLOCKED, RowState.FAILED})
ENDED: Final = frozenset(RowState) - {RowState.WAITING, RowState.RUNNING}
_HAS_GROWN_ITS_ZONE: Final = frozenset({RowState.RUNNING, RowState.VERIFIED, RowState.LEFT})
_BECAME: Final = {RowState.FAILED: "failed", RowState.BLOCKED: "was blocked"}
_TURN: Final = {
    **dict.fromkeys(AT_WORK, 0),
    **dict.fromkeys(ALREADY_SO, 1),
    TargetProgress.NEW: 2,
}
"""A DAG under way holds the lock, so it goes first; a member only has to be looked at."""


@dataclass(frozen=True)
class Row:
    """One row as the decision sees it.

    Args:
        number: In the request, from 1.
        lane: What has one lock: rows of one cluster share it.
        zone: The node joins, or leaves; empty: none by itself.
        target: `ip:port`, for what is said.
        state: How far it is.
        progress: As preflight saw it: new, under way already, or a member already.
        stands_failed: Under way, and its DAG is FAILED.
        effect: Servers it adds to its zone: 1, -1 where a node leaves, 0 where their number stays.
    """

    number: int
    lane: str
    zone: str
    target: str
    state: RowState = RowState.WAITING
    progress: TargetProgress = TargetProgress.NEW
    stands_failed: bool = False
    effect: int = 1

    @property
    def is_doubtful(self) -> bool:
        """Whether an earlier run of the batch may have counted it as a failure already."""
        is_open = self.state in {RowState.WAITING, RowState.RUNNING}
        return is_open and (self.progress in ALREADY_SO or self.stands_failed)


@dataclass(frozen=True)
class Wave:
    """What is to be done now.

    Args:
        start: Numbers of the rows to start, at most one a lane.
        skip: Rows that will not be started any more, each with the reason.
        wait_until: Nothing more may start before; None: nothing waits for the clock.
    """

    start: tuple[int, ...] = ()
    skip: Mapping[int, str] = field(default_factory=dict)
    wait_until: datetime | None = None


@dataclass
class _Lane:
    """Rows of one cluster, by what has become of them."""

    name: str
    first: int
    """Number of its first row."""
    waiting: list[Row] = field(default_factory=list)
    failed: list[Row] = field(default_factory=list)
    doubtful: list[Row] = field(default_factory=list)
    is_running: bool = False
    is_proven: bool = False
    """At least one row is verified."""
    has_begun: bool = False
    grown: Counter[str] = field(default_factory=Counter)
    """New servers a zone, by rows that run or have ended well."""

    def take(self, row: Row) -> None:
        self.is_running |= row.state is RowState.RUNNING
        self.is_proven |= row.state is RowState.VERIFIED
        self.has_begun |= row.state in _HAS_GROWN_ITS_ZONE or row.state is RowState.FAILED
        if row.state is RowState.WAITING:
            self.waiting.append(row)
        elif row.state in FAILURES:
            self.failed.append(row)
        if row.is_doubtful:
            self.doubtful.append(row)
        if row.state in _HAS_GROWN_ITS_ZONE and row.progress not in ALREADY_SO:
            self.grown[row.zone] += row.effect

    @property
    def is_over(self) -> bool:
        return not self.waiting and not self.is_running


def decide_wave(
    rows: Iterable[Row],
    sizes: Mapping[str, Mapping[str, int]],
    policies: BatchPolicies,
    now: datetime,
) -> Wave:
    """Decide what may start, and what never will.

    Rules that stop or hold back concern new rows. A member is only looked at, and a DAG that is
    under way only followed: neither starts anything. What a run before this one left behind is
    looked at first where its failure would stop other clusters: whether it fails again, or is
    proven by now, is known before anything new begins.

    Args:
        rows: All of the batch, in the order of the request.
        sizes: Servers of each zone before the batch, by lane.
        policies: Of the batch.
        now: Aware.
    """
    lanes = _lanes_of(rows)
    stopped = _stopped(lanes, policies)
    skip: dict[int, str] = {}
    for lane in lanes:
        new = [row for row in lane.waiting if row.progress is TargetProgress.NEW]
        if stopped:
            skip |= {row.number: stopped for row in new}
        else:
            skip |= _hopeless(lane, new, sizes.get(lane.name, {}), policies)
        lane.waiting = [row for row in lane.waiting if row.number not in skip]
    held = _held_back(lanes, policies)
    doubted = bool(_stopped(lanes, policies, with_doubts=True))
    shut = _is_shut(policies, now)
    start: list[int] = []
    is_waiting = False
    room = policies.max_clusters_at_once - sum(lane.is_running for lane in lanes)
    for lane in sorted(lanes, key=_urgency):
        if lane.is_running or not lane.waiting:
            continue
        row = next_of(lane.waiting, sizes.get(lane.name, {}), lane.grown)
        is_new = row.progress is TargetProgress.NEW
        if is_new and (doubted or lane.name in held):
            continue
        if is_new and shut:
            is_waiting = True
        elif len(start) < room:
            start.append(row.number)
    opens = policies.window.opens(now) if policies.window and is_waiting else None
    return Wave(tuple(start), skip, opens)


def is_called_off(rows: Iterable[Row], policies: BatchPolicies, now: datetime) -> bool:
    """Whether a new row that was started, but not submitted yet, is to be put back.

    Between its start and its POST a failure elsewhere may stop the batch, or the window close.

    Args:
        rows: All of the batch, that one among them.
        policies: Of the batch.
        now: Aware.
    """
    if _is_shut(policies, now):
        return True
    if policies.canary == "none" and policies.stop_batch_after is None:
        # Asked before each POST: the rows of a large batch are not gone through for nothing.
        return False
    return bool(_stopped(_lanes_of(rows), policies))


def next_of(
    waiting: Sequence[Row], sizes: Mapping[str, int], grown: Mapping[str, int] | None = None
) -> Row:
    """Choose a cluster's next row: the one whose zone has the fewest servers, a new zone first.

    Of nodes that leave the one whose zone has the most; what changes no number goes as written.

    Args:
        waiting: Not empty.
        sizes: Servers of each zone before the batch.
        grown: What the batch has added to each.
    """
    added = grown or {}

    def turn(row: Row) -> tuple[int, int, str, int]:
        servers = sizes.get(row.zone, 0) + added.get(row.zone, 0)
        zone = row.zone if row.effect else ""
        return _TURN[row.progress], servers * row.effect, zone, row.number

    return min(waiting, key=turn)


def order_of(rows: Iterable[Row], sizes: Mapping[str, int]) -> Iterator[Row]:
    """Give the rows of one cluster in the order they start in, if all goes well."""
    queues: dict[int, dict[str, deque[Row]]] = {turn: {} for turn in sorted({*_TURN.values()})}
    for row in sorted(rows, key=lambda row: row.number):
        zone = row.zone if row.effect else ""
        queues[_TURN[row.progress]].setdefault(zone, deque()).append(row)
    servers = Counter(sizes)
    for zones in queues.values():
        smallest = [(servers[zone] * queue[0].effect, zone) for zone, queue in zones.items()]
        heapify(smallest)
        while smallest:
            _, zone = heappop(smallest)
            row = zones[zone].popleft()
            yield row
            servers[zone] += row.effect * (row.progress not in ALREADY_SO)
            if zones[zone]:
                heappush(smallest, (servers[zone] * row.effect, zone))


def _lanes_of(rows: Iterable[Row]) -> tuple[_Lane, ...]:
    lanes: dict[str, _Lane] = {}
    for row in rows:
        lane = lanes.get(row.lane)
        if lane is None:
            lane = lanes[row.lane] = _Lane(row.lane, row.number)
        lane.take(row)
    return tuple(lanes.values())


def _urgency(lane: _Lane) -> tuple[bool, int, int]:
    """Clusters that have begun first, then those with the most to do, then as written."""
    return not lane.has_begun, -len(lane.waiting), lane.first


def _is_shut(policies: BatchPolicies, now: datetime) -> bool:
    return policies.window is not None and not policies.window.is_open(now)


def _stopped(lanes: Sequence[_Lane], policies: BatchPolicies, *, with_doubts: bool = False) -> str:
    """Say why nothing at all may start any more; empty: it may.

    Args:
        lanes: All of the batch.
        policies: Of the batch.
        with_doubts: Take what an earlier run may have counted as a failure for one.
    """
    limit = policies.stop_batch_after

    def failed_of(lane: _Lane) -> Iterator[Row]:
        yield from lane.failed
        if with_doubts:
            yield from lane.doubtful

    failed = [row for lane in lanes for row in failed_of(lane)]
    if limit is not None and len(failed) >= limit:
        return f"the batch stops after {limit} failed, {failed[-1].target} among them"
    match policies.canary:
        case "none":
            return ""
        case "node":
            proofs = [lane for lane in lanes if not lane.is_proven]
        case "cluster":
            proofs = list(lanes[:1])
    for lane in proofs:
        for row in failed_of(lane):
            # What preflight refused was no trial, where single nodes are tried.
            if policies.canary == "cluster" or row.state is not RowState.BLOCKED:
                return f"the canary {row.target} {_BECAME.get(row.state, 'may fail')}"
    return ""


def _hopeless(
    lane: _Lane, new: Sequence[Row], sizes: Mapping[str, int], policies: BatchPolicies
) -> dict[int, str]:
    """Name the rows of a cluster that may not follow its failures."""
    if len(lane.failed) >= policies.stop_cluster_after:
        first = lane.failed[0]
        why = f"{first.target} {_BECAME[first.state]}, and the cluster stops after that"
        if policies.stop_cluster_after > 1:
            why = f"{len(lane.failed)} nodes of the cluster failed, {first.target} the first"
        return {row.number: why for row in new}
    lost = {
        row.zone: row
        for row in lane.failed
        if row.state is RowState.FAILED
        and row.effect > 0
        and not sizes.get(row.zone, 0)
        and not lane.grown[row.zone]
    }
    return {
        row.number: f"{lost[row.zone].target}, the first of the new zone {row.zone}, failed"
        for row in new
        if row.zone in lost
    }


def _held_back(lanes: Sequence[_Lane], policies: BatchPolicies) -> frozenset[str]:
    """Name the clusters that wait for a canary."""
    match policies.canary:
        case "none":
            return frozenset()
        case "node":
            if all(lane.is_proven or lane.is_over for lane in lanes):
                return frozenset()
            return frozenset(lane.name for lane in lanes if lane.is_proven)
        case "cluster":
            if not lanes or lanes[0].is_over:
                return frozenset()
            return frozenset(lane.name for lane in lanes[1:])
