"""What proves afterwards who asked for what, who decided, and what was done: one page, one JSON?"""

from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from obscale.report import ScaleOutReport, render_markdown

SCHEMA_VERSION: Final = 1
"""Raised when a field of the JSON evidence changes its meaning or goes away."""


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


class Evidence(BaseModel):
    """One run, whole. Holds no secret."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    run: RunFacts
    report: ScaleOutReport
    versions: dict[str, str]
    """By what: obscale and Prefect at the time of the run, agents by `ip:port`."""


class KeptReport(BaseModel):
    """What a run keeps in Prefect for its evidence."""

    model_config = ConfigDict(frozen=True)

    report: ScaleOutReport
    versions: dict[str, str]


def render_evidence(evidence: Evidence) -> str:
    """Write the evidence as a Markdown page: the run, then its report, logs and versions."""
    run = evidence.run
    logs = [
        f"- {row.stage} {row.node}: {_literal(line)}"
        for row in evidence.report.stages
        for line in row.logs
    ]
    parts = [
        f"# Evidence of run {run.name}",
        "\n".join(
            f"- {name}: {_literal(value)}"
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
        render_markdown(evidence.report).strip(),
        "## Logs of the DAG's sub tasks",
        "\n".join(logs) or "None: no DAG was seen.",
        "## Versions",
        "\n".join(f"- {name}: {version}" for name, version in sorted(evidence.versions.items())),
    ]
    return "\n\n".join(parts) + "\n"


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "not yet"


def _literal(text: str) -> str:
    """Keep what was said from being read as a tag, and on one line."""
    return text.replace("<", "&lt;").replace("\n", " ")
