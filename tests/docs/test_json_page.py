"""Tests of docs/json.md itself; tests/cli/test_json_fields.py holds the commands to it."""

from pathlib import Path

from tests.docs.json_page import COMMANDS, page, problems

PAGE = Path(__file__).parents[2] / "docs/json.md"


def test_the_page_is_what_the_code_makes():
    """Else run `make docs`."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_each_example_is_as_its_own_table_says():
    """Nobody copies an object that does not exist."""
    shown = {name: {"schema_version": 1} | told for name, (*_, told) in COMMANDS.items() if told}

    assert {name: found for name, told in shown.items() if (found := problems(name, told))} == {}


def test_what_is_not_on_the_page_is_found():
    """Else the tests below prove nothing."""
    told = {"schema_version": "1", "topics": [{"word": "3"}], "more": 1}

    assert len(problems("explain", told)) == 5
