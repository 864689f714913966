"""Tests that a host at the target's address never learns the root password."""

import asyncio

import pytest

from obscale.connect.connections import EnvironmentSecrets, connected
from obscale.errors import PasswordWithheldError, UntrustedKeyError
from obscale.follow.run import learn_members
from obscale.plan import make_plan
from obscale.preflight.read import survey
from obscale.recovery.read import diagnose_now
from obscale.recovery.read_interrupted import look_at_remains
from obscale.sandbox import Fault
from obscale.sandbox.answers import cluster as cluster_answers
from obscale.spec import request_body
from obscale.submit.read import read_candidates
from obscale.verify.observation import Before
from obscale.verify.read import read_surroundings
from obscale.verify.run import verify_node
from tests.contract.kept_here import unheard
from tests.contract.trust_scenes import OWN, ROOT, PinningSecrets
from tests.stranger import CLAIMS, listening


def silent(_text):
    """Nobody listens."""


async def look_everywhere(scene, order, secret_store):
    """Take every look at the target there is; give the plan."""
    plan = await make_plan([order, order], secret_store)
    async with connected(order, secret_store) as link:
        await survey(link, order, probing=False)
        await read_candidates(link)
        await learn_members(link, silent)
        await verify_node(link, order, None, Before(), publish=unheard)
        await read_surroundings(link, (await link.read_members()).agent_info)
        await look_at_remains(link, order.node, None, None)
        foreign = request_body(scene.order(scene.spare).node, None)
        dag = await link.cluster.current.submit_scale_out(foreign)
        await diagnose_now(link, dag.id)
        assert not link.target.has_root_password
        assert str(link.target.address) not in map(str, (c.address for c in link.cluster.clients))
    return plan


PINNED = ("CLUSTER AGENT", "SCALING OUT", "SINGLE, wants root's", "own password, SCALING OUT")


@pytest.mark.parametrize(
    ("claim", "pinned"),
    [(claim, False) for claim in CLAIMS] + [(claim, True) for claim in PINNED],
    ids=[f"{claim}-any key" for claim in CLAIMS] + [f"{claim}-pinned" for claim in PINNED],
)
async def test_a_stranger_learns_no_root_password_whatever_it_claims(scene, claim, pinned):
    """Every look, by a connection of either kind: what it opens holds its own password at most."""
    with listening(claim) as stranger:
        stored = PinningSecrets(scene.spec(), await scene.keys()) if pinned else None
        order = scene.order(stranger.address, "stored" if pinned else None, own=True)

        plan = await look_everywhere(scene, order, stored or EnvironmentSecrets())

    told = [f"{f.rule}: {f.measured}" for row in plan.rows for f in row.findings]
    assert stranger.asked.count("GET /api/v1/info") > 3
    assert not stranger.knows(ROOT)
    assert set(stranger.passwords) <= {"", OWN}
    assert (OWN in stranger.passwords) is bool(stranger.claims.get("security"))
    assert not plan.ready
    if not claim.startswith(("SINGLE", "own password, wants")):
        claimed = f"it says it is {stranger.claims['identity']}"
        assert any(claimed in line and "does not list it" in line for line in told), told
    if "refuses" in stranger.claims:
        assert any("goes only to members the cluster lists" in line for line in told), told
    assert not (stored and stored.kept)


async def test_what_opens_opens(scene):
    """The listener is no sham: who is taken for an entry agent learns the password."""
    with listening("CLUSTER AGENT") as stranger:
        mistyped = scene.spec([stranger.address])
        async with connected(scene.order(scene.spare, mistyped), EnvironmentSecrets()) as link:
            await link.read_members()

    assert stranger.knows(ROOT)


async def test_a_listed_target_gets_it_and_no_other(scene):
    """A member that is no entry agent: only the entry agents' list opens it, of this cluster."""
    first, second, third = scene.members
    here = scene.order(third, scene.spec([first, second]))
    async with connected(here, EnvironmentSecrets()) as link:
        with pytest.raises(PasswordWithheldError, match="goes only to members the cluster lists"):
            await link.target.read_ob_info()
        await link.read_members()
        assert (await link.target.read_ob_info()).agent_info

        # Given up where the list no longer shows it, or is another cluster's, or its own.
        listed = await link.read_members()
        rows = tuple(row for row in listed.agent_info if row.address != third)
        link.admit(link.cluster.current, listed.model_copy(update={"agent_info": rows}))
        with pytest.raises(PasswordWithheldError):
            await link.target.read_ob_info()
        link.admit(link.target, listed)
        assert not link.target.has_root_password

    for changes in ({"name": "another"}, {"id": 7}):
        elsewhere = scene.order(third, scene.spec([first], **changes))
        async with connected(elsewhere, EnvironmentSecrets()) as link:
            await link.read_members()
            await learn_members(link, silent)
            assert not link.target.has_root_password
            assert len(link.cluster.clients) == 1


