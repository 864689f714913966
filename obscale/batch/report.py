"""The report of a batch, as model, JSON and Markdown."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Final

from pydantic import BaseModel, ConfigDict

from obscale.batch.kinds import WORDS
from obscale.batch.ledger import Entry, Ledger
from obscale.batch.row import BatchRow
from obscale.batch.schedule import FAILURES, RowState
from obscale.errors import ObscaleError
from obscale.pictures.words import told_seconds
from obscale.request.asked import Kind
from obscale.request.policies import Canary, Window, told_policies
from obscale.text import Markdown, bullets, code, folded, markdown, paragraphs

SCHEMA_VERSION: Final = 1
"""Raised when a field of the JSON report changes its meaning or goes away."""
MOST_LISTED: Final = 500
"""Rows told one by one on the page; the JSON has all."""
MOST_CLUSTERS: Final = 12
"""Told one by one on the first screen; of more, those that are verified are folded."""
MOST_NAMED: Final = 3
"""Nodes named one by one where many share a reason."""
STATE_WORDS: Final = {
    RowState.VERIFIED: "verified",
    RowState.FAILED: "failed",
    RowState.BLOCKED: "blocked",
    RowState.SKIPPED: "not started",
    RowState.LEFT: "left running",
    RowState.RUNNING: "running",
    RowState.WAITING: "waiting",
}


class BatchIncompleteError(ObscaleError):
    """Not every row of a batch is verified; the report says which and why."""

    kind: ClassVar[str] = "batch-incomplete"


class RowReport(BatchRow):
    """How one row ended."""

    state: RowState
    dag_id: str | None
    submitted_how: str
    stage: str
    level: str
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float | None
    host_steps: tuple[str, ...] = ()
    """Of a node that has left: commands that clean its host before it is used again."""
    is_canary: bool = False
    """Whether other clusters, or other nodes, waited for it."""


class ClusterReport(BaseModel):
    """How one cluster came out; servers a zone before the batch and as the batch left them."""

    model_config = ConfigDict(frozen=True)

    cluster: str
    counts: dict[RowState, int]
    zones_before: dict[str, int]
    zones_after: dict[str, int]


class BatchReport(BaseModel):
    """What was asked, what became of it, and what somebody has to do. Holds no secret."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    key: str
    kind: Kind = "nodes"
    """Of all rows."""
    outcome: str
    """`verified`, or `incomplete`."""
    summary: str
    started_at: datetime
    ended_at: datetime | None
    policies: tuple[str, ...]
    canary: Canary = "none"
    window: Window | None = None
    counts: dict[RowState, int]
    clusters: tuple[ClusterReport, ...]
    rows: tuple[RowReport, ...]

    @property
    def is_verified(self) -> bool:
        """Whether every row is."""
        return self.outcome == "verified"


def report_of(ledger: Ledger) -> BatchReport:
    """Tell a batch as it stands."""
    counts, canaries = ledger.counts(), _canaries(ledger)
    complete = counts[RowState.VERIFIED] == len(ledger.entries)
    return BatchReport(
        key=ledger.key,
        kind=ledger.kind,
        outcome="verified" if complete else "incomplete",
        summary=summary_of(ledger),
        started_at=ledger.begun,
        ended_at=ledger.ended,
        policies=tuple(told_policies(ledger.policies)),
        canary=ledger.policies.canary,
        window=ledger.policies.window,
        counts=dict(counts),
        clusters=tuple(
            _cluster(name, entries, ledger) for name, entries in ledger.by_cluster().items()
        ),
        rows=tuple(_row(entry, is_canary=entry.number in canaries) for entry in ledger.entries),
    )


def summary_of(ledger: Ledger) -> str:
    """Say a batch in one line, e.g. `37 of 40 nodes verified, 2 failed, 1 not started`."""
    counts, words = ledger.counts(), ledger.words
    total = len(ledger.entries)
    rows = words.rows if total > 1 else words.row
    said = [f"{counts[RowState.VERIFIED]} of {total} {rows} verified"]
    said += [
        f"{counts[state]} {word}"
        for state, word in STATE_WORDS.items()
        if counts[state] and state is not RowState.VERIFIED
    ]
    return ", ".join(said)


def error_of_batch(report: BatchReport) -> BatchIncompleteError | None:
    """Give the error an incomplete batch ends with; None where every node is verified."""
    if report.is_verified:
        return None
    first = next((row for row in report.rows if row.state in FAILURES), None)
    hint = "mend what the report names, then run the same batch again: it does what is missing"
    example = f"; first {first.target} of {first.cluster}: {first.why}" if first else ""
    return BatchIncompleteError(f"{report.summary}{example}", hint)


