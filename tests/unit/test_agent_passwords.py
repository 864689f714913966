"""Tests of hints about a refused password."""

import pickle

import pytest
from pydantic import SecretStr

from obscale.agent.passwords import NamedSecret, hinted, odd_ends
from obscale.errors import NotAuthorizedError

SECRET = "canary-77aa"
ECHO = "a line break: was it written with echo? printf '%s' adds none"
ROOT_REFUSED = "Security.Authentication.IncorrectOceanbasePassword"


def refusal(code: str, message: str = "OceanBase password is incorrect") -> NotAuthorizedError:
    """As an agent refuses."""
    return NotAuthorizedError(
        message, "10.0.0.1:2886", "read ob/info", "check it", "4f1c", code, 401
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{SECRET}\n", f"ends in {ECHO}"),
        (f"{SECRET}\r\n", f"ends in {ECHO}"),
        (f"{SECRET} ", "ends in a blank: was it pasted with one?"),
        (f"{SECRET}\u00a0", "ends in a blank: was it pasted with one?"),
        (f"\t{SECRET}", "begins with a blank: was it pasted with one?"),
        (f"\ufeff{SECRET}", "begins with an invisible character: was it pasted with one?"),
        (
            f" {SECRET}\n",
            f"begins with a blank and ends in {ECHO}",
        ),
        (
            "\n",
            f"begins with a line break and ends in {ECHO}",
        ),
    ],
    ids=ascii,
)
def test_what_nobody_sees_at_its_ends_is_told(text, told):
    """With the name it was found under, without the password and its length."""
    assert odd_ends(NamedSecret(text, "env OB_ROOT")) == f"the password from env OB_ROOT {told}"
    assert odd_ends(SecretStr(text)) == f"the password {told}"


@pytest.mark.parametrize("text", ["", SECRET, f"{SECRET} with blanks", "密码é"], ids=ascii)
def test_of_any_other_password_nothing_is_told(text):
    """Blanks inside are nobody's mistake."""
    assert odd_ends(SecretStr(text)) == ""


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (ROOT_REFUSED, "OceanBase password is incorrect"),
        ("Security.Authentication.IncorrectAgentPassword", "Agent password is incorrect"),
        ("10008", "Unauthorized: access denied"),
    ],
)
def test_a_refused_password_is_hinted_at_before_what_else_may_be_wrong(code, message):
    """All else of the refusal stays, also across a process border."""
    known = refusal(code, message)

    told = pickle.loads(pickle.dumps(hinted(known, SecretStr(f"{SECRET}\n"))))

    assert type(told) is NotAuthorizedError
    assert told.hint.startswith("the password ends in a line break: ")
    assert told.hint.endswith("; check it")
    assert str(told).replace(told.hint, known.hint) == str(known)
    assert SECRET not in repr(told) + str(told)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("Security.Authentication.Expired", "authorization expired"),
        ("10008", "Unauthorized: authorization expired"),
        ("Security.Authentication.Header.UriMismatch", "uri mismatch"),
    ],
)
def test_a_refusal_for_another_reason_is_left_as_it_is(code, message):
    """Nobody shall look at a password that was not even compared."""
    known = refusal(code, message)

    assert hinted(known, SecretStr(f"{SECRET}\n")) is known


def test_a_named_secret_hides_its_value_and_is_never_stripped():
    """As any other secret; its name is what may be shown."""
    secret = NamedSecret(f"{SECRET}\n", "env OB_ROOT")

    assert SECRET not in f"{secret!r} {secret}"
    assert secret.get_secret_value() == f"{SECRET}\n"
    assert secret == NamedSecret(f"{SECRET}\n", "block root")
