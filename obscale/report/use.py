"""The report of a use: what was asked of a tenant, what happened, and what stands now."""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from obscale.preflight.finding import Answer, Finding
from obscale.report.page import QUIET, told_finding, told_proof, use_command
from obscale.report.report import Moment, StageRow
from obscale.request.file_name import NO_NAME
from obscale.text import Markdown, bullets, code, folded, markdown, paragraphs
from obscale.verify.observation import ProofLine

SCHEMA_VERSION: Final = 1
"""Raised when a field of the JSON report changes its meaning or goes away."""


class UseReport(BaseModel):
    """What was asked, what was found, what happened, and what stands now. Holds no secret."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    outcome: Literal["verified", "blocked", "failed", "cancelled"]
    cluster: str
    tenant: str
    unit_num: int
    """Asked for."""
    unit_num_before: int | None = None
    """As stored before; None: not known."""
    gain: str = ""
    """What the change does, in words."""
    verdict: str = ""
    """Of preflight."""
    findings: tuple[Finding, ...] = ()
    dag_id: str | None = None
    submitted_how: str = ""
    """`posted`, `adopted` or `already stored`; empty: it did not come to that."""
    stages: tuple[StageRow, ...] = ()
    balance: str = ""
    """`BALANCED`, `BALANCED (steady, not proved)`, or what is missing."""
    proofs: tuple[ProofLine, ...] = ()
    placed: str = ""
    """How many units are placed in each zone, as seen last."""
    timeline: tuple[Moment, ...] = ()
    error_kind: str = ""
    error: str = ""
    next: str = ""
    """What the error says is to be done; `error` ends with it."""
    command_name: str = NO_NAME
    """How a command names the cluster."""
    run_id: str = ""
    run_name: str = ""
    attempt: int = 0
    """Of the flow run, from 1; 0: no flow run."""
    asked_by: str = ""

    @property
    def command(self) -> str:
        """Give the command that asks for the same again."""
        return use_command(self.command_name, self.tenant, self.unit_num)


def render_use(report: UseReport) -> Markdown:
    """Write the report as a Markdown page: verdict, what to do, what is proved, then the rest."""
    title = markdown("# {} of {}: {}", f"tenant {report.tenant}", report.cluster, report.outcome)
    parts = [
        title,
        markdown("**{}**", _verdict(report)),
        *_to_do(report),
        *_lists(report),
    ]
    return Markdown(f"{paragraphs(parts)}\n")


def _verdict(report: UseReport) -> str:
    if report.outcome == "verified":
        how = f"DAG {report.dag_id} {report.submitted_how}" if report.dag_id else "already stored"
        before = "?" if report.unit_num_before is None else report.unit_num_before
        return f"{report.balance}: unit_num {before} → {report.unit_num} ({how}). {report.placed}."
    if report.outcome == "blocked":
        return "Blocked by preflight; nothing was sent to the cluster."
    return report.error.removesuffix(f". Next: {report.next}") or "Not verified."


def _to_do(report: UseReport) -> Iterator[Markdown]:
    if report.outcome == "verified":
        return
    yield Markdown("## What to do")
    blockers = [f for f in report.findings if f.weight is Answer.BLOCK]
    if report.outcome == "blocked" and blockers:
        yield bullets(map(told_finding, blockers))
    elif report.next:
        yield markdown("{}.", report.next)
    yield markdown("Then ask again; it takes up what is under way:")
    yield code([report.command])


def _lists(report: UseReport) -> Iterator[Markdown]:
    if report.gain:
        yield Markdown("## What was asked")
        yield markdown("{}.", report.gain)
    if report.proofs:
        yield Markdown("## Proofs")
        yield bullets(map(told_proof, report.proofs))
    telling = [f for f in report.findings if f.answer not in QUIET]
    if telling:
        yield Markdown("## Findings")
        yield bullets(map(told_finding, telling))
    if report.stages:
        yield folded(f"Stages of DAG {report.dag_id}", _stages(report.stages))
    if report.timeline:
        lines = [f"{each.at:%H:%M:%S} {each.step}: {each.text}" for each in report.timeline]
        yield folded(f"Timeline: {len(lines)} lines, UTC", lines)


def _stages(rows: Sequence[StageRow]) -> list[str]:
    return [f"{row.stage} {row.node}: {row.state}, {row.last_log or 'no line'}" for row in rows]
