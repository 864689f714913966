"""Tests that the reference pages say what the code says."""

from pathlib import Path

import pytest

from obscale.cli.commands import COMMANDS, load
from obscale.recovery.causes import CAUSES
from obscale.recovery.consequences import DEAD_ENDS
from obscale.request.time_limits import TimeLimits
from obscale.tasks.runtime.events import EVENTS, PREFIX
from obscale.tasks.runtime.run_state import STATE_NAMES, STATES
from obscale.tasks.runtime.use_report import PREFIX as USE_PREFIX
from obscale.tasks.runtime.use_report import USE_EVENTS
from pages.reference import causes, exit_codes, settings, with_tables, written
from tests.unit.test_outside import errors, events

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(
    ("path", "text"), written(DOCS), ids=lambda each: getattr(each, "name", "")
)
def test_a_page_is_what_make_docs_writes(path, text):
    """Code that changed without `make docs` is told here."""
    assert path.read_text(encoding="utf-8") == text, "run `make docs`"


def test_every_name_of_a_state_is_explained_and_no_other():
    """A new one needs its words beside it."""
    assert set(STATES) == set(STATE_NAMES.values())


def test_every_event_is_explained_and_no_other():
    """As the code sends them."""
    of_use = {USE_PREFIX + name for name in USE_EVENTS}

    assert {PREFIX + name for name in EVENTS} | of_use == set(events())


def test_every_cause_and_dead_end_has_one_anchor():
    """A printed id leads to its row."""
    page = causes()
    ids = {each.id for each in (*CAUSES, *DEAD_ENDS)}

    assert {name: page.count(f'<a id="{name}"></a>') for name in ids} == dict.fromkeys(ids, 1)


def test_what_retry_and_rollback_destroy_stands_there_for_each_stage():
    """Before the target made anything, nothing; afterwards its directories, by a rollback."""
    rows = {
        row.split(" | ")[0]: row.split(" | ")[2:]
        for row in causes().splitlines()
        if row.startswith("| ") and row[2].isdigit()
    }

    assert [name.split()[1] for name in rows] == list("123456789")
    assert rows["| 3 Wait scale out ready"] == ["nothing", "nothing |"]
    assert "rm -rf" in rows["| 5 Wait remote start finish"][1]
    assert "DELETE SERVER" in rows["| 8 Add agent for scale_out"][1]
    assert "a dead end" in rows["| 9 Check cluster scale_out whether finished"][1]


def test_exit_codes_and_errors_are_all_there():
    """Each command that says its codes, and each kind of error."""
    page = exit_codes()
    told = [name for name in COMMANDS if "Exit:" in load(name).help]

    assert [name for name in told if f"| `{name}` |" not in page] == []
    assert len(told) > 10
    assert [kind for kind in errors() if f"| `{kind}` |" not in page] == []


def test_each_time_limit_stands_there_with_its_bounds():
    """By the name a request writes."""
    page = settings()

    assert [name for name in TimeLimits.model_fields if f"| `{name}` |" not in page] == []
    assert "| `poll_seconds` | 5 | \\> 0, ≤ 60 |" in page


def test_what_is_written_by_hand_stays():
    """Only what stands between the marks is made anew."""
    page = (DOCS / "events.md").read_text(encoding="utf-8")
    begin, end = "<!-- made by make docs: states -->", "<!-- end of states -->"
    before, _, rest = page.partition(begin)

    assert with_tables(f"{before}{begin}\n\nold\n\n{end}{rest.partition(end)[2]}") == page
