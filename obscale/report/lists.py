"""Writes findings, and proofs, as a page of their own: what is not green, then the rest folded.

No table: Prefect's pages are narrow, and cut off what matters most, on the right.
"""

from collections.abc import Iterable, Sequence

from obscale.preflight.finding import Finding, otherwise
from obscale.report.page import QUIET, told_finding, told_proof
from obscale.text import Markdown, bullets, code, folded, markdown, paragraphs
from obscale.verify.observation import ProofAnswer, ProofLine

_GREEN = {ProofAnswer.PASS, ProofAnswer.NOT_APPLICABLE, ProofAnswer.INFO}


def findings_page(findings: Iterable[Finding]) -> Markdown:
    """Write findings as a page.

    Args:
        findings: The gravest first.
    """
    told = list(findings)
    telling = [each for each in told if each.answer not in QUIET or each.overridden_by]
    quiet = [f"{each.answer} {each.rule}: {each.measured}" for each in told if each not in telling]
    parts = [bullets(map(_finding, telling))] if telling else [Markdown("All rules pass.")]
    if quiet:
        parts.append(folded(f"Rules that pass or do not apply: {len(quiet)}", quiet))
    return Markdown(f"{paragraphs(parts)}\n")


def proofs_page(proofs: Sequence[ProofLine], statements: Sequence[str]) -> Markdown:
    """Write proofs as a page.

    Args:
        proofs: In their order.
        statements: That would keep what a restart may take back.
    """
    open_ = [proof for proof in proofs if proof.answer not in _GREEN]
    held = [f"{p.answer} {p.id} ({p.level.name}): {p.found}" for p in proofs if p not in open_]
    parts = [bullets(map(told_proof, open_))] if open_ else [Markdown("All proofs hold.")]
    if statements:
        parts.append(Markdown("To keep what a restart may take back:"))
        parts.append(code(statements, "sql"))
    if held:
        parts.append(folded(f"Proofs that hold: {len(held)}", held))
    return Markdown(f"{paragraphs(parts)}\n")


def _finding(finding: Finding) -> Markdown:
    later = otherwise(finding.otherwise) if finding.remedy else ""
    return markdown("{}{}", told_finding(finding), f"; {later}" if later else "")
