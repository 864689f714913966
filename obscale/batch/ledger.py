"""The ledger of a batch: how far each row is, and what is known of its clusters.

One mutable record for one run of a batch. It decides nothing: `obscale.batch.schedule` does.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from obscale.batch.kinds import EFFECTS, WORDS, KindWords, already_of, what_of
from obscale.batch.schedule import ENDED, Row, RowState
from obscale.clock import utc_now
from obscale.errors import ObscaleError, PreflightError
from obscale.events import (
    DagMoved,
    Diagnosed,
    Event,
    HalfBegun,
    LevelReached,
    Posting,
    SubmitSettled,
    UnitsMoved,
    UseProved,
    UseSettled,
    Verified,
)
from obscale.follow.progress import progress_of
from obscale.preflight.ageing import is_stale
from obscale.preflight.facts import ALREADY_SO, ClusterFacts, TargetProgress
from obscale.preflight.result import Preflight
from obscale.removal.judge import checked_removal
from obscale.replacement.judge import checked_replacement
from obscale.request.asked import Kind, Order, kind_of, orders_of
from obscale.request.models import ClusterSpec, ScaleOutSpec
from obscale.request.policies import BatchPolicies
from obscale.request.removal import Removal, RemovalSpec
from obscale.request.replacement import Replacement, ReplacementSpec
from obscale.request.scale_out import ScaleOut
from obscale.request.time_limits import DEFAULT_TIME_LIMITS, TimeLimits
from obscale.request.use import Use, UseSpec
from obscale.spec.batch import BatchSpec, label_of
from obscale.use.judge import checked_use

KEY_DIGITS: Final = 10
"""Of a batch's key: enough to tell the batches of a company apart."""
_NOT_JUDGED: Final = re.compile(r"; not judged: [^;]*")
_AT_LENGTH: Final = re.compile(r"\. Diagnosis \[.*", re.DOTALL)
"""What can be done about a failed DAG, choice by choice."""


