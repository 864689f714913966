"""A password that knows its source and what its ends may tell about a refusal."""

from typing import Final

from pydantic import SecretStr

from obscale.errors import NotAuthorizedError

WRONG_PASSWORD: Final = frozenset(
    {
        "Security.Authentication.IncorrectOceanbasePassword",
        "Security.Authentication.IncorrectAgentPassword",
        "Common.Unauthorized",
        "10000",
        "10008",
    }
)
"""Codes an agent refuses a password with. Source: ob/agent/secure/auth.go, 4.5.0.0, and before
4.3.1.0 ob/agent/errors/error_code.go, where 10008 means an expired header as well."""


class NamedSecret(SecretStr):
    """A secret that knows where it was found; the name is no secret.

    Args:
        value: The secret, as it was found: nothing is stripped.
        source: E.g. `env OB_ROOT`.
    """

    def __init__(self, value: str, source: str) -> None:
        super().__init__(value)
        self.source = source


def hinted(refusal: NotAuthorizedError, password: SecretStr) -> NotAuthorizedError:
    """Give a refusal whose hint says where the refused password begins or ends oddly.

    Args:
        refusal: What the agent said.
        password: What it was asked with; neither it nor its length is told.
    """
    is_clock = "expired" in refusal.message.lower()
    if refusal.code not in WRONG_PASSWORD or is_clock or not (odd := odd_ends(password)):
        return refusal
    hint = f"{odd}; {refusal.hint}" if refusal.hint else odd
    return type(refusal)(
        refusal.message,
        refusal.agent,
        refusal.step,
        hint,
        refusal.trace_id,
        refusal.code,
        refusal.status,
    )


def odd_ends(password: SecretStr) -> str:
    """Say that a password begins or ends in what is easily there by mistake; empty: it does not."""
    text = password.get_secret_value()
    first, last = _oddity(text[:1]), _oddity(text[-1:])
    if not (first or last):
        return ""
    begins = f"begins with {first}" if first else ""
    ends = f"ends in {last}" if last else ""
    how = "was it written with echo? printf '%s' adds none" if _LINE_BREAK in (first, last) else ""
    source = f" from {password.source}" if isinstance(password, NamedSecret) else ""
    odd = " and ".join(filter(None, (begins, ends)))
    return f"the password{source} {odd}: {how or 'was it pasted with one?'}"


_LINE_BREAK: Final = "a line break"


def _oddity(character: str) -> str:
    """Name a character nobody sees; empty for any other."""
    if character in {"\n", "\r"}:
        return _LINE_BREAK
    if character.isspace():
        return "a blank"
    return "an invisible character" if character and not character.isprintable() else ""