@pytest.mark.parametrize("identity", ["SCALING IN", "SINGLE", "UNIDENTIFIED"])
async def test_a_row_of_another_identity_is_no_membership(monkeypatch, scene, identity):
    """A member no more: the list shows it, and nothing is given. One that joins has no such row."""
    first, _, third = scene.members
    rows = {third: identity}
    monkeypatch.setattr(
        cluster_answers,
        "_row_identity",
        lambda _cluster, agent: rows.get(agent.address, "CLUSTER AGENT"),
    )
    async with connected(scene.order(third, scene.spec([first])), EnvironmentSecrets()) as link:
        assert third in [row.address for row in (await link.read_members()).agent_info]
        assert not link.target.has_root_password


async def test_with_pins_a_joined_targets_first_key_counts_and_then_no_other(scene):
    """Not pinned, so refused as a member; listed, it is taken, kept, and held to."""
    first, second, third = scene.members
    keys = await scene.keys()
    secret_store = PinningSecrets(
        scene.spec([first, second]), {a: keys[a] for a in (first, second)}
    )
    order = scene.order(third, "stored")

    async with connected(order, secret_store) as link:
        await link.read_members()
        await link.target.read_ob_info()
    taken = dict(secret_store.kept)
    secret_store.pinned |= taken
    scene.world.agent(third).rotate_key()
    seen = len(scene.world.requests)
    async with connected(order, secret_store) as link:
        with pytest.raises(UntrustedKeyError):
            await read_candidates(link)
        with pytest.raises(UntrustedKeyError):
            await verify_node(link, order, None, Before(), publish=unheard)

    assert taken == {third: keys[third]}
    asked = {r.target.partition("?")[0] for r in scene.world.requests[seen:] if r.agent == third}
    assert asked <= {f"/api/v1/{open_}" for open_ in ("info", "secret", "status", "time")}


async def test_a_key_served_before_the_cluster_listed_it_counts_for_nothing(scene):
    """Somebody answered in the target's place until it had joined: it is held to a fresh key."""
    first, second, third = scene.members

    def served():
        asked = (r.agent == third and r.target == "/api/v1/secret" for r in scene.world.requests)
        return sum(asked)

    async with connected(
        scene.order(third, scene.spec([first, second])), EnvironmentSecrets()
    ) as it:
        scene.world.agent(third).identity = "SINGLE"
        await it.target.read_ob_info()
        scene.world.agent(third).identity = "CLUSTER AGENT"
        before = served()

        await it.read_members()
        await it.target.read_ob_info()

    assert served() == before + 1


async def test_a_scale_out_under_way_is_read_through_the_cluster(scene):
    """SCALING OUT and not listed: its own DAG is seen all the same, and adopted, without root's."""
    order = scene.order(scene.spare)
    scene.world.play(Fault.slow_observer(seconds=5000))
    async with connected(order, EnvironmentSecrets()) as link:
        dag = await link.cluster.current.submit_scale_out(request_body(order.node, None))
        for _ in range(600):
            seen = await read_candidates(link)
            # Its own DAG is there up to a second before it says SCALING OUT.
            if seen.target_dag and seen.target.identity == "SCALING OUT":
                break
            await asyncio.sleep(0.05)
        facts = await survey(link, order, probing=False)
        found = await diagnose_now(link, dag.id)

        assert seen.target.identity == "SCALING OUT"
        assert str(seen.target_dag.additional_data["main_dag_id"]) == dag.id
        assert facts.target.last_dag.id == seen.target_dag.id
        assert facts.own_dag().id == dag.id
        assert any("Local scale out" in line for line in found.evidence)
        assert not link.target.has_root_password
    # What it refused was asked while it still was SINGLE a moment before, at most once each.
    refused = [r.target for r in scene.world.requests if (r.agent, r.status) == (scene.spare, 401)]
    assert len(refused) == len(set(refused))
