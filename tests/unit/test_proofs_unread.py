"""Tests, on virtual time, of a node of which something can never be read."""

import asyncio
from types import SimpleNamespace

import pytest

from obscale.events import ProofNotice, WaitsForProofs
from obscale.preflight.result import JUDGED_BEFORE
from obscale.reading import Unread
from obscale.request.scale_out import ScaleOut
from obscale.request.time_limits import TimeLimits
from obscale.verify.observation import Before, Level, ProofAnswer
from obscale.verify.run import verify_node
from obscale.verify.unread import NEVER_AGAINST, Unreadable, unread_since
from tests.unit.joined_node import BEFORE, NODE, aftermath, around, done_dag, judge, line
from tests.virtual_time import on_virtual_time, virtual_clock

SILENT = Unread("no answer within 5 s")
JUDGED = Before(BEFORE.zones, BEFORE.totals, BEFORE.host, judged={"clock-skew": "pass, within 10"})
LOOK_SECONDS = 8.0
"""One look, where every answer is a second late."""
SURROUNDINGS = {
    "pv-clock-after": {"clock": SILENT},
    "pv-disk-after": {"host": SILENT},
    "pv-capacity-cluster": {"cluster": SILENT},
}


@pytest.fixture
def verifying(monkeypatch):
    """Give a function that climbs while looks take virtual seconds, and tells what was said."""

    async def run(*, before=JUDGED, time_limits=None, seen=None, **surroundings):
        said, waited = [], []

        async def after(_link, **_how):
            await asyncio.sleep(LOOK_SECONDS)
            return seen or aftermath()

        async def about(_link, _members, *_known):
            await asyncio.sleep(LOOK_SECONDS)
            return around(**surroundings)

        def hear(event):
            match event:
                case WaitsForProofs(what=what, seconds=seconds):
                    waited.append((what, seconds))
                case ProofNotice(line=line):
                    said.append(line)

        monkeypatch.setattr("obscale.verify.run.read_observation", after)
        monkeypatch.setattr("obscale.verify.run.read_surroundings", about)
        order = ScaleOut(
            cluster="prod", node=NODE, batch=(NODE,), time_limits=time_limits or TimeLimits()
        )
        verification = await verify_node(
            SimpleNamespace(),  # nothing is asked of it here
            order,
            done_dag(),
            before,
            publish=hear,
        )
        return SimpleNamespace(
            levels=verification.levels,
            seconds=virtual_clock().now(),
            said=said,
            waited=waited,
            late=verification.overdue,
        )

    return run


@pytest.mark.parametrize("proof", SURROUNDINGS)
@on_virtual_time
async def test_what_cannot_be_read_is_told_once_and_judged_as_before(verifying, proof):
    """A minute after it was missed first the node is verified; before, it took half an hour."""
    run = await verifying(**SURROUNDINGS[proof])

    assert run.levels.level is Level.CONFORMING
    assert run.seconds < 180
    told = line(run.levels, proof)
    assert told.answer is ProofAnswer.INFO
    assert "no answer within 5 s" in told.found
    (said,) = run.said
    assert said.startswith(f"verify.unread proof={proof} found='not read for ")
    assert told.found in said
    assert [words for words, _ in run.waited if proof in words]


@on_virtual_time
async def test_a_clock_counts_as_preflight_judged_it(verifying):
    """The record of before the POST is quoted."""
    run = await verifying(clocks={"10.0.0.1:2886": SILENT})

    assert line(run.levels, "pv-clock-after").found.endswith(
        "preflight judged clock-skew: pass, within 10"
    )


@on_virtual_time
async def test_a_clock_nobody_has_judged_before_ends_it_unverified(verifying):
    """Unknown is never passed; and it is not waited for, as it would never be read."""
    run = await verifying(before=BEFORE, clock=SILENT)

    assert run.levels.level is Level.SERVING
    assert line(run.levels, "pv-clock-after").answer is ProofAnswer.UNKNOWN
    assert run.seconds < 180
    assert not run.late
    assert run.said[0].endswith("next='not verified'")


@on_virtual_time
async def test_what_decides_is_waited_for_to_the_end_and_named(verifying):
    """Nothing but the cluster's own view proves that a node is there: told, and waited for."""
    time_limits = TimeLimits(verify_seconds=600)

    run = await verifying(seen=aftermath(parameters=None), time_limits=time_limits)

    assert not run.levels.is_verified
    assert run.seconds > 600
    assert "pv-params-effective:memory_limit" in {late.id for late in run.late}
    named = [said for said in run.said if "pv-params-effective:memory_limit" in said]
    assert len(named) == 1
    assert named[0].endswith("next='waited for'")


@on_virtual_time
async def test_what_cannot_be_read_is_settled_at_the_deadline_too(verifying):
    """A verification of a minute has no minute left for it."""
    run = await verifying(host=SILENT, time_limits=TimeLimits(verify_seconds=50))

    assert run.levels.level is Level.CONFORMING
    assert run.seconds < 90


@on_virtual_time
async def test_a_healthy_node_is_told_nothing(verifying):
    """However late the answers."""
    run = await verifying()

    assert run.levels.level is Level.CONFORMING
    assert run.said == []


def test_what_was_read_in_between_begins_anew():
    """Only what was never read for the whole time is judged otherwise."""
    since = unread_since(["pv-clock-after"], {}, 10.0)
    since = unread_since([], since, 20.0)

    assert unread_since(["pv-clock-after"], since, 65.0) == {"pv-clock-after": 65.0}


@pytest.mark.parametrize("proof", [*JUDGED_BEFORE, *NEVER_AGAINST])
def test_every_proof_named_there_exists(proof):
    """The tables name proofs by their ids."""
    assert line(judge(), proof)


def test_no_proof_of_joining_or_serving_is_ever_judged_otherwise():
    """An hour without the target's own word leaves it unknown."""
    hour = Unreadable({row.id: 3600.0 for row in judge().lines}, 60.0)
    blind = aftermath(target_status=None, target_info=None, zones=None, members=None)
    for row in judge(blind).lines:
        settled = hour.settle(row, JUDGED)
        assert settled.answer is row.answer or row.level is Level.CONFORMING
