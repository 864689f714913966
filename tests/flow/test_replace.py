"""Tests of the flow `replace`: both halves, what stands between them, and what it refuses."""

import asyncio

import pytest
from prefect import get_client

from obscale.agent.address import AgentAddress
from obscale.errors import HalfReplacedError, PreflightError, SpecError
from obscale.events import HalfBegun, SubmitSettled
from obscale.flows.replace import replace
from obscale.report.page import render_markdown
from obscale.request.models import AgentInfoSpec
from obscale.sandbox import Fault
from obscale.tasks.approval import ApprovalForm
from obscale.tasks.removal import ConfirmForm
from obscale.tasks.runtime.journal import listening

pytestmark = pytest.mark.asyncio(loop_scope="session")
SCALE_IN = "/api/v1/ob/scale_in"


def dead_of(scene, number=1):
    """Give the agent of a founder: the second is that of zone2."""
    agent = scene.ready["clusters"][0]["agents"][number]
    return AgentInfoSpec(ip=agent["ip"], port=agent["port"])


def replacement_of(scene, **changes):
    """Give the parameters that replace the founder of zone2 by the first spare."""
    dead = dead_of(scene)
    asked = scene.asked() | {
        "dead": dead,
        "confirm": dead.ip,
        "approval": "none",
        "profile": "lab",
    }
    return asked | changes


def state_of(world):
    """Give what of a cluster a replacement must leave as it was, whoever is in a place."""
    cluster = world.clusters[0]
    servers = sorted(server.zone for server in cluster.servers)
    places = {server: server.zone for server in cluster.servers}
    units = sorted((unit.pool.name, places[unit.server]) for unit in cluster.units)
    agents = sorted(str(agent.identity) for agent in cluster.agents)
    return servers, units, agents, [zone.name for zone in cluster.zones], cluster.lock_holder


async def run(scene, **changes):
    """Run the flow, and keep what it tells."""
    with listening(scene._hear):
        return await replace(**replacement_of(scene, **changes))


@pytest.mark.parametrize(
    ("cards", "changes"),
    [
        (("observer_down",), {}),
        pytest.param(("observer_down", "agent_down"), {}, marks=pytest.mark.e2e),
        pytest.param(("agent_down",), {"live": True}, marks=pytest.mark.e2e),
    ],
    ids=["observer", "host", "agent"],
)
async def test_the_cluster_is_as_before_the_failure(stage, cards, changes):
    """One server a zone, each tenant's units, the lock free: by another node."""
    scene = await stage()
    before = state_of(scene.world)
    dead = dead_of(scene)
    address = str(AgentAddress(dead.ip, dead.port))
    for card in cards:
        scene.world.play(getattr(Fault, card)(address))

    report = await run(scene, **changes)

    assert (report.outcome, report.operation) == ("verified", "replacement")
    assert (report.target, report.by) == (address, report.halves[0].target)
    assert [half.operation for half in report.halves] == ["scale-out", "removal"]
    assert state_of(scene.world) == before
    assert (scene.posts(), scene.posts(SCALE_IN)) == (1, 1)
    proofs = {proof.id: proof.answer for proof in report.halves[1].proofs}
    assert (proofs["pr-same-count"], proofs["pr-units-on-new"]) == ("pass", "pass")


def fail(scene):
    """Let the observer of zone2 die; gives its agent's address."""
    dead = dead_of(scene)
    address = str(AgentAddress(dead.ip, dead.port))
    scene.world.play(Fault.observer_down(address))
    return address


async def killed_at(scene, is_it, **changes):
    """Run the flow, and end it at an event, as a kill of its process would."""
    reached = asyncio.Event()
    scene.at(is_it, reached.set)
    going = asyncio.create_task(run(scene, **changes))
    await reached.wait()
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going


def is_half(half):
    """Whether an event says that this half begins."""
    return lambda event: isinstance(event, HalfBegun) and event.half == half


def settles(number):
    """Whether an event says the second time, or the first, which DAG carries a half."""
    seen = []

    def is_it(event):
        seen.extend([event] if isinstance(event, SubmitSettled) else [])
        return len(seen) == number

    return is_it


@pytest.mark.parametrize(
    ("moment", "posts"),
    [
        pytest.param(settles(1), (1, 0), marks=pytest.mark.e2e),
        (is_half("remove"), (1, 0)),
        pytest.param(settles(2), (1, 1), marks=pytest.mark.e2e),
    ],
    ids=["while it is added", "between the halves", "while it leaves"],
)
async def test_a_kill_and_a_second_run_end_the_same(stage, moment, posts):
    """Each half is begun once, whoever begins it; the second run goes on where the first ended."""
    scene = await stage()
    before = state_of(scene.world)
    fail(scene)

    await killed_at(scene, moment)
    assert (scene.posts(), scene.posts(SCALE_IN)) == posts
    report = await run(scene)

    assert report.outcome == "verified"
    assert state_of(scene.world) == before
    assert (scene.posts(), scene.posts(SCALE_IN)) == (1, 1)


