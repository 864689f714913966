"""Tests of keys that cannot seal: refused by name."""

import pytest

from obscale.agent.sealing import parse_public_key
from obscale.connect.connections import EnvironmentSecrets, cluster_connected, connected
from obscale.connect.endpoints import ask_endpoints, require_one_cluster
from obscale.errors import AgentProtocolError
from obscale.plan import make_plan
from obscale.preflight.read import survey
from obscale.submit.read import read_candidates
from obscale.verify.observation import Before
from obscale.verify.run import verify_node
from tests.contract.kept_here import unheard
from tests.stranger import BAD_KEYS, CLAIMS, listening

SOME = ["even modulus", "100,000 bits, even", "504 bits", "cut DER"]
FREE = {"identity": "SINGLE", "supportedAuth": ["v2"], "obVersion": "4.3.5.2"}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_each_says_what_is_wrong_with_it(name):
    """One ValueError, whatever the numbers are, before anything is worked out with them."""
    text, said = BAD_KEYS[name]

    with pytest.raises(ValueError, match=said):
        parse_public_key(text)


@pytest.mark.parametrize("name", BAD_KEYS)
async def test_an_entry_agent_that_serves_one_is_passed_over(scene, name):
    """The next one is asked; where there is no other, the error names the agent and the flaw."""
    key, said = BAD_KEYS[name]
    with listening("CLUSTER AGENT", public_key=key) as stranger:
        both = scene.order(scene.spare, scene.spec([stranger.address, *scene.members]))
        plan = await make_plan([both], EnvironmentSecrets())
        async with connected(both, EnvironmentSecrets()) as link:
            seen = await read_candidates(link)
        alone = scene.order(scene.spare, scene.spec([stranger.address]))
        async with connected(alone, EnvironmentSecrets()) as link:
            errors = []
            for look in (survey(link, alone, probing=False), read_candidates(link)):
                with pytest.raises(AgentProtocolError) as caught:
                    await look
                errors.append(caught.value)

    assert plan.cluster == "obcluster/1"
    assert seen.target.identity == "SINGLE"
    assert {error.agent for error in errors} == {stranger.address}
    assert all(said in str(error) for error in errors), errors
    assert not stranger.passwords


@pytest.mark.parametrize("name", SOME)
async def test_a_target_that_serves_one_is_blocked_by_name(scene, name):
    """A finding says it; every look at it goes on."""
    key, said = BAD_KEYS[name]
    with listening(FREE, public_key=key) as stranger:
        order = scene.order(stranger.address)
        plan = await make_plan([order], EnvironmentSecrets())
        async with connected(order, EnvironmentSecrets()) as link:
            seen = await read_candidates(link)
            verification = await verify_node(link, order, None, Before(), publish=unheard)

    (row,) = plan.rows
    blocks = {f.rule: f.measured for f in row.findings if f.answer == "block"}
    assert said in blocks["agent-auth"]
    assert not plan.ready
    assert seen.target_dag is None
    assert not verification.levels.is_verified


@pytest.mark.parametrize("name", SOME)
async def test_a_connection_to_one_is_not_proved(scene, name):
    """The entry agents are checked: the agent and its flaw are named, and it has learnt nothing."""
    key, said = BAD_KEYS[name]
    with listening(CLAIMS["CLUSTER AGENT"], public_key=key) as stranger:
        spec = scene.spec([scene.members[0], stranger.address])
        async with cluster_connected(spec, EnvironmentSecrets()) as opened:
            rows = await ask_endpoints(opened.client.clients)
            with pytest.raises(AgentProtocolError, match=said) as caught:
                require_one_cluster(rows)

    assert caught.value.agent == stranger.address
    assert not stranger.passwords