@dataclass
class Entry:
    """One row.

    Args:
        number: In the request, from 1.
        cluster: As the request names it.
        order: What is to be done.
    """

    number: int
    cluster: str
    order: Order
    lane: str = ""
    state: RowState = RowState.WAITING
    progress: TargetProgress = TargetProgress.NEW
    stands_failed: bool = False
    """Preflight saw its DAG, and it was FAILED."""
    is_posted: bool = False
    """This run has sent its request, or was about to."""
    is_half_done: bool = False
    """Of a replacement: the node that joins is proved, the other one has not left yet."""
    joined: int = 0
    """Of a replacement: nodes that have joined by this run, one or none."""
    note: str = ""
    """Why it is as it is, in one line."""
    hint: str = ""
    """The next step of whoever has to do something about it."""
    stage: str = ""
    """Where its DAG stands."""
    dag_id: str | None = None
    dag_is_done: bool = False
    how: str = ""
    exceptions: tuple[str, ...] = ()
    """Members that do not serve, and did not before it was begun either."""
    follows: str = ""
    """The failed attempt, of an earlier time, that this one follows."""
    level: str = ""
    verdict: str = ""
    unknown: tuple[str, ...] = ()
    """Rules that could block it and that preflight could not judge."""
    does: str = ""
    """What of a tenant it would change, in words."""
    warnings: tuple[str, ...] = ()
    """Of preflight, one line each; of rows that add no node."""
    differs: str = ""
    """Values in which a member is not as asked."""
    differs_remedy: str = ""
    cause: str = ""
    """Of its DAG's failure, as diagnosed."""
    error_kind: str = ""
    host_steps: tuple[str, ...] = ()
    """Of a node that has left: how its host is cleaned before it is used again."""
    started: datetime | None = None
    ended: datetime | None = None
    _row: Row | None = field(default=None, repr=False)

    @property
    def row(self) -> Row:
        """As the rules want it; made anew where something of it has changed."""
        lane = self.lane or self.cluster
        known = self._row
        if known is None or (lane, self.state, self.progress, self.stands_failed) != (
            *(known.lane, known.state),
            *(known.progress, known.stands_failed),
        ):
            known = self._row = Row(
                *(self.number, lane, self.zone, self.target),
                *(self.state, self.progress, self.stands_failed, EFFECTS[self.kind]),
            )
        return known

    @property
    def kind(self) -> Kind:
        """What becomes of it."""
        return kind_of(self.order)

    @property
    def words(self) -> KindWords:
        """How rows of its kind are spoken of."""
        return WORDS[self.kind]

    @property
    def target(self) -> str:
        """`ip:port`; of a tenant `tenant app`."""
        return self.order.target

    @property
    def zone(self) -> str:
        """It joins or leaves; empty: none by itself."""
        return self.order.zone

    @property
    def what(self) -> str:
        """Its name by what becomes of it, e.g. `10.0.0.4:2886 → zone2`."""
        return what_of(self.order)

    @property
    def change(self) -> int:
        """How many servers its zone has more by it."""
        is_done = self.state is RowState.VERIFIED and self.progress not in ALREADY_SO
        if self.kind == "replace":
            return self.joined - (is_done and not self.how.startswith("already "))
        return EFFECTS[self.kind] * is_done

    @property
    def seconds(self) -> float | None:
        """How long it took, or has taken so far; None before it began."""
        if self.started is None:
            return None
        return ((self.ended or utc_now()) - self.started).total_seconds()

    def hear(self, event: Event) -> None:
        """Take what the row's own run tells."""
        match event:
            case Posting():
                self.is_posted = True
            case SubmitSettled(submitted=submitted):
                self.dag_id = submitted.dag_id or self.dag_id
                self.how = submitted.how
            case DagMoved(dag=dag):
                self.stage, self.dag_is_done = progress_of(dag).text, dag.is_done
            case Diagnosed(diagnosis=diagnosis):
                self.cause = f"{diagnosis.title} [{diagnosis.cause}]"
            case LevelReached(levels=levels) | Verified(levels=levels):
                self.level, self.exceptions = levels.level.name, levels.exceptions
            case HalfBegun(half="remove"):
                self.joined = int(not self.how.startswith("already "))
                self.is_half_done, self.is_posted, self.dag_is_done = True, False, False
                self.dag_id, self.how, self.stage, self.level = None, "", "", ""
            case UseSettled(submitted=submitted):
                self.dag_id = submitted.dag_id or self.dag_id
                self.how = submitted.how
            case UnitsMoved(words=words):
                self.stage = words
            case UseProved(balance=balance):
                self.level = balance.verdict
            case _:
                pass

    def begin(self) -> None:
        """It is started now."""
        self.state, self.started = RowState.RUNNING, utc_now()

    def put_back(self) -> None:
        """It is not to be submitted now after all; whether it will be is decided anew."""
        self.state, self.started, self.is_posted = RowState.WAITING, None, False

    def end(self, error: BaseException | None) -> None:
        """It ended: verified, or by an error."""
        self.ended = utc_now()
        if error is None:
            self.state = RowState.VERIFIED
            is_old = self.how.startswith("already ") or self.progress is TargetProgress.STORED
            is_old &= not self.joined
            there = already_of(self.order) if is_old else ""
            follows = f"follows a failed attempt: {self.follows}" if self.follows else ""
            excepted = f"except {', '.join(self.exceptions)}" if self.exceptions else ""
            self.note = _in_brief("; ".join(filter(None, (there, excepted, follows))))
            return
        is_blocked = isinstance(error, PreflightError) and self.dag_id is None
        self.refuse(error, RowState.BLOCKED if is_blocked else RowState.FAILED)

    def refuse(self, error: BaseException, state: RowState = RowState.BLOCKED) -> None:
        """Keep why it will not be, or was not, carried out."""
        self.state = state
        if isinstance(error, ObscaleError):
            # The next step has a column of its own.
            self.note = _in_brief(error.without_hint)
            if self.cause:
                self.note += f": {self.cause}"
            self.hint, self.error_kind = error.hint, error.kind
        else:
            self.note, self.error_kind = f"ended by {type(error).__name__}", "unforeseen"

    def settle(self, state: RowState, why: str, hint: str, error_kind: str) -> None:
        """It ended elsewhere, in this state."""
        self.state, self.ended = state, utc_now()
        self.note, self.hint, self.error_kind = why, hint, error_kind

    def leave(self, why: str) -> None:
        """The batch is ended while it runs."""
        is_sent = self.dag_id is not None or self.is_posted
        if self.progress is TargetProgress.NEW and not is_sent and not self.is_half_done:
            self.started = None
            self.skip(why)
            return
        self.state, self.ended = RowState.LEFT, utc_now()
        if self.is_half_done and not is_sent:
            self.note = self._half()
            self.hint = "run the same batch again: it goes on with the removal"
        elif self.dag_is_done:
            row = self.words.row
            self.note = f"DAG {self.dag_id} is done, but the {row} was not proved to its end"
            self.hint = f"run the same batch again: it proves the {row}"
        elif self.dag_id is not None:
            self.note = f"DAG {self.dag_id} goes on by itself: {self.stage or 'just begun'}"
            self.hint = "run the same batch again: it takes the DAG up"
        else:
            self.note = f"whether its {self.words.request} was begun is not known"
            self.hint = "run the same batch again: it looks first, and takes it up"

    def skip(self, why: str) -> None:
        """It will not be started."""
        half = f"{self._half()}: " if self.is_half_done else ""
        self.state, self.note = RowState.SKIPPED, f"{half}{why}"

    def _half(self) -> str:
        """Say how a replacement stands between its halves."""
        new = self.order.joining if isinstance(self.order, Replacement) else "the new node"
        return f"{new} is verified, and {self.target} is still there"


