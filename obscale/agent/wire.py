"""Base types for obshell's answers: words, lists and field names all models share.

Wire names live in aliases; unknown fields are ignored and unknown words survive as themselves,
because newer agents add both. Source: ob/agent/lib/http/response.go, 4.5.0.0.
"""

from enum import StrEnum
from typing import Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_camel


class Word(StrEnum):
    """A word of obshell's; one we do not know keeps its text and is named UNKNOWN."""

    @classmethod
    def _missing_(cls, value: object) -> Self:
        member = str.__new__(cls, str(value))
        member._name_ = "UNKNOWN"
        member._value_ = str(value)
        return member


def _listed(value: object) -> object:
    """Go writes an empty list, and a list it does not have, as null."""
    return () if value is None else value


def _mapped(value: object) -> object:
    """Go writes an absent map as null."""
    return {} if value is None else value


LISTED: Final = BeforeValidator(_listed)
MAPPED: Final = BeforeValidator(_mapped)


class Wire(BaseModel):
    """Base of all answers: frozen, tolerant of new fields, wire names as aliases."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, alias_generator=to_camel
    )


class SnakeWire(Wire):
    """Base of the answers whose wire names are snake case."""

    model_config = ConfigDict(alias_generator=None)


class AgentEndpoint(Wire):
    """Address of an agent inside an answer."""

    ip: str
    port: int


def joined_address(ip: str, port: int) -> str:
    """Write `ip:port`, with brackets around an IPv6 address."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