def _canaries(ledger: Ledger) -> set[int]:
    """Give the numbers of the rows others waited for: those of a cluster until one was verified."""
    match ledger.policies.canary:
        case "none":
            return set()
        case "cluster":
            first = ledger.entries[0].row.lane
            return {entry.number for entry in ledger.entries if entry.row.lane == first}
        case "node":
            begun: dict[str, list[Entry]] = {}
            for entry in sorted(
                (entry for entry in ledger.entries if entry.started),
                key=lambda entry: entry.started or ledger.begun,
            ):
                tried = begun.setdefault(entry.row.lane, [])
                if not any(each.state is RowState.VERIFIED for each in tried):
                    tried.append(entry)
            return {entry.number for tried in begun.values() for entry in tried}


def _row(entry: Entry, *, is_canary: bool) -> RowReport:
    return RowReport(
        number=entry.number,
        cluster=entry.cluster,
        kind=entry.kind,
        target=entry.target,
        zone=entry.zone,
        what=entry.what,
        state=entry.state,
        why=entry.note,
        next=entry.hint,
        dag_id=entry.dag_id,
        submitted_how=entry.how,
        stage=entry.stage,
        level=entry.level,
        verdict=entry.verdict,
        error_kind=entry.error_kind,
        started_at=entry.started,
        ended_at=entry.ended,
        seconds=entry.seconds,
        host_steps=entry.host_steps,
        is_canary=is_canary,
    )


def _cluster(name: str, entries: Sequence[Entry], ledger: Ledger) -> ClusterReport:
    before = ledger.sizes.get(entries[0].lane or name, {})
    after = Counter(before)
    for entry in entries:
        after[entry.zone] += entry.change
    return ClusterReport(
        cluster=name,
        counts=dict(Counter(entry.state for entry in entries)),
        zones_before=dict(sorted(before.items())),
        zones_after={zone: count for zone, count in sorted(after.items()) if zone},
    )


def render_batch(
    report: BatchReport, *, again: str = "", pictures: Sequence[Markdown] = ()
) -> Markdown:
    """Write the report as a Markdown page: the answer first, then what somebody has to do.

    Lists only, no table: Prefect's pages are narrow, and cut off what stands on the right.

    Args:
        report: Of a batch.
        again: The command that runs the same batch again; empty: none is known.
        pictures: Stand between what to do, and the clusters before and after.
    """
    rows = report.rows
    sick = [row for row in rows if row.state in FAILURES]
    left = [row for row in rows if row.state is RowState.LEFT]
    skipped = [row for row in rows if row.state is RowState.SKIPPED]
    few = len(report.clusters) <= MOST_CLUSTERS
    green = [cluster for cluster in report.clusters if not few and _is_green(cluster)]
    parts = [
        markdown("# {}", report.summary),
        _when(report),
        markdown("## What to do ({})", len(sick)) if sick else "",
        bullets(
            markdown("**{}** {}: {}{}", *told)
            for state in (RowState.FAILED, RowState.BLOCKED)
            for told in _told_together(state, [row for row in sick if row.state is state])
        ),
        markdown("## Still running in the clusters ({})", len(left)) if left else "",
        bullets(
            markdown("{} of {}: {}. **To do**: {}", r.what, r.cluster, r.why, r.next) for r in left
        ),
        "" if report.is_verified else "Running the same batch again does only what is missing.",
        code([again]) if again and not report.is_verified else "",
        *pictures,
        Markdown("## Clusters, before → after"),
        bullets(_cluster_line(cluster) for cluster in report.clusters if cluster not in green),
        markdown("## Not started ({})", len(skipped)) if skipped else "",
        bullets(_reasons(skipped)),
        *_hosts(rows),
        folded(f"Clusters that are verified ({len(green)})", map(_cluster_line, green)),
        folded(f"Every {WORDS[report.kind].row} ({len(rows)})", map(_row_line, rows))
        if len(rows) <= MOST_LISTED
        else markdown("The JSON report lists all {} {}.", len(rows), WORDS[report.kind].rows),
    ]
    return Markdown(f"{paragraphs(parts)}\n")


def _hosts(rows: Sequence[RowReport]) -> Iterator[Markdown]:
    """Say how the hosts of nodes that have left are cleaned; nothing of them was touched."""
    left = [row for row in rows if row.host_steps]
    if not left:
        return
    yield markdown("## Hosts of nodes that have left ({})", len(left))
    yield Markdown("Nothing on them was touched. To use one again, clean it first:")
    for row in left[:MOST_CLUSTERS]:
        yield markdown("**{}** of {}", row.target, row.cluster)
        yield code(row.host_steps)
    if len(left) > MOST_CLUSTERS:
        yield markdown("The JSON report has the commands of all {}.", len(left))


