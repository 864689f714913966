"""Tests of the matrix: its rows are whole and true, and a few cells stay green."""

from pathlib import Path

import pytest
from prefect.testing.utilities import prefect_test_harness

from obscale.sandbox import Fault, World, default_config
from obscale.sandbox.faults.cards import CARDS
from tests.chaos.matrix import (
    STAGES,
    Cell,
    Outcome,
    Place,
    Row,
    cells_of,
    columns_of,
    late,
    play_all,
)
from tests.chaos.matrix_leaving import LEAVING
from tests.chaos.matrix_rows import BEYOND_ALL, ROWS
from tests.chaos.matrix_table import ROWS_OF, drawn_of, table
from tests.chaos.operations import (
    ADD,
    OPERATIONS,
    REMOVE,
    REMOVE_DEAD,
    REMOVE_ZONE,
    USE,
    shares_of,
)

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


HANDFUL_LEAVING = (
    (REMOVE, "entry agent restarts", "3"),
    (REMOVE, "submit: answer dropped", "submit"),
    (REMOVE, "receiver's disk full", "submit"),
    (REMOVE, "its hour is over, policy retries", "3"),
    (REMOVE, "leaving agent away, back as a zombie", "2"),
    (REMOVE_DEAD, "its observer cannot be killed", "4"),
    (REMOVE_ZONE, "somebody cancels and rolls back", "4"),
    (USE, "OceanBase's job is slow", "1"),
)
EVERY_ROW = [row for rows in ROWS_OF.values() for row in rows]


@pytest.fixture(scope="module")
def prefect_server():
    with prefect_test_harness(server_startup_timeout=180):
        yield


def place(column, operation=ADD):
    """Where the cards of a column would be played, in a world that is not served."""
    world = World(default_config())
    moment = {"stage": int(column)} if column in STAGES else {"phase": "verify"}
    names = [agent.address for agent in (*world.clusters[0].agents, world.spares[0])]
    return Place(tuple(names[:-1]), names[-1], operation.when(**moment), operation.to)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_handful_of_cells_is_green(prefect_server):
    """Healed where it can be, named where not; one scale-out each, and no traceback."""
    cells = [Cell(row, column) for name, column in HANDFUL for row in ROWS if row.name == name]

    outcomes = await play_all(cells, lambda _outcome: None)

    assert len(outcomes) == len(HANDFUL)
    assert [(o.cell.row.name, o.ending, o.wrong, o.detail) for o in outcomes if o.wrong] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_a_handful_of_removals_and_uses_is_green(prefect_server):
    """Healed, or told with its cause; nothing sent unasked, never two leaving at once."""
    cells = [
        Cell(row, column)
        for operation, name, column in HANDFUL_LEAVING
        for row in EVERY_ROW
        if (row.operation, row.name) == (operation, name)
    ]

    outcomes = await play_all(cells, lambda _outcome: None, at_once=4)

    assert len(outcomes) == len(HANDFUL_LEAVING)
    assert [(o.cell.row.name, o.ending, o.wrong, o.detail) for o in outcomes if o.wrong] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_a_cell_that_ends_otherwise_is_red(prefect_server):
    """A wrong expectation and a card that is never drawn both show."""
    row = Row("nothing happens", lambda _place: [Fault.fail_rollback(5)], {"5": "blocked"})

    (outcome,) = await play_all(cells_of([row]), lambda _outcome: None)

    assert outcome.ending == "healed"
    assert outcome.wrong == ["expected blocked", "never drawn: fail_rollback"]


def test_every_card_is_in_the_matrix():
    """A new card needs a row that plays it, or means nothing to any run and is played there."""
    played = {
        fault.card
        for row in EVERY_ROW
        for column in columns_of(row.operation)
        if row.ending_in(column)
        for fault in row.cards(place(column, row.operation))
    }

    assert set(CARDS) - played == set(BEYOND_ALL)
    for card, tests in BEYOND_ALL.items():
        assert f"Fault.{card}(" in Path(tests).read_text(encoding="utf-8"), card


def test_every_empty_cell_has_its_reason():
    """Columns in which a card cannot act are not left out in silence, and names are unique."""
    for row in EVERY_ROW:
        left_out = [column for column in row.columns if not row.ending_in(column)]
        assert bool(left_out) == bool(row.idle), row.name
        assert set(row.ends) <= {"*", *row.columns}, row.name
    assert len({(row.operation.name, row.name) for row in EVERY_ROW}) == len(EVERY_ROW)


def test_a_seed_draws_the_same_additions_beside_whatever_else_is_played():
    """What a seed stands for does not change because there is more to play."""
    drawn = drawn_of(ROWS, 12, 7)

    assert drawn_of(ROWS, 4, 7) == drawn[:4]
    assert shares_of(("add", "remove", "use"), 11) == {"add": 4, "remove": 4, "use": 3}
    assert shares_of(("add", "remove"), 1) == {"add": 1}
    assert {row.operation.kind for row in EVERY_ROW} == set(ROWS_OF)


def test_what_heals_late_is_red():
    """A run that heals is set beside healthy ones of the same night, Prefect's waits left out."""
    healthy = next(row for row in LEAVING if row.is_healthy)
    other = Row("odd", lambda _place: [], {"*": "healed"}, operation=REMOVE, costs_seconds=5.0)
    played = [
        Outcome(Cell(healthy, "preflight"), "healed", 10.0),
        Outcome(Cell(healthy, "verify"), "healed", 12.0),
        Outcome(Cell(other, "1"), "healed", 37.0),
        Outcome(Cell(other, "2"), "healed", 39.0),
        Outcome(Cell(other, "3"), "dag-stalled", 300.0),
        Outcome(Cell(other, "4"), "healed", 90.0, prefect_seconds=60.0),
    ]

    assert [(o.cell.column, words) for o, words in late(played)] == [
        ("2", "healed after 39 s, a healthy run takes 11 s")
    ]
    assert late(played[1:]) == [], "one healthy run is no measure"


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_what_is_asked_for_is_not_there_yet(operation):
    """Where nobody has done anything, the end that a run has to prove is not there."""
    world = World(operation.config())
    operation.prepare(world)

    assert operation.at_end(world, operation.target(world))


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
