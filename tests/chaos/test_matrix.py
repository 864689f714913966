"""Tests of the matrix: its rows are whole and true, and a few cells stay green."""

from pathlib import Path

import pytest
from prefect.testing.utilities import prefect_test_harness

from obscale.sandbox import Fault, World, default_config
from obscale.sandbox.faults.cards import CARDS
from tests.chaos.matrix import COLUMNS, STAGES, Cell, Outcome, Place, Row, cells_of, play_all
from tests.chaos.matrix_rows import BEYOND_SCALE_OUT, ROWS
from tests.chaos.matrix_table import table

pytestmark = pytest.mark.e2e

HANDFUL = (
    ("observer slow 150 s", "5"),
    ("submit: arrives late", "submit"),
    ("database of one down", "submit"),
    ("all members away 60 s", "4"),
    ("target lost", "preflight"),
    ("fails, somebody rolls back", "7"),
    ("password accepted late by one", "4"),
    ("joined late, rollback stops, somebody retries", "6"),
    ("a parameter is set back", "verify"),
)


@pytest.fixture(scope="module")
def prefect_server():
    with prefect_test_harness(server_startup_timeout=180):
        yield


def place(column):
    """Where the cards of a column would be played, in a world that is not served."""
    world = World(default_config())
    moment = {"stage": int(column)} if column in STAGES else {"phase": "verify"}
    names = [agent.address for agent in (*world.clusters[0].agents, world.spares[0])]
    return Place(tuple(names[:-1]), names[-1], moment)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_handful_of_cells_is_green(prefect_server):
    """Healed where it can be, named where not; one scale-out each, and no traceback."""
    cells = [Cell(row, column) for name, column in HANDFUL for row in ROWS if row.name == name]

    outcomes = await play_all(cells, lambda _outcome: None)

    assert len(outcomes) == len(HANDFUL)
    assert [(o.cell.row.name, o.ending, o.wrong, o.detail) for o in outcomes if o.wrong] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_a_cell_that_ends_otherwise_is_red(prefect_server):
    """A wrong expectation and a card that is never drawn both show."""
    row = Row("nothing happens", lambda _place: [Fault.fail_rollback(5)], {"5": "blocked"})

    (outcome,) = await play_all(cells_of([row]), lambda _outcome: None)

    assert outcome.ending == "healed"
    assert outcome.wrong == ["expected blocked", "never drawn: fail_rollback"]


def test_every_card_is_in_the_matrix():
    """A new card needs a row that plays it, or means nothing to a scale-out and is played there."""
    played = {
        fault.card
        for row in ROWS
        for column in COLUMNS
        if row.ending_in(column)
        for fault in row.cards(place(column))
    }

    assert set(CARDS) - played == set(BEYOND_SCALE_OUT)
    for card, tests in BEYOND_SCALE_OUT.items():
        assert f"Fault.{card}(" in Path(tests).read_text(encoding="utf-8"), card


def test_every_empty_cell_has_its_reason():
    """Columns in which a card cannot act are not left out in silence, and names are unique."""
    for row in ROWS:
        left_out = [column for column in COLUMNS if not row.ending_in(column)]
        assert bool(left_out) == bool(row.idle), row.name
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_the_table_shows_endings_reasons_and_what_is_red():
    """One line a row, `-` where nothing can act, `!` where it is red."""
    row = Row("odd", lambda _place: [], {"5": "healed", "6": "healed"}, idle="two stages only")
    outcomes = [
        Outcome(Cell(row, "5"), "healed", 1.0),
        Outcome(Cell(row, "6"), "dag-failed:unknown", 1.0, ["expected healed"]),
    ]

    lines = table([row], outcomes)

    assert lines[2].split("|")[8:11] == [" ok ", " F! ", " - "]
    assert lines[-2:] == ["F = dag-failed; ok = healed; ! = red", "- odd: two stages only"]
