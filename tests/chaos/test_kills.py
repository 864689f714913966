"""Does a killed flow process leave exactly one scale-out, and would a missing guard show?"""

import pytest

from tests.chaos.kills import play_all, table, totals
from tests.chaos.kills_cases import PHASES, UNDER_WAY, case_of, cases_of

SEED = 7
CARRIED_OUT = (16, 24, 6)
"""Cases of the seed: killed before the POST, in stage 5, and in stage 8 and then retried."""


def test_a_seed_is_one_night_and_every_phase_is_killed_in():
    """The same seed gives the same cases; two rounds of them hold every phase."""
    assert cases_of(SEED, 50) == cases_of(SEED, 50)
    assert cases_of(SEED, 50) != cases_of(SEED + 1, 50)
    assert {case.kill.phase for case in cases_of(SEED, 50)} == set(PHASES)


async def test_killed_runs_are_run_again_to_one_scale_out():
    """A handful of cases is green: one DAG each, the last run verified, its report written."""
    outcomes = await play_all([case_of(SEED, number) for number in CARRIED_OUT])

    assert [outcome.wrong for outcome in outcomes] == [[]] * len(CARRIED_OUT)
    assert [outcome.dags for outcome in outcomes] == [1] * len(CARRIED_OUT)
    assert sum(outcome.kills for outcome in outcomes) >= len(CARRIED_OUT)
    assert len(table(outcomes)) > 2
    assert "1 in 3 cases" in "\n".join(totals(outcomes, SEED, 1.0))


async def test_without_the_look_before_the_post_the_night_is_red():
    """Killed while its POST is under way, and nobody looks: the case is told as red."""
    under_way = next(c for c in cases_of(SEED, 50) if c.kill.phase == UNDER_WAY)
    at_work = next(c for c in cases_of(SEED, 50) if c.kill.phase == "stage 3")

    outcomes = await play_all([under_way, at_work], break_guard=True)

    assert [outcome for outcome in outcomes if outcome.wrong]


@pytest.mark.parametrize("number", [1, 200])
def test_a_case_can_be_played_again_by_its_number(number):
    """Seed and number decide all of it."""
    assert case_of(SEED, number) == cases_of(SEED, 200)[number - 1]