@pytest.mark.e2e
async def test_done_already_is_proved_and_nothing_is_sent(stage):
    """A third run of the same request finds the new node a member, and the old one gone."""
    scene = await stage()
    fail(scene)
    first = await run(scene)

    again = await run(scene)

    assert (first.outcome, again.outcome) == ("verified", "verified")
    assert again.halves[1].submitted_how == "already gone"
    assert (scene.posts(), scene.posts(SCALE_IN)) == (1, 1)
    assert {p.id: p.answer for p in again.halves[1].proofs}["pr-same-count"] == "pass"


async def test_a_failure_between_the_halves_is_told_with_both_ways(stage):
    """The new node is verified and stays; the report says how to go on, and how to go back."""
    scene = await stage()
    address = fail(scene)
    scene.world.play(Fault.delete_refused(text="not allowed"))

    with pytest.raises(HalfReplacedError) as caught:
        await run(scene)
    report = scene.report
    page = render_markdown(report)

    assert (report.outcome, report.error_kind) == ("half-done", "half-replaced")
    assert [half.outcome for half in report.halves] == ["verified", "failed"]
    for words in (
        f"{report.by} is verified in zone2, a healthy node more than before",
        f"{address} is still there",
        "running the same replacement again goes on",
        f"obscale remove SPEC {address} --zone zone2",
        f"to take the new node back: obscale remove SPEC {report.by} --zone zone2",
    ):
        assert words in str(caught.value), words
    assert page.index("**127.0") < page.index("## What to do") < page.index("## First half")
    assert "## Second half" in page
    assert scene.world.clusters[0].server_at(dead_of(scene).ip, 2882) is not None


async def test_what_is_not_dead_is_not_replaced(stage):
    """Not without the word for it, and nothing is sent."""
    scene = await stage()

    with pytest.raises(PreflightError, match="rp-dead"):
        await run(scene)

    assert scene.report.outcome == "blocked"
    assert scene.report.operation == "replacement"
    assert (scene.posts(), scene.posts(SCALE_IN)) == (0, 0)


@pytest.mark.e2e
async def test_a_member_that_came_back_is_not_removed(stage):
    """It is dead when the new node is added, and alive when it is to leave: planned again."""
    scene = await stage()
    address = fail(scene)
    scene.at(is_half("remove"), lambda: scene.world.play(Fault.observer_up(address)))

    with pytest.raises(HalfReplacedError, match="rp-dead"):
        await run(scene)

    assert (scene.posts(), scene.posts(SCALE_IN)) == (1, 0)


@pytest.mark.parametrize("changes", [{"confirm": "10.9.9.9"}, {"force_kill": True}])
async def test_a_wrong_confirmation_sends_nothing(stage, changes):
    """Typed with the run, it must be what leaves; force_kill has words of its own."""
    scene = await stage()
    fail(scene)

    with pytest.raises(SpecError):
        await run(scene, **changes)

    assert (scene.posts(), scene.posts(SCALE_IN)) == (0, 0)


async def test_a_person_is_asked_before_each_half(stage, asked):
    """Approval shows both halves; the second waits for the address, and another word ends it."""
    scene = await stage()
    address = fail(scene)

    going = asyncio.create_task(run(scene, approval="ask", confirm=""))
    paused, _, page = await asked(going)
    assert f"Replace {address} by" in str(page)
    assert "zone2: 1 → 2 → 1" in str(page)
    assert (scene.posts(), scene.posts(SCALE_IN)) == (0, 0)
    yes = ApprovalForm(decision="approve", name="Ana", reason="CHG-1")
    async with get_client() as client:
        await client.resume_flow_run(paused.id, run_input=yes.model_dump(mode="json"))
    paused, schema, page = await asked(going)
    assert "confirm" in schema["properties"]
    assert (scene.posts(), scene.posts(SCALE_IN)) == (1, 0)
    wrong = ConfirmForm(confirm="zone2", name="Li Wei", reason="CHG-2")
    async with get_client() as client:
        await client.resume_flow_run(paused.id, run_input=wrong.model_dump(mode="json"))
    with pytest.raises(HalfReplacedError):
        await going

    assert (scene.posts(), scene.posts(SCALE_IN)) == (1, 0)
    assert [each.who for each in scene.report.decisions] == ["Ana", "Li Wei"]
    assert scene.report.outcome == "half-done"
