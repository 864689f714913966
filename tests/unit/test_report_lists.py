"""Tests of findings and proofs as pages of their own."""

from obscale.report.lists import findings_page, proofs_page
from obscale.verify.levels import Level
from obscale.verify.observation import ProofAnswer, ProofLine
from tests.conftest import disk
from tests.hostile_text import HOSTILE, faults_of_page


def proof(answer, name="pv-agent", **changes):
    """Give one proof."""
    told = {"id": name, "level": Level.JOINED, "expected": "CLUSTER AGENT", "found": "SINGLE"}
    return ProofLine(answer=answer, **told | changes)


def test_what_is_not_green_stands_first_and_the_rest_is_folded(world):
    """Measured, needed, remedy and what happens otherwise, in one item; no table."""
    findings = world.disks(disk("/", total="30G", used="20G")).judge()

    page = findings_page(findings.by_weight())

    first = page.splitlines()[0]
    assert first.startswith("- **block** disk-fits: measured ")
    assert "; needed " in first
    assert ". Remedy: " in first
    shown, folds = page.split("<details>")
    assert "zone-balance" in shown
    assert "**pass**" not in shown
    assert "pass cluster-identity-pinned: " in folds
    assert "|" not in shown
    assert faults_of_page(page) == []


def test_proofs_that_hold_are_folded_and_statements_can_be_copied():
    """Nothing of a cluster's is obeyed."""
    proofs = [proof(ProofAnswer.WAITING, found=HOSTILE), proof(ProofAnswer.PASS, "pv-topology")]

    page = proofs_page(proofs, ["ALTER SYSTEM SET memory_limit='16G' SERVER='10.0.0.4:2882';"])

    assert page.startswith("- **waiting** pv-agent (JOINED): expected CLUSTER AGENT; found ")
    assert "```sql\nALTER SYSTEM SET memory_limit='16G' SERVER='10.0.0.4:2882';\n```" in page
    assert "Proofs that hold: 1" in page
    assert faults_of_page(page) == []


def test_all_green_is_said():
    """A page is never empty."""
    assert proofs_page([proof(ProofAnswer.PASS)], ()).startswith("All proofs hold.")
    assert findings_page([]).startswith("All rules pass.")