def _told_together(state: RowState, rows: Sequence[RowReport]) -> Iterator[tuple[str, ...]]:
    """Say what has become of rows, and what is to be done; those of one reason share a line."""
    for (cluster, why, advice), nodes in together(rows).items():
        to_do = markdown(". **To do**: {}", advice) if advice else Markdown()
        yield STATE_WORDS[state], f"{named_briefly(nodes)} of {cluster}", why, to_do


def board_rows(ledger: Ledger) -> list[dict[str, str]]:
    """Give the batch as rows of one table: how far each node is."""
    return [
        {
            "node": entry.what,
            "cluster": entry.cluster,
            "state": _progress(entry),
            "why": entry.note,
            "DAG": entry.dag_id or "",
            "took": "" if entry.seconds is None else told_seconds(entry.seconds),
        }
        for entry in ledger.entries
    ]


def _progress(entry: Entry) -> str:
    if entry.state is RowState.RUNNING:
        return f"running: {entry.level or entry.stage or 'preflight'}"
    return STATE_WORDS[entry.state]


def _when(report: BatchReport) -> str:
    until = f" to {report.ended_at:%H:%M} UTC" if report.ended_at else " UTC, not ended yet"
    took = (report.ended_at - report.started_at).total_seconds() if report.ended_at else None
    length = f" ({told_seconds(took)})" if took is not None else ""
    said = f"{report.started_at:%Y-%m-%d %H:%M}{until}{length}. {len(report.clusters)} clusters. "
    return f"{said}Rules: {'; '.join(report.policies)}. Batch {report.key}."


def _is_green(cluster: ClusterReport) -> bool:
    return cluster.counts.get(RowState.VERIFIED, 0) == sum(cluster.counts.values())


def _cluster_line(cluster: ClusterReport) -> str:
    """Say how a cluster came out, e.g. `c1: 2 of 3 verified, 1 failed; zone1 1 → 2, zone2 1`."""
    verified, asked = cluster.counts.get(RowState.VERIFIED, 0), sum(cluster.counts.values())
    told = [f"{verified} of {asked} verified"]
    told += [
        f"{cluster.counts[state]} {word}"
        for state, word in STATE_WORDS.items()
        if state is not RowState.VERIFIED and cluster.counts.get(state)
    ]
    before, after = cluster.zones_before, cluster.zones_after
    zones = [
        f"{name} {before.get(name, 0)}"
        + (f" → {after[name]}" if after.get(name, 0) != before.get(name, 0) else "")
        for name in sorted({*before, *after})
    ]
    return f"{cluster.cluster}: {', '.join(told)}; {', '.join(zones) or 'zones are not known'}"


def told_zones(zones: Mapping[str, int]) -> str:
    """Say how many servers each zone has, e.g. `zone1 2, zone2 1`."""
    return ", ".join(f"{name} {count}" for name, count in sorted(zones.items())) or "not known"


def together(rows: Sequence[BatchRow]) -> dict[tuple[str, str, str], list[str]]:
    """Put the rows of a cluster together that share their reason and what to do about it.

    A cluster that does not answer blocks all of its rows: that is one piece of news.

    Args:
        rows: Of a plan or a report.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        found.setdefault((row.cluster, row.why, row.next), []).append(row.what)
    return found


def named_briefly(nodes: Sequence[str]) -> str:
    """Name nodes, e.g. `10.0.0.4:2886 → zone1, 10.0.0.5:2886 → zone2 and 48 more`."""
    more = len(nodes) - MOST_NAMED
    return ", ".join(nodes[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _reasons(rows: Iterable[RowReport]) -> Iterator[str]:
    """Rows that share their reason share a line."""
    together: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        together.setdefault((row.cluster, row.why), []).append(row.target)
    for (cluster, why), nodes in together.items():
        yield f"{named_briefly(nodes)} of {cluster}: {why}"


def _row_line(row: RowReport) -> str:
    level = f" up to {row.level}" if row.level else ""
    dag = f", DAG {row.dag_id} {row.submitted_how}".rstrip() if row.dag_id else ""
    took = f", {told_seconds(row.seconds)}" if row.seconds is not None else ""
    state = f"{STATE_WORDS[row.state]}{level}{dag}{took}"
    return f"{row.number} {row.what} of {row.cluster}: {state}"
