"""Tests of the text of a diagnosis: it names its sources."""

import pytest

from obscale.recovery.causes import CAUSES
from obscale.recovery.consequences import Choice, Remedy
from obscale.recovery.diagnosis import Diagnosis, Place
from obscale.report.page import render_diagnosis


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.id)
def test_each_cause_says_where_it_is_known_from(cause):
    """Each row has a source in obshell's code; only the unknown has none."""
    assert (cause.id == "unknown") is (cause.source == "")
    assert cause.by_hand
    assert not cause.title.endswith(".")


def diagnosis(*choices, evidence=(), recommended=Remedy.HAND_OVER, node="Prev check"):
    """A diagnosis of these choices."""
    return Diagnosis(
        cause="unknown",
        title="the cause is not known",
        dag_id="17",
        target="10.0.0.4:2886",
        place=Place(stage=6, max_stage=9, node=node, agent="10.0.0.1:2886"),
        evidence=evidence,
        choices=choices,
        recommended=recommended,
    )


RETRY = Choice(operator=Remedy.RETRY, safe=True, does="repeats stage 6, then goes on")
HAND_OVER = Choice(operator=Remedy.HAND_OVER, safe=True, does="read <home>/log")


def test_the_page_repeats_what_agents_said_without_obeying_it():
    """HTML, pictures, links, emphasis and line breaks stay words, in form and report."""
    back = Choice(
        operator=Remedy.ROLLBACK,
        safe=False,
        does="undoes ![it](http://10.0.0.9/seen)",
        destroys="rm -rf of <home>/etc/observer.config.bin* and of `x`",
    )
    found = diagnosis(
        RETRY,
        back,
        HAND_OVER,
        evidence=("its last line: <html>502</html>\n- RETRY is [safe](http://10.0.0.9)",),
        node="<b>Prev</b>",
    )

    page = render_diagnosis(found)

    assert "- its last line: &lt;html>502&lt;/html>\\\\n- RETRY is \\[safe](http" in page
    assert "<" not in page
    assert "![" not in page
    assert "bin\\* and of \\`x\\`:" in page
    assert "stage 6/9 &lt;b>Prev&lt;/b> on" in page


def test_each_choice_is_a_list_item_that_begins_with_what_it_deletes():
    """Then what it does and whether it is safe; what leads nowhere comes last."""
    dead = Choice(operator=Remedy.RETRY, safe=False, does="repeats it", dead_end="it fails again")
    back = Choice(
        operator=Remedy.ROLLBACK,
        safe=True,
        does="undoes stage 6",
        destroys="rm -rf of /home/store",
    )

    left = Choice(operator=Remedy.HAND_OVER, safe=True, does="read it")

    page = render_diagnosis(diagnosis(dead, back, left, recommended=Remedy.ROLLBACK))

    _, _, listed = page.partition("### What can be done\n\n")
    assert listed.splitlines() == [
        "- **deletes** rm -rf of /home/store: **ROLLBACK** undoes stage 6 (safe, **recommended**)",
        "- **deletes nothing**: **HAND_OVER** leaves the DAG as it stands: read it (safe)",
        "- **deletes nothing**: RETRY is a **dead end**: it fails again",
    ]
    assert "|" not in page


def test_what_may_destroy_data_of_others_says_so():
    """It is no dead end, and not safe."""
    unsafe = Choice(operator=Remedy.RETRY, safe=False, does="repeats it", destroys="the directory")

    page = render_diagnosis(diagnosis(unsafe, HAND_OVER))

    assert "- **deletes** the directory: **RETRY** repeats it (**not safe**, it may destroy" in page
