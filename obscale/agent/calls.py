"""Builds the target of a request, and reads its answer as a value."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import GenericAlias
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, FailFast, TypeAdapter

from obscale.agent.envelope import parse_timestamp, read_contents

API: Final = "/api/v1"
HEADER_LIFETIME_SECONDS: Final = 60
"""How long a sealed header is honoured. Source: default of the official SDK 0.0.9, PasswordAuth."""
WRITE_HEADER_LIFETIME_SECONDS: Final = 15
"""The same for writes: short, so that one stuck on its way is not carried out when it arrives."""

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request as the protocol means it, before it is sealed.

    Args:
        method: `GET`; of writes `POST` or `PATCH`.
        target: Request target, percent-encoded.
        step: What it is for, in words, for errors: `read DAG 17`.
        parse: Makes a value of `data`; raises ValueError where it cannot.
        kind: `open` needs no header, `read` may be asked again by anybody, `write` may not.
        answer_seconds: How long the agent may take.
        lifetime_seconds: How long the header stays valid.
        body: JSON text in UTF-8, not yet encrypted.
        is_optional: Older agents do not have this endpoint.
    """

    method: Literal["GET", "POST", "PATCH"]
    target: str
    step: str
    parse: Callable[[Any], T]
    kind: Literal["open", "read", "write"]
    answer_seconds: float
    lifetime_seconds: int
    body: bytes | None = None
    is_optional: bool = False


@dataclass(frozen=True)
class Calls:
    """Makes questions with one client's time limits.

    Args:
        answer_seconds: For reads.
        lifetime_seconds: Of the headers of reads; writes have at most
            `WRITE_HEADER_LIFETIME_SECONDS`.
    """

    answer_seconds: float
    lifetime_seconds: int

    def open(
        self, path: str, parse: Callable[[Any], T], answer_seconds: float | None = None
    ) -> Call[T]:
        """A question that needs no header.

        Args:
            path: Below `/api/v1/`.
            parse: Makes a value of `data`.
            answer_seconds: How long the agent may take; None: as for any read.
        """
        return Call(
            method="GET",
            target=f"{API}/{path}",
            step=f"read {path}",
            parse=parse,
            kind="open",
            answer_seconds=self._limit(answer_seconds),
            lifetime_seconds=0,
        )

    def read(
        self,
        path: str,
        parse: Callable[[Any], T],
        step: str = "",
        *,
        is_optional: bool = False,
        show_details: bool | None = None,
        answer_seconds: float | None = None,
    ) -> Call[T]:
        """A question without effect.

        Args:
            path: Below `/api/v1/`, percent-encoded.
            parse: Makes a value of `data`.
            step: For errors; made of the path where it is empty.
            is_optional: Older agents do not have it.
            show_details: For DAGs: with nodes or without; None leaves it out of the query. Written
                in lower case: a word that is no boolean makes the agent panic
                (ob/agent/api/task_handler.go, inferred).
            answer_seconds: As for `open`.
        """
        query = "" if show_details is None else f"?show_details={str(show_details).lower()}"
        return Call(
            method="GET",
            target=f"{API}/{path}{query}",
            step=step or f"read {path}",
            parse=parse,
            kind="read",
            answer_seconds=self._limit(answer_seconds),
            lifetime_seconds=self.lifetime_seconds,
            is_optional=is_optional,
        )

    def _limit(self, answer_seconds: float | None) -> float:
        return self.answer_seconds if answer_seconds is None else answer_seconds

    def write(
        self,
        path: str,
        body: dict[str, Any],
        parse: Callable[[Any], T],
        step: str,
        answer_seconds: float,
        method: Literal["POST", "PATCH"] = "POST",
    ) -> Call[T]:
        """A question with an effect.

        Args:
            path: Below `/api/v1/`, percent-encoded.
            body: Becomes the JSON body.
            parse: Makes a value of `data`.
            step: For errors.
            answer_seconds: How long the agent may take.
            method: Of the request.
        """
        return Call(
            method=method,
            target=f"{API}/{path}",
            step=step,
            parse=parse,
            kind="write",
            answer_seconds=answer_seconds,
            lifetime_seconds=min(self.lifetime_seconds, WRITE_HEADER_LIFETIME_SECONDS),
            body=json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
        )


def parse_many(model: type[M]) -> Callable[[Any], tuple[M, ...]]:
    """Make a parser of list endpoints, whose lists stand under `contents`."""
    rows = _rows_of(model)

    def parse(data: Any) -> tuple[M, ...]:
        contents = read_contents(data)
        if contents is None:
            raise ValueError("a list was expected")
        return tuple(rows.validate_python(contents))

    return parse


@cache
def _rows_of(model: type[M]) -> TypeAdapter[list[M]]:
    # All rows in one call: parameters are hundreds, read several times in each run.
    shape: Any = GenericAlias(list, (model,))
    # One fault is told: ten thousand rows of none would take as many reports of what they lack.
    # A list of a model known at run time only is no type a checker could follow.
    return TypeAdapter(Annotated[shape, FailFast()])  # pyright: ignore[reportArgumentType, reportInvalidTypeForm]


def parse_moment(data: Any) -> datetime:
    """Read the payload of `/time`: a bare, aware time.

    Raises:
        ValueError: It is none.
    """
    moment = parse_timestamp(data)
    if moment is None:
        raise ValueError("a time with its zone was expected")
    return moment
