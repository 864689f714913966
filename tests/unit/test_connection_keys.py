"""Tests of known keys: a changed one is refused."""

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from obscale.agent.keys import KnownKeys, fingerprint
from obscale.errors import AgentProtocolError, UntrustedKeyError

AGENT = "10.0.0.1:2886"


@pytest.fixture
def keys():
    """Two public keys of an agent: the known one, and another."""
    return tuple(rsa.generate_private_key(65537, 1024).public_key() for _ in range(2))


def test_a_fingerprint_is_the_same_for_the_same_key_only(keys):
    """A fingerprint names one key, in a form that fits into one word of a line."""
    first, other = keys

    assert fingerprint(first) == fingerprint(first)
    assert fingerprint(first) != fingerprint(other)
    assert fingerprint(first).startswith("SHA256:")
    assert " " not in fingerprint(first)


@pytest.mark.parametrize("unlisted", ["refuse", "remember", "accept"])
def test_a_changed_key_names_agent_both_fingerprints_and_the_command(keys, unlisted):
    """Whatever becomes of unknown agents, a known one's new key is refused and explained."""
    first, other = keys
    known = KnownKeys({AGENT: fingerprint(first)}, unlisted, "announce: obscale connect x --pin")

    known.check(AGENT, first)
    with pytest.raises(UntrustedKeyError) as caught:
        known.check(AGENT, other)

    told = str(caught.value)
    assert AGENT in told
    assert fingerprint(first) in told
    assert fingerprint(other) in told
    assert "obscale connect x --pin" in told


def test_an_agent_without_a_pin_is_refused_where_only_pinned_ones_count(keys):
    """Such a refusal lets the cluster's other agents be asked: it is no alarm."""
    known = KnownKeys({}, "refuse")

    with pytest.raises(AgentProtocolError, match="not among the pinned"):
        known.check(AGENT, keys[0])


def test_the_first_key_is_held_against_the_second_where_first_use_is_trusted(keys):
    """The first key is learned, and another one refused from then on."""
    known = KnownKeys({}, "remember")

    known.check(AGENT, keys[0])
    with pytest.raises(UntrustedKeyError):
        known.check(AGENT, keys[1])

    assert known.learned == {AGENT: fingerprint(keys[0])}


def test_a_newcomer_may_show_any_key_unless_it_is_pinned(keys):
    """A spare that was installed anew is let in; one whose key is listed is held to it."""
    listed = KnownKeys({AGENT: fingerprint(keys[0])}, "refuse").for_newcomer()

    listed.check("10.0.0.4:2886", keys[1])
    with pytest.raises(UntrustedKeyError):
        listed.check(AGENT, keys[1])

    assert listed.learned == {}
