"""The models that a batch and its runs on workers exchange, and their names."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from obscale.batch.dispatch import RowStatus
from obscale.batch.kinds import counted
from obscale.batch.ledger import Entry, Ledger
from obscale.batch.schedule import RowState
from obscale.preflight.facts import TargetProgress
from obscale.request.asked import Kind, first_kind
from obscale.request.models import ClusterSpec, ScaleOutSpec
from obscale.request.removal import Removal, RemovalSpec
from obscale.request.replacement import Replacement, ReplacementSpec
from obscale.request.scale_out import ScaleOut
from obscale.request.time_limits import TimeLimits
from obscale.request.use import TenantUnits, Use, UseSpec
from obscale.spec.batch import compact
from obscale.text import for_terminal

ID_DIGITS: Final = 12
"""Of a part's id."""


@dataclass(frozen=True)
class WorkerAssignment:
    """All rows of one lane, as a run on a worker gets them.

    Args:
        batch: Key of the batch.
        names: Clusters, as the request calls them; more than one where they are one and the same.
        zones: That the rows grow, sorted.
        parameters: Of the run. They name secrets, and hold none.
        count: Rows.
    """

    batch: str
    names: tuple[str, ...]
    zones: tuple[str, ...]
    parameters: Mapping[str, Any]
    count: int
    kind: Kind = "nodes"

    @classmethod
    def of(cls, batch: str, entries: Sequence[Entry]) -> Self:
        """Make the part of one lane's rows.

        Args:
            batch: Key of the batch.
            entries: All of the lane, at least one; also those that will not be begun, since some
                rules judge the final topology.
        """
        of_each: dict[str, list[Entry]] = {}
        for entry in entries:
            of_each.setdefault(entry.cluster, []).append(entry)
        firsts = {name: rows[0] for name, rows in of_each.items()}
        names = tuple(sorted(firsts))
        order = entries[0].order
        time_limits = order.time_limits
        parameters: dict[str, Any] = {
            "batch": batch,
            "clusters": [_asked(name, of_each[name], time_limits) for name in names],
            "connections": {
                name: written.model_dump(mode="json", exclude_defaults=True)
                for name in names
                if isinstance(written := firsts[name].order.cluster, ClusterSpec)
            },
            "on_failure": order.on_failure,
            "time_limits": time_limits.model_dump(mode="json", exclude_defaults=True),
        }
        zones = tuple(sorted({entry.zone for entry in entries} - {""}))
        return cls(batch, names, zones, parameters, len(entries), entries[0].kind)

    @property
    def id(self) -> str:
        """The same for the same rows asked for in the same way; another one for any change."""
        asked = json.dumps(self.parameters, sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()[:ID_DIGITS]

    @property
    def name(self) -> str:
        """Name its run, e.g. `rows of prod-east: 5 nodes`."""
        return run_name(self.names, self.count, self.kind)

    @property
    def tags(self) -> tuple[str, ...]:
        """By which its runs are found."""
        told = (
            *(f"cluster:{name}" for name in self.names),
            *(f"zone:{zone}" for zone in self.zones),
        )
        return (batch_tag(self.batch), *map(for_terminal, told))

    def key(self, turn: int) -> str:
        """Give the idempotency key of its run: a batch begun again finds the run it has.

        Args:
            turn: From 1: a lane needs another run where one was lost, or had ended.
        """
        return f"obscale-{self.batch}-{self.id}-{turn}"


def part_in(key: str | None) -> str:
    """Give the id of the part that a run with this idempotency key is of; empty: of none."""
    words = (key or "").rsplit("-", 2)
    return words[1] if len(words) > 2 else ""  # noqa: PLR2004 - batch, part, turn


def batch_tag(key: str) -> str:
    """Give the tag all runs of a batch carry."""
    return f"batch:{key}"


def run_name(names: Iterable[str], count: int, kind: Kind) -> str:
    """Name a run after its rows, e.g. `rows of prod-east: 5 nodes`."""
    return for_terminal(f"rows of {' and '.join(names)}: {counted(kind, count)}")


def kind_in(parts: Sequence[Mapping[str, Any]]) -> tuple[Kind, int]:
    """Say of which kind the rows of a run are, and how many.

    Args:
        parts: Its clusters, as its parameters have them.
    """
    kind = first_kind(parts[0]) if parts else "nodes"
    return kind, sum(len(part.get(kind) or ()) for part in parts)


def _asked(name: str, entries: Sequence[Entry], usual: TimeLimits) -> dict[str, Any]:
    order = entries[0].order
    # Clusters that are one under two names share a run, and may differ in their limits.
    own = None if order.time_limits == usual else TimeLimits(**order.time_limits.model_dump())
    shared: dict[str, Any] = {
        "cluster": name,
        "profile": order.profile,
        "allow_unknown": order.allow_unknown,
        "overrides": order.overrides,
        "time_limits": own,
    }
    match order:
        case ScaleOut(batch=nodes, allow_new_zone=allowed):
            return compact(ScaleOutSpec(nodes=nodes, allow_new_zone=allowed, **shared))
        case Removal(batch=leaving, on_failure=policy):
            return compact(RemovalSpec(remove=leaving, on_failure=policy, **shared))
        case Replacement(batch=pairs, on_failure=policy):
            return compact(ReplacementSpec(replace=pairs, on_failure=policy, **shared))
        case Use(on_failure=policy):
            changed = [entry.order for entry in entries if isinstance(entry.order, Use)]
            units = tuple(TenantUnits(tenant=e.tenant, unit_num=e.unit_num) for e in changed)
            return compact(UseSpec(use=units, on_failure=policy, **shared))


@dataclass(frozen=True)
class PermitState:
    """What became of the words for a row: the last one of each kind; empty: none."""

    word: str = ""
    declined: str = ""
    called_off: str = ""


def status_rows(ledger: Ledger, words: Mapping[str, PermitState]) -> list[dict[str, Any]]:
    """Tell the rows of a run, one line each.

    Args:
        ledger: Of the run.
        words: By target.
    """
    return [
        RowStatus(
            target=entry.target,
            zone=entry.zone,
            cluster=entry.cluster,
            state=entry.state,
            stage=entry.stage,
            dag_id=entry.dag_id,
            level=entry.level,
            why=entry.note,
            next=entry.hint,
            how=entry.how,
            error_kind=entry.error_kind,
            joined=entry.joined,
            host_steps=entry.host_steps,
            **vars(words.get(entry.target, PermitState())),
        ).model_dump(mode="json")
        for entry in ledger.entries
    ]


def apply_status(entry: Entry, told: RowStatus) -> None:
    """Take into the batch's own ledger how far a row's run says it is."""
    entry.dag_id = told.dag_id or entry.dag_id
    entry.how, entry.stage = told.how or entry.how, told.stage or entry.stage
    entry.level = told.level or entry.level
    entry.joined = max(told.joined, entry.joined)
    entry.host_steps = told.host_steps or entry.host_steps


def apply_result(entry: Entry, told: RowStatus) -> None:
    """Take into the batch's own ledger how a row ended."""
    how, dag_id, why = entry.how, entry.dag_id, told.why
    apply_status(entry, told)
    if how and dag_id and told.how.startswith("already "):
        # A run that was lost had begun it, and the one after that found it done.
        entry.how, why = how, "the run that began it was lost; another one proved it"
    entry.settle(told.state, why, told.next, told.error_kind)


def take_up_row(entry: Entry) -> None:
    """A row that is being carried out already is only followed, whatever preflight said of it."""
    if entry.state is RowState.BLOCKED:
        entry.state, entry.note, entry.hint, entry.error_kind = RowState.WAITING, "", "", ""
    if entry.state is RowState.WAITING:
        entry.progress = TargetProgress.UNDER_WAY
