"""Tests of recovery policies: only what is safe, and only so often."""

import pytest

from obscale.recovery.consequences import Choice, Remedy
from obscale.recovery.diagnosis import Diagnosis, Place
from obscale.recovery.policy import (
    MOST_ATTEMPTS,
    Attempt,
    decide_recovery,
    refusal_of,
    safe_remedies,
)

R, B, H = Remedy.RETRY, Remedy.ROLLBACK, Remedy.HAND_OVER
SAFE = {"safe": True}
DEAD = {"safe": False, "dead_end": "it leads nowhere"}
LOSS = {"safe": False, "destroys": "rm -rf of /data/1"}


def found(retry, rollback, recommended=H):
    """A diagnosis with these two choices; None: it is no choice."""
    kinds = ((R, retry), (B, rollback), (H, SAFE))
    return Diagnosis(
        cause="observer-died",
        title="the observer died",
        dag_id="17",
        target="10.0.0.4:2886",
        place=Place(stage=5, max_stage=9, node="Wait remote start finish", agent="10.0.0.1:2886"),
        evidence=("…",),
        choices=tuple(Choice(operator=o, does="…", **kind) for o, kind in kinds if kind),
        recommended=recommended,
    )


@pytest.mark.parametrize(
    ("policy", "retry", "rollback", "remedy"),
    [
        ("hold", SAFE, SAFE, H),
        ("retry", SAFE, SAFE, R),
        ("retry", DEAD, SAFE, H),
        ("retry", LOSS, SAFE, H),
        ("retry", None, SAFE, H),
        ("roll-back", SAFE, SAFE, B),
        ("roll-back", SAFE, DEAD, H),
        ("roll-back", SAFE, LOSS, H),
        ("roll-back", SAFE, None, H),
        ("ask", SAFE, SAFE, H),
    ],
)
def test_a_policy_does_only_what_is_safe(policy, retry, rollback, remedy):
    """Anything not known to be safe is held, whatever the policy."""
    decision = decide_recovery(found(retry, rollback), policy)

    assert decision.remedy is remedy
    assert decision.why


@pytest.mark.parametrize(
    ("cause", "policy", "again"),
    [
        ("target-unreachable", "retry", True),
        ("target-unreachable", "roll-back", True),
        ("target-unreachable", "hold", False),
        ("observer-died", "retry", False),
    ],
)
def test_a_silent_target_is_waited_for_where_the_run_may_act(cause, policy, again):
    """What is safe is known once it answers; a run that may do nothing has nothing to wait for."""
    seen = found(LOSS, LOSS).model_copy(update={"cause": cause})

    assert decide_recovery(seen, policy).look_again is again


@pytest.mark.parametrize(("policy", "remedy"), [("retry", R), ("roll-back", B)])
def test_a_run_tries_only_so_often(policy, remedy):
    """The third attempt is the last; attempts of the other kind do not count."""
    done = [Attempt(remedy, "observer-died")] * (MOST_ATTEMPTS - 1)
    other = Attempt(B if remedy is R else R, "observer-died")

    assert decide_recovery(found(SAFE, SAFE), policy, [*done, other]).remedy is remedy
    held = decide_recovery(found(SAFE, SAFE), policy, [*done, Attempt(remedy, "x")])
    assert held.remedy is H
    assert "3 times" in held.why


@pytest.mark.parametrize(
    ("retry", "rollback", "offered"),
    [(SAFE, SAFE, {R, B, H}), (SAFE, DEAD, {R, H}), (LOSS, SAFE, {B, H})],
)
def test_a_person_is_offered_exactly_the_safe_choices(retry, rollback, offered):
    """No dead end and no loss of data stands in the form; handing over always does."""
    assert set(decide_recovery(found(retry, rollback), "ask").offered) == offered


def test_nobody_is_asked_where_there_is_nothing_to_choose():
    """Only handing over is safe: hold at once."""
    decision = decide_recovery(found(DEAD, LOSS), "ask")

    assert decision.offered == ()
    assert decision.remedy is H


def test_the_recommended_choice_is_offered_first():
    """The form's first entry is what the doctor would do."""
    assert safe_remedies(found(SAFE, SAFE, recommended=B))[0] is B


def test_an_acknowledgement_opens_a_loss_but_never_a_dead_end():
    """Accepting the loss of data is a reason; nothing is one for a dead end."""
    loss, dead = found(LOSS, SAFE), found(DEAD, SAFE)

    assert "rm -rf of /data/1" in refusal_of(loss, R)
    assert refusal_of(loss, R, acknowledged=True) == ""
    assert "dead end" in refusal_of(dead, R, acknowledged=True)
    assert "no choice" in refusal_of(found(None, SAFE), R, acknowledged=True)
