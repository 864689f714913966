"""Does what is told of a diagnosis name its sources, and repeat agents without obeying them?"""

import pytest

from obscale.report import render_diagnosis
from obscale.rules.causes import CAUSES
from obscale.rules.consequences import Choice, Remedy
from obscale.rules.diagnosis import Diagnosis, Place


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.id)
def test_each_cause_says_where_it_is_known_from(cause):
    """Each row has a source in obshell's code; only the unknown has none."""
    assert (cause.id == "unknown") is (cause.source == "")
    assert cause.by_hand
    assert not cause.title.endswith(".")


def test_the_page_repeats_what_agents_said_without_obeying_it():
    """A log line that looks like HTML, or like a table, stays readable in form and report."""
    retry = Choice(operator=Remedy.RETRY, safe=False, does="…", dead_end="a | b")
    hand_over = Choice(operator=Remedy.HAND_OVER, safe=True, does="read <home>/log")
    found = Diagnosis(
        cause="unknown",
        title="the cause is not known",
        dag_id="17",
        target="10.0.0.4:2886",
        place=Place(stage=6, max_stage=9, node="Prev check", agent="10.0.0.1:2886"),
        evidence=("its last line: <html>502</html>",),
        choices=(retry, hand_over),
        recommended=Remedy.HAND_OVER,
    )

    page = render_diagnosis(found)

    assert "- its last line: &lt;html>502" in page
    assert "<" not in page
    assert "| RETRY | dead end | a \\| b | nothing |" in page
    assert "| **HAND_OVER** | safe | read &lt;home>/log | nothing |" in page
