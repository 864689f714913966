"""Tests of authentication: each agent gets the header it accepts, and no more."""

import pytest
from pydantic import SecretStr

from obscale.agent.auth import Credentials, choose_auth, parse_version, read_auth_mode
from obscale.agent.error_codes import WITH_AGENT_PASSWORD, WITH_ROOT_PASSWORD
from obscale.agent.models import AgentInfo

ROOT, AGENT = SecretStr("root"), SecretStr("agent")
BOTH = Credentials(ROOT, AGENT)
CLUSTER, SINGLE = "CLUSTER AGENT", "SINGLE"


def info(identity=CLUSTER, security=False, version="4.5.0.0-1", supported=("v2",)):
    return AgentInfo(
        ip="10.0.0.1",
        port=2886,
        identity=identity,
        security=security,
        version=version,
        supported_auth=supported,
    )


@pytest.mark.parametrize(
    ("agent", "credentials", "header", "password"),
    [
        (info(SINGLE), BOTH, "X-OCS-Header", ""),
        (info(SINGLE), Credentials(), "X-OCS-Header", ""),
        (info(SINGLE, security=True), BOTH, "X-OCS-Agent-Header", "agent"),
        (info(SINGLE, security=True), Credentials(ROOT), "X-OCS-Header", ""),
        (info(CLUSTER), BOTH, "X-OCS-Header", "root"),
        (info(CLUSTER, security=True), BOTH, "X-OCS-Header", "root"),
        (info(CLUSTER, security=True), Credentials(None, AGENT), "X-OCS-Agent-Header", "agent"),
        (info(CLUSTER, security=True), Credentials(SecretStr("")), "X-OCS-Header", ""),
        (info("SCALING OUT", security=True), BOTH, "X-OCS-Header", "root"),
        (info("SOMETHING NEW"), BOTH, "X-OCS-Header", "root"),
        (info(CLUSTER, security=None, version="4.2.5.0-1"), BOTH, "X-OCS-Header", "root"),
        (info(CLUSTER, None, "4.2.2.0-1", None), BOTH, "X-OCS-Auth", "root"),
        (info(SINGLE, None, "4.2.2.0-1", None), BOTH, "X-OCS-Auth", ""),
        (info("SCALING OUT", True), Credentials(None, AGENT), "X-OCS-Agent-Header", "agent"),
    ],
    ids=[
        "single-needs-nothing",
        "single-nothing-given",
        "single-with-own-password",
        "single-own-password-unknown",
        "cluster",
        "cluster-prefers-root",
        "cluster-own-password-only",
        "cluster-empty-root",
        "scaling-out-wants-root",
        "unknown-identity-wants-root",
        "before-agent-passwords",
        "v1",
        "v1-single-needs-nothing",
        "scaling-out-own-password-only",
    ],
)
def test_choice_follows_the_table(agent, credentials, header, password):
    """Header and password are those of the protocol's table of who accepts what."""
    choice = choose_auth(agent, credentials)

    assert (choice.header, choice.password.get_secret_value()) == (header, password)
    assert choice.is_v1 is (header == "X-OCS-Auth")


CLAIMS = [
    *(
        (info(identity, security=True), refused)
        for identity in ("MASTER", "FOLLOWER", "SCALING IN", "UNIDENTIFIED", "SOMETHING NEW")
        for refused in ("", WITH_AGENT_PASSWORD, WITH_ROOT_PASSWORD)
    ),
    *((info(identity), "") for identity in (CLUSTER, "SCALING OUT")),
    *((info(identity), WITH_ROOT_PASSWORD) for identity in (CLUSTER, "SCALING OUT", SINGLE)),
    *((info(identity, supported=("v1",)), "") for identity in (CLUSTER, "SCALING OUT")),
    (info(CLUSTER, None, "4.2.2.0-1", None), ""),
]


@pytest.mark.parametrize(
    ("agent", "refused"),
    CLAIMS,
    ids=[f"{i.identity}-{code.rpartition('.')[2] or i.version}" for i, code in CLAIMS],
)
def test_no_claim_makes_a_root_password_where_none_was_given(agent, refused):
    """Without one, whatever the agent says of itself or asks for, there is no choice to be made."""
    assert choose_auth(agent, Credentials(None, AGENT), refused) is None


def test_agent_that_says_which_password_it_wants_is_believed():
    """A SCALING OUT agent that does not know the root password yet asks for its own, and back."""
    agent = info("SCALING OUT", security=True)

    wants_own = choose_auth(agent, BOTH, WITH_AGENT_PASSWORD)
    wants_root = choose_auth(info(CLUSTER), Credentials(ROOT, AGENT), WITH_ROOT_PASSWORD)

    assert (wants_own.header, wants_own.password) == ("X-OCS-Agent-Header", AGENT)
    assert (wants_root.header, wants_root.password) == ("X-OCS-Header", ROOT)


@pytest.mark.parametrize(
    ("version", "supported", "mode"),
    [
        ("4.5.0.0-1", ("v2",), "v2"),
        ("4.2.2.0-1", ("v2",), "v2"),
        ("4.2.3.0-1", None, "v2"),
        ("4.2.4.1-1", (), "v2"),
        ("4.2.2.9-1", None, "v1"),
        ("4.2.2.0", None, "v1"),
        ("", None, "v2"),
        ("5.0.0.0", ("v3", "v2"), "v2"),
        ("5.0.0.0", ("v1",), "v1"),
    ],
)
def test_mode_comes_from_the_offer_and_else_from_the_version(version, supported, mode):
    """`supportedAuth` decides; where it is missing, 4.2.3.0 is the border."""
    assert read_auth_mode(info(version=version, supported=supported)) == mode


def test_unknown_offers_are_named():
    """An agent of the future that speaks neither v1 nor v2 is not asked in the dark."""
    with pytest.raises(ValueError, match="v3, v4 only"):
        choose_auth(info(supported=("v3", "v4")), BOTH)


def test_versions_are_numbers_not_text():
    """4.10 comes after 4.9, and the release behind the dash does not count."""
    assert parse_version("4.10.0.0-12026") > parse_version("4.9.9.9-99999")
    assert parse_version("4.5.0.0-1") == (4, 5, 0, 0)
    assert parse_version("dev") == ()


def test_credentials_show_no_password():
    """Neither credentials nor choices show a password."""
    text = repr(Credentials(SecretStr("canary"), SecretStr("canary"))) + repr(
        choose_auth(info(), Credentials(SecretStr("canary")))
    )

    assert "canary" not in text
