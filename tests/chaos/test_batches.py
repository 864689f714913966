"""Tests of the batch chaos: a few seeds stay green, and a missing rule shows."""

import pytest

from tests.chaos.batches import main, play_all, table, totals
from tests.chaos.batches_cases import FAILING, PHASES, STORIES, case_of, cases_of
from tests.chaos.kills_cases import Kill

pytestmark = pytest.mark.e2e

SEED = 7
CARRIED_OUT = (4, 14, 20)
"""Cases of the seed: a plain one killed in a DAG, and two killed when a DAG has failed that stops
everything: by a limit, and as a canary of `obscale apply`."""


def test_a_seed_is_one_night_with_every_story_and_every_phase():
    """The same seed gives the same cases; fifty of them hold everything there is."""
    cases = cases_of(SEED, 50)

    assert cases == cases_of(SEED, 50)
    assert cases != cases_of(SEED + 1, 50)
    assert {case.story for case in cases} == set(STORIES)
    assert {case.kills[0].phase for case in cases} == set(PHASES)
    assert {case.program for case in cases} == {"batch", "apply"}
    assert {len(case.kills) for case in cases} == {1, 2, 3}


async def test_killed_batches_are_run_again_to_one_dag_a_row():
    """A handful of cases is green: one DAG a row that may have one, nothing after a stop."""
    outcomes = await play_all([case_of(SEED, number) for number in CARRIED_OUT])

    assert [outcome.wrong for outcome in outcomes] == [[]] * len(CARRIED_OUT)
    assert all(set(outcome.dags) <= {0, 1} for outcome in outcomes)
    assert outcomes[0].dags == {1: 9}
    assert all(outcome.kills >= 1 for outcome in outcomes)
    assert all(outcome.states["failed"] == 1 for outcome in outcomes[1:])
    assert len(table(outcomes)) > 4
    assert "posts outside the window 0, posts after a stop 0" in totals(outcomes, SEED, 1.0)


async def test_without_its_rules_the_night_is_red(capsys):
    """A failure stops nothing: posts after the stop are counted, with the line to play it again."""
    code = await main(1, SEED, only=CARRIED_OUT[1], break_guard=True)

    said = capsys.readouterr().out
    assert code == 1
    assert "after a stop" in said
    assert "posts after a stop 0" not in said
    assert f"python -m tests.chaos.batches --seed {SEED} --only {CARRIED_OUT[1]}" in said


@pytest.mark.parametrize("number", [1, 50])
def test_a_case_can_be_played_again_by_its_number(number):
    """Seed and number decide all of it."""
    case = case_of(SEED, number)

    assert case == cases_of(SEED, 50)[number - 1]
    assert all(isinstance(kill, Kill) for kill in case.kills)
    assert case.story in FAILING or case.kills[0].phase != "a DAG failed"
