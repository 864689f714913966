"""Says what is drawn of a batch: when each cluster's nodes were at work, and what stopped them."""

from collections import Counter
from collections.abc import Sequence

from obscale.batch.report import STATE_WORDS, BatchReport, RowReport
from obscale.batch.schedule import RowState
from obscale.pictures.batch_timeline import Lane, Run, draw_batch
from obscale.text import Markdown


def pictures_of(report: BatchReport) -> list[Markdown]:
    """Draw a batch over time; nothing where no node was started."""
    rows: dict[str, list[RowReport]] = {}
    for row in report.rows:
        rows.setdefault(row.cluster, []).append(row)
    ends = [row.ended_at or row.started_at for row in report.rows]
    now = report.ended_at or max((end for end in ends if end), default=report.started_at)
    spans = tuple(report.window.spans(report.started_at, now)) if report.window else ()
    picture = draw_batch(
        [_lane(name, each) for name, each in rows.items()],
        (report.started_at, now),
        window=str(report.window or ""),
        open_spans=spans,
    )
    return [] if picture is None else [picture.markdown]


def _lane(cluster: str, rows: Sequence[RowReport]) -> Lane:
    begun = sorted((row.started_at, row.number, row) for row in rows if row.started_at is not None)
    others = Counter(STATE_WORDS[row.state] for row in rows if row.started_at is None)
    return Lane(
        cluster,
        tuple(
            Run(row.target, STATE_WORDS[row.state], at, row.ended_at, row.is_canary)
            for at, _, row in begun
        ),
        tuple(others.items()),
        stopped=any(row.state is RowState.SKIPPED for row in rows),
    )