@dataclass(frozen=True)
class FirstRowPreflight:
    """The row of a cluster that would go first, with all that preflight saw of it."""

    at: int
    """Its place among the cluster's rows."""
    preflight: Preflight
    lasting: ClusterFacts | None
    """Of what the cluster told, see `ClusterFacts.lasting`."""


@dataclass
class Ledger:
    """All rows of one run of a batch."""

    entries: list[Entry]
    policies: BatchPolicies
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    """Servers of each zone before the batch, by lane."""
    begun: datetime = field(default_factory=utc_now)
    ended: datetime | None = None
    waits_until: datetime | None = None
    """Set while nothing may start before."""
    phase: str = "preflight"
    looks: dict[str, tuple[Entry, FirstRowPreflight]] = field(default_factory=dict)
    """By lane, oldest first: the row that would go first there, and what preflight saw of it. Kept
    for as long as it is worth anything, of the lanes that can begin at once."""

    @cached_property
    def key(self) -> str:
        """The same for the same nodes of the same clusters, and no secret."""
        asked = "\n".join(sorted(map(_asked, self.entries)))
        return hashlib.sha256(asked.encode()).hexdigest()[:KEY_DIGITS]

    @property
    def kind(self) -> Kind:
        """What becomes of its rows; a batch holds one kind."""
        return self.entries[0].kind

    @property
    def words(self) -> KindWords:
        """How its rows are spoken of."""
        return WORDS[self.kind]

    @property
    def is_over(self) -> bool:
        """Whether no row waits or runs."""
        return all(entry.state in ENDED for entry in self.entries)

    def by_cluster(self) -> dict[str, list[Entry]]:
        """Give the rows of each cluster, as written."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.cluster, []).append(entry)
        return found

    def counts(self) -> Counter[RowState]:
        """Say how many rows are in each state."""
        return Counter(entry.state for entry in self.entries)

    def rows(self) -> Iterator[Row]:
        """Give the rows as the rules want them."""
        return (entry.row for entry in self.entries)

    def take_look(self, entry: Entry) -> FirstRowPreflight | None:
        """Give what preflight saw of a row that begins now; None where that is worth nothing.

        Whichever row of a lane begins, what was seen of the others is old from then on.
        """
        self.forget_looks()
        first, look = self.looks.pop(entry.lane, (None, None))
        return look if first is entry else None

    def forget_looks(self) -> None:
        """Drop what preflight saw too long ago to submit on."""
        now = utc_now()
        while self.looks:
            lane, (_, look) = next(iter(self.looks.items()))
            if not is_stale(look.preflight.at, now):
                return
            del self.looks[lane]

    def stop(self, why: str) -> None:
        """End it: what waits is not begun, what runs is left to its cluster."""
        for entry in self.entries:
            if entry.state is RowState.WAITING:
                entry.skip(why)
            elif entry.state is RowState.RUNNING:
                entry.leave(why)


def _asked(entry: Entry) -> str:
    """Say what an entry asks for, with all that tells two batches apart."""
    match entry.order:
        case Replacement(joining=joining):
            return f"replace {entry.cluster} {entry.target} {entry.zone} {joining}"
        case Removal():
            return f"remove {entry.cluster} {entry.target} {entry.zone}"
        case Use(unit_num=count):
            return f"use {entry.cluster} {entry.target} {count}"
        case ScaleOut():
            return f"{entry.cluster} {entry.target} {entry.zone}"


def ledger_of(spec: BatchSpec, time_limits: TimeLimits = DEFAULT_TIME_LIMITS) -> Ledger:
    """Open the ledger of a batch: one entry a row, cluster by cluster.

    Args:
        spec: The batch.
        time_limits: Limits its clusters do not name themselves.

    Raises:
        SpecError: An override of a removal or of a tenant's units cannot be used.
    """
    entries: list[Entry] = []
    for asked in spec.clusters:
        cluster: str | ClusterSpec = asked.cluster
        if isinstance(cluster, str):
            cluster = spec.connections.get(cluster, cluster)
        shared = {"cluster": cluster, "time_limits": time_limits.with_own(asked.time_limits)}
        orders: Iterable[Order]
        if isinstance(asked, ScaleOutSpec):
            orders = _joining(asked, shared | {"on_failure": spec.policies.on_failure})
        else:
            if "on_failure" not in asked.model_fields_set:
                shared["on_failure"] = spec.policies.on_failure
            orders = _checked(asked, shared)
        label = label_of(asked)
        entries += [
            Entry(number=number, cluster=label, order=order)
            for number, order in enumerate(orders, start=len(entries) + 1)
        ]
    return Ledger(entries, spec.policies)


def _joining(asked: ScaleOutSpec, shared: Mapping[str, Any]) -> Iterator[ScaleOut]:
    """Give the orders of nodes that join; copies share the list of all of them."""
    first = ScaleOut(
        node=asked.nodes[0],
        batch=asked.nodes,
        profile=asked.profile,
        allow_new_zone=asked.allow_new_zone,
        allow_unknown=asked.allow_unknown,
        overrides=asked.overrides,
        **shared,
    )
    for node in asked.nodes:
        yield first.model_copy(update={"node": node})


def _checked(
    asked: RemovalSpec | ReplacementSpec | UseSpec, shared: Mapping[str, Any]
) -> Iterator[Order]:
    """Give the orders of what else is asked of a cluster, their overrides checked.

    Raises:
        SpecError: One of them cannot be used.
    """
    for order in orders_of(asked):
        match made := order.model_copy(update=shared):
            case Removal():
                yield checked_removal(made)
            case Replacement():
                yield checked_replacement(made)
            case Use():
                yield checked_use(made)


def _in_brief(reason: str) -> str:
    """Cut a reason to what a table can hold; the log and the row's own report have all of it."""
    for cut in (_NOT_JUDGED, _AT_LENGTH):
        reason = cut.sub("", reason)
    return reason


def shared_lanes(members: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Find clusters that are one and the same under two names: they share one lock.

    Args:
        members: Addresses of a cluster's agents, by the name the request gives it.

    Returns:
        The lane of each name: the name of the first that has an agent in common with it.
    """
    lanes: dict[str, str] = {}
    owner: dict[str, str] = {}
    for name, addresses in members.items():
        found = next((owner[address] for address in addresses if address in owner), name)
        lanes[name] = found
        for address in addresses:
            owner.setdefault(address, found)
    return lanes
