"""Tests of the kills: a few seeds stay green, and a missing guard shows."""

import pytest

from tests.chaos.kills import main, play_all, table, totals
from tests.chaos.kills_cases import ASKED, PHASES, case_of, cases_of, phases_of
from tests.chaos.operations import KINDS

pytestmark = pytest.mark.e2e

SEED = 7
CARRIED_OUT = (16, 24, 6)
"""Cases of the seed: killed before the POST, in stage 5, and in stage 8 and then retried."""


def test_a_seed_is_one_night_and_every_phase_is_killed_in():
    """The same seed gives the same cases; two rounds of them hold every phase."""
    assert cases_of(SEED, 50) == cases_of(SEED, 50)
    assert cases_of(SEED, 50) != cases_of(SEED + 1, 50)
    assert {case.kill.phase for case in cases_of(SEED, 50)} == set(PHASES)


@pytest.mark.parametrize("kind", KINDS)
def test_every_phase_of_every_operation_comes_up(kind):
    """Two rounds of the turns hold all of them."""
    cases = cases_of(SEED, 200, kind)

    for operation in ASKED[kind]:
        own = {case.kill.phase for case in cases if case.operation is operation}
        assert own == set(phases_of(operation)), operation.name


@pytest.mark.parametrize(
    ("kind", "phase", "then"),
    [
        ("remove", "stage 3", "anew"),
        ("use", "POST carried out, answer held", "retried"),
        ("replace", "between the halves", "anew"),
    ],
)
async def test_a_killed_run_of_another_kind_is_run_again_to_one_dag(kind, phase, then):
    """One DAG of each request, nothing else sent, and the end as the last run says."""
    case = next(
        c
        for c in cases_of(SEED, 200, kind)
        if (c.kill.phase, c.then, c.server) == (phase, then, "") and c.second is None
    )

    (outcome,) = await play_all([case])

    assert outcome.wrong == []
    assert (outcome.dags, outcome.kills) == (1, 1)


async def test_killed_runs_are_run_again_to_one_scale_out():
    """A handful of cases is green: one DAG each, the last run verified, its report written."""
    outcomes = await play_all([case_of(SEED, number) for number in CARRIED_OUT])

    assert [outcome.wrong for outcome in outcomes] == [[]] * len(CARRIED_OUT)
    assert [outcome.dags for outcome in outcomes] == [1] * len(CARRIED_OUT)
    assert sum(outcome.kills for outcome in outcomes) >= len(CARRIED_OUT)
    assert len(table(outcomes)) > 2
    assert "1 in 3 cases" in "\n".join(totals(outcomes, SEED, 1.0))


async def test_without_the_look_before_the_post_the_night_is_red(capsys):
    """Killed in stage 3, and nobody looks before the next POST: red, with the line to play it."""
    case = next(c for c in cases_of(SEED, 50) if c.kill.phase == "stage 3")

    code = await main({"add": 1}, SEED, only=case.number, break_guard=True)

    said = capsys.readouterr().out
    assert code == 1
    assert "1 red" in said
    assert f"python -m tests.chaos.kills --seed {SEED} --only {case.number}" in said


async def test_a_removal_nobody_looked_for_before_the_request_is_red():
    """Killed while it waits, asked for again without a look: refused by the lock, and told so."""
    case = next(
        c
        for c in cases_of(SEED, 200, "remove")
        if (c.operation.name, c.kill.phase, c.then) == ("remove", "stage 3", "anew")
        and c.second is None
        and not c.server
    )

    (outcome,) = await play_all([case], break_guard=True)

    assert outcome.wrong


@pytest.mark.parametrize("number", [1, 200])
def test_a_case_can_be_played_again_by_its_number(number):
    """Seed and number decide all of it."""
    assert case_of(SEED, number) == cases_of(SEED, 200)[number - 1]
