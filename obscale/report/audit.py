"""The evidence of a run as one page and one JSON: who asked, who decided, what was done."""

import shlex
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from obscale.report.page import render_markdown
from obscale.report.report import EarlierEnd, ScaleOutReport
from obscale.text import Markdown, bullets, code, markdown, paragraphs

SCHEMA_VERSION: Final = 1
"""Raised when a field of the JSON evidence changes its meaning or goes away."""


_FILES: Final[tuple[tuple[str, ...], ...]] = ((), ("--json",))
"""Ways to print it; a line with `--out` would be too long for Prefect's page."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands where no time is told."""


class RunFacts(BaseModel):
    """What Prefect knows of a run. Passwords in parameters are named only, never written."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    state: str
    state_type: str
    message: str = ""
    asked_by: str
    """Who or what made the run, as far as Prefect knows."""
    asked_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    attempts: int
    tags: tuple[str, ...]
    parameters: dict[str, Any]


class KeptReport(BaseModel):
    """What a run keeps in Prefect for its evidence."""

    model_config = ConfigDict(frozen=True)

    report: ScaleOutReport
    versions: dict[str, str]


def earlier_of(
    kept: Iterable[KeptReport], *, run_id: str, target: str, cluster: str, dag_id: str | None
) -> list[KeptReport]:
    """Choose the reports of earlier attempts of a run, and of earlier runs of the same DAG.

    Args:
        kept: Oldest first, also of other runs, targets and clusters.
        run_id: Of the run.
        target: `ip:port`.
        cluster: As it says itself, `name/id`.
        dag_id: None: no DAG is known, so only attempts of the run count.
    """
    return [
        each
        for each in kept
        if each.report.target == target
        and (
            each.report.run_id == run_id
            or (
                dag_id is not None
                and (each.report.dag_id, each.report.told_cluster) == (dag_id, cluster)
            )
        )
    ]


def end_of(kept: KeptReport) -> EarlierEnd:
    """Give how an attempt ended, in brief."""
    report = kept.report
    return EarlierEnd(
        at=report.timeline[-1].at if report.timeline else EPOCH,
        run_id=report.run_id,
        run_name=report.run_name,
        attempt=report.attempt,
        asked_by=report.asked_by,
        outcome=report.outcome,
        level=report.level,
        dag_id=report.dag_id,
        submitted_how=report.submitted_how,
        error_kind=report.error_kind,
        error=report.error,
    )


class Evidence(BaseModel):
    """One run, whole. Holds no secret."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    run: RunFacts
    report: ScaleOutReport
    versions: dict[str, str]
    """By what: obscale and Prefect at the time of the run, agents by `ip:port`."""
    earlier: tuple[KeptReport, ...] = ()
    """Of earlier attempts of the run, and of earlier runs of the same DAG, whole; oldest first."""


def _title(report: ScaleOutReport) -> Markdown:
    told = report.target, report.zone, report.cluster
    if report.operation == "replacement":
        return markdown(
            "# Evidence of replacing {} by {} in {} of {}", told[0], report.by, *told[1:]
        )
    if report.operation == "removal":
        return markdown("# Evidence of removing {} from {} of {}", *told)
    return markdown("# Evidence of {} into {} of {}", *told)


def render_kept(kept: KeptReport) -> Markdown:
    """Say in brief what is kept of a run, and how it comes into a file."""
    report = kept.report
    command = ["obscale", "evidence", report.run_id]
    parts = [
        _title(report),
        bullets(
            markdown("{}: {}", name, value)
            for name, value in (
                ("run", f"{report.run_name} ({report.run_id}), attempt {report.attempt}"),
                ("asked by", report.asked_by),
                ("ended", f"{report.outcome}, {report.verdict_reached}"),
                ("DAG", f"{report.dag_id or 'none'} {report.submitted_how}"),
                *sorted(kept.versions.items()),
            )
        ),
        "The whole record, with what Prefect knows of the run and its earlier attempts:",
        code([shlex.join([*command, *words]) for words in _FILES]),
    ]
    return paragraphs(parts)


def render_evidence(evidence: Evidence) -> Markdown:
    """Write the evidence as a Markdown page: the run, then its report, logs and versions."""
    run = evidence.run
    logs = [
        f"{row.stage} {row.node}: {line}"
        for report in (evidence.report, *evidence.report.halves)
        for row in report.stages
        for line in row.logs
    ]
    parts = [
        markdown("# Evidence of run {}", run.name),
        bullets(
            markdown("{}: {}", name, value)
            for name, value in (
                ("run", run.id),
                ("state", f"{run.state} ({run.state_type})"),
                ("asked by", run.asked_by),
                ("asked at", _moment(run.asked_at)),
                ("started at", _moment(run.started_at)),
                ("ended at", _moment(run.ended_at)),
                ("attempts", str(run.attempts)),
                ("tags", ", ".join(run.tags)),
            )
        ),
        _report(evidence.report, 1),
        markdown("## Logs of the DAG's sub tasks"),
        bullets(logs) or markdown("None: no DAG was seen."),
        markdown("## Versions"),
        bullets(f"{name}: {version}" for name, version in sorted(evidence.versions.items())),
        *(_earlier(kept.report) for kept in evidence.earlier),
    ]
    return Markdown(f"{paragraphs(parts)}\n")


def _report(report: ScaleOutReport, level: int) -> Markdown:
    return Markdown(render_markdown(report, level, whole=True).strip())


def _earlier(report: ScaleOutReport) -> Markdown:
    """Write an earlier attempt whole, one level below the newest."""
    run = report.run_name or report.run_id or "not told"
    head = markdown(
        "## Earlier: attempt {} of run {}, asked by {}",
        *(report.attempt or "?", run, report.asked_by),
    )
    return paragraphs([head, _report(report, 2)])


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "not yet"
